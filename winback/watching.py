"""Is delivery well? Counts of what was tried, read from the ledger, and a pure function from them to the conditions that hold.

It is asked at the end of a dispatch, and by processes that live when no dispatch does (`winback watch`, the receiver's /health): those
read the ledger alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

import duckdb
import sqlalchemy as sa
import structlog

from winback.deliveries import PUT_BACK
from winback.delivery.feedback import LOOK_AGAIN
from winback.delivery.guard import EmailHealth, email_health, email_pauses
from winback.delivery.queue import open_since
from winback.delivery.rules import Rules
from winback.destinations import PLATFORMS, lane_of, routes
from winback.errors import WinbackError
from winback.ledger import Ledger
from winback.ledger.tables import audience_changes, claims, messages, outcomes
from winback.settings import Settings

LANES = ("email", "sms", "push", "task", *map(lane_of, PLATFORMS))
OUTCOMES = ("accepted", "rejected", "deferred", "unknown", "skipped")
DESTINATION_FAILING = "destination_failing"
REJECTS = "rejects"
NOTHING_SENT = "nothing_sent"
SOURCE_STALE = "source_stale"
EMAIL_PAUSED = "email_paused"
EMAIL_COMPLAINTS = "email_complaints"
NOT_TRIED = "not_tried"
DAY_MISSING = "day_missing"

LATE = timedelta(hours=3)
"""A dispatch runs every hour. What has been due for longer while nothing at all was tried waits for nobody."""

DAY_LATE = timedelta(hours=30)
"""After the end of a day the next one is due within 24 hours, and done some hours later."""

_OURS = frozenset({"quiet_hours", "capped", LOOK_AGAIN, PUT_BACK})
"""Reasons of outcomes for which no destination was asked."""

_WINDOW = timedelta(hours=24)
_HOUR = timedelta(hours=1)
_log = structlog.get_logger("winback.watching")


@dataclass(frozen=True, slots=True)
class Lane:
    """What became of the items of one channel or ad platform at one destination ("" where the ledger does not say which).

    `tried` leaves out what was decided without asking it.
    """

    lane: str
    destination: str
    outcomes: Mapping[str, int]
    tried: int
    reasons: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def top_reasons(self, most: int = 5) -> dict[str, int]:
        """The commonest reasons of what was not accepted, as `outcome: reason`."""
        counts = {f"{outcome}: {reason}": count for outcome, reasons in self.reasons.items() for reason, count in reasons.items()}
        return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:most])


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that a person should know. `key` says what it is about, `lanes` where it shows; `text` holds counts and ids only."""

    key: str
    text: str
    lanes: tuple[str, ...] = ()

    @property
    def severity(self) -> Literal["error", "warning"]:
        """error: messages that should leave do not."""
        return "warning" if self.key.partition(":")[0] in (REJECTS, SOURCE_STALE, EMAIL_COMPLAINTS) else "error"


@dataclass(frozen=True, slots=True)
class Waiting:
    """What nobody has tried although its time has come: `messages`, and `changes` of ad audiences and lists.

    `late`: those of them that are due for longer than `LATE`; 0 where anything at all was tried in that time. `since_last_day`: the time
    since the latest day that was applied; None before the first.
    """

    messages: int = 0
    changes: int = 0
    late: int = 0
    since_last_day: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """What is judged: a dispatch (`lanes`), the 24 hours up to its end (`day`), and what it left behind.

    `stopped`: destinations that were given up, with the reason. `overdue`: items whose time has come and that nobody has tried.
    `in_use`: {lane: destination}. `email`: how each program's email fares. `email`, `stale_after`, `since_last_order` and `waiting` are
    None where nothing can be said.
    """

    lanes: tuple[Lane, ...] = ()
    day: tuple[Lane, ...] = ()
    stopped: Mapping[str, str] = field(default_factory=dict)
    overdue: int = 0
    in_use: Mapping[str, str] = field(default_factory=dict)
    email: tuple[EmailHealth, ...] | None = ()
    since_last_order: timedelta | None = None
    stale_after: timedelta | None = None
    waiting: Waiting | None = None


