from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.programs.conftest import EXAMPLES, MakeProject
from winback.errors import BadConfig
from winback.ledger import Ledger
from winback.programs import Program, SyncReport, approve, check, record_stops, sync
from winback.settings import Settings

DAY = timedelta(days=1)
FIRST = datetime(2017, 12, 1)
EVERYTHING = (EXAMPLES / "valid" / "everything.yml").read_bytes()


def program(day: int = 0, status: str = "live", description: str = "x", more: str = "") -> str:
    return (
        f"name: p\ndescription: {description}\naudience: lapsed\nstatus: {status}\n{more}"
        f"steps:\n  - {{day: {day}, send: hello, channels: [email, sms]}}\n"
    )


@pytest.fixture
def warehouse() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def _sync(settings: Settings, ledger: Ledger, warehouse: duckdb.DuckDBPyConnection, as_of: datetime) -> SyncReport:
    return sync(settings, ledger, warehouse, as_of, as_of)


def _apply(ledger: Ledger, as_of: datetime) -> None:
    ledger.record("applied_plans", [{"as_of": as_of, "plan_hash": "h", "counts": "{}", "run_id": "r", "recorded_at": as_of}])


def _enrol(ledger: Ledger, name: str = "p") -> None:
    row = {
        "enrolment_id": "e",
        "program": name,
        "version": 1,
        "customer_id": "c",
        "anchor_at": FIRST,
        "arm": "treatment",
        "reason": "no_purchase",
    }
    ledger.record("enrolments", [{**row, "enrolled_at": FIRST, "as_of": FIRST, "recorded_at": FIRST}])


