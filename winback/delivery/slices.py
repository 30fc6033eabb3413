"""How the queue is divided: by hashes that Python, DuckDB and PostgreSQL compute alike.

A customer's messages are in one slice, where caps and turns are counted; the changes of an audience are in one slice, as platforms judge
an audience's size by call.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import md5

CUSTOMER = "customer_id"
AUDIENCE = "platform || '|' || audience"


@dataclass(frozen=True, slots=True)
class Slice:
    """Slice `number` (from 0) of `of`: a range of the first 32 bits of MD5 hashes."""

    number: int
    of: int

    def contains(self, key: str) -> bool:
        """Whether the key lies in the slice."""
        return int(md5(key.encode(), usedforsecurity=False).hexdigest()[:8], 16) * self.of >> 32 == self.number

    def holds(self, key: str) -> str:
        """SQL (DuckDB, PostgreSQL): whether the value of the expression `key` lies in the slice. Bounds are compared as text."""
        start, end = (-(-(number << 32) // self.of) for number in (self.number, self.number + 1))
        hashed = f"md5({key})"
        bounds = [f"{hashed} >= '{start:08x}'"] if self.number else []
        bounds += [f"{hashed} < '{end:08x}'"] if self.number + 1 < self.of else []
        return f"({' and '.join(bounds) or 'true'})"

    def ledger_rows(self) -> dict[str, str]:
        """{table: condition in PostgreSQL's SQL}: what comes into the ledger while the slice is sent, and matters to it."""
        items = (
            f"exists (select from messages where messages.message_id = item_id and {self.holds(CUSTOMER)})"
            f" or exists (select from audience_changes where audience_changes.change_id = item_id and {self.holds(AUDIENCE)})"
        )
        of_others = f"exists (select from messages where messages.message_id = delivery_events.message_id and not {self.holds(CUSTOMER)})"
        return {
            "claims": items,
            "outcomes": items,
            "suppressions": "true",
            "frequency_limits": "true",
            "delivery_events": f"not {of_others}",
        }


def number_of(key: str, slices: int) -> str:
    """DuckDB's SQL: the number of the slice that the value of the expression `key` lies in."""
    return f"((('0x' || left(md5({key}), 8))::ubigint * {slices}) >> 32)::integer"
