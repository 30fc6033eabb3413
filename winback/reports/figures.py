"""The figures of a day, read once: every report shows these and computes none of its own."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import duckdb
from pydantic import BaseModel, ConfigDict

from winback.errors import BadInput
from winback.settings import Settings
from winback.warehouse import source_notes

if TYPE_CHECKING:
    from winback.ledger import Ledger

TIERS = ("active", "at_risk", "inactive")
LIFECYCLES = ("prospect", "new", "active", "lapsed", "dormant")
CHANNELS = ("email", "sms", "push", "ads")
OUTCOMES = ("accepted", "waiting", "deferred", "skipped", "rejected", "unknown")
MONTHS_SHOWN = 13

# Losing sight of a regular for a quarter is the reading that most shops start from; the other thresholds stand in `winback_monthly`.
LEADING_THRESHOLD_DAYS = 90


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class Count(_Model):
    """A name and how many customers (or messages) it has."""

    name: str
    count: int


class Admission(_Model):
    """One program's admissions: `audience` = `admitted` + all of `blocked`, whose reasons stand in gate order."""

    program: str
    version: int
    audience: int
    admitted: int
    holdout: int
    blocked: list[Count]


class Journey(_Model):
    """Enrolments of one program since its start."""

    program: str
    started: int
    holdout: int
    open: int
    completed: int
    exited: list[Count]


class Decision(_Model):
    """Steps that were due: what was decided for how many customers."""

    channel: str
    decision: str
    reason: str | None
    count: int


class Sent(_Model):
    """Messages of one channel by their latest outcome; `waiting` has none yet. Tasks for people stand under the channel `task`."""

    channel: str
    outcomes: dict[str, int]

    @property
    def messages(self) -> int:
        return sum(self.outcomes.values())


class AdAudience(_Model):
    """An ad audience: who should be in it now, and what the day's run changed."""

    platform: str
    program: str
    members: int
    added: int
    removed: int


class Removals(_Model):
    """Members of a platform's audiences whose journey ended with a purchase: how long until the platform acknowledged their removal.

    `removed` since the beginning, `removed_by_run` of them by this day's run; days are calendar days from the purchase, None where nobody
    was removed (or is waiting).
    """

    platform: str
    removed: int
    removed_by_run: int
    days_median: float | None
    days_longest: int | None
    waiting: int
    waiting_days_longest: int | None


class WinBack(_Model):
    """Of the customers lapsed when the month opened, the share who purchased within it. Immature until the month is over."""

    month: date
    threshold_days: int
    lapsed: int
    won_back: int
    percentage: float | None
    is_mature: bool


class Lift(_Model):
    """Treatment against holdout, over all programs, windows closed. Amounts in the reporting currency; null: nobody to compare."""

    treatment: int
    holdout: int
    immature: int
    next_window_closes_on: date | None
    incremental_customers: float | None
    incremental_customers_low: float | None
    incremental_customers_high: float | None
    incremental_revenue: float | None
    incremental_revenue_low: float | None
    incremental_revenue_high: float | None
    attributed_revenue: float


