"""Delivery events and what follows from them, in one transaction, however often and in whatever order they arrive.

What follows depends on the set of events alone. Every refusal adds a suppression whose id names its cause; every later resubscription
(by the time it occurred, not the time it arrived) lifts it. So a duplicate changes nothing, and an unsubscription that arrives after a
later resubscription is recorded as lifted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import md5, sha256
from itertools import islice
from typing import Any, Literal

import sqlalchemy as sa

from winback.destinations.base import DEAD_TOKEN
from winback.ledger import Ledger, Writer
from winback.ledger.store import EVENTS_LOCK
from winback.ledger.tables import delivery_events, messages, suppressions

EventType = Literal[
    "processed", "delivered", "opened", "clicked", "read", "replied", "bounced", "soft_bounced", "dropped", "complained",
    "unsubscribed", "resubscribed", "failed",
]  # fmt: skip
"""`bounced`: the address is dead for good. `soft_bounced`: it may work later. `failed`: says nothing about the address."""

UNSUBSCRIBED = "unsubscribed"
RESUBSCRIBED = "resubscribed"
MAILBOX = "mailbox"
"""Source of what came by mail, which proves nothing about who wrote it: the address is a claim, even about a message of ours."""

_REFUSALS = frozenset({"bounced", "complained", UNSUBSCRIBED})
_CHUNK = 400
_LONGEST = 200
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened to a message or an address, as a row of `delivery_events`.

    Addresses appear as `address_hash` only; `occurred_at` is naive UTC. `customer_id` is no column: it says whose wish an event is where
    neither a message of ours nor an address does (a preference page).
    """

    event_id: str
    source: str
    event_type: EventType
    occurred_at: datetime
    channel: str | None = None
    message_id: str | None = None
    provider_id: str | None = None
    address_hash: str | None = None
    is_machine: bool = False
    link: str | None = None
    reason: str | None = None
    customer_id: str | None = None


@dataclass(frozen=True, slots=True)
class RecordReport:
    """What was new: events, suppressions, and suppressions lifted. `received` counts duplicates too."""

    received: int
    events: int
    suppressed: int
    lifted: int


def derived_id(*parts: object) -> str:
    """md5 of the parts joined with `|`, in lower-case hex: the form of every id of the ledger."""
    return md5("|".join(map(str, parts)).encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


def address_hash(channel: str, address: str) -> str | None:
    """SHA-256 (hex) of an address as the warehouse normalises it; None where there is none.

    Email: trimmed, lower case. SMS: E.164 (prefixes such as `whatsapp:` are dropped). Push: the token as it is.
    """
    text = address.strip()
    if channel == "email":
        text = text.lower()
    elif channel == "sms":
        text = text.rpartition(":")[2].strip()
    return sha256(text.encode("utf-8", "replace")).hexdigest() if text else None


def record_events(ledger: Ledger, events: Sequence[Event], now: datetime) -> RecordReport:
    """Write events and their consequences: all of them, or none. On disk when it returns.

    Parameters
    ----------
    now
        When they were received. Nothing is recorded as having occurred later.

    Raises
    ------
    Busy
        Another process has held the ledger for too long. Nothing was written; the sender should try again.
    """
    with ledger.writing() as writer:
        return record_in(writer, events, now)


def record_in(writer: Writer, events: Sequence[Event], now: datetime) -> RecordReport:
    """`record_events` inside a transaction that writes other rows too (a preference page's frequency limit)."""
    unique = list({event.event_id: event for event in reversed(events)}.values())[::-1]
    deciding = [event for event in unique if event.event_type in _REFUSALS or event.event_type == RESUBSCRIBED]
    if deciding:
        # Two writers, one with a wish and one with its revocation, must each see the other's.
        writer.alone_at(EVENTS_LOCK)
    known = _known(writer, [event.event_id for event in deciding])
    new = writer.record("delivery_events", [_row(event, now) for event in unique])
    fresh = [event for event in deciding if event.event_id not in known]
    customers = _customers(writer, fresh)
    refusals = [row for event in fresh if event.event_type in _REFUSALS for row in _suppressions(event, customers, now)]
    suppressed = writer.record("suppressions", refusals)
    writer.record("suppressions", [row for event in fresh if (row := _named_return(event, customers, now))])
    lifted = writer.record("suppressions", _lifts(writer, fresh, refusals, customers, now)) if fresh else 0
    return RecordReport(len(events), new, suppressed, lifted)


def _row(event: Event, now: datetime) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "source": event.source,
        "event_type": event.event_type,
        "message_id": _text(event.message_id),
        "provider_id": _text(event.provider_id),
        "channel": event.channel,
        "address_hash": event.address_hash,
        "occurred_at": min(event.occurred_at, now),
        "is_machine": int(event.is_machine),
        "link": _text(event.link),
        "reason": _text(event.reason),
        "recorded_at": now,
    }


