"""From the values of a YAML file to a typed program or brand, with every problem in the words of the file."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from winback.programs import schema
from winback.programs.problems import Problem, found, near_miss, one_of
from winback.programs.source import Place, Source

Parsed = TypeVar("Parsed", bound=BaseModel)

_UNION_TAGS = {"word", "fields"}
_PATTERNS = {
    "^[a-z][a-z0-9_]*$": "small letters, digits and _, beginning with a letter",
    "^[A-Za-z0-9_-]+$": "letters, digits, - and _",
    "^[A-Za-z0-9_./-]+$": "a file inside programs/, e.g. codes/comeback.txt",
    schema.EMAIL_PATTERN: "an email address",
    schema.URL_PATTERN: "an address that begins with https://",
    schema.COLOUR_PATTERN: 'a colour as "#1f6f4a", in quotation marks',
    r"^[^\r\n]+$": "one line of text",
    "^[A-Z]{3}$": "three capital letters, e.g. USD",
}


def parse(model: type[Parsed], source: Source) -> Parsed | None:
    """The typed value, or None with the problems added to `source.problems`."""
    if source.data is None:
        if not source.problems:
            source.problems.append(Problem(source.file, 0, "", "is empty"))
        return None
    if not isinstance(source.data, dict):
        source.problems.append(
            Problem(
                source.file,
                1,
                "",
                f"found {found(source.data)}; a file of fields is expected, such as {next(iter(model.model_fields))}: ...",
            )
        )
        return None
    try:
        parsed = model.model_validate(source.data)
    except ValidationError as failure:
        source.problems.extend(_problem(model, source, error) for error in failure.errors(include_url=False))
        return None
    return None if source.problems else parsed


def parse_rest(model: type[Parsed], source: Source, stand_ins: Mapping[str, Any]) -> tuple[Parsed | None, set[str]]:
    """What can be read of a file that has problems: (value, fields left out), so that the rest can be checked at the same time.

    Needed fields that are wrong are taken from `stand_ins`.
    """
    if not isinstance(source.data, dict):
        return None, set()
    data = {key: value for key, value in source.data.items() if key in _field_names(model)}
    wrong: set[str] = set()
    try:
        model.model_validate(data)
    except ValidationError as failure:
        wrong = {str(error["loc"][0]) for error in failure.errors(include_url=False)}
    rest = {key: value for key, value in data.items() if key not in wrong}
    return model.model_validate({**{key: value for key, value in stand_ins.items() if key in wrong}, **rest}), wrong


def _problem(model: type[BaseModel], source: Source, error: Any) -> Problem:
    place: Place = tuple(part for part in error["loc"] if part not in _UNION_TAGS)
    kind, context, value = error["type"], error.get("ctx", {}), error["input"]
    around = _model_at(model, place[:-1])
    fields = _field_names(around) if around else []
    if kind == "extra_forbidden":
        # An optional group left out has its own fields one level down: "after_days" in `entry` belongs in `entry.reentry`.
        home = _where_it_belongs(model, str(place[-1]))
        hint = near_miss(place[-1], fields) or (f"; it belongs in {home}" if home else near_miss(place[-1], _all_field_names(model)))
        return source.problem(place, f"is not a known field; allowed here: {one_of(fields)}{hint}")
    if kind == "missing":
        return source.problem(place, f"is missing; {_description(around, place[-1])}")
    allowed = _allowed(model, place)
    if kind in ("literal_error", "enum"):
        if place == ("cadence",) and isinstance(value, str):
            every = "biweekly" if value.lower().startswith("bi") else "weekly"
            return source.problem(
                place, f"found {found(value)}; allowed: daily, or a day as well; did you mean {{every: {every}, on: monday}}?"
            )
        return source.problem(place, f"found {found(value)}; allowed: {one_of(allowed)}{near_miss(value, allowed)}")
    return source.problem(place, _message(kind, context, value, allowed))


def _message(kind: str, context: dict[str, Any], value: object, allowed: list[str]) -> str:
    quoted = found(value)
    if value is None:
        return "found nothing; write a value, or leave the field out"
    match kind:
        case "int_type" | "int_from_float" | "float_type" | "int_parsing" | "float_parsing":
            hint = f"; write it without quotation marks: {value}" if isinstance(value, str) and value.strip().lstrip("-").isdigit() else ""
            return f"found {quoted}; a {'whole number' if kind.startswith('int') else 'number'} is expected{hint}"
        case "string_type":
            return f"found {quoted}; a text is expected" + (
                f'; write it in quotation marks: "{value}"' if isinstance(value, int | float) else ""
            )
        case "list_type":
            hint = f"; did you mean [{value}]?" if isinstance(value, str) else ""
            return f"found {quoted}; a list is expected{hint}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"found {quoted}; fields are expected" + (f": {one_of(allowed)}" if allowed else "")
        case "greater_than_equal" | "greater_than":
            return f"found {quoted}; allowed: {context.get('ge', context.get('gt')):g} or more"
        case "less_than_equal" | "less_than":
            return f"found {quoted}; allowed: {context.get('le', context.get('lt')):g} or less"
        case "string_pattern_mismatch":
            pattern = str(context["pattern"])
            return f"found {quoted}; allowed: {_PATTERNS.get(pattern, 'text like ' + pattern)}"
        case "too_short":
            return f"found an empty list; at least {context['min_length']} is needed"
        case "too_long":
            return f"found {context['actual_length']} entries; allowed: {context['max_length']} or fewer"
        case "string_too_long":
            return f"found {len(str(value))} characters; allowed: {context['max_length']} or fewer"
        case "string_too_short":
            return f"found {quoted}; at least {context['min_length']} characters are needed"
        case _:
            return f"found {quoted}; {kind.replace('_', ' ')}"


def _strip(annotation: Any) -> list[Any]:
    """The alternatives of an annotation without None, Annotated and list."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _strip(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [inner for part in get_args(annotation) if part is not type(None) for inner in _strip(part)]
    if origin is list:
        return _strip(get_args(annotation)[0])
    return [annotation]


