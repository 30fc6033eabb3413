"""A small world in which days pass: rows come in, dbt derives a day, and the day's decisions are recorded as the delivery would.

Recording is a few inserts of what the marts say, so that these tests are about the marts alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import duckdb
from dbt.artifacts.schemas.results import NodeStatus  # noqa: TID251  (in process, a day takes a third of the time)
from dbt.cli.main import dbtRunner  # noqa: TID251
from dbt.contracts.graph.manifest import Manifest  # noqa: TID251

from tests.warehouse import building
from winback.dbt_command import in_environment
from winback.settings import Settings
from winback.warehouse import open_warehouse

START = datetime(2030, 3, 11)
"""The as_of of day 0: a Monday, and an even number of weeks since the Monday from which biweekly programs count."""

SENT_AT = timedelta(hours=10)
"""How long after as_of the recorded outcomes lie."""

_BUILD = [
    *("--quiet", "--no-write-json", "build"),
    *("--select", "+path:models/marts/journeys", "admission_waterfall", "path:tests/journeys"),
    *("--exclude-resource-type", "unit_test", "--exclude", "test_type:generic"),
]

Answer = Callable[[Mapping[str, Any]], str | None]
"""What becomes of a message: an outcome, or None while there is no answer."""


@cache
def _manifest(home: Path) -> Manifest:
    with in_environment(Settings(home=home).dbt_environment(START)):
        outcome = dbtRunner().invoke(["--quiet", "parse"])
    assert outcome.success, outcome.exception
    assert isinstance(outcome.result, Manifest)
    return outcome.result


def program(name: str, **fields: Any) -> dict[str, Any]:
    """A version of a program: daily, everybody treated, one email step on day 0 and one on day 3, out on purchase.

    `steps` is a list of dictionaries like those of a program file; `status`, `ad_audiences` and `lists` stand beside the columns of
    programs.versions.
    """
    return {
        "program": name,
        "version": 1,
        "is_draft": False,
        "effective_at": START,
        "description": "",
        "audience": "customer_lapsed",
        "lapse_days_at_least": None,
        "lapse_days_below": None,
        "program_group": "default",
        "priority": 0,
        "cadence": "daily",
        "weekday": None,
        "exclude_purchased_within_days": 7,
        "exclude_engaged_within_days": 0,
        "reentry_after_days": None,
        "max_entries": None,
        "max_per_day": None,
        "holdout_percent": 0.0,
        "holdout_below": "00000000",
        "exit_on_purchase": True,
        "exit_on_engagement": False,
        "complete_after_days": 0,
        "measure_window_days": 30,
        "attribution_hours": 72,
        "status": "live",
        "ad_audiences": [],
        "lists": [],
        "steps": [{"day": 0, "send": "first"}, {"day": 3, "send": "second"}],
    } | fields


class World:
    """One warehouse and its days. `day` counts from START; times of rows are given in days from START, before it negative."""

    def __init__(self, home: Path, shared: Path) -> None:
        self.home = home
        self._shared = shared
        self._settings = Settings(home=home)
        building.load(home)
        self.policy("email", None, 7)

    @contextmanager
    def open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with open_warehouse(self._settings) as connection:
            yield connection

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        with self.open() as connection:
            found = connection.execute(query, parameters)
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def add(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows to a table outside dbt, e.g. "raw.orders"."""
        schema, name = table.split(".")
        with self.open() as connection:
            for row in rows:
                values = dict(row)
                if schema == "ledger":
                    following = connection.execute(f"select coalesce(max(seq), 0) + 1 from {table}").fetchone()
                    values["seq"] = following[0] if following else 1
                names = ", ".join(values)
                marks = ", ".join("?" * len(values))
                connection.execute(f"insert into {schema}.{name} ({names}) values ({marks})", list(values.values()))

    # What other systems tell us.

    def customer(self, name: str, *, ordered: Sequence[float] = (-90,), channels: Sequence[str] = ("email", "ads")) -> None:
        """A customer who can be reached over `channels`, with a purchase at each of `ordered` (days from START)."""
        number = crc32(name.encode()) % 10_000
        self.add(
            "raw.customers",
            [
                {
                    "customer_id": name,
                    "email": f"{name}@example.com",
                    "phone": f"+1555010{number:04d}",
                    "created_at": START - timedelta(days=1000),
                }
            ],
        )
        self.add(
            "raw.devices", [{"push_token": f"token-{name}", "customer_id": name, "active": True, "updated_at": START - timedelta(days=900)}]
        )
        for channel in channels:
            self.consent(name, channel, -800, granted=True)
        for at in ordered:
            self.order(name, at)

    def order(self, customer: str, at: float) -> None:
        order = {"order_id": f"{customer}-{at}", "customer_id": customer, "ordered_at": _instant(at), "status": "paid", "total": 100}
        self.add("raw.orders", [order])

    def consent(self, customer: str, channel: str, at: float, *, granted: bool) -> None:
        self.add("raw.consents", [{"customer_id": customer, "channel": channel, "changed_at": _instant(at), "granted": granted}])

    def opened(self, customer: str, at: float, *, is_machine: bool = False) -> None:
        self._message_event(customer, at, "opened", "email", "", is_machine=is_machine)

    def sent_by_others(self, customer: str, at: float, *, channel: str = "email", campaign: str = "newsletter") -> None:
        self._message_event(customer, at, "sent", channel, campaign)

    def _message_event(self, customer: str, at: float, kind: str, channel: str, campaign: str, *, is_machine: bool = False) -> None:
        event = {
            "event_id": f"{customer}-{kind}-{at}-{campaign}",
            "customer_id": customer,
            "channel": channel,
            "event_type": kind,
            "occurred_at": _instant(at),
            "campaign": campaign,
            "is_machine": is_machine,
        }
        self.add("raw.message_events", [event])

    # What marketing decides.

    def program(self, name: str, **fields: Any) -> None:
        """Add a version of a program (see `program`), with its status from `effective_at` on."""
        row = program(name, **fields)
        steps, status = row.pop("steps"), row.pop("status")
        platforms = {"ads": row.pop("ad_audiences"), "email": row.pop("lists")}
        key = {column: row[column] for column in ("program", "version", "is_draft")}
        self.add("programs.versions", [row | {"step_count": len(steps)}])
        self.status(name, status, row["effective_at"])
        for number, step in enumerate(steps, start=1):
            content = step.get("send") or step["task"]
            kind = "send" if "send" in step else "task"
            numbered = key | {"step_no": number}
            conditions = {"only_if": step.get("only_if"), "unless": step.get("unless")}
            self.add("programs.steps", [numbered | {"day": step["day"], "kind": kind, "content": content} | conditions])
            channels = step.get("channels", ["email"]) if kind == "send" else []
            self.add(
                "programs.step_channels",
                [numbered | {"position": place, "channel": channel} for place, channel in enumerate(channels, start=1)],
            )
        rows = [key | {"platform": platform, "channel": channel} for channel, names in platforms.items() for platform in names]
        self.add("programs.ad_platforms", rows)

    def status(self, name: str, status: str, effective_at: datetime) -> None:
        self.add("programs.statuses", [{"program": name, "status": status, "effective_at": effective_at, "is_draft": False}])

    def policy(self, channel: str, messages: int | None, days: int, *, patience: int = 2, version: int = 1) -> None:
        """The cap of a channel from the first day on."""
        row = {
            "version": version,
            "is_draft": False,
            "effective_at": START - timedelta(days=1),
            "channel": channel,
            "max_messages": messages,
        }
        self.add("programs.sending_policies", [row | {"window_days": days, "patience_days": patience}])

    # What happens on a day.

    def derive(self, day: int) -> None:
        """Build what journeys need as of the midnight that opens `day`, with the data tests of journeys."""
        as_of = START + timedelta(days=day)
        environment = self._settings.dbt_environment(as_of)
        manifest = _manifest(self._shared)
        with in_environment(environment):
            outcome = dbtRunner(manifest=manifest).invoke(_BUILD)
        assert outcome.exception is None, outcome.exception
        results: list[Any] = list(outcome.result)  # type: ignore[arg-type]
        fine = (NodeStatus.Success, NodeStatus.Pass)
        failed = [f"{result.node.name}: {result.message}" for result in results if result.status not in fine]
        assert not failed, "\n".join(failed)

    def record(self, day: int, answer: Answer | None = None) -> None:
        """Write into the ledger what the plan of `day` does, at as_of, and the answers of the providers some hours later."""
        as_of = START + timedelta(days=day)
        with self.open() as connection:
            for statement in _RECORD_PLAN.split(";"):
                connection.execute(statement, {"as_of": as_of} if "$as_of" in statement else None)
        messages = self.rows(
            "select * from ledger.messages where message_id not in (select item_id from ledger.outcomes where outcome not in ('deferred'))"
        )
        for message in messages:
            outcome = answer(message) if answer else "accepted"
            if outcome is None:
                continue
            attempt = len(self.rows("select 1 from ledger.outcomes where item_id = ?", message["message_id"])) + 1
            given = {"item_id": message["message_id"], "attempt": attempt, "outcome": outcome, "recorded_at": as_of + SENT_AT}
            self.add("ledger.outcomes", [given | {"retry_at": as_of + timedelta(days=1) if outcome == "deferred" else None}])

    def run(self, day: int, answer: Answer | None = None) -> None:
        self.derive(day)
        self.record(day, answer)

    # What came out.

    def admissions(self) -> dict[tuple[str, str], str]:
        """(program, customer) -> 'admitted' or the reason."""
        found = self.rows("select program, customer_id, coalesce(reason, decision) as decided from marts.journey_admissions")
        return {(row["program"], row["customer_id"]): row["decided"] for row in found}

    def actions(self) -> list[tuple[str, str, int, str, str | None]]:
        """(program, customer, step, decision, reason or channel), sorted."""
        found = self.rows(
            "select program, customer_id, step_no, decision, coalesce(reason, channel) as what from marts.journey_actions order by all"
        )
        return [(row["program"], row["customer_id"], row["step_no"], row["decision"], row["what"]) for row in found]

    def journeys(self) -> dict[tuple[str, str], str]:
        """(program, customer) -> 'open', 'completed' or the exit reason, of the latest journey."""
        found = self.rows(
            "select program, customer_id, coalesce(exit_reason, status) as state from marts.journey_enrolments order by enrolled_at"
        )
        return {(row["program"], row["customer_id"]): row["state"] for row in found}

    def followups(self) -> list[tuple[str, str, str]]:
        found = self.rows("select customer_id, action, value from marts.journey_followups order by all")
        return [(row["customer_id"], row["action"], row["value"]) for row in found]

    def messages(self) -> list[tuple[str, int, int]]:
        """(customer, step, day on which it was planned) of all messages in the ledger, sorted."""
        found = self.rows("select customer_id, step_no, as_of from ledger.messages order by all")
        return [(row["customer_id"], row["step_no"], (row["as_of"] - START).days) for row in found]


