"""Klaviyo: the conformance suite for lists and for tasks, then what is Klaviyo's own."""

from __future__ import annotations

import ast
import dataclasses
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.destinations.conformance.server import Captured, LocalProvider, Reply
from tests.destinations.conformance.suite import NOW, TIMEOUT, Conformance, Entry, changes, messages, with_json, with_query
from winback.destinations import klaviyo
from winback.destinations.base import AudienceChange, AudienceOperation, Channel, Contact, FollowsUp, Outcome, Result
from winback.destinations.config import Context
from winback.destinations.identifiers import klaviyo_identifiers
from winback.errors import RejectItem, RetryLater, StopRun

KEY = "pk_secret_key"
JOB, JOBS = "01GSQPBF74KQ5YTDEPP41T1BZH", "/api/profile-bulk-import-jobs"
CONTACTS = [
    Contact("customer-1", email="ann@example.com", phone="+15550100001"),
    Contact("customer-2", email="bob@example.com"),
    Contact("customer-3", email="Cat@example.com"),
]
ITEMS = [
    dataclasses.replace(one, contact=contact)
    for one, contact in zip(changes([klaviyo_identifiers(contact) for contact in CONTACTS]), CONTACTS, strict=True)
]
REMOVALS = [dataclasses.replace(one, operation=AudienceOperation.REMOVE) for one in ITEMS]
TASKS = messages(Channel.TASK, ["customer-1", "customer-2", "customer-3"], data={"call": "yes"})


def job(status: str = "complete", failed: int = 0) -> dict[str, Any]:
    attributes = {"status": status, "created_at": "2026-03-02T10:00:00+00:00", "total_count": 3, "failed_count": failed}
    return {"data": {"type": "profile-bulk-import-job", "id": JOB, "attributes": attributes, "links": {"self": ""}}}


def failure(position: int, code: str = "invalid") -> dict[str, Any]:
    return {
        "type": "import-error",
        "id": f"e{position}",
        "attributes": {
            "code": code,
            "title": "Invalid input",
            "detail": "ann@example.com is not valid",
            "source": {"pointer": f"/data/attributes/profiles/data/{position}/attributes/email"},
        },
    }


def errors(*found: dict[str, Any]) -> dict[str, Any]:
    return {"errors": [one["attributes"] for one in found]}


def answer(captured: Captured) -> Reply:
    if captured.path == "/api/events":
        return Reply(202)
    if captured.path == JOBS:
        return Reply(202, job("queued"))
    if captured.path == "/api/profile-import":
        attributes = captured.json()["data"]["attributes"]
        identifier = attributes.get("external_id") or attributes.get("email") or attributes.get("phone_number")
        return Reply(200, {"data": {"type": "profile", "id": f"P{CALLED[identifier]}"}})
    if captured.path.endswith("/import-errors"):
        return Reply(200, {"data": [failure(1)], "links": {"next": None}})
    if captured.path.startswith(JOBS):
        return Reply(404, errors(failure(0, "not_found"))) if captured.path.endswith("winback-check") else Reply(200, job())
    return Reply(204)


CALLED = {"ann@example.com": 1, "bob@example.com": 2, "Cat@example.com": 3, "customer-1": 1, "customer-2": 2, "customer-3": 3}


def build(base_url: str, **keys: Any) -> klaviyo.Klaviyo:
    config = klaviyo.Config(base_url=base_url, read_timeout_seconds=TIMEOUT, lists={"long-silent": "VRgFBd"}, **keys)
    return klaviyo.build(config, Context({"KLAVIYO_API_KEY": KEY}))


def by_customer_id(base_url: str) -> klaviyo.Klaviyo:
    return build(base_url, match_on="customer_id")


PRIVATE = ["ann@example.com", "bob@example.com", "Cat@example.com", "+15550100001"]
UNAUTHORISED = Reply(401, errors({"attributes": {"code": "not_authenticated", "detail": "Missing or invalid authentication"}}))


