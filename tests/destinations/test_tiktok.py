"""TikTok: the conformance suite, then what is TikTok's own."""

from __future__ import annotations

import dataclasses
import email.parser
import email.policy
import hashlib
import json
from typing import Any

import pytest

from tests.destinations.conformance.server import Captured, LocalProvider, Reply
from tests.destinations.conformance.suite import NOW, TIMEOUT, Conformance, Entry, changes, with_json, with_query
from winback.destinations import tiktok
from winback.destinations.base import AUDIENCE_TOO_SMALL, AudienceChange, AudienceOperation, Contact, Outcome, Result
from winback.destinations.config import Context
from winback.destinations.identifiers import sha256_hex
from winback.errors import RejectItem, RetryLater, StopRun

TOKEN = "tiktok-secret-token"
PEOPLE = [
    (("EMAIL_SHA256", sha256_hex("ann@example.com")), ("PHONE_SHA256", sha256_hex("15550100001"))),
    (("EMAIL_SHA256", sha256_hex("bob@example.com")),),
    (("PHONE_SHA256", sha256_hex("15550100003")),),
]
UPLOAD, UPDATE = "/dmp/custom_audience/file/upload/", "/dmp/custom_audience/update/"
CREATE, LIST = "/dmp/custom_audience/create/", "/dmp/custom_audience/list/"
FILE_PATH = "a1b2c3d4e5f60718"


def said(code: int, data: Any = None, message: str = "OK") -> Reply:
    """TikTok's envelope: HTTP 200 whatever the code."""
    return Reply(200, {"code": code, "message": message, "request_id": "2026030210", "data": data or {}})


def answer(captured: Captured) -> Reply:
    if captured.path == UPLOAD:
        return said(0, {"file_path": FILE_PATH})
    if captured.path == CREATE:
        return said(0, {"custom_audience_id": "777"})
    if captured.path == LIST:
        return said(0, {"list": [{"audience_id": "900", "name": "email-fading"}], "page_info": {"page": 1, "total_page": 1}})
    return said(0)


def build(base_url: str, **keys: Any) -> tiktok.TikTok:
    keys = {"audiences": {"long-silent": "800"}, "create_missing": True, **keys}
    config = tiktok.Config(base_url=base_url, read_timeout_seconds=TIMEOUT, advertiser_id="7000", **keys)
    return tiktok.build(config, Context({"TIKTOK_ACCESS_TOKEN": TOKEN}))


class TestTikTok(Conformance):
    entry = Entry(
        build=build,
        items=changes(PEOPLE),
        success=answer,
        # The upload changes no audience; what befalls it has tests of its own below.
        faulty=lambda captured: captured.path != UPLOAD,
        replies={
            "bad_item": said(40002, message="file_paths: invalid value"),
            "partial_batch": said(40002, message="file_paths: invalid value"),
            "expired_credentials": said(40105, message="Access token is incorrect or has been revoked."),
        },
        expected={
            # TikTok names no person: the dispatcher halves a refused batch.
            "bad_item": "batch refused",
            "partial_batch": "batch refused",
            "connection_refused": "retry later",
            "expired_credentials": "stop",
            "malformed_answer": "unknown, unknown, unknown",
            "reset_mid_answer": "unknown, unknown, unknown",
            "server_error": "retry later",
            "slow_provider": "accepted, accepted, accepted",
            "throttled_with_retry_after": "retry later after 7",
            "throttled_without_retry_after": "retry later",
            "timeout_after_send": "unknown, unknown, unknown",
        },
        secrets=[TOKEN],
        contract="tiktok/dmp-custom-audience.openapi.json",
        breakages={
            f"POST {UPLOAD}": lambda captured: dataclasses.replace(
                captured, body=captured.body.replace(b"MULTIPLE_TYPES", b"EVERYTHING_SHA"), headers={**captured.headers}
            ),
            f"POST {UPDATE}": with_json(lambda body: body.update(action="append")),
            f"POST {CREATE}": with_json(lambda body: body.update(file_paths=[])),
            f"GET {LIST}": with_query(lambda fields: fields.update(page_size="1000")),
        },
    )

    def more_requests(self, destination: Any) -> None:
        destination.check()
        destination.change(crowd(), NOW)


