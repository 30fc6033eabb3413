from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.delivery.conftest import AS_OF, Shop, identity
from winback.delivery import Plan, apply_plan, make_plan, read_plan
from winback.delivery.apply import _Offers
from winback.delivery.plan import ACTIONS, AUDIENCE_CHANGES, ENTRIES
from winback.destinations import identify_as
from winback.destinations.base import Contact
from winback.errors import BadInput, StopRun
from winback.ledger import Ledger, Writer, open_ledger_at
from winback.settings import Settings

TABLES = ("enrolments", "steps", "messages", "offer_codes", "tags", "suppressions", "frequency_limits", "audience_changes")


def plan(shop: Shop, as_of: datetime = AS_OF) -> Plan:
    return make_plan(shop.settings, shop.warehouse, shop.ledger, as_of)


def apply(shop: Shop, drawn: Plan, now: datetime | None = None, **settings: Any) -> Any:
    chosen = shop.settings.model_copy(update=settings)
    return apply_plan(chosen, shop.warehouse, shop.ledger, drawn, now or drawn.as_of)


def enter(shop: Shop, *names: str, decision: str = "send") -> None:
    for name in names:
        shop.customer(name)
        shop.admission(name, arm="holdout" if decision == "withhold" else "treatment")
        shop.action(
            name,
            decision,
            channel=None if decision in ("withhold", "task", "skip") else "email",
            reason="condition" if decision == "skip" else None,
        )


def rows(ledger: Ledger, *tables: str) -> dict[str, list[dict[str, Any]]]:
    return {table: [{key: value for key, value in row.items() if key != "seq"} for row in ledger.rows(table)] for table in tables or TABLES}


# Plan


def test_the_plan_is_the_same_bytes_whatever_the_order_of_rows(shop: Shop, tmp_path: Path) -> None:
    names = [f"c{number:02}" for number in range(30)]
    enter(shop, *names)
    for name in names:
        shop.member(name)
    first = plan(shop)
    contents = {path.name: path.read_bytes() for path in first.folder.iterdir()}
    for table in ("journey_admissions", "journey_actions", "ad_audience_members"):
        shop.warehouse.execute(f"create or replace table marts.{table} as select * from marts.{table} order by random()")
    shutil.rmtree(first.folder)
    second = plan(shop)
    assert {path.name: path.read_bytes() for path in second.folder.iterdir()} == contents
    assert second.content_hash == first.content_hash == read_plan(shop.settings, AS_OF).content_hash


def test_the_plan_counts_what_it_would_do(shop: Shop) -> None:
    enter(shop, "ann", "bob")
    enter(shop, "cid", decision="withhold")
    enter(shop, "dan", decision="skip")
    shop.member("ann")
    drawn = plan(shop)
    assert drawn.counts[ENTRIES] == {"lapsing": {"treatment": 3, "holdout": 1}}
    assert drawn.counts[ACTIONS] == {"lapsing": {"send": {"email": 2}, "withhold": {"none": 1}, "skip": {"none": 1}}}
    assert drawn.counts[AUDIENCE_CHANGES] == {"meta": {"lapsing": {"add": 1}}}
    described = json.loads((drawn.folder / "plan.json").read_text(encoding="utf-8"))
    assert described["counts"] == drawn.counts
    assert "example.com" not in str(described) + str(list(drawn.batches(AUDIENCE_CHANGES)))


def test_an_empty_day_is_a_plan_with_columns(shop: Shop) -> None:
    drawn = plan(shop)
    assert drawn.total(ENTRIES) == drawn.total(ACTIONS) == 0
    assert "enrolment_id" in pq.read_schema(drawn.file(ENTRIES)).names
    assert apply(shop, drawn).applied


