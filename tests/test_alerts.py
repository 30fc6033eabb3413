"""Alerts are told once, when something begins and when it is over, and never stop a run."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any, cast

import duckdb
import pytest
from aiosmtpd.controller import Controller
from structlog.testing import capture_logs

from tests.delivery.conftest import AS_OF, NOON, SCHEMA, PlainRenderer, Shop, any_ledger, empty_ledger, postgres_server, postgres_url, shop
from tests.destinations.conformance.mail_server import PASSWORD, USER, MailServer, ca_file
from tests.destinations.conformance.server import LocalProvider, Reply, closed_port
from winback.alerts import run_failed, tell_changes, watch, watch_from_outside
from winback.day import SendingReport, dispatch_due
from winback.delivery import dispatch
from winback.delivery.guard import EmailHealth, resume_email
from winback.destinations.faults import Faults
from winback.destinations.local import LocalOutbox
from winback.ledger import Ledger, open_ledger_at
from winback.settings import PROJECT_ROOT, Settings
from winback.watching import LANES, Condition, Figures, Lane, Waiting, judge, lane_check, last_outcome, read_figures, read_waiting

__all__ = ["any_ledger", "empty_ledger", "postgres_server", "postgres_url", "shop"]

DOWN = Condition("destination_failing:smtp", "smtp was given up: SMTP: no connection", ("email",))
SECRET = "T000-secret"


def lane(accepted: int = 0, rejected: int = 0, deferred: int = 0, *, name: str = "email", why: str = "") -> Lane:
    counts = {"accepted": accepted, "rejected": rejected, "deferred": deferred}
    reasons = {outcome: {why: counts[outcome]} for outcome in ("rejected", "deferred") if why and counts[outcome]}
    return Lane(name, "smtp", counts, sum(counts.values()), reasons)


def verdicts(figures: Figures, known: tuple[str, ...] = ()) -> dict[str, str | None]:
    judged = judge(figures, known, minimum_tried=20, rejected_share=0.1)
    return {key: None if verdict is None else verdict.text for key, verdict in judged.items()}


USE = {"email": "smtp"}


def test_complaints_are_warned_of_and_a_pause_is_told_until_a_person_ends_it() -> None:
    warned, paused = "email_complaints:fading", "email_paused:fading"

    def told(health: EmailHealth | None, *known: str) -> dict[str, str | None]:
        return verdicts(Figures(email=(health,) if health else ()), known)

    assert told(EmailHealth("fading", 3000, level="well")) == {warned: None, paused: None}
    assert told(EmailHealth("fading", 3000, 0, 3, level="warning", reason="3 complaints")) == {warned: "fading: 3 complaints", paused: None}
    told_of = told(EmailHealth("fading", 1000, 0, 3, level="limit", reason="3 complaints", paused_at=NOON), warned)
    assert told_of == {
        paused: "fading sends no more email: 3 complaints. It stays so until a person runs: winback programs resume fading"
    }, "the warning is not over because the pause has followed"
    assert told(EmailHealth("fading", paused_at=NOON), warned, paused).keys() == {paused}, "the window has passed, the pause has not"
    assert told(None, warned, paused) == {warned: None, paused: None}
    assert [Condition(key, "").severity for key in (warned, paused)] == ["warning", "error"]


def test_a_pause_is_told_once_and_its_end_once(shop: Shop) -> None:
    shop.ledger.audit("pause_email", actor="winback", subject="fading", now=NOON)
    for minutes in (0, 1):
        watch(shop.settings, shop.ledger, shop.warehouse, after=0, stopped={}, now=NOON + timedelta(minutes=minutes), environment={})
    resume_email(shop.ledger, "fading", by="mia", reason="cleaned", now=NOON + timedelta(minutes=2))
    for minutes in (3, 4):
        watch(shop.settings, shop.ledger, shop.warehouse, after=0, stopped={}, now=NOON + timedelta(minutes=minutes), environment={})
    assert [(row["condition"], row["state"]) for row in shop.ledger.rows("alerts")] == [
        ("email_paused:fading", "open"),
        ("email_paused:fading", "closed"),
    ]


def test_email_that_waits_for_a_person_is_not_overdue(shop: Shop) -> None:
    shop.customer("ann")
    shop.message("ann")
    assert read_figures(shop.settings, shop.ledger, shop.warehouse, after=0, stopped={}, now=NOON).overdue == 1
    shop.ledger.audit("pause_email", actor="winback", subject="lapsing", now=NOON)
    assert read_figures(shop.settings, shop.ledger, shop.warehouse, after=0, stopped={}, now=NOON).overdue == 0


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        (Figures(), {}),
        ((lane(5),), {"destination_failing:smtp": None, "nothing_sent": None}),
        ((lane(95, 5),), {"destination_failing:smtp": None, "rejects:email": None, "nothing_sent": None}),
        (
            (lane(80, 20, why="unknown person"),),
            {
                "destination_failing:smtp": None,
                "rejects:email": "email: 20 of 100 (20%) were rejected. Most often: unknown person",
                "nothing_sent": None,
            },
        ),
        (
            (lane(0, 0, 40, why="SMTP: no connection"),),
            {"destination_failing:smtp": "smtp accepted none of 40 items. Most often: SMTP: no connection"},
        ),
        ((lane(0, 40),), {"destination_failing:smtp": "smtp accepted none of 40 items"}),
        ((lane(0, 3),), {"nothing_sent": "Nothing was sent in 24 hours, although 3 were due"}),
    ],
)
def test_what_a_dispatch_says(figures: Figures | tuple[Lane, ...], expected: dict[str, str | None]) -> None:
    if isinstance(figures, tuple):
        figures = Figures(figures, figures, in_use=USE)
    assert verdicts(figures) == expected


def test_a_small_dispatch_is_judged_by_its_day() -> None:
    assert verdicts(Figures((lane(0, 2),), (lane(0, 30),), in_use=USE))["destination_failing:smtp"] == "smtp accepted none of 30 items"
    assert verdicts(Figures((lane(0, 2),), (lane(500, 2),), in_use=USE)) == {"rejects:email": None}, "what the day accepted speaks for it"


def test_without_evidence_everything_stays_as_it_is() -> None:
    held = ("destination_failing:smtp", "rejects:email", "nothing_sent", "source_stale")
    assert verdicts(Figures(in_use=USE), held) == {}
    quiet = Lane("email", "smtp", {"deferred": 50, "skipped": 5}, 0, {"deferred": {"quiet_hours": 50}})
    assert verdicts(Figures((quiet,), (quiet,), in_use=USE), held) == {}, "nobody was asked at night"


def test_a_destination_that_is_given_up_explains_that_nothing_was_sent() -> None:
    told = verdicts(Figures((lane(0, 0, 5),), (lane(0, 0, 5),), {"smtp": "credentials are refused"}, overdue=100, in_use=USE))
    assert told == {"destination_failing:smtp": "smtp was given up: credentials are refused"}


def test_a_destination_that_is_no_longer_used_is_no_longer_failing() -> None:
    told = verdicts(Figures(in_use={"email": "sendgrid"}), ("destination_failing:smtp",))
    assert told == {"destination_failing:smtp": None}


def test_messages_that_nobody_has_tried_are_due() -> None:
    assert verdicts(Figures(overdue=1, in_use=USE)) == {"nothing_sent": "Nothing was sent in 24 hours, although 1 was due"}


def test_that_nobody_is_at_work_is_told_by_whoever_is() -> None:
    def told(**waiting: Any) -> dict[str, str | None]:
        return verdicts(Figures(waiting=Waiting(**waiting), in_use=USE))

    assert told() == {"not_tried": None}
    assert told(messages=5, since_last_day=timedelta(hours=26)) == {"not_tried": None, "day_missing": None}
    assert told(messages=2, changes=3, late=4, since_last_day=timedelta(days=2)) == {
        "not_tried": "4 items are due for more than 3 hours, and nothing at all was tried meanwhile: does the schedule run?",
        "day_missing": "The last day that was applied ended 2.0 days ago: the daily run does not run, or is stopped",
    }
    assert {Condition(key, "").severity for key in ("not_tried", "day_missing")} == {"error"}


def test_what_the_ledger_alone_does_not_tell_stays_as_it_is() -> None:
    held = ("email_paused:fading", "email_complaints:fading", "source_stale")
    assert verdicts(Figures(email=None, in_use=USE), held) == {}


def test_a_source_is_stale_after_the_limit_of_the_check() -> None:
    fresh = Figures(since_last_order=timedelta(days=3), stale_after=timedelta(days=3))
    assert verdicts(fresh) == {"source_stale": None}
    stale = Figures(since_last_order=timedelta(days=4, hours=12), stale_after=timedelta(days=3))
    assert verdicts(stale) == {"source_stale": "The source is stale: the last order is 4.5 days old (3 are expected at most)"}


def test_the_check_of_a_lane_shows_its_counts_and_reasons() -> None:
    lanes = (Lane("email", "smtp", {"accepted": 9, "unknown": 1}, 10, {"unknown": {"no answer": 1}}), lane(3, name="sms"))
    check = lane_check("email", lanes, [])
    assert (check.passed, check.is_error) == (False, False)
    assert check.numbers == {
        "sent": 9, "rejected": 0, "deferred": 0, "unknown": 1, "skipped": 0, "reasons": {"unknown: no answer": 1}, "destination": "smtp",
    }  # fmt: skip
    failing = lane_check("email", (), [DOWN])
    assert (failing.passed, failing.is_error, failing.numbers["conditions"]) == (False, True, [DOWN.text])
    assert lane_check("sms", lanes, [DOWN]).passed
    stale = Condition("source_stale", "stale")
    other = lane_check("sms", lanes, [stale])
    assert (other.passed, other.numbers["conditions"]) == (True, ["stale"])


# Telling


@pytest.fixture
def ledger(tmp_path: Path, empty_ledger: Path) -> Iterator[Ledger]:
    (tmp_path / "ledger.db").write_bytes(empty_ledger.read_bytes())
    with open_ledger_at(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


class Slack:
    """A webhook on the loopback."""

    def __init__(self) -> None:
        self.broken = False
        self.server = LocalProvider(lambda request: Reply(500 if self.broken else 200, b"ok"))
        self.environment = {"WINBACK_ALERT_WEBHOOK": f"{self.server.base_url}/services/{SECRET}"}

    @property
    def texts(self) -> list[str]:
        return [request.json()["text"] for request in self.server.requests]


@pytest.fixture
def slack() -> Iterator[Slack]:
    made = Slack()
    yield made
    made.server.close()


def at(hour: int) -> datetime:
    return AS_OF + timedelta(hours=hour)


def test_a_condition_is_told_once_and_once_more_when_it_is_over(tmp_path: Path, ledger: Ledger, slack: Slack) -> None:
    settings = Settings(home=tmp_path)
    for hour in range(3):
        tell_changes(settings, ledger, {DOWN.key: DOWN}, at(hour), slack.environment)
    tell_changes(settings, ledger, {}, at(3), slack.environment)
    for hour in range(4, 6):
        tell_changes(settings, ledger, {DOWN.key: None}, at(hour), slack.environment)
    name = tmp_path.name
    assert slack.texts == [
        f":red_circle: Winback ({name}): smtp was given up: SMTP: no connection",
        f":large_green_circle: Winback ({name}): over: destination failing smtp. Before: {DOWN.text}. It was told 2017-12-01 00:00 UTC.",
    ]
    tell_changes(settings, ledger, {DOWN.key: DOWN}, at(7), slack.environment)
    assert len(slack.texts) == 3, "it began again"


def test_what_the_webhook_did_not_take_is_told_after_the_next_dispatch(tmp_path: Path, ledger: Ledger, slack: Slack) -> None:
    settings = Settings(home=tmp_path)
    slack.broken = True
    with capture_logs() as logs:
        tell_changes(settings, ledger, {DOWN.key: DOWN}, at(0), slack.environment)
        tell_changes(settings, ledger, {}, at(1), slack.environment)
    assert [entry["reason"] for entry in logs if entry["event"] == "alert_not_delivered"] == ["the webhook answered 500"] * 2
    assert SECRET not in json.dumps(logs, default=str)
    slack.broken = False
    for hour in (2, 3):
        tell_changes(settings, ledger, {DOWN.key: DOWN}, at(hour), slack.environment)
    assert len(slack.texts) == 3


def test_of_two_processes_that_see_the_same_one_tells_it(tmp_path: Path, ledger: Ledger, slack: Slack) -> None:
    together = threading.Barrier(4)

    def see() -> None:
        with open_ledger_at(f"sqlite:///{tmp_path / 'ledger.db'}") as own:
            together.wait()
            tell_changes(Settings(home=tmp_path), own, {DOWN.key: DOWN}, at(0), slack.environment)

    threads = [threading.Thread(target=see) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(slack.texts) == 1


@pytest.mark.parametrize("address", ["http://127.0.0.1:{port}/{secret}", "nowhere/{secret}", "http://[bad/{secret}"])
def test_a_webhook_that_cannot_be_reached_stops_nothing(tmp_path: Path, ledger: Ledger, address: str) -> None:
    environment = {"WINBACK_ALERT_WEBHOOK": address.format(port=closed_port(), secret=SECRET)}
    with capture_logs() as logs:
        tell_changes(Settings(home=tmp_path), ledger, {DOWN.key: DOWN}, at(0), environment)
        run_failed(Settings(home=tmp_path), job="daily", run_id="1", message="checks stopped it", environment=environment)
    assert [entry["event"] for entry in logs] == ["alert_open", "alert_not_delivered", "run_failed", "alert_not_delivered"]
    assert SECRET not in json.dumps(logs, default=str)


def test_a_failed_run_is_told_each_time(tmp_path: Path, slack: Slack) -> None:
    for run in "12":
        run_failed(Settings(home=tmp_path), job="daily", run_id=run, message="The raw data failed.", environment=slack.environment)
    assert slack.texts == [f":red_circle: Winback ({tmp_path.name}): job daily failed. Run {run}. The raw data failed." for run in "12"]


class Inbox:
    """A mail server without encryption or login, as a local relay is."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        inbox = self

        class Handler:
            async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
                inbox.taken.append(envelope)
                return "250 OK"

        class Relay(Controller):
            def _trigger_server(self) -> None:
                # aiosmtpd greets itself at the port it was given; here the system chose one.
                self.port = cast(Any, self.server).sockets[0].getsockname()[1]
                cast(Any, super())._trigger_server()

        self.controller = Relay(Handler(), hostname="127.0.0.1", port=0)


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    made = Inbox()
    made.controller.start()
    yield made
    made.controller.stop()