def _text(value: str | None) -> str | None:
    """Bounded, and without what a database or a terminal would choke on."""
    return None if value is None else _UNWRITABLE.sub(" ", value)[:_LONGEST].strip() or None


def _known(writer: Writer, ids: Sequence[str]) -> set[str]:
    return {
        row[0]
        for chunk in _chunks(ids)
        for row in writer.connection.execute(sa.select(delivery_events.c.event_id).where(delivery_events.c.event_id.in_(chunk)))
    }


def _customers(writer: Writer, events: Sequence[Event]) -> dict[str, str]:
    """Customer per message id, of the messages that are ours."""
    ids = sorted({text for event in events if (text := _text(event.message_id))})
    return {
        row[0]: row[1]
        for chunk in _chunks(ids)
        for row in writer.connection.execute(
            sa.select(messages.c.message_id, messages.c.customer_id).where(messages.c.message_id.in_(chunk))
        )
    }


def _customer(event: Event, customers: dict[str, str]) -> str | None:
    return customers.get(_text(event.message_id) or "") or _text(event.customer_id)


def _suppressions(event: Event, customers: dict[str, str], now: datetime) -> list[dict[str, Any]]:
    """The row that keeps the channel silent. A dead address is silenced as an address, a person's wish as the person's too.

    An address that is only claimed is left to the dispatcher, which knows the addresses of customers (`silence_claimed`).
    """
    customer = _customer(event, customers)
    address = None if event.source == MAILBOX else event.address_hash
    if event.event_type == "bounced" and event.address_hash:
        customer = None
    if event.channel is None or not (address or customer):
        return []
    reason = DEAD_TOKEN if (event.event_type, event.channel) == ("bounced", "push") else event.event_type
    return [
        {
            "suppression_id": derived_id(reason, address or customer, event.channel, event.event_id),
            "operation": "add",
            "customer_id": customer,
            "address_hash": address,
            "channel": event.channel,
            "reason": reason,
            "starts_at": min(event.occurred_at, now),
            "source": event.source,
            "recorded_at": now,
        }
    ]


def _named_return(event: Event, customers: dict[str, str], now: datetime) -> dict[str, Any] | None:
    """A lift of no suppression: keeps whose return it was, where the event names a customer and no message of ours does.

    A refusal that occurred before and arrives later has to find it, and events hold no customers.
    """
    customer = _text(event.customer_id)
    if event.event_type != RESUBSCRIBED or customer is None or event.channel is None or (_text(event.message_id) or "") in customers:
        return None
    return {
        "suppression_id": derived_id(RESUBSCRIBED, customer, event.channel, event.event_id),
        "operation": "lift",
        "customer_id": customer,
        "address_hash": event.address_hash,
        "channel": event.channel,
        "reason": RESUBSCRIBED,
        "starts_at": min(event.occurred_at, now),
        "source": event.source,
        "recorded_at": now,
    }


@dataclass(frozen=True, slots=True)
class _Return:
    """A resubscription: who, on which channel, when."""

    address_hash: str | None
    customer_id: str | None
    channel: str | None
    at: datetime

    def ends(self, row: dict[str, Any]) -> bool:
        """Whether it takes back that suppression. Of two wishes of one instant the refusal holds."""
        same = (self.address_hash and self.address_hash == row["address_hash"]) or (
            self.customer_id and self.customer_id == row["customer_id"]
        )
        return bool(same) and self.channel in ("all", row["channel"]) and self.at > row["starts_at"]


