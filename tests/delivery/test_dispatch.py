from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from hashlib import sha256
from random import Random
from typing import Any, ClassVar

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from tests.delivery.conftest import AS_OF, NOON, PlainRenderer, Shop, identity
from winback.deliveries import may_retry, named, put_back
from winback.delivery import DispatchReport, dispatch, regret_sends
from winback.delivery.pace import Timer
from winback.destinations import Destinations
from winback.destinations.base import DEAD_TOKEN, AudienceChange, Capabilities, Channel, Contact, Message, Outcome, Result
from winback.errors import InDoubt, RejectItem, RetryLater, StopRun

MESSAGES = frozenset({Channel.EMAIL, Channel.SMS, Channel.PUSH, Channel.TASK})


class Provider:
    """A provider without idempotency that writes down what reached it and answers as it is told."""

    name = "provider"
    capabilities: ClassVar[Capabilities] = Capabilities(MESSAGES, batch_size=4)

    def __init__(self, answer: Callable[[Sequence[Message]], list[Result]] | None = None) -> None:
        self.taken: list[str] = []
        self.calls: list[int] = []
        self._answer = answer

    def send(self, messages: Sequence[Message], now: datetime) -> list[Result]:
        self.calls.append(len(messages))
        results = self._answer(messages) if self._answer else [Result(Outcome.ACCEPTED)] * len(messages)
        self.taken += [message.message_id for message, result in zip(messages, results, strict=False) if result.outcome is Outcome.ACCEPTED]
        return results

    def resolve(self, messages: Sequence[Message], now: datetime) -> list[Result]:
        return [Result(Outcome.UNKNOWN)] * len(messages)

    def check(self) -> str:
        return "provider"

    def close(self) -> None: ...


class SafeProvider(Provider):
    capabilities: ClassVar[Capabilities] = Capabilities(MESSAGES, batch_size=4, idempotent=True)


class AskableProvider(Provider):
    capabilities: ClassVar[Capabilities] = Capabilities(MESSAGES, batch_size=4, can_ask=True)

    def resolve(self, messages: Sequence[Message], now: datetime) -> list[Result]:
        return [Result(Outcome.ACCEPTED if message.message_id in self.taken else Outcome.DEFERRED) for message in messages]


def run(
    shop: Shop, now: datetime = NOON, *, provider: Provider | None = None, destinations: Destinations | None = None, **options: Any
) -> DispatchReport:
    places = destinations or shop.destinations(messages=provider)
    try:
        return dispatch(shop.settings, shop.warehouse, shop.ledger, places, now, renderer=PlainRenderer(), chance=Random(7), **options)
    finally:
        places.close()


def test_what_is_due_is_sent_once_and_recorded(shop: Shop) -> None:
    shop.customer("ann")
    ids = {
        channel: shop.message("ann", channel, step_no=number) for number, channel in enumerate(("email", "sms", "push", "task"), start=1)
    }
    report = run(shop)
    assert {lane: dict(counts) for lane, counts in report.outcomes.items()} == {channel: {"accepted": 1} for channel in ids}
    assert len(list((shop.settings.outbox / "email").rglob("*.eml"))) == 1
    assert all(shop.outcomes(message_id) == [("accepted", None)] for message_id in ids.values())
    again = run(shop)
    assert again.claimed == 0
    assert len(shop.ledger.rows("claims")) == 4


def test_nothing_leaves_before_its_hour(shop: Shop) -> None:
    shop.customer("ann")
    shop.message("ann", not_before=NOON + timedelta(hours=1))
    report = run(shop)
    assert report.claimed == 0
    assert report.waiting == {"not_before": 1}
    assert run(shop, NOON + timedelta(hours=1)).total("accepted") == 1


def test_past_its_patience_a_message_is_skipped(shop: Shop) -> None:
    shop.customer("ann")
    message = shop.message("ann")
    run(shop, AS_OF + timedelta(days=4))
    assert shop.outcomes(message) == [("skipped", "expired")]


def before_sending(shop: Shop, what: str) -> None:
    """Something that became known after the plan."""
    match what:
        case "purchased":
            shop.order("ann", NOON - timedelta(hours=1))
        case "late_purchase":
            shop.order("ann", AS_OF - timedelta(days=3))
        case "late_purchase_after_the_last":
            shop.order("ann", AS_OF - timedelta(days=90))
            shop.order("ann", AS_OF - timedelta(days=30))
        case "consent_withdrawn":
            shop.consent("ann", "email", NOON - timedelta(hours=1), granted=False)
        case "unsubscribed":
            shop.event("ann", "unsubscribed", NOON - timedelta(hours=1))
        case "suppressed":
            row = {
                "suppression_id": "s",
                "operation": "add",
                "customer_id": "ann",
                "channel": "all",
                "starts_at": AS_OF,
                "recorded_at": AS_OF,
            }
            shop.ledger.record("suppressions", [row])
        case "suppressed_address":
            hashed = sha256(b"ann@example.com").hexdigest()
            row = {
                "suppression_id": "s",
                "operation": "add",
                "address_hash": hashed,
                "channel": "email",
                "starts_at": AS_OF,
                "recorded_at": AS_OF,
            }
            shop.ledger.record("suppressions", [row])
        case "program_stopped":
            shop.status("lapsing", "retired", AS_OF)
        case "no_address":
            shop.warehouse.execute("update intermediate.int_customers__contacts set email = null")
        case "forgotten":
            shop.warehouse.execute("delete from intermediate.int_customers__contacts")
        case "bounced":
            shop.warehouse.execute(
                "update intermediate.int_customers__contacts set reachable_email = false, email_unreachable_reason = 'bounced'"
            )


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("purchased", "purchased"),
        ("late_purchase", "purchased"),
        ("late_purchase_after_the_last", "purchased"),
        ("consent_withdrawn", "consent_withdrawn"),
        ("unsubscribed", "unsubscribed"),
        ("suppressed", "suppressed"),
        ("suppressed_address", "suppressed"),
        ("program_stopped", "program_stopped"),
        ("no_address", "no_address"),
        ("forgotten", "no_address"),
        ("bounced", "bounced"),
    ],
)
def test_what_became_known_since_the_plan_keeps_a_message_from_leaving(shop: Shop, what: str, reason: str) -> None:
    shop.customer("ann")
    message = shop.message("ann")
    before_sending(shop, what)
    provider = Provider()
    run(shop, provider=provider)
    assert shop.outcomes(message) == [("skipped", reason)]
    assert provider.calls == []
    assert regret_sends(shop.warehouse) == 0


