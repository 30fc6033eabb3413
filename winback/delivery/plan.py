"""What would be done on a day, as files with a content hash. Nothing leaves and nothing is recorded."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from winback.delivery import audiences
from winback.delivery.hours import SendingPolicy
from winback.errors import BadInput
from winback.ledger import Ledger
from winback.ledger.tables import audit_trail
from winback.settings import Settings

BEGUN = "apply begun"
"""The act in the audit trail that says which plan of a day was begun."""

_ROWS = 50_000
_SEPARATOR = "\x1f"

ENTRIES = "entries"
ACTIONS = "actions"
FOLLOWUPS = "followups"
AUDIENCE_CHANGES = "audience_changes"
KINDS = (ENTRIES, ACTIONS, FOLLOWUPS, AUDIENCE_CHANGES)


@dataclass(frozen=True, slots=True)
class Hold:
    """An ad audience that is left as it is, because its desired members look wrong."""

    platform: str
    audience: str
    known: int
    desired: int
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan on disk: `<folder>/<kind>.parquet` for each kind and `<folder>/plan.json`.

    `counts`: {"entries": {program: {arm: n}}, "actions": {program: {decision: {channel or "none": n}}},
    "followups": {program: {action: n}},
    "audience_changes": {platform: {program: {operation: n}}}}.
    """

    as_of: datetime
    folder: Path
    content_hash: str
    counts: Mapping[str, Mapping[str, Any]]
    holds: tuple[Hold, ...]

    def file(self, kind: str) -> Path:
        return self.folder / f"{kind}.parquet"

    def batches(self, kind: str) -> Iterator[list[dict[str, Any]]]:
        """The rows of one kind in canonical order, some thousands at a time."""
        with pq.ParquetFile(self.file(kind)) as file:
            for batch in file.iter_batches(batch_size=5_000):
                yield batch.to_pylist()

    def total(self, kind: str) -> int:
        with pq.ParquetFile(self.file(kind)) as file:
            return int(file.metadata.num_rows)


def make_plan(settings: Settings, connection: duckdb.DuckDBPyConnection, ledger: Ledger, as_of: datetime) -> Plan:
    """Write plans/<date of as_of>/ from the marts and the ledger as they were before `as_of`.

    The same marts and ledger give the same bytes. A plan that was begun to be applied, and not finished, is kept: it is finished first.

    Raises
    ------
    BadInput
        A mart that the plan reads is missing: dbt has not run.
    """
    ledger.copy_to_warehouse(connection)
    folder = settings.plans / as_of.strftime("%Y-%m-%d")
    kept = _begun(ledger, folder, as_of)
    if kept is not None:
        return kept
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        plan = _write(settings, connection, SendingPolicy.in_force(ledger), as_of, fresh)
        shutil.rmtree(folder, ignore_errors=True)
        fresh.replace(folder)
    except duckdb.CatalogException as problem:
        raise BadInput(
            f"The plan of {as_of:%Y-%m-%d} needs the marts of that day: {str(problem).splitlines()[0]}. "
            f"Run the day: `winback run --date {as_of - timedelta(days=1):%Y-%m-%d}`."
        ) from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return Plan(plan.as_of, folder, plan.content_hash, plan.counts, plan.holds)


def read_plan(settings: Settings, as_of: datetime) -> Plan:
    """The plan that stands on disk for a day.

    Raises
    ------
    BadInput
        There is none, or its files do not have the content that plan.json names.
    """
    plan = _read(settings.plans / as_of.strftime("%Y-%m-%d"))
    if plan is None:
        raise BadInput(f"There is no plan for {as_of:%Y-%m-%d} in {settings.plans}. Make one first.")
    if content_hash(plan.folder) != plan.content_hash:
        raise BadInput(f"The files in {plan.folder} are not the plan that its plan.json describes. Make the plan again.")
    return plan