class TestKlaviyoLists(Conformance):
    entry = Entry(
        build=build,
        items=ITEMS,
        success=answer,
        replies={
            "bad_item": Reply(400, errors(failure(0))),
            "partial_batch": Reply(400, errors(failure(1))),
            "expired_credentials": UNAUTHORISED,
        },
        expected={
            "bad_item": "rejected",
            # Klaviyo takes all or none of a job: the others are ready for one of their own.
            "partial_batch": "deferred, rejected, deferred",
            "connection_refused": "retry later",
            "expired_credentials": "stop",
            "malformed_answer": "unknown, unknown, unknown",
            "reset_mid_answer": "unknown, unknown, unknown",
            "server_error": "retry later",
            # A job: its outcome is asked for later.
            "slow_provider": "unknown, unknown, unknown",
            "throttled_with_retry_after": "retry later after 7",
            "throttled_without_retry_after": "retry later",
            "timeout_after_send": "unknown, unknown, unknown",
        },
        secrets=[KEY],
        private=PRIVATE,
        contract="klaviyo/klaviyo.openapi.json",
        operation=lambda captured: f"{captured.method} {captured.path.replace(JOB, '*').replace('winback-check', '*')}",
        breakages={
            f"POST {JOBS}": with_json(lambda body: body["data"]["attributes"].pop("profiles")),
            f"GET {JOBS}/*": with_query(lambda fields: fields.update(include="profiles")),
            f"GET {JOBS}/*/import-errors": with_query(lambda fields: fields.update({"page[size]": "1000"})),
            "POST /api/profile-import": with_json(lambda body: body["data"].update(type="person")),
            "DELETE /api/lists/VRgFBd/relationships/profiles": with_json(lambda body: body["data"][0].pop("id")),
        },
    )

    def more_requests(self, destination: Any) -> None:
        destination.check()
        destination.change(REMOVALS, NOW)
        with LocalProvider(lambda captured: Reply(200, job(failed=1)) if captured.path.endswith(JOB) else answer(captured)) as provider:
            other = self.entry.build(provider.base_url)
            other.resolve_changes(ITEMS, [f"{JOB}#{position}" for position in range(3)], NOW)
            other.close()
        self.followed = provider.requests

    def captured(self) -> list[Captured]:
        return [*super().captured(), *self.followed]


def one_bad_task(captured: Captured) -> Reply:
    second = captured.json()["data"]["attributes"]["unique_id"] == TASKS[1].message_id
    return Reply(400, errors({"attributes": {"code": "invalid", "source": {"pointer": "/data/attributes"}}})) if second else Reply(202)


class TestKlaviyoTasks(Conformance):
    entry = Entry(
        build=by_customer_id,
        items=TASKS,
        success=answer,
        replies={
            "bad_item": Reply(400, errors({"attributes": {"code": "invalid", "source": {"pointer": "/data/attributes"}}})),
            "partial_batch": one_bad_task,
            "expired_credentials": UNAUTHORISED,
        },
        expected={
            "bad_item": "rejected",
            "partial_batch": "accepted, rejected, accepted",
            "connection_refused": "retry later",
            "expired_credentials": "stop",
            # 202 has no body: whatever stands there, Klaviyo has it.
            "malformed_answer": "accepted, accepted, accepted",
            "reset_mid_answer": "unknown, deferred, deferred",
            "server_error": "retry later",
            "slow_provider": "accepted, accepted, accepted",
            "throttled_with_retry_after": "retry later after 7",
            "throttled_without_retry_after": "retry later",
            "timeout_after_send": "unknown, deferred, deferred",
        },
        secrets=[KEY],
        contract="klaviyo/klaviyo.openapi.json",
        breakages={"POST /api/events": with_json(lambda body: body["data"]["attributes"].pop("metric"))},
    )

    def nothing_private(self, told: str) -> None:
        """A task is addressed by customer id, which is no address."""
        assert not [value for value in [KEY, "Secrettext", "Secretsubject", "Secretlink"] if value in told]