def judge(figures: Figures, known: Collection[str], *, minimum_tried: int, rejected_share: float) -> dict[str, Condition | None]:
    """The conditions that hold, by key, and (None) those that do not. About keys left out the figures say nothing: they stay as they were.

    Parameters
    ----------
    known
        Keys of the conditions that hold as far as is known.
    minimum_tried
        Fewer answers say nothing of a destination; a dispatch that tried fewer is judged by its 24 hours.
    rejected_share
        Rejections above this share of the answers are a condition.
    """
    verdicts: dict[str, Condition | None] = {}
    for name in sorted(({lane.destination for lane in (*figures.lanes, *figures.day)} | set(figures.stopped)) - {""}):
        verdict = _destination(figures, name, minimum_tried)
        if verdict is not _NO_EVIDENCE:
            verdicts[f"{DESTINATION_FAILING}:{name}"] = verdict
    failing = {key for key, verdict in verdicts.items() if verdict is not None}
    for lane in sorted({one.lane for one in (*figures.lanes, *figures.day)}):
        verdict = _rejects(figures, lane, minimum_tried, rejected_share)
        if verdict is not _NO_EVIDENCE and f"{DESTINATION_FAILING}:{figures.in_use.get(lane)}" not in failing:
            verdicts[f"{REJECTS}:{lane}"] = verdict
    accepted = _sum(figures.lanes, "accepted")
    tried = sum(lane.tried for lane in figures.day)
    if accepted:
        verdicts[NOTHING_SENT] = None
    elif not failing and not _sum(figures.day, "accepted") and tried + figures.overdue:
        due = tried + figures.overdue
        text = f"Nothing was sent in 24 hours, although {due:,} {'was' if due == 1 else 'were'} due{_most_often(figures.day)}"
        verdicts[NOTHING_SENT] = Condition(NOTHING_SENT, text, tuple(sorted({lane.lane for lane in figures.day})))
    if figures.since_last_order is not None and figures.stale_after is not None:
        days = figures.since_last_order / timedelta(days=1)
        text = f"The source is stale: the last order is {days:.1f} days old ({figures.stale_after.days} are expected at most)"
        is_stale = figures.since_last_order > figures.stale_after
        verdicts[SOURCE_STALE] = Condition(SOURCE_STALE, text) if is_stale else None
    verdicts |= _waiting(figures.waiting) | _email(figures.email or ())
    for key in known:
        kind, _, name = key.partition(":")
        is_of_email = kind in (EMAIL_PAUSED, EMAIL_COMPLAINTS) and figures.email is not None
        if is_of_email and name not in {one.program for one in figures.email or ()}:
            verdicts[key] = None
        # Nobody will ever hear again from what nothing goes through any more.
        if kind == DESTINATION_FAILING and name not in figures.in_use.values() and name not in figures.stopped:
            verdicts[key] = None
    return verdicts


_NO_EVIDENCE = Condition("", "")


def _waiting(waiting: Waiting | None) -> dict[str, Condition | None]:
    """Whether anybody is at work: nobody else would say that nobody is."""
    if waiting is None:
        return {}
    verdicts: dict[str, Condition | None] = {NOT_TRIED: None}
    if waiting.late:
        text = f"{waiting.late:,} {'item is' if waiting.late == 1 else 'items are'} due for more than {LATE // _HOUR} hours"
        verdicts[NOT_TRIED] = Condition(NOT_TRIED, f"{text}, and nothing at all was tried meanwhile: does the schedule run?")
    if waiting.since_last_day is not None:
        days = waiting.since_last_day / timedelta(days=1)
        text = f"The last day that was applied ended {days:.1f} days ago: the daily run does not run, or is stopped"
        verdicts[DAY_MISSING] = Condition(DAY_MISSING, text) if waiting.since_last_day > DAY_LATE else None
    return verdicts


def _email(programs: Iterable[EmailHealth]) -> dict[str, Condition | None]:
    """Pauses, and warnings before them. What was warned of is not over because a pause has followed."""
    verdicts: dict[str, Condition | None] = {}
    for one in programs:
        paused, warned = f"{EMAIL_PAUSED}:{one.program}", f"{EMAIL_COMPLAINTS}:{one.program}"
        if one.paused_at is not None:
            why = f": {one.reason}" if one.reason else ""
            act = f"It stays so until a person runs: winback programs resume {one.program}"
            verdicts[paused] = Condition(paused, f"{one.program} sends no more email{why}. {act}", ("email",))
            continue
        verdicts[paused] = None
        if one.level != "limit":
            verdicts[warned] = Condition(warned, f"{one.program}: {one.reason}", ("email",)) if one.level == "warning" else None
    return verdicts


def _destination(figures: Figures, name: str, minimum: int) -> Condition | None:
    now = [lane for lane in figures.lanes if lane.destination == name]
    key = f"{DESTINATION_FAILING}:{name}"
    lanes = lanes_of(key, figures.in_use)
    if name in figures.stopped:
        return Condition(key, f"{name} was given up: {figures.stopped[name]}", lanes)
    if _sum(now, "accepted"):
        return None
    judged = now if _tried(now) >= minimum else [lane for lane in figures.day if lane.destination == name]
    if _tried(judged) < minimum or _sum(judged, "accepted"):
        return _NO_EVIDENCE
    return Condition(key, f"{name} accepted none of {_tried(judged):,} items{_most_often(judged)}", lanes)


