"""Faults on demand for the local outbox: what real providers do on bad days, by chance from a seed.

`throttled=0.1,error=0.05,seed=7` (WINBACK_OUTBOX_FAULTS) means: one call in ten is answered with 429, one in twenty with 500.

    throttled   429 with Retry-After; nothing is taken       reject     single items are refused for good
    error       500; nothing is taken                        defer      single items are deferred (a partial batch)
    drop        the call is lost; nothing is taken, unknown  duplicate  one answer too many comes back
    lost        everything is taken, the answer is lost      die        everything is taken, and the process dies
    stop        credentials are refused
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Mapping

from winback.destinations.base import Outcome, Result
from winback.errors import BadConfig, InDoubt, RetryLater, StopRun

PER_CALL = ("throttled", "error", "drop", "lost", "duplicate", "die", "stop")
PER_ITEM = ("reject", "defer")
RETRY_AFTER = 2.0


class Faults:
    """Decides per call and per item whether something goes wrong. Without rates nothing does."""

    def __init__(self, rates: Mapping[str, float] | None = None, *, seed: int = 0) -> None:
        self._rates = dict(rates or {})
        self._random = random.Random(seed)  # noqa: S311  (faults, not secrets)

    @staticmethod
    def parse(text: str) -> Faults:
        """Read `name=share,...,seed=n`.

        Raises
        ------
        BadConfig
            An unknown name, or a share that is not between 0 and 1.
        """
        rates: dict[str, float] = {}
        seed = 0
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, value = part.partition("=")
            try:
                number = float(value)
                valid = name == "seed" or (name in PER_CALL + PER_ITEM and 0 <= number <= 1)
            except ValueError:
                valid = False
            if not valid:
                allowed = ", ".join(PER_CALL + PER_ITEM)
                raise BadConfig(
                    f"WINBACK_OUTBOX_FAULTS: found {part!r}; allowed: seed=n, or name=share with a share from 0 to 1 and "
                    f"a name of {allowed}."
                )
            if name == "seed":
                seed = int(number)
            else:
                rates[name] = number
        return Faults(rates, seed=seed)

    def before(self, items: int) -> None:
        """What goes wrong before anything is taken."""
        if not self._rates or not items:
            return
        if self._happens("stop"):
            raise StopRun("outbox: credentials are refused (a fault on demand)")
        if self._happens("throttled"):
            raise RetryLater("outbox: throttled (a fault on demand)", RETRY_AFTER)
        if self._happens("error"):
            raise RetryLater("outbox: error 500 (a fault on demand)")
        if self._happens("drop"):
            raise InDoubt("outbox: no answer (a fault on demand)")

    def refusal(self) -> Result | None:
        """What goes wrong with one item."""
        if not self._rates:
            return None
        if self._happens("reject"):
            return Result(Outcome.REJECTED, "refused (a fault on demand)")
        if self._happens("defer"):
            return Result(Outcome.DEFERRED, "not now (a fault on demand)")
        return None

    def after(self, results: list[Result]) -> list[Result]:
        """What goes wrong once everything is taken: the results as the caller gets them."""
        if not self._rates:
            return results
        if self._happens("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self._happens("lost"):
            raise InDoubt("outbox: the answer was lost (a fault on demand)")
        if self._happens("duplicate"):
            return [*results, results[-1]]
        return results

    def _happens(self, name: str) -> bool:
        share = self._rates.get(name, 0.0)
        return share > 0 and self._random.random() < share
