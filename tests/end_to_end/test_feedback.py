"""What comes back between two steps decides about the next: dormant_reactivation over ten days, with a receiver beside it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.pipeline import Pipeline, make_project
from tests.end_to_end.shop import DAY, START, Row
from winback.day import apply_day, dispatch_due
from winback.explaining import explain
from winback.inbox.recording import Event, EventType, address_hash, record_events
from winback.ledger import open_ledger

pytestmark = pytest.mark.slow

PROGRAM = "dormant_reactivation"
PEOPLE = ("clicks", "scanned", "leaves", "late", "back_again")
HOUR = timedelta(hours=1)
DAYS = 10


@dataclass(frozen=True, slots=True)
class Course:
    """What was decided on each day, and the home after the last."""

    pipeline: Pipeline
    marts: list[dict[str, bytes]]
    raw: dict[str, list[Row]]

    def outcomes(self, customer: str) -> dict[int, tuple[str, str | None]]:
        """{step: last outcome and reason}."""
        messages = {row["message_id"]: row["step_no"] for row in self.pipeline.ledger_rows("messages") if row["customer_id"] == customer}
        rows = sorted(self.pipeline.ledger_rows("outcomes"), key=lambda row: row["attempt"])
        return {messages[row["item_id"]]: (row["outcome"], row["reason"]) for row in rows if row["item_id"] in messages}

    def tags(self, customer: str) -> list[tuple[str, int]]:
        """(operation, day) of the tag."""
        rows = [row for row in self.pipeline.ledger_rows("tags") if row["customer_id"] == customer]
        return [(row["operation"], (row["recorded_at"] - START).days) for row in rows]

    def told(self, customer: str) -> dict[str, Any]:
        return explain(self.pipeline.settings, customer).as_dict()


def _message(pipeline: Pipeline, customer: str, step_no: int) -> str:
    rows = pipeline.ledger_rows("messages")
    return str(next(row["message_id"] for row in rows if (row["customer_id"], row["step_no"]) == (customer, step_no)))


def _tell(
    pipeline: Pipeline, kind: EventType, customer: str, at: datetime, *, step_no: int = 1, received: datetime | None = None, **values: Any
) -> None:
    event = Event(
        event_id=f"{kind}-{customer}-{at}-{values.get('link')}",
        source="sendgrid",
        event_type=kind,
        message_id=_message(pipeline, customer, step_no),
        channel="email",
        address_hash=address_hash("email", f"{customer}@example.com"),
        occurred_at=at,
        **values,
    )
    with open_ledger(pipeline.settings) as ledger:
        record_events(ledger, [event], received or at)


def _people() -> dict[str, list[Row]]:
    long_ago = START - 200 * DAY
    return {
        "customers": [{"customer_id": name, "email": f"{name}@example.com", "created_at": long_ago} for name in PEOPLE],
        "consents": [
            {"customer_id": name, "channel": "email", "changed_at": long_ago, "granted": True, "source": "form"} for name in PEOPLE
        ],
        "orders": [
            {"order_id": name, "customer_id": name, "ordered_at": long_ago, "status": "paid", "total": 50, "refunded": 0} for name in PEOPLE
        ],
    }


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Course:
    folder = tmp_path_factory.mktemp("feedback")
    project = make_project(folder / "project")
    for path in (project / "programs").glob("*.yml"):
        if path.stem not in (PROGRAM, "brand"):
            path.unlink()
    file = project / "programs" / f"{PROGRAM}.yml"
    file.write_text(file.read_text(encoding="utf-8").replace("holdout_percent: 10", "holdout_percent: 0"), encoding="utf-8")
    pipeline = Pipeline(project, folder / "home", threads=1)
    raw = _people()
    pipeline.land(raw)
    marts = []
    for day in range(DAYS):
        as_of = START + day * DAY
        pipeline.sync(as_of) if day == 0 else pipeline.copy_ledger()
        pipeline.derive(as_of) if day == 0 else pipeline.derive_again(as_of)
        marts.append(pipeline.exports())
        pipeline.plan(as_of)
        apply_day(pipeline.settings, as_of, as_of, "run")
        if day == 4:
            # Between planning, at midnight, and sending, at ten.
            _tell(pipeline, "unsubscribed", "leaves", as_of + HOUR / 2)
        dispatch_due(pipeline.settings, as_of, as_of)
        if day == 0:
            for name in PEOPLE:
                _tell(pipeline, "delivered", name, as_of + 11 * HOUR)
            _tell(pipeline, "opened", "scanned", as_of + 11 * HOUR + timedelta(seconds=1), is_machine=True)
            for number in range(2):
                _tell(pipeline, "clicked", "scanned", as_of + 11 * HOUR + timedelta(seconds=2 + number), link=str(number))
        if day == 1:
            _tell(pipeline, "clicked", "clicks", as_of + 15 * HOUR, link="shop")
        if day == 5:
            # A webhook that was held up for three days.
            _tell(pipeline, "opened", "late", START + 2 * DAY + HOUR, received=as_of + 20 * HOUR)
        if day == 8:
            _tell(pipeline, "clicked", "back_again", as_of + 12 * HOUR, step_no=2, link="shop")
    return Course(pipeline, marts, raw)


def test_who_clicks_between_two_steps_leaves_the_journey(course: Course) -> None:
    assert course.outcomes("clicks") == {1: ("accepted", None)}
    assert course.tags("clicks") == []
    [journey] = course.told("clicks")["journeys"]
    assert (journey["exit_reason"], journey["exited_at"]) == ("engagement", START + DAY + 15 * HOUR)
    assert journey["left_because"] == f"clicked in step 1 of {PROGRAM} (email)"


def test_machines_are_no_sign_of_life(course: Course) -> None:
    assert course.outcomes("scanned") == {1: ("accepted", None), 2: ("accepted", None)}
    assert course.tags("scanned") == [("add", 7)]
    told = course.told("scanned")
    assert [(row["event_type"], row["counts"]) for row in told["came_back"]] == [
        ("delivered", None),
        ("opened", "not counted: a machine"),
        ("clicked", "not counted: a machine"),
        ("clicked", "not counted: a machine"),
    ]
    assert told["facts"]["days_since_last_open"] is None
    assert told["facts"]["engagement_tier"] == "inactive"


def test_who_unsubscribes_between_planning_and_sending_gets_nothing(course: Course) -> None:
    assert course.outcomes("leaves") == {1: ("accepted", None), 2: ("skipped", "suppressed")}
    told = course.told("leaves")
    assert [(row["step_no"], row["outcome"], row["reason"]) for row in told["deliveries"]] == [
        (1, "accepted", None),
        (2, "skipped", "suppressed"),
    ]
    refusal = told["refusals"][0]
    assert (refusal["channel"], refusal["reason"], refusal["starts_at"]) == ("email", "unsubscribed", START + 4 * DAY + HOUR / 2)
    assert told["facts"]["reachable_email"] is False


def test_the_tag_comes_off_when_somebody_comes_back(course: Course) -> None:
    assert course.outcomes("back_again") == {1: ("accepted", None), 2: ("accepted", None)}
    assert course.tags("back_again") == [("add", 7), ("remove", 9)]


def test_an_event_that_came_late_changes_the_days_after_it_came_and_none_before(course: Course, tmp_path: Path) -> None:
    assert course.outcomes("late") == {1: ("accepted", None), 2: ("accepted", None)}, "nobody could know on day 4"
    [journey] = course.told("late")["journeys"]
    assert (journey["exit_reason"], journey["exited_at"]) == ("engagement", START + 2 * DAY + HOUR)

    shutil.copytree(course.pipeline.settings.root, tmp_path / "home", symlinks=True)
    again = course.pipeline.on_home(tmp_path / "home")
    for day in (3, 5, 6):
        again.derive_again(START + day * DAY)
        assert again.exports() == course.marts[day], f"day {day}, run again"
    shutil.rmtree(again.settings.root / "warehouse")
    again.create_raw()
    again.land(course.raw)
    again.sync(START + 5 * DAY)
    again.seed(START + 5 * DAY)
    again.derive(START + 5 * DAY)
    assert again.exports() == course.marts[5], "day 5, on a new warehouse"
    assert course.marts[5]["marts.journey_enrolments"] != course.marts[6]["marts.journey_enrolments"]
