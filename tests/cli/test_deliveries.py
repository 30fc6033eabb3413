from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner
from typer.testing import Result as Invoked

from tests.delivery.conftest import AS_OF, NOON, PlainRenderer, Shop, any_ledger, identity, postgres_server, postgres_url
from winback.cli.deliveries import app
from winback.deliveries import Filter, counted, discard, listed, may_discard, may_retry, named, put_back
from winback.delivery import dispatch
from winback.destinations import lane_of, open_destinations, routes
from winback.destinations.base import Capabilities, Channel, Message, Outcome, Result
from winback.errors import BadInput, InDoubt
from winback.ledger import Ledger
from winback.settings import Settings

__all__ = ["any_ledger", "postgres_server", "postgres_url"]

HOUR = timedelta(hours=1)


class Provider:
    """A provider that refuses everything, or leaves everything in doubt, until it is mended."""

    name = "outbox"
    capabilities: ClassVar[Capabilities] = Capabilities(frozenset(Channel), batch_size=10)

    def __init__(self, *, doubt: bool = False) -> None:
        self.taken: list[str] = []
        self.mended = False
        self._doubt = doubt

    def send(self, messages: Sequence[Message], now: datetime) -> list[Result]:
        if self.mended:
            self.taken += [message.message_id for message in messages]
            return [Result(Outcome.ACCEPTED)] * len(messages)
        if self._doubt:
            raise InDoubt("provider: no answer")
        return [Result(Outcome.REJECTED, "provider: not a customer of ours")] * len(messages)

    def resolve(self, messages: Sequence[Message], now: datetime) -> list[Result]:
        return [Result(Outcome.UNKNOWN)] * len(messages)

    def check(self) -> str:
        return "provider"

    def close(self) -> None: ...


def send(shop: Shop, provider: Provider, now: datetime = NOON) -> None:
    dispatch(
        shop.settings, shop.warehouse, shop.ledger, shop.destinations(messages=provider), now, renderer=PlainRenderer(), chance=Random(1)
    )


def run(*arguments: str, answer: str | None = None) -> Invoked:
    return CliRunner().invoke(app, list(arguments), input=answer)


def as_json(*arguments: str) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def refused(shop: Shop) -> tuple[Shop, Provider, str, str]:
    """Ann's email was rejected, Bob's text message waits for tomorrow."""
    shop.customer("ann")
    shop.customer("bob")
    first = shop.message("ann")
    second = shop.message("bob", "sms", not_before=AS_OF + timedelta(days=1))
    provider = Provider()
    send(shop, provider)
    return shop, provider, first, second


def test_everything_not_accepted_is_listed_with_counts_by_reason(refused: tuple[Shop, Provider, str, str]) -> None:
    _, _, first, second = refused
    told = as_json()
    assert {(row["status"], row["lane"], row["reason"], row["items"]) for row in told["counts"]} == {
        ("rejected", "email", "provider: not a customer of ours", 1),
        ("waiting", "sms", "not_before", 1),
    }
    assert {row["item_id"]: row["status"] for row in told["deliveries"]} == {first: "rejected", second: "waiting"}
    text = run().output
    assert "not a customer of ours" in text
    assert first[:12] in text


@pytest.mark.parametrize(
    ("option", "value", "found"),
    [
        ("--status", "rejected", {"ann"}),
        ("--status", "waiting", {"bob"}),
        ("--status", "deferred", set()),
        ("--channel", "sms", {"bob"}),
        ("--channel", "ads", set()),
        ("--destination", "outbox", {"ann"}),
        ("--program", "lapsing", {"ann", "bob"}),
        ("--customer", "bob", {"bob"}),
        ("--since", "2017-12-01T12:00:00", {"ann"}),
        ("--reason", "not_before", {"bob"}),
        ("--limit", "1", {"ann"}),
    ],
)
def test_filters(refused: tuple[Shop, Provider, str, str], option: str, value: str, found: set[str]) -> None:
    assert {row["customer_id"] for row in as_json(option, value)["deliveries"]} == found


def test_a_wrong_filter_says_what_is_allowed(shop: Shop) -> None:
    for option, message in (("--status", "deferred, rejected"), ("--channel", "email, sms"), ("--destination", "outbox, outbox_meta")):
        result = run(option, "pigeon")
        assert result.exit_code == 2
        assert "found 'pigeon'; allowed: " + message in " ".join(result.output.replace("│", " ").split())


