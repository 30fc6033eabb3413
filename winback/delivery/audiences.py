"""Ad audiences: who should be in one, against whom the ledger says was added."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import md5
from typing import Any

import duckdb
import pyarrow as pa

from winback.destinations import Identify, identify_as
from winback.destinations.base import Contact
from winback.settings import Settings

_ROWS = 20_000

# A member that was asked for counts as in, also before the platform has answered; so does one whose removal failed.
_IS_IN = "(operation = 'add' and state in ('done', 'asked')) or (operation = 'remove' and state in ('rejected', 'skipped'))"

_SCHEMA = pa.schema(
    [
        ("change_id", pa.string()),
        ("platform", pa.string()),
        ("audience", pa.string()),
        ("program", pa.string()),
        ("customer_id", pa.string()),
        ("operation", pa.string()),
        ("identifiers", pa.string()),
        ("reason", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Held:
    """An audience whose desired members look wrong: nothing of it is changed."""

    platform: str
    audience: str
    known: int
    desired: int
    message: str


class Reconciliation:
    """The difference between desired and known members, held in a temporary table of the warehouse."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, as_of: datetime, holds: tuple[Held, ...], identify: Mapping[str, Identify]
    ) -> None:
        self._connection = connection
        self._as_of = as_of
        self.holds = holds
        self._identify = identify

    def changes(self) -> Iterator[pa.RecordBatch]:
        """An empty batch (the schema), then adds and removes in canonical order.

        An add carries hashes made now; a remove carries those that were added.
        """
        held = {(hold.platform, hold.audience) for hold in self.holds}
        reader: pa.RecordBatchReader = self._connection.sql(
            """
            select difference.*, contacts.email, contacts.phone, contacts.first_name, contacts.last_name, contacts.country
            from winback_audience_difference as difference
            left join intermediate.int_customers__contacts as contacts
                on contacts.customer_id = difference.customer_id and difference.operation = 'add'
            order by difference.platform, difference.program, difference.operation desc, difference.customer_id
            """
        ).to_arrow_reader(_ROWS)
        yield pa.RecordBatch.from_pylist([], schema=_SCHEMA)
        for batch in reader:
            wanted = [row for row in batch.to_pylist() if (row["platform"], row["program"]) not in held]
            rows = [row for row in map(self._change, wanted) if row is not None]
            if rows:
                yield pa.RecordBatch.from_pylist(rows, schema=_SCHEMA)

    def _change(self, row: dict[str, Any]) -> dict[str, Any] | None:
        identifiers = row["identifiers"]
        if row["operation"] == "add":
            found = self._identify[row["platform"]](
                Contact(row["customer_id"], row["email"], row["phone"], row["first_name"], row["last_name"], row["country"])
            )
            if not found:
                return None
            text = json.dumps(found, separators=(",", ":"))
            # The platform refused exactly these: asking again every day would only be refused again.
            if text == row["refused"]:
                return None
            identifiers = text
        parts = [row["platform"], row["program"], row["customer_id"], row["operation"], f"{self._as_of:%Y-%m-%d %H:%M:%S.%f}"]
        return {
            "change_id": md5("|".join(parts).encode(), usedforsecurity=False).hexdigest(),
            "platform": row["platform"],
            "audience": row["program"],
            "program": row["program"],
            "customer_id": row["customer_id"],
            "operation": row["operation"],
            "identifiers": identifiers,
            "reason": row["reason"],
        }