def test_messages_leave_at_the_sending_hour_where_the_customer_lives(shop: Shop) -> None:
    shop.policy(local_hour=10, timezone="America/New_York")
    for name, zone in (("tokyo", "Asia/Tokyo"), ("paris", "Europe/Paris"), ("unknown", None), ("wrong", "Mars/Crater")):
        shop.customer(name, timezone=zone)
        shop.admission(name)
        shop.action(name)
    times = {row["customer_id"]: row["not_before"] for batch in plan(shop).batches(ACTIONS) for row in batch}
    assert times == {
        "tokyo": datetime(2017, 12, 1, 1),
        "paris": datetime(2017, 12, 1, 9),
        "unknown": datetime(2017, 12, 1, 15),
        "wrong": datetime(2017, 12, 1, 15),
    }


def test_without_marts_the_plan_says_that_dbt_has_not_run(shop: Shop) -> None:
    shop.warehouse.execute("drop table marts.journey_admissions")
    with pytest.raises(BadInput, match="journey_admissions"):
        plan(shop)
    assert not list(shop.settings.plans.iterdir())


def test_a_plan_that_was_never_made_is_named(shop: Shop) -> None:
    with pytest.raises(BadInput, match="2017-12-01"):
        read_plan(shop.settings, AS_OF)


# Ad audiences


def acknowledge(shop: Shop, outcome: str = "accepted") -> None:
    answered = {row["item_id"] for row in shop.ledger.rows("outcomes")}
    shop.ledger.record(
        "outcomes",
        [
            {"item_id": row["change_id"], "attempt": 1, "outcome": outcome, "recorded_at": row["recorded_at"]}
            for row in shop.ledger.rows("audience_changes")
            if row["change_id"] not in answered
        ],
    )


def changes(drawn: Plan) -> list[tuple[str, str, str]]:
    return [(row["operation"], row["customer_id"], row["identifiers"]) for batch in drawn.batches(AUDIENCE_CHANGES) for row in batch]


def day(number: int) -> datetime:
    return AS_OF + timedelta(days=number)


def test_members_are_added_once_and_removed_with_the_identifiers_that_were_added(shop: Shop) -> None:
    shop.customer("ann")
    shop.member("ann")
    first = plan(shop)
    added = changes(first)
    assert [(operation, customer) for operation, customer, _ in added] == [("add", "ann")]
    apply(shop, first)
    acknowledge(shop)
    assert changes(plan(shop, day(1))) == []
    shop.warehouse.execute("update intermediate.int_customers__contacts set email = 'new@example.com'")
    shop.leave("ann")
    assert changes(plan(shop, day(2))) == [("remove", "ann", added[0][2])]


def test_an_add_without_an_answer_yet_counts_as_made(shop: Shop) -> None:
    shop.customer("ann")
    shop.member("ann")
    apply(shop, plan(shop))
    assert changes(plan(shop, day(1))) == []
    shop.leave("ann")
    assert [operation for operation, *_ in changes(plan(shop, day(2)))] == ["remove"]


def test_a_refused_add_is_not_repeated_until_the_contact_changes(shop: Shop) -> None:
    shop.customer("ann")
    shop.member("ann")
    apply(shop, plan(shop))
    acknowledge(shop, "rejected")
    assert changes(plan(shop, day(1))) == []
    shop.warehouse.execute("update intermediate.int_customers__contacts set email = 'new@example.com'")
    assert [operation for operation, *_ in changes(plan(shop, day(2)))] == ["add"]


def test_a_remove_that_failed_is_asked_for_again(shop: Shop) -> None:
    shop.customer("ann")
    shop.member("ann")
    apply(shop, plan(shop))
    acknowledge(shop)
    shop.leave("ann")
    apply(shop, plan(shop, day(1)))
    acknowledge(shop, "rejected")
    assert [operation for operation, *_ in changes(plan(shop, day(2)))] == ["remove"]


def test_the_day_itself_does_not_see_its_own_changes(shop: Shop) -> None:
    shop.customer("ann")
    shop.member("ann")
    first = plan(shop)
    apply(shop, first)
    acknowledge(shop)
    assert plan(shop).content_hash == first.content_hash


def members(shop: Shop, known: int, *, program: str = "lapsing") -> None:
    for number in range(known):
        shop.customer(f"{program}{number}")
        shop.member(f"{program}{number}", program=program)


