"""Meta: the conformance suite, then what is Meta's own."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
from typing import Any

import pytest

from tests.destinations.conformance.server import Captured, LocalProvider, Reply
from tests.destinations.conformance.suite import NOW, TIMEOUT, Conformance, Entry, changes, with_json
from winback.destinations import meta
from winback.destinations.base import AudienceChange, AudienceOperation, Contact, Outcome, Result
from winback.destinations.config import Context
from winback.destinations.identifiers import sha256_hex
from winback.errors import RejectItem, RetryLater, StopRun

TOKEN = "EAAB-secret-token"
SECRET = "app-secret-text"
PEOPLE = [
    (("EMAIL", sha256_hex("ann@example.com")), ("PHONE", sha256_hex("15550100001")), ("FN", sha256_hex("ann"))),
    (("EMAIL", sha256_hex("bob@example.com")),),
    (("PHONE", sha256_hex("15550100003")), ("COUNTRY", sha256_hex("us"))),
]


def took(captured: Captured, invalid: int = 0, samples: Any = None) -> Reply:
    received = len(captured.json()["payload"]["data"])
    body = {"audience_id": "23842", "session_id": "1", "num_received": received, "num_invalid_entries": invalid}
    return Reply(200, {**body, "invalid_entry_samples": samples if samples is not None else {}})


def answer(captured: Captured) -> Reply:
    return took(captured) if captured.body else Reply(200, {"id": "23842"})


def error(code: int, subcode: int | None = None, status: int = 400, **fields: Any) -> Reply:
    detail = {"message": "Invalid parameter ann@example.com", "type": "OAuthException", "code": code, "fbtrace_id": "A1", **fields}
    return Reply(status, {"error": {**detail, **({} if subcode is None else {"error_subcode": subcode})}})


def build(base_url: str, **keys: Any) -> meta.Meta:
    config = meta.Config(
        base_url=base_url, read_timeout_seconds=TIMEOUT, audiences={"long-silent": "23842"}, app_secret_env="META_APP_SECRET", **keys
    )
    return meta.build(config, Context({"META_ACCESS_TOKEN": TOKEN, "META_APP_SECRET": SECRET}))


class TestMeta(Conformance):
    entry = Entry(
        build=build,
        items=changes(PEOPLE),
        success=answer,
        replies={
            "bad_item": lambda captured: took(captured, 1),
            "partial_batch": lambda captured: took(captured, 1, {"1": json.dumps([PEOPLE[1][0][1], "", "", ""])}),
            "expired_credentials": error(190, 463, 401),
        },
        expected={
            "bad_item": "rejected",
            "connection_refused": "retry later",
            "expired_credentials": "stop",
            "malformed_answer": "unknown, unknown, unknown",
            "partial_batch": "accepted, rejected, accepted",
            "reset_mid_answer": "unknown, unknown, unknown",
            "server_error": "retry later",
            "slow_provider": "accepted, accepted, accepted",
            "throttled_with_retry_after": "retry later after 7",
            "throttled_without_retry_after": "retry later",
            "timeout_after_send": "unknown, unknown, unknown",
        },
        secrets=[TOKEN, SECRET],
        contract="meta/custom-audiences.openapi.json",
        breakages={
            "POST /23842/users": with_json(lambda body: body.update(payload="[]")),
            "DELETE /23842/users": with_json(lambda body: body.update(session=1)),
            # A GET without a body or declared parameters has nothing to break but its address.
            "GET /23842": lambda captured: dataclasses.replace(captured, target="/23842/audience"),
        },
    )

    def more_requests(self, destination: Any) -> None:
        destination.check()
        destination.change([dataclasses.replace(one, operation=AudienceOperation.REMOVE) for one in self.entry.items], NOW)


def change(reply: Any, items: list[AudienceChange] | None = None, **keys: Any) -> tuple[list[Result], list[Captured]]:
    with LocalProvider(reply if callable(reply) else lambda _: reply) as provider:
        destination = build(provider.base_url, **keys)
        results = destination.change(items or changes(PEOPLE), NOW)
        destination.close()
    return results, provider.requests


def test_a_session_of_rows_in_the_order_of_the_schema() -> None:
    results, requests = change(answer)
    body = requests[0].json()
    assert body["payload"] == {
        "schema": ["EMAIL", "PHONE", "FN", "COUNTRY"],
        "data": [
            [sha256_hex("ann@example.com"), sha256_hex("15550100001"), sha256_hex("ann"), ""],
            [sha256_hex("bob@example.com"), "", "", ""],
            ["", sha256_hex("15550100003"), "", sha256_hex("us")],
        ],
    }
    session = body["session"]
    assert 0 < session.pop("session_id") < 2**53
    assert session == {"batch_seq": 1, "last_batch_flag": True, "estimated_num_total": 3}
    assert {one.provider_id for one in results} == {str(requests[0].json()["session"]["session_id"])}


def test_requests_are_signed() -> None:
    _, requests = change(answer)
    proof = hmac.new(SECRET.encode(), TOKEN.encode(), hashlib.sha256).hexdigest()
    assert requests[0].query == [("appsecret_proof", proof)]
    assert requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in requests[0].target


def test_removing_is_a_delete_with_a_body() -> None:
    items = [dataclasses.replace(one, operation=AudienceOperation.REMOVE) for one in changes(PEOPLE)]
    results, requests = change(answer, items)
    assert requests[0].method == "DELETE"
    assert len(requests[0].json()["payload"]["data"]) == 3
    assert {one.outcome for one in results} == {Outcome.ACCEPTED}


def test_a_batch_handed_over_later_is_a_new_session() -> None:
    first = meta.users_request(changes(PEOPLE), NOW)["session"]["session_id"]
    assert meta.users_request(changes(PEOPLE), NOW)["session"]["session_id"] == first
    assert meta.users_request(changes(PEOPLE), NOW.replace(hour=11))["session"]["session_id"] != first


@pytest.mark.parametrize(
    ("invalid", "samples", "expected"),
    [
        (0, {}, "accepted accepted accepted"),
        (1, {}, "unknown unknown unknown"),
        (1, {"0": "whatever"}, "unknown unknown unknown"),
        (2, {PEOPLE[0][1][1]: "invalid"}, "rejected unknown unknown"),
        (2, {"a": PEOPLE[0][1][1], "b": f"['{PEOPLE[1][0][1]}']"}, "rejected rejected accepted"),
        (3, {}, "rejected rejected rejected"),
        (1, {"0": sha256_hex("us")}, "unknown unknown unknown"),  # a country is nobody's name
    ],
)
def test_partial_failures_mark_only_whom_meta_names(invalid: int, samples: Any, expected: str) -> None:
    results, _ = change(lambda captured: took(captured, invalid, samples))
    assert " ".join(one.outcome.value for one in results) == expected


def test_entries_that_meta_has_not_counted_are_in_doubt() -> None:
    results, _ = change(Reply(200, {"num_received": 0, "num_invalid_entries": 0}))
    assert {one.outcome for one in results} == {Outcome.UNKNOWN}


def test_people_without_identifiers_are_rejected_and_not_sent() -> None:
    results, requests = change(answer, changes([PEOPLE[0], (), PEOPLE[1]]))
    assert [one.outcome for one in results] == [Outcome.ACCEPTED, Outcome.REJECTED, Outcome.ACCEPTED]
    assert len(requests[0].json()["payload"]["data"]) == 2
    assert change(answer, changes([()]))[1] == []


@pytest.mark.parametrize(
    ("reply", "raised"),
    [
        (error(100), RejectItem),
        (error(2650, 1870145), RejectItem),
        (error(100, 33), StopRun),
        (error(803, status=404), StopRun),
        (error(100, 1713230), StopRun),
        (error(100, 1487301), StopRun),
        (error(200, status=403), StopRun),
        (error(294), StopRun),
        (error(2655), StopRun),
        (error(104), StopRun),
        (error(80003), RetryLater),
        (error(17, 2446079), RetryLater),
        (error(368), RetryLater),
        (error(2, status=500), RetryLater),
        (error(3990, is_transient=True), RetryLater),
    ],
)
def test_error_codes(reply: Reply, raised: type[Exception]) -> None:
    with pytest.raises(raised) as caught:
        change(reply)
    assert "ann@example.com" not in str(caught.value)


def test_throttling_waits_as_long_as_the_usage_headers_say() -> None:
    usage = {"1234": [{"type": "custom_audience", "call_count": 100, "estimated_time_to_regain_access": 12}, {"call_count": 5}]}
    with pytest.raises(RetryLater) as caught:
        change(dataclasses.replace(error(80003), headers={"X-Business-Use-Case-Usage": json.dumps(usage), "X-App-Usage": "nonsense"}))
    assert caught.value.after == 720


def test_an_audience_without_an_id_stops_the_run() -> None:
    with pytest.raises(StopRun, match="tier-drop"):
        change(answer, changes(PEOPLE, audience="tier-drop"))


def test_identifiers_follow_the_settings() -> None:
    contact = Contact("c1", email="ann@example.com", first_name="Ann")
    destination = build("http://127.0.0.1:1", send_names=False, send_customer_id=True)
    assert destination.identifiers(contact) == (("EMAIL", sha256_hex("ann@example.com")), ("EXTERN_ID", "c1"))
    destination.close()
