"""SendGrid: the conformance suite, then that everybody gets exactly what was rendered for them, in few requests."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.destinations.conformance.server import Captured, LocalProvider, Reply
from tests.destinations.conformance.suite import NOW, TIMEOUT, Conformance, Entry, messages, with_json
from winback.destinations.base import Channel, Message, Outcome, Result
from winback.destinations.config import Context, Sender
from winback.destinations.sendgrid import Config, SendGrid, _groups, _prepare, _requests, build
from winback.errors import BadConfig, RetryLater, StopRun

KEY = "SG.secret-api-key"
SENDER = Sender("shop@example.com", "The Shop", "help@example.com")
ITEMS = messages(Channel.EMAIL, ["anna@example.com", "bert@example.com", "cleo@example.com"])
TAKEN = Reply(202, b"", {"X-Message-Id": "batch-1"})


def open_sendgrid(base_url: str, **keys: Any) -> SendGrid:
    keys = {"unsubscribe_group_id": 42, **keys}
    return build(Config(base_url=base_url, read_timeout_seconds=TIMEOUT, **keys), Context({"SENDGRID_API_KEY": KEY}, SENDER))


def refusal(field: str | None, status: int = 400) -> Reply:
    return Reply(status, {"errors": [{"message": "bert@example.com is wrong", "field": field, "help": None}]})


def refuses_bert(request: Captured) -> Reply:
    addresses = [one["to"][0]["email"] for one in request.json()["personalizations"]]
    return refusal(f"personalizations.{addresses.index('bert@example.com')}.to.0.email") if "bert@example.com" in addresses else TAKEN


class TestSendGridConforms(Conformance):
    entry = Entry(
        build=open_sendgrid,
        items=ITEMS,
        success=TAKEN,
        replies={
            "bad_item": refusal("personalizations.0.to.0.email"),
            "partial_batch": refuses_bert,
            "expired_credentials": refusal(None, 401),
        },
        expected={
            "throttled_with_retry_after": "retry later after 7",
            "throttled_without_retry_after": "retry later",
            "server_error": "unknown, unknown, unknown",
            "connection_refused": "retry later",
            "reset_mid_answer": "unknown, unknown, unknown",
            "timeout_after_send": "unknown, unknown, unknown",
            "slow_provider": "accepted, accepted, accepted",
            "partial_batch": "accepted, rejected, accepted",
            "bad_item": "rejected",
            "expired_credentials": "stop",
            "malformed_answer": "accepted, accepted, accepted",
        },
        secrets=[KEY],
        contract="sendgrid/mail-send.openapi.json",
        breakages={"POST /v3/mail/send": with_json(lambda body: body["personalizations"][0].pop("to"))},
    )


def send(
    items: Sequence[Message], answer: Reply | Callable[[Captured], Reply] = TAKEN, **keys: Any
) -> tuple[list[Result], list[dict[str, Any]]]:
    """Results, and the bodies of the requests, each of which keeps to the contract."""
    with LocalProvider(answer if callable(answer) else lambda _: answer) as provider:
        destination = open_sendgrid(provider.base_url, **keys)
        try:
            results = destination.send(items, NOW)
        finally:
            destination.close()
    return results, [request.json() for request in provider.requests]


def received(bodies: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What each message's recipient gets, as SendGrid puts it together: subject, parts, headers; by message id."""
    result = {}
    for body in bodies:
        for one in body["personalizations"]:
            values = one.get("substitutions", {})
            parts = {}
            for part in body["content"]:
                text = part["value"]
                if values:
                    text = re.sub("|".join(map(re.escape, values)), lambda match: values[match.group()], text)  # noqa: B023
                parts[part["type"]] = text
            assert one["custom_args"]["winback_message_id"] not in result, "nobody gets a message twice"
            result[one["custom_args"]["winback_message_id"]] = {**one, "parts": parts}
    return result