@pytest.mark.parametrize("clock", ["real", "simulated"])
@pytest.mark.parametrize("what", ["purchased", "consent_withdrawn", "unsubscribed", "complained"])
def test_what_was_stamped_by_a_clock_ahead_of_ours_has_happened(shop: Shop, what: str, clock: str) -> None:
    """On a simulated clock it has not: the raw tables hold the days to come."""
    shop.settings = shop.settings.model_copy(update={"clock": clock})
    shop.customer("ann")
    message = shop.message("ann")
    ahead = NOON + timedelta(hours=5)
    match what:
        case "purchased":
            shop.order("ann", ahead)
        case "consent_withdrawn":
            shop.consent("ann", "email", ahead, granted=False)
        case _:
            shop.event("ann", what, ahead)
    run(shop)
    reason = {"complained": "unsubscribed"}.get(what, what)
    assert shop.outcomes(message) == [("skipped", reason) if clock == "real" else ("accepted", None)]


def test_consent_that_is_stamped_ahead_of_our_clock_is_not_given_yet(shop: Shop) -> None:
    shop.settings = shop.settings.model_copy(update={"clock": "real"})
    shop.customer("ann", consents=[])
    message = shop.message("ann")
    shop.consent("ann", "email", NOON + timedelta(hours=5))
    run(shop)
    assert shop.outcomes(message) == [("skipped", "no_consent")]


@pytest.mark.parametrize("written", ["+447700900001", " +44 7700 900001", "0044 (7700) 900-001"])
def test_who_unsubscribed_by_a_phone_number_gets_no_sms(shop: Shop, written: str) -> None:
    shop.customer("ann", phone="+447700900001")
    message = shop.message("ann", "sms")
    shop.warehouse.execute(
        "insert into raw.message_events values ('e', null, ?, 'sms', 'unsubscribed', ?, null, false)", [written, NOON - timedelta(hours=1)]
    )
    run(shop)
    assert shop.outcomes(message) == [("skipped", "unsubscribed")]


@pytest.mark.parametrize(
    "order",
    [
        {"status": "cancelled"},
        {"refunded": 10},
        {"at": NOON + timedelta(hours=1)},
        {"at": AS_OF - timedelta(days=7)},
        {"at": AS_OF - timedelta(days=90)},
        {"at": AS_OF - timedelta(days=120)},
    ],
)
def test_an_order_that_ends_no_journey_keeps_nothing_from_leaving(shop: Shop, order: dict[str, Any]) -> None:
    shop.customer("ann")
    message = shop.message("ann")
    shop.order("ann", order.pop("at", NOON - timedelta(hours=1)), **order)
    run(shop)
    assert shop.outcomes(message) == [("accepted", None)]


def test_engagement_by_a_person_stops_a_program_that_asks_for_it(shop: Shop) -> None:
    shop.program("fading", exit_on_engagement=True)
    for name in ("ann", "bob"):
        shop.customer(name)
    ann, bob = shop.message("ann", program="fading"), shop.message("bob", program="fading")
    shop.event("ann", "opened", NOON - timedelta(hours=1))
    shop.event("bob", "opened", NOON - timedelta(hours=1), is_machine=True)
    run(shop)
    assert shop.outcomes(ann) == [("skipped", "engaged")]
    assert shop.outcomes(bob) == [("accepted", None)]


def test_a_suppression_that_was_lifted_or_has_ended_holds_nobody(shop: Shop) -> None:
    shop.customer("ann")
    common = {"customer_id": "ann", "channel": "all", "starts_at": AS_OF - timedelta(days=9), "recorded_at": AS_OF}
    shop.ledger.record("suppressions", [{**common, "suppression_id": "a", "operation": operation} for operation in ("add", "lift")])
    shop.ledger.record("suppressions", [{**common, "suppression_id": "b", "operation": "add", "ends_at": NOON}])
    shop.message("ann")
    assert run(shop).total("accepted") == 1


def test_a_paused_program_waits_and_goes_on(shop: Shop) -> None:
    shop.customer("ann")
    shop.message("ann")
    shop.status("lapsing", "paused", AS_OF)
    report = run(shop)
    assert report.claimed == 0
    assert report.waiting == {"paused": 1}
    shop.status("lapsing", "live", NOON)
    assert run(shop).total("accepted") == 1


def test_quiet_hours_are_those_of_the_customer(shop: Shop) -> None:
    shop.policy()
    shop.customer("ann", timezone="Asia/Tokyo")
    shop.customer("bob", timezone="Europe/London")
    ann, bob = shop.message("ann"), shop.message("bob")
    at = datetime(2017, 12, 1, 13)  # 22:00 in Tokyo
    run(shop, at)
    assert shop.outcomes(bob) == [("accepted", None)]
    row = shop.ledger.rows("outcomes", item_id=ann)[0]
    assert (row["outcome"], row["reason"], row["retry_at"]) == ("deferred", "quiet_hours", datetime(2017, 12, 1, 23))
    assert run(shop, datetime(2017, 12, 1, 22)).claimed == 0
    run(shop, datetime(2017, 12, 1, 23))
    assert shop.outcomes(ann)[-1] == ("accepted", None)