def content_hash(folder: Path) -> str:
    """SHA-256 over all rows of a plan's files in order: what `apply_plan` compares with plan.json."""
    digest = hashlib.sha256()
    for kind in KINDS:
        digest.update(f"{kind}\n".encode())
        with pq.ParquetFile(folder / f"{kind}.parquet") as file:
            for batch in file.iter_batches(batch_size=_ROWS):
                _add_rows(digest, batch)
    return digest.hexdigest()


def _begun(ledger: Ledger, folder: Path, as_of: datetime) -> Plan | None:
    """The plan on disk, when applying it was begun and not finished."""
    trail = audit_trail
    subject = as_of.isoformat(" ")
    last = ledger.read(
        sa.select(trail.c.details).where(trail.c.act == BEGUN, trail.c.subject == subject).order_by(trail.c.seq.desc()).limit(1)
    )
    if not last:
        return None
    begun: str = json.loads(last[0][0])["plan_hash"]
    if any(row["plan_hash"] == begun for row in ledger.rows("applied_plans", as_of=as_of)):
        return None
    plan = _read(folder)
    if plan is None or plan.content_hash != begun or content_hash(folder) != begun:
        return None
    return plan


def _read(folder: Path) -> Plan | None:
    if not (folder / "plan.json").is_file():
        return None
    values = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    holds = tuple(Hold(**hold) for hold in values["holds"])
    return Plan(datetime.fromisoformat(values["as_of"]), folder, values["content_hash"], values["counts"], holds)