def test_alerts_come_by_email_through_a_relay(tmp_path: Path, ledger: Ledger, inbox: Inbox) -> None:
    environment = {
        "WINBACK_ALERT_EMAIL_TO": "ops@example.com, night@example.com",
        "WINBACK_ALERT_SMTP_URL": f"smtp://127.0.0.1:{inbox.controller.port}",
    }
    tell_changes(Settings(home=tmp_path, project=tmp_path), ledger, {DOWN.key: DOWN}, at(0), environment)
    tell_changes(Settings(home=tmp_path, project=tmp_path), ledger, {DOWN.key: None}, at(1), environment)
    assert [envelope.rcpt_tos for envelope in inbox.taken] == [["ops@example.com"], ["night@example.com"]] * 2
    first = message_from_bytes(inbox.taken[0].content, policy=policy.default)
    assert first["Subject"] == "[Winback] smtp was given up: SMTP: no connection"
    last = message_from_bytes(inbox.taken[3].content, policy=policy.default)
    assert last["Subject"] == "[Winback] over: destination failing smtp"


def test_alerts_come_by_email_through_the_smtp_destination(tmp_path: Path, ledger: Ledger) -> None:
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "brand.yml").write_text((PROJECT_ROOT / "programs" / "brand.yml").read_text())
    environment = {"WINBACK_ALERT_EMAIL_TO": "ops@example.com", "SMTP_USERNAME": USER, "SMTP_PASSWORD": PASSWORD}
    with MailServer() as server:
        keys = f'host: 127.0.0.1, port: {server.port}, username_env: SMTP_USERNAME, password_env: SMTP_PASSWORD, ca_file: "{ca_file()}"'
        (tmp_path / "destinations.yml").write_text(f"destinations:\n  smtp: {{{keys}}}\n")
        run_failed(Settings(home=tmp_path, project=tmp_path), job="daily", run_id="1", message="stopped", environment=environment)
    assert [(envelope.mail_from, envelope.rcpt_tos) for envelope in server.taken] == [("hello@example.com", ["ops@example.com"])]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "set WINBACK_ALERT_SMTP_URL, or configure smtp in destinations.yml"),
        ("http://mail.example.com", "WINBACK_ALERT_SMTP_URL cannot be used; allowed: smtp://user:password@host:587"),
        (f"smtp://me:{SECRET}@mail.example.com:port", "WINBACK_ALERT_SMTP_URL cannot be used"),
        ("smtp://127.0.0.1:{port}", "SMTP: no connection (ConnectionRefusedError)"),
    ],
)
def test_a_mail_server_that_cannot_be_used_stops_nothing_and_is_named(tmp_path: Path, url: str, reason: str) -> None:
    environment = {"WINBACK_ALERT_EMAIL_TO": "ops@example.com", "WINBACK_ALERT_SMTP_URL": url.replace("{port}", str(closed_port()))}
    with capture_logs() as logs:
        run_failed(Settings(home=tmp_path, project=tmp_path), job="daily", run_id="1", message="stopped", environment=environment)
    [failed] = [entry for entry in logs if entry["event"] == "alert_not_delivered"]
    assert failed["reason"].startswith(reason)
    assert SECRET not in json.dumps(logs, default=str)
    assert "ops@example.com" not in json.dumps(logs, default=str)