def test_a_suddenly_shrunken_audience_is_held_and_the_others_go_on(shop: Shop) -> None:
    shop.program("fading")
    members(shop, 120)
    members(shop, 3, program="fading")
    apply(shop, plan(shop))
    acknowledge(shop)
    for number in range(61):
        shop.leave(f"lapsing{number}")
    shop.leave("fading0", program="fading")
    drawn = plan(shop, day(1))
    assert [(hold.platform, hold.audience, hold.known, hold.desired) for hold in drawn.holds] == [("meta", "lapsing", 120, 59)]
    assert "WINBACK_AUDIENCE_GUARD_SHARE=1" in drawn.holds[0].message
    assert [(operation, customer) for operation, customer, _ in changes(drawn)] == [("remove", "fading0")]
    allowed = make_plan(shop.settings.model_copy(update={"audience_guard_share": 1.0}), shop.warehouse, shop.ledger, day(1))
    assert len(changes(allowed)) == 62


def test_half_of_an_audience_may_leave(shop: Shop) -> None:
    members(shop, 120)
    apply(shop, plan(shop))
    acknowledge(shop)
    for number in range(60):
        shop.leave(f"lapsing{number}")
    drawn = plan(shop, day(1))
    assert drawn.holds == ()
    assert len(changes(drawn)) == 60


def test_an_empty_desired_set_that_no_journey_explains_is_held(shop: Shop) -> None:
    """A broken model must not throw everybody out of the audience."""
    members(shop, 3)
    apply(shop, plan(shop))
    acknowledge(shop)
    shop.warehouse.execute("delete from marts.ad_audience_members")
    drawn = plan(shop, day(1))
    assert len(drawn.holds) == 1
    assert changes(drawn) == []


def test_a_few_members_who_all_bought_leave_the_audience(shop: Shop) -> None:
    members(shop, 3)
    apply(shop, plan(shop))
    acknowledge(shop)
    for number in range(3):
        shop.leave(f"lapsing{number}")
    drawn = plan(shop, day(1))
    assert drawn.holds == ()
    assert [operation for operation, *_ in changes(drawn)] == ["remove"] * 3


def test_a_retired_program_empties_its_audience(shop: Shop) -> None:
    members(shop, 120)
    apply(shop, plan(shop))
    acknowledge(shop)
    for number in range(120):
        shop.leave(f"lapsing{number}", "program_stopped")
    assert len(changes(plan(shop, day(1)))) == 120


# Apply


def test_the_plan_becomes_rows_of_the_ledger(shop: Shop) -> None:
    enter(shop, "ann")
    enter(shop, "bob", decision="withhold")
    enter(shop, "cid", decision="skip")
    enter(shop, "dan", decision="task")
    enter(shop, "eve", decision="defer")
    shop.member("ann")
    report = apply(shop, plan(shop), AS_OF + timedelta(minutes=5))
    assert report.applied
    assert {table: count for table, count in report.recorded.items() if count} == {
        "enrolments": 5,
        "messages": 2,
        "steps": 4,
        "audience_changes": 1,
    }
    steps = {row["enrolment_id"]: row for row in shop.ledger.rows("steps")}
    assert {row["decision"] for row in steps.values()} == {"queued", "withheld", "skipped"}
    assert identity("lapsing", "eve") not in steps
    sent, task = shop.ledger.rows("messages")
    assert (sent["channel"], sent["kind"], sent["not_before"], sent["expires_at"]) == (
        "email",
        "send",
        datetime(2017, 12, 1, 10),
        datetime(2017, 12, 5),
    )
    assert (task["channel"], task["kind"], task["not_before"]) == ("task", "task", AS_OF)
    assert sent["message_id"] == steps[sent["enrolment_id"]]["message_id"]
    assert sent["recorded_at"] == AS_OF + timedelta(minutes=5)
    assert [row["as_of"] for row in shop.ledger.rows("applied_plans")] == [AS_OF]
    assert [row["act"] for row in shop.ledger.rows("audit_trail")] == ["apply begun", "apply"]
    assert shop.ledger.verify() == []


