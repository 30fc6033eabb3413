"""How fast a destination is called: its rate, its waits, and when it is given up for this run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

FAILURES = 5
"""Failed calls in a row after which a destination's circuit opens: the rest of the run leaves it alone."""

LONGEST_PAUSE = 60.0
"""Seconds. A provider that asks for a longer wait is left to the next run."""

_FIRST_WAIT = 30.0
_LONGEST_WAIT = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Timer:
    """The machine's stopwatch, as an argument. `sleep` may be replaced where time is simulated."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def backoff(attempt: int, asked: float | None, chance: Random) -> float:
    """Seconds between attempt `attempt` and the next: doubling from 30 s to 6 h, with jitter; never less than the provider asked for."""
    wait: float = min(_FIRST_WAIT * 2 ** min(attempt - 1, 20), _LONGEST_WAIT)
    if asked is not None:
        return max(asked, 0.0) * (1 + 0.1 * chance.random())
    return wait * (0.8 + 0.4 * chance.random())


class Rate:
    """At most `per_second` calls, over all threads of this process and divided by the dispatchers at work."""

    def __init__(self, per_second: float | None, timer: Timer) -> None:
        self._per_second = per_second
        self._timer = timer
        self._lock = threading.Lock()
        self._next = 0.0
        self._sharers = 1

    def share(self, dispatchers: int) -> None:
        """Divide the rate by the number of dispatchers."""
        with self._lock:
            self._sharers = max(1, dispatchers)

    def wait(self) -> None:
        """Return when the next call may go out."""
        with self._lock:
            now = self._timer.monotonic()
            start = max(now, self._next)
            if self._per_second:
                self._next = start + self._sharers / self._per_second
        if start > now:
            self._timer.sleep(start - now)

    def pause(self, seconds: float) -> None:
        """No call for this long: the provider asked for it."""
        with self._lock:
            self._next = max(self._next, self._timer.monotonic() + min(seconds, LONGEST_PAUSE))


class Circuit:
    """Whether a destination is still called. Opens after `FAILURES` failed calls in a row, or at once when its credentials are refused."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures = 0
        self.reason = ""

    @property
    def is_open(self) -> bool:
        return bool(self.reason)

    def succeeded(self) -> None:
        with self._lock:
            self._failures = 0

    def failed(self, reason: str) -> None:
        with self._lock:
            self._failures += 1
            if self._failures >= FAILURES and not self.reason:
                self.reason = f"{self._failures} calls failed in a row, the last one: {reason}"

    def stop(self, reason: str) -> None:
        with self._lock:
            self.reason = self.reason or reason