def rendered(number: int, name: str = "", text: str = "", html: str = "", **changes: Any) -> Message:
    name = name or f"Änne {number}"
    link = f"https://example.com/u/{number:x}"
    return dataclasses.replace(
        ITEMS[0],
        message_id=f"{number:032x}",
        to=f"person{number}@example.com",
        to_name=name,
        subject=f"{name}, we miss you",
        text=text or f"Hello {name},\n\ncome back.\n\n{link}\n",
        html=html or f"<html><body><p>Hello {name},</p><p>come > back.</p><a href='{link}'>Stop</a></body></html>\n",
        unsubscribe_url=link,
        **changes,
    )


def test_a_thousand_recipients_share_one_request_and_each_gets_their_own_content() -> None:
    items = [rendered(number) for number in range(1000)]
    results, bodies = send(items)
    assert {result.outcome for result in results} == {Outcome.ACCEPTED}
    assert results[0].provider_id == "batch-1"
    assert len(bodies) == 1
    got = received(bodies)
    for item in items:
        one = got[item.message_id]
        assert one["to"] == [{"email": item.to, "name": item.to_name}]
        assert one["subject"] == item.subject
        assert one["parts"] == {"text/plain": item.text, "text/html": item.html}
        assert one["headers"]["List-Unsubscribe"].startswith(f"<{item.unsubscribe_url}>, <mailto:")
        assert one["headers"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        assert one["custom_args"] == {"winback_message_id": item.message_id}


def test_unsubscribe_group_is_always_set_and_suppressions_are_never_bypassed() -> None:
    _, bodies = send(ITEMS, categories=("winback",), ip_pool_name="marketing", sandbox=True)
    assert bodies[0]["asm"] == {"group_id": 42}
    assert bodies[0]["categories"] == ["winback", "winback-long-silent"]
    assert bodies[0]["ip_pool_name"] == "marketing"
    assert bodies[0]["reply_to"] == {"email": "help@example.com"}
    assert bodies[0]["mail_settings"] == {"sandbox_mode": {"enable": True}}


TEXTS = st.text(alphabet=st.sampled_from("ab<>-wtb0h1\n &é\u2028😀"), max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=12))
def test_whatever_is_rendered_arrives_unchanged(contents: list[tuple[str, str, str]]) -> None:
    items = [
        rendered(number, text=f"Hello {a}\n{b}-wbt0-\nend", html=f"<p>{b}</p><p class='{c}'>{a}-wbh1-</p>")
        for number, (a, b, c) in enumerate(contents)
    ]
    destination = open_sendgrid("http://127.0.0.1:9")
    groups = _groups([_prepare(item, 0) for item in items])
    bodies = [json.loads(destination._body(members)) for group in groups for members in _requests(group)]
    destination.close()
    got = received(bodies)
    assert len(got) == len(items)
    for item in items:
        assert got[item.message_id]["parts"] == {"text/plain": item.text, "text/html": item.html}


def test_differing_builds_go_in_requests_of_their_own() -> None:
    short = [rendered(number) for number in range(4)]
    long = [rendered(number, html=f"<p>Hello {number}</p><p>More</p><hr>") for number in range(4, 8)]
    other_step = [rendered(number, step_no=2) for number in range(8, 10)]
    _, bodies = send([item for pair in zip(short, long, strict=True) for item in pair] + other_step)
    assert sorted(len(body["personalizations"]) for body in bodies) == [2, 4, 4]
    assert len(received(bodies)) == 10


def test_too_many_differences_go_alone() -> None:
    items = [rendered(0), rendered(1), rendered(2, text=f"Hello {'x' * 20_000},\n\ncome back.\n\nlink\n")]
    _, bodies = send(items)
    assert sorted(len(body["personalizations"]) for body in bodies) == [1, 2]
    assert received(bodies)[items[2].message_id]["parts"]["text/plain"] == items[2].text


def test_an_address_is_never_twice_in_a_request() -> None:
    items = [rendered(0), rendered(1), dataclasses.replace(rendered(2), to="Person0@example.com")]
    results, bodies = send(items)
    assert [len(body["personalizations"]) for body in bodies] == [2, 1]
    assert len(results) == 3


