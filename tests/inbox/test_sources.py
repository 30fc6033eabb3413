"""What each provider's words mean: their published examples, and the situations that must not be mistaken for another."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.inbox import signing
from winback.inbox.incoming import Batch, Incoming, Malformed
from winback.inbox.machines import is_machine
from winback.inbox.recording import Event, address_hash, derived_id
from winback.inbox.sources.twilio import STOP_WORDS, wish
from winback.settings import PROJECT_ROOT

NOW = datetime(2026, 11, 21, 12)
SID = "SM" + "0a" * 16


def examples() -> Path:
    given = os.environ.get("WINBACK_TEST_FORMATS")
    place = Path(given) if given else PROJECT_ROOT.parent / "shared" / "data" / "formats"
    if not place.is_dir():
        pytest.skip("no providers' example payloads: neither WINBACK_TEST_FORMATS nor shared/data/formats beside the project is there")
    return place


def read(name: str, body: Any, path: str = "", query: str = "", group_id: int | None = None) -> Batch:
    source = next(one for one in signing.opened(group_id=group_id) if one.name == name)
    content = signing.twilio(path, body)[0] if name == "twilio" else body if isinstance(body, bytes) else signing.as_json(body)
    return source.read(Incoming(path or source.paths[0], query, {}, content, NOW))


def one(name: str, body: Any, path: str = "", query: str = "") -> Event:
    batch = read(name, body, path, query)
    assert len(batch.events) == 1
    return batch.events[0]


def sendgrid(**item: Any) -> Event:
    return one("sendgrid", [{"timestamp": 1461095250, "sg_event_id": "e", "email": "ada@example.com", **item}])


@pytest.mark.parametrize("file", ["sendgrid/event_webhook_batch.json", "esp_webhooks/sendgrid.json"])
def test_sendgrids_published_examples(file: str) -> None:
    content = json.loads((examples() / file).read_text())
    items = [item for case in content for item in case["payload"]] if "esp" in file else content
    batch = read("sendgrid", items)
    assert [event.event_type for event in batch.events] == [
        "processed", "delivered", "dropped", "dropped", "dropped", "bounced", "opened", "clicked", "delivered",
    ]  # fmt: skip
    assert (batch.ignored, batch.aside) == (1, [])
    assert [event.reason for event in batch.events] == [
        None, None, "invalid_address", "bounced_address", "unsubscribed_address", "5.1.1", None, None, None,
    ]  # fmt: skip
    assert batch.events[0].occurred_at == datetime(2016, 4, 19, 19, 47, 26)
    assert batch.events[0].event_id == derived_id("sendgrid", "ZyjAM5rnQmuI1KFInHQ3Nw")
    assert batch.events[5].address_hash == address_hash("email", "noreply@example.com")
    assert batch.events[7].link == derived_id("http://www.example.com")
    assert not any(event.is_machine for event in batch.events)


@pytest.mark.parametrize(
    ("item", "kind", "reason"),
    [
        ({"event": "bounce", "type": "bounce", "status": "5.1.1"}, "bounced", "5.1.1"),
        ({"event": "bounce", "type": "blocked", "status": "5.7.1"}, "soft_bounced", "5.7.1"),
        ({"event": "bounce", "type": "blocked"}, "soft_bounced", "blocked"),
        ({"event": "bounce", "type": "bounce", "status": "4.4.7"}, "soft_bounced", "4.4.7"),
        ({"event": "dropped", "reason": "somebody@example.com said no"}, "dropped", None),
        ({"event": "spamreport"}, "complained", None),
        ({"event": "unsubscribe"}, "unsubscribed", None),
        ({"event": "group_unsubscribe", "asm_group_id": 7}, "unsubscribed", "group 7"),
        ({"event": "group_resubscribe", "asm_group_id": 7}, "resubscribed", "group 7"),
    ],
)
def test_sendgrid_kinds(item: dict[str, Any], kind: str, reason: str | None) -> None:
    event = sendgrid(**item)
    assert (event.event_type, event.reason, event.channel) == (kind, reason, "email")


def test_what_is_said_of_another_unsubscribe_group_is_not_about_us() -> None:
    items = [{"event": kind, "timestamp": 1, "asm_group_id": 8} for kind in ("group_unsubscribe", "group_resubscribe")]
    assert read("sendgrid", items, group_id=7).ignored == 2
    assert len(read("sendgrid", items, group_id=8).events) == 2
    assert len(read("sendgrid", items).events) == 2


def test_sendgrids_message_id_of_ours_comes_back() -> None:
    assert sendgrid(event="open", winback_message_id="0f" * 16).message_id == "0f" * 16
    assert sendgrid(event="open", winback_message_id="ada@example.com").message_id is None


def test_events_without_an_id_are_told_apart_by_what_they_say() -> None:
    item = {"event": "bounce", "timestamp": 1461095250, "email": "a@example.com", "sg_event_id": None}
    ids = [sendgrid(**{**item, **change}).event_id for change in ({}, {}, {"timestamp": 1}, {"email": "b@example.com"})]
    assert len(set(ids)) == 3


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"sg_machine_open": True}, True),
        ({"sg_machine_open": False, "useragent": "Mozilla/5.0"}, True),
        ({"useragent": "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"}, False),
        (
            {"useragent": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"},
            False,
        ),
        ({"useragent": "Mozilla/5.0 (compatible; Barracuda Sentinel)"}, True),
        ({"useragent": "python-requests/2.32"}, True),
        ({}, False),
    ],
)
def test_machine_opens(more: dict[str, Any], expected: bool) -> None:
    assert sendgrid(event="open", **more).is_machine is expected


def test_gmails_prefetch_is_a_machine() -> None:
    assert is_machine(
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/42.0.2311.135 Safari/537.36 "
        "Edge/12.246 Mozilla/5.0"
    )
    assert not is_machine("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36")


def test_one_bad_event_is_put_aside_and_the_good_ones_stay() -> None:
    batch = read("sendgrid", [{"event": "open", "timestamp": 1}, {"event": "open"}, 7, {"event": 3}, {"event": "deferred"}])
    assert (len(batch.events), batch.ignored, len(batch.aside)) == (1, 1, 3)


@pytest.mark.parametrize("body", [b"", b"{}", b"nothing", b"\xff", b"[" * 100_000, b'[{"event": "open", "timestamp": "x"}]', b"[1]"])
def test_nothing_to_be_read_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        read("sendgrid", body)


@pytest.mark.parametrize(
    "timestamp",
    [
        float("inf"),
        float("nan"),
        -1,
        1e300,
        10**400,
        True,
        None,
        [],
        "2026-99-99",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
    ],
)
def test_timestamps_that_are_none(timestamp: object) -> None:
    with pytest.raises(Malformed):
        read("sendgrid", json.dumps([{"event": "open", "timestamp": timestamp}]).encode())


@pytest.mark.parametrize(
    ("form", "kind", "reason"),
    [
        ({"MessageStatus": "sent"}, "processed", None),
        ({"MessageStatus": "delivered"}, "delivered", None),
        ({"MessageStatus": "read"}, "read", None),
        ({"MessageStatus": "undelivered", "ErrorCode": "30003"}, "failed", "30003"),
        ({"MessageStatus": "undelivered", "ErrorCode": "30005"}, "bounced", "30005"),
        ({"MessageStatus": "failed", "ErrorCode": "21610"}, "unsubscribed", "21610"),
        ({"MessageStatus": "failed"}, "failed", "failed"),
        ({"SmsStatus": "delivered", "MessageStatus": ""}, "delivered", None),
    ],
)
def test_twilio_statuses(form: dict[str, str], kind: str, reason: str | None) -> None:
    event = one("twilio", {"MessageSid": SID, "To": "+15550100001", **form}, "/twilio/status", "message_id=m1")
    assert (event.event_type, event.reason, event.message_id, event.provider_id) == (kind, reason, "m1", SID)
    assert event.address_hash == address_hash("sms", "+15550100001")


def test_twilio_says_the_same_status_twice() -> None:
    form = {"MessageSid": SID, "To": "+15550100001", "MessageStatus": "delivered"}
    assert (
        one("twilio", form, "/twilio/status").event_id == one("twilio", form | {"RawDlrDoneDate": "2611211200"}, "/twilio/status").event_id
    )
    assert one("twilio", form, "/twilio/status").event_id != one("twilio", form | {"MessageStatus": "sent"}, "/twilio/status").event_id


def test_a_message_on_its_way_says_nothing() -> None:
    assert read("twilio", {"MessageSid": SID, "MessageStatus": "queued"}, "/twilio/status").ignored == 1


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *((word, "unsubscribed") for word in sorted(STOP_WORDS)),
        ("STOP", "unsubscribed"),
        (" Stop. ", "unsubscribed"),
        ("ARRÊT", "unsubscribed"),
        ("Désabonner!", "unsubscribed"),
        ("please stop", "unsubscribed"),
        ("Stop texting me now", "unsubscribed"),
        ("opt out", "unsubscribed"),
        ("Стоп!", "unsubscribed"),
        ("СТОП пожалуйста", "replied"),
        ("إلغاء", "unsubscribed"),
        ("수신거부", "unsubscribed"),
        ("İPTAL", "unsubscribed"),
        ("退订。", "unsubscribed"),
        ("STOP ALL", "unsubscribed"),
        ("Start", "resubscribed"),
        ("UNSTOP", "resubscribed"),
        ("yes", "replied"),
        ("I will stop by on Monday", "replied"),
        ("start or stop?", "replied"),
        ("", "replied"),
        ("👍", "replied"),
        ("stop " * 500, "unsubscribed"),
    ],
)
def test_what_people_write_back(text: str, kind: str) -> None:
    event = one("twilio", {"MessageSid": SID, "From": "+15550100001", "To": "+15550100009", "Body": text}, "/twilio/inbound")
    assert event.event_type == kind
    assert event.address_hash == address_hash("sms", "+15550100001")


def test_twilios_own_judgement_counts() -> None:
    assert wish("adios", "STOP")[0] == "unsubscribed"
    assert wish("yes", "START")[0] == "resubscribed"
    assert wish("help", "HELP") == ("replied", "help")


@pytest.mark.parametrize("form", [{}, {"MessageSid": "x"}, {"MessageSid": SID}])
@pytest.mark.parametrize("path", ["/twilio/status", "/twilio/inbound"])
def test_forms_that_say_nothing_are_malformed(form: dict[str, str], path: str) -> None:
    with pytest.raises(Malformed):
        read("twilio", form, path)


# The rendered example of https://documentation.onesignal.com/docs/en/event-streams-data (2026-11), with our two lines.
ONESIGNAL: dict[str, Any] = {
    "event.kind": "message.push.clicked",
    "event.id": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
    "event.timestamp": 1708559115,
    "event.datetime": "2024-02-21T23:45:15.228Z",
    "event.app_id": "your-onesignal-app-id",
    "event.subscription_device_type": "iOS",
    "event.subscription_id": "b2c3d4e5-f6a7-8901-bcde-f12345678901",
    "event.onesignal_id": "c3d4e5f6-a7b8-9012-cdef-123456789012",
    "event.external_id": "user_12345",
    "event.data.failure_reason": "",
    "message.id": "d4e5f6a7-b8c9-0123-def0-234567890123",
}


def test_onesignals_published_example() -> None:
    event = one("onesignal", ONESIGNAL)
    assert (event.event_type, event.channel, event.provider_id) == ("clicked", "push", "d4e5f6a7-b8c9-0123-def0-234567890123")
    assert event.occurred_at == datetime(2024, 2, 21, 23, 45, 15)
    assert event.address_hash == address_hash("push", "b2c3d4e5-f6a7-8901-bcde-f12345678901")
    assert event.customer_id is None


def test_onesignal_nested_is_the_same() -> None:
    flat = {"event.kind": "message.push.clicked", "event.id": "e", "event.timestamp": "1708559115", "message.id": "m"}
    nested = {"event": {"kind": "message.push.clicked", "id": "e", "timestamp": 1708559115}, "message": {"id": "m"}}
    assert one("onesignal", flat) == one("onesignal", nested)


@pytest.mark.parametrize(
    ("change", "kind", "reason"),
    [
        ({"event.kind": "message.push.failed", "event.data.failure_reason": "UNREGISTERED"}, "bounced", "dead_token"),
        ({"event.kind": "message.push.failed", "event.data.failure_reason": "BadDeviceToken"}, "bounced", "dead_token"),
        ({"event.kind": "message.push.failed", "event.data.failure_reason": "Internal error"}, "failed", None),
        ({"event.kind": "message.push.unsubscribed"}, "unsubscribed", None),
        ({"event.kind": "message.email.reported_as_spam"}, "complained", None),
        ({"event.kind": "message.sms.undelivered"}, "failed", None),
    ],
)
def test_onesignal_kinds(change: dict[str, str], kind: str, reason: str | None) -> None:
    event = one("onesignal", ONESIGNAL | change)
    assert (event.event_type, event.reason) == (kind, reason)


def test_onesignal_in_app_messages_say_nothing_to_us() -> None:
    assert read("onesignal", ONESIGNAL | {"event.kind": "message.iam.clicked"}).ignored == 1


ITEM: dict[str, Any] = {"id": "e1", "type": "clicked", "channel": "email", "occurred_at": "2026-11-21T11:00:00+01:00"}


def test_our_own_form() -> None:
    more = {"address": "Ada@example.com", "message_id": "m1", "user_agent": "curl/8", "link": "https://example.com/x", "reason": "5.1.1"}
    event = one("webhook", {"events": [ITEM | more]})
    assert event == Event(
        event_id=derived_id("webhook", "e1"),
        source="webhook",
        event_type="clicked",
        occurred_at=datetime(2026, 11, 21, 10),
        channel="email",
        message_id="m1",
        address_hash=address_hash("email", "ada@example.com"),
        is_machine=True,
        link=derived_id("https://example.com/x"),
        reason="5.1.1",
    )


@pytest.mark.parametrize(
    "change",
    [
        {"type": "sent"},
        {"channel": "fax"},
        {"occurred_at": "soon"},
        {"more": 1},
        {"message_id": "a b"},
        {"id": ""},
        {"reason": "a@b"},
        {"id": 3},
    ],
)
def test_our_own_form_is_closed(change: dict[str, Any]) -> None:
    with pytest.raises(Malformed, match="not as described"):
        read("webhook", {"events": [ITEM | change]})
    assert len(read("webhook", {"events": [ITEM, ITEM | change]}).aside) == 1


def test_a_ping_is_nothing() -> None:
    assert read("webhook", {"type": "ping"}).ignored == 1
