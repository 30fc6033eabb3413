"""The acting part of a day, step by step: what the orchestrator calls, and nothing it would have to decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import sqlalchemy as sa
import structlog

from winback.alerts import Watched, watch
from winback.clock import utc_now
from winback.delivery import ApplyReport, DispatchReport, Plan, apply_plan, dispatch, make_plan, read_plan, regret_sends
from winback.delivery.dispatch import LONGEST_DISPATCH
from winback.delivery.pace import Timer
from winback.destinations import Destinations, open_destinations
from winback.errors import BadConfig, StopRun
from winback.ledger import Ledger, open_ledger
from winback.ledger.tables import messages, outcomes
from winback.progress import tell
from winback.scratch import derived_as_of
from winback.settings import Settings
from winback.warehouse import open_warehouse
from winback.watching import last_outcome

_log = structlog.get_logger("winback.day")
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
# How long a dispatch waits for a provider that asked for a short pause, before it leaves the rest to the next hour.
_LINGER = timedelta(minutes=2)


@dataclass(slots=True)
class SendingReport:
    """What was sent, over one dispatch or all of a simulated day. `note` says why nothing was tried, where nothing was.

    `watched`: the same by lane and destination, and what is wrong with delivery, as people were told.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    lanes: dict[str, Counter[str]] = field(default_factory=dict)
    reasons: dict[str, Counter[str]] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    stopped: dict[str, str] = field(default_factory=dict)
    regret_sends: int = 0
    note: str = ""
    watched: Watched = field(default_factory=Watched)

    def add(self, report: DispatchReport) -> None:
        for lane, counts in report.outcomes.items():
            self.lanes.setdefault(lane, Counter()).update(counts)
            self.outcomes.update(counts)
        for outcome, reasons in report.reasons.items():
            self.reasons.setdefault(outcome, Counter()).update(reasons)
        self.waiting = dict(report.waiting)
        self.stopped |= report.stopped

    def metadata(self) -> dict[str, Any]:
        """Flat counts, so that Dagster plots them, and the reasons beside them."""
        numbers: dict[str, Any] = {name: self.outcomes[name] for name in ("accepted", "rejected", "deferred", "unknown", "skipped")}
        numbers |= {f"{lane} {outcome}": count for lane, counts in sorted(self.lanes.items()) for outcome, count in sorted(counts.items())}
        numbers |= {f"waiting: {why}": count for why, count in sorted(self.waiting.items())}
        if self.reasons:
            numbers["reasons"] = {outcome: dict(reasons.most_common(20)) for outcome, reasons in self.reasons.items()}
        if self.stopped:
            numbers["stopped"] = self.stopped
        numbers["regret sends"] = self.regret_sends
        numbers["open conditions"] = len(self.watched.conditions)
        return numbers | ({"note": self.note} if self.note else {})


def plan_day(settings: Settings, as_of: datetime) -> Plan:
    """Draw the day's plan.

    Raises
    ------
    StopRun
        The marts stand as of another day: another run has derived since.
    """
    tell("planning")
    with open_ledger(settings) as ledger, open_warehouse(settings) as connection:
        stands_at = derived_as_of(connection)
        if stands_at != as_of:
            raise StopRun(
                f"The marts stand as of {stands_at}, the plan is for {as_of}: another run has derived its day in between. "
                "Nothing was planned; run this day again."
            )
        return make_plan(settings, connection, ledger, as_of)


def plan_metadata(plan: Plan) -> dict[str, Any]:
    """Flat counts of a plan, and what it holds back."""
    numbers: dict[str, Any] = {}
    for kind, by_group in plan.counts.items():
        counted: Counter[str] = Counter()
        for values in by_group.values():
            for name, value in values.items():
                counted.update({name: _total(value)})
        numbers |= {f"{kind} {name}".replace("_", " "): count for name, count in sorted(counted.items())}
    return numbers | ({"held_back": [hold.message for hold in plan.holds]} if plan.holds else {})


def _total(count: int | Mapping[str, Any]) -> int:
    return sum(_total(value) for value in count.values()) if isinstance(count, Mapping) else count


def apply_day(settings: Settings, as_of: datetime, now: datetime, run_id: str) -> ApplyReport:
    """Record exactly the plan of the day: enrolments, steps, messages, changes of ad audiences."""
    tell("applying the plan")
    with open_ledger(settings) as ledger, open_warehouse(settings) as connection:
        return apply_plan(settings, connection, ledger, read_plan(settings, as_of), settings.acting_at(as_of, now), run_id=run_id)


def apply_metadata(report: ApplyReport) -> dict[str, Any]:
    """Flat counts of what was recorded and held back, and why nothing was, where nothing was."""
    numbers: dict[str, Any] = {"enrolled": report.recorded.get("enrolments", 0)}
    numbers |= {f"recorded {table}".replace("_", " "): count for table, count in sorted(report.recorded.items())}
    numbers |= {f"held back: {reason}": count for reason, count in sorted(report.held_back.items())}
    notes = [*([report.reason] if report.reason else []), *report.notes]
    return numbers | ({"note": " ".join(notes)} if notes else {})


