"""What comes back on the same day changes what is sent next: the receiver's writes, read by the dispatcher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.delivery.conftest import AS_OF, NOON, SCHEMA, Shop
from tests.delivery.test_dispatch import AskableProvider, Provider, run
from winback.delivery.guard import email_health, email_pauses, resume_email
from winback.delivery.rules import Rules
from winback.destinations.base import Message, Outcome, Result
from winback.errors import BadConfig, BadInput, InDoubt
from winback.inbox.recording import Event, EventType, address_hash, record_events
from winback.ledger import Ledger
from winback.settings import Settings

HOUR = timedelta(hours=1)


def told(
    ledger: Ledger, event_type: EventType, message_id: str | None, at: datetime, *, received: datetime | None = None, **values: Any
) -> None:
    """The receiver takes an event."""
    given: dict[str, Any] = {"channel": "email", "source": "sendgrid"} | values
    name = f"{event_type}-{message_id}-{at}-{sorted(values.items())}"
    record_events(ledger, [Event(event_id=name, event_type=event_type, message_id=message_id, occurred_at=at, **given)], received or at)


def earlier_message(shop: Shop, customer: str = "ann", *, program: str = "earlier") -> str:
    """A message that was accepted two days ago."""
    message = shop.message(customer, program=program, as_of=AS_OF - timedelta(days=2))
    answer = {"item_id": message, "attempt": 1, "outcome": "accepted", "recorded_at": AS_OF - timedelta(days=2)}
    shop.ledger.record("outcomes", [answer])
    return message


@pytest.mark.parametrize("event", ["unsubscribed", "complained", "bounced"])
def test_who_refuses_gets_nothing_more_on_the_same_day(shop: Shop, event: EventType) -> None:
    shop.customer("ann")
    before, message = earlier_message(shop), shop.message("ann")
    told(shop.ledger, event, before, NOON - timedelta(seconds=2), address_hash=address_hash("email", "Ann@example.com"))
    run(shop)
    assert shop.outcomes(message) == [("skipped", "suppressed")]


def test_who_leaves_by_a_link_leaves_for_everybody_of_that_address(shop: Shop) -> None:
    shop.customer("ann")
    shop.customer("ann_again", email="ann@example.com")
    shop.customer("bob")
    before, shared, other = earlier_message(shop), shop.message("ann_again"), shop.message("bob")
    told(shop.ledger, "unsubscribed", before, NOON - timedelta(seconds=2), source="links", customer_id="ann")
    run(shop)
    assert shop.outcomes(shared) == [("skipped", "suppressed")]
    assert shop.outcomes(other) == [("accepted", None)]


@pytest.mark.parametrize("server", ["sqlite", "postgresql"])
def test_what_the_receiver_wrote_while_a_pass_is_under_way_is_seen_by_the_next_batch(
    server: str, tmp_path: Path, shop: Shop, request: pytest.FixtureRequest
) -> None:
    if server == "postgresql":
        from winback.ledger import open_ledger_at

        shop.warehouse.execute("".join(f"drop schema {name} cascade;" for name in ("raw", "programs", "intermediate", "marts")) + SCHEMA)
        shop = Shop(Settings(home=tmp_path, clock="simulated"), shop.warehouse, open_ledger_at(request.getfixturevalue("postgres_url")))
        shop.program()
    # More than one batch: what is claimed last is claimed after the event has come.
    names = [f"c{number:03d}" for number in range(120)]
    messages = {}
    for name in names:
        shop.customer(name)
        messages[name] = shop.message(name)
    waiting: list[str] = []

    def answer(batch: Sequence[Message]) -> list[Result]:
        if not waiting:
            sent = {message.customer_id for message in batch}
            waiting.append(next(name for name in reversed(names) if name not in sent))
            told(shop.ledger, "unsubscribed", None, NOON, source="links", address_hash=address_hash("email", f"{waiting[0]}@example.com"))
        return [Result(Outcome.ACCEPTED)] * len(batch)

    report = run(shop, provider=Provider(answer))
    assert shop.outcomes(messages[waiting[0]]) == [("skipped", "suppressed")]
    assert report.total("accepted") == len(names) - 1
    if server == "postgresql":
        shop.ledger.close()


@pytest.mark.parametrize("channel", ["email", "all"])
def test_who_leaves_by_a_link_while_a_pass_is_under_way_leaves_for_everybody_of_that_address(shop: Shop, channel: str) -> None:
    shop.customer("ann")
    before = earlier_message(shop)
    messages = {}
    for number in range(120):
        name = f"c{number:03d}"
        shop.customer(name, email="ann@example.com" if number == 119 else f"{name}@example.com")
        messages[name] = shop.message(name)

    def answer(batch: Sequence[Message]) -> list[Result]:
        told(shop.ledger, "unsubscribed", before, NOON, source="links", channel=channel, customer_id="ann")
        return [Result(Outcome.ACCEPTED)] * len(batch)

    report = run(shop, provider=Provider(answer))
    assert shop.outcomes(messages["c119"]) == [("skipped", "suppressed")]
    assert report.total("accepted") == 119


@pytest.mark.parametrize("event", ["bounced", "complained"])
def test_what_a_mail_says_of_the_address_of_its_customer_silences_the_address(shop: Shop, event: EventType) -> None:
    shop.customer("ann")
    shop.customer("ann_again", email="ann@example.com")
    message, shared = shop.message("ann"), shop.message("ann_again")
    told(shop.ledger, event, earlier_message(shop), NOON - HOUR, source="mailbox", address_hash=address_hash("email", "Ann@example.com"))
    run(shop)
    assert shop.outcomes(message) == shop.outcomes(shared) == [("skipped", "suppressed")]
    rows = shop.ledger.rows("suppressions")
    run(shop, NOON + HOUR)
    assert shop.ledger.rows("suppressions") == rows


def test_what_a_mail_says_of_another_address_silences_nobody(shop: Shop) -> None:
    shop.customer("ann")
    shop.customer("victim")
    message, other = shop.message("ann"), shop.message("victim")
    told(
        shop.ledger,
        "bounced",
        earlier_message(shop),
        NOON - HOUR,
        source="mailbox",
        address_hash=address_hash("email", "victim@example.com"),
    )
    run(shop)
    assert shop.outcomes(message) == shop.outcomes(other) == [("accepted", None)]
    assert shop.ledger.rows("suppressions") == []


def test_a_suppression_that_was_lifted_is_no_news(shop: Shop) -> None:
    shop.customer("ann")
    message = shop.message("ann")
    hashed = address_hash("email", "ann@example.com")
    told(shop.ledger, "unsubscribed", None, NOON - 2 * HOUR, address_hash=hashed)
    told(shop.ledger, "resubscribed", None, NOON - HOUR, address_hash=hashed)
    run(shop)
    assert shop.outcomes(message) == [("accepted", None)]


@pytest.mark.parametrize(("event", "is_machine", "ends"), [("clicked", False, True), ("read", False, True), ("opened", True, False)])
def test_who_engages_after_the_plan_leaves_programs_that_end_with_it(shop: Shop, event: EventType, is_machine: bool, ends: bool) -> None:
    shop.program("fading", exit_on_engagement=True)
    shop.customer("ann")
    message, other = shop.message("ann", program="fading"), shop.message("ann", "sms")
    told(shop.ledger, event, earlier_message(shop), NOON - HOUR, is_machine=is_machine)
    run(shop)
    assert shop.outcomes(message) == [("skipped", "engaged")] if ends else [("accepted", None)]
    assert shop.outcomes(other) == [("accepted", None)]


def test_an_engagement_while_a_pass_is_under_way_waits_for_the_next_look(shop: Shop) -> None:
    shop.program("fading", exit_on_engagement=True)
    messages = {}
    for number in range(120):
        shop.customer(f"c{number:03d}")
        messages[f"c{number:03d}"] = shop.message(f"c{number:03d}", program="fading")
    before = earlier_message(shop, "c119")

    def answer(batch: Sequence[Message]) -> list[Result]:
        told(shop.ledger, "clicked", before, NOON)
        return [Result(Outcome.ACCEPTED)] * len(batch)

    run(shop, provider=Provider(answer))
    assert shop.outcomes(messages["c119"]) == [("deferred", "look_again")]
    run(shop, NOON + HOUR)
    assert shop.outcomes(messages["c119"]) == [("deferred", "look_again"), ("skipped", "engaged")]


def test_a_scanner_does_not_end_a_journey(shop: Shop) -> None:
    shop.program("fading", exit_on_engagement=True)
    shop.customer("ann")
    message, before = shop.message("ann", program="fading"), earlier_message(shop)
    told(shop.ledger, "opened", before, NOON - HOUR - timedelta(seconds=1))
    told(shop.ledger, "delivered", before, NOON - HOUR)
    told(shop.ledger, "clicked", before, NOON - HOUR + timedelta(seconds=2), link="offer")
    told(shop.ledger, "clicked", before, NOON - HOUR + timedelta(seconds=3), link="preferences")
    run(shop)
    assert shop.outcomes(message) == [("accepted", None)]


def test_another_systems_report_of_what_a_machine_did_does_not_end_a_journey(shop: Shop) -> None:
    shop.program("fading", exit_on_engagement=True)
    shop.customer("ann")
    message = shop.message("ann", program="fading")
    told(shop.ledger, "opened", earlier_message(shop), NOON - HOUR, is_machine=True)
    shop.event("ann", "opened", NOON - HOUR, campaign="earlier")
    run(shop)
    assert shop.outcomes(message) == [("accepted", None)]


def test_soft_bounces_in_a_row_end_it_and_a_delivery_between_does_not(shop: Shop) -> None:
    for name in ("bouncing", "working", "consented"):
        shop.customer(name)
        before = earlier_message(shop, name)
        for days in (9, 6, 3):
            told(shop.ledger, "soft_bounced", before, AS_OF - timedelta(days=days))
    told(shop.ledger, "delivered", earlier_message(shop, "working"), AS_OF - timedelta(days=5))
    shop.consent("consented", "email", AS_OF - timedelta(days=1))
    messages = {name: shop.message(name) for name in ("bouncing", "working", "consented")}
    run(shop)
    found = {name: shop.outcomes(message) for name, message in messages.items()}
    assert found == {"bouncing": [("skipped", "bounced")], "working": [("accepted", None)], "consented": [("accepted", None)]}


def lost(messages: Sequence[Message]) -> list[Result]:
    raise InDoubt("provider: no answer")


@pytest.mark.parametrize(
    ("event", "outcome"), [("processed", "accepted"), ("delivered", "accepted"), ("bounced", "accepted"), ("dropped", "rejected")]
)
def test_an_event_settles_a_message_of_unknown_outcome(shop: Shop, event: EventType, outcome: str) -> None:
    shop.customer("ann")
    message = shop.message("ann")
    run(shop, provider=Provider(lost))
    assert [row[0] for row in shop.outcomes(message)] == ["unknown"]
    told(shop.ledger, event, message, NOON + HOUR)
    report = run(shop, NOON + 2 * HOUR)
    assert report.settled == {outcome: 1}
    assert shop.outcomes(message)[-1] == (outcome, "proved by an event")
    assert shop.ledger.rows("outcomes", item_id=message)[-1]["destination"] == "provider"
    again = run(shop, NOON + 3 * HOUR)
    assert not again.settled
    assert len(shop.outcomes(message)) == 2


def test_what_was_settled_is_not_asked_about_or_repeated(shop: Shop) -> None:
    shop.customer("ann")
    message = shop.message("ann")
    provider = AskableProvider(lost)
    run(shop, provider=provider)
    told(shop.ledger, "delivered", message, NOON)
    assert run(shop, NOON + HOUR, provider=provider).claimed == 0
    assert shop.outcomes(message)[-1] == ("accepted", "proved by an event")


# The guard of email.


def sent_by(shop: Shop, program: str, count: int, at: datetime, *, start: int = 0) -> list[str]:
    """Messages of a program that were accepted at `at`."""
    ids = [f"{program}-{start + number:04d}" for number in range(count)]
    common = {"step_no": 1, "version": 1, "kind": "send", "channel": "email", "content": "hello"}
    times = {"not_before": at, "expires_at": at, "as_of": AS_OF - timedelta(days=30), "recorded_at": at}
    shop.ledger.record(
        "messages", [{"message_id": one, "enrolment_id": one, "customer_id": one, "program": program, **common, **times} for one in ids]
    )
    shop.ledger.record("outcomes", [{"item_id": one, "attempt": 1, "outcome": "accepted", "recorded_at": at} for one in ids])
    return ids


def test_a_program_about_which_too_many_complain_sends_no_more_email_until_a_person_says_so(shop: Shop) -> None:
    shop.program("other")
    shop.customer("ann")
    shop.customer("bob")
    mail, text, others = shop.message("ann"), shop.message("ann", "sms", step_no=2), shop.message("bob", program="other")
    for number, message in enumerate(sent_by(shop, "lapsing", 1000, NOON - 3 * HOUR)[:3]):
        told(shop.ledger, "complained", message, NOON - timedelta(minutes=number), address_hash=f"{number:064d}")
    report = run(shop)
    assert [shop.outcomes(message) for message in (mail, text, others)] == [[], [("accepted", None)], [("accepted", None)]]
    assert report.waiting == {"email_paused": 1}
    assert email_pauses(shop.ledger) == {"lapsing": NOON}
    row = shop.ledger.rows("audit_trail", act="pause_email")[0]
    assert (row["actor"], row["subject"]) == ("winback", "lapsing")
    assert "3 complaints of 1,000 messages reached (0.30%, the limit is 0.3%)" in row["details"]
    run(shop, NOON + HOUR)
    assert len(shop.ledger.rows("audit_trail", act="pause_email")) == 1
    assert resume_email(shop.ledger, "lapsing", by="mia", reason="list was cleaned", now=NOON + 2 * HOUR) == NOON
    run(shop, NOON + 2 * HOUR)
    assert shop.outcomes(mail) == [("accepted", None)]
    with pytest.raises(BadInput, match="not paused"):
        resume_email(shop.ledger, "lapsing", by="mia", reason="again", now=NOON + 3 * HOUR)


def test_past_its_patience_a_paused_programs_email_is_skipped(shop: Shop) -> None:
    shop.customer("ann")
    message = shop.message("ann")
    shop.ledger.audit("pause_email", actor="winback", subject="lapsing", now=AS_OF)
    run(shop, AS_OF + timedelta(days=4))
    assert shop.outcomes(message) == [("skipped", "expired")]


@pytest.mark.parametrize(
    ("sent", "bounced", "complained", "unsubscribed", "level", "reason"),
    [
        (499, 0, 10, 0, "too_few", ""),
        (500, 0, 0, 0, "well", ""),
        (500, 0, 2, 0, "well", ""),  # 0.4%, but two complaints may be chance
        (3000, 0, 2, 0, "well", ""),
        (3000, 0, 3, 0, "warning", "3 complaints of 3,000 messages reached (0.10%)"),
        (1010, 10, 3, 0, "limit", "3 complaints of 1,000 messages reached (0.30%, the limit is 0.3%)"),
        (1000, 49, 0, 0, "well", ""),
        (1000, 50, 0, 0, "limit", "50 bounces of 1,000 messages sent (5.00%, the limit is 5%)"),
        (1000, 0, 0, 50, "limit", "50 unsubscriptions of 1,000 messages reached (5.00%, the limit is 5%)"),
    ],
)
def test_levels_of_email_health(shop: Shop, sent: int, bounced: int, complained: int, unsubscribed: int, level: str, reason: str) -> None:
    ids = iter(sent_by(shop, "lapsing", sent, NOON - HOUR))
    cases: list[tuple[EventType, int]] = [("bounced", bounced), ("complained", complained), ("unsubscribed", unsubscribed)]
    events = [
        Event(event_id=f"{kind}-{number}-{copy}", source="sendgrid", event_type=kind, message_id=message, channel="email", occurred_at=NOON)
        for kind, count in cases
        for number, message in enumerate([next(ids) for _ in range(count)])
        for copy in range(2)  # of two complaints about a message one counts
    ]
    record_events(shop.ledger, events, NOON)
    shop.ledger.copy_to_warehouse(shop.warehouse)
    [found] = email_health(shop.warehouse, shop.ledger, Rules.in_force(shop.settings), NOON)
    assert (found.level, found.reason, found.sent, found.complained) == (level, reason, sent, complained)


def test_email_health_looks_at_the_window_and_not_before_a_person_resumed(shop: Shop) -> None:
    rules = replace(Rules.in_force(shop.settings), email_guard_sent_at_least=1, email_guard_cases_at_least=1)
    old = sent_by(shop, "lapsing", 10, NOON - timedelta(days=7))
    told(shop.ledger, "complained", old[0], NOON - HOUR)
    new = sent_by(shop, "lapsing", 5, NOON - 2 * HOUR, start=10)
    shop.ledger.copy_to_warehouse(shop.warehouse)

    def health() -> tuple[int, int, str]:
        shop.ledger.copy_to_warehouse(shop.warehouse)
        [one] = email_health(shop.warehouse, shop.ledger, rules, NOON)
        return one.sent, one.complained, one.level

    assert health() == (5, 0, "well")
    told(shop.ledger, "complained", new[0], NOON - HOUR)
    assert health() == (5, 1, "limit")
    shop.ledger.audit("pause_email", actor="winback", subject="lapsing", now=NOON - HOUR)
    resume_email(shop.ledger, "lapsing", by="mia", reason="cleaned", now=NOON - timedelta(minutes=30))
    sent_by(shop, "lapsing", 2, NOON - timedelta(minutes=10), start=20)
    assert health() == (2, 0, "well")


def test_rules_that_are_missing_or_no_numbers_are_told_with_their_name(tmp_path: Path) -> None:
    project = tmp_path / "dbt_project"
    project.mkdir()
    (project / "dbt_project.yml").write_text("vars: {winback: {bounces_in_a_row: many}}", encoding="utf-8")
    with pytest.raises(BadConfig, match=r"vars.winback.bounces_in_a_row: found 'many'; allowed: a whole number"):
        Rules.in_force(Settings(home=tmp_path, project=tmp_path))
