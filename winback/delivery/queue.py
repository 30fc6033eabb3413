"""What is due, and what speaks against sending it now: read afresh from the warehouse's raw tables and the ledger.

Raw data cannot change while a dispatch holds the warehouse, so one set-based reading at the start of a pass is as fresh as one before
every message; what other dispatchers do meanwhile is settled by the ledger's claims.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import sqlalchemy as sa

from winback.delivery.feedback import came_back, normal_address
from winback.delivery.guard import email_pauses
from winback.delivery.hours import SendingPolicy
from winback.delivery.rules import Rules
from winback.delivery.slices import Slice
from winback.destinations import LISTS
from winback.destinations.base import AUDIENCE_TOO_SMALL
from winback.destinations.identifiers import sha256_hex
from winback.ledger import Ledger
from winback.ledger.store import Writer
from winback.ledger.tables import audit_trail, claims, outcomes

DISPATCHED = "dispatch"
"""The act in the audit trail that says from which day on items may still be open."""

REOPENED = "retry"
"""The act of a person who puts an item back into the queue."""

CLOCKS_AHEAD = timedelta(days=1)
"""How far ahead of ours the clock, or the time zone, of who stamped a row may be: what the checks on raw data let pass (future_hours)."""

MESSAGES = "winback_message_queue"
CHANGES = "winback_change_queue"

_LISTS = ", ".join(f"'{platform}'" for platform in sorted(LISTS))
_NO_PURCHASE = "('cancelled', 'canceled', 'voided')"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that is due. `attempts` were made before; `state` is fresh, deferred, unknown (in doubt) or lapsed (its claim ran out).

    `decision`: send, skip or defer (with `reason`, `retry_at`). `row` holds the rest of the queue's columns, addresses among them: it
    is never printed or stored.
    """

    item_id: str
    attempts: int
    state: str
    provider_id: str
    decision: str
    reason: str
    retry_at: datetime | None
    row: dict[str, Any]

    def __repr__(self) -> str:
        return f"Item({self.item_id}, {self.state}, {self.decision})"

    @property
    def in_doubt(self) -> bool:
        return self.state in ("unknown", "lapsed")