def test_a_program_that_nobody_knows_is_named_and_not_taken_for_good_news(shop: Shop) -> None:
    assert "found 'laping'; the ledger knows: lapsing" in str(run("--program", "laping").exception)
    assert "found 'laping'; the ledger knows: lapsing" in str(run("retry", "--program", "laping").exception)


def test_looking_makes_no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINBACK_HOME", str(tmp_path / "home"))
    result = run()
    assert isinstance(result.exception, BadInput)
    assert "there is no ledger yet" in str(result.exception)
    assert not (tmp_path / "home").exists()


def test_what_was_accepted_is_not_listed_and_not_sent_again(shop: Shop) -> None:
    shop.customer("ann")
    item = shop.message("ann")
    provider = Provider()
    provider.mended = True
    send(shop, provider)
    assert as_json() == {"counts": [], "deliveries": []}
    result = run("retry", item)
    assert result.exit_code == 1
    assert f"{item} was accepted" in result.output
    send(shop, provider, NOON + HOUR)
    assert provider.taken == [item]


def test_a_rejected_one_goes_back_into_the_queue_and_out_once(refused: tuple[Shop, Provider, str, str]) -> None:
    shop, provider, first, _ = refused
    assert as_json("retry", first[:10]) == {"done": [first], "refused": []}
    provider.mended = True
    send(shop, provider, NOON + HOUR)
    send(shop, provider, NOON + 2 * HOUR)
    assert provider.taken == [first]
    assert [outcome for outcome, _ in shop.outcomes(first)] == ["rejected", "deferred", "accepted"]
    [act] = shop.ledger.rows("audit_trail", act="retry")
    assert (act["actor"], act["subject"]) == ("ada", first)
    assert json.loads(act["details"])["as_of"] == str(AS_OF)
    assert shop.ledger.verify() == []


def test_an_item_of_a_day_that_was_done_is_looked_at_again(refused: tuple[Shop, Provider, str, str]) -> None:
    shop, provider, first, _ = refused
    shop.customer("cleo")
    shop.message("cleo", as_of=AS_OF + timedelta(days=2), not_before=AS_OF + timedelta(days=2), expires_at=AS_OF + timedelta(days=9))
    send(shop, provider, AS_OF + timedelta(days=2, hours=12))
    assert as_json("retry", first)["done"] == [first]
    provider.mended = True
    send(shop, provider, AS_OF + timedelta(days=2, hours=13))
    assert first in provider.taken


def test_by_filter_it_asks_first(refused: tuple[Shop, Provider, str, str]) -> None:
    shop, _, first, _ = refused
    declined = run("retry", "--program", "lapsing", answer="n\n")
    assert declined.exit_code == 1
    assert "1 of 2 can be put back into the queue" in declined.output
    assert len(shop.outcomes(first)) == 1
    agreed = run("retry", "--program", "lapsing", answer="y\n")
    assert (agreed.exit_code, len(shop.outcomes(first))) == (0, 2)
    assert as_json("retry", "--status", "deferred", "--yes")["done"] == [first]


def test_it_must_be_said_which(shop: Shop) -> None:
    for arguments in (["retry"], ["discard", "--reason", "x"], ["retry", "abcdef", "--status", "rejected"]):
        result = run(*arguments)
        assert isinstance(result.exception, BadInput)
        assert "Say which: either ids, or filters" in str(result.exception)


def test_an_id_must_name_one_item(refused: tuple[Shop, Provider, str, str]) -> None:
    for one, message in (("00ff00ff", "nothing whose id begins with 00ff00ff"), ("ann@example", "is no id of a delivery")):
        with pytest.raises(BadInput, match=message):
            named(refused[0].ledger, [one], NOON)


def test_ids_that_begin_alike_are_listed(shop: Shop) -> None:
    ids = [f"abcdef{number:026x}" for number in range(12)]
    for number, one in enumerate(ids):
        shop.message(f"customer {number}", message_id=one)
    with pytest.raises(BadInput, match="More than one id begins with abcdef") as refused:
        named(shop.ledger, ["abcdef"], NOON)
    assert sum(one in str(refused.value) for one in ids) == 10


def test_past_its_patience_a_retry_would_be_for_nothing(refused: tuple[Shop, Provider, str, str]) -> None:
    shop, _, first, _ = refused
    [decision] = may_retry(shop.settings, named(shop.ledger, [first], NOON), AS_OF + timedelta(days=5))
    assert decision.outcome is None
    assert decision.why == "was to be sent until 2017-12-05 00:00 UTC: it would only be skipped"


