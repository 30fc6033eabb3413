"""Why a customer is, or is not, in a program: every gate's value, and the decision."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import duckdb

from winback.errors import BadInput
from winback.progress import tell
from winback.scratch import day_derived, derived_as_of
from winback.settings import Settings
from winback.warehouse import open_warehouse

# Gates in the order in which they are asked, each with the columns that hold what it looked at.
GATES: dict[str, tuple[str, ...]] = {
    "suppressed": ("suppression_reason", "suppressed_until"),
    "duplicate_contact": ("duplicate_of",),
    "purchased_recently": ("days_since_last_order", "exclude_purchased_within_days"),
    "engaged_recently": ("days_since_last_engagement", "exclude_engaged_within_days"),
    "already_enrolled": ("open_program",),
    "same_episode": ("anchor_at", "last_anchor_at", "last_entered_at"),
    "reentry_wait": ("days_since_last_entry", "reentry_after_days"),
    "max_entries": ("entries", "max_entries_allowed"),
    "higher_priority_program": ("preferred_program",),
    "unreachable": ("reached_by_email", "reached_by_sms", "reached_by_push", "reached_by_ads"),
    "not_entry_day": ("cadence", "entry_weekday"),
    "daily_cap": ("value_rank", "max_per_day"),
}


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate of one program for one customer. `stops`: this gate alone would keep them out."""

    name: str
    stops: bool
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ProgramView:
    """One program as it looks at the customer. Without `in_audience` no gate is asked."""

    program: str
    version: int
    status: str
    audience: str
    in_audience: bool
    anchor_at: datetime | None
    lapse_days: int | None
    gates: tuple[Gate, ...]
    decision: str
    reason: str | None
    arm: str | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that decides about one customer as of one instant. No address stands in it."""

    customer_id: str
    as_of: datetime
    facts: dict[str, Any]
    segments: tuple[str, ...]
    programs: tuple[ProgramView, ...]
    journeys: tuple[dict[str, Any], ...]
    actions: tuple[dict[str, Any], ...]
    deliveries: tuple[dict[str, Any], ...]
    came_back: tuple[dict[str, Any], ...]
    refusals: tuple[dict[str, Any], ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def explain(settings: Settings, customer_id: str, as_of: datetime | None = None) -> Explanation:
    """Explain one customer as of the last derived day, or of another, which is then derived aside.

    Raises
    ------
    BadInput
        Nothing has been derived yet, or there is no such customer as of that day.
    """
    with open_warehouse(settings) as connection:
        stands_at = derived_as_of(connection)
        if as_of is None or as_of == stands_at:
            return _explain(connection, customer_id, stands_at, "")
    tell(f"deriving the day of {as_of:%Y-%m-%d} aside")
    with day_derived(settings, as_of) as connection:
        return _explain(connection, customer_id, as_of, "past_")


def _rows(connection: duckdb.DuckDBPyConnection, query: str, customer_id: str) -> list[dict[str, Any]]:
    found = connection.execute(query, {"customer_id": customer_id})
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _explain(connection: duckdb.DuckDBPyConnection, customer_id: str, as_of: datetime, prefix: str) -> Explanation:
    marts, intermediate, staging = (f"{prefix}{schema}" for schema in ("marts", "intermediate", "staging"))
    facts = _rows(connection, f"select * exclude (as_of) from {marts}.customers where customer_id = $customer_id", customer_id)
    if not facts:
        raise BadInput(f"There is no customer {customer_id!r} as of {as_of:%Y-%m-%d %H:%M}. Ids are those of your customers table.")
    segments = _rows(connection, f"select segment from {marts}.customer_segments where customer_id = $customer_id order by 1", customer_id)
    return Explanation(
        customer_id=customer_id,
        as_of=as_of,
        facts=facts[0],
        segments=tuple(row["segment"] for row in segments),
        programs=_programs(connection, customer_id, marts, intermediate, staging),
        journeys=tuple(_rows(connection, _JOURNEYS.format(marts=marts, intermediate=intermediate), customer_id)),
        actions=tuple(
            _rows(
                connection,
                f"""
                select program, step_no, kind, content, channel, due_on, decision, reason
                from {marts}.journey_actions where customer_id = $customer_id order by program, step_no
                """,
                customer_id,
            )
        ),
        deliveries=tuple(
            _rows(
                connection,
                """
                select messages.program, messages.step_no, messages.channel, messages.content, outcomes.outcome, outcomes.reason,
                    outcomes.recorded_at
                from ledger.messages as messages
                left join (
                    select item_id, arg_max(outcome, attempt) as outcome, arg_max(reason, attempt) as reason,
                        max(recorded_at) as recorded_at
                    from ledger.outcomes group by item_id
                ) as outcomes on messages.message_id = outcomes.item_id
                where messages.customer_id = $customer_id
                order by messages.recorded_at, messages.step_no
                """,
                customer_id,
            )
        ),
        came_back=tuple(_rows(connection, _CAME_BACK.format(intermediate=intermediate), customer_id)),
        refusals=tuple(_rows(connection, _REFUSALS.format(intermediate=intermediate), customer_id)),
    )


# An engagement that ended a journey is named, where we know of which message.
_JOURNEYS = """
    select journeys.* exclude (customer_id),
        (
            select min(format('{{}} in step {{}} of {{}} ({{}})', events.event_type, events.step_no, events.program, events.channel))
            from {intermediate}.int_engagement__delivery_events_judged as events
            where journeys.exit_reason = 'engagement' and events.customer_id = journeys.customer_id
                and events.occurred_at = journeys.exited_at and not events.is_machine
                and events.event_type in ('opened', 'clicked', 'read', 'replied') and events.program is not null
        ) as left_because
    from {marts}.journey_enrolments as journeys
    where journeys.customer_id = $customer_id
    order by journeys.enrolled_at