class Queue:
    """The due items of one pass, in temporary tables of the warehouse connection. Use from one thread.

    The warehouse has the ledger's rows already. `part`: the warehouse is a hand-out, and only the items that it lists are looked at.
    `against_until`: up to which instant purchases and refusals count; what speaks for sending counts up to `now`.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        ledger: Ledger,
        rules: Rules,
        now: datetime,
        part: Slice | None = None,
        *,
        against_until: datetime,
    ) -> None:
        self._connection = connection
        self._rules = rules
        self._ledger = ledger
        self._now = now
        self._against_until = against_until
        self._part = part
        self.since, self.trail_seen = open_since(ledger)
        _register_statuses(connection, ledger)
        look_at_open(connection, self.since, now, part)
        # The queues are long statements: where nothing can be due they cost more than everything else that a look does.
        self._has_messages = self._any("winback_message_states where not_before <= $now and state <> 'waiting'", now=now)
        self._has_changes = self._any("winback_change_states")
        if self._has_messages:
            self._messages(SendingPolicy.in_force(ledger))
        if self._has_changes:
            self._changes()

    def look(self) -> None:
        """See afresh what is open, from the ledger as it is now."""
        copy_ledger(self._ledger, self._connection, self._part)
        look_at_open(self._connection, self.since, self._now, self._part)

    def close(self) -> None:
        """Drop what the queue held: addresses do not outlive the dispatch."""
        for table in (MESSAGES, CHANGES, "winback_message_states", "winback_change_states", "winback_program_statuses"):
            self._connection.execute(f"drop table if exists temp.{table}")

    def lanes(self) -> list[tuple[str, str]]:
        """(kind, lane) pairs with due items: ("messages", channel) and ("changes", platform)."""
        parts = [f"select distinct 'changes', lane from {CHANGES}"] if self._has_changes else []
        parts += [f"select distinct 'messages', lane from {MESSAGES} where turn = 1"] if self._has_messages else []
        if not parts:
            return []
        rows = self._connection.execute(" union all ".join(parts) + " order by all").fetchall()
        return [(row[0], row[1]) for row in rows]

    def page(self, kind: str, lane: str, after: int, size: int) -> list[Item]:
        """Items of a lane with positions after `after`, in order; at most `size`."""
        table = f"{MESSAGES} where turn = 1 and" if kind == "messages" else f"{CHANGES} where"
        result = self._connection.execute(
            f"select * from {table} lane = ? and position > ? and position <= ? order by position", [lane, after, after + size]
        )
        names = [column[0] for column in result.description]
        items = []
        for values in result.fetchall():
            row = dict(zip(names, values, strict=True))
            items.append(
                Item(
                    row["item_id"], row["attempts"], row["state"], row["provider_id"] or "", row["decision"], row["reason"] or "",
                    row["retry_at"], row,
                )
            )  # fmt: skip
        return items

    def size(self, kind: str, lane: str) -> int:
        table = f"{MESSAGES} where turn = 1 and" if kind == "messages" else f"{CHANGES} where"
        return int(self._connection.execute(f"select count(*) from {table} lane = ?", [lane]).fetchall()[0][0])

    def holds_more(self) -> bool:
        """Whether items wait only for others of this pass: another message to the same customer, a remove behind its add."""
        if self._has_messages and self._any(f"{MESSAGES} where turn > 1"):
            return True
        members = "select count(*) > count(distinct (platform, audience, customer_id)) from winback_change_states"
        return bool(self._connection.execute(members).fetchall()[0][0])

    def waiting(self) -> dict[str, int]:
        """Open items that are not due yet, by why: not_before, retry, in_flight (another dispatcher's), paused, email_paused."""
        counts: dict[str, int] = {}
        for table, channel in (("winback_message_states", "states.channel"), ("winback_change_states", "''")):
            rows = self._connection.execute(
                f"""
                select case
                    when state = 'in_flight' then 'in_flight'
                    when state = 'waiting' then 'retry'
                    when not_before > ? then 'not_before'
                    when status = 'paused' then 'paused'
                    when is_email_paused and {channel} = 'email' then 'email_paused'
                end as why, count(*)
                from {table} as states
                left join winback_program_statuses as statuses using (program)
                group by why
                """,
                [self._now],
            ).fetchall()
            for why, count in rows:
                if why is not None:
                    counts[why] = counts.get(why, 0) + count
        return counts

    def next_retry(self) -> datetime | None:
        """The earliest instant at which something that waits may be tried again."""
        times: list[datetime] = []
        for table in ("winback_message_states", "winback_change_states"):
            rows = self._connection.execute(f"select min(retry_at) from {table} where state = 'waiting'").fetchall()
            times += [row[0] for row in rows if row[0] is not None]
        return min(times, default=None)

    def oldest_open(self) -> datetime | None:
        """The as_of from which on items are open; where none is, the latest as_of there is."""
        rows = self._connection.execute(
            """
            select coalesce(
                least((select min(as_of) from winback_message_states), (select min(as_of) from winback_change_states)),
                greatest((select max(as_of) from ledger.messages), (select max(as_of) from ledger.audience_changes))
            )
            """
        ).fetchall()
        instant: datetime | None = rows[0][0]
        return instant

    def _any(self, rows: str, **values: object) -> bool:
        return bool(self._connection.execute(f"select exists (from {rows})", values).fetchall()[0][0])

    def _messages(self, policy: SendingPolicy) -> None:
        now = self._now
        zones = [
            row[0] for row in self._connection.execute("select distinct timezone from intermediate.int_customers__contacts").fetchall()
        ]
        known = sorted({zone or "" for zone in zones} | {""})
        quiet = pa.table(
            {
                "timezone": pa.array(known, pa.string()),
                "quiet_until": pa.array([policy.quiet_until(now, zone or None) for zone in known], pa.timestamp("us")),
            }
        )
        caps = pa.table(
            {
                "channel": pa.array(list(policy.caps), pa.string()),
                "max_messages": pa.array([cap.messages for cap in policy.caps.values()], pa.int32()),
                "window_days": pa.array([cap.days for cap in policy.caps.values()], pa.int32()),
            }
        )
        self._connection.register("winback_quiet", quiet)
        self._connection.register("winback_caps", caps)
        try:
            self._connection.execute(_message_queue(self._rules), {"now": now, "against_until": self._against_until})
        finally:
            self._connection.unregister("winback_quiet")
            self._connection.unregister("winback_caps")

    def _changes(self) -> None:
        self._connection.execute(_CHANGE_QUEUE, {"now": self._now, "against_until": self._against_until})


def copy_ledger(ledger: Ledger, connection: duckdb.DuckDBPyConnection, part: Slice | None = None) -> None:
    """Bring the ledger's new rows into the warehouse, or into a hand-out those that matter to its slice."""
    ledger.copy_to_warehouse(connection, part.ledger_rows() if part else None)


def look_at_open(connection: duckdb.DuckDBPyConnection, since: datetime, now: datetime, part: Slice | None = None) -> None:
    """Put the open items into the temporary tables winback_message_states and winback_change_states."""
    _state(connection, "winback_message_states", "messages", "message_id", since, now, part)
    _state(connection, "winback_change_states", "audience_changes", "change_id", since, now, part)


def _state(
    connection: duckdb.DuckDBPyConnection, name: str, table: str, key: str, since: datetime, now: datetime, part: Slice | None
) -> None:
    """Every open item of a table with how often it was tried and how that stands."""
    listed = f" and {key} in (select item_id from handed_out.items)" if part else ""
    is_message = table == "messages"
    connection.execute(
        f"""
        create or replace temp table {name} as
        with items as (
            select * from ledger.{table} where as_of >= $since{listed}
        ),
        claimed as (
            select item_id, max(attempt) as attempts,
                arg_max({{'lease_until': lease_until, 'destination': destination}}, attempt) as latest,
                min(recorded_at) as first_claimed_at, list(distinct address_check) filter (address_check is not null) as address_checks
            from ledger.claims
            where item_id in (select {key} from items)
            group by item_id
        ),
        answered as (
            select item_id, max(attempt) as attempts,
                arg_max({{
                    'outcome': outcome, 'retry_at': retry_at, 'provider_id': provider_id, 'reason': reason, 'destination': destination
                }}, attempt) as latest
            from ledger.outcomes
            where item_id in (select {key} from items)
            group by item_id
        ),
        stated as (
            select items.*, items.{key} as item_id,
                greatest(coalesce(claimed.attempts, 0), coalesce(answered.attempts, 0))::integer as attempts,
                case
                    when coalesce(claimed.attempts, 0) > coalesce(answered.attempts, 0)
                        then case when claimed.latest.lease_until <= $now then 'lapsed' else 'in_flight' end
                    when answered.latest is null then 'fresh'
                    when answered.latest.outcome in ('accepted', 'rejected', 'skipped') then 'final'
                    when answered.latest.outcome = 'unknown' and answered.latest.retry_at is null then 'final'
                    when {"items.expires_at > $now and" if is_message else ""} answered.latest.retry_at > $now then 'waiting'
                    when answered.latest.outcome = 'unknown' then 'unknown'
                    else 'deferred'
                end as state,
                case when answered.latest.outcome = 'unknown' then answered.latest.provider_id end as provider_id,
                case
                    when coalesce(claimed.attempts, 0) > coalesce(answered.attempts, 0) then claimed.latest.destination
                    when answered.latest.outcome = 'unknown' then answered.latest.destination
                end as in_doubt_at,
                claimed.first_claimed_at, claimed.address_checks,
                answered.latest.retry_at as retry_at,
                answered.latest.reason as last_reason
                {"" if is_message else ", items.as_of as not_before"}
            from items
            left join claimed on claimed.item_id = items.{key}
            left join answered on answered.item_id = items.{key}
        )
        select * from stated where state <> 'final'
        """,
        {"since": since, "now": now},
    )


def claim(
    ledger: Ledger, items: Sequence[Item], worker: str, now: datetime, lease: timedelta, *, repeatable: frozenset[str], destination: str
) -> tuple[list[Item], int]:
    """Claim items for a destination, committed to disk when this returns: nobody else will send those returned.

    An item whose claim ran out is first recorded as unknown; it is claimed again only if it is in `repeatable` (item ids that may be
    sent or asked about again). Returns the items won and the number of those left unknown for good.
    """
    with ledger.writing() as writer:
        lapsed = [item for item in items if item.state == "lapsed"]
        left = [item for item in lapsed if item.item_id not in repeatable]
        writer.record(
            "outcomes",
            [
                {
                    "item_id": item.item_id,
                    "attempt": item.attempts,
                    "outcome": "unknown",
                    "reason": "the dispatcher ended before the answer was recorded",
                    "provider_id": item.provider_id or None,
                    "retry_at": now if item.item_id in repeatable else None,
                    "destination": item.row.get("in_doubt_at"),
                    "recorded_at": now,
                }
                for item in lapsed
            ],
        )
        before = [item for item in items if item.attempts]
        # The queue may be older than the ledger: an attempt follows only on one that is known to have failed, or to be in doubt.
        latest = _outcomes_of(writer.connection, before)
        wanted = [item for item in items if not item.attempts or _may_follow(item, latest, repeatable)]
        rows = [
            {
                "item_id": item.item_id,
                "attempt": item.attempts + 1,
                "worker": worker,
                "lease_until": now + lease,
                # What is in doubt stays in doubt where it went, also should this dispatcher die.
                "destination": item.row.get("in_doubt_at") or destination,
                "address_check": address_check(item),
                "recorded_at": now,
            }
            for item in wanted
        ]
        if writer.record("claims", rows) != len(rows):
            wanted = _mine(writer.connection, wanted, worker)
    return wanted, len(left)


def address_check(item: Item) -> str | None:
    """16 bits of a hash: tells whether an address is still the same, and not whose it is."""
    address = item.row.get("address")
    return sha256_hex(address)[:4] if address else None


def record_late(writer: Writer, rows: Sequence[Mapping[str, Any]], worker: str, *, not_taken: Set[str]) -> None:
    """Record what was learnt when the claim had run out and another dispatcher had noted the item as unknown: as the next attempt.

    Final answers, and of the items in `not_taken`, which were not in doubt before, also that nothing of them was taken. Where that
    dispatcher is repeating or asking, its answer counts.
    """
    final = {row["item_id"]: row for row in rows if row["outcome"] in ("accepted", "rejected") or row["item_id"] in not_taken}
    answers = list(final.values())
    for start in range(0, len(answers), 1000):
        known = sa.select(outcomes.c.item_id, outcomes.c.attempt).where(
            outcomes.c.item_id.in_([row["item_id"] for row in answers[start : start + 1000]]), outcomes.c.outcome == "unknown"
        )
        for item_id, attempt in writer.connection.execute(known).all():
            row = final[item_id]
            if attempt != row["attempt"]:
                continue
            now = row["recorded_at"]
            claimed = {"item_id": item_id, "attempt": row["attempt"] + 1, "worker": worker, "lease_until": now, "recorded_at": now}
            if writer.record("claims", [claimed]):
                writer.record("outcomes", [{**row, "attempt": row["attempt"] + 1}])


def _may_follow(item: Item, latest: dict[tuple[str, int], str], repeatable: frozenset[str]) -> bool:
    found = latest.get((item.item_id, item.attempts))
    return (found == "unknown" and item.item_id in repeatable) or (found == "deferred" and item.state == "deferred")


def _outcomes_of(connection: sa.Connection, items: Sequence[Item]) -> dict[tuple[str, int], str]:
    found: dict[tuple[str, int], str] = {}
    for start in range(0, len(items), 1000):
        ids = [item.item_id for item in items[start : start + 1000]]
        statement = sa.select(outcomes.c.item_id, outcomes.c.attempt, outcomes.c.outcome).where(outcomes.c.item_id.in_(ids))
        found.update(((row[0], row[1]), row[2]) for row in connection.execute(statement))
    return found


def _mine(connection: sa.Connection, items: Sequence[Item], worker: str) -> list[Item]:
    """Those of the items whose next attempt this worker has."""
    mine: set[tuple[str, int]] = set()
    for start in range(0, len(items), 1000):
        ids = [item.item_id for item in items[start : start + 1000]]
        statement = sa.select(claims.c.item_id, claims.c.attempt).where(claims.c.item_id.in_(ids), claims.c.worker == worker)
        mine.update((row[0], row[1]) for row in connection.execute(statement))
    return [item for item in items if (item.item_id, item.attempts + 1) in mine]


def workers_at_work(ledger: Ledger, now: datetime) -> int:
    """How many dispatchers claimed something in the last minute (at least 1): they share each provider's rate."""
    recent = sa.select(claims.c.worker, claims.c.recorded_at).order_by(claims.c.seq.desc()).limit(2000).subquery()
    statement = sa.select(sa.func.count(sa.distinct(recent.c.worker))).where(recent.c.recorded_at > now - timedelta(minutes=1))
    return max(1, int(ledger.read(statement)[0][0]))


def open_since(ledger: Ledger) -> tuple[datetime, int]:
    """The as_of before which no item is open, and the last row of the audit trail that this takes into account.

    It is what the last complete dispatch found, unless a person reopened an older one since that dispatch read the trail.
    """
    trail = audit_trail
    with ledger.reading() as connection:
        seen: int = connection.execute(sa.select(sa.func.coalesce(sa.func.max(trail.c.seq), 0))).scalar_one()
        acts = sa.select(trail.c.seq, trail.c.details).order_by(trail.c.seq.desc())
        last = connection.execute(acts.where(trail.c.act == DISPATCHED).limit(1)).first()
        if last is None:
            return datetime(1970, 1, 1), seen
        found = json.loads(last.details)
        reopened = connection.execute(acts.where(trail.c.act == REOPENED, trail.c.seq > found.get("trail_seen", last.seq))).all()
    times = [found["open_since"], *(json.loads(row.details)["as_of"] for row in reopened)]
    return datetime.fromisoformat(min(times)), seen


def _register_statuses(connection: duckdb.DuckDBPyConnection, ledger: Ledger) -> None:
    """The newest status of each program: a pause or an end counts at once, not from the next day on."""
    statuses = ledger.statuses()
    pauses = email_pauses(ledger)
    table = pa.table(
        {
            "program": pa.array(list(statuses), pa.string()),
            "status": pa.array(list(statuses.values()), pa.string()),
            "is_email_paused": pa.array([program in pauses for program in statuses], pa.bool_()),
        }
    )
    connection.register("winback_statuses_now", table)
    try:
        connection.execute("create or replace temp table winback_program_statuses as select * from winback_statuses_now")
    finally:
        connection.unregister("winback_statuses_now")


def _purchased(alias: str) -> str:
    """SQL: whether a purchase is known that ends the enrolment joined as `alias` (the models' rule, as of $against_until)."""
    return f"""
        select {alias}.item_id
        from {alias}
        join raw.orders as orders on orders.customer_id = {alias}.customer_id
        where {alias}.exit_on_purchase
            and orders.ordered_at between {alias}.anchor_at and $against_until
            and coalesce(lower(orders.status), '') not in {_NO_PURCHASE}
            and not (coalesce(orders.refunded, 0) > 0 and coalesce(orders.refunded, 0) >= coalesce(orders.total, 0))
        group by {alias}.item_id, {alias}.anchor_at
        having (min(orders.ordered_at) = {alias}.anchor_at and max(orders.ordered_at) > {alias}.anchor_at)
            or bool_or(
                orders.ordered_at > {alias}.anchor_at
                and (
                    orders.ordered_at >= {alias}.enrolled_at
                    or date_diff('day', orders.ordered_at::date, {alias}.enrolled_at::date) < {alias}.exclude_purchased_within_days
                )
            )
    """


_VERSIONS = """
    select program, version, bool_or(exit_on_purchase) as exit_on_purchase, bool_or(exit_on_engagement) as exit_on_engagement,
        max(coalesce(exclude_purchased_within_days, 0)) as exclude_purchased_within_days, max(coalesce(priority, 0)) as priority
    from programs.versions
    where not is_draft
    group by program, version
"""

_SUPPRESSIONS = """
    select customer_id, address_hash, channel, reason
    from ledger.suppressions
    where operation = 'add' and starts_at <= $now and (ends_at is null or ends_at > $now)
        and suppression_id not in (select suppression_id from ledger.suppressions where operation = 'lift')
"""

_CONSENTS = """
    select customer_id, channel,
        max(changed_at) filter (granted and changed_at <= $now) as granted_at,
        max(changed_at) filter (granted is not true) as withdrawn_at
    from raw.consents
    where changed_at <= $against_until and customer_id in (select customer_id from due)
    group by customer_id, channel
"""

# What dispatchers keep dying with goes last, so that it holds up nothing else.
_DEADLY = "case when {0}.state = 'lapsed' and {0}.attempts > 2 then {0}.attempts else 0 end"


def _message_queue(rules: Rules) -> str:
    return f"""
create or replace temp table {MESSAGES} as
with versions as ({_VERSIONS}),
suppressions as ({_SUPPRESSIONS}),
due as (
    select states.*, enrolments.anchor_at, enrolments.enrolled_at, enrolments.arm, statuses.status as program_status,
        coalesce(versions.exit_on_purchase, true) as exit_on_purchase,
        coalesce(versions.exit_on_engagement, false) as exit_on_engagement,
        coalesce(versions.exclude_purchased_within_days, 0) as exclude_purchased_within_days,
        coalesce(versions.priority, 0) as priority
    from winback_message_states as states
    join ledger.enrolments as enrolments using (enrolment_id)
    left join winback_program_statuses as statuses on statuses.program = states.program
    left join versions on versions.program = states.program and versions.version = states.version
    where states.not_before <= $now
        and states.state <> 'waiting'
        -- A paused program's messages wait, and the email of one whose email is paused; past their patience they are skipped.
        and (
            states.expires_at <= $now
            or (coalesce(statuses.status, 'live') <> 'paused' and (states.channel <> 'email' or statuses.is_email_paused is not true))
        )
),
contacts as (
    select * from intermediate.int_customers__contacts where customer_id in (select customer_id from due)
),
consents as ({_CONSENTS}),
purchased as ({_purchased("due")}),
addressed as (
    select due.item_id, due.customer_id, due.channel,
        case due.channel
            when 'email' then contacts.email when 'sms' then contacts.phone when 'push' then contacts.push_token else due.customer_id
        end as address,
        case due.channel
            when 'email' then contacts.reachable_email
            when 'sms' then contacts.reachable_sms
            when 'push' then contacts.reachable_push
            else true
        end as is_reachable,
        case due.channel
            when 'email' then contacts.email_unreachable_reason
            when 'sms' then contacts.sms_unreachable_reason
            when 'push' then contacts.push_unreachable_reason
        end as unreachable_reason
    from due
    left join contacts using (customer_id)
),
{came_back(rules)},
landed as (
    select events.event_id, coalesce(events.customer_id, contacts.customer_id) as customer_id, events.channel, events.event_type,
        events.occurred_at, events.campaign, coalesce(events.is_machine, false) as is_machine
    from (select *, {normal_address("message_events")} as normal_address from raw.message_events) as events
    left join contacts
        on events.customer_id is null
        and events.normal_address
            = case events.channel when 'email' then contacts.email when 'sms' then contacts.phone else contacts.push_token end
    where events.occurred_at <= case when events.event_type in ('unsubscribed', 'complained') then $against_until else $now end
        and events.occurred_at > $now - interval 400 day
        and (events.customer_id in (select customer_id from due) or contacts.customer_id is not null)
),
-- What we were told ourselves holds; another system's report of our message fills the days without.
events as (
    select landed.* from landed
    anti join returned
        on returned.campaign = landed.campaign and returned.customer_id = landed.customer_id and returned.channel = landed.channel
        and returned.event_type = landed.event_type and returned.occurred_at::date = landed.occurred_at::date
    union all
    select event_id, customer_id, channel, event_type, occurred_at, campaign, is_machine from returned
),
engaged as (
    select due.item_id
    from due
    join events using (customer_id)
    where due.exit_on_engagement and events.event_type in ('opened', 'clicked', 'replied') and not events.is_machine
        and events.occurred_at >= due.enrolled_at
    union
    select due.item_id
    from due
    join raw.activity_events as events using (customer_id)
    where due.exit_on_engagement and events.occurred_at >= due.enrolled_at and events.occurred_at <= $now
),
signs as (
    select customer_id, channel, max(occurred_at) as signed_at
    from events
    where event_type in ('delivered', 'opened', 'clicked', 'replied')
    group by customer_id, channel
),
bouncing as (
    select bounces.customer_id, bounces.channel
    from events as bounces
    left join signs using (customer_id, channel)
    left join consents using (customer_id, channel)
    where bounces.event_type = 'bounced'
        and bounces.occurred_at > coalesce(greatest(signs.signed_at, consents.granted_at), timestamp '1970-01-01')
    group by bounces.customer_id, bounces.channel
    having count(distinct bounces.event_id) >= {rules.bounces_in_a_row}
),
refused as (
    select customer_id, channel, max(occurred_at) as refused_at
    from events
    where event_type in ('unsubscribed', 'complained')
    group by customer_id, channel
),
left_by_link as (
    select suppressions.channel, holders.email, holders.phone, holders.push_token
    from suppressions
    join intermediate.int_customers__contacts as holders using (customer_id)
    where suppressions.reason = 'unsubscribed'
),
suppressed as (
    select addressed.item_id
    from addressed
    join suppressions on suppressions.customer_id = addressed.customer_id
    where suppressions.channel in ('all', addressed.channel)
    union
    select addressed.item_id
    from addressed
    join suppressions on suppressions.address_hash = sha256(addressed.address)
    where suppressions.channel in ('all', addressed.channel)
    union
    -- Who left by a link of ours left with the address, whoever else is known by it.
    select addressed.item_id
    from addressed
    join left_by_link as gone
        on gone.channel in ('all', addressed.channel)
        and addressed.address
            = case addressed.channel when 'email' then gone.email when 'sms' then gone.phone when 'push' then gone.push_token end
),
caps as (
    select due.item_id, due.customer_id, due.channel, caps.max_messages, caps.window_days
    from due
    join winback_caps as caps using (channel)
    where due.kind = 'send'
    union all
    select due.item_id, due.customer_id, due.channel, limits.max_messages, limits.window_days
    from due
    join ledger.frequency_limits as limits using (customer_id, channel)
    where due.kind = 'send' and limits.operation = 'add'
        and limits.limit_id not in (select limit_id from ledger.frequency_limits where operation = 'lift')
),
-- What left or may have left; other systems' sends too. Ours are counted from the ledger, by the same calendar days as the models count.
touches as (
    select messages.customer_id, messages.channel, messages.message_id as touch_id,
        max(case when coalesce(outcomes.reason, '') <> '{rules.proved_by_event}' then outcomes.recorded_at end)::date as touched_on
    from ledger.messages as messages
    join ledger.outcomes as outcomes on outcomes.item_id = messages.message_id
    where messages.kind = 'send' and outcomes.outcome in ('accepted', 'unknown') and messages.customer_id in (select customer_id from caps)
        and outcomes.recorded_at > $now - interval 400 day
    group by all
    union all
    select events.customer_id, events.channel, events.customer_id || events.occurred_at::varchar, events.occurred_at::date
    from events
    where events.event_type = 'sent' and coalesce(events.campaign, '') not in (select program from versions)
        and events.customer_id in (select customer_id from caps)
),
counted as (
    select caps.item_id, caps.max_messages, caps.window_days, list(touches.touched_on order by touches.touched_on desc) as days
    from caps
    left join touches
        on touches.customer_id = caps.customer_id and touches.channel = caps.channel and touches.touch_id <> caps.item_id
        and date_diff('day', touches.touched_on, $now::date) < caps.window_days
    group by all
),
capped as (
    select item_id, max(coalesce(days[max_messages], $now::date) + window_days)::timestamp as capped_until
    from (select item_id, max_messages, window_days, list_filter(days, lambda day: day is not null) as days from counted)
    where len(days) >= max_messages
    group by item_id
),
judged as (
    select due.*, addressed.address,
        case
            when due.state = 'in_flight' then 'in_flight'
            when due.expires_at <= $now then 'skip:expired'
            when due.arm <> 'treatment' then 'skip:holdout'
            when due.program_status = 'retired' then 'skip:program_stopped'
            when purchased.item_id is not null then 'skip:purchased'
            when engaged.item_id is not null then 'skip:engaged'
            when suppressed.item_id is not null then 'skip:suppressed'
            when due.kind = 'task' then 'send:'
            when addressed.address is null then 'skip:no_address'
            when consents.granted_at is null and consents.withdrawn_at is null then 'skip:no_consent'
            when consents.granted_at is null or consents.withdrawn_at >= consents.granted_at then 'skip:consent_withdrawn'
            when refused.refused_at >= consents.granted_at then 'skip:unsubscribed'
            when bouncing.customer_id is not null then 'skip:bounced'
            when not coalesce(addressed.is_reachable, false) then 'skip:' || coalesce(addressed.unreachable_reason, 'unreachable')
            when quiet.quiet_until is not null then 'defer:quiet_hours'
            when capped.capped_until is not null then 'defer:capped'
            else 'send:'
        end as judgement,
        case when quiet.quiet_until is not null then quiet.quiet_until else capped.capped_until end as until
    from due
    left join addressed using (item_id)
    left join purchased using (item_id)
    left join engaged using (item_id)
    left join suppressed using (item_id)
    left join capped using (item_id)
    left join consents on consents.customer_id = due.customer_id and consents.channel = due.channel
    left join refused on refused.customer_id = due.customer_id and refused.channel = due.channel
    left join bouncing on bouncing.customer_id = due.customer_id and bouncing.channel = due.channel
    left join contacts on contacts.customer_id = due.customer_id
    left join winback_quiet as quiet on quiet.timezone = coalesce(contacts.timezone, '')
),
-- Caps are counted between sends: of one customer's messages on a channel only one is out at a time.
turned as (
    select *,
        row_number() over (
            partition by customer_id, channel, judgement in ('send:', 'in_flight'), kind = 'task', case when kind = 'task' then item_id end
            order by judgement = 'in_flight' desc, state in ('unknown', 'lapsed') desc, priority desc, seq
        ) as turn
    from judged
)
select
    turned.item_id, turned.attempts, turned.state, turned.provider_id, split_part(turned.judgement, ':', 1) as decision,
    split_part(turned.judgement, ':', 2) as reason,
    case when turned.judgement like 'defer:%' then turned.until end as retry_at,
    turned.channel as lane,
    case when turned.judgement = 'send:' then turned.turn else 1 end as turn,
    row_number() over (
        partition by turned.channel, turned.judgement = 'send:' and turned.turn > 1
        order by {_DEADLY.format("turned")}, turned.state in ('unknown', 'lapsed') desc, turned.priority desc, turned.seq
    ) as position,
    turned.enrolment_id, turned.step_no, turned.customer_id, turned.program, turned.version, turned.kind, turned.channel, turned.content,
    turned.in_doubt_at, turned.first_claimed_at, turned.address_checks,
    turned.offer_code, turned.as_of, turned.enrolled_at, turned.exit_on_engagement, turned.address, turned.expires_at,
    contacts.first_name, contacts.last_name, contacts.country, contacts.language, contacts.extras,
    customers.days_since_last_order, customers.order_count, customers.main_category, customers.lifetime_value, customers.last_ordered_at,
    customers.engagement_tier, customers.purchase_lifecycle
from turned
left join contacts on contacts.customer_id = turned.customer_id
left join marts.customers as customers on customers.customer_id = turned.customer_id
where turned.judgement <> 'in_flight'
order by turned.channel, position
"""


_CHANGE_QUEUE = f"""
create or replace temp table {CHANGES} as
with versions as ({_VERSIONS}),
suppressions as ({_SUPPRESSIONS}),
entered as (
    select program, customer_id, arg_max({{'anchor_at': anchor_at, 'enrolled_at': enrolled_at, 'version': version}}, enrolled_at) as latest
    from ledger.enrolments
    where arm = 'treatment'
    group by program, customer_id
),
opened as (
    select *,
        lead(item_id) over member is not null as is_superseded,
        lag(item_id) over member is null as is_first
    from winback_change_states
    window member as (partition by platform, audience, customer_id order by seq)
),
growing as (
    select distinct platform, audience from opened where operation = 'add' and is_first and state not in ('waiting', 'in_flight')
),
due as (
    select opened.*, if(opened.platform in ({_LISTS}), 'email', 'ads') as consent_channel,
        entered.latest.anchor_at as anchor_at, entered.latest.enrolled_at as enrolled_at, statuses.status as program_status,
        coalesce(versions.exit_on_purchase, true) as exit_on_purchase,
        coalesce(versions.exclude_purchased_within_days, 0) as exclude_purchased_within_days
    from opened
    left join entered on entered.program = opened.program and entered.customer_id = opened.customer_id
    left join versions on versions.program = opened.program and versions.version = entered.latest.version
    left join winback_program_statuses as statuses on statuses.program = opened.program
    left join growing on growing.platform = opened.platform and growing.audience = opened.audience
    where opened.state <> 'in_flight'
        and (
            opened.state <> 'waiting'
            or (opened.is_superseded and opened.operation = 'add')
            -- Those who were too few wait for each other: whoever comes next may make them enough.
            or (opened.operation = 'add' and opened.last_reason = '{AUDIENCE_TOO_SMALL}' and growing.audience is not null)
        )
        -- What was asked for one member is done in order: a remove waits until the add before it has ended one way or the other.
        and opened.is_first
),
consents as ({_CONSENTS}),
purchased as ({_purchased("due")}),
contacts as (
    select * from intermediate.int_customers__contacts where customer_id in (select customer_id from due)
),
suppressed as (
    select due.item_id
    from due
    left join contacts using (customer_id)
    join suppressions
        on suppressions.customer_id = due.customer_id
        or suppressions.address_hash = sha256(contacts.email)
        or suppressions.address_hash = sha256(contacts.phone)
    where suppressions.channel in ('all', due.consent_channel)
    group by due.item_id
),
judged as (
    select due.*,
        case
            when due.operation = 'remove' then 'send:'
            when due.is_superseded then 'skip:superseded'
            when due.program_status in ('retired', 'paused') then 'skip:program_' || due.program_status
            when purchased.item_id is not null then 'skip:purchased'
            when suppressed.item_id is not null then 'skip:suppressed'
            when consents.granted_at is null or consents.withdrawn_at >= consents.granted_at then 'skip:no_consent'
            else 'send:'
        end as judgement
    from due
    left join purchased using (item_id)
    left join suppressed using (item_id)
    left join consents on consents.customer_id = due.customer_id and consents.channel = due.consent_channel
)
select
    judged.item_id, judged.attempts, case when judged.state = 'waiting' then 'deferred' else judged.state end as state, judged.provider_id,
    split_part(judged.judgement, ':', 1) as decision, split_part(judged.judgement, ':', 2) as reason, null::timestamp as retry_at,
    judged.platform as lane,
    row_number() over (
        partition by judged.platform order by {_DEADLY.format("judged")}, judged.audience, judged.operation desc, judged.seq
    ) as position,
    judged.platform, judged.audience, judged.program, judged.customer_id, judged.operation, judged.identifiers, judged.as_of,
    judged.last_reason, judged.in_doubt_at,
    contacts.email, contacts.phone, contacts.first_name, contacts.last_name, contacts.country
from judged
left join contacts on contacts.customer_id = judged.customer_id
order by judged.platform, position
"""
