"""The interface between the dispatcher and whatever takes messages and audience changes.

A destination is one module with one class. The dispatcher reads `capabilities`, hands over at most `batch_size` items and gets
exactly one `Result` per item, in the same order. A destination never retries, never sleeps and never touches the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Protocol, runtime_checkable

# Reasons that the dispatcher acts on; every other reason is for people.
DEAD_TOKEN = "dead_token"  # noqa: S105  (rejected: the app is gone from this device; the push token is not used again)
AUDIENCE_TOO_SMALL = "audience_too_small"  # deferred: the platform refuses until the audience has `minimum_audience` members


class Channel(StrEnum):
    EMAIL = "email"
    SMS = "sms"
    PUSH = "push"
    ADS = "ads"
    LISTS = "lists"
    TASK = "task"


class Outcome(StrEnum):
    """What became of one item. `accepted` and `rejected` are final; `deferred` is tried again; `unknown` is never blindly resent."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    DEFERRED = "deferred"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a destination can do, as typed facts that the dispatcher reads.

    `rate_per_second` counts requests; None means no known limit. `idempotent`: the provider takes an idempotency key (or has set
    semantics), so an unknown outcome may be repeated. `can_ask`: `resolve` (messages) or `resolve_changes` (audience changes) can find out
    what became of an unknown item, at the earliest `ask_after` seconds after the attempt. `needs_contact`: audience changes must carry
    the `contact`, for platforms that take addresses in clear. `tracks`: opens and clicks are counted by the provider, so that we put
    neither pixel nor redirects into the message.
    """

    channels: frozenset[Channel]
    batch_size: int = 1
    rate_per_second: float | None = None
    concurrency: int = 1
    idempotent: bool = False
    can_ask: bool = False
    ask_after: float = 0.0
    minimum_audience: int = 0
    needs_contact: bool = False
    tracks: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """One rendered message for one person. `to` is an email address, an E.164 number, a push token or (tasks) a customer id.

    Where `resolve` is asked about it, text and address are those of today, which may be others than those of the attempt: `first_tried_at`
    is the instant (naive UTC) before which it cannot have left, `is_readdressed` whether an attempt had another address.
    """

    message_id: str
    channel: Channel
    customer_id: str
    to: str
    program: str
    program_version: int
    step_no: int
    content: str
    subject: str = ""
    text: str = ""
    html: str = ""
    preheader: str = ""
    to_name: str = ""
    language: str = ""
    unsubscribe_url: str = ""
    unsubscribe_mailto: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    first_tried_at: datetime | None = None
    is_readdressed: bool = False


@dataclass(frozen=True, slots=True)
class Contact:
    """Addresses of one person as the warehouse holds them, before any platform's own normalisation."""

    customer_id: str
    email: str | None = None
    phone: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    country: str | None = None


class AudienceOperation(StrEnum):
    ADD = "add"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class AudienceChange:
    """One person into or out of one ad audience or list. `identifiers` are (type, hash) pairs as this platform documents them.

    `contact` is filled just before sending where the destination `needs_contact`; it is never stored and never printed.
    """

    change_id: str
    audience: str
    customer_id: str
    operation: AudienceOperation
    identifiers: tuple[tuple[str, str], ...]
    contact: Contact | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one item. `reason` is for people and holds no address, token or body; `retry_after` is in seconds.

    `unknown` with a `provider_id` from a destination that can be asked: the provider took the order and is still working on it;
    `resolve_changes` with that id, after `retry_after`, says how it ended.
    """

    outcome: Outcome
    reason: str = ""
    provider_id: str = ""
    retry_after: float | None = None


class MessageDestination(Protocol):
    """Takes messages of the channels it names."""

    name: str
    capabilities: ClassVar[Capabilities]

    def send(self, messages: Sequence[Message], now: datetime) -> list[Result]:
        """Hand over at most `capabilities.batch_size` messages; one result each, in order.

        Raises
        ------
        RetryLater
            The provider takes nothing now (throttled, down); none of the messages was taken.
        StopRun
            Credentials or configuration are refused: no later item can succeed either.
        RejectItem
            The batch is refused as a whole and the provider names no item; none was taken. The dispatcher sends its halves.
        """
        ...

    def resolve(self, messages: Sequence[Message], now: datetime) -> list[Result]:
        """Ask what became of messages whose outcome is unknown (only where `capabilities.can_ask`)."""
        ...

    def check(self) -> str:
        """Probe the credentials cheaply and say in a line what this destination can do."""
        ...

    def close(self) -> None: ...


class AudienceDestination(Protocol):
    """Takes changes of ad audiences."""

    name: str
    capabilities: ClassVar[Capabilities]

    def identifiers(self, contact: Contact) -> tuple[tuple[str, str], ...]:
        """This platform's hashed identifiers of one person; empty where there is none."""
        ...

    def change(self, changes: Sequence[AudienceChange], now: datetime) -> list[Result]:
        """Apply at most `capabilities.batch_size` changes of one audience and one operation; one result each, in order."""
        ...

    def check(self) -> str: ...

    def close(self) -> None: ...


@runtime_checkable
class FollowsUp(Protocol):
    """An audience destination that works asynchronously: `change` places an order, the outcome comes later."""

    def resolve_changes(self, changes: Sequence[AudienceChange], provider_ids: Sequence[str], now: datetime) -> list[Result]:
        """How the orders ended that `change` answered with `unknown` and a provider id; one result each, in order.

        `provider_ids[i]` belongs to `changes[i]`. Still `unknown` with the same id: not finished; without an id: nobody will ever know, and
        what is idempotent is ordered again. Changes of one order are best asked
        together (one request answers for all of them).
        """
        ...
