"""Twilio: the conformance suite, then what is Twilio's own."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.destinations.conformance.server import Captured, LocalProvider, Reply
from tests.destinations.conformance.suite import NOT_APPLICABLE, NOW, TIMEOUT, Conformance, Entry, messages, with_form, with_query
from winback.destinations.base import Channel, Outcome
from winback.destinations.config import Context
from winback.destinations.twilio import Config, Twilio, build, segments
from winback.errors import BadConfig, StopRun

ACCOUNT = "AC" + "0" * 32
TOKEN = "secret-auth-token"
SERVICE = "MG" + "1" * 32
SID = "SM" + "2" * 32
LIST = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
ENVIRONMENT = {"TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": TOKEN}
ITEMS = messages(Channel.SMS, ["+15550100001", "+15550100002", "+447700900003"])


def open_twilio(base_url: str, **keys: Any) -> Twilio:
    keys = {"messaging_service_sid": SERVICE, "status_callback": "https://example.com/twilio/status", **keys}
    return build(Config(base_url=base_url, read_timeout_seconds=TIMEOUT, **keys), Context(ENVIRONMENT))


def refusal(status: int, code: int) -> Reply:
    return Reply(status, {"code": code, "message": f"The 'To' number +15550100001 {code}", "more_info": "", "status": status})


def answer(request: Captured) -> Reply:
    if request.method == "GET":
        return Reply(200, {"messages": [], "next_page_uri": None})
    return Reply(201, {"sid": SID, "status": "accepted", "to": request.form()["To"]})


class TestTwilioConforms(Conformance):
    entry = Entry(
        build=open_twilio,
        items=ITEMS,
        success=answer,
        replies={"bad_item": refusal(400, 21211), "expired_credentials": refusal(401, 20003)},
        expected={
            "throttled_with_retry_after": "retry later after 7",
            "throttled_without_retry_after": "retry later",
            "server_error": "unknown",
            "connection_refused": "retry later",
            "reset_mid_answer": "unknown",
            "timeout_after_send": "unknown",
            "slow_provider": "accepted",
            "partial_batch": NOT_APPLICABLE,
            "bad_item": "rejected",
            "expired_credentials": "stop",
            "malformed_answer": "unknown",
        },
        secrets=[TOKEN, ACCOUNT, base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()],
        contract="twilio/messages.openapi.json",
        breakages={
            f"POST {LIST}": with_form(lambda form: form.pop("To")),
            f"GET {LIST}": with_query(lambda query: query.update(PageSize="5000")),
        },
    )

    def more_requests(self, destination: Any) -> None:
        destination.resolve(ITEMS[:1], NOW)


def send_one(reply: Reply | Callable[[Captured], Reply], **keys: Any) -> tuple[Any, list[Captured]]:
    with LocalProvider(reply if callable(reply) else lambda _: reply) as provider:
        destination = open_twilio(provider.base_url, **keys)
        results = destination.send(ITEMS[:1], NOW)
        destination.close()
    return results[0], provider.requests


def test_sends_the_text_through_the_messaging_service() -> None:
    result, requests = send_one(answer)
    assert result.provider_id == SID
    assert requests[0].form() == {
        "To": "+15550100001",
        "Body": "Secrettext1 in plain",
        "MessagingServiceSid": SERVICE,
        "StatusCallback": f"https://example.com/twilio/status?message_id={ITEMS[0].message_id}",
        "ValidityPeriod": "14400",
    }


def test_sends_from_a_number_with_an_api_key() -> None:
    keys: dict[str, Any] = {"messaging_service_sid": None, "from_number": "+15550100099", "api_key_sid_env": "TWILIO_API_KEY_SID"}
    with LocalProvider(answer) as provider:
        config = Config(base_url=provider.base_url, **keys)
        destination = build(config, Context({**ENVIRONMENT, "TWILIO_API_KEY_SID": "SK" + "3" * 32}))
        destination.send(ITEMS[:1], NOW)
        destination.close()
    assert provider.requests[0].form()["From"] == "+15550100099"
    assert "MessagingServiceSid" not in provider.requests[0].form()


@pytest.mark.parametrize(
    ("code", "reason"),
    [(21610, "opted out at the provider"), (21614, "not a mobile number"), (21408, "region"), (21299, "refused (21299)")],
)
def test_permanent_refusals_name_the_cause_and_no_number(code: int, reason: str) -> None:
    result, _ = send_one(refusal(400, code))
    assert result.outcome is Outcome.REJECTED
    assert reason in result.reason
    assert "+1555" not in result.reason


def test_a_sender_that_is_not_ours_stops_the_run() -> None:
    with pytest.raises(StopRun, match="does not belong"):
        send_one(refusal(400, 21606))


def test_unsendable_messages_are_not_sent() -> None:
    def rejected(**changes: str) -> str:
        with LocalProvider(answer) as provider:
            destination = open_twilio(provider.base_url)
            result = destination.send([dataclasses.replace(ITEMS[0], **changes)], NOW)[0]  # type: ignore[arg-type]
            destination.close()
        assert provider.requests == []
        assert result.outcome is Outcome.REJECTED
        return result.reason

    assert "E.164" in rejected(to="555-0100")
    assert "empty" in rejected(text=" ")
    assert "1601 characters" in rejected(text="a" * 1601)
    assert "10 GSM-7 segments" in rejected(text="a" * 1500)
    assert "7 UCS-2 segments" in rejected(text="ж" * 450)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("GSM-7", 1)),
        ("a" * 160, ("GSM-7", 1)),
        ("a" * 161, ("GSM-7", 2)),
        ("a" * 306, ("GSM-7", 2)),
        ("a" * 307, ("GSM-7", 3)),
        ("€" * 80, ("GSM-7", 1)),
        ("€" * 81, ("GSM-7", 2)),
        # An escape pair is not split over two segments: 76 euro signs fill 152 of 153 septets.
        ("€" * 153, ("GSM-7", 3)),
        ("ж" * 70, ("UCS-2", 1)),
        ("ж" * 71, ("UCS-2", 2)),
        ("😀" * 35, ("UCS-2", 1)),
        ("😀" * 36, ("UCS-2", 2)),
        ("’", ("UCS-2", 1)),
    ],
)
def test_segments(text: str, expected: tuple[str, int]) -> None:
    assert segments(text) == expected


@given(st.text(max_size=600))
def test_segments_never_shrink_when_text_is_added(text: str) -> None:
    assert segments(text + "a")[1] >= segments(text)[1]


def listed(*entries: dict[str, Any], next_page: str | None = None) -> dict[str, Any]:
    return {"messages": list(entries), "next_page_uri": next_page}


def entry(text: str, created: str = "Mon, 02 Mar 2026 09:59:00 +0000", **fields: Any) -> dict[str, Any]:
    return {"sid": SID, "body": text, "direction": "outbound-api", "status": "delivered", "date_created": created, **fields}


@pytest.mark.parametrize(
    ("page", "outcome"),
    [
        (listed(entry("Secrettext1 in plain")), Outcome.ACCEPTED),
        (listed(entry("Secrettext1 in plain", status="queued")), Outcome.ACCEPTED),
        (listed(entry("Secrettext1 in plain", status="undelivered", error_code=30006)), Outcome.REJECTED),
        (listed(entry("another text")), Outcome.UNKNOWN),
        (listed(entry("another text", created="Mon, 02 Mar 2026 08:00:00 +0000")), Outcome.DEFERRED),
        (listed(entry("another text", direction="inbound")), Outcome.DEFERRED),
        (listed(entry("Secrettext1 in plain", direction="inbound")), Outcome.DEFERRED),
        (listed(entry("Secrettext1 in plain", created="Mon, 02 Feb 2026 09:59:00 +0000")), Outcome.DEFERRED),
        (listed(), Outcome.DEFERRED),
        ({"something": "else"}, Outcome.UNKNOWN),
    ],
)
def test_unknown_messages_are_looked_up(page: dict[str, Any], outcome: Outcome) -> None:
    with LocalProvider(lambda _: Reply(200, page)) as provider:
        destination = open_twilio(provider.base_url)
        message = dataclasses.replace(ITEMS[0], first_tried_at=NOW - timedelta(minutes=10))
        assert destination.resolve([message], NOW)[0].outcome is outcome
        destination.close()
    assert dict(provider.requests[0].query)["To"] == "+15550100001"


def test_not_found_at_a_new_number_says_nothing_of_the_old_one() -> None:
    with LocalProvider(lambda _: Reply(200, listed())) as provider:
        destination = open_twilio(provider.base_url)
        message = dataclasses.replace(ITEMS[0], first_tried_at=NOW - timedelta(minutes=10), is_readdressed=True)
        assert destination.resolve([message], NOW)[0].outcome is Outcome.UNKNOWN
        destination.close()


def test_lookup_follows_pages_and_sees_through_shortened_links() -> None:
    def page(request: Captured) -> Reply:
        if dict(request.query).get("Page") == "1":
            return Reply(200, listed(entry("We miss you - come back: https://sho.rt/x")))
        return Reply(200, listed(*[entry("another text")] * 100, next_page=f"{LIST}?Page=1"))

    with LocalProvider(page) as provider:
        destination = open_twilio(provider.base_url)
        message = dataclasses.replace(ITEMS[0], text="We miss you – come back: https://shop.example.com/long/link")
        assert destination.resolve([message], NOW)[0].outcome is Outcome.ACCEPTED
        destination.close()
    assert len(provider.requests) == 2


def test_lookup_that_fails_leaves_the_message_unknown() -> None:
    with LocalProvider(lambda _: refusal(400, 20001)) as provider:
        destination = open_twilio(provider.base_url)
        assert destination.resolve(ITEMS[:1], NOW)[0].outcome is Outcome.UNKNOWN
        destination.close()


def test_account_sid_is_checked_without_being_shown() -> None:
    config = Config(messaging_service_sid=SERVICE)
    with pytest.raises(BadConfig, match="TWILIO_ACCOUNT_SID") as problem:
        build(config, Context({"TWILIO_ACCOUNT_SID": TOKEN, "TWILIO_AUTH_TOKEN": TOKEN}))
    assert TOKEN not in str(problem.value)


def test_status_callbacks_carry_the_messages_id() -> None:
    for callback, expected in (
        ("https://example.com/twilio/status", f"https://example.com/twilio/status?message_id={ITEMS[0].message_id}"),
        ("https://example.com/twilio/status?shop=1", f"https://example.com/twilio/status?shop=1&message_id={ITEMS[0].message_id}"),
    ):
        _, requests = send_one(answer, status_callback=callback)
        assert requests[0].form()["StatusCallback"] == expected