def test_no_more_messages_than_the_cap_and_the_rest_later(shop: Shop) -> None:
    shop.policy(caps={"email": {"messages": 2, "days": 7}})
    shop.program("fading", priority=90)
    shop.customer("ann")
    shop.event("ann", "sent", AS_OF - timedelta(days=2), campaign="newsletter")
    shop.event("ann", "sent", AS_OF - timedelta(days=3), campaign="lapsing")  # ours: counted from the ledger
    low, high = shop.message("ann"), shop.message("ann", program="fading")
    run(shop)
    assert shop.outcomes(high) == [("accepted", None)]
    row = shop.ledger.rows("outcomes", item_id=low)[0]
    assert (row["outcome"], row["reason"], row["retry_at"]) == ("deferred", "capped", datetime(2017, 12, 6))


def test_a_customers_own_limit_is_tighter_than_the_policy(shop: Shop) -> None:
    shop.policy(caps={"email": {"messages": 5, "days": 7}})
    shop.customer("ann")
    row = {
        "limit_id": "l",
        "operation": "add",
        "customer_id": "ann",
        "channel": "email",
        "max_messages": 0,
        "window_days": 30,
        "recorded_at": AS_OF,
    }
    shop.ledger.record("frequency_limits", [row])
    message = shop.message("ann")
    run(shop)
    assert shop.outcomes(message) == [("deferred", "capped")]
    shop.ledger.record("frequency_limits", [{**row, "operation": "lift"}])
    run(shop, NOON + timedelta(days=31))
    assert shop.outcomes(message)[-1] == ("skipped", "expired")


def test_throttling_is_honoured_and_tried_again(shop: Shop) -> None:
    shop.customer("ann")
    message = shop.message("ann")

    def throttled(messages: Sequence[Message]) -> list[Result]:
        raise RetryLater("provider: throttled", 600)

    run(shop, provider=Provider(throttled))
    row = shop.ledger.rows("outcomes", item_id=message)[0]
    assert row["outcome"] == "deferred"
    assert NOON + timedelta(minutes=10) <= row["retry_at"] <= NOON + timedelta(minutes=11)
    provider = Provider()
    assert run(shop, NOON + timedelta(minutes=9), provider=provider).waiting == {"retry": 1}
    run(shop, NOON + timedelta(minutes=12), provider=provider)
    assert shop.outcomes(message)[-1] == ("accepted", None)
    assert provider.taken == [message]


def test_waits_grow_with_attempts(shop: Shop) -> None:
    shop.customer("ann")
    message = shop.message("ann")

    def down(messages: Sequence[Message]) -> list[Result]:
        raise RetryLater("provider: failed with status 500")

    now = NOON
    waits = []
    for _ in range(5):
        run(shop, now, provider=Provider(down))
        retry_at = shop.ledger.rows("outcomes", item_id=message)[-1]["retry_at"]
        waits.append((retry_at - now).total_seconds())
        now = retry_at
    assert all(0.8 * 30 * 2**number <= wait <= 1.2 * 30 * 2**number for number, wait in enumerate(waits))


def test_a_bad_item_is_found_by_halving_and_the_others_leave(shop: Shop) -> None:
    for number in range(8):
        shop.customer(f"c{number}")
    ids = [shop.message(f"c{number}") for number in range(8)]

    def picky(messages: Sequence[Message]) -> list[Result]:
        if any(message.message_id == ids[2] for message in messages):
            raise RejectItem("provider: bad request")
        return [Result(Outcome.ACCEPTED)] * len(messages)

    provider = Provider(picky)
    run(shop, provider=provider)
    assert sorted(provider.taken) == sorted(set(ids) - {ids[2]})
    assert shop.outcomes(ids[2]) == [("rejected", "provider: bad request")]


def test_a_provider_that_is_down_is_given_up_and_other_channels_go_on(shop: Shop) -> None:
    for number in range(60):
        shop.customer(f"c{number}")
        shop.message(f"c{number}", "email")
        shop.message(f"c{number}", "sms", step_no=2)

    def down(messages: Sequence[Message]) -> list[Result]:
        raise RetryLater("provider: no connection")

    broken, well = Provider(down), SafeProvider()
    well.name = "well"  # type: ignore[misc]
    report = run(shop, destinations=Destinations({Channel.EMAIL: broken, Channel.SMS: well}))
    assert len(broken.calls) == 5
    assert "5 calls failed in a row" in report.stopped["provider"]
    assert len(well.taken) == 60
    assert report.outcomes["email"]["accepted"] == 0


def test_refused_credentials_stop_only_that_destination(shop: Shop) -> None:
    for number in range(10):
        shop.customer(f"c{number}")
        shop.message(f"c{number}", "email")
        shop.message(f"c{number}", "push", step_no=2)

    def refused(messages: Sequence[Message]) -> list[Result]:
        raise StopRun("provider: credentials refused (401)")

    broken, well = Provider(refused), SafeProvider()
    well.name = "well"  # type: ignore[misc]
    report = run(shop, destinations=Destinations({Channel.EMAIL: broken, Channel.PUSH: well}))
    assert broken.calls == [4]
    assert report.stopped == {"provider": "provider: credentials refused (401)"}
    assert len(well.taken) == 10
    run(shop, NOON + timedelta(hours=1))
    assert {outcome[-1][0] for outcome in map(shop.outcomes, [row["message_id"] for row in shop.ledger.rows("messages")])} == {"accepted"}


def test_a_channel_without_a_destination_waits_and_is_named(shop: Shop) -> None:
    shop.customer("ann")
    message = shop.message("ann", "sms")
    report = run(shop, destinations=Destinations({Channel.EMAIL: Provider()}))
    assert shop.outcomes(message) == []
    assert list(report.stopped) == ["channel sms"]


@pytest.mark.parametrize("failure", [InDoubt("provider: sent, no answer"), ValueError("a bug")])
def test_what_is_in_doubt_is_left_where_the_provider_cannot_be_asked(shop: Shop, failure: Exception) -> None:
    shop.customer("ann")
    message = shop.message("ann")

    def lost(messages: Sequence[Message]) -> list[Result]:
        raise failure

    report = run(shop, provider=Provider(lost))
    assert report.total("unknown") == 1
    row = shop.ledger.rows("outcomes", item_id=message)[0]
    assert (row["outcome"], row["retry_at"]) == ("unknown", None)
    provider = Provider()
    run(shop, NOON + timedelta(hours=5), provider=provider)
    assert provider.calls == []