def _versions(warehouse: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    return warehouse.execute("select program, version, is_draft, effective_at from programs.versions order by all").fetchall()


def _statuses(warehouse: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    return warehouse.execute("select status, effective_at from programs.statuses where not is_draft order by effective_at").fetchall()


def test_the_tables_hold_what_the_file_says(project: MakeProject, ledger: Ledger, warehouse: duckdb.DuckDBPyConnection) -> None:
    _sync(project({"everything.yml": EVERYTHING}), ledger, warehouse, FIRST)

    def rows(table: str) -> list[dict[str, Any]]:
        return warehouse.sql(f"select * from programs.{table} where not is_draft").to_arrow_table().to_pylist()

    assert rows("versions") == [
        {
            "program": "everything",
            "version": 1,
            "is_draft": False,
            "effective_at": FIRST,
            "description": "All fields: with a colon",
            "audience": "lapsed",
            "lapse_days_at_least": 8,
            "lapse_days_below": 730,
            "program_group": "other",
            "priority": 10,
            "cadence": "biweekly",
            "weekday": 5,
            "exclude_purchased_within_days": 7,
            "exclude_engaged_within_days": 7,
            "reentry_after_days": 90,
            "max_entries": 3,
            "max_per_day": 5000,
            "holdout_percent": 12.5,
            "holdout_below": "20000000",
            "exit_on_purchase": True,
            "exit_on_engagement": True,
            "offer_code": "COMEBACK15",
            "offer_percent": 15,
            "offer_expires_after_days": 14,
            "offer_pool": False,
            "complete_after_days": 3,
            "complete_tag": "not_active",
            "complete_suppress_days": 90,
            "complete_then": None,
            "complete_limit_channel": "email",
            "complete_limit_messages": 0,
            "complete_limit_days": 30,
            "measure_window_days": 30,
            "attribution_hours": 72,
            "step_count": 3,
        }
    ]
    assert rows("statuses") == [{"program": "everything", "status": "paused", "effective_at": FIRST, "is_draft": False}]
    key = {"program": "everything", "version": 1, "is_draft": False}
    assert rows("steps") == [
        {**key, "step_no": 1, "day": 0, "kind": "send", "content": "hello", "only_if": None, "unless": None},
        {**key, "step_no": 2, "day": 0, "kind": "task", "content": "personal_call", "only_if": "high_value", "unless": None},
        {**key, "step_no": 3, "day": 7, "kind": "send", "content": "voucher", "only_if": None, "unless": "high_value"},
    ]
    assert [(row["step_no"], row["position"], row["channel"]) for row in rows("step_channels")] == [
        (1, 1, "email"),
        (1, 2, "sms"),
        (3, 1, "email"),
    ]
    assert [(row["platform"], row["channel"]) for row in rows("ad_platforms")] == [
        ("google", "ads"),
        ("klaviyo", "email"),
        ("meta", "ads"),
        ("tiktok", "ads"),
    ]
    assert [(row["channel"], row["max_messages"], row["window_days"], row["patience_days"]) for row in rows("sending_policies")] == [
        ("email", None, None, 3),
        ("push", None, None, 3),
        ("sms", None, None, 3),
    ]


def test_syncing_again_changes_nothing(project: MakeProject, ledger: Ledger, warehouse: duckdb.DuckDBPyConnection) -> None:
    settings = project({"p.yml": program()})
    first = _sync(settings, ledger, warehouse, FIRST)
    assert first.new_versions == [("p", 1, FIRST)]
    assert first.new_policy == 1
    before, trail = _versions(warehouse), ledger.rows("audit_trail")
    second = _sync(settings, ledger, warehouse, FIRST + DAY)
    assert (second.new_versions, second.new_statuses, second.new_policy) == ([], [], None)
    assert ledger.rows("audit_trail") == trail
    assert [row for row in _versions(warehouse) if not row[2]] == [row for row in before if not row[2]]


def test_a_change_is_a_new_version_from_the_day_of_the_run(
    project: MakeProject, ledger: Ledger, warehouse: duckdb.DuckDBPyConnection
) -> None:
    _sync(project({"p.yml": program()}), ledger, warehouse, FIRST)
    _sync(project({"p.yml": program(more="holdout_percent: 20\n")}), ledger, warehouse, FIRST + DAY)
    assert _versions(warehouse) == [("p", 1, False, FIRST), ("p", 2, False, FIRST + DAY), ("p", 2, True, FIRST + DAY)]


def test_a_changed_message_is_a_new_version(project: MakeProject, ledger: Ledger, warehouse: duckdb.DuckDBPyConnection) -> None:
    _sync(project({"p.yml": program()}), ledger, warehouse, FIRST)
    report = _sync(project({"templates/shared/hello/sms.txt": "Other words"}), ledger, warehouse, FIRST + DAY)
    assert report.new_versions == [("p", 2, FIRST + DAY)]


def test_status_description_and_defaults_written_out_are_no_version(
    project: MakeProject, ledger: Ledger, warehouse: duckdb.DuckDBPyConnection
) -> None:
    _sync(project({"p.yml": program()}), ledger, warehouse, FIRST)
    written_out = program(status="paused", description="y", more="holdout_percent: 10\nexit_on: [purchase]\ncadence: daily\n")
    report = _sync(project({"p.yml": written_out}), ledger, warehouse, FIRST + DAY)
    assert report.new_versions == []
    assert report.new_statuses == [("p", "paused")]
    assert _statuses(warehouse) == [("live", FIRST), ("paused", FIRST + DAY)]


def test_a_day_that_was_applied_keeps_deciding_as_it_did(
    project: MakeProject, ledger: Ledger, warehouse: duckdb.DuckDBPyConnection
) -> None:
    _sync(project({"p.yml": program()}), ledger, warehouse, FIRST)
    _apply(ledger, FIRST)
    _apply(ledger, FIRST + DAY)
    report = _sync(project({"p.yml": program(more="priority: 3\n", status="paused")}), ledger, warehouse, FIRST)
    assert report.new_versions == [("p", 2, FIRST + 2 * DAY)]
    assert _statuses(warehouse) == [("live", FIRST), ("paused", FIRST + 2 * DAY)]


def test_versions_never_go_back_in_time(project: MakeProject, ledger: Ledger, warehouse: duckdb.DuckDBPyConnection) -> None:
    _sync(project({"p.yml": program()}), ledger, warehouse, FIRST + 9 * DAY)
    report = _sync(project({"p.yml": program(more="priority: 3\n")}), ledger, warehouse, FIRST)
    assert report.new_versions == [("p", 2, FIRST + 9 * DAY)]


def test_two_changes_of_status_for_one_day_leave_the_later(
    project: MakeProject, ledger: Ledger, warehouse: duckdb.DuckDBPyConnection
) -> None:
    for number, status in enumerate(("live", "paused", "live")):
        settings = project({"p.yml": program(status=status)})
        sync(settings, ledger, warehouse, FIRST, FIRST + timedelta(hours=number))
    assert _statuses(warehouse) == [("live", FIRST)]
    assert ledger.statuses() == {"p": "live"}


def test_a_draft_has_no_version_until_it_goes_live(project: MakeProject, ledger: Ledger, warehouse: duckdb.DuckDBPyConnection) -> None:
    for priority in (1, 2):
        _sync(project({"p.yml": program(status="draft", more=f"priority: {priority}\n")}), ledger, warehouse, FIRST)
    assert ledger.rows("program_versions") == []
    assert _versions(warehouse) == [("p", 1, True, FIRST)]
    _sync(project({"p.yml": program(status="live")}), ledger, warehouse, FIRST + DAY)
    assert _versions(warehouse) == [("p", 1, False, FIRST + DAY), ("p", 1, True, FIRST + DAY)]


def test_a_change_of_the_sending_policy_is_a_version_of_its_own(
    project: MakeProject, ledger: Ledger, warehouse: duckdb.DuckDBPyConnection
) -> None:
    settings = project({"p.yml": program()})
    _sync(settings, ledger, warehouse, FIRST)
    brand = settings.programs_dir / "brand.yml"
    brand.write_text(brand.read_text() + "sending: {caps: {sms: {messages: 1, days: 7}}}\n")
    report = _sync(settings, ledger, warehouse, FIRST + DAY)
    assert (report.new_versions, report.new_policy) == ([], 2)
    query = "select version, is_draft, effective_at, max_messages from programs.sending_policies where channel = 'sms' order by all"
    assert warehouse.execute(query).fetchall() == [(1, False, FIRST, None), (2, False, FIRST + DAY, 1), (2, True, FIRST + DAY, 1)]


def test_with_problems_nothing_is_recorded(project: MakeProject, ledger: Ledger, warehouse: duckdb.DuckDBPyConnection) -> None:
    settings = project({"p.yml": program(), "q.yml": "name: q\n"})
    with pytest.raises(BadConfig, match=r"programs/q\.yml:1: audience: is missing"):
        _sync(settings, ledger, warehouse, FIRST)
    assert ledger.rows("program_versions") == []


def test_a_program_that_enrolled_someone_is_retired_not_deleted(
    project: MakeProject, ledger: Ledger, warehouse: duckdb.DuckDBPyConnection
) -> None:
    settings = project({"p.yml": program()})
    _sync(settings, ledger, warehouse, FIRST)
    _enrol(ledger)
    (settings.programs_dir / "p.yml").unlink()
    [problem] = [problem for problem in check(settings, ledger) if problem.severity == "error"]
    assert str(problem) == (
        "programs/p.yml: is gone, and customers are or were in this program; bring the file back and write status: retired "
        "(once a run has seen that, the file may go)"
    )
    with pytest.raises(BadConfig):
        _sync(settings, ledger, warehouse, FIRST + DAY)

    _sync(project({"p.yml": program(status="retired")}), ledger, warehouse, FIRST + DAY)
    (settings.programs_dir / "p.yml").unlink()
    _sync(settings, ledger, warehouse, FIRST + 2 * DAY)
    assert _statuses(warehouse) == [("live", FIRST), ("retired", FIRST + DAY)]
    assert _versions(warehouse) == [("p", 1, False, FIRST)]

    [problem] = [problem for problem in check(project({"p.yml": program()}), ledger) if problem.severity == "error"]
    assert problem.message == 'found "live", and the program was retired for good; allowed: retired, or copy it under a new name'


def test_a_program_that_nobody_entered_may_be_deleted(project: MakeProject, ledger: Ledger, warehouse: duckdb.DuckDBPyConnection) -> None:
    settings = project({"p.yml": program()})
    _sync(settings, ledger, warehouse, FIRST)
    (settings.programs_dir / "p.yml").unlink()
    assert _sync(settings, ledger, warehouse, FIRST + DAY).new_statuses == [("p", "retired")]


def test_a_program_that_ran_does_not_become_a_draft(project: MakeProject, ledger: Ledger, warehouse: duckdb.DuckDBPyConnection) -> None:
    _sync(project({"p.yml": program()}), ledger, warehouse, FIRST)
    _enrol(ledger)
    [problem] = [problem for problem in check(project({"p.yml": program(status="draft")}), ledger) if problem.severity == "error"]
    assert problem.message == 'found "draft", and customers are or were in this program; allowed: live, paused, retired'


def test_approving_records_the_file_as_it_stands(project: MakeProject, ledger: Ledger) -> None:
    settings = project({"p.yml": program()})
    assert approve(settings, ledger, "p", "ada", FIRST, FIRST) == 1
    assert approve(settings, ledger, "p", "ada", FIRST, FIRST) == 1
    assert approve(project({"p.yml": program(day=2)}), ledger, "p", "ben", FIRST, FIRST) == 2
    assert ledger.approved_versions() == {("p", 1), ("p", 2)}
    acts = [(row["act"], row["actor"]) for row in ledger.rows("audit_trail") if row["subject"] == "p"]
    assert acts == [
        ("program_added", "ada"),
        ("program_status_changed", "ada"),
        ("program_approved", "ada"),
        ("program_changed", "ben"),
        ("program_approved", "ben"),
    ]
    assert ledger.verify() == []


def test_approving_what_cannot_run(project: MakeProject, ledger: Ledger) -> None:
    settings = project({"p.yml": program(status="draft")})
    with pytest.raises(BadConfig, match="is a draft"):
        approve(settings, ledger, "p", "ada", FIRST, FIRST)
    with pytest.raises(BadConfig, match='there is no program "q"'):
        approve(settings, ledger, "q", "ada", FIRST, FIRST)


def test_the_warehouse_can_be_deleted_and_written_again(project: MakeProject, ledger: Ledger, tmp_path: Path) -> None:
    settings = project({"p.yml": program(), "everything.yml": EVERYTHING})

    def contents() -> dict[str, list[tuple[Any, ...]]]:
        with duckdb.connect() as fresh:
            _sync(settings, ledger, fresh, FIRST)
            tables = fresh.execute("select table_name from information_schema.tables where table_schema = 'programs' order by 1").fetchall()
            return {table: fresh.execute(f"select * from programs.{table}").fetchall() for (table,) in tables}

    assert contents() == contents()


@pytest.mark.parametrize(
    ("percent", "below"), [(0, "00000000"), (10, "19999999"), (12.5, "20000000"), (50, "80000000"), (99.9, "ffbe76c8"), (100, "g")]
)
def test_holdout_is_a_prefix_of_the_hash(percent: float, below: str) -> None:
    values = {"name": "p", "audience": "a", "holdout_percent": percent, "steps": [{"day": 0, "task": "t"}]}
    assert Program.model_validate(values).holdout_below == below


@pytest.mark.parametrize("word", ["paused", "retired"])
def test_a_stop_holds_before_the_next_day_and_nothing_else_does(
    project: MakeProject, ledger: Ledger, warehouse: duckdb.DuckDBPyConnection, word: str
) -> None:
    _sync(project({"p.yml": program()}), ledger, warehouse, FIRST)
    _apply(ledger, FIRST)
    noon = FIRST + timedelta(hours=12)
    changed = project({"p.yml": program(day=3, status=word)})
    assert record_stops(changed, ledger, noon) == ["p"]
    assert record_stops(changed, ledger, noon) == []
    assert ledger.statuses() == {"p": "paused"}, "an end for good waits for a day"
    assert len(ledger.rows("program_versions")) == 1
    again = project({"p.yml": program(day=3)})
    assert record_stops(again, ledger, noon) == [], "to go on waits for a day too"
    _sync(again, ledger, warehouse, FIRST + DAY)
    assert ledger.statuses() == {"p": "live"}
    assert _statuses(warehouse)[-1] == ("live", FIRST + DAY)
    _sync(project({"p.yml": program(day=3, status=word)}), ledger, warehouse, FIRST + DAY)
    assert ledger.statuses() == {"p": word}


def test_a_stop_of_what_is_no_live_program_records_nothing(project: MakeProject, ledger: Ledger) -> None:
    assert record_stops(project({"p.yml": program(status="paused")}), ledger, FIRST) == []
    assert ledger.rows("program_statuses") == []