# From the ledger


def send(shop: Shop, faults: str, now: datetime, slack: Slack) -> None:
    settings = Settings(**{**shop.settings.model_dump(), "alert_minimum_tried": 3})
    before = last_outcome(shop.ledger)
    with shop.destinations(messages=outbox(shop, faults)) as places:
        report = dispatch(settings, shop.warehouse, shop.ledger, places, now, renderer=PlainRenderer())
    watch(
        settings, shop.ledger, shop.warehouse, after=before, stopped=report.stopped, now=now, environment=slack.environment
    )  # fmt: skip


def outbox(shop: Shop, faults: str) -> LocalOutbox:
    return LocalOutbox(shop.settings.outbox, faults=Faults.parse(faults))


def test_a_provider_that_is_down_and_comes_back(shop: Shop, slack: Slack) -> None:
    shop.order("ann", AS_OF)
    for number in range(8):
        shop.customer(f"c{number}")
        shop.message(f"c{number}")
    send(shop, "error=1", NOON, slack)
    send(shop, "error=1", NOON + timedelta(hours=1), slack)
    assert [text.partition("): ")[2] for text in slack.texts] == [
        "outbox accepted none of 8 items. Most often: outbox: error 500 (a fault on demand)"
    ]
    send(shop, "", NOON + timedelta(hours=7), slack)
    assert [text.partition("): ")[2].partition(". ")[0] for text in slack.texts[1:]] == ["over: destination failing outbox"]
    rows = shop.ledger.rows("alerts")
    assert [(row["condition"], row["turn"], row["state"]) for row in rows] == [
        ("destination_failing:outbox", 1, "open"),
        ("destination_failing:outbox", 2, "closed"),
    ]
    assert "@" not in json.dumps(rows, default=str)