@pytest.mark.parametrize("arrived", [True, False])
def test_what_is_in_doubt_is_asked_about(shop: Shop, arrived: bool) -> None:
    shop.customer("ann")
    message = shop.message("ann")

    run(shop, provider=AskableProvider(lost))
    provider = AskableProvider()
    provider.taken = [message] if arrived else []
    for hours in (1, 2):
        run(shop, NOON + timedelta(hours=hours), provider=provider)
    outcomes = [outcome for outcome, _ in shop.outcomes(message)]
    assert outcomes == (["unknown", "accepted"] if arrived else ["unknown", "deferred", "accepted"])
    assert provider.taken == [message]


def test_what_is_in_doubt_is_repeated_where_that_is_harmless(shop: Shop) -> None:
    shop.customer("ann")
    message = shop.message("ann")

    run(shop, provider=SafeProvider(lost))
    run(shop, NOON + timedelta(hours=1), provider=SafeProvider())
    assert [outcome for outcome, _ in shop.outcomes(message)] == ["unknown", "accepted"]


class Another(SafeProvider):
    name = "another"

    def resolve(self, messages: Sequence[Message], now: datetime) -> list[Result]:
        return [Result(Outcome.DEFERRED)] * len(messages)


class AnotherAskable(Another):
    capabilities: ClassVar[Capabilities] = AskableProvider.capabilities


@pytest.mark.parametrize("another", [Another, AnotherAskable])
@pytest.mark.parametrize("dies", [False, True], ids=["no_answer", "died"])
def test_what_is_in_doubt_at_one_destination_is_not_another_ones_business(shop: Shop, another: type[Provider], dies: bool) -> None:
    shop.customer("ann")
    message = shop.message("ann")

    def lost(messages: Sequence[Message]) -> list[Result]:
        if dies:
            raise KeyboardInterrupt
        raise InDoubt("provider: sent, no answer")

    with suppress(KeyboardInterrupt):
        run(shop, provider=AskableProvider(lost))
    other = another()
    for hours in (1, 2, 3):
        run(shop, NOON + timedelta(hours=hours), provider=other)
    assert (other.calls, other.taken) == ([], [])
    assert {outcome for outcome, _ in shop.outcomes(message)} == {"unknown"}
    assert {row["destination"] for row in shop.ledger.rows("outcomes")} == {"provider"}


@pytest.mark.parametrize("address", ["ann@example.com", "new@example.com"])
def test_who_is_asked_is_told_since_when_and_whether_the_address_is_the_same(shop: Shop, address: str) -> None:
    shop.customer("ann")
    shop.message("ann")
    asked: list[Message] = []

    class Recording(AskableProvider):
        def resolve(self, messages: Sequence[Message], now: datetime) -> list[Result]:
            asked.extend(messages)
            return super().resolve(messages, now)

    run(shop, provider=Recording(lost))
    shop.warehouse.execute("update intermediate.int_customers__contacts set email = ?", [address])
    run(shop, NOON + timedelta(hours=1), provider=Recording())
    assert [(message.first_tried_at, message.is_readdressed) for message in asked] == [(NOON, address != "ann@example.com")]


def test_in_doubt_and_then_purchased_is_not_called_skipped(shop: Shop) -> None:
    shop.customer("ann")
    message = shop.message("ann")

    run(shop, provider=SafeProvider(lost))
    shop.order("ann", NOON + timedelta(minutes=5))
    provider = SafeProvider()
    for hours in (1, 2):
        run(shop, NOON + timedelta(hours=hours), provider=provider)
    assert shop.outcomes(message)[1:] == [("unknown", "in doubt, and then purchased")]
    assert provider.calls == []


class SafeAndAskable(AskableProvider):
    capabilities: ClassVar[Capabilities] = Capabilities(MESSAGES, batch_size=4, idempotent=True, can_ask=True)


def lost(messages: Sequence[Message]) -> list[Result]:
    raise InDoubt("provider: sent, no answer")


@pytest.mark.parametrize("provider_type", [AskableProvider, SafeAndAskable])
@pytest.mark.parametrize("since", ["capped", "purchased", "expired"])
def test_in_doubt_and_no_longer_to_be_sent_is_asked_about_where_it_can_be(
    shop: Shop, provider_type: type[AskableProvider], since: str
) -> None:
    shop.policy(caps={"email": {"messages": 1, "days": 7}})
    shop.customer("ann")
    shop.customer("bob")
    arrived, never = shop.message("ann"), shop.message("bob")
    run(shop, provider=provider_type(lost))
    for name in ("ann", "bob"):
        if since == "capped":
            shop.event(name, "sent", NOON + timedelta(minutes=5), campaign="newsletter")
        elif since == "purchased":
            shop.order(name, NOON + timedelta(minutes=5))
    provider = provider_type()
    provider.taken = [arrived]
    now = AS_OF + timedelta(days=4) if since == "expired" else NOON + timedelta(hours=1)
    for hours in range(3):
        run(shop, now + timedelta(hours=hours), provider=provider)
    assert shop.outcomes(arrived) == [("unknown", "provider: sent, no answer"), ("accepted", None)]
    assert shop.outcomes(never)[2:] == [("deferred" if since == "capped" else "skipped", since)]
    assert provider.taken == [arrived]


def test_past_its_patience_what_is_in_doubt_is_asked_about_once_more_and_then_left(shop: Shop) -> None:
    class Silent(AskableProvider):
        def resolve(self, messages: Sequence[Message], now: datetime) -> list[Result]:
            return [Result(Outcome.UNKNOWN)] * len(messages)

    shop.customer("ann")
    message = shop.message("ann")
    run(shop, provider=Silent(lost))
    for days in range(4, 9):
        run(shop, AS_OF + timedelta(days=days), provider=Silent())
    assert [outcome for outcome, _ in shop.outcomes(message)] == ["unknown", "unknown"]