def lanes_of(key: str, in_use: Mapping[str, str]) -> tuple[str, ...]:
    """The lanes that a condition is about; none where it is about all."""
    kind, _, name = key.partition(":")
    if kind == DESTINATION_FAILING:
        return tuple(sorted(lane for lane, destination in in_use.items() if destination == name))
    if kind in (EMAIL_PAUSED, EMAIL_COMPLAINTS):
        return ("email",)
    return (name,) if kind == REJECTS else ()


@dataclass(frozen=True, slots=True)
class LaneCheck:
    """How one channel or ad platform fared in a dispatch. `numbers` holds counts, reasons and conditions, never an address."""

    passed: bool
    is_error: bool
    numbers: dict[str, Any]


def lane_check(lane: str, lanes: Iterable[Lane], conditions: Iterable[Condition]) -> LaneCheck:
    """Passed where no condition of the lane holds and nothing is in doubt."""
    of_it = [one for one in lanes if one.lane == lane]
    held = [condition for condition in conditions if lane in condition.lanes]
    general = [condition for condition in conditions if not condition.lanes]
    reasons: Counter[str] = Counter()
    for one in of_it:
        reasons.update(one.top_reasons())
    numbers: dict[str, Any] = {("sent" if outcome == "accepted" else outcome): _sum(of_it, outcome) for outcome in OUTCOMES}
    if reasons:
        numbers["reasons"] = dict(reasons.most_common(5))
    if of_it:
        numbers["destination"] = ", ".join(sorted({one.destination for one in of_it if one.destination}))
    if held or general:
        numbers["conditions"] = [condition.text for condition in (*held, *general)]
    is_error = any(condition.severity == "error" for condition in held)
    return LaneCheck(not held and not numbers["unknown"], is_error, numbers)


def _rejects(figures: Figures, lane: str, minimum: int, share: float) -> Condition | None:
    judged = [one for one in figures.lanes if one.lane == lane]
    if _tried(judged) < minimum:
        judged = [one for one in figures.day if one.lane == lane]
    accepted, rejected = _sum(judged, "accepted"), _sum(judged, "rejected")
    if accepted + rejected < minimum:
        return _NO_EVIDENCE
    if rejected <= share * (accepted + rejected):
        return None
    found = rejected / (accepted + rejected)
    text = f"{lane}: {rejected:,} of {accepted + rejected:,} ({found:.0%}) were rejected{_most_often(judged, 'rejected')}"
    return Condition(f"{REJECTS}:{lane}", text, (lane,))


def _sum(lanes: Iterable[Lane], outcome: str) -> int:
    return sum(lane.outcomes.get(outcome, 0) for lane in lanes)


def _tried(lanes: Iterable[Lane]) -> int:
    return sum(lane.tried for lane in lanes)


def _most_often(lanes: Iterable[Lane], *kinds: str) -> str:
    counts: Counter[str] = Counter()
    for lane in lanes:
        for outcome in kinds or ("rejected", "deferred", "unknown"):
            counts.update({reason: count for reason, count in lane.reasons.get(outcome, {}).items() if reason not in _OURS})
    return f". Most often: {counts.most_common(1)[0][0]}" if counts else ""


def last_outcome(ledger: Ledger) -> int:
    """The `seq` of the newest outcome: what comes after it is new."""
    with ledger.reading() as connection:
        return connection.execute(sa.select(sa.func.coalesce(sa.func.max(outcomes.c.seq), 0))).scalar_one()


def read_figures(
    settings: Settings,
    ledger: Ledger,
    warehouse: duckdb.DuckDBPyConnection,
    *,
    after: int,
    stopped: Mapping[str, str],
    now: datetime,
) -> Figures:
    """Read what `judge` needs, at the end of a dispatch before which the newest outcome was `after`. Reads no addresses."""
    figures = read_ledger_figures(settings, ledger, after=after, stopped=stopped, now=now)
    # What came back during the dispatch counts too.
    ledger.copy_to_warehouse(warehouse)
    email = email_health(warehouse, ledger, Rules.in_force(settings), now)
    since_last_order = _since_last_order(warehouse, now)
    return replace(figures, email=tuple(email), since_last_order=since_last_order, stale_after=_stale_after(settings))