class Figures(_Model):
    """Everything that a report of one day shows. Counts only: no customer, no address."""

    as_of: datetime
    day: date
    notes: list[str]
    customers: int
    tiers: list[Count]
    lifecycle: list[Count]
    reachable: list[Count]
    audiences: list[Count]
    admissions: list[Admission]
    journeys: list[Journey]
    decisions: list[Decision]
    sent_for_day: list[Sent]
    sent_so_far: list[Sent]
    regret_sends: int
    regret_sends_so_far: int = 0
    ad_audiences: list[AdAudience]
    ad_removals: list[Removals] = []
    win_back: list[WinBack]
    win_back_by_threshold: list[WinBack]
    lift: Lift | None = None

    @property
    def admitted(self) -> int:
        return sum(row.admitted for row in self.admissions)

    @property
    def considered(self) -> int:
        """Audience memberships of live programs: a customer in two audiences counts twice, once per program."""
        return sum(row.audience for row in self.admissions)

    def blocked(self) -> list[Count]:
        """Blocked over all programs, in gate order."""
        totals: dict[str, int] = {}
        for row in self.admissions:
            for reason in row.blocked:
                totals[reason.name] = totals.get(reason.name, 0) + reason.count
        return [Count(name=name, count=count) for name, count in totals.items() if count]

    def numbers(self) -> dict[str, int | float]:
        """Single numbers under stable names, for plotting over days."""
        found: dict[str, int | float] = {"customers": self.customers}
        found |= {f"tier_{row.name}": row.count for row in self.tiers}
        found |= {f"audience_{row.name}": row.count for row in self.audiences}
        found |= {"audience_members_of_live_programs": self.considered, "admitted": self.admitted}
        found |= {"blocked": self.considered - self.admitted, "open_journeys": sum(row.open for row in self.journeys)}
        found |= {f"accepted_{row.channel}": row.outcomes.get("accepted", 0) for row in self.sent_for_day}
        found |= {"regret_sends": self.regret_sends, "regret_sends_so_far": self.regret_sends_so_far}
        found |= {"ad_audience_members": sum(row.members for row in self.ad_audiences)}
        found |= {"ad_members_waiting_for_removal_after_a_purchase": sum(row.waiting for row in self.ad_removals)}
        mature = [row for row in self.win_back if row.is_mature and row.percentage is not None]
        if mature:
            found[f"win_back_percentage_{LEADING_THRESHOLD_DAYS}_days"] = round(mature[-1].percentage or 0.0, 3)
        return found


def gather(settings: Settings, connection: duckdb.DuckDBPyConnection, ledger: Ledger, as_of: datetime) -> Figures:
    """Read the figures of `as_of` from the marts of the open warehouse and from the ledger.

    Raises
    ------
    BadInput
        The marts are missing, or of another day.
    """
    from winback.delivery.regret import regret_sends_by_run

    _require_day(connection, as_of)
    ledger.copy_to_warehouse(connection)
    regrets = regret_sends_by_run(connection)
    day_of_ledger = _sent(connection, as_of)
    return Figures(
        as_of=as_of,
        day=(as_of - timedelta(days=1)).date(),
        notes=source_notes(connection),
        customers=_one(connection, "select count(*) from marts.customers"),
        tiers=_counted(connection, "engagement_tier", TIERS),
        lifecycle=_counted(connection, "purchase_lifecycle", LIFECYCLES),
        reachable=[
            Count(name=channel, count=_one(connection, f"select count(*) from marts.customers where reachable_{channel}"))
            for channel in CHANNELS
        ],
        audiences=[
            Count(name=name, count=_one(connection, f'select count(*) from marts."{name}"'))
            for name in settings.audiences()
            if _exists(connection, name)
        ],
        admissions=_admissions(connection),
        journeys=_journeys(connection),
        decisions=[
            Decision(channel=channel, decision=decision, reason=reason, count=count)
            for channel, decision, reason, count in connection.execute("""
                select case when kind = 'task' then 'task' else coalesce(channel, 'none') end as channel, decision, reason, count(*)
                from marts.journey_actions group by all order by all
            """).fetchall()
        ],
        sent_for_day=day_of_ledger["day"],
        sent_so_far=day_of_ledger["so_far"],
        regret_sends=regrets.get(as_of, 0),
        regret_sends_so_far=sum(count for run, count in regrets.items() if run <= as_of),
        ad_audiences=_ad_audiences(connection, ledger, as_of),
        ad_removals=_ad_removals(connection, ledger, as_of),
        win_back=_win_back(connection, f"lapse_threshold_days = {LEADING_THRESHOLD_DAYS}")[-MONTHS_SHOWN:],
        win_back_by_threshold=_win_back(connection, "month = (select max(month) from marts.winback_monthly where is_mature)"),
        lift=_lift(connection),
    )


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    return int(connection.execute(query).fetchall()[0][0])


def _exists(connection: duckdb.DuckDBPyConnection, table: str, schema: str = "marts") -> bool:
    found = connection.execute("select 1 from information_schema.tables where table_schema = ? and table_name = ?", [schema, table])
    return bool(found.fetchall())