def change(reply: Any, items: list[AudienceChange], **keys: Any) -> tuple[list[Result], list[Captured]]:
    with LocalProvider(reply if callable(reply) else lambda _: reply) as provider:
        destination = build(provider.base_url, **keys)
        results = destination.change(items, NOW)
        destination.close()
    return results, provider.requests


def test_adding_imports_profiles_into_the_list() -> None:
    results, requests = change(answer, ITEMS)
    assert [one.provider_id for one in results] == [f"{JOB}#{position}" for position in range(3)]
    assert requests[0].headers["authorization"] == f"Klaviyo-API-Key {KEY}"
    assert requests[0].headers["revision"] == "2026-07-15"
    assert requests[0].headers["content-type"] == "application/vnd.api+json"
    data = requests[0].json()["data"]
    assert data["relationships"] == {"lists": {"data": [{"type": "list", "id": "VRgFBd"}]}}
    assert data["attributes"]["profiles"]["data"] == [
        {"type": "profile", "attributes": {"email": "ann@example.com"}},
        {"type": "profile", "attributes": {"email": "bob@example.com"}},
        {"type": "profile", "attributes": {"email": "Cat@example.com"}},
    ]


def test_customers_may_be_known_by_their_id() -> None:
    without_contact = [dataclasses.replace(one, contact=None) for one in ITEMS]
    _, requests = change(answer, without_contact, match_on="customer_id")
    profiles = requests[0].json()["data"]["attributes"]["profiles"]["data"]
    assert [one["attributes"] for one in profiles] == [{"external_id": f"customer-{i}"} for i in (1, 2, 3)]


def test_people_without_an_address_are_rejected_and_not_sent() -> None:
    items = [ITEMS[0], dataclasses.replace(ITEMS[1], contact=None), ITEMS[2]]
    results, requests = change(answer, items)
    assert [one.outcome for one in results] == [Outcome.UNKNOWN, Outcome.REJECTED, Outcome.UNKNOWN]
    assert len(requests[0].json()["data"]["attributes"]["profiles"]["data"]) == 2
    assert change(answer, [dataclasses.replace(ITEMS[0], contact=None)])[1] == []


@pytest.mark.parametrize("items", [ITEMS, REMOVALS])
def test_an_address_that_is_no_longer_the_one_that_was_added_is_left_to_people(items: list[AudienceChange]) -> None:
    moved = dataclasses.replace(items[0], contact=Contact("customer-1", email="ann@example.org"))
    results, requests = change(answer, [moved])
    assert (results[0].outcome, requests) == (Outcome.REJECTED, [])
    results, requests = change(answer, [moved], match_on="customer_id")
    assert (results[0].outcome is Outcome.REJECTED, len(requests) > 0) == (False, True)


def test_removing_finds_ids_and_removes_them_at_once() -> None:
    results, requests = change(answer, REMOVALS)
    assert results == [Result(Outcome.ACCEPTED)] * 3
    assert [f"{request.method} {request.path}" for request in requests] == ["POST /api/profile-import"] * 3 + [
        "DELETE /api/lists/VRgFBd/relationships/profiles"
    ]
    assert requests[-1].json() == {"data": [{"type": "profile", "id": f"P{position}"} for position in (1, 2, 3)]}


def test_removing_keeps_what_it_has_found_when_klaviyo_throttles() -> None:
    def reply(captured: Captured) -> Reply:
        if "bob@example.com" in captured.body.decode():
            return Reply(429, {}, {"Retry-After": "9"})
        return answer(captured)

    results, requests = change(reply, REMOVALS)
    assert [(one.outcome, one.retry_after) for one in results] == [
        (Outcome.ACCEPTED, None),
        (Outcome.DEFERRED, 9.0),
        (Outcome.DEFERRED, 9.0),
    ]
    assert requests[-1].json() == {"data": [{"type": "profile", "id": "P1"}]}


