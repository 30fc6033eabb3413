"""The limits of the checks: defaults here, the user's own in `sources/checks.yml`."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from winback.errors import BadConfig
from winback.settings import Settings

Percent = Annotated[float, Field(ge=0, le=100)]
Level = Literal["blocking", "warning", "off"]


class Limits(BaseModel):
    """What counts as plausible, known, fresh and too many. Percentages are of the rows that the check looks at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    earliest: date = Field(date(1990, 1, 1), description="No event of a shop happened before this day")
    future_hours: float = Field(24, ge=0, description="How far ahead of the present a timestamp may lie (clocks and time zones differ)")
    implausible_percent: Percent = Field(1, description="Share of timestamps outside the plausible range that stops the day")
    unknown_customers_percent: Percent = Field(10, description="Share of orders whose customer is missing that stops the day")
    quarantined_warning_percent: Percent = Field(1, description="Share of a table's last landing in quarantine that is worth a warning")
    quarantined_blocking_percent: Percent = Field(5, description="Share of a table's last landing in quarantine that stops the day")
    quarantined_blocking_rows: int = Field(50, ge=1, description="Fewer quarantined rows never stop the day, whatever their share")
    stale_warning_days: int = Field(3, ge=1, description="Days without any order before as_of that are worth a warning")
    stale_blocking_days: int | None = Field(None, ge=1, description="Days without any order before as_of that stop the day; empty: never")
    known_statuses: list[str] = Field([], description="Order statuses of your shop, besides the usual ones")
    known_channels: list[str] = Field([], description="Message channels of your other tools, besides email, sms, push and ads")
    levels: dict[str, Level] = Field({}, description="Another level for a check: blocking (at the first bad row), warning, off")


def load_limits(settings: Settings, checks: Collection[str]) -> Limits:
    """Read `sources/checks.yml`; without the file the defaults hold. `checks` are the names that `levels` may hold.

    Raises
    ------
    BadConfig
        Names file, line, field, what was found and what is allowed.
    """
    path = settings.sources_dir / "checks.yml"
    if not path.is_file():
        return Limits()
    text = path.read_text(encoding="utf-8")
    try:
        tree = yaml.compose(text)
        values = yaml.safe_load(text) or {}
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 1
        raise BadConfig(f"{path}:{line}: not readable as YAML: {problem.problem}") from None
    if not isinstance(values, dict):
        raise BadConfig(f"{path}:1: found {type(values).__name__}; expected fields such as `stale_warning_days: 3`")
    try:
        limits = Limits.model_validate(values)
    except ValidationError as problem:
        raise BadConfig("\n".join(_explain(path, tree, error) for error in problem.errors())) from None
    for name in limits.levels:
        if name not in checks:
            line = _line(tree, ("levels", name))
            raise BadConfig(f"{path}:{line}: levels: no check is called {name!r}; allowed: {', '.join(sorted(checks))}")
    return limits


def _explain(path: Path, tree: yaml.Node | None, error: Any) -> str:
    where = tuple(error["loc"])
    field = ".".join(str(part) for part in where)
    if error["type"] == "extra_forbidden":
        allowed = f"there is no such field; allowed: {', '.join(Limits.model_fields)}"
    else:
        allowed = error["msg"][:1].lower() + error["msg"][1:]
    return f"{path}:{_line(tree, where)}: {field}: found {error['input']!r}; {allowed}"


def _line(tree: yaml.Node | None, where: tuple[str | int, ...]) -> int:
    line = 1
    for part in where:
        if isinstance(tree, yaml.MappingNode):
            pair = next(((key, value) for key, value in tree.value if key.value == part), None)
            if pair is None:
                break
            line, tree = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(tree, yaml.SequenceNode) and isinstance(part, int) and part < len(tree.value):
            tree = tree.value[part]
            line = tree.start_mark.line + 1
    return line