def _lifts(
    writer: Writer, fresh: Sequence[Event], refusals: Sequence[dict[str, Any]], customers: dict[str, str], now: datetime
) -> list[dict[str, Any]]:
    """Lifts of new refusals by returns known already or new, and of known refusals by new returns.

    Only unsubscriptions: a complaint or a dead address stays, whatever button was pressed.
    """
    new_returns = [
        _Return(event.address_hash, _customer(event, customers), event.channel, min(event.occurred_at, now))
        for event in fresh
        if event.event_type == RESUBSCRIBED
    ]
    wishes = [row for row in refusals if row["reason"] == UNSUBSCRIBED]
    known_returns = _returns(writer, wishes)
    pairs = [(row, one) for one in new_returns for row in _standing(writer, one)]
    pairs += [(row, one) for row in wishes for key in _keys(row) for one in known_returns.get(key, ())]
    lifted = {row["suppression_id"]: row for row, one in pairs if one.ends(row)}
    return [{**row, "operation": "lift", "recorded_at": now} for row in lifted.values()]


def _keys(row: dict[str, Any]) -> list[tuple[str, str]]:
    """Whom a suppression is about, as address and as customer."""
    return [(name, row[name]) for name in ("address_hash", "customer_id") if row[name] is not None]


def _standing(writer: Writer, one: _Return) -> list[dict[str, Any]]:
    """Unsubscriptions on record of the person or address that returns."""
    table = suppressions
    columns = [column for column in table.columns if column.name != "seq"]
    found: dict[str, dict[str, Any]] = {}
    for column, value in ((table.c.address_hash, one.address_hash), (table.c.customer_id, one.customer_id)):
        if value is not None:
            query = sa.select(*columns).where(column == value, table.c.reason == UNSUBSCRIBED, table.c.operation == "add")
            found.update({row["suppression_id"]: dict(row) for row in writer.connection.execute(query).mappings()})
    return list(found.values())


def _returns(writer: Writer, refusals: Sequence[dict[str, Any]]) -> dict[tuple[str, str], list[_Return]]:
    """Resubscriptions on record of the addresses and customers that refuse."""
    table = delivery_events
    # Spelled out: SQLite uses the partial index only where the query repeats its condition.
    returned = sa.text("delivery_events.event_type = 'resubscribed'")
    found: dict[tuple[str, str], list[_Return]] = {}
    keys = sorted({key for row in refusals for key in _keys(row)})
    for chunk in _chunks([value for name, value in keys if name == "address_hash"]):
        query = sa.select(table.c.address_hash, table.c.channel, table.c.occurred_at).where(returned, table.c.address_hash.in_(chunk))
        for row in writer.connection.execute(query):
            found.setdefault(("address_hash", row[0]), []).append(_Return(row[0], None, row[1], row[2]))
    for chunk in _chunks([value for name, value in keys if name == "customer_id"]):
        query = (
            sa.select(messages.c.customer_id, table.c.address_hash, table.c.channel, table.c.occurred_at)
            .join_from(messages, table, messages.c.message_id == table.c.message_id)
            .where(returned, messages.c.customer_id.in_(chunk))
        )
        named = sa.select(suppressions.c.customer_id, suppressions.c.address_hash, suppressions.c.channel, suppressions.c.starts_at).where(
            suppressions.c.reason == RESUBSCRIBED, suppressions.c.customer_id.in_(chunk)
        )
        for row in (*writer.connection.execute(query), *writer.connection.execute(named)):
            found.setdefault(("customer_id", row[0]), []).append(_Return(row[1], row[0], row[2], row[3]))
    return found


def _chunks(ids: Sequence[str]) -> list[list[str]]:
    remaining = iter(ids)
    return list(iter(lambda: list(islice(remaining, _CHUNK)), []))
