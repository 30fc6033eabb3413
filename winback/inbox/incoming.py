"""What a source is: how a request proves where it comes from, and which events are in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Protocol
from urllib.parse import parse_qsl

from winback.inbox.recording import Event


class Refused(Exception):
    """The request does not prove that it comes from the provider. `status` is 401 (no proof) or 403 (a bad or stale one)."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Malformed(Exception):
    """The provider sent it, and it cannot be read. `reason` quotes nothing of it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Incoming:
    """One request, whole. Header names are lower case; `query` is as it stood in the URL; `received_at` is naive UTC."""

    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    received_at: datetime

    def json(self) -> Any:
        """The body as JSON.

        Raises
        ------
        Malformed
            It is none.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise Malformed("the body is no JSON") from None

    def form(self) -> list[tuple[str, str]]:
        """The body as a urlencoded form.

        Raises
        ------
        Malformed
            It is none.
        """
        try:
            return parse_qsl(self.body.decode(), keep_blank_values=True, strict_parsing=bool(self.body), max_num_fields=200)
        except (UnicodeDecodeError, ValueError):
            raise Malformed("the body is no urlencoded form") from None


@dataclass(slots=True)
class Batch:
    """What was found in a request or a mail: events to record, and things that were put aside with the reason.

    `ignored` counts what was understood and says nothing to us.
    """

    events: list[Event] = field(default_factory=list)
    aside: list[tuple[str, bytes]] = field(default_factory=list)
    ignored: int = 0


@dataclass(frozen=True, slots=True)
class Described:
    """What a route takes, for OpenAPI: media type, JSON Schema, and the names of the headers that prove the sender."""

    media_type: str
    schema: Mapping[str, Any]
    headers: tuple[str, ...]


class Source(Protocol):
    """Reads what one provider sends."""

    name: str
    paths: ClassVar[tuple[str, ...]]
    answer: ClassVar[tuple[str, str]]
    """Media type and body of the answer to what was taken; "" for our own JSON."""

    def describe(self, path: str) -> Described:
        """What is posted to one of its paths."""
        ...

    def verify(self, request: Incoming) -> None:
        """Raise `Refused` unless the request was sent by the provider, lately, as it arrived."""
        ...

    def read(self, request: Incoming) -> Batch:
        """The events of a verified request; raises `Malformed` where there is nothing to be read at all."""
        ...


EPOCH_SECONDS: Mapping[str, Any] = {"type": "integer", "minimum": 0, "maximum": 4_102_444_800}
"""JSON Schema of an instant as providers write it."""


def instant(value: object) -> datetime | None:
    """Epoch seconds (a number or digits) or an ISO 8601 text as naive UTC; None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(value.strip())
        except ValueError:
            try:
                value = float(value)
            except ValueError:
                return None
        else:
            try:
                return at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at
            except OverflowError:
                return None
    # Compared before anything else: an integer of JSON may be too long for a float, and infinite and NaN are below nothing.
    if not isinstance(value, int | float) or not 0 <= value < 1e11:
        return None
    return datetime.fromtimestamp(value, UTC).replace(tzinfo=None)


def text_of(value: Any, longest: int = 200) -> str:
    """A text or number as text, bounded; '' for anything else."""
    return str(value)[:longest] if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
