"""The only place that asks the machine for the time or for chance.

Everything else takes `now` (naive UTC) or a seeded generator as an argument, so that ninety days run in a test in seconds.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime


def utc_now() -> datetime:
    """Now, in UTC, without zone, to the microsecond."""
    return datetime.now(UTC).replace(tzinfo=None)


def unguessable_token(length: int = 16) -> str:
    """A random URL-safe token of at least `length` bytes of entropy."""
    return secrets.token_urlsafe(length)
