"""`winback` as a newcomer uses it: processes of its own, a home of its own, a folder of CSV files."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from tests.end_to_end.newcomer import LAPSED, NEARLY, PEOPLE, RECENT, Shell, changed_project, private_in, write_data
from tests.warehouse.building import was_whole
from winback.settings import Settings
from winback.warehouse import open_warehouse

pytestmark = pytest.mark.slow

_SUBJECT = ("templates/customer_lapsed/we_miss_you/email.html", "subject: ", "subject: Changed. ")
_THRESHOLD = ("customer_lapsed.yml", "at_least: 60", "at_least: 45")
_DELAY = ("customer_lapsed.yml", "{day: 0, send: we_miss_you", "{day: 2, send: we_miss_you")


@pytest.fixture(scope="module")
def three_days(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A home in which three days have run. Tests only read it, or run the same days again."""
    folder = tmp_path_factory.mktemp("newcomer")
    shell = Shell(folder / "home")
    told = shell("run", "--data", str(write_data(folder / "data")), "--days", "3")
    assert "Running the last day with orders, 2025-03-10" in told.stderr
    assert told.stderr.index("Everything goes to the outbox.") < told.stderr.index("2025-03-12")
    assert "customer lapsed" in told.stdout
    return shell


def _sent(home: Path) -> Counter[str]:
    return Counter(path.name for path in (home / "outbox").rglob("*") if path.is_file() and path.name != "index.db")