@pytest.mark.parametrize(
    ("path", "reply", "expected"),
    [
        ("/api/profile-import", Reply(400, {}), "rejected rejected rejected"),
        ("/api/lists/VRgFBd/relationships/profiles", Reply(200, b"{}", behaviour="reset_mid_answer"), "unknown unknown unknown"),
        ("/api/lists/VRgFBd/relationships/profiles", Reply(200, b"<html>"), "unknown unknown unknown"),
    ],
)
def test_removals_that_fail(path: str, reply: Reply, expected: str) -> None:
    results, _ = change(lambda captured: reply if captured.path == path else answer(captured), REMOVALS)
    assert " ".join(one.outcome.value for one in results) == expected


@pytest.mark.parametrize("reply", [Reply(200, b"<html>"), Reply(200, b"{}", behaviour="reset_mid_answer"), Reply(429, {})])
def test_ids_that_cannot_be_found_out_now_change_nothing(reply: Reply) -> None:
    with pytest.raises(RetryLater):
        change(reply, REMOVALS)


@pytest.mark.parametrize("items", [ITEMS, REMOVALS])
def test_an_unknown_list_stops_the_run(items: list[AudienceChange]) -> None:
    missing = Reply(404, errors(failure(0, "not_found")))
    with pytest.raises(StopRun, match=r"klaviyo\.lists"):
        change(lambda captured: answer(captured) if captured.path == "/api/profile-import" else missing, items)
    with pytest.raises(StopRun, match="tier-drop"):
        change(answer, [dataclasses.replace(one, audience="tier-drop") for one in items])


def follow(answers: dict[str, Any]) -> tuple[list[Result], list[Captured]]:
    with LocalProvider(lambda captured: Reply(200, answers[captured.target])) as provider:
        destination = build(provider.base_url)
        assert isinstance(destination, FollowsUp)
        results = destination.resolve_changes(ITEMS, [f"{JOB}#{position}" for position in range(3)], NOW)
        destination.close()
    return results, provider.requests


def test_a_finished_job_is_asked_for_once() -> None:
    results, requests = follow({f"{JOBS}/{JOB}": job()})
    assert [one.outcome for one in results] == [Outcome.ACCEPTED] * 3
    assert len(requests) == 1


def test_a_job_is_asked_for_once_in_half_a_minute() -> None:
    with LocalProvider(answer) as provider:
        destination = build(provider.base_url)
        for seconds in (0, 29, 31):
            destination.resolve_changes(ITEMS[:1], [f"{JOB}#0"], NOW + timedelta(seconds=seconds))
        destination.close()
    assert len(provider.requests) == 2


def test_an_unfinished_job_stays_unknown() -> None:
    results, _ = follow({f"{JOBS}/{JOB}": job("processing")})
    assert results[1] == Result(Outcome.UNKNOWN, "klaviyo: processing", f"{JOB}#1", klaviyo.FIRST_LOOK)


def test_a_cancelled_job_is_placed_again() -> None:
    results, _ = follow({f"{JOBS}/{JOB}": job("cancelled")})
    assert [one.outcome for one in results] == [Outcome.DEFERRED] * 3


def test_import_errors_name_whom_klaviyo_refused() -> None:
    page = f"{JOBS}/{JOB}/import-errors?page%5Bsize%5D=100"
    following = "https://a.klaviyo.com/api/x/import-errors?page%5Bcursor%5D=abc"
    results, _ = follow(
        {
            f"{JOBS}/{JOB}": job(failed=2),
            page: {"data": [failure(0)], "links": {"next": following}},
            f"{page}&page%5Bcursor%5D=abc": {"data": [failure(2, "duplicate")], "links": {"next": None}},
        }
    )
    assert [one.outcome for one in results] == [Outcome.REJECTED, Outcome.ACCEPTED, Outcome.REJECTED]
    assert results[2].reason == "klaviyo: this profile was refused (duplicate)"