def _annotations_at(model: type[BaseModel], place: Place) -> list[Any]:
    current: list[Any] = [model]
    for part in place:
        if isinstance(part, int):
            continue
        following: list[Any] = []
        for annotation in current:
            field = _field(annotation, part) if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
            if field is not None:
                following.extend(_strip(field.annotation))
        current = following
    return current


def _model_at(model: type[BaseModel], place: Place) -> type[BaseModel] | None:
    for annotation in _annotations_at(model, place):
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return annotation
    return None


def _allowed(model: type[BaseModel], place: Place) -> list[str]:
    words: list[str] = []
    for annotation in _annotations_at(model, place):
        if get_origin(annotation) is Literal:
            words.extend(str(word) for word in get_args(annotation))
        elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
            words.extend(_field_names(annotation))
    return words


def _field(model: type[BaseModel], name: str) -> FieldInfo | None:
    for field_name, field in model.model_fields.items():
        if (field.alias or field_name) == name:
            return field
    return None


def _field_names(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _groups(model: type[BaseModel], prefix: str = "") -> list[tuple[str, type[BaseModel]]]:
    groups = [(prefix, model)]
    for name, field in model.model_fields.items():
        for annotation in _strip(field.annotation):
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                groups.extend(_groups(annotation, f"{prefix}.{name}" if prefix else name))
    return groups


def _all_field_names(model: type[BaseModel]) -> list[str]:
    return [name for _, group in _groups(model) for name in _field_names(group)]


def _where_it_belongs(model: type[BaseModel], name: str) -> str:
    for path, group in _groups(model):
        if path and name in _field_names(group):
            return path
    return ""


def _description(model: type[BaseModel] | None, name: str | int) -> str:
    field = _field(model, str(name)) if model else None
    text = (field.description if field else None) or "it is needed"
    return text[0].lower() + text[1:]
