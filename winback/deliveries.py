"""What was not accepted, and what people may do about it: put an item back into the queue, or end it.

Reads and writes the ledger only, so it works while a run holds the warehouse. Nothing is changed: an act is a claimed attempt with its
outcome, like any other, and a row of the audit trail. A dispatcher that is at work on the item keeps it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from winback.clock import unguessable_token
from winback.delivery.queue import REOPENED
from winback.destinations import LISTS, can, routes
from winback.errors import BadInput
from winback.ledger import Ledger
from winback.ledger.tables import applied_plans, audience_changes, claims, messages, outcomes
from winback.settings import Settings

STATUSES = ("deferred", "rejected", "unknown", "skipped", "waiting", "discarded")
LANES = ("email", "sms", "push", "task", "ads", "lists")
DISCARDED = "discard"
"""The act of a person who ends an item."""

PUT_BACK = "put back into the queue by a person"
LAPSED = "the dispatcher ended before the answer was recorded"
_DISCARDED_REASON = "discarded: "
_AT_ONCE = 500
_ID = re.compile(r"[0-9a-f]{6,32}")
_ID_LENGTH = 32
_PERSONAL = re.compile(r"@|\d[\d ()./-]{5,}\d")


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message, task or change of an ad audience that was not accepted. Instants are naive UTC.

    `status` is one of STATUSES; `waiting` means not tried yet, or with a dispatcher now. `attempts` counts everything the ledger has of
    it, the acts of people included. `changed_at`: when that was recorded last.
    """

    item_id: str
    kind: Literal["message", "change"]
    lane: str
    program: str
    step_no: int | None
    content: str
    customer_id: str
    status: str
    reason: str
    attempts: int
    destination: str | None
    provider_id: str | None
    retry_at: datetime | None
    changed_at: datetime
    expires_at: datetime | None
    as_of: datetime
    outcome: str | None
    is_claimed: bool
    is_superseded: bool

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        values = asdict(self)
        return {key: value for key, value in values.items() if key not in ("outcome", "is_claimed", "is_superseded")}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which deliveries: every condition that is given holds. `lane`: email, sms, push, task, ads, lists, or one platform as ads:meta."""

    status: str | None = None
    lane: str | None = None
    destination: str | None = None
    program: str | None = None
    customer_id: str | None = None
    since: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What an act would do to a delivery: the outcome to record, or (`outcome` None) why it is refused."""

    delivery: Delivery
    outcome: Literal["deferred", "unknown", "skipped"] | None
    why: str = ""


def acting_now(settings: Settings, ledger: Ledger, now: datetime) -> datetime:
    """The present; on the simulated clock the last instant that the ledger knows, so that the next simulated day sees what is done."""
    if settings.clock == "real":
        return now
    with ledger.reading() as connection:
        last = connection.execute(sa.select(outcomes.c.recorded_at).order_by(outcomes.c.seq.desc()).limit(1)).scalar()
        applied = connection.execute(sa.select(sa.func.max(applied_plans.c.recorded_at))).scalar()
    return max((instant for instant in (last, applied) if instant is not None), default=now)


def counted(ledger: Ledger, wanted: Filter, now: datetime) -> list[dict[str, Any]]:
    """How many there are by status, lane, destination and reason; most first."""
    found = _filtered(ledger, wanted, now).subquery()
    keys = (found.c.status, found.c.lane, found.c.destination, found.c.reason)
    number = sa.func.count()
    rows = ledger.read(sa.select(*keys, number.label("items")).group_by(*keys).order_by(number.desc(), *keys))
    return [dict(row._mapping) for row in rows]  # noqa: SLF001  (SQLAlchemy's public name)


def listed(ledger: Ledger, wanted: Filter, now: datetime, limit: int | None = None) -> list[Delivery]:
    """Those that the filter names, the latest first."""
    found = _filtered(ledger, wanted, now).subquery()
    return _read(ledger, sa.select(found).order_by(found.c.changed_at.desc(), found.c.item_id).limit(limit))