def test_figures_are_read_from_the_ledger(shop: Shop) -> None:
    for name in ("ann", "bob", "cleo"):
        shop.customer(name)
    sent, held = shop.message("ann"), shop.message("bob")
    shop.message("cleo", not_before=AS_OF)
    rows = [
        {"item_id": sent, "attempt": 1, "outcome": "accepted", "destination": "outbox", "recorded_at": NOON - timedelta(hours=30)},
        {"item_id": held, "attempt": 1, "outcome": "deferred", "reason": "capped", "destination": "outbox", "recorded_at": NOON},
        {"item_id": held, "attempt": 2, "outcome": "rejected", "reason": "no", "destination": "outbox", "recorded_at": NOON},
    ]
    shop.ledger.record("outcomes", rows[:2])
    before = last_outcome(shop.ledger)
    shop.ledger.record("outcomes", rows[2:])
    shop.order("ann", NOON - timedelta(days=2))
    figures = read_figures(shop.settings, shop.ledger, shop.warehouse, after=before, stopped={}, now=NOON)
    assert figures.lanes == (Lane("email", "outbox", {"rejected": 1}, 1, {"rejected": {"no": 1}}),)
    assert figures.day == (Lane("email", "outbox", {"deferred": 1, "rejected": 1}, 1, {"deferred": {"capped": 1}, "rejected": {"no": 1}}),)
    assert figures.overdue == 1
    assert figures.since_last_order == timedelta(days=2)
    assert figures.in_use["email"] == "outbox"
    assert sorted(figures.in_use) == sorted(LANES)


