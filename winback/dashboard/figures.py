"""The dashboard's figures: queries over the published marts, and nothing computed that a mart already says.

Both forms of the dashboard read these. Rows are counts and sums of the finest grain that a filter needs; who joins rows sums first and
divides then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import duckdb

from winback.errors import BadInput
from winback.settings import Settings

CUBE_ROWS = 60_000
"""Rows of the attribution cube that a page carries at most; more are joined until they fit."""

LONGEST_HOURS = 720
"""The longest attribution window on offer."""

# Coarser step by step: what a date is joined to, and the hours since the touch below which each hour is kept; from there on, each 24.
# All are multiples of 24, so that every window on offer is a sum of whole rows.
_GRAINS = (("day", LONGEST_HOURS), ("day", 168), ("week", 168), ("month", 168), ("month", 72), ("month", 24))

_QUERIES = {
    "programs": """
        select program, version, description, audience, status, is_in_force, effective_at::date as effective_on, cadence, holdout_percent,
            window_days, attribution_hours, offer_code, offer_percent, step_count
        from marts.dim_programs
        order by program, version
    """,
    "lift": "select * from marts.campaign_lift order by scope, program, version, cohort_month",
    "journeys": """
        select program, version, brand, cohort_week, arm, sum(started)::bigint as started, sum(still_open)::bigint as still_open,
            sum(exited)::bigint as exited, sum(completed)::bigint as completed, sum(purchased)::bigint as purchased,
            sum(orders)::bigint as orders, sum(revenue) as revenue, sum(messages)::bigint as messages, sum(message_cost) as message_cost,
            bool_and(is_mature) as is_mature
        from marts.campaign_report
        group by program, version, brand, cohort_week, arm
        order by program, version, brand, cohort_week, arm
    """,
    "steps": """
        select program, version, brand, step_no, channel, arm, day, kind, content, waiting, on_its_way, progressed, withheld, skipped,
            sent, not_sent, reached, delivered, read, clicked, replied, bounced, unsubscribed, complained,
            read_times, click_times, reply_times, machine_read, machine_clicked
        from marts.campaign_step_report
        order by program, version, brand, step_no, channel, arm
    """,
    "flow": """
        select program, version, brand, arm, step_no, day, content, outcome, journeys
        from marts.journey_flow
        order by program, version, brand, arm, step_no, outcome
    """,
    # A curve is a row of two lists, one number per day from day 0: a tenth of a row per day.
    "curves": """
        select scope, program, cohort_month, brand, arm, list(at_risk order by day) as at_risk, list(returned order by day) as returned
        from marts.return_curves
        where at_risk > 0
        group by scope, program, cohort_month, brand, arm
        order by scope, program, cohort_month, brand, arm
    """,
    "tier_sizes": """
        select date_day, brand, to_tier as tier, sum(customers)::bigint as customers
        from marts.customer_tier_flows
        group by date_day, brand, to_tier
        order by date_day, brand, to_tier
    """,
    "tier_moves": """
        select date_day, brand, from_tier, to_tier, customers
        from marts.customer_tier_flows
        where from_tier <> to_tier
        order by date_day, brand, from_tier, to_tier
    """,
    "audiences": """
        select audience, section, value, customers, orders_past_year, revenue_past_year, customers_percentage
        from marts.audience_overview
        order by audience <> '(all customers)', audience, section, position, value
    """,
    "deliverability": """
        select sent_on, program, channel, sum(sent)::bigint as sent, sum(reached)::bigint as reached, sum(delivered)::bigint as delivered,
            sum(opened)::bigint as opened, sum(clicked)::bigint as clicked, sum(bounced)::bigint as bounced,
            sum(soft_bounced)::bigint as soft_bounced, sum(complained)::bigint as complained, sum(unsubscribed)::bigint as unsubscribed
        from marts.deliverability_daily
        group by sent_on, program, channel
        order by sent_on, program, channel
    """,
    "domains": """
        select program, domain, sum(sent)::bigint as sent, sum(reached)::bigint as reached, sum(opened)::bigint as opened,
            sum(clicked)::bigint as clicked, sum(bounced)::bigint as bounced, sum(complained)::bigint as complained,
            sum(unsubscribed)::bigint as unsubscribed
        from marts.deliverability_daily
        where channel = 'email'
        group by program, domain
        order by program, domain
    """,
    "complaint_limits": """
        select max(complaint_warning_percentage) as warning, max(complaint_limit_percentage) as limit_
        from marts.deliverability_daily
    """,
    "upcoming": """
        select due_on, program, version, brand, step_no, channel, arm, kind, content, is_due, journeys
        from marts.upcoming_steps
        order by due_on, program, version, brand, step_no, channel, arm
    """,
    "admissions": "select program, version, position, reason, customers from marts.admission_waterfall order by program, position",
    "monthly": """
        select month, lapse_threshold_days, lapsed_customers, won_back_customers, is_mature
        from marts.winback_monthly
        order by month, lapse_threshold_days
    """,
    "orders": """
        select brand, ordered_on, count(*) as orders, sum(net_value) as revenue
        from marts.order_attribution
        where is_order_row
        group by brand, ordered_on
        order by brand, ordered_on
    """,
}


@dataclass(frozen=True)
class Table:
    """Columns by name, all of one length. Values are JSON's: dates as ISO text, amounts as floats of two decimals."""

    columns: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def rows(self) -> list[dict[str, Any]]:
        return [dict(zip(self.columns, row, strict=True)) for row in zip(*self.columns.values(), strict=True)]