def crowd(people: int = 1_000, operation: AudienceOperation = AudienceOperation.ADD) -> list[AudienceChange]:
    """Enough people for an audience of their own, which TikTok does not know yet."""
    items = changes([(("EMAIL_SHA256", sha256_hex(f"{i}@example.com")),) for i in range(people)], audience="tier-drop")
    return [dataclasses.replace(one, operation=operation) for one in items]


def change(reply: Any, items: list[AudienceChange] | None = None, **keys: Any) -> tuple[list[Result], list[Captured]]:
    with LocalProvider(reply if callable(reply) else lambda _: reply) as provider:
        destination = build(provider.base_url, **keys)
        results = destination.change(items or changes(PEOPLE), NOW)
        destination.close()
    return results, provider.requests


def parts(captured: Captured) -> dict[str, bytes]:
    """The fields of a multipart body."""
    head = f"Content-Type: {captured.headers['content-type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + captured.body)
    return {
        str(part.get_param("name", header="content-disposition")): bytes(part.get_payload(decode=True)) for part in message.iter_parts()
    }


def test_a_file_of_hashes_is_uploaded_and_appended() -> None:
    results, requests = change(answer)
    assert results == [Result(Outcome.ACCEPTED, provider_id="2026030210")] * 3
    assert [request.path for request in requests] == [UPLOAD, UPDATE]
    assert all(request.headers["access-token"] == TOKEN for request in requests)
    fields = parts(requests[0])
    assert fields["file"].decode().splitlines() == [
        "Email_SHA256,Phone_SHA256",
        f"{sha256_hex('ann@example.com')},{sha256_hex('15550100001')}",
        f"{sha256_hex('bob@example.com')},",
        f",{sha256_hex('15550100003')}",
    ]
    assert fields["file_signature"].decode() == hashlib.md5(fields["file"], usedforsecurity=False).hexdigest()
    assert fields["advertiser_id"] == b"7000"
    assert fields["calculate_type"] == b"MULTIPLE_TYPES"
    assert b'.csv"' in requests[0].body
    assert requests[1].json() == {
        "advertiser_id": "7000",
        "custom_audience_id": "800",
        "file_paths": [FILE_PATH],
        "action": "APPEND",
    }


def test_removing_uploads_the_hashes_that_were_added() -> None:
    items = [dataclasses.replace(one, operation=AudienceOperation.REMOVE) for one in changes(PEOPLE)]
    _, requests = change(answer, items)
    assert requests[1].json()["action"] == "REMOVE"


def test_a_file_of_one_type_holds_only_that_type() -> None:
    results, requests = change(answer, calculate_type="PHONE_SHA256")
    assert [one.outcome for one in results] == [Outcome.ACCEPTED, Outcome.REJECTED, Outcome.ACCEPTED]
    assert parts(requests[0])["file"].decode().splitlines() == ["Phone_SHA256", sha256_hex("15550100001"), sha256_hex("15550100003")]


def test_an_audience_is_found_by_its_name() -> None:
    _, requests = change(answer, changes(PEOPLE, audience="email-fading"))
    assert [request.path for request in requests] == [LIST, UPLOAD, UPDATE]
    assert requests[2].json()["custom_audience_id"] == "900"


def test_every_page_of_the_list_is_read() -> None:
    def reply(captured: Captured) -> Reply:
        if captured.path == LIST:
            page = int(dict(captured.query)["page"])
            return said(0, {"list": [{"audience_id": str(page), "name": f"audience-{page}"}], "page_info": {"total_page": 3}})
        return answer(captured)

    _, requests = change(reply, changes(PEOPLE, audience="audience-3"))
    assert [request.path for request in requests] == [LIST, LIST, LIST, UPLOAD, UPDATE]
    assert requests[-1].json()["custom_audience_id"] == "3"


