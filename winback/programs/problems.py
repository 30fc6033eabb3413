"""What is wrong with a file of `programs/`: where, what was found, what is allowed, and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing to correct. `file` is relative to the project; `line` counts from 1 (0: the file as a whole).

    An `error` keeps the program from being used; a `warning` does not.
    """

    file: str
    line: int
    field: str
    message: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        subject = f"{self.field}: " if self.field else ""
        prefix = "warning: " if self.severity == "warning" else ""
        return f"{place}: {prefix}{subject}{self.message}"

    def as_dict(self) -> dict[str, str | int]:
        return asdict(self)


def found(value: object) -> str:
    """A value as it is quoted in a message: short, and in the words of YAML."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 else f'"{value[:57]}..."'
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a group of fields"
    return str(value)


def near_miss(word: object, allowed: Iterable[str]) -> str:
    """`; did you mean "x"?` where an allowed word is close, else an empty string."""
    if not isinstance(word, str):
        return ""
    candidates = {candidate.lower(): candidate for candidate in allowed}
    plain = word.strip().lower().replace("-", "_").replace(" ", "_")
    close = difflib.get_close_matches(plain, candidates, n=1, cutoff=0.6)
    return f'; did you mean "{candidates[close[0]]}"?' if close else ""


def one_of(allowed: Iterable[str]) -> str:
    """Allowed words as a list for people; long lists are cut."""
    words = list(allowed)
    shown = ", ".join(words[:30])
    return (shown or "none, for there is nothing yet") + (f" and {len(words) - 30} more" if len(words) > 30 else "")
