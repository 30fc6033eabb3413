"""The receiver over HTTP: what is answered, what is kept, what changes nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.inbox import signing
from winback.clock import utc_now
from winback.inbox import app as receiver
from winback.inbox import refused as refusing
from winback.inbox.app import Inbox
from winback.inbox.refused import RefusedFolder
from winback.inbox.writer import GroupWriter
from winback.ledger import Ledger, open_ledger_at

BATCH = [{"event": "open", "timestamp": 1461095250, "sg_event_id": f"e{number}", "email": "a@example.com"} for number in range(3)]
STOP = {"MessageSid": "SM" + "1" * 32, "From": "+15550100001", "Body": "STOP"}


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Ledger]:
    with open_ledger_at(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


@contextmanager
def client_on(ledger: Ledger, tmp_path: Path, environment: dict[str, str] = signing.ENVIRONMENT, **more: Any) -> Iterator[TestClient]:
    sources = signing.opened(environment)
    writer = GroupWriter(ledger, utc_now)
    inbox = Inbox(sources, writer, RefusedFolder(tmp_path / "refused"), utc_now, **more)
    with TestClient(inbox.app(), base_url="http://receiver") as client:
        yield client
    writer.close()


@pytest.fixture
def client(sqlite: Ledger, tmp_path: Path) -> Iterator[TestClient]:
    with client_on(sqlite, tmp_path) as opened:
        yield opened


def post_sendgrid(client: TestClient, items: Any, **headers: str) -> Any:
    body = items if isinstance(items, bytes) else signing.as_json(items)
    return client.post("/sendgrid/events", content=body, headers=signing.sendgrid(body, utc_now()) | headers)


def test_what_is_answered_is_in_the_ledger(client: TestClient, sqlite: Ledger) -> None:
    answer = post_sendgrid(client, BATCH)
    assert (answer.status_code, answer.json()) == (200, {"recorded": 3, "ignored": 0, "put_aside": 0})
    assert len(sqlite.rows("delivery_events")) == 3
    assert post_sendgrid(client, BATCH).status_code == 200
    assert len(sqlite.rows("delivery_events")) == 3


def test_a_stop_silences_the_number_before_it_is_answered(client: TestClient, sqlite: Ledger) -> None:
    body, headers = signing.twilio("/twilio/inbound", STOP)
    answer = client.post("/twilio/inbound", content=body, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/xml; charset=utf-8")
    assert answer.text.endswith("<Response/>")
    assert [(row["channel"], row["reason"]) for row in sqlite.rows("suppressions")] == [("sms", "unsubscribed")]


def test_twilio_signs_the_query_too(client: TestClient, sqlite: Ledger) -> None:
    form = {"MessageSid": "SM" + "2" * 32, "MessageStatus": "delivered", "To": "+15550100001"}
    body, headers = signing.twilio("/twilio/status", form, "message_id=m1&x=%20")
    assert client.post("/twilio/status?message_id=m1&x=%20", content=body, headers=headers).status_code == 200
    assert client.post("/twilio/status?message_id=m2&x=%20", content=body, headers=headers).status_code == 403
    assert [row["message_id"] for row in sqlite.rows("delivery_events")] == ["m1"]


def test_onesignal_and_our_own_form(client: TestClient, sqlite: Ledger) -> None:
    push = {"event.kind": "message.push.clicked", "event.id": "e", "event.timestamp": 1708559115}
    assert client.post("/onesignal/events", json=push, headers={"Authorization": signing.ONESIGNAL_SECRET}).status_code == 200
    assert client.post("/onesignal/events", json=push, headers={"Authorization": "wrong"}).status_code == 403
    body = signing.as_json({"events": [{"id": "w", "type": "read", "channel": "sms", "occurred_at": "1708559115"}]})
    assert client.post("/webhook/events", content=body, headers=signing.webhook(body, utc_now())).status_code == 200
    assert {row["source"] for row in sqlite.rows("delivery_events")} == {"onesignal", "webhook"}


def test_a_bad_signature_changes_nothing_and_keeps_nothing(client: TestClient, sqlite: Ledger, tmp_path: Path) -> None:
    body = b"not json, and not signed either"
    assert client.post("/sendgrid/events", content=body).status_code == 401
    headers = signing.sendgrid(b"something else", utc_now())
    assert client.post("/sendgrid/events", content=body, headers=headers).status_code == 403
    stale = signing.sendgrid(body, utc_now() - timedelta(days=2))
    assert client.post("/sendgrid/events", content=body, headers=stale).status_code == 403
    assert sqlite.rows("delivery_events") == []
    assert not (tmp_path / "refused").exists()


def test_a_malformed_body_is_kept_for_its_owner_only(client: TestClient, tmp_path: Path) -> None:
    for _ in range(3):
        answer = post_sendgrid(client, b'{"this": "is no array"}')
        assert (answer.status_code, answer.json()) == (400, {"error": "the body is no JSON array"})
    kept = list((tmp_path / "refused").iterdir())
    assert len(kept) == 1
    assert kept[0].stat().st_mode & 0o777 == 0o600
    assert kept[0].read_bytes().endswith(b'\n\n{"this": "is no array"}')


def test_a_bad_event_in_a_good_batch_is_put_aside(client: TestClient, sqlite: Ledger, tmp_path: Path) -> None:
    answer = post_sendgrid(client, [*BATCH, {"event": "open", "timestamp": "soon"}])
    assert (answer.status_code, answer.json()) == (200, {"recorded": 3, "ignored": 0, "put_aside": 1})
    assert len(sqlite.rows("delivery_events")) == 3
    assert len(list((tmp_path / "refused").iterdir())) == 1


def test_the_refused_are_bounded_and_go_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusing, "MOST_FILES", 3)
    folder = RefusedFolder(tmp_path / "refused")
    now = utc_now()
    assert [folder.keep("sendgrid", "x", f"{number}".encode(), now) for number in range(4)] == [True, True, True, False]
    assert folder.keep("sendgrid", "x", b"0", now)
    assert folder.keep("sendgrid", "x", b"9", now + timedelta(days=31))
    assert len(list((tmp_path / "refused").iterdir())) == 1
    monkeypatch.setattr(refusing, "LARGEST", 10)
    folder.keep("sendgrid", "x", b"z" * 1000, now)
    assert max(path.stat().st_size for path in (tmp_path / "refused").iterdir()) < 200


def test_a_malformed_body_is_answered_as_such_where_it_cannot_be_kept(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "refused").write_text("a file where the folder should be")
    assert post_sendgrid(client, b"{").status_code == 400
    assert post_sendgrid(client, [*BATCH, {"event": 1}]).status_code == 200


def test_a_source_without_its_secret_is_not_there(sqlite: Ledger, tmp_path: Path) -> None:
    with client_on(sqlite, tmp_path, {"LISTEN_WEBHOOK_SECRET": signing.WEBHOOK_SECRET}) as client:
        for path in ("/sendgrid/events", "/twilio/status", "/twilio/inbound", "/onesignal/events", "/"):
            assert client.post(path).status_code == 404
        assert client.get("/health").json() == {"status": "ok", "open": ["webhook"], "waiting": 0}
        assert set(client.get("/openapi.json").json()["paths"]) == {"/health", "/openapi.json", "/webhook/events"}


def test_bodies_are_bounded(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "LARGEST_BODY", 1000)
    assert client.post("/sendgrid/events", content=b"x" * 1001).status_code == 413

    def trickle() -> Iterator[bytes]:
        for _ in range(11):
            yield b"x" * 100

    assert client.post("/sendgrid/events", content=trickle()).status_code == 413
    monkeypatch.setattr(receiver, "MOST_BEING_READ", 500)
    answer = client.post("/sendgrid/events", content=b"x" * 501)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "15")
    assert client.post("/sendgrid/events", content=b"x" * 400).status_code == 401


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_nothing_is_unpacked(client: TestClient, encoding: str) -> None:
    assert post_sendgrid(client, BATCH, **{"Content-Encoding": encoding}).status_code == 415


async def _slow_body(inbox: Inbox) -> int:
    """The status that a client gets whose body never ends."""
    app = inbox.app()
    sent: list[dict[str, Any]] = []
    started = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not started.is_set():
            started.set()
            return {"type": "http.request", "body": b"[", "more_body": True}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/sendgrid/events", "raw_path": b"", "query_string": b"", "root_path": "",
        "headers": [], "scheme": "http", "server": ("receiver", 80), "client": ("127.0.0.1", 1), "http_version": "1.1", "asgi": {},
    }  # fmt: skip
    await app(scope, receive, send)
    return int(sent[0]["status"])


def test_a_body_that_never_ends_is_given_up(sqlite: Ledger, tmp_path: Path) -> None:
    writer = GroupWriter(sqlite, utc_now)
    sources = signing.opened()
    inbox = Inbox(sources, writer, RefusedFolder(tmp_path), utc_now, body_seconds=0.01)
    assert asyncio.run(_slow_body(inbox)) == 408
    writer.close()


def test_while_another_process_writes_the_provider_is_asked_to_come_back(sqlite: Ledger, tmp_path: Path) -> None:
    with client_on(sqlite, tmp_path, patience=0.05) as client:
        other = open_ledger_at(f"sqlite:///{tmp_path / 'ledger.db'}")
        with other.writing():
            answer = post_sendgrid(client, BATCH)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "15")
        other.close()
        assert post_sendgrid(client, BATCH).status_code == 503 or len(sqlite.rows("delivery_events")) == 3
    # What was taken is written at the latest when the receiver ends, and what is sent again counts once.
    assert len(sqlite.rows("delivery_events")) == 3


def test_a_batch_that_the_ledger_does_not_take_harms_no_other(sqlite: Ledger) -> None:
    from winback.inbox.recording import Event

    at = datetime(2026, 11, 21)
    good = [Event(event_id=f"g{number}", source="webhook", event_type="read", occurred_at=at, channel="sms") for number in range(2)]
    bad = Event(event_id="b", source=None, event_type="read", occurred_at=at)  # type: ignore[arg-type]
    writer = GroupWriter(sqlite, utc_now)
    settled: dict[str, BaseException | None] = {}
    with sqlite.writing():  # The writing thread waits meanwhile, so that all three come into one group.
        for name, events in (("first", [good[0]]), ("bad", [bad]), ("last", [good[1]])):
            writer.put(events, lambda problem, name=name: settled.update({name: problem}))  # type: ignore[misc]
    writer.close()
    assert {name: problem is None for name, problem in settled.items()} == {"first": True, "bad": False, "last": True}
    assert {row["event_id"] for row in sqlite.rows("delivery_events")} == {"g0", "g1"}


def test_nothing_of_what_is_sent_is_shown(client: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    shown = [post_sendgrid(client, [{"event": "open", "timestamp": "ada@example.com", "email": "ada@example.com"}]).text]
    shown.append(client.post("/sendgrid/events", content=b"ada@example.com").text)
    printed = capsys.readouterr()
    assert "malformed" in printed.out + printed.err
    assert "ada@" not in "".join(shown) + printed.out + printed.err


def test_the_document_is_openapi(client: TestClient) -> None:
    from openapi_core import OpenAPI

    described = client.get("/openapi.json").json()
    OpenAPI.from_dict(described)
    assert json.dumps(described).count('"post"') == 5


def test_the_writer_outlives_those_who_do_not_wait(sqlite: Ledger) -> None:
    from winback.inbox.recording import Event

    def gone(problem: BaseException | None) -> None:
        raise RuntimeError("Event loop is closed")

    events = [Event(event_id=f"g{number}", source="webhook", event_type="read", occurred_at=datetime(2026, 11, 21)) for number in range(2)]
    writer = GroupWriter(sqlite, utc_now)
    writer.put(events[:1], gone)
    told: list[BaseException | None] = []
    writer.put(events[1:], told.append)
    writer.close()
    assert told == [None]
    assert len(sqlite.rows("delivery_events")) == 2
