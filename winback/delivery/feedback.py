"""What comes back while messages still leave: events that settle an unknown outcome, and what speaks against sending by now.

The receiver writes into the ledger at any time. The queue copies it at the start of a pass; a pass may take hours, so each batch asks the
ledger itself what has been added since.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import duckdb
import sqlalchemy as sa

from winback.delivery.rules import Rules
from winback.destinations.identifiers import sha256_hex
from winback.inbox.recording import MAILBOX, UNSUBSCRIBED, derived_id
from winback.ledger import Ledger
from winback.ledger.tables import delivery_events, messages, metadata, suppressions

if TYPE_CHECKING:
    from winback.delivery.queue import Item

SUPPRESSED = "suppressed"
ENGAGED = "engaged"
LOOK_AGAIN = "look_again"
"""The reason with which a message waits for the next look at the queue."""

_ENGAGEMENT = ("opened", "clicked", "read", "replied")

# PostgreSQL hands out `seq` before a row can be seen: a slower writer may still add a lower one.
_OVERLAP = 1000

_PROVED = """
with doubted as (
    select item_id, max(attempt) as attempt, arg_max(outcome, attempt) as outcome, arg_max(destination, attempt) as destination
    from ledger.outcomes
    where item_id in (select item_id from ledger.outcomes where outcome = 'unknown')
    group by item_id
)
select doubted.item_id, doubted.attempt, doubted.destination, bool_and(events.event_type = 'dropped') as is_dropped
from doubted
join ledger.delivery_events as events on events.message_id = doubted.item_id
where doubted.outcome = 'unknown'
group by all
order by doubted.item_id
"""


def settle_doubts(connection: duckdb.DuckDBPyConnection, ledger: Ledger, worker: str, rules: Rules, now: datetime) -> dict[str, int]:
    """Record as accepted the messages of unknown outcome of which an event has come back; returns {outcome: messages}.

    A message that the provider says it dropped was rejected. What another dispatcher is asking about or repeating is left to it. Reads
    schema `ledger` of the warehouse.
    """
    settled: dict[str, int] = {}
    proved = connection.execute(_PROVED).fetchall()
    if not proved:
        return settled
    with ledger.writing() as writer:
        for item_id, attempt, destination, is_dropped in proved:
            follows = {"item_id": item_id, "attempt": attempt + 1, "recorded_at": now}
            if not writer.record("claims", [follows | {"worker": worker, "lease_until": now}]):
                continue
            outcome = "rejected" if is_dropped else "accepted"
            writer.record("outcomes", [follows | {"outcome": outcome, "reason": rules.proved_by_event, "destination": destination}])
            settled[outcome] = settled.get(outcome, 0) + 1
    return settled


_CLAIMED = f"""
select events.event_id, events.event_type, events.channel, events.address_hash, events.occurred_at, messages.customer_id
from ledger.delivery_events as events
join ledger.messages as messages using (message_id)
anti join ledger.suppressions as known
    on known.address_hash = events.address_hash and known.channel = events.channel and known.reason = events.event_type