def test_a_discarded_one_is_never_sent(refused: tuple[Shop, Provider, str, str]) -> None:
    shop, provider, first, second = refused
    assert as_json("discard", first, second, "--reason", "wrong  voucher")["refused"] == []
    provider.mended = True
    send(shop, provider, AS_OF + timedelta(days=1, hours=12))
    assert provider.taken == []
    assert shop.outcomes(second) == [("skipped", "discarded: wrong voucher")]
    assert {row["status"] for row in as_json()["deliveries"]} == {"discarded"}
    assert as_json("retry", "--program", "lapsing", "--yes") == {"done": [], "refused": []}
    again = run("discard", first, "--reason", "again")
    assert (again.exit_code, "was discarded already" in again.output) == (1, True)
    assert as_json("retry", second)["done"] == [second], "who ended it may change their mind"


@pytest.mark.parametrize("reason", ["", "asked by ann@example.com", "called from +1 555 010 0001", "x" * 201])
def test_a_reason_is_given_and_holds_no_address(refused: tuple[Shop, Provider, str, str], reason: str) -> None:
    shop, _, first, _ = refused
    result = run("discard", first, "--reason", reason)
    assert isinstance(result.exception, BadInput)
    assert "@" not in str(result.exception)
    assert len(shop.outcomes(first)) == 1


def test_an_unknown_one_is_sent_again_only_by_who_knows_that_it_never_left(shop: Shop) -> None:
    shop.customer("ann")
    item = shop.message("ann")
    provider = Provider(doubt=True)
    provider.name = "carrier"
    send(shop, provider)
    refused = run("retry", item)
    assert refused.exit_code == 1
    assert "may have been sent, and outbox knows nothing of it. If you know that it was not: --i-know-it-was-not-sent" in refused.output
    provider.mended = True
    send(shop, provider, NOON + HOUR)
    assert provider.taken == []
    assert as_json("retry", item, "--i-know-it-was-not-sent")["done"] == [item]
    send(shop, provider, NOON + 2 * HOUR)
    assert provider.taken == [item]


def test_a_discarded_unknown_stays_unknown_in_the_figures(shop: Shop) -> None:
    shop.customer("ann")
    item = shop.message("ann")
    send(shop, Provider(doubt=True))
    assert as_json("discard", item, "--reason", "nobody knows")["done"] == [item]
    assert [outcome for outcome, _ in shop.outcomes(item)] == ["unknown", "unknown"]
    assert [row["status"] for row in as_json()["deliveries"]] == ["discarded"]


def outcome(item: str, attempt: int, kind: str, destination: str | None, at: datetime = NOON, **columns: Any) -> dict[str, Any]:
    return {"item_id": item, "attempt": attempt, "outcome": kind, "destination": destination, "recorded_at": at, **columns}


@pytest.mark.parametrize(
    ("channel", "destination", "decided"),
    [
        ("email", "smtp", None),
        ("sms", "twilio", "unknown"),
        ("push", "onesignal", "unknown"),
        ("task", "outbox", None),
        ("sms", None, None),
    ],
)
def test_an_unknown_one_goes_back_where_its_destination_repeats_or_can_be_asked(
    shop: Shop, tmp_path: Path, channel: str, destination: str | None, decided: str | None
) -> None:
    (tmp_path / "destinations.yml").write_text(
        """
channels:
  email: {mode: live, destination: smtp}
  sms: {mode: live, destination: twilio}
  push: {mode: live, destination: onesignal}
  task: {mode: live, destination: webhook}
destinations:
  smtp: {host: mail.example.com}
  twilio: {account_sid_env: TWILIO_SID, auth_token_env: TWILIO_TOKEN, from_number: "+15550100002"}
  onesignal: {app_id: 00000000-0000-4000-8000-000000000000, api_key_env: ONESIGNAL_KEY}
  webhook: {base_url: "https://crm.example.com/tasks", secret_env: CRM_SECRET}
"""
    )
    settings = Settings(project=tmp_path, home=tmp_path, clock="real")
    item = shop.message("ann", channel)
    shop.ledger.record("claims", [{"item_id": item, "attempt": 1, "worker": "w", "lease_until": NOON, "recorded_at": NOON}])
    shop.ledger.record("outcomes", [outcome(item, 1, "unknown", destination)])
    [decision] = may_retry(settings, named(shop.ledger, [item], NOON), NOON)
    assert decision.outcome == decided
    [known] = may_retry(settings, named(shop.ledger, [item], NOON), NOON, not_sent=True)
    assert known.outcome == "deferred"