def test_a_refused_batch_without_a_name_is_halved_down_to_the_bad_item() -> None:
    items = [rendered(number) for number in range(16)]

    def answer(request: Captured) -> Reply:
        return refusal("content") if b"person11@" in request.body else TAKEN

    results, bodies = send(items, answer)
    assert [number for number, result in enumerate(results) if result.outcome is Outcome.REJECTED] == [11]
    assert len(bodies) == 9
    assert results[11].reason == "SendGrid: refused (400: content)"


def test_too_large_is_halved() -> None:
    def answer(request: Captured) -> Reply:
        return Reply(413, b"<html>Request Entity Too Large</html>") if len(request.json()["personalizations"]) > 2 else TAKEN

    results, bodies = send([rendered(number) for number in range(4)], answer)
    assert {result.outcome for result in results} == {Outcome.ACCEPTED}
    assert [len(body["personalizations"]) for body in bodies] == [4, 2, 2]


def test_a_refused_sender_stops_instead_of_rejecting_everybody() -> None:
    with pytest.raises(StopRun, match="sender") as problem:
        send(ITEMS, refusal("from.email"))
    assert "bert" not in str(problem.value)


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (Reply(429, b"", {"Retry-After": "9"}), "deferred"),
        (Reply(401), "deferred"),
        (Reply(202, b"", behaviour="reset_mid_answer"), "unknown"),
        (refusal("content"), "rejected"),
    ],
)
def test_what_was_accepted_stays_accepted_when_a_later_request_fails(second: Reply, expected: str) -> None:
    items = [rendered(0), rendered(1, step_no=2), rendered(2, step_no=3)]
    results, bodies = send(items, lambda request: second if b"person1@" in request.body else TAKEN)
    last = "accepted" if expected == "rejected" else "deferred"
    assert [result.outcome.value for result in results] == ["accepted", expected, last]
    assert len(bodies) == (3 if expected == "rejected" else 2)
    if second.status == 429:
        assert results[1].retry_after == 9


@pytest.mark.parametrize("status", [500, 520])
def test_a_failure_within_sendgrid_may_have_sent_the_messages(status: int) -> None:
    results, _ = send(ITEMS, Reply(status, {"errors": [{"message": "internal error"}]}))
    assert {result.outcome for result in results} == {Outcome.UNKNOWN}


@pytest.mark.parametrize(("reset", "after"), [("1772445610", 10.0), ("1772445000", 0.0), ("soon", None)])
def test_reset_header_tells_when_to_come_back(reset: str, after: float | None) -> None:
    headers = {"X-RateLimit-Reset": reset, "Date": "Mon, 02 Mar 2026 10:00:00 GMT"}
    with pytest.raises(RetryLater) as later:
        send(ITEMS, Reply(429, b"", headers))
    assert later.value.after == after


@pytest.mark.parametrize(
    "changes",
    [{"to": "nobody"}, {"subject": " "}, {"text": "", "html": ""}, {"headers": {"X-SMTPAPI": "{}"}}, {"headers": {"Subject": "other"}}],
)
def test_unsendable_messages_are_rejected_alone(changes: dict[str, Any]) -> None:
    results, bodies = send([dataclasses.replace(ITEMS[0], **changes), ITEMS[1]])
    assert [result.outcome.value for result in results] == ["rejected", "accepted"]
    assert len(bodies) == 1


def test_text_only_and_html_only() -> None:
    _, bodies = send([dataclasses.replace(ITEMS[0], html=""), dataclasses.replace(ITEMS[1], text="")])
    assert [[part["type"] for part in body["content"]] for body in bodies] == [["text/plain"], ["text/html"]]


def test_sender_is_checked() -> None:
    with pytest.raises(BadConfig, match=r"sender\.email"):
        build(Config(unsubscribe_group_id=1), Context({"SENDGRID_API_KEY": KEY}))
    with pytest.raises(BadConfig, match="SENDGRID_API_KEY"):
        build(Config(unsubscribe_group_id=1), Context({}, SENDER))


def test_unknown_waits_for_an_event() -> None:
    destination = open_sendgrid("http://127.0.0.1:9")
    assert [result.outcome for result in destination.resolve(ITEMS, NOW)] == [Outcome.UNKNOWN] * 3