def _require_day(connection: duckdb.DuckDBPyConnection, as_of: datetime) -> None:
    if not _exists(connection, "customers"):
        raise BadInput("The warehouse has no marts: nothing has been derived. Run a day first: `winback run`.")
    [derived] = [row[0] for row in connection.execute("select max(as_of) from marts.customers").fetchall()]
    if derived is not None and derived != as_of:
        day = as_of - timedelta(days=1)
        raise BadInput(
            f"The marts are of {derived:%Y-%m-%d %H:%M}, not of {as_of:%Y-%m-%d %H:%M}. Run that day: `winback run --date {day:%Y-%m-%d}`."
        )


def _counted(connection: duckdb.DuckDBPyConnection, column: str, names: tuple[str, ...]) -> list[Count]:
    found = dict(connection.execute(f"select {column}, count(*) from marts.customers group by all").fetchall())
    return [Count(name=name, count=found.get(name, 0)) for name in names]


def _admissions(connection: duckdb.DuckDBPyConnection) -> list[Admission]:
    holdout = dict(
        connection.execute("select program, count(*) from marts.journey_admissions where arm = 'holdout' group by all").fetchall()
    )
    rows = connection.execute("""
        select program, max(version), sum(customers)::bigint, coalesce(sum(customers) filter (reason = 'admitted'), 0)::bigint,
            coalesce(list({'name': reason, 'count': customers} order by position) filter (reason <> 'admitted'), [])
        from marts.admission_waterfall group by program order by program
    """).fetchall()
    return [
        Admission(
            program=program,
            version=version,
            audience=audience,
            admitted=admitted,
            holdout=holdout.get(program, 0),
            blocked=[Count(**reason) for reason in blocked],
        )
        for program, version, audience, admitted, blocked in rows
    ]


def _journeys(connection: duckdb.DuckDBPyConnection) -> list[Journey]:
    exits: dict[str, list[Count]] = {}
    for program, reason, count in connection.execute("""
        select program, coalesce(exit_reason, 'other'), count(*) from marts.journey_enrolments
        where status = 'exited' group by all order by program, count(*) desc, 2
    """).fetchall():
        exits.setdefault(program, []).append(Count(name=reason, count=count))
    rows = connection.execute("""
        select program, count(*), count(*) filter (arm = 'holdout'), count(*) filter (status = 'open'),
            count(*) filter (status = 'completed')
        from marts.journey_enrolments group by program order by program
    """).fetchall()
    return [
        Journey(program=program, started=started, holdout=holdout, open=still, completed=completed, exited=exits.get(program, []))
        for program, started, holdout, still, completed in rows
    ]


def _win_back(connection: duckdb.DuckDBPyConnection, condition: str) -> list[WinBack]:
    rows = connection.execute(f"""
        select month, lapse_threshold_days, lapsed_customers, won_back_customers, win_back_percentage, is_mature
        from marts.winback_monthly where {condition} order by month, lapse_threshold_days
    """).fetchall()
    names = ("month", "threshold_days", "lapsed", "won_back", "percentage", "is_mature")
    return [WinBack(**dict(zip(names, row, strict=True))) for row in rows]


def _lift(connection: duckdb.DuckDBPyConnection) -> Lift | None:
    """The headline; nothing before the first enrolment."""
    rows = connection.execute("""
        select treatment_enrolled, holdout_enrolled, treatment_immature + holdout_immature, next_window_closes_on, incremental_customers,
            incremental_customers_low, incremental_customers_high, incremental_revenue, incremental_revenue_low, incremental_revenue_high,
            attributed_revenue
        from marts.campaign_lift where scope = 'all'
    """).fetchall()
    return Lift(**dict(zip(Lift.model_fields, rows[0], strict=True))) if rows else None