def test_a_missing_audience_is_created_once() -> None:
    with LocalProvider(answer) as provider:
        destination = build(provider.base_url, retention_days=90)
        assert destination.change(crowd(), NOW)[0].outcome is Outcome.ACCEPTED
        destination.change(crowd(10), NOW)
        destination.close()
    assert [request.path for request in provider.requests] == [LIST, UPLOAD, CREATE, UPLOAD, UPDATE]
    assert provider.requests[2].json() == {
        "advertiser_id": "7000",
        "custom_audience_name": "tier-drop",
        "calculate_type": "MULTIPLE_TYPES",
        "file_paths": [FILE_PATH],
        "retention_in_days": 90,
    }
    assert provider.requests[4].json()["custom_audience_id"] == "777"


def test_a_missing_audience_waits_for_a_thousand_people() -> None:
    results, requests = change(answer, crowd(999))
    assert set(results) == {Result(Outcome.DEFERRED, AUDIENCE_TOO_SMALL)}
    assert [request.path for request in requests] == [LIST]


def test_nothing_is_removed_from_an_audience_that_is_not_there() -> None:
    with pytest.raises(StopRun, match="tier-drop"):
        change(answer, crowd(operation=AudienceOperation.REMOVE))


def test_a_change_that_would_leave_too_few_waits() -> None:
    def reply(captured: Captured) -> Reply:
        refused = said(40002, message="The audience size must be at least 1,000 after the operation")
        return refused if captured.path == UPDATE else answer(captured)

    assert set(change(reply)[0]) == {Result(Outcome.DEFERRED, AUDIENCE_TOO_SMALL)}


@pytest.mark.parametrize(
    ("code", "raised"),
    [
        (40001, StopRun),
        (40002, RejectItem),
        (40007, StopRun),
        (40100, RetryLater),
        (40105, StopRun),
        (50000, RetryLater),
        (51010, RetryLater),
    ],
)
@pytest.mark.parametrize("path", [UPLOAD, UPDATE])
def test_codes_in_answers_with_status_200(code: int, raised: type[Exception], path: str) -> None:
    with pytest.raises(raised) as caught:
        change(lambda captured: said(code, message="no ann@example.com") if captured.path == path else answer(captured))
    assert "ann@example.com" not in str(caught.value)


@pytest.mark.parametrize(
    "reply",
    [Reply(200, b"<html>"), said(0, {}), Reply(502, b""), Reply(200, b"{}", behaviour="reset_mid_answer")],
)
def test_an_upload_in_doubt_has_changed_nobody(reply: Reply) -> None:
    with pytest.raises(RetryLater):
        change(lambda captured: reply if captured.path == UPLOAD else answer(captured))


def test_identifiers_follow_the_settings() -> None:
    contact = Contact("c1", email="a.n.n+shop@example.com", phone="+15550100001")
    destination = build("http://127.0.0.1:1", phone_with_plus=True, email_drop_tag=True, email_drop_dots=True)
    assert destination.identifiers(contact) == (
        ("EMAIL_SHA256", sha256_hex("ann@example.com")),
        ("PHONE_SHA256", sha256_hex("+15550100001")),
    )
    destination.close()
    only = build("http://127.0.0.1:1", calculate_type="EMAIL_SHA256")
    assert [kind for kind, _ in only.identifiers(contact)] == ["EMAIL_SHA256"]
    only.close()


def test_people_without_identifiers_are_rejected_and_not_sent() -> None:
    results, requests = change(answer, changes([()]))
    assert results[0].outcome is Outcome.REJECTED
    assert json.dumps([request.path for request in requests]) == "[]"
