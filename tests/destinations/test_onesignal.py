"""OneSignal: the conformance suite, then what is OneSignal's own."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tests.destinations.conformance.server import Captured, LocalProvider, Reply
from tests.destinations.conformance.suite import NOT_APPLICABLE, NOW, TIMEOUT, Conformance, Entry, messages, with_json, with_query
from winback.destinations import onesignal
from winback.destinations.base import DEAD_TOKEN, Channel, Outcome, Result
from winback.destinations.config import Context
from winback.errors import StopRun

KEY = "os_v2_app_secret"
APP = "8250eaf6-1a58-489e-b136-7c74a864b434"
SUBSCRIPTIONS = [f"{number}dd608f2-c6a1-11e3-851d-000c2940e62c" for number in (1, 2, 3)]
SENT = {"id": "b3a0c8bd-3a4c-4b22-9a73-3f1a8c2d1b88", "external_id": None}
NOBODY = Reply(200, {"id": "", "errors": ["All included players are not subscribed"]})


def build(base_url: str, **keys: Any) -> onesignal.OneSignal:
    config = onesignal.Config(base_url=base_url, read_timeout_seconds=TIMEOUT, app_id=UUID(APP), **keys)
    return onesignal.build(config, Context({"ONESIGNAL_API_KEY": KEY}))


def answer(captured: Captured) -> Reply:
    return Reply(200, SENT) if captured.method == "POST" else Reply(404, {"errors": ["Notification not found"]})


class TestOneSignal(Conformance):
    entry = Entry(
        build=build,
        items=messages(Channel.PUSH, SUBSCRIPTIONS),
        success=answer,
        replies={
            "bad_item": NOBODY,
            "expired_credentials": Reply(
                403, {"errors": ["Access denied. Please include an 'Authorization: ...' header with a valid API key"]}
            ),
        },
        expected={
            "bad_item": "rejected",
            "connection_refused": "retry later",
            "expired_credentials": "stop",
            "malformed_answer": "unknown",
            "partial_batch": NOT_APPLICABLE,
            "reset_mid_answer": "unknown",
            "server_error": "retry later",
            "slow_provider": "accepted",
            "throttled_with_retry_after": "retry later after 7",
            "throttled_without_retry_after": "retry later",
            "timeout_after_send": "unknown",
        },
        secrets=[KEY],
        contract="onesignal/onesignal.openapi.json",
        operation=lambda captured: f"{captured.method} /{captured.path.split('/')[1]}",
        breakages={
            "POST /notifications": with_json(lambda body: body.pop("app_id")),
            "GET /notifications": with_query(lambda fields: fields.clear()),
        },
    )

    def more_requests(self, destination: Any) -> None:
        destination.check()


def send(reply: Reply, *, keys: dict[str, Any] | None = None, **changes: Any) -> tuple[Result, list[Captured]]:
    to = changes.pop("to", SUBSCRIPTIONS[0])
    with LocalProvider(lambda _: reply) as provider:
        destination = build(provider.base_url, **(keys or {}))
        result = destination.send(messages(Channel.PUSH, [to], **changes), NOW)
        destination.close()
    return result[0], provider.requests


def test_the_message_names_one_subscription_and_may_be_repeated() -> None:
    with LocalProvider(lambda _: Reply(200, SENT)) as provider:
        destination = build(provider.base_url)
        items = messages(Channel.PUSH, SUBSCRIPTIONS[:2], data={"url": "https://example.com/"})
        first = destination.send(items[:1], NOW)
        assert destination.resolve(items[:1], NOW) == first == [Result(Outcome.ACCEPTED, provider_id=SENT["id"] or "")]
        destination.send(items[1:], NOW)
        destination.close()
    bodies = [request.json() for request in provider.requests]
    assert bodies[0] == bodies[1]
    assert bodies[0]["idempotency_key"] != bodies[2]["idempotency_key"]
    assert UUID(bodies[0].pop("idempotency_key")).version == 5
    assert bodies[0] == {
        "app_id": APP,
        "contents": {"en": "Secrettext1 in plain"},
        "headings": {"en": "Secretsubject1 for you"},
        "data": {"url": "https://example.com/", "message_id": f"{1:032x}"},
        "name": "long-silent 1",
        "ttl": 259_200,
        "include_subscription_ids": [SUBSCRIPTIONS[0]],
    }
    assert provider.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_what_is_empty_is_left_out() -> None:
    body = send(Reply(200, SENT), subject="", data={"url": ""})[1][0].json()
    assert body["data"] == {"message_id": f"{1:032x}"}
    assert "headings" not in body


def test_the_idempotency_key_stays_the_same_over_releases() -> None:
    _, requests = send(Reply(200, SENT))
    assert requests[0].json()["idempotency_key"] == "a91f31ac-014a-5d63-92c4-b6d50f8052df"


def test_customers_may_be_known_by_their_id() -> None:
    _, requests = send(Reply(200, SENT), keys={"target": "external_id", "authorization_scheme": "Key"})
    body = requests[0].json()
    assert body["include_aliases"] == {"external_id": ["customer-1"]}
    assert body["target_channel"] == "push"
    assert "include_subscription_ids" not in body
    assert requests[0].headers["authorization"] == f"Key {KEY}"


@pytest.mark.parametrize(
    ("body", "target", "result"),
    [
        (NOBODY.body, "subscription", Result(Outcome.REJECTED, "onesignal: nothing was sent; the person has no subscribed device")),
        ({"id": "", "errors": {"invalid_player_ids": [SUBSCRIPTIONS[0]]}}, "subscription", Result(Outcome.REJECTED, DEAD_TOKEN)),
        ({"errors": {"invalid_player_ids": [SUBSCRIPTIONS[0]]}}, "subscription", Result(Outcome.REJECTED, DEAD_TOKEN)),
        (
            {"id": "", "errors": {"invalid_aliases": {"external_id": ["customer-1"]}}},
            "external_id",
            Result(Outcome.REJECTED, "onesignal: nobody has this external id"),
        ),
        ({**SENT, "errors": {"invalid_player_ids": ["another"]}}, "subscription", Result(Outcome.ACCEPTED, provider_id=SENT["id"] or "")),
        ({}, "subscription", Result(Outcome.UNKNOWN, "onesignal: the answer has neither an id nor errors")),
    ],
)
def test_status_200_may_mean_that_nothing_was_sent(body: Any, target: str, result: Result) -> None:
    assert send(Reply(200, body), keys={"target": target})[0] == result


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"to": ""}, "no push token"),
        ({"text": ""}, "needs a text"),
        ({"data": {"a": "ü" * 1_024}}, "2048 are allowed"),
    ],
)
def test_what_onesignal_cannot_take_is_not_sent(changes: dict[str, Any], reason: str) -> None:
    result, requests = send(Reply(200, SENT), **changes)
    assert result.outcome is Outcome.REJECTED
    assert reason in result.reason
    assert requests == []


def test_a_wrong_address_stops_the_run() -> None:
    with pytest.raises(StopRun, match="base_url"):
        send(Reply(404, {}))


@pytest.mark.parametrize(
    ("errors", "stops"),
    [
        (["app_id not found"], True),
        (["app_id not found. You may be missing a Content-Type: application/json header."], True),
        (["Incorrect app_id format (not a valid UUID): x"], True),
        (["Message Notifications must have English language content"], False),
        ({"app_id": "x"}, False),
        ([1], False),
    ],
)
def test_a_wrong_app_stops_the_run_and_rejects_nobody(errors: Any, stops: bool) -> None:
    reply = Reply(400, {"errors": errors})
    if stops:
        with pytest.raises(StopRun, match="check app_id"):
            send(reply)
    else:
        assert send(reply)[0].outcome is Outcome.REJECTED


def test_check_says_that_the_app_is_wrong() -> None:
    with LocalProvider(lambda _: Reply(400, {"errors": ["app_id not found"]})) as provider:
        destination = build(provider.base_url)
        with pytest.raises(StopRun, match="app_id"):
            destination.check()
        destination.close()