where events.source = '{MAILBOX}' and events.event_type in ('bounced', 'complained') and events.address_hash is not null
order by events.event_id
"""


def silence_claimed(connection: duckdb.DuckDBPyConnection, ledger: Ledger, now: datetime) -> int:
    """Silence the addresses that mails called dead or complained of, where they are those of the messages' customers; returns how many.

    Whoever has had a message of ours can write a mail about it that names anybody. Reads schema `ledger` of the warehouse and, where mails
    have claimed something, the customers' addresses.
    """
    claimed = connection.execute(_CLAIMED).fetchall()
    if not claimed:
        return 0
    addresses = set(
        connection.execute(
            "select customer_id, sha256(email) from intermediate.int_customers__contacts where customer_id in (select unnest(?))",
            [sorted({row[-1] for row in claimed})],
        ).fetchall()
    )
    rows = [
        {
            "suppression_id": derived_id(reason, hashed, channel, event_id),
            "operation": "add",
            "address_hash": hashed,
            "channel": channel,
            "reason": reason,
            "starts_at": occurred_at,
            "source": MAILBOX,
            "recorded_at": now,
        }
        for event_id, reason, channel, hashed, occurred_at, customer_id in claimed
        if (customer_id, hashed) in addresses
    ]
    return ledger.record("suppressions", rows) if rows else 0


class News:
    """What the ledger has learnt since this was made. Thread-safe.

    `addresses_of` tells the addresses (email, phone, push token) under which a customer is known.
    """

    def __init__(self, ledger: Ledger, addresses_of: Callable[[str], Sequence[str | None]]) -> None:
        self._ledger = ledger
        self._addresses_of = addresses_of
        self._lock = threading.Lock()
        with ledger.reading() as connection:
            self._newest = {table.name: _newest(connection, table) for table in (suppressions, delivery_events)}
            # What the queue knows it has judged.
            self._seen: dict[str, set[int]] = {
                name: set(connection.execute(sa.select(_seq(name)).where(_seq(name) > newest - _OVERLAP)).scalars())
                for name, newest in self._newest.items()
            }
        self._silenced: set[tuple[str, str]] = set()
        self._engaged: dict[str, datetime] = {}

    def against(self, items: Iterable[Item], now: datetime) -> dict[str, str]:
        """{item_id: reason} of messages that may not leave: suppressed, or engaged where that ends the journey."""
        with self._lock:
            self._read(now)
            found = {}
            for item in items:
                row = item.row
                who = {row["customer_id"]}
                if row["address"]:
                    who.add(sha256_hex(row["address"]))
                if any((one, channel) in self._silenced for one in who for channel in ("all", row["channel"])):
                    found[item.item_id] = SUPPRESSED
                elif row["exit_on_engagement"] and any(self._engaged[one] >= row["enrolled_at"] for one in who & self._engaged.keys()):
                    found[item.item_id] = ENGAGED
            return found

    def _read(self, now: datetime) -> None:
        with self._ledger.reading() as connection:
            refusals, engagements = self._new_suppressions(connection, now), self._new_engagement(connection)
            self._newest = {name: _newest(connection, metadata.tables[name]) for name in self._newest}
        for seq, customer, address, channel, reason in refusals:
            if seq not in self._seen[suppressions.name]:
                self._seen[suppressions.name].add(seq)
                self._silenced.update((one, channel) for one in (customer, address) if one)
                if customer and reason == UNSUBSCRIBED:
                    # Who left by a link of ours left with the address, whoever else is known by it.
                    self._silenced.update((sha256_hex(one), channel) for one in self._addresses_of(customer) if one)
        for seq, who, occurred_at in engagements:
            if seq not in self._seen[delivery_events.name]:
                self._seen[delivery_events.name].add(seq)
                if who:
                    self._engaged[who] = max(occurred_at, self._engaged.get(who, occurred_at))

    def _new_suppressions(self, connection: sa.Connection, now: datetime) -> Sequence[Any]:
        table = suppressions
        lifts = sa.select(table.c.suppression_id).where(table.c.operation == "lift")
        new = sa.select(table.c.seq, table.c.customer_id, table.c.address_hash, table.c.channel, table.c.reason).where(
            table.c.seq > self._newest[table.name] - _OVERLAP,
            table.c.operation == "add",
            table.c.starts_at <= now,
            sa.or_(table.c.ends_at.is_(None), table.c.ends_at > now),
            table.c.suppression_id.not_in(lifts),
        )
        return connection.execute(new).all()

    def _new_engagement(self, connection: sa.Connection) -> Sequence[Any]:
        events = delivery_events
        new = (
            sa.select(events.c.seq, sa.func.coalesce(messages.c.customer_id, events.c.address_hash), events.c.occurred_at)
            .select_from(events.outerjoin(messages, messages.c.message_id == events.c.message_id))
            .where(events.c.seq > self._newest[events.name] - _OVERLAP, events.c.event_type.in_(_ENGAGEMENT), events.c.is_machine == 0)
        )
        return connection.execute(new).all()


def _newest(connection: sa.Connection, table: sa.Table) -> int:
    return int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(table.c.seq), 0))).scalar_one())


def _seq(table: str) -> sa.Column[Any]:
    return metadata.tables[table].c.seq


def normal_address(events: str) -> str:
    """SQL: the address of the raw message event `events` in the form in which contacts hold it (the models' rule, macro normal_address)."""
    return f"""
        case {events}.channel
            when 'email' then lower(trim({events}.address))
            when 'sms' then nullif(regexp_replace(regexp_replace({events}.address, '[^0-9+]', '', 'g'), '^00', '+'), '')
            else trim({events}.address)
        end
    """


def came_back(rules: Rules) -> str:
    """SQL: common table expressions up to `returned`, the events of `due` customers that came back, as message events are.

    The models' rules (int_engagement__delivery_events_judged, message_event_type) as of $now, for CTEs `due` and `addressed`.
    """
    arrival = f"arrivals.arrived_at + interval {rules.scanner_seconds} second"
    return f"""
    came_back as (
        select events.*, messages.customer_id, messages.program
        from ledger.delivery_events as events
        join ledger.messages as messages using (message_id)
        where messages.customer_id in (select customer_id from due)
            and events.recorded_at <= $now and events.occurred_at > $now - interval 400 day
        union all
        select events.*, holders.customer_id, null
        from ledger.delivery_events as events
        join (select distinct customer_id, channel, sha256(address) as address_hash from addressed where address is not null) as holders
            on holders.address_hash = events.address_hash and holders.channel = events.channel
        left join ledger.messages as messages on messages.message_id = events.message_id
        where messages.message_id is null and events.recorded_at <= $now and events.occurred_at > $now - interval 400 day
    ),
    arrivals as (
        select message_id, min(occurred_at) filter (event_type = 'delivered') as delivered_at,
            coalesce(min(occurred_at) filter (event_type = 'delivered'), min(occurred_at)) as arrived_at
        from came_back
        where channel = 'email' and event_type in ('delivered', 'clicked') and message_id is not null
        group by message_id
    ),
    scanned as (
        select clicks.message_id
        from came_back as clicks
        join arrivals using (message_id)
        where clicks.event_type = 'clicked' and clicks.channel = 'email' and clicks.occurred_at <= {arrival}
        group by clicks.message_id
        having count(distinct clicks.link) >= {rules.scanner_links_at_least}
    ),
    returned as (
        select came_back.event_id, came_back.customer_id, came_back.channel,
            case
                when came_back.event_type = 'read' then 'opened'
                when came_back.event_type = 'soft_bounced' then 'bounced'
                else came_back.event_type
            end as event_type,
            came_back.occurred_at, came_back.program as campaign,
            came_back.is_machine = 1 or (
                came_back.channel = 'email' and came_back.event_type in ('opened', 'clicked')
                and coalesce(
                    came_back.occurred_at < arrivals.delivered_at
                    or (scanned.message_id is not null and came_back.occurred_at <= {arrival}), false
                )
            ) as is_machine
        from came_back
        left join arrivals using (message_id)
        left join scanned using (message_id)
        where came_back.event_type in ('delivered', 'opened', 'clicked', 'read', 'replied', 'bounced', 'soft_bounced')
    )
    """
