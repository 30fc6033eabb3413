"""What was measured, kept as JSON lines, so that a long measurement can be done in pieces and its page written from all of them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Result:
    """One run. `day`: "full" or "next". `wall` and `cpu` in seconds, `peak` in MB; a run that `failed` says why and has no figures.

    `cpu` and `peak` are those of the process that was started: of a database server they know nothing.
    """

    contender: str
    size: int
    day: str
    memory_limit: str
    threads: int
    wall: float
    cpu: float
    peak: float
    told: dict[str, Any]
    failed: str
    on: str
    revision: str
    machine: str


@dataclass(frozen=True, slots=True)
class Middle:
    """Medians of several runs of one revision; `told` is of the run with the (lower) median time."""

    runs: int
    wall: float
    cpu: float
    peak: float
    told: dict[str, Any]


class Results:
    """Results of one machine, settings apart. Of what was measured of several revisions, the last one's runs count."""

    def __init__(self, results: Iterable[Result]) -> None:
        known = list(results)
        last = {_measured(one): one.revision for one in known}
        self.all = [one for one in known if one.revision == last[_measured(one)]]

    def middle(self, contender: str, size: int, day: str = "full", *, memory_limit: str) -> Middle | None:
        """Medians of the runs that came to their end; None where there is none."""
        found = self._found(contender, size, day, memory_limit)
        good = sorted((one for one in found if not one.failed), key=lambda one: one.wall)
        if not good:
            return None
        return Middle(
            len(good),
            statistics.median(one.wall for one in good),
            statistics.median(one.cpu for one in good),
            statistics.median(one.peak for one in good),
            good[(len(good) - 1) // 2].told,
        )

    def failure(self, contender: str, size: int, day: str = "full", *, memory_limit: str) -> str:
        """What the last failed run said, if none came to its end."""
        found = self._found(contender, size, day, memory_limit)
        return "" if any(not one.failed for one in found) or not found else found[-1].failed

    def sizes(self) -> list[int]:
        return sorted({one.size for one in self.all})

    def memory_limits(self) -> list[str]:
        """Limits in the order in which they were first measured."""
        return list(dict.fromkeys(one.memory_limit for one in self.all))

    def _found(self, contender: str, size: int, day: str, memory_limit: str) -> Sequence[Result]:
        return [one for one in self.all if _measured(one) == (contender, size, day, memory_limit)]


def _measured(one: Result) -> tuple[str, int, str, str]:
    return one.contender, one.size, one.day, one.memory_limit


def keep(path: Path, result: Result) -> None:
    """Add a result to the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(result)) + "\n")


def kept(path: Path, machine: str) -> Results:
    """The results of the file that were measured on this machine."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return Results(one for one in (Result(**json.loads(line)) for line in lines) if one.machine == machine)
