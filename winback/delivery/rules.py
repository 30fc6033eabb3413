"""The numbers that the models and the dispatcher share: vars of dbt_project.yml, where a data team changes them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from winback.errors import BadConfig
from winback.settings import Settings


@dataclass(frozen=True, slots=True)
class Rules:
    """Each field is the var of its name; what it means is said there."""

    bounces_in_a_row: int
    scanner_links_at_least: int
    scanner_seconds: int
    proved_by_event: str
    email_guard_window_days: int
    email_guard_sent_at_least: int
    email_guard_cases_at_least: int
    email_complaint_warning_percentage: float
    email_complaint_limit_percentage: float
    email_bounce_limit_percentage: float
    email_unsubscribe_limit_percentage: float

    @classmethod
    def in_force(cls, settings: Settings) -> Rules:
        """Read them from the project.

        Raises
        ------
        BadConfig
            dbt_project.yml lacks one of the vars, or it is of another type.
        """
        return _read(settings.dbt_project / "dbt_project.yml")


@cache
def _read(file: Path) -> Rules:
    found = yaml.safe_load(file.read_text(encoding="utf-8"))["vars"]["winback"]
    values: dict[str, Any] = {}
    for field in fields(Rules):
        value = found.get(field.name)
        wanted: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,)}
        if not isinstance(value, wanted[str(field.type)]) or isinstance(value, bool):
            kind = "a text" if field.type == "str" else "a whole number" if field.type == "int" else "a number"
            raise BadConfig(f"{file}: vars.winback.{field.name}: found {value!r}; allowed: {kind}.")
        values[field.name] = value
    return Rules(**values)
