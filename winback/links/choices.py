"""What a customer has chosen, from the ledger, and changing it: events, suppressions and frequency limits in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from winback.inbox.recording import MAILBOX, UNSUBSCRIBED, Event, EventType, derived_id, record_in
from winback.ledger import Ledger
from winback.ledger.tables import delivery_events, frequency_limits, messages, suppressions

CHANNELS = ("email", "sms", "push")
SOURCE = "links"
STAY = "stay"
CHOSE = "preferences"

Limit = tuple[int, int]
"""At most so many messages in so many days."""

WEEKLY: Limit = (1, 7)
MONTHLY: Limit = (1, 30)

# Refusals that no page takes back: the address is dead, or the person reported a message as spam.
_FINAL = frozenset({"bounced", "complained", "dead_token"})
# The customer can be written to there, but for a refusal that this page can take back.
_REVOCABLE = frozenset({"unsubscribed", "suppressed"})


@dataclass(frozen=True, slots=True)
class Choices:
    """What one customer gets. `has`: channels there are; of these, `on` are open and `silenced` cannot be opened by anybody.

    `left`: channels that the customer has closed, at whatever address. `emails`: the strictest limit on emails of this customer, None for
    none.
    """

    has: tuple[str, ...]
    on: frozenset[str]
    silenced: frozenset[str]
    left: frozenset[str]
    emails: Limit | None


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom a message was for, and on which channel it went."""

    message_id: str
    customer_id: str
    channel: str