def test_in_doubt_stays_so_when_the_message_can_no_longer_be_made(shop: Shop) -> None:
    class Failing(PlainRenderer):
        def render(self, item: Any) -> Message:
            raise RejectItem("a name too long") if item.row["customer_id"] == "ann" else KeyError("name")

    for name in ("ann", "bob"):
        shop.customer(name)
    ids = shop.message("ann"), shop.message("bob")
    provider = AskableProvider(lost)
    run(shop, provider=provider)
    places = shop.destinations(messages=provider)
    dispatch(shop.settings, shop.warehouse, shop.ledger, places, NOON + timedelta(hours=1), renderer=Failing())
    assert [[outcome for outcome, _ in shop.outcomes(item)] for item in ids] == [["unknown", "unknown"]] * 2


@pytest.mark.parametrize("single", [True, False])
def test_in_doubt_stays_so_when_repeating_is_put_off(shop: Shop, single: bool) -> None:
    """The provider takes nothing now; the first attempt may have arrived all the same."""

    def later(messages: Sequence[Message]) -> list[Result]:
        if single:
            return [Result(Outcome.DEFERRED, "provider: busy")]
        raise RetryLater("provider: throttled")

    shop.customer("ann")
    message = shop.message("ann")
    run(shop, provider=SafeProvider(lost))
    run(shop, NOON + timedelta(hours=1), provider=SafeProvider(later))
    shop.order("ann", NOON + timedelta(hours=2))
    run(shop, NOON + timedelta(hours=9), provider=SafeProvider())
    assert [outcome for outcome, _ in shop.outcomes(message)] == ["unknown", "unknown", "unknown"]


def test_a_claim_whose_dispatcher_died_is_in_doubt_once_its_lease_is_over(shop: Shop) -> None:
    shop.customer("ann")
    message = shop.message("ann")
    lease = NOON + timedelta(minutes=15)
    shop.ledger.record("claims", [{"item_id": message, "attempt": 1, "worker": "dead", "lease_until": lease, "recorded_at": NOON}])
    provider = Provider()
    report = run(shop, NOON + timedelta(minutes=14), provider=provider)
    assert report.waiting == {"in_flight": 1}
    report = run(shop, NOON + timedelta(minutes=15), provider=provider)
    assert report.total("unknown") == 1
    assert provider.calls == []
    assert [outcome for outcome, _ in shop.outcomes(message)] == ["unknown"]


def test_the_answer_of_a_slow_dispatcher_is_not_overtaken(shop: Shop) -> None:
    """Its claim ran out in the queue, but the answer came in before the next claim: nothing is sent again."""
    shop.customer("ann")
    message = shop.message("ann")
    shop.ledger.record("claims", [{"item_id": message, "attempt": 1, "worker": "slow", "lease_until": NOON, "recorded_at": AS_OF}])
    provider = SafeProvider()

    def answer_arrives() -> datetime:
        # The clock is read between the reading of the queue and the claim.
        if calls:
            shop.ledger.record("outcomes", [{"item_id": message, "attempt": 1, "outcome": "accepted", "recorded_at": NOON}])
        calls.append(1)
        return NOON

    calls: list[int] = []
    answer_arrives()
    calls.clear()
    run(shop, provider=provider, clock=lambda: answer_arrives())
    assert provider.calls == []
    assert [outcome for outcome, _ in shop.outcomes(message)] == ["accepted"]


def test_a_poison_message_is_soon_alone(shop: Shop) -> None:
    for number in range(4):
        shop.customer(f"c{number}")
    ids = [shop.message(f"c{number}") for number in range(4)]

    def choking(messages: Sequence[Message]) -> list[Result]:
        if any(message.message_id == ids[1] for message in messages):
            raise ZeroDivisionError
        return [Result(Outcome.ACCEPTED)] * len(messages)

    provider = SafeProvider(choking)
    for hours in range(3):
        run(shop, NOON + timedelta(hours=hours), provider=provider)
    assert sorted(provider.taken) == sorted(set(ids) - {ids[1]})


class Death(BaseException):
    """Ends a dispatch as a kill would: nothing is recorded of what was under way."""


def test_an_answer_that_comes_after_the_claim_ran_out_counts_all_the_same(shop: Shop) -> None:
    """Another dispatcher has meanwhile noted the item as unknown, which it no longer is: neither what was taken, nor what was not."""
    for name in ("ann", "bob"):
        shop.customer(name)
    ids = [shop.message("ann"), shop.message("bob")]
    other = Provider()

    def slow(messages: Sequence[Message]) -> list[Result]:
        places = shop.destinations(messages=other)
        later = NOON + timedelta(minutes=16)
        dispatch(shop.settings, shop.warehouse.cursor(), shop.ledger, places, later, renderer=PlainRenderer())
        return [Result(Outcome.ACCEPTED), Result(Outcome.DEFERRED, "provider: busy")]

    run(shop, provider=Provider(slow))
    run(shop, NOON + timedelta(hours=1), provider=other)
    assert sorted([outcome for outcome, _ in shop.outcomes(item)] for item in ids) == [
        ["unknown", "accepted"],
        ["unknown", "deferred", "accepted"],
    ]
    assert other.calls == [1]


def test_what_was_in_doubt_before_stays_so_when_a_late_answer_says_not_now(shop: Shop) -> None:
    shop.customer("ann")
    message = shop.message("ann")

    run(shop, provider=SafeProvider(lost))

    def slow(messages: Sequence[Message]) -> list[Result]:
        places = shop.destinations(messages=Provider())
        later = NOON + timedelta(hours=2)
        dispatch(shop.settings, shop.warehouse.cursor(), shop.ledger, places, later, renderer=PlainRenderer())
        return [Result(Outcome.DEFERRED, "provider: busy")]

    run(shop, NOON + timedelta(hours=1), provider=SafeProvider(slow))
    assert {outcome for outcome, _ in shop.outcomes(message)} == {"unknown"}