def test_followups_set_and_take_back_under_one_id(shop: Shop) -> None:
    start = datetime(2018, 3, 1)
    values = [
        ("t", "tag", "quiet", None, None, None, None),
        ("s", "suppress", "lapsing", "all", None, None, start),
        ("l", "lower_frequency", "lapsing", "email", 1, 30, None),
    ]
    for followup, action, value, channel, most, days, ends in values:
        shop.warehouse.execute(
            "insert into marts.journey_followups values (?, 'e', 'lapsing', 'ann', ?, ?, ?, ?, ?, ?)",
            [followup, action, value, channel, most, days, ends],
        )
    apply(shop, plan(shop))
    shop.warehouse.execute("delete from marts.journey_followups")
    for followup, action, value, channel in (("t", "untag", "quiet", None), ("l", "restore_frequency", "lapsing", "email")):
        shop.warehouse.execute(
            "insert into marts.journey_followups values (?, 'e', 'lapsing', 'ann', ?, ?, ?, 1, 30, null)",
            [followup, action, value, channel],
        )
    apply(shop, plan(shop, day(1)))
    assert [(row["tag_id"], row["operation"], row["tag"]) for row in shop.ledger.rows("tags")] == [
        ("t", "add", "quiet"),
        ("t", "remove", "quiet"),
    ]
    assert [(row["limit_id"], row["operation"]) for row in shop.ledger.rows("frequency_limits")] == [("l", "add"), ("l", "lift")]
    assert [(row["suppression_id"], row["channel"], row["ends_at"]) for row in shop.ledger.rows("suppressions")] == [("s", "all", start)]


def test_applying_again_changes_nothing(shop: Shop) -> None:
    enter(shop, "ann", "bob")
    drawn = plan(shop)
    apply(shop, drawn)
    before = rows(shop.ledger)
    again = apply(shop, drawn)
    assert not again.applied
    assert "already" in again.reason
    assert rows(shop.ledger) == before


def test_only_live_programs_act(shop: Shop) -> None:
    enter(shop, "ann")
    shop.member("ann")
    shop.status("lapsing", "paused", AS_OF)
    report = apply(shop, plan(shop))
    assert report.applied
    assert report.held_back == {"program_not_live": 3}
    assert rows(shop.ledger, "enrolments", "messages", "audience_changes") == {"enrolments": [], "messages": [], "audience_changes": []}


def test_where_approval_is_required_an_unapproved_version_does_nothing(shop: Shop) -> None:
    enter(shop, "ann")
    report = apply(shop, plan(shop), approval="required")
    assert report.held_back == {"not_approved": 2}
    assert shop.ledger.rows("enrolments") == []
    shop.ledger.record("approvals", [{"program": "lapsing", "version": 1, "approved_by": "ana", "recorded_at": AS_OF}])
    shop.warehouse.execute("update marts.journey_admissions set as_of = ?", [day(1)])
    assert apply(shop, plan(shop, day(1)), approval="required").recorded["enrolments"] == 1


def test_a_day_before_one_that_was_applied_is_not_applied(shop: Shop) -> None:
    apply(shop, plan(shop, day(1)))
    report = apply(shop, plan(shop))
    assert not report.applied
    assert "later day (2017-12-02)" in report.reason


def test_a_day_long_past_is_not_acted_on_with_the_real_clock(shop: Shop) -> None:
    drawn = plan(shop)
    assert not apply(shop, drawn, AS_OF + timedelta(hours=48, seconds=1), clock="real").applied
    assert not apply(shop, drawn, AS_OF - timedelta(seconds=1)).applied
    assert apply(shop, drawn, AS_OF + timedelta(hours=48), clock="real").applied


def test_days_caught_up_one_after_the_other_act_once(shop: Shop) -> None:
    # Both within 48 hours: the second was decided from marts that could not see what the first has just recorded.
    enter(shop, "ann")
    late = day(1) + timedelta(hours=10)
    assert apply(shop, plan(shop), late, clock="real").applied
    shop.warehouse.execute("update marts.journey_admissions set as_of = ?", [day(1)])
    report = apply(shop, plan(shop, day(1)), late, clock="real")
    assert not report.applied
    assert "decided without knowing it" in report.reason
    assert apply(shop, plan(shop, day(2)), day(2), clock="real").applied


