"""The reference parts of docs/programs.md, made from the types and the list of variables."""

from __future__ import annotations

import re
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from winback.programs.page_texts import PageTexts
from winback.programs.schema import Brand, Program
from winback.programs.variables import VARIABLES

PAGE = Path("docs") / "programs.md"


def refresh(page: Path) -> bool:
    """Write the reference into the page, between its markers; True where that changed something."""
    before = page.read_text(encoding="utf-8")
    after = with_reference(before)
    if after != before:
        page.write_text(after, encoding="utf-8")
    return after != before


def with_reference(text: str) -> str:
    """The page with its generated parts as they should be."""
    for name, content in (
        ("program", _fields(Program)),
        ("brand", _fields(Brand)),
        ("page", _fields(PageTexts)),
        ("variables", _variables()),
    ):
        pattern = re.compile(rf"(<!-- {name}: [^>]*-->\n).*?(<!-- end -->)", re.DOTALL)
        text = pattern.sub(lambda match, content=content: f"{match[1]}{content}{match[2]}", text)  # type: ignore[misc]
    return text


def _variables() -> str:
    lines = ["| variable | what it is | may be empty |", "|---|---|---|"]
    lines += [f"| `{variable.name}` | {variable.description} | {'yes' if variable.optional else ''} |" for variable in VARIABLES]
    return "\n".join(lines) + "\n"


def _fields(model: type[BaseModel]) -> str:
    return "\n".join(["| field | what it is | allowed | if left out |", "|---|---|---|---|", *_rows(model, "")]) + "\n"


def _rows(model: type[BaseModel], prefix: str) -> list[str]:
    rows = []
    for name, field in model.model_fields.items():
        full = f"{prefix}{field.alias or name}"
        group = next((part for part in _parts(field.annotation) if isinstance(part, type) and issubclass(part, BaseModel)), None)
        many = get_origin(_without_none(field.annotation)) is list
        rows.append(f"| `{full}` | {field.description} | {_allowed(field, group, many)} | {_left_out(field, group)} |")
        if group is not None:
            rows.extend(_rows(group, f"{full}{'[]' if many else ''}."))
    return rows


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) is Annotated:
        return _without_none(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return next(_without_none(part) for part in get_args(annotation) if part is not type(None))
    return annotation


def _parts(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated or get_origin(annotation) is list:
        return _parts(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [inner for part in get_args(annotation) if part is not type(None) for inner in _parts(part)]
    return [annotation]


def _constraints(annotation: Any) -> list[Any]:
    found: list[Any] = []
    if get_origin(annotation) is Annotated:
        inner, *extra = get_args(annotation)
        found.extend(_constraints(inner))
        for item in extra:
            found.extend(item.metadata if isinstance(item, FieldInfo) else [item])
    elif get_origin(annotation) in (Union, types.UnionType):
        for part in get_args(annotation):
            found.extend(_constraints(part))
    return found


def _allowed(field: FieldInfo, group: type[BaseModel] | None, many: bool) -> str:
    words = [str(word) for part in _parts(field.annotation) if get_origin(part) is Literal for word in get_args(part)]
    if group is not None:
        return "a list of groups" if many else " or ".join([*words, "a group of fields"])
    if words:
        return ("a list of " if many else "") + ", ".join(words)
    limits = [*_constraints(field.annotation), *field.metadata]
    low = next((limit.ge for limit in limits if isinstance(limit, Ge)), None)
    high = next((limit.le for limit in limits if isinstance(limit, Le)), None)
    kind = next(part for part in _parts(field.annotation))
    if kind is bool:
        return "true, false"
    if kind in (int, float):
        noun = "a whole number" if kind is int else "a number"
        if low is not None and high is not None:
            return f"{noun}, {low:g} to {high:g}"
        return f"{noun}, {low:g} or more" if low is not None else noun
    shortest = next((limit.min_length for limit in limits if isinstance(limit, MinLen)), None)
    longest = next((limit.max_length for limit in limits if isinstance(limit, MaxLen)), None)
    if longest is None:
        return "a text"
    return f"a text, {shortest} to {longest} characters" if shortest else f"a text, up to {longest} characters"


def _left_out(field: FieldInfo, group: type[BaseModel] | None) -> str:
    if field.is_required():
        return "**needed**"
    default = field.get_default(call_default_factory=True)
    if default is None or default is PydanticUndefined or default == [] or default == "":
        return ""
    if group is not None and isinstance(default, BaseModel):
        return ""
    if isinstance(default, bool):
        return "true" if default else "false"
    if isinstance(default, list):
        return "[" + ", ".join(map(str, default)) + "]"
    return f"{default:g}" if isinstance(default, float) else str(default)