def reconcile(settings: Settings, connection: duckdb.DuckDBPyConnection, as_of: datetime) -> Reconciliation:
    """Compare marts.ad_audience_members with what schema `ledger` of the warehouse knew before `as_of`.

    A member that was asked for and not yet acknowledged counts as known. An audience whose desired set is empty without a reason, or
    suddenly shrunken, is held: see `Settings.audience_guard_share`.
    """
    # Latest change per member; a remove that failed leaves the member in, an add that failed leaves them out.
    connection.execute(
        """
        create or replace temp table winback_audience_known as
        with outcomes as (
            select item_id, arg_max(outcome, attempt) as outcome
            from ledger.outcomes
            where recorded_at < $as_of
            group by item_id
        ),
        changes as (
            select changes.seq, changes.platform, changes.audience, changes.customer_id, changes.operation, changes.identifiers,
                case
                    when outcomes.outcome = 'accepted' then 'done'
                    when outcomes.outcome in ('rejected', 'skipped') then outcomes.outcome
                    else 'asked'
                end as state
            from ledger.audience_changes as changes
            left join outcomes on outcomes.item_id = changes.change_id
            where changes.as_of < $as_of
        )
        select platform, audience as program, customer_id,
            arg_max(operation, seq) as operation,
            arg_max(state, seq) as state,
            arg_max(identifiers, seq) filter (operation = 'add' and state in ('done', 'asked')) as identifiers,
            arg_max(identifiers, seq) filter (operation = 'add' and state = 'rejected') as refused
        from changes
        group by platform, audience, customer_id
        """,
        {"as_of": as_of},
    )
    connection.execute(
        f"""
        create or replace temp table winback_audience_difference as
        with known as (
            select *, {_IS_IN} as is_in
            from winback_audience_known
        ),
        desired as (
            select platform, program, customer_id from marts.ad_audience_members group by platform, program, customer_id
        ),
        journeys as (
            select program, customer_id, arg_max(coalesce(exit_reason, status), enrolled_at) as ended
            from marts.journey_enrolments
            group by program, customer_id
            having not bool_or(status = 'open' and arm = 'treatment')
        )
        select coalesce(desired.platform, known.platform) as platform,
            coalesce(desired.program, known.program) as program,
            coalesce(desired.customer_id, known.customer_id) as customer_id,
            case when desired.customer_id is null then 'remove' else 'add' end as operation,
            case when desired.customer_id is null then known.identifiers end as identifiers,
            known.refused,
            case when desired.customer_id is null then journeys.ended else 'entered' end as reason
        from desired
        full join known
            on known.platform = desired.platform and known.program = desired.program and known.customer_id = desired.customer_id
        left join journeys on journeys.program = known.program and journeys.customer_id = known.customer_id
        where (desired.customer_id is not null) <> coalesce(known.is_in, false)
            and (desired.customer_id is not null or known.identifiers is not null)
        """
    )
    return Reconciliation(connection, as_of, _holds(settings, connection), identify_as(settings))


def _holds(settings: Settings, connection: duckdb.DuckDBPyConnection) -> tuple[Held, ...]:
    share, minimum = settings.audience_guard_share, settings.audience_guard_minimum
    rows = connection.execute(
        f"""
        with known as (
            select platform, program, count(*) as known
            from winback_audience_known
            where {_IS_IN}
            group by platform, program
        ),
        desired as (
            select platform, program, count(distinct customer_id) as desired from marts.ad_audience_members group by platform, program
        ),
        removes as (
            select platform, program, count(*) filter (reason is null) as unexplained, bool_and(reason = 'program_stopped') as is_stopped
            from winback_audience_difference
            where operation = 'remove'
            group by platform, program
        )
        select known.platform, known.program, known.known, coalesce(desired.desired, 0), removes.unexplained
        from known
        join removes using (platform, program)
        left join desired using (platform, program)
        where not coalesce(removes.is_stopped, false)
        order by known.platform, known.program
        """
    ).fetchall()
    holds = []
    for platform, program, known, desired, unexplained in rows:
        if share >= 1:
            continue
        # A handful of members may all have bought; an empty set that no journey explains is a broken model.
        emptied = desired == 0 and (unexplained > 0 or known >= minimum)
        shrunken = known >= minimum and desired < known * (1 - share)
        if emptied or shrunken:
            change = "would be emptied" if desired == 0 else f"would shrink from {known:,} to {desired:,} members"
            holds.append(
                Held(
                    platform,
                    program,
                    known,
                    desired,
                    f"The {platform} audience of {program} {change} ({known:,} known, {desired:,} desired): left as it is. "
                    f"Look at marts.ad_audience_members; if it is right, run the day once with WINBACK_AUDIENCE_GUARD_SHARE=1.",
                )
            )
    return tuple(holds)
