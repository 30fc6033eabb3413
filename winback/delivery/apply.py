"""A plan becomes ledger rows: who enrolled, which steps were taken, what is to be sent. Nothing leaves the building here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import sqlalchemy as sa

from winback.delivery import plan as plans
from winback.delivery.plan import Plan
from winback.errors import BadConfig, StopRun
from winback.ledger import Ledger, Writer
from winback.ledger.store import CODES_LOCK
from winback.ledger.tables import offer_codes
from winback.settings import Settings

LATEST = timedelta(hours=48)
"""With the real clock a day older than this is derived and reported, and not acted on."""

_TASK = "task"


@dataclass(frozen=True, slots=True)
class ApplyReport:
    """What applying a plan did. `recorded`: new ledger rows per table; `held_back`: rows of the plan left out, per reason.

    `applied` is False when the day was not applied at all; `reason` then says why. `notes` are sentences for people.
    """

    as_of: datetime
    applied: bool
    reason: str = ""
    recorded: Mapping[str, int] = field(default_factory=dict)
    held_back: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def metadata(self) -> dict[str, Any]:
        """Counts and sentences, for logs and user interfaces."""
        values = {"applied": self.applied, "recorded": dict(self.recorded), "held_back": dict(self.held_back), "notes": list(self.notes)}
        return {**values, "reason": self.reason} if self.reason else values


def apply_plan(
    settings: Settings,
    connection: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    plan: Plan,
    now: datetime,
    *,
    run_id: str | None = None,
) -> ApplyReport:
    """Record exactly the plan, for programs that are live and approved. Killed at any point and run again, it gives the same rows.

    Afterwards the warehouse's copy of the ledger shows what was applied.

    Raises
    ------
    StopRun
        The plan's files are not what its hash describes.
    BadConfig
        A program's file of single-use codes cannot be read.
    """
    if plans.content_hash(plan.folder) != plan.content_hash:
        raise StopRun(
            f"The files in {plan.folder} are not the plan {plan.content_hash[:12]} that was made. Nothing was applied; run the day again."
        )
    refusal = _refusal(settings, ledger, plan, now)
    if refusal:
        return ApplyReport(plan.as_of, applied=False, reason=refusal)
    with ledger.writing() as writer:
        writer.audit(
            plans.BEGUN,
            actor="winback",
            subject=plan.as_of.isoformat(" "),
            details={"plan_hash": plan.content_hash, "run_id": run_id},
            now=now,
        )
    work = _Work(settings, ledger, plan, now)
    work.enrolments()
    work.actions()
    work.followups()
    work.audience_changes()
    counts = json.dumps({"planned": plan.counts, "recorded": work.recorded, "held_back": work.held_back}, sort_keys=True)
    with ledger.writing() as writer:
        row = {"as_of": plan.as_of, "plan_hash": plan.content_hash, "counts": counts, "run_id": run_id, "recorded_at": now}
        if writer.record("applied_plans", [row]):
            details = {"plan_hash": plan.content_hash, "recorded": work.recorded, "held_back": work.held_back}
            writer.audit("apply", actor="winback", subject=plan.as_of.isoformat(" "), details=details, now=now)
    ledger.copy_to_warehouse(connection)
    notes = (*work.notes, *(hold.message for hold in plan.holds))
    return ApplyReport(plan.as_of, applied=True, recorded=dict(work.recorded), held_back=dict(work.held_back), notes=notes)


def _refusal(settings: Settings, ledger: Ledger, plan: Plan, now: datetime) -> str:
    """Why the day is not applied, or ''."""
    day = plan.as_of
    if now < day:
        return f"{day:%Y-%m-%d %H:%M} has not come yet."
    if settings.clock == "real" and now - day > LATEST:
        return (
            f"{day:%Y-%m-%d} is more than {LATEST.total_seconds() / 3600:.0f} hours ago: it was derived and reported, and is not acted on."
        )
    last = ledger.last_applied()
    if last is not None and last > day:
        return f"A later day ({last:%Y-%m-%d}) was applied already."
    # Days caught up one after the other: this day's marts could not see what the earlier one has just recorded.
    unseen = [row["as_of"] for row in ledger.rows("applied_plans") if row["as_of"] < day <= row["recorded_at"]]
    if unseen:
        return (
            f"{max(unseen):%Y-%m-%d} was applied only after {day:%Y-%m-%d %H:%M}, so this day was decided without knowing it. "
            "The next day takes over."
        )
    applied = [row["plan_hash"] for row in ledger.rows("applied_plans", as_of=day)]
    if plan.content_hash in applied:
        return f"{day:%Y-%m-%d} was applied already, with this plan."
    if applied:
        return f"{day:%Y-%m-%d} was applied already, with another plan ({applied[0][:12]}): its data or programs have changed since."
    return ""


class _Work:
    """One plan being applied. Rows go in in order of dependence; each transaction is complete in itself."""

    def __init__(self, settings: Settings, ledger: Ledger, plan: Plan, now: datetime) -> None:
        self._settings = settings
        self._ledger = ledger
        self._plan = plan
        self._now = now
        self._statuses = ledger.statuses()
        self._approved = ledger.approved_versions() if settings.approval == "required" else None
        self._offers = _Offers(settings, ledger)
        self.recorded: Counter[str] = Counter()
        self.held_back: Counter[str] = Counter()
        self.notes: list[str] = []

    def enrolments(self) -> None:
        for batch in self._plan.batches(plans.ENTRIES):
            rows = [
                {
                    "enrolment_id": row["enrolment_id"],
                    "program": row["program"],
                    "version": row["version"],
                    "customer_id": row["customer_id"],
                    "anchor_at": row["anchor_at"],
                    "arm": row["arm"],
                    "reason": row["reason"],
                    "enrolled_at": self._plan.as_of,
                    "as_of": self._plan.as_of,
                    "recorded_at": self._now,
                }
                for row in self._permitted(batch)
            ]
            self._record(enrolments=rows)

    def actions(self) -> None:
        for batch in self._plan.batches(plans.ACTIONS):
            due = [row for row in batch if row["decision"] != "defer"]
            self._record_actions(list(self._permitted(due)))
        for program, count in self._offers.missing.items():
            self.notes.append(
                f"{program}: {count:,} messages wait because its single-use codes are used up. "
                f"Add codes to {self._offers.file(program)}; they are sent then."
            )

    def _record_actions(self, due: list[dict[str, Any]]) -> None:
        messages = []
        steps = []
        with self._ledger.writing() as writer:
            codes = self._offers.assign(writer, [row for row in due if row["decision"] == "send"], self._now)
            for row in due:
                leaves = row["decision"] in ("send", _TASK)
                if (
                    leaves
                    and row["enrolment_id"] not in codes
                    and self._offers.is_pooled(row["program"], row["version"])
                    and row["decision"] == "send"
                ):
                    self.held_back["offer_codes_used_up"] += 1
                    continue
                decision = "queued" if leaves else {"withhold": "withheld", "skip": "skipped"}[row["decision"]]
                steps.append(
                    {
                        "step_id": row["step_id"],
                        "enrolment_id": row["enrolment_id"],
                        "step_no": row["step_no"],
                        "decision": decision,
                        "reason": row["reason"],
                        "channel": row["channel"],
                        "content": row["content"],
                        "message_id": row["message_id"] if leaves else None,
                        "due_on": row["due_on"],
                        "as_of": self._plan.as_of,
                        "recorded_at": self._now,
                    }
                )
                if leaves:
                    messages.append(self._message(row, codes.get(row["enrolment_id"])))
            self.recorded["messages"] += writer.record("messages", messages)
            self.recorded["steps"] += writer.record("steps", steps)

    def _message(self, row: dict[str, Any], code: str | None) -> dict[str, Any]:
        return {
            "message_id": row["message_id"],
            "enrolment_id": row["enrolment_id"],
            "step_no": row["step_no"],
            "customer_id": row["customer_id"],
            "program": row["program"],
            "version": row["version"],
            "kind": row["kind"],
            "channel": row["channel"] or _TASK,
            "content": row["content"],
            "offer_code": code or self._offers.fixed(row["program"], row["version"]),
            "not_before": self._plan.as_of if row["decision"] == _TASK else row["not_before"],
            "expires_at": row["expires_at"],
            "as_of": self._plan.as_of,
            "recorded_at": self._now,
        }

    def followups(self) -> None:
        for batch in self._plan.batches(plans.FOLLOWUPS):
            rows: dict[str, list[dict[str, Any]]] = {"tags": [], "suppressions": [], "frequency_limits": []}
            for row in batch:
                table, content = _followup(row, self._plan.as_of)
                rows[table].append({**content, "recorded_at": self._now})
            self._record(**rows)

    def audience_changes(self) -> None:
        for batch in self._plan.batches(plans.AUDIENCE_CHANGES):
            rows = []
            for row in batch:
                # Leaving an audience needs no permission.
                if row["operation"] == "add" and self._statuses.get(row["program"]) != "live":
                    self.held_back["program_not_live"] += 1
                    continue
                rows.append({**row, "as_of": self._plan.as_of, "recorded_at": self._now})
            self._record(audience_changes=rows)

    def _record(self, **tables: list[dict[str, Any]]) -> None:
        with self._ledger.writing() as writer:
            for table, rows in tables.items():
                self.recorded[table] += writer.record(table, rows)

    def _permitted(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Rows of programs that are live and, where asked, approved in this version."""
        for row in rows:
            if self._statuses.get(row["program"]) != "live":
                self.held_back["program_not_live"] += 1
            elif self._approved is not None and (row["program"], row["version"]) not in self._approved:
                self.held_back["not_approved"] += 1
            else:
                yield row