def queued_change(shop: Shop, customer: str, at: datetime) -> str:
    row = {"platform": "meta", "audience": "lapsing", "program": "lapsing", "customer_id": customer, "operation": "add"}
    shop.ledger.record("audience_changes", [{**row, "change_id": customer, "identifiers": "[]", "as_of": AS_OF, "recorded_at": at}])
    return customer


def test_messages_and_audience_changes_wait(shop: Shop) -> None:
    shop.message("ann")
    shop.message("bob", not_before=NOON + timedelta(hours=1))
    tried = queued_change(shop, "cleo", AS_OF)
    queued_change(shop, "dan", AS_OF)
    queued_change(shop, "eve", NOON - timedelta(hours=1))
    accepted = {"attempt": 1, "outcome": "accepted", "destination": "meta"}
    shop.ledger.record("outcomes", [{**accepted, "item_id": tried, "recorded_at": NOON - timedelta(hours=4)}])
    assert read_waiting(shop.ledger, NOON) == Waiting(1, 2, 2), "what became due an hour ago is not late"
    assert read_figures(shop.settings, shop.ledger, shop.warehouse, after=0, stopped={}, now=NOON).overdue == 3
    shop.ledger.record("outcomes", [{**accepted, "item_id": "another", "recorded_at": NOON - timedelta(hours=2)}])
    assert read_waiting(shop.ledger, NOON) == Waiting(1, 2, 0), "somebody is at work"