def test_a_hiccup_of_the_ledger_leaves_nothing_in_doubt(shop: Shop) -> None:
    shop.customer("ann")
    message = shop.message("ann")
    failures = [0]

    def fail(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "into outcomes" in statement and failures[0]:
            failures[0] -= 1
            raise OperationalError(statement, None, sqlite3.OperationalError("disk I/O error"))

    def sent(messages: Sequence[Message]) -> list[Result]:
        failures[0] = 3
        return [Result(Outcome.ACCEPTED)] * len(messages)

    event.listen(shop.ledger.engine, "before_cursor_execute", fail)
    pauses: list[float] = []
    report = run(shop, provider=Provider(sent), timer=Timer(sleep=pauses.append))
    assert shop.outcomes(message) == [("accepted", None)]
    assert report.total("accepted") == 1
    assert pauses == [1.0, 2.0, 5.0]


def test_no_call_begins_so_late_that_another_dispatcher_may_ask_before_it_can_be_found(shop: Shop) -> None:
    class Lagging(AskableProvider):
        capabilities: ClassVar[Capabilities] = Capabilities(MESSAGES, batch_size=4, can_ask=True, ask_after=300)

    for number in range(8):
        shop.customer(f"c{number}")
        shop.message(f"c{number}")
    clock = [NOON]

    def slow(messages: Sequence[Message]) -> list[Result]:
        clock[0] += timedelta(minutes=10)
        return [Result(Outcome.ACCEPTED)] * len(messages)

    provider = Lagging(slow)
    report = run(shop, provider=provider, clock=lambda: clock[0])
    assert provider.calls == [4]
    assert report.reasons == {"deferred": {"not sent: the claim ran out while waiting": 4}}


def test_a_clock_that_jumps_back_sends_nothing_twice(shop: Shop) -> None:
    for name in ("ann", "bob"):
        shop.customer(name)
    ids = [shop.message("ann"), shop.message("bob")]
    run(shop, provider=Provider(lambda messages: [Result(Outcome.ACCEPTED), Result(Outcome.DEFERRED, "provider: busy")]))
    provider = Provider()
    for now in (NOON - timedelta(hours=2), NOON - timedelta(days=1), NOON + timedelta(hours=1), NOON):
        run(shop, now, provider=provider)
    assert provider.calls == [1]
    assert {shop.outcomes(item)[-1][0] for item in ids} == {"accepted"}


def test_two_days_that_wait_leave_one_after_the_other(shop: Shop) -> None:
    shop.customer("ann")
    ids = [
        shop.message("ann", step_no=day + 1, as_of=AS_OF + timedelta(days=day), not_before=AS_OF + timedelta(days=day)) for day in (0, 1)
    ]
    provider = Provider()
    run(shop, NOON + timedelta(days=1), provider=provider)
    assert provider.taken == ids
    assert provider.calls == [1, 1]


def test_a_ledger_that_another_process_writes_to_is_waited_for(shop: Shop) -> None:
    for name in ("ann", "bob"):
        shop.customer(name)
        shop.message(name)
    writer = sqlite3.connect(str(shop.ledger.engine.url.database), isolation_level=None, check_same_thread=False)

    def meanwhile(messages: Sequence[Message]) -> list[Result]:
        writer.execute("begin immediate")
        threading.Timer(0.3, writer.execute, ["commit"]).start()
        return [Result(Outcome.ACCEPTED)] * len(messages)

    assert run(shop, provider=Provider(meanwhile)).total("accepted") == 2
    assert {row["outcome"] for row in shop.ledger.rows("outcomes")} == {"accepted"}


def test_a_message_that_kills_the_dispatcher_does_not_keep_the_others_from_leaving(shop: Shop) -> None:
    for number in range(60):
        shop.customer(f"c{number}")
    ids = [shop.message(f"c{number}") for number in range(60)]

    def deadly(messages: Sequence[Message]) -> list[Result]:
        if any(message.message_id == ids[1] for message in messages):
            raise Death
        return [Result(Outcome.ACCEPTED)] * len(messages)

    for number in range(8):
        with pytest.raises(Death):
            run(shop, NOON + timedelta(minutes=20 * number), provider=SafeProvider(deadly))
    accepted = {row["item_id"] for row in shop.ledger.rows("outcomes") if row["outcome"] == "accepted"}
    assert accepted == set(ids) - {ids[1]}
    # And from then on it goes last.
    shop.customer("late")
    late = shop.message("late")
    with pytest.raises(Death):
        run(shop, NOON + timedelta(hours=4), provider=SafeProvider(deadly))
    assert shop.outcomes(late) == [("accepted", None)]


def test_an_answer_with_the_wrong_number_of_results_is_not_believed(shop: Shop) -> None:
    shop.customer("ann")
    message = shop.message("ann")
    run(shop, provider=Provider(lambda messages: [Result(Outcome.ACCEPTED)] * 2))
    assert shop.outcomes(message) == [("unknown", "provider answered 2 results for 1 items")]


def test_a_message_that_cannot_be_made_is_put_off_and_the_others_leave(shop: Shop) -> None:
    class Renderer(PlainRenderer):
        def render(self, item: Any) -> Message:
            if item.row["customer_id"] == "ann":
                raise KeyError("ann@example.com")
            return super().render(item)

    for name in ("ann", "bob"):
        shop.customer(name)
    ann, bob = shop.message("ann"), shop.message("bob")
    dispatch(shop.settings, shop.warehouse, shop.ledger, shop.destinations(), NOON, renderer=Renderer())
    assert shop.outcomes(ann) == [("deferred", "could not be made: KeyError")]
    assert shop.outcomes(bob) == [("accepted", None)]


def test_a_dead_push_token_is_not_used_again(shop: Shop) -> None:
    shop.customer("ann")
    first, second = shop.message("ann", "push"), shop.message("ann", "push", step_no=2, not_before=NOON + timedelta(hours=1))
    run(shop, provider=Provider(lambda messages: [Result(Outcome.REJECTED, DEAD_TOKEN)] * len(messages)))
    assert shop.outcomes(first) == [("rejected", DEAD_TOKEN)]
    provider = Provider()
    run(shop, NOON + timedelta(hours=2), provider=provider)
    assert shop.outcomes(second) == [("skipped", "suppressed")]
    assert "token-ann" not in str(shop.ledger.rows("suppressions"))


def test_the_days_that_are_done_are_not_looked_at_again(shop: Shop) -> None:
    shop.customer("ann")
    shop.message("ann")
    shop.message("ann", "sms", step_no=2, as_of=AS_OF + timedelta(days=1), not_before=AS_OF + timedelta(days=2))
    run(shop)
    details = next(row["details"] for row in shop.ledger.rows("audit_trail") if row["act"] == "dispatch")
    assert '"open_since": "2017-12-02 00:00:00"' in details
    assert run(shop, AS_OF + timedelta(days=2, hours=12)).total("accepted") == 1


def test_what_a_person_puts_back_while_a_dispatch_runs_is_seen_by_the_next(shop: Shop) -> None:
    for name in ("ann", "bob", "cid"):
        shop.customer(name)
    ann = shop.message("ann")
    run(shop, provider=Provider(lambda messages: [Result(Outcome.REJECTED, "bad")] * len(messages)))
    shop.message("bob", as_of=AS_OF + timedelta(days=1))
    run(shop, NOON + timedelta(days=1))
    shop.message("cid", as_of=AS_OF + timedelta(days=2))
    now = NOON + timedelta(days=2)

    def meanwhile(messages: Sequence[Message]) -> list[Result]:
        decisions = may_retry(shop.settings, named(shop.ledger, [ann], now), now)
        put_back(shop.ledger, decisions, actor="ops", now=now, acted_at=now)
        return [Result(Outcome.ACCEPTED)] * len(messages)

    assert run(shop, now, provider=Provider(meanwhile)).total("accepted") == 1
    run(shop, now + timedelta(minutes=1))
    assert shop.outcomes(ann)[-1] == ("accepted", None)


def test_a_rate_is_kept_without_waiting_in_the_test(shop: Shop) -> None:
    class Slow(Provider):
        capabilities: ClassVar[Capabilities] = Capabilities(MESSAGES, batch_size=1, rate_per_second=2)

    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    for number in range(5):
        shop.customer(f"c{number}")
        shop.message(f"c{number}")
    run(shop, provider=Slow(), timer=Timer(lambda: clock[0], sleep))
    assert clock[0] == pytest.approx(2.0)


class Minutely(SafeProvider):
    """One message a minute."""

    capabilities: ClassVar[Capabilities] = Capabilities(MESSAGES, rate_per_second=1 / 60, idempotent=True)


def minute_by_minute(shop: Shop, provider: Provider, begin: datetime = NOON) -> None:
    passed = [0.0]

    def sleep(seconds: float) -> None:
        passed[0] += seconds

    run(shop, begin, provider=provider, clock=lambda: begin + timedelta(seconds=passed[0]), timer=Timer(lambda: passed[0], sleep))


def test_a_long_dispatch_looks_at_the_queue_again(shop: Shop) -> None:
    """Quiet hours, caps and patience are those of the queue's reading; so is a pause."""
    for number in range(30):
        shop.customer(f"c{number}")
        shop.message(f"c{number}")

    def paused_meanwhile(messages: Sequence[Message]) -> list[Result]:
        if len(provider.calls) == 5:
            shop.status("lapsing", "paused", NOON + timedelta(minutes=5))
        return [Result(Outcome.ACCEPTED)] * len(messages)

    provider = Minutely(paused_meanwhile)
    minute_by_minute(shop, provider)
    assert len(provider.taken) == pytest.approx(15, abs=2)


def test_a_dispatch_ends_so_that_others_get_their_turn_and_the_next_goes_on(shop: Shop) -> None:
    for number in range(60):
        shop.customer(f"c{number}")
        shop.message(f"c{number}")
    provider = Minutely()
    minute_by_minute(shop, provider)
    assert len(provider.taken) == pytest.approx(45, abs=2)
    minute_by_minute(shop, provider, NOON + timedelta(hours=1))
    assert len(provider.taken) == len(set(provider.taken)) == 60


class Platform:
    """An ad platform with set semantics."""

    name = "platform"
    capabilities: ClassVar[Capabilities] = Capabilities(frozenset({Channel.ADS}), batch_size=100, idempotent=True, needs_contact=True)

    def __init__(self) -> None:
        self.members: dict[str, set[str]] = {}
        self.calls: list[tuple[str, str, int]] = []
        self.contacts: list[Contact | None] = []

    def identifiers(self, contact: Contact) -> tuple[tuple[str, str], ...]:
        return ()

    def change(self, changes: Sequence[AudienceChange], now: datetime) -> list[Result]:
        audience, operation = changes[0].audience, changes[0].operation
        assert {(change.audience, change.operation) for change in changes} == {(audience, operation)}
        self.calls.append((audience, operation, len(changes)))
        for change in changes:
            self.contacts.append(change.contact)
            members = self.members.setdefault(audience, set())
            members.add(change.customer_id) if operation == "add" else members.discard(change.customer_id)
        return [Result(Outcome.ACCEPTED)] * len(changes)

    def check(self) -> str:
        return "platform"

    def close(self) -> None: ...


def change(shop: Shop, customer: str, operation: str, *, as_of: datetime = AS_OF, program: str = "lapsing") -> str:
    change_id = identity("meta", program, customer, operation, as_of)
    row = {
        "change_id": change_id,
        "platform": "meta",
        "audience": program,
        "program": program,
        "customer_id": customer,
        "operation": operation,
        "identifiers": '[["EMAIL","aa"]]',
        "as_of": as_of,
        "recorded_at": as_of,
    }
    shop.ledger.record("audience_changes", [row])
    return change_id


def test_audience_changes_go_out_by_audience_and_operation_with_contacts_where_needed(shop: Shop) -> None:
    shop.program("fading")
    for name in ("ann", "bob", "cid"):
        shop.customer(name)
        for program in ("lapsing", "fading"):
            change(shop, name, "add", program=program)
    change(shop, "dan", "remove")
    platform = Platform()
    report = run(shop, destinations=shop.destinations(audiences=platform))
    assert sorted(platform.calls) == [("fading", "add", 3), ("lapsing", "add", 3), ("lapsing", "remove", 1)]
    assert {contact.email for contact in platform.contacts if contact} >= {"ann@example.com"}
    assert report.outcomes["ads:meta"]["accepted"] == 7


def test_an_add_is_not_made_for_someone_who_left_meanwhile(shop: Shop) -> None:
    for name in ("ann", "bob", "cid", "dan"):
        shop.customer(name, consents=("email",) if name == "cid" else ("ads",))
        shop.message(name, not_before=NOON + timedelta(days=1))
    ids = {name: change(shop, name, "add") for name in ("ann", "bob", "cid", "dan")}
    shop.order("ann", NOON - timedelta(hours=1))
    remove = change(shop, "bob", "remove", as_of=AS_OF + timedelta(days=1))
    platform = Platform()
    run(shop, destinations=shop.destinations(audiences=platform))
    assert {name: shop.outcomes(item)[0] for name, item in ids.items()} == {
        "ann": ("skipped", "purchased"),
        "bob": ("skipped", "superseded"),
        "cid": ("skipped", "no_consent"),
        "dan": ("accepted", None),
    }
    assert shop.outcomes(remove) == [("accepted", None)]
    assert platform.members == {"lapsing": {"dan"}}


class Ordering(Platform):
    """Takes orders and says later how they ended."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        frozenset({Channel.ADS}), batch_size=100, idempotent=True, can_ask=True, ask_after=60
    )

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def change(self, changes: Sequence[AudienceChange], now: datetime) -> list[Result]:
        super().change(changes, now)
        return [Result(Outcome.UNKNOWN, provider_id=f"order#{number}", retry_after=1800) for number, _ in enumerate(changes)]

    def resolve_changes(self, changes: Sequence[AudienceChange], provider_ids: Sequence[str], now: datetime) -> list[Result]:
        self.asked += provider_ids
        return [Result(Outcome.ACCEPTED)] * len(changes)


def test_an_order_is_followed_up_with_its_id(shop: Shop) -> None:
    shop.customer("ann")
    item = change(shop, "ann", "add")
    platform = Ordering()
    run(shop, destinations=shop.destinations(audiences=platform))
    assert run(shop, NOON + timedelta(minutes=29), destinations=shop.destinations(audiences=platform)).claimed == 0
    run(shop, NOON + timedelta(hours=1), destinations=shop.destinations(audiences=platform))
    assert platform.asked == ["order#0"]
    assert len(platform.calls) == 1
    assert [outcome for outcome, _ in shop.outcomes(item)] == ["unknown", "accepted"]


def test_an_order_that_could_not_be_asked_about_is_asked_about_again_and_not_placed_twice(shop: Shop) -> None:
    class Busy(Ordering):
        def resolve_changes(self, changes: Sequence[AudienceChange], provider_ids: Sequence[str], now: datetime) -> list[Result]:
            if now < NOON + timedelta(hours=2):
                raise RetryLater("platform: throttled")
            if now < NOON + timedelta(hours=14):
                raise Death
            return super().resolve_changes(changes, provider_ids, now)

    shop.customer("ann")
    item = change(shop, "ann", "add")
    platform = Busy()
    places = shop.destinations(audiences=platform)
    run(shop, destinations=places)
    run(shop, NOON + timedelta(hours=1), destinations=places)
    for hours in (9, 10):
        with pytest.raises(Death):
            run(shop, NOON + timedelta(hours=hours), destinations=places)
    run(shop, NOON + timedelta(hours=15), destinations=places)
    assert platform.asked == ["order#0"]
    assert len(platform.calls) == 1
    assert shop.outcomes(item)[-1] == ("accepted", None)


def test_a_provider_that_leaves_every_call_in_doubt_is_given_up(shop: Shop) -> None:
    for number in range(40):
        shop.customer(f"c{number}")
        shop.message(f"c{number}")
    provider = Provider(lambda batch: [Result(Outcome.UNKNOWN, "provider: failed with status 500")] * len(batch))
    report = run(shop, provider=provider)
    assert "in a row" in report.stopped[provider.name]
    assert report.total("unknown") == 20


def test_an_order_of_which_the_platform_knows_no_more_is_placed_again(shop: Shop) -> None:
    class Forgetful(Ordering):
        def resolve_changes(self, changes: Sequence[AudienceChange], provider_ids: Sequence[str], now: datetime) -> list[Result]:
            super().resolve_changes(changes, provider_ids, now)
            return [
                Result(Outcome.UNKNOWN, "platform: not known any more") if now < NOON + timedelta(hours=3) else Result(Outcome.ACCEPTED)
            ]

    shop.customer("ann")
    item = change(shop, "ann", "add")
    platform = Forgetful()
    for hours in (0, 2, 10, 20):
        run(shop, NOON + timedelta(hours=hours), destinations=shop.destinations(audiences=platform))
    assert platform.asked == ["order#0", "order#0"]
    assert len(platform.calls) == 2
    assert [outcome for outcome, _ in shop.outcomes(item)] == ["unknown", "unknown", "unknown", "accepted"]


def test_no_address_is_kept_in_the_ledger_or_said_in_the_report(shop: Shop) -> None:
    for name in ("ann", "bob"):
        shop.customer(name)
        for number, channel in enumerate(("email", "sms", "push"), start=1):
            shop.message(name, channel, step_no=number)
    report = run(shop)
    text = str(report) + str([shop.ledger.rows(table) for table in ("messages", "claims", "outcomes", "audit_trail", "suppressions")])
    for secret in ("@example.com", "+1555", "token-", "Zoë"):
        assert secret not in text
