"""Events and consequences: once each, whatever the order, and never a wish lost."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import permutations
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from winback.inbox.recording import Event, EventType, address_hash, derived_id, record_events
from winback.ledger import Ledger, open_ledger_at

NOW = datetime(2026, 11, 20, 12)
ADA = address_hash("email", "ada@example.com")
PHONE = address_hash("sms", "+15550100001")


def event(kind: EventType, hour: float = 0, *, address: str | None = ADA, channel: str = "email", **more: object) -> Event:
    at = NOW - timedelta(days=1) + timedelta(hours=hour)
    values: dict[str, object] = {
        "event_id": derived_id(kind, hour, address, channel, more),
        "source": "sendgrid",
        "event_type": kind,
        "occurred_at": at,
        "channel": channel,
        "address_hash": address,
        **more,
    }
    return Event(**values)  # type: ignore[arg-type]


def message(ledger: Ledger, message_id: str, customer_id: str) -> None:
    row = {
        "message_id": message_id, "enrolment_id": message_id, "step_no": 1, "customer_id": customer_id, "program": "p", "version": 1,
        "kind": "send", "channel": "email", "content": "c", "not_before": NOW, "expires_at": NOW, "as_of": NOW, "recorded_at": NOW,
    }  # fmt: skip
    ledger.record("messages", [row])


def holding(ledger: Ledger) -> set[tuple[str | None, str | None, str, str]]:
    """What is suppressed: (customer, address, channel, reason)."""
    rows = ledger.rows("suppressions")
    lifted = {row["suppression_id"] for row in rows if row["operation"] == "lift"}
    adds = (row for row in rows if row["operation"] == "add" and row["suppression_id"] not in lifted)
    return {(row["customer_id"], row["address_hash"], row["channel"], row["reason"]) for row in adds}


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (event("unsubscribed"), (None, ADA, "email", "unsubscribed")),
        (event("complained"), (None, ADA, "email", "complained")),
        (event("bounced", reason="5.1.1"), (None, ADA, "email", "bounced")),
        (event("unsubscribed", address=PHONE, channel="sms"), (None, PHONE, "sms", "unsubscribed")),
        (event("bounced", address="t" * 64, channel="push"), (None, "t" * 64, "push", "dead_token")),
    ],
)
def test_a_refusal_silences_its_channel(ledger: Ledger, cause: Event, expected: tuple[str | None, ...]) -> None:
    report = record_events(ledger, [cause], NOW)
    assert (report.events, report.suppressed, report.lifted) == (1, 1, 0)
    assert holding(ledger) == {expected}


@pytest.mark.parametrize("kind", ["processed", "delivered", "opened", "clicked", "read", "replied", "soft_bounced", "dropped", "failed"])
def test_other_events_silence_nobody(ledger: Ledger, kind: EventType) -> None:
    assert record_events(ledger, [event(kind)], NOW).suppressed == 0
    assert len(ledger.rows("delivery_events")) == 1


def test_a_wish_counts_for_the_person_and_a_dead_address_for_the_address(ledger: Ledger) -> None:
    message(ledger, "m1", "c1")
    record_events(ledger, [event("unsubscribed", message_id="m1"), event("bounced", message_id="m1")], NOW)
    assert holding(ledger) == {("c1", ADA, "email", "unsubscribed"), (None, ADA, "email", "bounced")}


def test_an_event_of_a_message_without_address_silences_the_customer(ledger: Ledger) -> None:
    message(ledger, "m1", "c1")
    record_events(ledger, [event("complained", address=None, message_id="m1")], NOW)
    assert holding(ledger) == {("c1", None, "email", "complained")}


def test_an_unknown_message_is_kept_and_silences_nobody(ledger: Ledger) -> None:
    record_events(ledger, [event("unsubscribed", address=None, message_id="nobody's")], NOW)
    assert [row["message_id"] for row in ledger.rows("delivery_events")] == ["nobody's"]
    assert holding(ledger) == set()


def test_a_return_lifts_wishes_and_nothing_else(ledger: Ledger) -> None:
    refusals = [event("unsubscribed", 1), event("complained", 1), event("bounced", 1), event("unsubscribed", 1, channel="sms")]
    record_events(ledger, [*refusals, event("resubscribed", 2)], NOW)
    assert {(channel, reason) for _, _, channel, reason in holding(ledger)} == {
        ("email", "complained"),
        ("email", "bounced"),
        ("sms", "unsubscribed"),
    }


def test_a_return_to_everything_lifts_wishes_of_every_channel(ledger: Ledger) -> None:
    record_events(ledger, [event("unsubscribed", 1), event("unsubscribed", 1, channel="sms")], NOW)
    report = record_events(ledger, [event("resubscribed", 2, channel="all")], NOW)
    assert (report.lifted, holding(ledger)) == (2, set())


def test_a_customers_return_on_our_page_lifts_what_an_address_refused(ledger: Ledger) -> None:
    message(ledger, "m1", "c1")
    record_events(ledger, [event("unsubscribed", 1, message_id="m1")], NOW)
    record_events(ledger, [event("resubscribed", 2, address=None, customer_id="c1")], NOW)
    assert holding(ledger) == set()


def test_of_two_wishes_of_one_instant_the_refusal_holds(ledger: Ledger) -> None:
    record_events(ledger, [event("resubscribed", 1), event("unsubscribed", 1)], NOW)
    assert holding(ledger) == {(None, ADA, "email", "unsubscribed")}


def test_every_order_of_arrival_gives_the_same_outcome(tmp_path: Path) -> None:
    history = [event("unsubscribed", 1), event("resubscribed", 2), event("unsubscribed", 3), event("resubscribed", 4)]
    for position, order in enumerate(permutations(history)):
        with open_ledger_at(f"sqlite:///{tmp_path / f'{position}.db'}") as ledger:
            for one in order:
                record_events(ledger, [one], NOW)
            assert holding(ledger) == set()


def test_an_unsubscription_that_arrives_after_a_later_return_changes_nothing(ledger: Ledger) -> None:
    message(ledger, "m1", "c1")
    record_events(ledger, [event("resubscribed", 2, message_id="m1", address=None)], NOW)
    report = record_events(ledger, [event("unsubscribed", 1, message_id="m1")], NOW)
    assert (report.suppressed, report.lifted, holding(ledger)) == (1, 1, set())


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_wishes_of_a_customer_without_message_or_address_count_in_their_own_order(ledger: Ledger, order: tuple[int, ...]) -> None:
    told: list[tuple[EventType, int, str]] = [("unsubscribed", 1, "email"), ("resubscribed", 2, "email"), ("unsubscribed", 1, "sms")]
    wishes = [event(kind, hour, address=None, channel=channel, customer_id="c1") for kind, hour, channel in told]
    for position in order:
        record_events(ledger, [wishes[position]], NOW)
    assert holding(ledger) == {("c1", None, "sms", "unsubscribed")}


def rows_of(ledger: Ledger, table: str) -> set[tuple[object, ...]]:
    return {tuple(value for name, value in row.items() if name not in ("seq", "recorded_at")) for row in ledger.rows(table)}


HISTORIES = st.lists(
    st.tuples(
        st.sampled_from(["unsubscribed", "resubscribed", "complained", "bounced", "clicked"]),
        st.integers(0, 5),
        st.sampled_from([ADA, PHONE, None]),
        st.sampled_from(["email", "sms", "all"]),
        st.sampled_from(["m1", "m2", None]),
        st.sampled_from(["c1", "c2", None]),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=HISTORIES, seed=st.integers(0, 1000))
def test_shuffled_repeated_and_cut_differently_it_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[Any, ...]], seed: int
) -> None:
    events = [
        event(kind, hour, address=address, channel=channel, message_id=m, customer_id=customer)
        for kind, hour, address, channel, m, customer in history
    ]
    results = []
    for is_chaotic in (False, True):
        random = Random(seed)
        batches: Iterable[list[Event]] = [events]
        if is_chaotic:
            arrived = [*events, *random.sample(events, len(events) // 2)]
            random.shuffle(arrived)
            cut = random.randint(0, len(arrived))
            batches = [arrived[:cut], arrived[cut:]]
        folder = tmp_path_factory.mktemp("history")
        with open_ledger_at(f"sqlite:///{folder / 'ledger.db'}") as ledger:
            message(ledger, "m1", "c1")
            message(ledger, "m2", "c1")
            for batch in batches:
                record_events(ledger, batch, NOW)
            results.append([rows_of(ledger, "delivery_events"), rows_of(ledger, "suppressions")])
    assert results[0] == results[1]


def test_a_duplicate_counts_once(ledger: Ledger) -> None:
    one = event("clicked")
    assert record_events(ledger, [one, one], NOW).events == 1
    assert record_events(ledger, [one], NOW).events == 0


def test_nothing_occurs_after_it_was_recorded(ledger: Ledger) -> None:
    record_events(ledger, [event("clicked", 100), event("unsubscribed", 100)], NOW)
    assert {row["occurred_at"] for row in ledger.rows("delivery_events")} == {NOW}
    assert {row["starts_at"] for row in ledger.rows("suppressions")} == {NOW}


def test_all_or_nothing(ledger: Ledger) -> None:
    broken = event("clicked", 3, source=None)
    with pytest.raises(Exception, match=r"(?i)null"):
        record_events(ledger, [event("clicked"), event("unsubscribed"), broken], NOW)
    assert ledger.rows("delivery_events") == []
    assert ledger.rows("suppressions") == []


def test_text_that_no_database_takes_is_cleaned(ledger: Ledger) -> None:
    record_events(ledger, [event("bounced", reason="5.1.1\x00\ud800 x", provider_id="p" * 5000)], NOW)
    record_events(ledger, [event("unsubscribed", address=None, customer_id="\x00c\ud800")], NOW)
    assert (("c", None, "email", "unsubscribed")) in holding(ledger)
    row = ledger.rows("delivery_events")[0]
    assert (row["reason"], len(row["provider_id"])) == ("5.1.1  x", 200)


@pytest.mark.parametrize(
    ("channel", "written", "same"),
    [
        ("email", " Ada@Example.COM ", "ada@example.com"),
        ("sms", "whatsapp:+15550100001", "+15550100001"),
        ("push", "Token:AbC", "Token:AbC"),
    ],
)
def test_addresses_are_hashed_as_the_warehouse_hashes_them(channel: str, written: str, same: str) -> None:
    from hashlib import sha256

    assert address_hash(channel, written) == sha256(same.encode()).hexdigest()
    assert address_hash(channel, "  ") is None
    assert address_hash("sms", "whatsapp: ") is None