def read_ledger_figures(settings: Settings, ledger: Ledger, *, after: int, stopped: Mapping[str, str], now: datetime) -> Figures:
    """The same as far as the ledger tells it: a process may ask that does not have the warehouse."""
    with ledger.reading() as connection:
        # Backwards by seq, and only to the beginning of the window: outcomes have no index by time, and there may be millions.
        before = sa.select(outcomes.c.seq).where(outcomes.c.recorded_at <= now - _WINDOW).order_by(outcomes.c.seq.desc()).limit(1)
        start = connection.execute(before).scalar() or 0
        lanes = _lanes(connection, after)
        day = lanes if start >= after else _lanes(connection, start)
    waiting = read_waiting(ledger, now)
    return Figures(lanes, day, stopped, waiting.messages + waiting.changes, routes(settings), None, waiting=waiting)


def read_waiting(ledger: Ledger, now: datetime) -> Waiting:
    """What is due and was never tried, from the ledger alone."""
    paused = [program for program, status in ledger.statuses().items() if status == "paused"]
    pauses = list(email_pauses(ledger))
    since, _ = open_since(ledger)
    last_day = ledger.last_applied()

    def untouched(due_by: datetime) -> tuple[sa.Select[int], sa.Select[int]]:
        count = sa.select(sa.func.count())
        return (
            count.where(
                messages.c.not_before <= due_by,
                messages.c.expires_at > now,
                messages.c.program.not_in(paused),
                sa.or_(messages.c.channel != "email", messages.c.program.not_in(pauses)),
                ~sa.exists().where(claims.c.item_id == messages.c.message_id),
                ~sa.exists().where(outcomes.c.item_id == messages.c.message_id),
            ),
            count.where(
                audience_changes.c.as_of >= since,
                audience_changes.c.recorded_at <= due_by,
                ~sa.exists().where(claims.c.item_id == audience_changes.c.change_id),
                ~sa.exists().where(outcomes.c.item_id == audience_changes.c.change_id),
            ),
        )

    with ledger.reading() as connection:
        due = [connection.execute(one).scalar_one() for one in untouched(now)]
        newest = sa.select(outcomes.c.recorded_at).order_by(outcomes.c.seq.desc()).limit(1)
        tried_at: datetime | None = connection.execute(newest).scalar()
        is_idle = tried_at is None or now - tried_at > LATE
        late = sum(connection.execute(one).scalar_one() for one in untouched(now - LATE)) if is_idle and any(due) else 0
    return Waiting(due[0], due[1], late, None if last_day is None else now - last_day)


def _lanes(connection: sa.Connection, after: int) -> tuple[Lane, ...]:
    rows: list[Any] = []
    sources = ((str, messages.c.channel, messages.c.message_id), (lane_of, audience_changes.c.platform, audience_changes.c.change_id))
    for named, lane, key in sources:
        keys = (lane, outcomes.c.destination, outcomes.c.outcome, outcomes.c.reason)
        found = sa.select(*keys, sa.func.count()).join(outcomes, outcomes.c.item_id == key).where(outcomes.c.seq > after).group_by(*keys)
        rows += [(named(row[0]), *row[1:]) for row in connection.execute(found)]
    counts: dict[tuple[str, str], Counter[str]] = {}
    tried: Counter[tuple[str, str]] = Counter()
    reasons: dict[tuple[str, str], dict[str, dict[str, int]]] = {}
    for lane_name, destination, outcome, reason, count in rows:
        group = (lane_name, destination or "")
        counts.setdefault(group, Counter())[outcome] += count
        if outcome != "skipped" and reason not in _OURS:
            tried[group] += count
        if outcome != "accepted":
            reasons.setdefault(group, {}).setdefault(outcome, {})[reason or "no reason given"] = count
    return tuple(Lane(*group, counts[group], tried[group], reasons.get(group, {})) for group in sorted(counts))


def _since_last_order(warehouse: duckdb.DuckDBPyConnection, now: datetime) -> timedelta | None:
    try:
        rows = warehouse.execute("select max(ordered_at) from raw.orders where ordered_at <= ?", [now]).fetchall()
    except duckdb.CatalogException:
        return None
    newest: datetime | None = rows[0][0]
    return None if newest is None else now - newest


def _stale_after(settings: Settings) -> timedelta | None:
    """The limit of the check `orders_fresh`; None where that is off."""
    from winback.quality.limits import load_limits
    from winback.quality.suites import CHECKS

    try:
        limits = load_limits(settings, [check.name for check in CHECKS])
    except WinbackError as problem:
        # The check on raw data says the same and stops the day; what was sent stays sent.
        _log.warning("limits_not_read", reason=str(problem))
        return None
    return None if limits.levels.get("orders_fresh") == "off" else timedelta(days=limits.stale_warning_days)
