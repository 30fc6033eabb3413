"""The checks as data: what each looks at, what its failure means, and the damage it prevents.

A check's *rule* knows two things: the Great Expectations expectation that counts the unexpected rows, and the SQL that selects them,
from which sample keys are read when something is wrong. Nothing here imports Great Expectations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from winback.quality.limits import Limits

KNOWN_STATUSES = (
    "paid",
    "pending",
    "authorized",
    "partially_paid",
    "partially_refunded",
    "refunded",
    "voided",
    "cancelled",
    "canceled",
    "completed",
    "complete",
    "fulfilled",
    "shipped",
    "delivered",
    "processing",
    "open",
    "closed",
)
KNOWN_CHANNELS = ("email", "sms", "push", "ads")
KNOWN_MESSAGE_EVENTS = ("sent", "delivered", "opened", "clicked", "replied", "bounced", "complained", "unsubscribed")
KNOWN_ACTIVITIES = ("visit", "login", "action")

KEYS = {
    "customers": ("customer_id",),
    "orders": ("order_id",),
    "order_lines": ("order_id", "line_no"),
    "products": ("product_id",),
    "message_events": ("event_id",),
    "activity_events": ("event_id",),
    "consents": ("customer_id", "channel", "changed_at"),
    "devices": ("push_token", "updated_at"),
}
TIMES = {
    "customers": "created_at",
    "orders": "ordered_at",
    "message_events": "occurred_at",
    "activity_events": "occurred_at",
    "consents": "changed_at",
    "devices": "updated_at",
}
# A sample shows which rows are wrong and may be seen by anybody who opens the UI: a push token is an address, so devices show their owner.
SAMPLES = KEYS | {"devices": ("customer_id", "updated_at"), "quarantine": ("file", "row_number")}


@dataclass(frozen=True)
class Moment:
    """When is it? `as_of` is the instant that is reasoned about; `now` the instant at which the machine looks (after it, in a replay)."""

    as_of: datetime
    now: datetime


class Rule(Protocol):
    """One expectation on one table."""

    def expectation(self) -> tuple[str, dict[str, Any]]:
        """Name of the Great Expectations class, and its arguments."""
        ...

    def unexpected(self, table: str) -> str:
        """SQL that selects the unexpected rows of `table`, all columns."""
        ...


@dataclass(frozen=True)
class Present:
    """A column is never null."""

    column: str

    def expectation(self) -> tuple[str, dict[str, Any]]:
        return "ExpectColumnValuesToNotBeNull", {"column": self.column}

    def unexpected(self, table: str) -> str:
        return f"select * from {table} where {self.column} is null"


@dataclass(frozen=True)
class Unique:
    """No two rows have the same key."""

    columns: tuple[str, ...]

    def expectation(self) -> tuple[str, dict[str, Any]]:
        if len(self.columns) == 1:
            return "ExpectColumnValuesToBeUnique", {"column": self.columns[0]}
        # Not ExpectCompoundColumnsToBeUnique: its window over all columns takes four times as long on a million rows.
        return "UnexpectedRowsExpectation", {"unexpected_rows_query": self.unexpected("{batch}")}

    def unexpected(self, table: str) -> str:
        key = ", ".join(self.columns)
        same = " and ".join(f"twice.{column} = copies.{column}" for column in self.columns)
        twice = f"select {key} from {table} group by {key} having count(*) > 1"
        return f"select copies.* from {table} copies semi join ({twice}) twice on {same}"


@dataclass(frozen=True)
class Between:
    """A column lies in a range, ends included; null is not judged."""

    column: str
    minimum: float | datetime
    maximum: float | datetime | None = None

    def expectation(self) -> tuple[str, dict[str, Any]]:
        return "ExpectColumnValuesToBeBetween", {"column": self.column, "min_value": self.minimum, "max_value": self.maximum}

    def unexpected(self, table: str) -> str:
        above = "" if self.maximum is None else f" or {self.column} > {_literal(self.maximum)}"
        return f"select * from {table} where {self.column} < {_literal(self.minimum)}{above}"


@dataclass(frozen=True)
class NoRows:
    """A query finds nothing. `{batch}` stands for the table."""

    query: str

    def expectation(self) -> tuple[str, dict[str, Any]]:
        return "UnexpectedRowsExpectation", {"unexpected_rows_query": self.query}

    def unexpected(self, table: str) -> str:
        return self.query.replace("{batch}", table)


@dataclass(frozen=True)
class Check:
    """One check.

    `severity` is what the first unexpected row means. `tolerated` names the limit (a percentage) up to which a failure of a blocking
    check is only warned of. `observed` is SQL whose first column says in words what was found, where a count of rows would not.
    """

    name: str
    table: str
    severity: Literal["blocking", "warning"]
    description: str
    damage: str
    rule: Callable[[Limits, Moment], Rule]
    tolerated: Callable[[Limits], float] | None = None
    observed: Callable[[Moment], str] | None = None

    @property
    def blocking(self) -> bool:
        """Whether a failure can stop the day, unless `levels` of `sources/checks.yml` says otherwise."""
        return self.severity == "blocking"


def _literal(value: float | datetime) -> str:
    return f"timestamp '{value:%Y-%m-%d %H:%M:%S}'" if isinstance(value, datetime) else repr(value)


def _among(column: str, values: tuple[str, ...]) -> NoRows:
    listed = ", ".join("'" + value.lower().replace("'", "''") + "'" for value in values)
    return NoRows(f"select * from {{batch}} where lower({column}) not in ({listed})")


def _plausible(column: str, limits: Limits, moment: Moment) -> Between:
    earliest = datetime.combine(limits.earliest, datetime.min.time())
    return Between(column, earliest, moment.now + timedelta(hours=limits.future_hours))


def _stale(days: int | None, moment: Moment) -> NoRows:
    if days is None:
        return NoRows("select * from {batch} where false")
    newest = f"(select max(ordered_at) from {{batch}} where ordered_at < {_literal(moment.as_of)})"
    # The first order after the gap would say nothing: the rows that show it are the newest ones before it.
    oldest_fresh = _literal(moment.as_of - timedelta(days=days))
    return NoRows(f"select * from {{batch}} where ordered_at = {newest} and {newest} < {oldest_fresh}")


def _newest_order(moment: Moment) -> str:
    return f"""
        select 'the newest order before ' || date '{moment.as_of:%Y-%m-%d}' || ' is of ' || max(ordered_at)::date || ', '
            || date_diff('day', max(ordered_at)::date, date '{moment.as_of:%Y-%m-%d}') || ' days before'
        from raw.orders where ordered_at < {_literal(moment.as_of)}"""


def _worst_landing(_moment: Moment) -> str:
    return """
        select string_agg(
            format('{:,} of {:,} rows of {} ({:.1f}%)', bad, total, table_name, 100.0 * bad / total), ', ' order by bad / total desc
        )
        from (
            select table_name, landed_at, sum(rows_quarantined)::bigint as bad, sum(rows_landed + rows_quarantined)::bigint as total
            from raw.landed_files
            group by table_name, landed_at
            qualify landed_at = max(landed_at) over (partition by table_name)
        ) where bad > 0"""


def _quarantined(percent: float, rows: int) -> NoRows:
    # Judged on a table's last landing: over all history a wholly broken file would drown, and an old one would block for ever.
    return NoRows(
        f"""
        select q.* from {{batch}} q
        join (
            select f.file_id
            from raw.landed_files f
            join (
                select table_name, landed_at, sum(rows_quarantined) as bad, sum(rows_landed + rows_quarantined) as total
                from raw.landed_files
                group by table_name, landed_at
                qualify landed_at = max(landed_at) over (partition by table_name)
            ) l using (table_name, landed_at)
            where l.bad >= {rows} and 100.0 * l.bad > {percent} * l.total
        ) bad_files using (file_id)"""
    )


def _always(rule: Rule) -> Callable[[Limits, Moment], Rule]:
    return lambda _limits, _moment: rule


def _key_present(table: str, column: str) -> Check:
    return Check(
        name=f"{table}_{column}_present",
        table=table,
        severity="blocking",
        description=f"No row of {table} lacks its {column}.",
        damage="rows without a key cannot be deduplicated or corrected, so every replay of a file would count them again.",
        rule=_always(Present(column)),
    )


def _key_unique(table: str, key: tuple[str, ...]) -> Check:
    return Check(
        name=f"{table}_key_unique",
        table=table,
        severity="blocking",
        description=f"No two rows of {table} share {' + '.join(key)}.",
        damage="a row that stands twice is counted twice: orders, revenue and engagement would be invented.",
        rule=_always(Unique(key)),
    )


def _time_plausible(table: str, column: str) -> Check:
    return Check(
        name=f"{table}_{column}_plausible",
        table=table,
        severity="warning" if table == "customers" else "blocking",
        description=f"{column} of {table} lies between the earliest plausible day and the present.",
        damage="a date of 1970 turns a customer's rhythm into decades; a date of the future hides what really happened.",
        rule=lambda limits, moment: _plausible(column, limits, moment),
        tolerated=lambda limits: limits.implausible_percent,
    )


CHECKS: tuple[Check, ...] = (
    *(_key_present(table, column) for table, key in KEYS.items() for column in key),
    *(_key_unique(table, key) for table, key in KEYS.items()),
    *(_time_plausible(table, column) for table, column in TIMES.items()),
    Check(
        name="orders_ordered_at_present",
        table="orders",
        severity="blocking",
        description="Every order has a time.",
        damage="an order without a time is no purchase anywhere: its customer looks lapsed and gets a win-back message after buying.",
        rule=_always(Present("ordered_at")),
    ),
    Check(
        name="orders_total_not_negative",
        table="orders",
        severity="blocking",
        description="Totals are zero or more (refunds stand in `refunded`).",
        damage="negative totals lower lifetime value, and with it who is contacted first and what a win-back seems to earn.",
        rule=_always(Between("total", 0)),
    ),
    Check(
        name="orders_refunded_not_negative",
        table="orders",
        severity="blocking",
        description="Refunds are zero or more.",
        damage="a negative refund adds revenue that nobody paid.",
        rule=_always(Between("refunded", 0)),
    ),
    Check(
        name="orders_refunded_within_total",
        table="orders",
        severity="warning",
        description="No more was refunded than was paid.",
        damage="net value falls below zero, which usually means that two currencies or net and gross amounts were mixed.",
        rule=_always(NoRows("select * from {batch} where refunded > total")),
    ),
    Check(
        name="orders_status_known",
        table="orders",
        severity="warning",
        description="Order statuses are known ones.",
        damage="every status but cancelled and voided counts as a purchase: a shop's own word for it makes customers look active.",
        rule=lambda limits, _moment: _among("status", (*KNOWN_STATUSES, *limits.known_statuses)),
    ),
    Check(
        name="orders_customer_known",
        table="orders",
        severity="blocking",
        description="The customer of an order is among the customers (anonymous sales have none, and pass).",
        damage="a half-loaded customer file: purchases are credited to nobody, and buyers of yesterday look lapsed.",
        rule=_always(
            NoRows("select o.* from {batch} o anti join raw.customers c on c.customer_id = o.customer_id where o.customer_id is not null")
        ),
        tolerated=lambda limits: limits.unknown_customers_percent,
    ),
    Check(
        name="orders_fresh",
        table="orders",
        severity="warning",
        description="The newest order before as_of is recent.",
        damage="without the last days' orders, customers who have just bought get win-back messages.",
        rule=lambda limits, moment: _stale(limits.stale_warning_days, moment),
        observed=_newest_order,
    ),
    Check(
        name="orders_not_stale",
        table="orders",
        severity="blocking",
        description="The newest order before as_of is not older than the limit that you set (none by default).",
        damage="without the last days' orders, customers who have just bought get win-back messages.",
        rule=lambda limits, moment: _stale(limits.stale_blocking_days, moment),
        observed=_newest_order,
    ),
    Check(
        name="message_events_event_type_known",
        table="message_events",
        severity="warning",
        description="Message events are of a known type.",
        damage="events under another name count for nothing: people who read every message would be treated as fading.",
        rule=_always(_among("event_type", KNOWN_MESSAGE_EVENTS)),
    ),
    Check(
        name="message_events_channel_known",
        table="message_events",
        severity="warning",
        description="Message events are of a known channel.",
        damage="messages of an unknown channel escape the frequency caps.",
        rule=lambda limits, _moment: _among("channel", (*KNOWN_CHANNELS, *limits.known_channels)),
    ),
    Check(
        name="activity_events_event_type_known",
        table="activity_events",
        severity="warning",
        description="Activity events are of a known type.",
        damage="visits and logins under another name count for nothing: active customers would be treated as lapsed.",
        rule=_always(_among("event_type", KNOWN_ACTIVITIES)),
    ),
    Check(
        name="consents_channel_known",
        table="consents",
        severity="warning",
        description="Consents are for a known channel.",
        damage="a withdrawal under another name (newsletter) would not stop a message.",
        rule=_always(_among("channel", KNOWN_CHANNELS)),
    ),
    Check(
        name="consents_granted_present",
        table="consents",
        severity="blocking",
        description="Every consent says granted or not.",
        damage="an unreadable withdrawal could leave the earlier consent standing.",
        rule=_always(Present("granted")),
    ),
    Check(
        name="quarantine_share_low",
        table="quarantine",
        severity="warning",
        description="Few rows of each table's last landing are in quarantine.",
        damage="quarantined orders and consents are missing from every decision.",
        rule=lambda limits, _moment: _quarantined(limits.quarantined_warning_percent, 1),
        observed=_worst_landing,
    ),
    Check(
        name="quarantine_share_bearable",
        table="quarantine",
        severity="blocking",
        description="Not so many rows of a table's last landing are in quarantine that the file itself must be wrong.",
        damage="a column has moved or a format has changed: deciding on the remains would contact customers who have just bought.",
        rule=lambda limits, _moment: _quarantined(limits.quarantined_blocking_percent, limits.quarantined_blocking_rows),
        observed=_worst_landing,
    ),
)