def _write(settings: Settings, connection: duckdb.DuckDBPyConnection, policy: SendingPolicy, as_of: datetime, folder: Path) -> Plan:
    counts: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    _write_parquet(folder, ENTRIES, _entries(connection, as_of), counts[ENTRIES], ("program", "arm"))
    _write_parquet(folder, ACTIONS, _actions(connection, policy, as_of), counts[ACTIONS], ("program", "decision", "channel"))
    _write_parquet(folder, FOLLOWUPS, _followups(connection), counts[FOLLOWUPS], ("program", "action"))
    reconciled = audiences.reconcile(settings, connection, as_of)
    _write_parquet(folder, AUDIENCE_CHANGES, reconciled.changes(), counts[AUDIENCE_CHANGES], ("platform", "program", "operation"))
    holds = tuple(Hold(hold.platform, hold.audience, hold.known, hold.desired, hold.message) for hold in reconciled.holds)
    found = content_hash(folder)
    described = {
        "as_of": as_of.isoformat(" "),
        "content_hash": found,
        "counts": counts,
        "holds": [{name: getattr(hold, name) for name in Hold.__slots__} for hold in holds],
    }
    (folder / "plan.json").write_text(json.dumps(described, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    return Plan(as_of, folder, found, counts, holds)


def _entries(connection: duckdb.DuckDBPyConnection, as_of: datetime) -> Iterable[pa.RecordBatch]:
    return _stream(
        connection,
        """
        select enrolment_id, program, version::integer as version, customer_id, anchor_at::timestamp as anchor_at, arm,
            audience_reason as reason
        from marts.journey_admissions
        where decision = 'admitted' and as_of::timestamp = ?
        order by program, customer_id, enrolment_id
        """,
        [as_of],
    )


def _actions(connection: duckdb.DuckDBPyConnection, policy: SendingPolicy, as_of: datetime) -> Iterable[pa.RecordBatch]:
    # Everybody in a time zone gets the same first hour of sending: it is worked out once per zone.
    zones = [row[0] for row in connection.execute("select distinct timezone from intermediate.int_customers__contacts").fetchall()]
    hours = pa.table(
        {
            "timezone": pa.array([zone or "" for zone in zones] + [""], pa.string()),
            "sends_at": pa.array(
                [policy.sending_time(as_of, zone) for zone in zones] + [policy.sending_time(as_of, None)], pa.timestamp("us")
            ),
        }
    )
    connection.register("plan_sending_hours", hours)
    try:
        yield from _stream(
            connection,
            """
            with hours as (select timezone, min(sends_at) as sends_at from plan_sending_hours group by timezone),
            contacts as (select customer_id, any_value(timezone) as timezone from intermediate.int_customers__contacts group by customer_id)
            select actions.step_id, actions.message_id, actions.enrolment_id, actions.step_no::integer as step_no, actions.customer_id,
                actions.program, actions.version::integer as version, actions.arm, actions.kind, actions.content, actions.channel,
                actions.due_on::date as due_on, actions.decision, actions.reason,
                case when actions.decision in ('send', 'task') then hours.sends_at end as not_before,
                case
                    when actions.decision in ('send', 'task')
                        then greatest(
                            coalesce(actions.expires_on::date, actions.due_on::date)::timestamp + interval 1 day,
                            hours.sends_at + interval 1 hour
                        )
                end as expires_at
            from marts.journey_actions as actions
            left join contacts using (customer_id)
            left join hours on hours.timezone = coalesce(contacts.timezone, '')
            where actions.as_of::timestamp = ?
            order by actions.program, actions.customer_id, actions.enrolment_id, actions.step_no
            """,
            [as_of],
        )
    finally:
        connection.unregister("plan_sending_hours")


def _followups(connection: duckdb.DuckDBPyConnection) -> Iterable[pa.RecordBatch]:
    return _stream(
        connection,
        """
        select followup_id, enrolment_id, program, customer_id, action, value::varchar as value, channel,
            max_messages::integer as max_messages, window_days::integer as window_days, ends_at::timestamp as ends_at
        from marts.journey_followups
        order by program, customer_id, followup_id
        """,
    )


def _stream(connection: duckdb.DuckDBPyConnection, query: str, parameters: list[Any] | None = None) -> Iterator[pa.RecordBatch]:
    reader: pa.RecordBatchReader = connection.sql(query, params=parameters or []).to_arrow_reader(_ROWS)
    # The schema comes first, so that a kind without rows is a file with columns.
    yield pa.RecordBatch.from_pylist([], schema=reader.schema)
    yield from reader


def _write_parquet(folder: Path, kind: str, batches: Iterable[pa.RecordBatch], counts: dict[str, Any], by: tuple[str, ...]) -> None:
    """Write batches, the first of which is empty. Row groups do not depend on the batches: the same rows give the same bytes."""
    stream = iter(batches)
    schema = next(stream).schema
    waiting = schema.empty_table()
    with pq.ParquetWriter(folder / f"{kind}.parquet", schema, compression="zstd") as writer:
        for batch in stream:
            _count(counts, batch, by)
            waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch])])
            while waiting.num_rows >= _ROWS:
                writer.write_table(waiting.slice(0, _ROWS), row_group_size=_ROWS)
                waiting = waiting.slice(_ROWS)
        if waiting.num_rows:
            writer.write_table(waiting.combine_chunks(), row_group_size=_ROWS)


def _count(counts: dict[str, Any], batch: pa.RecordBatch, by: tuple[str, ...]) -> None:
    if not batch.num_rows:
        return
    grouped = pa.Table.from_batches([batch]).group_by(list(by)).aggregate([([], "count_all")])
    for row in grouped.to_pylist():
        place = counts
        # A skipped step may have no channel, and another of the same decision one: both need a place at the same depth.
        *path, last = ["none" if row[name] is None else str(row[name]) for name in by]
        for part in path:
            place = place.setdefault(part, {})
        place[last] = place.get(last, 0) + row["count_all"]


def _add_rows(digest: Any, batch: pa.RecordBatch) -> None:
    """Feed rows as text, column names included, so that neither Parquet's encoding nor the size of batches matters."""
    names = _SEPARATOR.join(batch.schema.names)
    columns = []
    for column in batch.columns:
        text = column.cast(pa.string())
        # Null and the empty text are different decisions.
        columns.append(["\x00" if value is None else value for value in text.to_pylist()])
    lines = [_SEPARATOR.join(row) for row in zip(*columns, strict=True)]
    digest.update("".join(f"{names}{_SEPARATOR}{line}\n" for line in lines).encode())
