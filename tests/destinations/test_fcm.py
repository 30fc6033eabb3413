from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tests.destinations.conformance.google_key import TOKEN, private_key, service_account_key, token_endpoint
from tests.destinations.conformance.server import Captured, LocalProvider, Reply
from tests.destinations.conformance.suite import NOT_APPLICABLE, NOW, TIMEOUT, Conformance, Entry, messages, with_json
from winback.destinations import fcm
from winback.destinations.base import DEAD_TOKEN, Channel, Outcome, Result
from winback.destinations.config import Context
from winback.errors import BadConfig, RetryLater, StopRun

TOKENS = [f"device-token-{letter}:APA91b" for letter in "abc"]
SENT = {"name": "projects/winback-test/messages/0:1500415314455276%31bd1c9631bd1c96"}


def refused(status: int, name: str, code: str | None = None, field: str | None = None) -> Reply:
    """An answer of FCM, worded with a token in it as Google's messages are."""
    details: list[dict[str, Any]] = []
    if code:
        details.append({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code})
    if field:
        details.append(
            {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"field": field, "description": TOKENS[0]}]}
        )
    return Reply(status, {"error": {"code": status, "message": f"Requested entity {TOKENS[0]}", "status": name, "details": details}})


def build(base_url: str, **keys: Any) -> fcm.Fcm:
    keys = {"token_url": f"{token_endpoint().base_url}/token", **keys}
    config = fcm.Config(base_url=base_url, read_timeout_seconds=TIMEOUT, **keys)
    return fcm.build(config, Context({"FCM_SERVICE_ACCOUNT": service_account_key()}))


class TestFcm(Conformance):
    entry = Entry(
        build=build,
        items=messages(Channel.PUSH, TOKENS),
        success=Reply(200, SENT),
        replies={
            "bad_item": refused(404, "NOT_FOUND", "UNREGISTERED"),
            "expired_credentials": refused(401, "UNAUTHENTICATED"),
        },
        expected={
            "bad_item": "rejected",
            "connection_refused": "retry later",
            "expired_credentials": "stop",
            "malformed_answer": "unknown",
            "partial_batch": NOT_APPLICABLE,
            "reset_mid_answer": "unknown",
            "server_error": "unknown",
            "slow_provider": "accepted",
            "throttled_with_retry_after": "retry later after 7",
            "throttled_without_retry_after": "retry later",
            "timeout_after_send": "unknown",
        },
        secrets=[TOKEN, private_key()],
        contract="google/fcm.openapi.json",
        breakages={
            "POST /v1/projects/winback-test/messages:send": with_json(lambda body: body["message"].update(data={"a": 1})),
        },
    )


def send(reply: Reply, **changes: Any) -> tuple[Result, list[Captured]]:
    with LocalProvider(lambda _: reply) as provider:
        destination = build(provider.base_url)
        result = destination.send(messages(Channel.PUSH, [changes.pop("to", TOKENS[0])], **changes), NOW)
        destination.close()
    return result[0], provider.requests


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (refused(404, "NOT_FOUND", "UNREGISTERED"), DEAD_TOKEN),
        (
            refused(403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH"),
            "fcm: SENDER_ID_MISMATCH: the device belongs to another Firebase project",
        ),
        (
            refused(401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"),
            "fcm: THIRD_PARTY_AUTH_ERROR: the APNs or web push key in the Firebase console is refused",
        ),
        (refused(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"), "fcm: INVALID_ARGUMENT: the push token is malformed"),
        (refused(400, "INVALID_ARGUMENT", None, "message.token"), "fcm: INVALID_ARGUMENT: the push token is malformed"),
        (
            refused(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "message.android.ttl"),
            "fcm: INVALID_ARGUMENT: the message is malformed at message.android.ttl",
        ),
    ],
)
def test_refusals_tell_a_dead_token_from_a_bad_message(reply: Reply, reason: str) -> None:
    assert send(reply)[0] == Result(Outcome.REJECTED, reason)


@pytest.mark.parametrize("reply", [refused(500, "INTERNAL", "INTERNAL"), Reply(500, b""), Reply(520, b"")])
def test_a_failure_within_fcm_may_have_sent_the_message(reply: Reply) -> None:
    assert send(reply)[0].outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(("status", "code"), [(429, "QUOTA_EXCEEDED"), (503, "UNAVAILABLE")])
def test_passing_failures_wait_as_long_as_fcm_says(status: int, code: str) -> None:
    with pytest.raises(RetryLater) as raised:
        send(dataclasses.replace(refused(status, code, code), headers={"Retry-After": "60"}))
    assert raised.value.after == 60


def test_a_project_that_is_not_there_stops_the_run() -> None:
    with pytest.raises(StopRun):
        send(refused(404, "NOT_FOUND"))


def test_the_message_says_what_and_for_how_long() -> None:
    result, requests = send(Reply(200, SENT), subject="Hello", text="We miss you", data={"url": "https://example.com/"})
    assert result == Result(Outcome.ACCEPTED, provider_id=SENT["name"])
    assert requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert requests[0].json() == {
        "message": {
            "token": TOKENS[0],
            "notification": {"title": "Hello", "body": "We miss you"},
            "data": {"url": "https://example.com/", "message_id": f"{1:032x}"},
            "android": {"ttl": "259200s"},
            "apns": {"headers": {"apns-expiration": "1772704800"}},
            "webpush": {"headers": {"TTL": "259200"}},
            "fcmOptions": {"analyticsLabel": "long-silent.1"},
        },
        "validateOnly": False,
    }


def test_what_is_empty_is_left_out() -> None:
    body = send(Reply(200, SENT), subject="", data={"url": ""})[1][0].json()["message"]
    assert (body["notification"], body["data"]) == ({"body": "Secrettext1 in plain"}, {"message_id": f"{1:032x}"})


def test_installation_ids_are_addressed_as_such() -> None:
    with LocalProvider(lambda _: Reply(200, SENT)) as provider:
        destination = build(provider.base_url, target="fid", validate_only=True)
        destination.send(messages(Channel.PUSH, TOKENS[:1]), NOW)
        destination.close()
    body = provider.requests[0].json()
    assert body["message"]["fid"] == TOKENS[0]
    assert "token" not in body["message"]
    assert body["validateOnly"] is True


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data": {"a": "ü" * 2_048}}, "notification and data have 4"),
        ({"text": "x" * 4_096}, "notification and data have 4"),
        ({"data": {"google.sent": "1"}}, "data key 'google.sent' is reserved"),
        ({"data": {"from": "1"}}, "data key 'from' is reserved"),
        ({"to": ""}, "no push token"),
        ({"text": "", "subject": ""}, "needs a title or a text"),
    ],
)
def test_what_fcm_cannot_take_is_not_sent(changes: dict[str, Any], reason: str) -> None:
    result, requests = send(Reply(200, SENT), **changes)
    assert result.outcome is Outcome.REJECTED
    assert reason in result.reason
    assert requests == []