def _ledger(home: Path, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(home / "ledger.db") as connection:
        return connection.execute(query).fetchall()


def test_a_run_writes_to_the_lapsed_and_to_nobody_else(three_days: Shell) -> None:
    found = _ledger(three_days.home, "select customer_id, arm from enrolments where program = 'customer_lapsed'")
    arms = {str(customer): arm for customer, arm in found}
    written_to = {row[0] for row in _ledger(three_days.home, "select customer_id from messages where program = 'customer_lapsed'")}

    assert sorted(arms) == LAPSED
    assert written_to == {customer for customer, arm in arms.items() if arm == "treatment"}
    assert len(list((three_days.home / "outbox" / "email").rglob("*.eml"))) == len(_ledger(three_days.home, "select 1 from messages"))
    assert (three_days.home / "published").is_dir()


def test_the_same_days_again_send_nothing_twice(three_days: Shell) -> None:
    data = three_days.home.parent / "data"
    tables = ("enrolments", "steps", "messages", "claims", "outcomes", "audience_changes", "landed_files")
    before = _sent(three_days.home), [_ledger(three_days.home, f"select * from {table}") for table in tables]

    three_days("run", "--data", str(data), "--days", "3")

    assert (_sent(three_days.home), [_ledger(three_days.home, f"select * from {table}") for table in tables]) == before


def test_a_full_refresh_derives_everything_and_sends_nothing_twice(three_days: Shell) -> None:
    data = three_days.home.parent / "data"
    before = _sent(three_days.home), _ledger(three_days.home, "select * from messages")
    three_days("run", "--data", str(data), "--date", "2025-03-12")
    without = was_whole(Settings(home=three_days.home))

    three_days("run", "--data", str(data), "--date", "2025-03-12", "--full-refresh")

    assert (without, was_whole(Settings(home=three_days.home))) == (False, True)
    assert (_sent(three_days.home), _ledger(three_days.home, "select * from messages")) == before


def test_nothing_private_stands_outside_of_outbox_and_warehouse(three_days: Shell) -> None:
    assert private_in(three_days.home, except_in=("outbox", "warehouse")) == []


def test_a_changed_threshold_and_message_can_be_seen_before_they_hold(three_days: Shell, tmp_path: Path) -> None:
    project = changed_project(tmp_path / "project", _THRESHOLD, _SUBJECT)

    told = three_days("preview", "customer_lapsed", project=project)
    shown = json.loads(three_days("preview", "customer_lapsed", "--json", project=project).stdout)

    assert "Nothing is recorded or sent" in told.stdout
    waterfall = {row["reason"]: (row["in_force"], row["previewed"]) for row in shown["waterfall"]}
    assert waterfall["admitted"] == (0, len(NEARLY))
    assert waterfall["already_enrolled"] == (len(LAPSED), len(LAPSED))
    assert shown["audience"] == len(NEARLY) + len(LAPSED)
    assert sum(send["customers"] for send in shown["sends"] if send["step_no"] == 1) == len(NEARLY)
    assert shown["messages"][0]["subject"].startswith("Changed. ")
    assert "Changed. " in told.stdout
    assert _ledger(three_days.home, "select count(*) from program_versions where program = 'customer_lapsed'") == [(1,)]


def test_a_changed_delay_can_be_seen_before_it_holds(three_days: Shell, tmp_path: Path) -> None:
    project = changed_project(tmp_path / "project", _THRESHOLD, _DELAY)

    told = three_days("preview", "customer_lapsed", project=project)

    assert "No step is due on this day" in told.stdout
    assert "(in force: 0)" in told.stdout


def test_explain_tells_what_decided(three_days: Shell) -> None:
    today = json.loads(three_days("explain", LAPSED[0], "--json").stdout)
    recent = json.loads(three_days("explain", RECENT[0], "--json").stdout)
    told = three_days("explain", LAPSED[0])

    program = next(view for view in today["programs"] if view["program"] == "customer_lapsed")
    assert program["reason"] == "already_enrolled"
    assert next(view for view in recent["programs"] if view["program"] == "customer_lapsed")["reason"] == "not_in_audience"
    assert "stays out: already enrolled" in told.stdout
    assert today["journeys"]


def test_explain_tells_of_a_past_day(three_days: Shell) -> None:
    then = json.loads(three_days("explain", LAPSED[0], "--as-of", "2025-03-11", "--json").stdout)

    program = next(view for view in then["programs"] if view["program"] == "customer_lapsed")
    assert then["as_of"].startswith("2025-03-11")
    assert (program["decision"], program["lapse_days"]) == ("admitted", 69)


def test_the_report_is_there_for_people_and_machines(three_days: Shell) -> None:
    figures = json.loads(three_days("report", "--json").stdout)
    first = json.loads(three_days("report", "--as-of", "2025-03-11", "--json").stdout)
    told = three_days("report")

    assert figures["as_of"].startswith("2025-03-13")
    assert figures["customers"] == len(PEOPLE)
    assert next(row for row in first["admissions"] if row["program"] == "customer_lapsed")["admitted"] == len(LAPSED)
    assert "customer lapsed" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["explain", "nobody"], 1, "There is no customer 'nobody' as of 2025-03-13 00:00"),
        (["explain", "[/b]"], 1, "There is no customer '[/b]' as of 2025-03-13 00:00"),
        (["explain", LAPSED[0], "--as-of", "yesterday"], 2, "'yesterday' does not match the format"),
        (["preview", "customer_lapse"], 1, "There is no program 'customer_lapse'"),
        (["preview", "[a, b]"], 1, "There is no program '[a, b]'"),
        (["report", "--as-of", "2024-01-01"], 1, "2024-01-01"),
        (["run", "--data", "/nowhere/at/all"], 2, "'/nowhere/at/all' does not exist"),
        (["run", "--demo", "--data", "."], 1, "choose one of the two"),
        (["run", "--date", "2025-02-30"], 2, "'2025-02-30' does not match the format"),
        (["run", "--days", "0"], 2, "Invalid value for '--days'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_done_is_told_plainly(three_days: Shell, arguments: list[str], code: int, message: str) -> None:
    told = three_days(*arguments, fails_with=code)
    assert message in " ".join(told.stderr.replace("│", " ").split())


def test_other_data_may_not_come_into_the_same_home(three_days: Shell, tmp_path: Path) -> None:
    told = three_days("run", "--data", str(tmp_path), fails_with=1)
    assert "Customers of two data sets must not share a ledger" in told.stderr


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    told = Shell(tmp_path / "home")("run", "--data", str(write_data(tmp_path / "data", orders=[])), fails_with=1)
    assert "no file of the needed table orders" in told.stderr
    assert "customers.csv" in told.stderr


def test_a_broken_program_is_named_and_stops_the_day(tmp_path: Path) -> None:
    project = changed_project(tmp_path / "project", ("customer_lapsed.yml", "status: live", "status: lively"))
    shell = Shell(tmp_path / "home", project)
    where, what = "programs/customer_lapsed.yml:6", 'status: found "lively"; allowed: draft, live, paused, retired; did you mean "live"?'

    checked = shell("programs", "check", fails_with=1)
    told = shell("run", "--data", str(write_data(tmp_path / "data")), fails_with=1)

    for said in (checked, told):
        assert where in said.stderr
        assert what in " ".join(said.stderr.split())
    assert _sent(tmp_path / "home") == Counter()
    assert _ledger(tmp_path / "home", "select 1 from enrolments") == []


def test_a_blocking_check_stops_the_day_and_says_which(tmp_path: Path) -> None:
    orders: list[dict[str, object]] = [
        {"order_id": f"o{number}", "customer_id": f"stranger{number}", "ordered_at": "2025-01-01", "status": "paid", "total": "5"}
        for number in range(30)
    ]
    data = write_data(tmp_path / "data", orders=orders)

    told = Shell(tmp_path / "home")("run", "--data", str(data), "--date", "2025-03-10", fails_with=1)

    assert "stopped; nothing more was done" in told.stderr
    assert "orders_customer_known" in told.stderr
    assert _sent(tmp_path / "home") == Counter()
    assert _ledger(tmp_path / "home", "select 1 from enrolments") == []
    assert _ledger(tmp_path / "home", "select 1 from program_versions") == [], "programs are of the next day that decides"
    with open_warehouse(Settings(home=tmp_path / "home"), read_only=True) as connection:
        schemas = {row[0] for row in connection.execute("select distinct table_schema from information_schema.tables").fetchall()}
    assert "marts" not in schemas, "nothing may be derived from what a check has refused"
    assert private_in(tmp_path / "home", except_in=("outbox", "warehouse")) == []


def test_the_shipped_programs_pass_their_check(tmp_path: Path) -> None:
    assert json.loads(Shell(tmp_path / "home")("programs", "check", "--json").stdout) is not None
