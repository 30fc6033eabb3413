"""The signed webhook: the conformance suite, then signature and content as a receiver sees them."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
from typing import Any

import pytest

from tests.destinations.conformance.server import Captured, LocalProvider, Reply
from tests.destinations.conformance.suite import NOW, TIMEOUT, Conformance, Entry, messages
from winback.destinations.base import Channel, Outcome
from winback.destinations.config import Context
from winback.destinations.webhook import Config, Webhook, build, signature
from winback.errors import BadConfig

SECRET = "secret-shared-with-the-crm"
TOKEN = "secret-bearer-token"
ITEMS = messages(Channel.TASK, ["anna-4711", "bert-4712", "cleo-4713"], data={"phone_hint": "home"})
TAKEN = Reply(200, {"ok": True})


def open_webhook(base_url: str, **keys: Any) -> Webhook:
    environment = {"WEBHOOK_SECRET": SECRET, "CRM_TOKEN": TOKEN, "WHSEC": "whsec_" + base64.b64encode(SECRET.encode()).decode()}
    return build(Config(base_url=f"{base_url}/hooks/winback", read_timeout_seconds=TIMEOUT, **keys), Context(environment))


def refuses_the_second(request: Captured) -> Reply:
    return Reply(422, {"error": "bert-4712 is unknown"}) if request.json()["id"] == ITEMS[1].message_id else TAKEN


class TestWebhookConforms(Conformance):
    entry = Entry(
        build=lambda base_url: open_webhook(base_url, bearer_token_env="CRM_TOKEN"),
        items=ITEMS,
        success=TAKEN,
        replies={
            "bad_item": Reply(422, {"error": "anna-4711 is unknown"}),
            "partial_batch": refuses_the_second,
            "expired_credentials": Reply(401),
        },
        expected={
            "throttled_with_retry_after": "retry later after 7",
            "throttled_without_retry_after": "retry later",
            "server_error": "retry later",
            "connection_refused": "retry later",
            "reset_mid_answer": "unknown, deferred, deferred",
            "timeout_after_send": "unknown, deferred, deferred",
            "slow_provider": "accepted, accepted, accepted",
            "partial_batch": "accepted, rejected, accepted",
            "bad_item": "rejected",
            "expired_credentials": "stop",
            "malformed_answer": "accepted, accepted, accepted",
        },
        secrets=[SECRET, TOKEN],
        contract=None,
    )


@pytest.mark.parametrize("keys", [{}, {"secret_env": "WHSEC"}])
def test_a_receiver_can_verify_signature_and_content(keys: dict[str, Any]) -> None:
    with LocalProvider(lambda _: TAKEN) as provider:
        destination = open_webhook(provider.base_url, **keys)
        assert [result.outcome for result in destination.send(ITEMS, NOW)] == [Outcome.ACCEPTED] * 3
        destination.close()
    request = provider.requests[0]
    assert request.path == "/hooks/winback"
    assert request.headers["webhook-timestamp"] == "1772445600"
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    expected = base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{expected}"
    assert request.json() == {
        "type": "task",
        "id": ITEMS[0].message_id,
        "customer_id": "customer-1",
        "program": "long-silent",
        "program_version": 3,
        "step": 1,
        "content": "we-miss-you",
        "title": "Secretsubject1 for you",
        "text": "Secrettext1 in plain",
        "language": "",
        "data": {"phone_hint": "home"},
    }


def test_signature_of_known_values() -> None:
    """The example of the Standard Webhooks libraries, so that theirs verify ours."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}') == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


def test_a_repeated_id_counts_as_accepted() -> None:
    with LocalProvider(lambda _: Reply(409)) as provider:
        destination = open_webhook(provider.base_url)
        assert destination.resolve(ITEMS[:1], NOW)[0].outcome is Outcome.ACCEPTED
        destination.close()
    assert provider.requests[0].headers["webhook-id"] == ITEMS[0].message_id


def test_a_receiver_that_fails_midway_keeps_what_it_took() -> None:
    def answer(request: Captured) -> Reply:
        return TAKEN if request.json()["id"] == ITEMS[0].message_id else Reply(429, b"", {"Retry-After": "30"})

    with LocalProvider(answer) as provider:
        destination = open_webhook(provider.base_url)
        results = destination.send(ITEMS, NOW)
        destination.close()
    assert [result.outcome.value for result in results] == ["accepted", "deferred", "deferred"]
    assert results[2].retry_after == 30
    assert len(provider.requests) == 2


def test_the_address_of_the_person_is_not_sent() -> None:
    with LocalProvider(lambda _: TAKEN) as provider:
        destination = open_webhook(provider.base_url)
        destination.send([dataclasses.replace(ITEMS[0], to="+15550100001", to_name="Anna")], NOW)
        destination.close()
    assert b"+1555" not in provider.requests[0].body
    assert b"Anna" not in provider.requests[0].body


@pytest.mark.parametrize(("value", "message"), [("short", "5 bytes"), ("whsec_%%%", "not base64"), ("", "not set")])
def test_secrets_are_checked_without_being_shown(value: str, message: str) -> None:
    with pytest.raises(BadConfig, match=message) as problem:
        build(Config(base_url="https://crm.example.com/hook"), Context({"WEBHOOK_SECRET": value}))
    assert not value or value not in str(problem.value)