def test_a_dead_scheduler_is_noticed_from_outside(shop: Shop, slack: Slack) -> None:
    """By a process that opens no warehouse: told once, and its end by the dispatch that comes at last."""
    shop.customer("ann")
    shop.message("ann")
    applied = {"as_of": AS_OF, "plan_hash": "h", "counts": "{}", "run_id": "r", "recorded_at": AS_OF}
    shop.ledger.record("applied_plans", [applied])

    def held(now: datetime) -> list[str]:
        watched = watch_from_outside(shop.settings, shop.ledger, now, environment=slack.environment)
        return [condition.key for condition in watched.conditions]

    assert held(AS_OF + timedelta(hours=2)) == [], "due, and not late"
    assert held(NOON) == held(NOON) == ["not_tried"]
    assert held(AS_OF + timedelta(hours=31)) == ["day_missing", "not_tried"]
    assert len(slack.texts) == 2
    assert "1 item is due for more than 3 hours" in slack.texts[0]
    shop.ledger.record("applied_plans", [{**applied, "as_of": AS_OF + timedelta(days=1)}])
    shop.order("bob", AS_OF)
    send(shop, "", AS_OF + timedelta(hours=32), slack)
    assert held(AS_OF + timedelta(hours=33)) == []
    assert [text.partition("): ")[2][:5] for text in slack.texts[2:]] == ["over:"] * 2


def test_figures_and_alerts_on_both_databases(any_ledger: Ledger, tmp_path: Path, slack: Slack) -> None:
    change = {"change_id": "c" * 32, "platform": "meta", "audience": "lapsing", "program": "lapsing", "customer_id": "ann"}
    any_ledger.record("audience_changes", [{**change, "operation": "add", "identifiers": "[]", "as_of": AS_OF, "recorded_at": AS_OF}])
    refused = {"attempt": 1, "outcome": "rejected", "reason": "too few", "destination": "meta", "recorded_at": NOON}
    any_ledger.record("outcomes", [{**refused, "item_id": "c" * 32}])
    settings = Settings(home=tmp_path, clock="simulated")
    with duckdb.connect() as warehouse:
        for _ in range(2):
            watched = watch(settings, any_ledger, warehouse, after=0, stopped={}, now=NOON, environment=slack.environment)
    assert watched.lanes == (Lane("ads:meta", "meta", {"rejected": 1}, 1, {"rejected": {"too few": 1}}),)
    assert [condition.key for condition in watched.conditions] == ["nothing_sent"]
    assert len(slack.texts) == 1
    assert read_waiting(any_ledger, NOON) == Waiting()


def test_a_dispatch_of_a_real_home_is_watched(tmp_path: Path, slack: Slack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINBACK_ALERT_WEBHOOK", slack.environment["WINBACK_ALERT_WEBHOOK"])
    settings = Settings(home=tmp_path, clock="real")
    settings.warehouse.parent.mkdir(parents=True)
    with duckdb.connect(str(settings.warehouse)) as connection:
        connection.execute(SCHEMA)
        connection.execute("insert into raw.orders (order_id, ordered_at) values ('1', '2017-11-20')")
    report = dispatch_due(settings, NOON, None)
    assert isinstance(report, SendingReport)
    assert [condition.key for condition in report.watched.conditions] == ["source_stale"]
    assert report.metadata()["open conditions"] == 1
    assert len(slack.texts) == 1
    assert ":warning:" in slack.texts[0]