"""

# By the ledger, as messages are: what has come since the day was derived is shown too, and judged by the receiver alone.
_CAME_BACK = """
    select messages.program, messages.step_no, events.channel, events.event_type, events.link, events.occurred_at,
        case
            when events.event_type not in ('opened', 'clicked', 'read', 'replied') then null
            when coalesce(judged.is_machine, events.is_machine = 1) then 'not counted: a machine'
            else 'counts as engagement'
        end as counts
    from ledger.delivery_events as events
    left join ledger.messages as messages on messages.message_id = events.message_id
    left join {intermediate}.int_customers__contacts as contacts on contacts.customer_id = $customer_id
    left join {intermediate}.int_engagement__delivery_events_judged as judged
        on judged.event_id = events.event_id and judged.customer_id = $customer_id
    where messages.customer_id = $customer_id
        or (messages.message_id is null and events.address_hash in
            (sha256(contacts.email), sha256(contacts.phone), sha256(contacts.push_token)))
    order by events.occurred_at, events.seq
"""

_REFUSALS = """
    select refusals.channel, refusals.reason, refusals.source, refusals.starts_at, refusals.ends_at, lifts.recorded_at as lifted_at
    from ledger.suppressions as refusals
    left join {intermediate}.int_customers__contacts as contacts on contacts.customer_id = $customer_id
    left join ledger.suppressions as lifts on lifts.suppression_id = refusals.suppression_id and lifts.operation = 'lift'
    where refusals.operation = 'add'
        and (refusals.customer_id = $customer_id or refusals.address_hash in
            (sha256(contacts.email), sha256(contacts.phone), sha256(contacts.push_token)))
    order by refusals.starts_at, refusals.seq
"""


def _programs(
    connection: duckdb.DuckDBPyConnection, customer_id: str, marts: str, intermediate: str, staging: str
) -> tuple[ProgramView, ...]:
    evaluated = f"select * from {intermediate}.int_journeys__gates_evaluated where customer_id = $customer_id"
    gated = {row["program"]: row for row in _rows(connection, evaluated, customer_id)}
    arms = {
        row["program"]: row["arm"]
        for row in _rows(connection, f"select program, arm from {marts}.journey_admissions where customer_id = $customer_id", customer_id)
    }
    views: list[ProgramView] = []
    for program in _rows(
        connection,
        f"select program, version, status, audience, priority from {staging}.stg_programs__in_force where $customer_id is not null "
        "order by priority desc, program",
        customer_id,
    ):
        found = gated.get(program["program"])
        gates = (
            tuple(Gate(name, bool(found[name]), {key: found[key] for key in looked_at}) for name, looked_at in GATES.items())
            if found
            else ()
        )
        reason = found["reason"] if found else ("not_in_audience" if program["status"] == "live" else f"program_{program['status']}")
        views.append(
            ProgramView(
                program=program["program"],
                version=program["version"],
                status=program["status"],
                audience=program["audience"],
                in_audience=found is not None,
                anchor_at=found["anchor_at"] if found else None,
                lapse_days=found["lapse_days"] if found else None,
                gates=gates,
                decision="stays out" if reason else "admitted",
                reason=reason,
                arm=arms.get(program["program"]),
            )
        )
    return tuple(views)
