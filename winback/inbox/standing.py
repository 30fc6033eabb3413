"""How delivery stands, for /health: who looks there learns that the schedule is dead, although the receiver lives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from winback.errors import WinbackError
from winback.ledger import Ledger
from winback.watching import DAY_LATE, read_waiting

_FRESH = timedelta(seconds=30)


class Standing:
    """Counts of the ledger, read at most every half minute: anybody may ask. `clock` gives the present as naive UTC."""

    def __init__(self, ledger: Ledger, clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._read: tuple[datetime, Mapping[str, Any]] | None = None

    def __call__(self) -> Mapping[str, Any]:
        """`delivery` (ok, late, unknown), `last_day` (as_of of the last applied day), `due` and `late` (counts of what nobody tried)."""
        now = self._clock()
        if self._read is None or not timedelta(0) <= now - self._read[0] < _FRESH:
            self._read = now, self._look(now)
        return self._read[1]

    def _look(self, now: datetime) -> Mapping[str, Any]:
        try:
            waiting = read_waiting(self._ledger, now)
        except (SQLAlchemyError, WinbackError):
            return {"delivery": "unknown"}
        is_late = waiting.late > 0 or (waiting.since_last_day is not None and waiting.since_last_day > DAY_LATE)
        return {
            "delivery": "late" if is_late else "ok",
            "last_day": None if waiting.since_last_day is None else (now - waiting.since_last_day).isoformat(),
            "due": {"messages": waiting.messages, "audience_changes": waiting.changes},
            "late": waiting.late,
        }