def _followup(row: Mapping[str, Any], as_of: datetime) -> tuple[str, dict[str, Any]]:
    """The table and row of a follow-up. Taking something back carries the id under which it was set."""
    action = row["action"]
    if action in ("tag", "untag"):
        return "tags", {
            "tag_id": row["followup_id"],
            "operation": "add" if action == "tag" else "remove",
            "customer_id": row["customer_id"],
            "tag": row["value"],
            "enrolment_id": row["enrolment_id"],
        }
    if action == "suppress":
        return "suppressions", {
            "suppression_id": row["followup_id"],
            "operation": "add",
            "customer_id": row["customer_id"],
            "channel": row["channel"] or "all",
            "reason": f"completed {row['program']}",
            "starts_at": as_of,
            "ends_at": row["ends_at"],
            "source": "winback",
        }
    if action in ("lower_frequency", "restore_frequency"):
        return "frequency_limits", {
            "limit_id": row["followup_id"],
            "operation": "add" if action == "lower_frequency" else "lift",
            "customer_id": row["customer_id"],
            "channel": row["channel"],
            "max_messages": row["max_messages"],
            "window_days": row["window_days"],
            "enrolment_id": row["enrolment_id"],
        }
    raise StopRun(
        f"journey_followups has an action that nobody knows: {action!r}. Known: tag, untag, suppress, lower_frequency, restore_frequency."
    )