def dispatch_due(
    settings: Settings, now: datetime, as_of: datetime | None, *, ask_for_help: Callable[[Path, int], None] | None = None
) -> SendingReport:
    """Send what is due. `as_of` is the day's, None between days. On the simulated clock the day's 24 hours pass at once.

    Parameters
    ----------
    ask_for_help
        Starts processes that call `help_to_send` with the folder of a hand-out; gets the number of slices too. Without it, or where
        little is due, this process sends alone.

    Raises
    ------
    BadConfig
        Sending is to be shared, and the ledger is a SQLite file.
    """
    report = SendingReport()
    simulated = settings.clock == "simulated"
    if simulated and as_of is None:
        report.note = "this home runs on a simulated clock: its messages go out within their day's run"
        return report
    tell("sending")
    with open_ledger(settings) as ledger, open_destinations(settings) as destinations, open_warehouse(settings) as connection:
        if as_of is None:
            _heed_stops(settings, ledger, now)
        before = last_outcome(ledger)
        shared: DispatchReport | None = None
        if settings.dispatch_shards > 1 and not simulated:
            shared = _share(settings, connection, ledger, destinations, now, ask_for_help)
        last: DispatchReport | None = None
        if simulated and as_of is not None:
            for instant in _hours(ledger, as_of):
                last = dispatch(settings, connection, ledger, destinations, instant)
                report.add(last)
        else:
            # After shares: what was left by one that ended early, or has become due meanwhile.
            until = now + LONGEST_DISPATCH
            now = utc_now() if shared else now
            last = dispatch(
                settings, connection, ledger, destinations, now, clock=utc_now, linger=_LINGER, shares_before=shared, until=until
            )
            report.add(last)
        if last is not None:
            ended = last.now if simulated else utc_now()
            report.regret_sends = regret_sends(connection, after=before)
            report.watched = watch(settings, ledger, connection, after=before, stopped=last.stopped, now=ended)
    return report


def _share(
    settings: Settings,
    connection: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    destinations: Destinations,
    now: datetime,
    ask_for_help: Callable[[Path, int], None] | None,
) -> DispatchReport | None:
    """Send slice by slice, with whoever comes to help; None where that is not worth it."""
    from winback.delivery.sharing import hand_out, send_slices, wait_for_others

    if ledger.dialect != "postgresql":
        raise BadConfig(
            f"WINBACK_DISPATCH_SHARDS is {settings.dispatch_shards}, and the ledger is a SQLite file, which one process writes at a time. "
            "Set WINBACK_LEDGER_URL to a PostgreSQL database, or WINBACK_DISPATCH_SHARDS to 1."
        )
    if ask_for_help is None:
        return None
    with hand_out(settings, connection, ledger, now, slices=settings.dispatch_shards) as handed:
        if handed is None:
            return None
        ask_for_help(handed.folder, handed.slices)
        send_slices(settings, ledger, destinations, handed, clock=utc_now)
        wait_for_others(ledger, handed, Timer())
        done = DispatchReport(now)
        for one in handed.reports():
            done.add(one)
        return done


def help_to_send(settings: Settings, folder: Path, first: int) -> int:
    """Send slices of a hand-out that nobody is at, beginning with number `first`; returns how many. 0 where it is over already."""
    from winback.delivery.sharing import HandOut, send_slices

    tell("sending")
    with open_ledger(settings) as ledger, open_destinations(settings) as destinations:
        return send_slices(settings, ledger, destinations, HandOut(folder), clock=utc_now, first=first)


def _heed_stops(settings: Settings, ledger: Ledger, now: datetime) -> None:
    """What a person has paused since the day is not sent. Files that cannot be read hold nothing up: what they said before holds."""
    from winback.programs import record_stops

    try:
        paused = record_stops(settings, ledger, now)
    except BadConfig as problem:
        _log.warning("programs_not_read", reason=str(problem))
    else:
        for name in paused:
            _log.info("program_paused", program=name)


def _hours(ledger: Ledger, as_of: datetime) -> Iterator[datetime]:
    """The hours of a simulated day at which something may be due. Empty once a later day has been applied: that time has passed."""
    last = ledger.last_applied()
    if last is not None and last > as_of:
        return
    instant: datetime | None = as_of
    while instant is not None:
        yield instant
        instant = _next_due(ledger, instant, as_of + _DAY)


def _next_due(ledger: Ledger, after: datetime, until: datetime) -> datetime | None:
    """The first full hour after `after`, and before `until`, by which a message has become due."""
    due: list[datetime] = []
    with ledger.reading() as connection:
        for column in (messages.c.not_before, outcomes.c.retry_at):
            found = connection.execute(sa.select(sa.func.min(column)).where(column > after, column < until)).scalar()
            if found is not None:
                due.append(found)
    if not due:
        return None
    first = min(due)
    hour = first.replace(minute=0, second=0, microsecond=0)
    instant = hour if hour == first else hour + _HOUR
    return instant if instant < until else None