def named(ledger: Ledger, ids: Sequence[str], now: datetime) -> list[Delivery]:
    """Those with the given ids, or with ids that begin as given (six characters at least), whatever became of them.

    Raises
    ------
    BadInput
        No item, or more than one, is called so.
    """
    everything = _deliveries(ledger, now, accepted=True).subquery()
    found: dict[str, Delivery] = {}
    for one in ids:
        if not _ID.fullmatch(one):
            raise BadInput(f"{one!r} is no id of a delivery; allowed: 6 to 32 of 0-9 and a-f. `winback deliveries` shows ids.")
        is_it = everything.c.item_id == one if len(one) == _ID_LENGTH else everything.c.item_id.startswith(one)
        rows = _read(ledger, sa.select(everything).where(is_it).order_by(everything.c.item_id).limit(11))
        if not rows:
            raise BadInput(f"The ledger has nothing whose id begins with {one}. `winback deliveries` shows ids.")
        if len(rows) > 1:
            told = ", ".join(row.item_id for row in rows[:10])
            raise BadInput(f"More than one id begins with {one}; give more of it: {told}{', ...' if len(rows) > 10 else ''}")
        found[rows[0].item_id] = rows[0]
    return list(found.values())


def may_retry(settings: Settings, deliveries: Iterable[Delivery], now: datetime, *, not_sent: bool = False) -> list[Decision]:
    """Which may go back into the queue without being sent twice. `not_sent`: a person knows that unknown ones never left.

    An unknown one goes back as it is where its destination can repeat or be asked (the dispatcher then does so), else only with `not_sent`.
    """
    current = routes(settings)
    return [_may_retry(delivery, current, now, not_sent=not_sent) for delivery in deliveries]


def may_discard(deliveries: Iterable[Delivery]) -> list[Decision]:
    """Which may be ended. What may have been sent stays unknown in every figure; it is only no longer worked on or listed as such."""
    decisions = []
    for one in deliveries:
        refusal = _busy(one) or ("was discarded already" if one.status == "discarded" else "")
        outcome: Literal["unknown", "skipped"] = "unknown" if one.outcome == "unknown" else "skipped"
        decisions.append(Decision(one, None, refusal) if refusal else Decision(one, outcome))
    return decisions


def put_back(ledger: Ledger, decisions: Sequence[Decision], *, actor: str, now: datetime, acted_at: datetime) -> list[Decision]:
    """Record what `may_retry` allowed: due at once. Returns the decisions as they ended: a dispatcher may have been faster.

    `now` is the time of the ledger (see `acting_now`), `acted_at` that of the audit trail.
    """
    return _record(ledger, decisions, REOPENED, PUT_BACK, actor=actor, now=now, acted_at=acted_at)


def discard(ledger: Ledger, decisions: Sequence[Decision], *, reason: str, actor: str, now: datetime, acted_at: datetime) -> list[Decision]:
    """Record what `may_discard` allowed; see `put_back`.

    Raises
    ------
    BadInput
        The reason is empty, or holds what looks like an address or a phone number: the ledger keeps none.
    """
    text = " ".join(reason.split())
    if not text or len(text) > 200:
        raise BadInput("A reason is needed, of at most 200 characters: it stands in the ledger for good.")
    if _PERSONAL.search(text):
        raise BadInput(
            "The reason holds what looks like an address or a phone number; the ledger keeps none. Name a customer's id instead."
        )
    return _record(ledger, decisions, DISCARDED, _DISCARDED_REASON + text, actor=actor, now=now, acted_at=acted_at)