class _Offers:
    """Voucher codes of the programs' versions: one for all, or single-use ones handed out in the order of the file."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._folder = settings.programs_dir
        self._offers: dict[tuple[str, int], Mapping[str, Any]] = {}
        for row in ledger.rows("program_versions"):
            self._offers[(row["program"], row["version"])] = json.loads(row["definition"])["program"].get("offer") or {}
        self._unused: dict[Path, list[str]] = {}
        self._used: set[str] = set()
        self._seen = 0
        self.missing: Counter[str] = Counter()

    def fixed(self, program: str, version: int) -> str | None:
        code: str | None = self._offers.get((program, version), {}).get("code")
        return code

    def is_pooled(self, program: str, version: int) -> bool:
        return bool(self._offers.get((program, version), {}).get("codes"))

    def file(self, program: str) -> Path:
        newest = max(version for name, version in self._offers if name == program and self.is_pooled(name, version))
        return self._folder / str(self._offers[(program, newest)]["codes"])

    def assign(self, writer: Writer, rows: Sequence[Mapping[str, Any]], now: datetime) -> dict[str, str]:
        """The single-use code of each enrolment that needs one: the one it has, else the next unused. By enrolment."""
        wanting = {row["enrolment_id"]: row["program"] for row in rows if self.is_pooled(row["program"], row["version"])}
        if not wanting:
            return {}
        # A code is used once over all programs and files, which no key of the ledger says: who hands codes out does so alone.
        writer.alone_at(CODES_LOCK)
        self._read_used(writer)
        codes = self._assigned(writer, list(wanting))
        new = []
        for enrolment_id, program in wanting.items():
            if enrolment_id in codes:
                continue
            code = self._next_code(program)
            if code is None:
                self.missing[program] += 1
                continue
            self._used.add(code)
            new.append({"program": program, "code": code, "enrolment_id": enrolment_id, "recorded_at": now})
        writer.record("offer_codes", new)
        # Read back: of two runs at the same enrolment, the ledger lets one win.
        return {**codes, **self._assigned(writer, [row["enrolment_id"] for row in new])}

    def _assigned(self, writer: Writer, enrolments: list[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for start in range(0, len(enrolments), 500):
            statement = sa.select(offer_codes.c.enrolment_id, offer_codes.c.code).where(
                offer_codes.c.enrolment_id.in_(enrolments[start : start + 500])
            )
            found.update((row[0], row[1]) for row in writer.connection.execute(statement))
        return found

    def _read_used(self, writer: Writer) -> None:
        """Take in the codes handed out since this was last asked, by this run and by others."""
        new = sa.select(offer_codes.c.seq, offer_codes.c.code).where(offer_codes.c.seq > self._seen)
        found: Sequence[Any] = writer.connection.execute(new).all()
        for seq, code in found:
            self._used.add(code)
            self._seen = max(self._seen, seq)

    def _next_code(self, program: str) -> str | None:
        """The next code of the program's file that was not handed out yet."""
        file = self.file(program).resolve()
        if file not in self._unused:
            try:
                lines = file.read_text(encoding="utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError) as problem:
                raise BadConfig(
                    f"{file}: the single-use codes of {program} cannot be read ({type(problem).__name__}). One code per line, UTF-8."
                ) from None
            self._unused[file] = [code for code in reversed(dict.fromkeys(line.strip() for line in lines)) if code]
        unused = self._unused[file]
        while unused:
            code = unused.pop()
            if code not in self._used:
                return code
        return None
