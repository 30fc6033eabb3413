"""When a message may leave: the customer's own hour of sending and their quiet hours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from winback.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `messages` per customer and channel in any stretch of `days` days."""

    messages: int
    days: int


@dataclass(frozen=True, slots=True)
class SendingPolicy:
    """brand.yml `sending`. Hours are of the customer's own day; 21 to 8 spans midnight; equal ones mean no quiet hours."""

    local_hour: int = 10
    quiet_from: int = 21
    quiet_to: int = 8
    timezone: str = "UTC"
    caps: Mapping[str, Cap] = field(default_factory=dict)

    @staticmethod
    def from_json(text: str) -> SendingPolicy:
        """Read a `definition` of the ledger's policy_versions."""
        values: dict[str, Any] = json.loads(text)
        quiet = values.get("quiet_hours") or {}
        caps = {channel: Cap(cap["messages"], cap["days"]) for channel, cap in (values.get("caps") or {}).items() if cap}
        return SendingPolicy(
            local_hour=values.get("local_hour", 10),
            quiet_from=quiet.get("from", 21),
            quiet_to=quiet.get("to", 8),
            timezone=values.get("timezone") or "UTC",
            caps=caps,
        )

    @staticmethod
    def in_force(ledger: Ledger) -> SendingPolicy:
        """The newest policy of the ledger, or the defaults (without caps) where none was recorded."""
        row = ledger.latest_policy()
        return SendingPolicy.from_json(row["definition"]) if row else SendingPolicy()

    def is_quiet(self, hour: int) -> bool:
        """Whether nothing is sent in this hour of the customer's day."""
        if self.quiet_from <= self.quiet_to:
            return self.quiet_from <= hour < self.quiet_to
        return hour >= self.quiet_from or hour < self.quiet_to

    def sending_time(self, after: datetime, timezone: str | None) -> datetime:
        """The first instant at or after `after` (both naive UTC) that is the hour of sending where the customer lives.

        An hour of sending that lies in the quiet hours moves to their end.
        """
        hour = self.quiet_to if self.is_quiet(self.local_hour) else self.local_hour
        return _next_local_hour(after, hour, _zone(timezone, self.timezone))

    def quiet_until(self, now: datetime, timezone: str | None) -> datetime | None:
        """When the quiet hours that `now` lies in end (naive UTC); None outside of them."""
        zone = _zone(timezone, self.timezone)
        if not self.is_quiet(now.replace(tzinfo=UTC).astimezone(zone).hour):
            return None
        return _next_local_hour(now, self.quiet_to, zone)


def _next_local_hour(after: datetime, hour: int, zone: ZoneInfo) -> datetime:
    day = after.replace(tzinfo=UTC).astimezone(zone).date()
    while True:
        # A local hour that the change to summer time leaves out becomes the hour after it; of two equal ones it is the first.
        instant = datetime.combine(day, time(hour), tzinfo=zone).astimezone(UTC).replace(tzinfo=None)
        if instant >= after:
            return instant
        day += timedelta(days=1)


@lru_cache(maxsize=1024)
def _zone(name: str | None, default: str) -> ZoneInfo:
    for candidate in (name, default):
        if candidate:
            try:
                return ZoneInfo(candidate)
            except (ZoneInfoNotFoundError, ValueError, OSError):
                continue
    return ZoneInfo("UTC")