def test_a_plan_that_was_tampered_with_is_refused(shop: Shop) -> None:
    enter(shop, "ann", "bob")
    drawn = plan(shop)
    table = pq.read_table(drawn.file(ACTIONS))
    pq.write_table(table.slice(0, 1), drawn.file(ACTIONS))
    with pytest.raises(StopRun, match="not the plan"):
        apply(shop, drawn)
    assert shop.ledger.rows("enrolments") == []


def test_another_plan_for_a_day_that_was_applied_is_not_applied(shop: Shop) -> None:
    enter(shop, "ann")
    apply(shop, plan(shop))
    enter(shop, "bob")
    report = apply(shop, plan(shop))
    assert not report.applied
    assert "another plan" in report.reason
    assert len(shop.ledger.rows("enrolments")) == 1


def test_a_plan_that_was_begun_is_finished_before_another_is_made(shop: Shop) -> None:
    enter(shop, "ann")
    drawn = plan(shop)
    shop.ledger.audit("apply begun", actor="winback", subject="2017-12-01 00:00:00", details={"plan_hash": drawn.content_hash}, now=AS_OF)
    enter(shop, "bob")
    kept = plan(shop)
    assert kept.content_hash == drawn.content_hash
    apply(shop, kept)
    assert plan(shop).content_hash != drawn.content_hash


def test_single_use_codes_are_handed_out_once_and_messages_wait_when_they_are_used_up(shop: Shop, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "programs" / "codes").mkdir(parents=True)
    codes = project / "programs" / "codes" / "some.txt"
    codes.write_text("A1\nA2\n\nA2\n", encoding="utf-8")
    shop.settings = shop.settings.model_copy(update={"project": project})
    shop.program("pooled", offer={"codes": "codes/some.txt"})
    shop.program("fixed", offer={"code": "COMEBACK15"})
    for name in ("ann", "bob", "cid"):
        shop.customer(name)
        shop.admission(name, program="pooled")
        shop.action(name, program="pooled")
    shop.admission("ann", program="fixed")
    shop.action("ann", program="fixed")
    report = apply(shop, plan(shop))
    given = {(row["program"], row["customer_id"]): row["offer_code"] for row in shop.ledger.rows("messages")}
    assert given == {("pooled", "ann"): "A1", ("pooled", "bob"): "A2", ("fixed", "ann"): "COMEBACK15"}
    assert report.held_back == {"offer_codes_used_up": 1}
    assert "codes/some.txt" in report.notes[0]
    assert {row["decision"] for row in shop.ledger.rows("steps")} == {"queued"}
    codes.write_text("A1\nA2\nA3\n", encoding="utf-8")
    shop.warehouse.execute(
        """
        update marts.journey_actions set as_of = ?, step_no = 2, step_id = md5(enrolment_id || 2), message_id = md5(message_id)
        where program = 'pooled'
        """,
        [day(1)],
    )
    apply(shop, plan(shop, day(1)))
    second = {row["customer_id"]: row["offer_code"] for row in shop.ledger.rows("messages", program="pooled", step_no=2)}
    assert second == {"ann": "A1", "bob": "A2", "cid": "A3"}


def test_a_code_goes_to_one_customer_whatever_programs_and_files_it_is_in(shop: Shop, tmp_path: Path) -> None:
    codes = tmp_path / "project" / "programs" / "codes"
    codes.mkdir(parents=True)
    (codes / "shared.txt").write_text("A1\nA2\nA3\n", encoding="utf-8")
    (codes / "other.txt").write_text("A2\nA4\n", encoding="utf-8")
    shop.settings = shop.settings.model_copy(update={"project": tmp_path / "project"})
    for program, file in (("early", "codes/shared.txt"), ("late", "./codes/shared.txt"), ("third", "codes/other.txt")):
        shop.program(program, offer={"codes": file})
        shop.customer(program)
        shop.admission(program, program=program)
        shop.action(program, program=program)
    apply(shop, plan(shop))
    given = [row["offer_code"] for row in shop.ledger.rows("messages")]
    assert sorted(given) == ["A1", "A2", "A4"]