class ChoiceBook:
    """Reads and changes choices. `published`: the file of published marts, which knows channels that nothing was sent to yet.

    `clock` gives the present (naive UTC). It is asked once the ledger is ours: nothing is recorded as of what a reader has passed.
    """

    def __init__(self, ledger: Ledger, published: Path, clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._published = published
        self._clock = clock

    def recipient(self, message_id: str) -> Recipient | None:
        """None for a message that the ledger does not know."""
        found = self._ledger.read(sa.select(messages.c.customer_id, messages.c.channel).where(messages.c.message_id == message_id))
        return Recipient(message_id, found[0].customer_id, found[0].channel) if found else None

    def choices(self, of: Recipient) -> Choices:
        """What the customer gets now."""
        with self._ledger.reading() as connection:
            sent = {
                row[0]
                for row in connection.execute(
                    sa.select(messages.c.channel).where(messages.c.customer_id == of.customer_id, messages.c.kind == "send").distinct()
                )
            }
            refusals = _refusals(connection, of.customer_id, self._clock())
            left = _left(connection, of.customer_id, self._clock())
            limits = [limit for _, limit in _limits(connection, of.customer_id, "email")]
        has = sent | {of.channel} | self._reachable(of.customer_id)
        silenced = {channel for channel, reason in refusals if reason in _FINAL}
        off = {channel for channel, reason in refusals if reason == UNSUBSCRIBED}
        known = tuple(channel for channel in CHANNELS if channel in has)
        on = frozenset(channel for channel in known if channel not in off | silenced and "all" not in off)
        strictest = min(limits, key=lambda limit: (limit[0] / limit[1], limit[0]), default=None)
        return Choices(known, on, frozenset(silenced), left, strictest)

    def leave(self, of: Recipient) -> None:
        """Close the message's channel. Doing it twice changes nothing more."""
        with self._ledger.writing() as writer:
            now = self._clock()
            if of.channel not in _left(writer.connection, of.customer_id, now):
                record_in(writer, [_event(of, "unsubscribed", of.channel, now)], now)

    def come_back(self, of: Recipient) -> None:
        """Take back that the message's channel is closed."""
        with self._ledger.writing() as writer:
            now = self._clock()
            if (of.channel, UNSUBSCRIBED) in _refusals(writer.connection, of.customer_id, now):
                record_in(writer, [_resubscribed(writer.connection, of, of.channel, now)], now)

    def stay(self, of: Recipient) -> None:
        """Note that the customer wants to stay: engagement by a person, which ends the journeys that ask for one."""
        with self._ledger.writing() as writer:
            now = self._clock()
            record_in(writer, [_event(of, "clicked", of.channel, now, link=STAY)], now)

    def choose(self, of: Recipient, on: Iterable[str], emails: Limit | None) -> None:
        """Open the channels `on`, close the customer's others, and limit emails. What is so already writes nothing."""
        before = self.choices(of)
        ticked = frozenset(on)
        wanted = ticked & frozenset(before.has) - before.silenced
        with self._ledger.writing() as writer:
            now = self._clock()
            opened = [channel for channel in before.has if channel in wanted - before.on]
            events = [_resubscribed(writer.connection, of, channel, now) for channel in opened]
            kept = _left(writer.connection, of.customer_id, now) | ticked
            events += [_event(of, "unsubscribed", channel, now) for channel in before.has if channel not in kept]
            if wanted:
                # Whoever says how they want to be written to has read the message.
                events.append(_event(of, "clicked", of.channel, now, link=CHOSE))
            record_in(writer, events, now)
            if emails != before.emails:
                in_force = _limits(writer.connection, of.customer_id, "email")
                rows = [_limit_row(limit_id, "lift", of, limit, now) for limit_id, limit in in_force]
                if emails is not None:
                    limit_id = derived_id(SOURCE, of.customer_id, "email", *emails, now.isoformat())
                    rows.append(_limit_row(limit_id, "add", of, emails, now))
                writer.record("frequency_limits", rows)

    def limits_ever(self, of: Recipient) -> set[Limit]:
        """Every limit on emails that was ever put on the customer: what an undo may ask for."""
        table = frequency_limits
        columns = (table.c.max_messages, table.c.window_days)
        rows = self._ledger.read(sa.select(*columns).where(table.c.customer_id == of.customer_id, table.c.channel == "email"))
        return {(row.max_messages, row.window_days) for row in rows}

    def _reachable(self, customer_id: str) -> set[str]:
        """Channels by which the published marts say the customer can be written to, or could but for an unsubscription."""
        if not self._published.is_file():
            return set()
        import duckdb

        columns = ", ".join(f"reachable_{channel}, {channel}_unreachable_reason" for channel in CHANNELS)
        try:
            with duckdb.connect(str(self._published), read_only=True) as connection:
                rows = connection.execute(f"select {columns} from marts.customers where customer_id = ?", [customer_id]).fetchall()
        except duckdb.Error:
            # Published by another version, or being looked at by a process that holds it: the ledger's channels remain.
            return set()
        if not rows:
            return set()
        pairs = zip(CHANNELS, rows[0][::2], rows[0][1::2], strict=True)
        return {channel for channel, reachable, reason in pairs if reachable or reason in _REVOCABLE}


def _resubscribed(connection: sa.Connection, of: Recipient, channel: str, now: datetime) -> Event:
    """Takes back what the address has refused, too: STOP by SMS names nobody but the number."""
    return replace(_event(of, "resubscribed", channel, now), address_hash=_addresses(connection, of.customer_id).get(channel))


def _event(of: Recipient, kind: EventType, channel: str, now: datetime, *, link: str | None = None) -> Event:
    return Event(
        event_id=derived_id(SOURCE, kind, of.message_id, channel, link, now.isoformat()),
        source=SOURCE,
        event_type=kind,
        occurred_at=now,
        channel=channel,
        message_id=of.message_id,
        link=link,
        customer_id=of.customer_id,
    )


def _addresses(connection: sa.Connection, customer_id: str) -> dict[str, str]:
    """Hash of the address per channel, of email and SMS, to which the customer's latest messages went, as far as events have told.

    What a mail names does not count: it may be anybody's address, and coming back would open that one too.
    """
    events = delivery_events
    rows = connection.execute(
        sa.select(events.c.channel, events.c.address_hash)
        .join_from(messages, events, events.c.message_id == messages.c.message_id)
        .where(
            messages.c.customer_id == customer_id,
            events.c.address_hash.is_not(None),
            events.c.channel.in_(("email", "sms")),
            events.c.source != MAILBOX,
        )
        .order_by(messages.c.not_before, events.c.occurred_at, events.c.seq)
    )
    return {row.channel: row.address_hash for row in rows}


def _left(connection: sa.Connection, customer_id: str, now: datetime) -> frozenset[str]:
    """Channels that the customer has closed, and not an address alone: it may be an old one, and mail to the new one would go on."""
    left = {channel for channel, reason in _in_force(connection, customer_id, {}, now) if reason == UNSUBSCRIBED}
    return frozenset(CHANNELS if "all" in left else left)


def _refusals(connection: sa.Connection, customer_id: str, now: datetime) -> set[tuple[str, str]]:
    """(channel, reason) of what is in force for the customer, or for the address that the customer has there."""
    return _in_force(connection, customer_id, _addresses(connection, customer_id), now)


def _in_force(connection: sa.Connection, customer_id: str, addresses: Mapping[str, str], now: datetime) -> set[tuple[str, str]]:
    """(channel, reason) of the suppressions that name the customer or one of the addresses, which are hashes by channel."""
    table = suppressions
    columns = (table.c.suppression_id, table.c.operation, table.c.channel, table.c.reason, table.c.starts_at, table.c.ends_at)
    of_customer = table.c.customer_id == customer_id
    of_addresses = [sa.and_(table.c.address_hash == hashed, table.c.channel == channel) for channel, hashed in addresses.items()]
    rows = connection.execute(sa.select(*columns).where(sa.or_(of_customer, *of_addresses))).all()
    lifted = {row.suppression_id for row in rows if row.operation == "lift"}
    return {
        (row.channel, row.reason)
        for row in rows
        if row.operation == "add"
        and row.suppression_id not in lifted
        and row.starts_at <= now
        and (row.ends_at is None or row.ends_at > now)
    }


def _limits(connection: sa.Connection, customer_id: str, channel: str) -> list[tuple[str, Limit]]:
    """(limit id, limit) of what is in force for the customer."""
    table = frequency_limits
    rows = connection.execute(
        sa.select(table.c.limit_id, table.c.operation, table.c.max_messages, table.c.window_days).where(
            table.c.customer_id == customer_id, table.c.channel == channel
        )
    ).all()
    lifted = {row.limit_id for row in rows if row.operation == "lift"}
    return [(row.limit_id, (row.max_messages, row.window_days)) for row in rows if row.operation == "add" and row.limit_id not in lifted]


def _limit_row(limit_id: str, operation: str, of: Recipient, limit: Limit, now: datetime) -> dict[str, Any]:
    return {
        "limit_id": limit_id,
        "operation": operation,
        "customer_id": of.customer_id,
        "channel": "email",
        "max_messages": limit[0],
        "window_days": limit[1],
        "recorded_at": now,
    }