@dataclass(frozen=True)
class Figures:
    """Everything a dashboard shows, of one run. Counts and sums: no customer.

    Attributes
    ----------
    dates_joined : str
        What a date of the attribution cube stands for: `day`, `week` (its Monday) or `month` (its first day).
    exact_hours : int
        Attribution windows up to so many hours can be had by the hour, longer ones by 24.
    longest_hours : int
        The longest window that the marts know.
    """

    run_id: str
    as_of: datetime
    published_at: datetime
    currency: str
    notes: list[str]
    dates_joined: str
    exact_hours: int
    longest_hours: int
    tables: dict[str, Table]


@contextmanager
def open_published(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the published marts, read-only, in UTC: all of one run, however many runs publish meanwhile.

    Raises
    ------
    BadInput
        Nothing has been published.
    """
    path = settings.published / "winback.duckdb"
    if not path.exists():
        raise BadInput(f"{path}: nothing has been published yet. Run a day first: `winback run`.")
    connection = duckdb.connect(str(path), read_only=True)
    try:
        connection.execute("set global TimeZone = 'UTC'")
        yield connection
    finally:
        connection.close()


def gather(connection: duckdb.DuckDBPyConnection) -> Figures:
    """Read all figures.

    Raises
    ------
    BadInput
        The marts were published by a version of winback that had no such mart or column.
    """
    try:
        run = connection.execute("select run_id, as_of, published_at, currency from marts.published_run").fetchall()
        [(run_id, as_of, published_at, currency)] = run
        dates_joined, exact_hours, cube = _cube(connection)
        return Figures(
            run_id=run_id,
            as_of=as_of,
            published_at=published_at,
            currency=currency,
            notes=[note for (note,) in connection.execute("select note from marts.published_notes order by note").fetchall()],
            dates_joined=dates_joined,
            exact_hours=exact_hours,
            longest_hours=LONGEST_HOURS,
            tables={name: _table(connection, query) for name, query in _QUERIES.items()} | {"cube": cube},
        )
    except (duckdb.CatalogException, duckdb.BinderException) as problem:
        told = str(problem).splitlines()[0]
        raise BadInput(
            f"The published marts are not what this version of winback reads ({told}). Run a day with it, then try again."
        ) from None


def attributed(
    connection: duckdb.DuckDBPyConnection,
    hours: float,
    *,
    program: str | None = None,
    brand: str | None = None,
    channel: str | None = None,
    since: date | None = None,
    until: date | None = None,
) -> Table:
    """Orders whose latest message was less than `hours` before, from `order_attribution`: any window, not only whole hours.

    Returns
    -------
    Table
        One row per program, brand, channel and date of order (both ends of `since` and `until` counted): orders, customers, revenue,
        coupon_orders.
    """
    conditions = {
        "program = ?": program,
        "brand = ?": brand,
        "channel = ?": channel,
        "ordered_on >= ?": since,
        "ordered_on <= ?": until,
    }
    given = {condition: value for condition, value in conditions.items() if value is not None}
    query = f"""
        select program, brand, channel, ordered_on, count(*) as orders, count(distinct customer_id) as customers, sum(net_value) as revenue,
            count(*) filter (coupon_match) as coupon_orders
        from marts.order_attribution
        where is_last_touch and hours_since_touch < ?{"".join(f" and {condition}" for condition in given)}
        group by program, brand, channel, ordered_on
        order by program, brand, channel, ordered_on
    """
    return _table(connection, query, [hours, *given.values()])


def _cube(connection: duckdb.DuckDBPyConnection) -> tuple[str, int, Table]:
    """The finest cube that fits: what its dates are joined to, below which hours it is exact, and the rows."""
    for dates, exact_hours in _GRAINS:
        day = "ordered_on" if dates == "day" else f"date_trunc('{dates}', ordered_on)::date"
        query = f"""
            select program, brand, channel, {day} as ordered_on,
                case when hours < {exact_hours} then hours else hours - hours % 24 end as hours,
                sum(orders)::bigint as orders, sum(revenue) as revenue, sum(coupon_orders)::bigint as coupon_orders
            from marts.attribution_cube
            group by all
        """
        is_coarsest = (dates, exact_hours) == _GRAINS[-1]
        if is_coarsest or connection.execute(f"select count(*) from ({query})").fetchall()[0][0] <= CUBE_ROWS:
            return dates, exact_hours, _table(connection, f"{query} order by all")
    raise AssertionError("the last grain is always taken")


def _table(connection: duckdb.DuckDBPyConnection, query: str, parameters: list[Any] | None = None) -> Table:
    cursor = connection.execute(query, parameters or [])
    names = [column[0] for column in cursor.description or []]
    rows = cursor.fetchall()
    return Table({name: [_json(row[position]) for row in rows] for position, name in enumerate(names)})


def _json(value: Any) -> Any:
    if isinstance(value, Decimal):
        return round(float(value), 2)
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return value.isoformat() if isinstance(value, date) else value