def test_two_runs_at_once_give_no_code_twice(any_ledger: Ledger, tmp_path: Path) -> None:
    codes = tmp_path / "project" / "programs" / "codes.txt"
    codes.parent.mkdir(parents=True)
    codes.write_text("A1\nA2\n", encoding="utf-8")
    for program in ("one", "two"):
        definition = json.dumps({"program": {"name": program, "offer": {"codes": "codes.txt"}}, "templates": {}})
        version = {"program": program, "version": 1, "content_hash": program, "definition": definition}
        any_ledger.record("program_versions", [{**version, "effective_at": AS_OF, "recorded_at": AS_OF}])
    settings = Settings(home=tmp_path, project=tmp_path / "project")

    def hand_out(program: str, writer: Writer) -> dict[str, str]:
        return _Offers(settings, any_ledger).assign(writer, [{"enrolment_id": program, "program": program, "version": 1}], AS_OF)

    def another() -> dict[str, str]:
        with any_ledger.writing() as writer:
            return hand_out("two", writer)

    with ThreadPoolExecutor(1) as pool:
        with any_ledger.writing() as writer:
            first = hand_out("one", writer)
            second = pool.submit(another)
            wait([second], timeout=1)
            assert not second.done(), "whoever hands out codes waits until those before are committed"
        assert {**first, **second.result()} == {"one": "A1", "two": "A2"}


def test_killed_at_any_point_and_run_again_the_rows_are_the_same(shop: Shop, tmp_path: Path) -> None:
    """A process that dies after any commit; the last run finds part of the day done."""
    enter(shop, *(f"c{number:03}" for number in range(40)))
    for number in range(40):
        shop.member(f"c{number:03}")
    drawn = plan(shop)
    apply(shop, drawn)
    expected = rows(shop.ledger)
    script = """
import os, signal, sys
from datetime import datetime
from pathlib import Path
import duckdb
from winback.delivery import apply_plan, read_plan
from winback.ledger import open_ledger_at
from winback.settings import Settings
home, url, commits = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
import winback.delivery.plan as plan
real = plan.Plan.batches
def small(self, kind):
    for batch in real(self, kind):
        for start in range(0, len(batch), 9):
            yield batch[start:start + 9]
plan.Plan.batches = small
left = [commits]
def count(connection):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
ledger = open_ledger_at(url)
if commits:
    from sqlalchemy import event
    event.listen(ledger.engine, "commit", count)
settings = Settings(home=home, clock="simulated")
apply_plan(settings, duckdb.connect(), ledger, read_plan(settings, datetime(2017, 12, 1)), datetime(2017, 12, 1))
"""
    url = f"sqlite:///{tmp_path / 'killed.db'}"
    with open_ledger_at(url) as killed:
        for table in ("program_versions", "program_statuses"):
            killed.record(table, [{key: value for key, value in row.items() if key != "seq"} for row in shop.ledger.rows(table)])
    for commits in (9, 5, 0):
        command = [sys.executable, "-c", script, str(shop.settings.root), url, str(commits)]
        assert subprocess.run(command, check=False).returncode == (-9 if commits else 0)
    with open_ledger_at(url) as killed:
        assert rows(killed) == expected
        assert killed.verify() == []


def test_people_are_hashed_as_destinations_yml_asks_for_it(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "destinations.yml").write_text("destinations:\n  meta: {audiences: {lapsing: '1'}, send_names: false}\n")
    settings = shop.settings.model_copy(update={"project": tmp_path})
    person = Contact("c1", "ann@example.com", first_name="Ann")
    assert [kind for kind, _ in identify_as(settings)["meta"](person)] == ["EMAIL"]
    assert "FN" in [kind for kind, _ in identify_as(shop.settings)["meta"](person)]