def test_errors_that_name_nobody_leave_everybody_else_unknown() -> None:
    page = f"{JOBS}/{JOB}/import-errors?page%5Bsize%5D=100"
    results, _ = follow({f"{JOBS}/{JOB}": job(failed=2), page: {"data": [failure(0)], "links": {}}})
    assert [(one.outcome, one.provider_id) for one in results] == [(Outcome.REJECTED, ""), (Outcome.UNKNOWN, ""), (Outcome.UNKNOWN, "")]


def test_a_task_is_an_event_that_is_recorded_once() -> None:
    with LocalProvider(answer) as provider:
        destination = by_customer_id(provider.base_url)
        destination.send(TASKS[:1], NOW)
        destination.resolve(TASKS[:1], NOW)
        destination.close()
    first, second = (request.json()["data"]["attributes"] for request in provider.requests)
    assert first == second
    assert first["unique_id"] == TASKS[0].message_id
    assert first["time"] == "2026-03-02T10:00:00+00:00"
    assert first["profile"]["data"]["attributes"] == {"external_id": "customer-1"}
    assert first["metric"]["data"]["attributes"] == {"name": "Winback task"}
    assert first["properties"]["call"] == "yes"
    assert first["properties"]["program"] == "long-silent"


def test_what_a_task_does_not_have_is_left_out() -> None:
    with LocalProvider(answer) as provider:
        destination = by_customer_id(provider.base_url)
        destination.send([dataclasses.replace(TASKS[0], html="", subject="", data={"hint": ""})], NOW)
        destination.close()
    properties = provider.requests[0].json()["data"]["attributes"]["properties"]
    assert properties["$extra"] == {"text": "Secrettext1 in plain"}
    assert not {"title", "hint"} & properties.keys()


def test_tasks_need_customer_ids_at_klaviyo() -> None:
    destination = build("http://127.0.0.1:1")
    with pytest.raises(StopRun, match="match_on"):
        destination.send(TASKS[:1], NOW)
    destination.close()


@pytest.mark.parametrize(
    ("match_on", "contact", "identifiers"),
    [
        ("address", Contact("c1", email="Ann@example.com "), (("email_sha256", sha256(b"ann@example.com").hexdigest()),)),
        ("address", Contact("c1", phone="+15550100001"), ()),
        ("customer_id", Contact("c1", email="ann@example.com"), (("external_id", "c1"),)),
        ("customer_id", Contact("c1"), ()),
    ],
)
def test_the_ledger_keeps_no_address(match_on: str, contact: Contact, identifiers: Any) -> None:
    destination = build("http://127.0.0.1:1", match_on=match_on)
    assert destination.identifiers(contact) == identifiers
    destination.close()


def test_a_refused_job_without_positions_is_refused_whole() -> None:
    with pytest.raises(RejectItem):
        change(Reply(400, {"errors": [{"code": "invalid"}]}), ITEMS)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/profile-subscription-bulk-create-jobs"),
        ("POST", "/api/profile-subscription-bulk-create-jobs/"),
        ("POST", "/api/profile-suppression-bulk-delete-jobs"),
        ("POST", "/api/profile-bulk-import-jobs/../profile-subscription-bulk-create-jobs"),
        ("DELETE", "/api/lists/VRgFBd"),
    ],
)
def test_no_path_reaches_a_job_that_changes_consent(method: str, path: str) -> None:
    with LocalProvider(answer) as provider:
        destination = build(provider.base_url)
        with pytest.raises(StopRun):
            destination._request(method, path, {})
        destination.close()
    assert provider.requests == []


def test_every_request_goes_through_the_list_of_operations() -> None:
    """The subscribe job would lift the suppressions of people who unsubscribed: nothing but `_request` may touch the client."""
    tree = ast.parse(Path(klaviyo.__file__).read_text(encoding="utf-8"))
    users = {
        function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and node.attr == "_client"
    }
    assert users == {"__init__", "_request", "close"}
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert not [text for text in texts if text.startswith("/api") and ("subscri" in text or "suppress" in text)]
    assert not [pattern.pattern for _, pattern in klaviyo.OPERATIONS if "subscri" in pattern.pattern or "suppress" in pattern.pattern]