def _instant(at: float) -> datetime:
    # At noon, unless the hour is given: midnight belongs to two days at once in too many minds.
    return START + timedelta(days=at) + (timedelta(hours=12) if float(at).is_integer() else timedelta())


def on(day: int) -> date:
    return (START + timedelta(days=day)).date()


_RECORD_PLAN = """
insert into ledger.enrolments by name
select
    row_number() over () + (select count(*) from ledger.enrolments) as seq,
    enrolment_id, program, version, customer_id, anchor_at, arm, audience_reason as reason,
    as_of as enrolled_at, as_of, $as_of as recorded_at
from marts.journey_admissions
where decision = 'admitted' and enrolment_id not in (select enrolment_id from ledger.enrolments);

insert into ledger.messages by name
select
    row_number() over () + (select count(*) from ledger.messages) as seq,
    message_id, enrolment_id, step_no, customer_id, program, version, kind, channel, content,
    as_of as not_before, expires_on + interval 1 day as expires_at, as_of, $as_of as recorded_at
from marts.journey_actions
where decision in ('send', 'task') and step_id not in (select step_id from ledger.steps);

insert into ledger.steps by name
select
    row_number() over () + (select count(*) from ledger.steps) as seq,
    step_id, enrolment_id, step_no,
    case decision when 'withhold' then 'withheld' when 'skip' then 'skipped' else 'queued' end as decision,
    reason, channel, content, message_id, due_on, as_of, $as_of as recorded_at
from marts.journey_actions
where decision <> 'defer' and step_id not in (select step_id from ledger.steps);

insert into ledger.tags by name
select
    row_number() over () + (select count(*) from ledger.tags) as seq,
    followup_id as tag_id, if(action = 'tag', 'add', 'remove') as operation, customer_id, value as tag, enrolment_id, $as_of as recorded_at
from marts.journey_followups
where action in ('tag', 'untag');

insert into ledger.suppressions by name
select
    row_number() over () + (select count(*) from ledger.suppressions) as seq,
    followup_id as suppression_id, 'add' as operation, customer_id, channel, value as reason,
    $as_of as starts_at, ends_at, $as_of as recorded_at
from marts.journey_followups
where action = 'suppress';

insert into ledger.frequency_limits by name
select
    row_number() over () + (select count(*) from ledger.frequency_limits) as seq,
    followup_id as limit_id, if(action = 'lower_frequency', 'add', 'lift') as operation,
    customer_id, channel, max_messages, window_days, enrolment_id, $as_of as recorded_at
from marts.journey_followups
where action in ('lower_frequency', 'restore_frequency')
"""