def _record(
    ledger: Ledger, decisions: Sequence[Decision], act: str, reason: str, *, actor: str, now: datetime, acted_at: datetime
) -> list[Decision]:
    worker = f"person-{unguessable_token(6)}"
    ended = [decision for decision in decisions if decision.outcome is None]
    allowed = [decision for decision in decisions if decision.outcome is not None]
    for start in range(0, len(allowed), _AT_ONCE):
        lot = allowed[start : start + _AT_ONCE]
        with ledger.writing() as writer:
            # The claim decides between this and a dispatcher that has just taken the item: (item, attempt) is unique.
            attempts = [{"item_id": one.delivery.item_id, "attempt": one.delivery.attempts + 1} for one in lot]
            writer.record("claims", [{**row, "worker": worker, "lease_until": now, "recorded_at": now} for row in attempts])
            ids = [row["item_id"] for row in attempts]
            mine: set[str] = set(
                writer.connection.scalars(sa.select(claims.c.item_id).where(claims.c.item_id.in_(ids), claims.c.worker == worker))
            )
            won = [one for one in lot if one.delivery.item_id in mine]
            ended += won
            ended += [Decision(one.delivery, None, "a dispatcher has just taken it") for one in lot if one.delivery.item_id not in mine]
            if not won:
                continue
            writer.record(
                "outcomes",
                [
                    {
                        "item_id": one.delivery.item_id,
                        "attempt": one.delivery.attempts + 1,
                        "outcome": one.outcome,
                        "reason": reason,
                        "provider_id": one.delivery.provider_id,
                        "retry_at": now if act == REOPENED else None,
                        "destination": one.delivery.destination,
                        "recorded_at": now,
                    }
                    for one in won
                ],
            )
            items = sorted(one.delivery.item_id for one in won)
            # The dispatcher looks at items from this as_of on again.
            earliest = min(one.delivery.as_of for one in won).isoformat(" ")
            subject = items[0] if len(items) == 1 else f"{len(items)} deliveries"
            writer.audit(act, actor=actor, subject=subject, details={"as_of": earliest, "items": items, "reason": reason}, now=acted_at)
    return ended


def _may_retry(one: Delivery, current: Mapping[str, str], now: datetime, *, not_sent: bool) -> Decision:
    refusal = _busy(one)
    if not refusal and one.status == "waiting":
        refusal = "is in the queue already"
    if not refusal and one.expires_at is not None and one.expires_at <= now:
        refusal = f"was to be sent until {one.expires_at:%Y-%m-%d %H:%M} UTC: it would only be skipped"
    if not refusal and one.is_superseded:
        refusal = "was followed by a later change of the same person in the same audience"
    if not refusal and one.outcome == "unknown" and one.retry_at is not None:
        refusal = f"is in the queue already, until {one.retry_at:%Y-%m-%d %H:%M} UTC"
    if refusal:
        return Decision(one, None, refusal)
    if one.outcome != "unknown" or not_sent:
        return Decision(one, "deferred")
    same = one.destination is not None and one.destination == current.get(one.lane)
    if same and (can(str(one.destination)).idempotent or can(str(one.destination)).can_ask):
        return Decision(one, "unknown")
    whom = f"{one.destination} cannot be asked and would send it twice" if same else f"{current.get(one.lane)} knows nothing of it"
    return Decision(one, None, f"may have been sent, and {whom}. If you know that it was not: --i-know-it-was-not-sent")


def _busy(one: Delivery) -> str:
    if one.status == "accepted":
        return "was accepted"
    if one.is_claimed:
        return "is with a dispatcher now" if one.status == "waiting" else "was with a dispatcher that ended: the next dispatch settles it"
    return ""


def _read(ledger: Ledger, statement: sa.Select[Any]) -> list[Delivery]:
    rows = ledger.read(statement)
    return [Delivery(**{**row._mapping, "is_claimed": bool(row.is_claimed), "is_superseded": bool(row.is_superseded)}) for row in rows]  # noqa: SLF001


def _filtered(ledger: Ledger, wanted: Filter, now: datetime) -> sa.Select[Any]:
    found = _deliveries(ledger, now).subquery()
    conditions: list[sa.ColumnElement[bool]] = []
    if wanted.lane in ("ads", "lists"):
        conditions.append(found.c.lane.startswith(f"{wanted.lane}:"))
    elif wanted.lane is not None:
        conditions.append(found.c.lane == wanted.lane)
    equal = {"status": wanted.status, "destination": wanted.destination, "program": wanted.program, "reason": wanted.reason}
    conditions += [found.c[name] == value for name, value in {**equal, "customer_id": wanted.customer_id}.items() if value is not None]
    if wanted.since is not None:
        conditions.append(found.c.changed_at >= wanted.since)
    return sa.select(found).where(*conditions)


