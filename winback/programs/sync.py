"""Programs into the ledger (as versions, statuses and policies) and from there into the warehouse (schema `programs`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from winback.programs.checking import LoadedPrograms, load_programs
from winback.programs.schema import Program, Sending
from winback.programs.versions import Definition, policy_json
from winback.settings import Settings
from winback.warehouse import in_transaction

if TYPE_CHECKING:
    import duckdb

    from winback.ledger import Ledger, Writer

_VERSION_COLUMNS = {
    "program": "varchar",
    "version": "integer",
    "is_draft": "boolean",
    "effective_at": "timestamp",
    "description": "varchar",
    "audience": "varchar",
    "lapse_days_at_least": "integer",
    "lapse_days_below": "integer",
    "program_group": "varchar",
    "priority": "integer",
    "cadence": "varchar",
    "weekday": "integer",
    "exclude_purchased_within_days": "integer",
    "exclude_engaged_within_days": "integer",
    "reentry_after_days": "integer",
    "max_entries": "integer",
    "max_per_day": "integer",
    "holdout_percent": "double",
    "holdout_below": "varchar",
    "exit_on_purchase": "boolean",
    "exit_on_engagement": "boolean",
    "offer_code": "varchar",
    "offer_percent": "integer",
    "offer_expires_after_days": "integer",
    "offer_pool": "boolean",
    "complete_after_days": "integer",
    "complete_tag": "varchar",
    "complete_suppress_days": "integer",
    "complete_then": "varchar",
    "complete_limit_channel": "varchar",
    "complete_limit_messages": "integer",
    "complete_limit_days": "integer",
    "measure_window_days": "integer",
    "attribution_hours": "integer",
    "step_count": "integer",
}

TABLES: dict[str, dict[str, str]] = {
    "versions": _VERSION_COLUMNS,
    "statuses": {"program": "varchar", "status": "varchar", "effective_at": "timestamp", "is_draft": "boolean"},
    "steps": {
        "program": "varchar",
        "version": "integer",
        "is_draft": "boolean",
        "step_no": "integer",
        "day": "integer",
        "kind": "varchar",
        "content": "varchar",
        "only_if": "varchar",
        "unless": "varchar",
    },
    "step_channels": {
        "program": "varchar",
        "version": "integer",
        "is_draft": "boolean",
        "step_no": "integer",
        "position": "integer",
        "channel": "varchar",
    },
    "ad_platforms": {"program": "varchar", "version": "integer", "is_draft": "boolean", "platform": "varchar", "channel": "varchar"},
    "sending_policies": {
        "version": "integer",
        "is_draft": "boolean",
        "effective_at": "timestamp",
        "channel": "varchar",
        "max_messages": "integer",
        "window_days": "integer",
        "patience_days": "integer",
    },
}
"""Tables of schema `programs` and the type of each column."""


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync recorded: `programs` counts the files; each new version is (program, version, the first day it holds for)."""

    programs: int
    new_versions: list[tuple[str, int, datetime]] = field(default_factory=list)
    new_statuses: list[tuple[str, str]] = field(default_factory=list)
    new_policy: int | None = None
    rows: dict[str, int] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The report for people."""
        lines = [f"{program}: version {version}, from {effective_at:%Y-%m-%d} on" for program, version, effective_at in self.new_versions]
        lines += [f"{program}: {status}" for program, status in self.new_statuses]
        if self.new_policy is not None:
            lines.append(f"sending policy: version {self.new_policy}")
        return lines


def sync(
    settings: Settings, ledger: Ledger, connection: duckdb.DuckDBPyConnection, as_of: datetime, now: datetime, *, actor: str = "winback"
) -> SyncReport:
    """Record what changed in `programs/`, then write schema `programs` of the warehouse. Doing it again changes nothing.

    A change holds from `as_of` on, and never for a day that was applied already: such a day keeps deciding as it did.

    Raises
    ------
    BadConfig
        `programs/` has problems; nothing was recorded.
    """
    loaded = load_programs(settings, ledger)
    report = record(loaded, ledger, as_of, now, actor=actor)
    rows = write_tables(loaded, ledger, connection, as_of)
    return SyncReport(report.programs, report.new_versions, report.new_statuses, report.new_policy, rows)


def record_stops(settings: Settings, ledger: Ledger, now: datetime, *, actor: str = "winback") -> list[str]:
    """Pause the live programs whose files say paused or retired; returns their names.

    A stop holds from the next dispatch on, also where a check stops the day. Whatever else files say, an end for good among it, waits
    for a day that decides by it.

    Raises
    ------
    BadConfig
        `programs/` has problems; nothing was recorded.
    """
    loaded = load_programs(settings, ledger)
    statuses = _latest_statuses(ledger)
    earliest = next_as_of(settings, ledger, now)
    report = SyncReport(len(loaded.programs))
    with ledger.writing() as writer:
        for name, program in loaded.programs.items():
            known = statuses.get(name)
            if known is not None and known[0] == "live" and program.status in ("paused", "retired"):
                _record_status(writer, name, "paused", known, earliest, now, actor, report)
    return [name for name, _ in report.new_statuses]


def record(loaded: LoadedPrograms, ledger: Ledger, as_of: datetime, now: datetime, *, actor: str) -> SyncReport:
    """Record new versions, statuses and policies in the ledger, in one transaction with their audit rows."""
    last_applied = ledger.last_applied()
    earliest = as_of if last_applied is None else max(as_of, last_applied + timedelta(days=1))
    versions, statuses = ledger.latest_versions(), _latest_statuses(ledger)
    policy = ledger.latest_policy()
    report = SyncReport(len(loaded.programs))
    with ledger.writing() as writer:
        for name, definition in loaded.definitions.items():
            known = versions.get(name)
            status = definition.program.status
            # A draft may change many times a day before anyone sees it: its versions begin when it goes live.
            unchanged = known is not None and known["content_hash"] == definition.content_hash
            if not unchanged and status != "draft":
                version = known["version"] + 1 if known else 1
                effective_at = max(earliest, known["effective_at"]) if known else earliest
                row = {
                    "program": name,
                    "version": version,
                    "content_hash": definition.content_hash,
                    "definition": definition.as_json,
                    "effective_at": effective_at,
                    "recorded_at": now,
                }
                writer.record("program_versions", [row])
                details = {"version": version, "content_hash": definition.content_hash, "effective_at": effective_at}
                writer.audit("program_changed" if known else "program_added", actor=actor, subject=name, details=details, now=now)
                report.new_versions.append((name, version, effective_at))
            _record_status(writer, name, status, statuses.get(name), earliest, now, actor, report)
        for name, (last_status, _) in statuses.items():
            if name not in loaded.programs and last_status != "retired":
                # Nobody ever entered it (the check would have asked for the file): its file may simply go.
                _record_status(writer, name, "retired", statuses[name], earliest, now, actor, report)
        definition_text, content_hash = policy_json(loaded.brand.sending)
        if policy is None or policy["content_hash"] != content_hash:
            version = policy["version"] + 1 if policy else 1
            effective_at = max(earliest, policy["effective_at"]) if policy else earliest
            row = {
                "version": version,
                "content_hash": content_hash,
                "definition": definition_text,
                "effective_at": effective_at,
                "recorded_at": now,
            }
            writer.record("policy_versions", [row])
            writer.audit(
                "sending_policy_changed",
                actor=actor,
                subject="sending",
                details={"version": version, "effective_at": effective_at},
                now=now,
            )
            report = SyncReport(report.programs, report.new_versions, report.new_statuses, version)
    return report


def _latest_statuses(ledger: Ledger) -> dict[str, tuple[str, datetime]]:
    ordered = sorted(ledger.rows("program_statuses"), key=lambda row: (row["effective_at"], row["seq"]))
    return {row["program"]: (row["status"], row["effective_at"]) for row in ordered}


def _record_status(
    writer: Writer,
    name: str,
    status: str,
    known: tuple[str, datetime] | None,
    earliest: datetime,
    now: datetime,
    actor: str,
    report: SyncReport,
) -> None:
    if known is not None and known[0] == status:
        return
    effective_at = max(earliest, known[1]) if known else earliest
    writer.record("program_statuses", [{"program": name, "status": status, "effective_at": effective_at, "recorded_at": now}])
    details = {"from": known[0] if known else None, "to": status, "effective_at": effective_at}
    writer.audit("program_status_changed", actor=actor, subject=name, details=details, now=now)
    report.new_statuses.append((name, status))


def write_tables(loaded: LoadedPrograms, ledger: Ledger, connection: duckdb.DuckDBPyConnection, as_of: datetime) -> dict[str, int]:
    """Write schema `programs` anew: every version of the ledger, and what the files say now as drafts (`is_draft`).

    A draft that says the same as the latest version carries its number, one that differs the next. Returns rows per table.
    """
    rows: dict[str, list[Sequence[Any]]] = {table: [] for table in TABLES}
    latest = ledger.latest_versions()
    descriptions = {name: program.description for name, program in loaded.programs.items()}
    for row in ledger.rows("program_versions"):
        definition = Definition.from_json(row["definition"], row["content_hash"])
        _add_version(rows, definition.program, row["version"], False, row["effective_at"], descriptions.get(row["program"], ""))
    for name, definition in loaded.definitions.items():
        known = latest.get(name)
        version = 1 if known is None else known["version"] + (known["content_hash"] != definition.content_hash)
        _add_version(rows, definition.program, version, True, as_of, descriptions[name])
        rows["statuses"].append((name, definition.program.status, as_of, True))
    # Two changes for the same day: the later one holds.
    recorded = {(row["program"], row["effective_at"]): row["status"] for row in ledger.rows("program_statuses")}
    rows["statuses"].extend((program, status, effective_at, False) for (program, effective_at), status in recorded.items())
    policies = {row["effective_at"]: row for row in ledger.rows("policy_versions")}
    for row in policies.values():
        _add_policy(rows, Sending.model_validate_json(row["definition"], extra="ignore"), row["version"], False, row["effective_at"])
    newest = ledger.latest_policy()
    changed = newest is not None and newest["content_hash"] != policy_json(loaded.brand.sending)[1]
    _add_policy(rows, loaded.brand.sending, newest["version"] + changed if newest else 1, True, as_of)
    _replace(connection, rows)
    return {table: len(values) for table, values in rows.items()}


def _add_version(
    rows: dict[str, list[Sequence[Any]]], program: Program, version: int, draft: bool, effective_at: datetime, description: str
) -> None:
    key = (program.name, version, draft)
    limit = program.on_complete.lower_frequency
    offer = program.offer
    rows["versions"].append(
        (
            *key,
            effective_at,
            description,
            program.audience,
            program.lapse_days.at_least,
            program.lapse_days.below,
            program.group,
            program.priority,
            program.every,
            program.weekday,
            program.entry.exclude_purchased_within_days,
            program.entry.exclude_engaged_within_days,
            program.entry.reentry.after_days,
            program.entry.reentry.max_entries,
            program.entry.max_per_day,
            program.holdout_percent,
            program.holdout_below,
            "purchase" in program.exit_on,
            "engagement" in program.exit_on,
            offer.code if offer else None,
            offer.percent if offer else None,
            offer.expires_after_days if offer else None,
            offer is not None and offer.codes is not None,
            program.on_complete.after_days,
            program.on_complete.tag,
            program.on_complete.suppress_days,
            program.on_complete.then,
            limit.channel if limit else None,
            limit.messages if limit else None,
            limit.days if limit else None,
            program.measure.window_days,
            program.measure.attribution_hours,
            len(program.steps),
        )
    )
    for number, step in enumerate(program.steps, start=1):
        kind = "send" if step.send else "task"
        rows["steps"].append((*key, number, step.day, kind, step.send or step.task, step.only_if, step.unless))
        rows["step_channels"].extend((*key, number, position, channel) for position, channel in enumerate(step.channels or [], start=1))
    # Whose consent decides: ads are shown to people, lists are there to write to them.
    rows["ad_platforms"].extend((*key, platform, "ads") for platform in program.ad_audiences)
    rows["ad_platforms"].extend((*key, platform, "email") for platform in program.lists)


def _add_policy(rows: dict[str, list[Sequence[Any]]], sending: Sending, version: int, draft: bool, effective_at: datetime) -> None:
    for channel in ("email", "sms", "push"):
        cap = getattr(sending.caps, channel)
        rows["sending_policies"].append(
            (version, draft, effective_at, channel, cap.messages if cap else None, cap.days if cap else None, sending.patience_days)
        )


def _replace(connection: duckdb.DuckDBPyConnection, rows: dict[str, list[Sequence[Any]]]) -> None:
    with in_transaction(connection):
        connection.execute("create schema if not exists programs")
        for table, columns in TABLES.items():
            connection.execute(
                f"create or replace table programs.{table} ({', '.join(f'{name} {kind}' for name, kind in columns.items())})"
            )
            if rows[table]:
                connection.executemany(f"insert into programs.{table} values ({', '.join('?' * len(columns))})", _sorted(rows[table]))


def _sorted(rows: Iterable[Sequence[Any]]) -> list[Sequence[Any]]:
    """The same rows in the same order on every run, so that a rebuilt warehouse is the same file."""
    return sorted(
        rows, key=lambda row: tuple((value is None, str(value) if not isinstance(value, int) else f"{value:020d}") for value in row)
    )


def approve(settings: Settings, ledger: Ledger, program: str, approved_by: str, as_of: datetime, now: datetime) -> int:
    """Record that a person approves the program as its file stands; returns the version that was approved.

    Raises
    ------
    BadConfig
        `programs/` has problems, there is no such program, or it is a draft.
    """
    from winback.errors import BadConfig
    from winback.programs.problems import near_miss, one_of

    loaded = load_programs(settings, ledger)
    if program not in loaded.programs:
        raise BadConfig(f'there is no program "{program}"; allowed: {one_of(loaded.programs)}{near_miss(program, loaded.programs)}')
    if loaded.programs[program].status == "draft":
        raise BadConfig(f"programs/{program}.yml is a draft; write status: live (or paused) first, then approve what will run")
    record(loaded, ledger, as_of, now, actor=approved_by)
    version = int(ledger.latest_versions()[program]["version"])
    with ledger.writing() as writer:
        if writer.record("approvals", [{"program": program, "version": version, "approved_by": approved_by, "recorded_at": now}]):
            writer.audit("program_approved", actor=approved_by, subject=program, details={"version": version}, now=now)
    return version


def next_as_of(settings: Settings, ledger: Ledger, now: datetime) -> datetime:
    """The as_of from which a change made between runs holds: that of the next run."""
    last_applied = ledger.last_applied()
    if last_applied is not None:
        return last_applied + timedelta(days=1)
    if settings.clock == "simulated":
        # The first simulated day is not known yet, and may lie years back: a first version holds from the beginning.
        return datetime(1970, 1, 1)
    return now.replace(hour=0, minute=0, second=0, microsecond=0)