def test_an_answer_without_a_name_is_in_doubt() -> None:
    assert send(Reply(200, {}))[0].outcome is Outcome.UNKNOWN


def test_one_token_serves_many_messages_until_it_runs_out() -> None:
    lifetimes = iter([3_600, 10, 10])
    with (
        LocalProvider(lambda _: Reply(200, {"access_token": TOKEN, "expires_in": next(lifetimes)})) as tokens,
        LocalProvider(lambda _: Reply(200, SENT)) as provider,
    ):
        destination = build(provider.base_url, token_url=tokens.base_url)
        for message in messages(Channel.PUSH, TOKENS):
            destination.send([message], NOW)
        assert len(tokens.requests) == 1
        destination._account.forget()
        destination.send(messages(Channel.PUSH, TOKENS[:1]), NOW)
        destination.send(messages(Channel.PUSH, TOKENS[:1]), NOW)  # 10 seconds are within the margin: a new one
        assert len(tokens.requests) == 3
        destination.close()


def test_a_refused_token_is_not_kept() -> None:
    answers = iter([refused(401, "UNAUTHENTICATED"), Reply(200, SENT)])
    with (
        LocalProvider(lambda _: Reply(200, {"access_token": TOKEN, "expires_in": 3_600})) as tokens,
        LocalProvider(lambda _: next(answers)) as provider,
    ):
        destination = build(provider.base_url, token_url=tokens.base_url)
        with pytest.raises(StopRun):
            destination.send(messages(Channel.PUSH, TOKENS[:1]), NOW)
        assert destination.send(messages(Channel.PUSH, TOKENS[:1]), NOW)[0].outcome is Outcome.ACCEPTED
        assert len(tokens.requests) == 2
        destination.close()


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}), StopRun),
        (Reply(503, b""), RetryLater),
        (Reply(200, b"<html>"), RetryLater),
    ],
)
def test_sign_in_failures(reply: Reply, error: type[Exception]) -> None:
    with LocalProvider(lambda _: reply) as tokens, LocalProvider(lambda _: Reply(200, SENT)) as provider:
        destination = build(provider.base_url, token_url=tokens.base_url)
        with pytest.raises(error) as raised:
            destination.send(messages(Channel.PUSH, TOKENS[:1]), NOW)
        destination.close()
    assert provider.requests == []
    assert private_key() not in str(raised.value)


def test_the_key_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    file.write_text(service_account_key(), encoding="utf-8")
    fcm.build(fcm.Config(), Context({"FCM_SERVICE_ACCOUNT": str(file)})).close()


@pytest.mark.parametrize("value", ["/nowhere/key.json", "{}", "{", json.dumps({"client_email": "a", "private_key": "secret-key-text"})])
def test_what_is_no_key_is_refused_without_being_shown(value: str) -> None:
    with pytest.raises(BadConfig) as raised:
        fcm.build(fcm.Config(), Context({"FCM_SERVICE_ACCOUNT": value}))
    assert "FCM_SERVICE_ACCOUNT" in str(raised.value)
    assert "secret-key-text" not in str(raised.value)


def test_a_key_without_a_project_needs_one_in_the_file() -> None:
    environment = Context({"FCM_SERVICE_ACCOUNT": service_account_key(project_id="")})
    with pytest.raises(BadConfig, match=r"fcm\.project"):
        fcm.build(fcm.Config(), environment)
    fcm.build(fcm.Config(project="another-project"), environment).close()