def test_routes_are_those_that_are_opened(shop: Shop, tmp_path: Path) -> None:
    with open_destinations(shop.settings) as opened:
        names = {channel.value: target.name for channel, target in opened.messages.items()}
        names |= {lane_of(platform): target.name for platform, target in opened.audiences.items()}
    assert routes(shop.settings) == names


def change(shop: Shop, operation: str, as_of: datetime) -> str:
    item = identity("meta", operation, as_of)
    row = {
        "change_id": item,
        "platform": "meta",
        "audience": "lapsing",
        "program": "lapsing",
        "customer_id": "ann",
        "operation": operation,
        "identifiers": "[]",
        "as_of": as_of,
        "recorded_at": as_of,
    }
    shop.ledger.record("audience_changes", [row])
    return item


def test_nobody_is_put_back_into_an_audience_that_they_have_left(shop: Shop) -> None:
    added, removed = change(shop, "add", AS_OF), change(shop, "remove", AS_OF + timedelta(days=1))
    shop.ledger.record("outcomes", [outcome(added, 1, "rejected", "outbox_meta"), outcome(removed, 1, "rejected", "outbox_meta")])
    first, second = may_retry(shop.settings, named(shop.ledger, [added, removed], NOON), NOON)
    assert first.why == "was followed by a later change of the same person in the same audience"
    assert second.outcome == "deferred"
    assert {(row["lane"], row["content"]) for row in as_json("--channel", "ads:meta")["deliveries"]} == {
        ("ads:meta", "add lapsing"),
        ("ads:meta", "remove lapsing"),
    }


def test_who_is_with_a_dispatcher_stays_with_it(shop: Shop) -> None:
    item = shop.message("ann")
    claim = {"item_id": item, "attempt": 1, "worker": "w", "lease_until": NOON + HOUR, "recorded_at": NOON}
    shop.ledger.record("claims", [claim])
    for now, status, why in (
        (NOON, "waiting", "is with a dispatcher now"),
        (NOON + 2 * HOUR, "unknown", "was with a dispatcher that ended: the next dispatch settles it"),
    ):
        [found] = listed(shop.ledger, Filter(), now)
        assert found.status == status
        for decision in (*may_retry(shop.settings, [found], now), *may_discard([found])):
            assert (decision.outcome, decision.why) == (None, why)


def test_a_dispatcher_that_was_faster_keeps_the_item(any_ledger: Ledger, tmp_path: Path) -> None:
    """Also the SQL, on both databases."""
    settings = Settings(home=tmp_path, clock="simulated")
    row = {
        "message_id": identity("m"), "enrolment_id": "e", "step_no": 1, "customer_id": "ann", "program": "lapsing", "version": 1,
        "kind": "send", "channel": "email", "content": "hello", "not_before": AS_OF, "expires_at": AS_OF + timedelta(days=4),
        "as_of": AS_OF, "recorded_at": AS_OF,
    }  # fmt: skip
    any_ledger.record("messages", [row])
    item = row["message_id"]
    [found] = listed(any_ledger, Filter(status="waiting"), NOON)
    assert (found.reason, found.attempts) == ("due", 0)
    seen = may_discard([found])
    any_ledger.record("claims", [{"item_id": item, "attempt": 1, "worker": "w", "lease_until": NOON + HOUR, "recorded_at": NOON}])
    [ended] = discard(any_ledger, seen, reason="not wanted", actor="ada", now=NOON, acted_at=NOON)
    assert (ended.outcome, ended.why) == (None, "a dispatcher has just taken it")
    any_ledger.record("outcomes", [outcome(str(item), 1, "rejected", "outbox")])
    assert counted(any_ledger, Filter(since=NOON), NOON) == [
        {"status": "rejected", "lane": "email", "destination": "outbox", "reason": "no reason given", "items": 1}
    ]
    [done] = put_back(any_ledger, may_retry(settings, listed(any_ledger, Filter(), NOON), NOON), actor="ada", now=NOON, acted_at=NOON)
    assert done.outcome == "deferred"
    [again] = listed(any_ledger, Filter(), NOON)
    assert (again.status, again.attempts, again.retry_at) == ("deferred", 2, NOON)
