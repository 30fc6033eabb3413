"""Google Data Manager: the conformance suite, then what is Google's own."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from tests.destinations.conformance.google_key import TOKEN, private_key, service_account_key, token_endpoint
from tests.destinations.conformance.server import Captured, LocalProvider, Reply
from tests.destinations.conformance.suite import NOW, TIMEOUT, Conformance, Entry, changes, with_json
from winback.destinations import google_data_manager
from winback.destinations.base import AudienceChange, AudienceOperation, Contact, FollowsUp, Outcome, Result
from winback.destinations.config import Context
from winback.destinations.google_data_manager import FIRST_LOOK, read_status
from winback.destinations.identifiers import sha256_hex
from winback.errors import RejectItem, RetryLater, StopRun

PEOPLE = [
    (("emailAddress", sha256_hex("ann@example.com")), ("phoneNumber", sha256_hex("+15550100001"))),
    (("emailAddress", sha256_hex("bob@example.com")),),
    (("phoneNumber", sha256_hex("+15550100003")),),
]
KEYS: dict[str, Any] = {
    "account": {"id": "1234567890"},
    "audiences": {"long-silent": "555"},
    "ad_user_data": "granted",
    "ad_personalization": "granted",
    "customer_match_terms_accepted": True,
}
REQUEST = "126365e1-16d0-4c81-9de9-f362711e250a"
DONE: dict[str, Any] = {"requestStatusPerDestination": [{"requestStatus": "SUCCESS"}]}


def answer(captured: Captured) -> Reply:
    if captured.method == "POST":
        return Reply(200, {"requestId": REQUEST})
    return Reply(200, DONE if captured.path.endswith(":retrieve") else {"id": "555", "membershipStatus": "OPEN"})


def refused(status: int, name: str, *fields: str, reason: str = "INVALID_HEX_ENCODING") -> Reply:
    violations: list[Any] = [{"field": field, "description": "ann@example.com is no hash", "reason": reason} for field in fields]
    details: list[dict[str, Any]] = [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "datamanager.googleapis.com"},
        {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations},
    ]
    return Reply(status, {"error": {"code": status, "message": "There was a problem: ann@example.com", "status": name, "details": details}})


def member(position: int) -> str:
    return f"audience_members.audience_members[{position}].user_data.user_identifiers[0].email_address"


def build(base_url: str, **keys: Any) -> google_data_manager.GoogleDataManager:
    config = google_data_manager.Config(
        base_url=base_url, read_timeout_seconds=TIMEOUT, token_url=f"{token_endpoint().base_url}/token", **{**KEYS, **keys}
    )
    return google_data_manager.build(config, Context({"GOOGLE_SERVICE_ACCOUNT": service_account_key()}))


class TestGoogleDataManager(Conformance):
    entry = Entry(
        build=build,
        items=changes(PEOPLE),
        success=answer,
        replies={
            "bad_item": refused(400, "INVALID_ARGUMENT", member(0)),
            "partial_batch": refused(400, "INVALID_ARGUMENT", member(1)),
            "expired_credentials": refused(401, "UNAUTHENTICATED", reason="ACCESS_TOKEN_EXPIRED"),
        },
        expected={
            "bad_item": "rejected",
            "connection_refused": "retry later",
            "expired_credentials": "stop",
            "malformed_answer": "unknown, unknown, unknown",
            # Google refuses the whole request: the others are ready for one of their own.
            "partial_batch": "deferred, rejected, deferred",
            "reset_mid_answer": "unknown, unknown, unknown",
            "server_error": "retry later",
            # An order: its outcome is asked for later.
            "slow_provider": "unknown, unknown, unknown",
            "throttled_with_retry_after": "retry later after 7",
            "throttled_without_retry_after": "retry later",
            "timeout_after_send": "unknown, unknown, unknown",
        },
        secrets=[TOKEN, private_key()],
        contract="google/datamanager.openapi.json",
        breakages={
            "POST /v1/audienceMembers:ingest": with_json(lambda body: body["consent"].update(adUserData="GRANTED")),
            "POST /v1/audienceMembers:remove": with_json(lambda body: body.update(encoding="hex")),
            "GET /v1/requestStatus:retrieve": lambda captured: dataclasses.replace(captured, target="/v1/requestStatus"),
            "GET /v1/accountTypes/GOOGLE_ADS/accounts/1234567890/userLists/555": lambda captured: dataclasses.replace(
                captured, target="/v1/accountTypes/GOOGLE_ADS/userLists/555"
            ),
        },
    )

    def more_requests(self, destination: Any) -> None:
        destination.check()
        destination.change([dataclasses.replace(one, operation=AudienceOperation.REMOVE) for one in self.entry.items], NOW)
        destination.resolve_changes(self.entry.items, [f"{REQUEST}#{position}" for position in range(3)], NOW)


def change(reply: Any, items: list[AudienceChange] | None = None, **keys: Any) -> tuple[list[Result], list[Captured]]:
    with LocalProvider(reply if callable(reply) else lambda _: reply) as provider:
        destination = build(provider.base_url, **keys)
        results = destination.change(items or changes(PEOPLE), NOW)
        destination.close()
    return results, provider.requests


def test_an_order_is_unknown_until_it_has_been_asked_for() -> None:
    with LocalProvider(answer) as provider:
        destination = build(provider.base_url)
        assert isinstance(destination, FollowsUp)
        items = changes(PEOPLE)
        ordered = destination.change(items, NOW)
        assert [(one.outcome, one.provider_id, one.retry_after) for one in ordered] == [
            (Outcome.UNKNOWN, f"{REQUEST}#{position}", FIRST_LOOK) for position in range(3)
        ]
        ended = destination.resolve_changes(items, [one.provider_id for one in ordered], NOW)
        destination.close()
    assert [one.outcome for one in ended] == [Outcome.ACCEPTED] * 3
    assert [request.query for request in provider.requests if request.method == "GET"] == [[("requestId", REQUEST)]]


def test_an_order_is_asked_for_once_in_five_minutes() -> None:
    with LocalProvider(answer) as provider:
        destination = build(provider.base_url)
        for minutes in (0, 0, 4, 6):
            destination.resolve_changes(changes(PEOPLE[:1]), [f"{REQUEST}#0"], NOW + timedelta(minutes=minutes))
        destination.close()
    assert len(provider.requests) == 2


def test_adding_names_consent_and_terms() -> None:
    _, requests = change(answer, login_account={"id": "99"}, linked_account={"type": "DATA_PARTNER", "id": "77"})
    assert requests[0].path == "/v1/audienceMembers:ingest"
    assert requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert requests[0].json() == {
        "destinations": [
            {
                "operatingAccount": {"accountType": "GOOGLE_ADS", "accountId": "1234567890"},
                "loginAccount": {"accountType": "GOOGLE_ADS", "accountId": "99"},
                "linkedAccount": {"accountType": "DATA_PARTNER", "accountId": "77"},
                "productDestinationId": "555",
            }
        ],
        "audienceMembers": [{"userData": {"userIdentifiers": [{kind: value} for kind, value in person]}} for person in PEOPLE],
        "encoding": "HEX",
        "consent": {"adUserData": "CONSENT_GRANTED", "adPersonalization": "CONSENT_GRANTED"},
        "termsOfService": {"customerMatchTermsOfServiceStatus": "ACCEPTED"},
    }


def test_consent_that_was_not_asked_for_is_not_claimed() -> None:
    _, requests = change(answer, ad_user_data="denied", ad_personalization="unspecified")
    assert requests[0].json()["consent"] == {"adUserData": "CONSENT_DENIED"}
    _, requests = change(answer, ad_user_data="unspecified", ad_personalization="unspecified")
    assert "consent" not in requests[0].json()


def test_removing_needs_neither() -> None:
    items = [dataclasses.replace(one, operation=AudienceOperation.REMOVE) for one in changes(PEOPLE)]
    _, requests = change(answer, items)
    assert requests[0].path == "/v1/audienceMembers:remove"
    assert set(requests[0].json()) == {"destinations", "audienceMembers", "encoding"}


def test_more_than_ten_identifiers_are_not_sent() -> None:
    many = tuple(("emailAddress", sha256_hex(f"{i}@example.com")) for i in range(11))
    results, requests = change(answer, changes([many, PEOPLE[0], ()]))
    assert [one.outcome for one in results] == [Outcome.REJECTED, Outcome.UNKNOWN, Outcome.REJECTED]
    assert len(requests[0].json()["audienceMembers"]) == 1


@pytest.mark.parametrize(
    ("reply", "raised"),
    [
        (refused(403, "PERMISSION_DENIED", reason="PERMISSION_DENIED"), StopRun),
        (refused(400, "INVALID_ARGUMENT", reason="TERMS_AND_CONDITIONS_NOT_SIGNED"), StopRun),
        (refused(400, "INVALID_ARGUMENT", "destinations[0].product_destination_id", reason="INVALID_DESTINATION"), StopRun),
        (refused(400, "INVALID_ARGUMENT", "encoding", reason="MISSING_ENCODING"), StopRun),
        (refused(400, "INVALID_ARGUMENT", reason="TOO_MANY_AUDIENCE_MEMBERS"), RejectItem),
        (refused(500, "INTERNAL", reason="INTERNAL_ERROR"), RetryLater),
        (refused(504, "DEADLINE_EXCEEDED", reason="DEADLINE_EXCEEDED"), RetryLater),
        (refused(429, "RESOURCE_EXHAUSTED", reason="RATE_LIMIT_EXCEEDED"), RetryLater),
    ],
)
def test_error_reasons(reply: Reply, raised: type[Exception]) -> None:
    with pytest.raises(raised) as caught:
        change(reply)
    assert "ann@example.com" not in str(caught.value)


def status(name: str, *counts: dict[str, Any]) -> dict[str, Any]:
    return {"requestStatusPerDestination": [{"requestStatus": name, "errorInfo": {"errorCounts": list(counts)}}]}


NO_CONSENT = {"reason": "PROCESSING_ERROR_REASON_NO_CONSENT", "recordCount": "1"}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (DONE, Result(Outcome.ACCEPTED, provider_id="r#1")),
        (status("PROCESSING"), Result(Outcome.UNKNOWN, "google_data_manager: processing", "r#1", FIRST_LOOK)),
        ({}, Result(Outcome.UNKNOWN, "google_data_manager: processing", "r#1", FIRST_LOOK)),
        (status("FAILED", NO_CONSENT), Result(Outcome.REJECTED, "google_data_manager: refused while processing (NO_CONSENT)")),
        (
            status("FAILED", {"reason": "PROCESSING_ERROR_REASON_INTERNAL_ERROR"}),
            Result(Outcome.DEFERRED, "google_data_manager: failed while processing (INTERNAL_ERROR)"),
        ),
        (
            status("PARTIAL_SUCCESS", {**NO_CONSENT, "recordIndices": [1]}),
            Result(Outcome.REJECTED, "google_data_manager: refused while processing (NO_CONSENT)"),
        ),
        (status("PARTIAL_SUCCESS", {**NO_CONSENT, "recordIndices": [0, 2]}), Result(Outcome.ACCEPTED, provider_id="r#1")),
        (
            status("PARTIAL_SUCCESS", NO_CONSENT),
            Result(
                Outcome.UNKNOWN,
                "google_data_manager: some entries of the request were refused, and it is not said which (NO_CONSENT)",
            ),
        ),
    ],
)
def test_how_an_order_ended(answer: dict[str, Any], expected: Result) -> None:
    assert read_status(answer, 1, "r#1") == expected


@pytest.mark.parametrize("gone", [refused(404, "NOT_FOUND", reason=""), refused(400, "INVALID_ARGUMENT", "request_id", reason="")])
def test_an_order_that_google_no_longer_knows_is_unknown_and_the_others_are_asked_about(gone: Reply) -> None:
    with LocalProvider(lambda captured: gone if ("requestId", "old") in captured.query else Reply(200, DONE)) as provider:
        destination = build(provider.base_url)
        results = destination.resolve_changes(changes(PEOPLE), ["old#0", "old#1", "r#0"], NOW)
        destination.close()
    lost = Result(Outcome.UNKNOWN, "google_data_manager: this request is not known any more")
    assert results == [lost, lost, Result(Outcome.ACCEPTED, provider_id="r#0")]
    assert len(provider.requests) == 2


@pytest.mark.parametrize(
    "reply", [Reply(404, b"<html>not found</html>"), refused(403, "PERMISSION_DENIED"), refused(400, "FAILED_PRECONDITION", reason="")]
)
def test_what_stops_every_order_stops_asking_too(reply: Reply) -> None:
    with LocalProvider(lambda _: reply) as provider:
        destination = build(provider.base_url)
        with pytest.raises(StopRun):
            destination.resolve_changes(changes(PEOPLE[:1]), ["r#0"], NOW)
        destination.close()


def test_what_was_never_taken_cannot_be_asked_for() -> None:
    destination = build("http://127.0.0.1:1")
    assert destination.resolve_changes(changes(PEOPLE[:1]), [""], NOW)[0].outcome is Outcome.UNKNOWN
    destination.close()


def test_a_manager_account_signs_in_for_the_check() -> None:
    with LocalProvider(answer) as provider:
        destination = build(provider.base_url, login_account={"id": "99"})
        destination.check()
        destination.close()
    assert provider.requests[0].headers["login-account"] == "accountTypes/GOOGLE_ADS/accounts/99"


def test_identifiers_are_googles() -> None:
    destination = build("http://127.0.0.1:1")
    assert destination.identifiers(Contact("c1", email="a.n.n+x@gmail.com")) == (("emailAddress", sha256_hex("ann@gmail.com")),)
    destination.close()


def test_an_audience_without_an_id_stops_the_run() -> None:
    with pytest.raises(StopRun, match="tier-drop"):
        change(answer, changes(PEOPLE, audience="tier-drop"))
