"""What time it is for those who follow links."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from winback.clock import utc_now
from winback.ledger import Ledger
from winback.settings import Settings


def clock_of(settings: Settings, ledger: Ledger) -> Callable[[], datetime]:
    """Now (naive UTC). On the simulated clock: the present time of day on the day after the last one that was applied.

    So that whoever unsubscribes from a message of the demo has done so before the demo's next day begins.
    """
    if settings.clock == "real":
        return utc_now

    def simulated() -> datetime:
        applied = ledger.last_applied()
        now = utc_now()
        return now if applied is None else datetime.combine(applied, now.time())

    return simulated