def _sent(connection: duckdb.DuckDBPyConnection, as_of: datetime) -> dict[str, list[Sent]]:
    """Messages planned by this day's run, and by all runs up to it, per channel and latest outcome.

    From the warehouse's copy of the ledger, just brought up to date: SQLite takes half a second for what DuckDB does at once.
    """
    rows = connection.execute(
        """
        with latest as (
            select item_id, arg_max(outcome, attempt) as outcome from ledger.outcomes group by item_id
        )
        select messages.as_of = $as_of as is_day, if(messages.kind = 'task', 'task', messages.channel) as channel,
            coalesce(latest.outcome, 'waiting') as outcome, count(*)
        from ledger.messages as messages
        left join latest on latest.item_id = messages.message_id
        where messages.as_of <= $as_of
        group by all
        order by all
        """,
        {"as_of": as_of},
    ).fetchall()
    found: dict[str, dict[str, dict[str, int]]] = {"day": {}, "so_far": {}}
    for row in rows:
        of_day, name, how, count = row
        for scope in ("so_far", "day") if of_day else ("so_far",):
            counts = found[scope].setdefault(name, {})
            counts[how] = counts.get(how, 0) + count
    return {
        scope: [
            Sent(channel=name, outcomes={how: counts[how] for how in (*OUTCOMES, *sorted(set(counts) - set(OUTCOMES))) if how in counts})
            for name, counts in sorted(channels.items())
        ]
        for scope, channels in found.items()
    }


def _ad_audiences(connection: duckdb.DuckDBPyConnection, ledger: Ledger, as_of: datetime) -> list[AdAudience]:
    import sqlalchemy as sa

    from winback.ledger.tables import audience_changes as changes

    found: dict[tuple[str, str], dict[str, Any]] = {}
    for platform, program, members in connection.execute(
        "select platform, program, count(*) from marts.ad_audience_members group by all"
    ).fetchall():
        found[platform, program] = {"members": members}
    for row in ledger.read(
        sa.select(changes.c.platform, changes.c.program, changes.c.operation, sa.func.count())
        .where(changes.c.as_of == as_of)
        .group_by(changes.c.platform, changes.c.program, changes.c.operation)
    ):
        platform, program, operation, count = tuple(row)
        found.setdefault((platform, program), {})["added" if operation == "add" else "removed"] = count
    return [
        AdAudience(
            platform=platform, program=program, members=size.get("members", 0), added=size.get("added", 0), removed=size.get("removed", 0)
        )
        for (platform, program), size in sorted(found.items())
    ]


def _ad_removals(connection: duckdb.DuckDBPyConnection, ledger: Ledger, as_of: datetime) -> list[Removals]:
    """The mart knows what was acknowledged before `as_of`; the ledger adds what this day's run and later ones have seen."""
    import pyarrow as pa
    import sqlalchemy as sa

    from winback.ledger.tables import audience_changes as changes
    from winback.ledger.tables import outcomes

    names = ("platform", "program", "customer_id", "asked_at", "removed_at")
    rows = ledger.read(
        sa.select(changes.c.platform, changes.c.program, changes.c.customer_id, changes.c.as_of, outcomes.c.recorded_at)
        .join(outcomes, outcomes.c.item_id == changes.c.change_id)
        .where((changes.c.operation == "remove") & (outcomes.c.outcome == "accepted") & (outcomes.c.recorded_at >= as_of))
    )
    types = (pa.string(), pa.string(), pa.string(), pa.timestamp("us"), pa.timestamp("us"))
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    cursor = connection.cursor()
    cursor.register(
        "acknowledged", pa.table({name: pa.array(column, type=kind) for name, column, kind in zip(names, columns, types, strict=True)})
    )
    found = cursor.execute(
        """
        with late as (
            select stays.platform, stays.program, stays.customer_id, stays.added_at, min(acknowledged.removed_at) as removed_at
            from marts.ad_audience_removals as stays
            join acknowledged using (platform, program, customer_id)
            where not stays.is_removed and acknowledged.asked_at > stays.added_at
            group by all
        ),
        stays as (
            select stays.platform, late.removed_at is not null as is_of_run, stays.is_removed or late.removed_at is not null as is_removed,
                coalesce(stays.days_to_removal, late.removed_at::date - stays.purchased_at::date) as days_to_removal, stays.days_waiting
            from marts.ad_audience_removals as stays
            left join late using (platform, program, customer_id, added_at)
        )
        select platform, count(*) filter (is_removed), count(*) filter (is_of_run), median(days_to_removal), max(days_to_removal),
            count(*) filter (not is_removed), max(days_waiting) filter (not is_removed)
        from stays
        group by platform
        order by platform
        """
    ).fetchall()
    return [Removals(**dict(zip(Removals.model_fields, row, strict=True))) for row in found]