def _deliveries(ledger: Ledger, now: datetime, *, accepted: bool = False) -> sa.Select[Any]:
    """Every item with how it stands: the outcome of its highest attempt, unless a later attempt is claimed."""
    later = audience_changes.alias("later")
    superseded = sa.exists().where(
        later.c.platform == audience_changes.c.platform,
        later.c.audience == audience_changes.c.audience,
        later.c.customer_id == audience_changes.c.customer_id,
        later.c.seq > audience_changes.c.seq,
    )
    none = sa.null()
    items = sa.union_all(
        sa.select(
            messages.c.message_id.label("item_id"), sa.literal("message").label("kind"), messages.c.channel.label("lane"),
            messages.c.program, messages.c.step_no, messages.c.content, messages.c.customer_id, messages.c.not_before,
            messages.c.expires_at, messages.c.as_of, messages.c.recorded_at, sa.literal(0).label("is_superseded"),
        ),
        sa.select(
            audience_changes.c.change_id, sa.literal("change"),
            sa.case((audience_changes.c.platform.in_(LISTS), "lists:"), else_="ads:") + audience_changes.c.platform,
            audience_changes.c.program, sa.cast(none, sa.Integer), audience_changes.c.operation + " " + audience_changes.c.audience,
            audience_changes.c.customer_id, audience_changes.c.as_of, sa.cast(none, sa.DateTime), audience_changes.c.as_of,
            audience_changes.c.recorded_at, sa.case((superseded, 1), else_=0),
        ),
    ).subquery("items")  # fmt: skip
    answered, claimed = outcomes.alias(), claims.alias()
    is_claimed = sa.func.coalesce(claimed.c.attempt, 0) > sa.func.coalesce(answered.c.attempt, 0)
    paused = [program for program, status in ledger.statuses().items() if status == "paused"]
    status = sa.case(
        (is_claimed & (claimed.c.lease_until > now), "waiting"),
        (is_claimed, "unknown"),
        (answered.c.outcome.is_(None), "waiting"),
        (answered.c.reason.startswith(_DISCARDED_REASON), "discarded"),
        else_=answered.c.outcome,
    )
    reason = sa.case(
        (is_claimed & (claimed.c.lease_until > now), "in_flight"),
        (is_claimed, LAPSED),
        (answered.c.outcome.is_not(None), sa.func.coalesce(answered.c.reason, "no reason given")),
        (items.c.not_before > now, "not_before"),
        (items.c.program.in_(paused), "paused"),
        else_="due",
    )
    statement = (
        sa.select(
            items.c.item_id, items.c.kind, items.c.lane, items.c.program, items.c.step_no, items.c.content, items.c.customer_id,
            status.label("status"), reason.label("reason"),
            sa.case((is_claimed, claimed.c.attempt), else_=sa.func.coalesce(answered.c.attempt, 0)).label("attempts"),
            answered.c.destination, answered.c.provider_id,
            sa.case((is_claimed, none), else_=answered.c.retry_at).label("retry_at"),
            sa.case(
                (is_claimed, claimed.c.recorded_at), else_=sa.func.coalesce(answered.c.recorded_at, items.c.recorded_at)
            ).label("changed_at"),
            items.c.expires_at, items.c.as_of, answered.c.outcome, sa.case((is_claimed, 1), else_=0).label("is_claimed"),
            items.c.is_superseded,
        )
        .select_from(items)
        .outerjoin(answered, _is_latest(answered, items.c.item_id, outcomes))
        .outerjoin(claimed, _is_latest(claimed, items.c.item_id, claims))
    )  # fmt: skip
    return statement if accepted else statement.where(is_claimed | answered.c.outcome.is_(None) | (answered.c.outcome != "accepted"))


def _is_latest(table: sa.FromClause, item_id: sa.ColumnElement[str], source: sa.Table) -> sa.ColumnElement[bool]:
    """Whether a row of `table`, an alias of `source`, is of the item's highest attempt: two look-ups by the key instead of a grouping."""
    other = source.alias()
    highest = sa.select(sa.func.max(other.c.attempt)).where(other.c.item_id == item_id).scalar_subquery()
    return (table.c.item_id == item_id) & (table.c.attempt == highest)
