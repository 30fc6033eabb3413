"""Whatever comes in, from whomever: addresses, numbers, texts, user agents and secrets stay out of ledger, logs and answers.

Only the folder of what could not be read has them, as its docs page says.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from tests.inbox import signing
from winback.clock import utc_now
from winback.destinations.config import MailboxListening
from winback.inbox.app import Inbox
from winback.inbox.mail import read_mails
from winback.inbox.refused import RefusedFolder
from winback.inbox.writer import GroupWriter
from winback.ledger import Ledger, open_ledger_at
from winback.ledger.tables import metadata

EMAIL, NUMBER, TEXT, AGENT, IP = "ann@example.com", "+15550100001", "Secrettext of hers", "Secretagent/1.0", "198.51.100.7"
WORDS = f"550 5.1.1 <{EMAIL}> {NUMBER} {TEXT} unknown"
PRIVATE = [EMAIL, quote(EMAIL), NUMBER, NUMBER.removeprefix("+"), TEXT, "Secrettext", AGENT, "Secretagent", IP]


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Ledger]:
    with open_ledger_at(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


def sendgrid_events() -> list[dict[str, Any]]:
    kinds = [
        "processed", "deferred", "delivered", "open", "click", "bounce", "blocked", "dropped", "spamreport", "unsubscribe",
        "group_unsubscribe", "group_resubscribe", "something_new",
    ]  # fmt: skip
    common = {"email": EMAIL, "timestamp": 1461095250, "reason": WORDS, "response": WORDS, "useragent": AGENT, "ip": IP, "status": WORDS}
    url = f"https://shop.example.com/?email={quote(EMAIL)}&phone={quote(NUMBER)}#{TEXT}"
    events = [{**common, "event": kind, "sg_event_id": f"e{kind}", "url": url, "asm_group_id": 1, "type": WORDS} for kind in kinds]
    broken = [{**common, "event": "open", "sg_event_id": EMAIL, "timestamp": WORDS}, {**common, "event": WORDS}, {**common, "email": WORDS}]
    return [*events, *broken]


def twilio_forms() -> list[tuple[str, dict[str, str]]]:
    sid = {"MessageSid": "SM" + "1" * 32}
    inbound = [{**sid, "From": NUMBER, "To": "+15550100099", "Body": text} for text in (TEXT, "STOP", "START", f"STOP {TEXT}")]
    statuses = [
        {**sid, "MessageStatus": status, "To": NUMBER, "ErrorCode": code, "ErrorMessage": WORDS}
        for status, code in (("delivered", ""), ("undelivered", "30005"), ("failed", "21610"), (WORDS, WORDS))
    ]
    broken = [{"From": WORDS, "Body": TEXT}, {**sid, "From": WORDS, "Body": TEXT, "OptOutType": WORDS}]
    return [("/twilio/inbound", one) for one in [*inbound, *broken]] + [("/twilio/status", one) for one in statuses]


def onesignal_bodies() -> list[dict[str, Any]]:
    common = {"event.id": "e", "event.timestamp": 1708559115, "event.subscription_id": EMAIL, "event.data.failure_reason": WORDS}
    kinds = ("message.push.clicked", "message.push.failed", "message.push.unsubscribed", WORDS)
    return [{**common, "event.kind": kind} for kind in kinds] + [{**common, "event.kind": kinds[0], "event.timestamp": WORDS}]


def webhook_bodies() -> list[Any]:
    one = {"id": "w", "type": "bounced", "channel": "email", "occurred_at": "1708559115", "address": EMAIL, "reason": WORDS}
    return [
        {"events": [one]},
        {"events": [{**one, "id": "w2", "channel": "sms", "address": NUMBER}]},
        {"events": [{**one, "channel": WORDS}]},
        {"events": [{**one, EMAIL: WORDS}]},
        {"events": EMAIL},
        WORDS,
    ]


def bounce() -> bytes:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = f"Mailer <{EMAIL}>", "bounces@example.com", WORDS
    mail.set_content(f"{TEXT}\nFinal-Recipient: rfc822; {EMAIL}\n")
    return mail.as_bytes()


def test_what_comes_in_is_nobodys_to_read(
    sqlite: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    inbox = Inbox(signing.opened(), GroupWriter(sqlite, utc_now), RefusedFolder(tmp_path / "refused"), utc_now)
    answers = []
    with TestClient(inbox.app(), base_url="http://receiver") as client:

        def post(path: str, body: bytes, headers: dict[str, str]) -> None:
            for sent in (headers, {"Content-Type": headers["Content-Type"], "Authorization": f"{EMAIL} {TEXT}"}):
                answers.append(client.post(path, content=body, headers={**sent, "User-Agent": AGENT}))

        for body in (signing.as_json(sendgrid_events()), signing.as_json(WORDS), WORDS.encode(), b"\xff" + WORDS.encode()):
            post("/sendgrid/events", body, signing.sendgrid(body, utc_now()))
        for path, form in twilio_forms():
            post(path, *signing.twilio(path, form))
        for content in onesignal_bodies():
            post("/onesignal/events", signing.as_json(content), signing.onesignal())
        for content in webhook_bodies():
            body = signing.as_json(content)
            post("/webhook/events", body, signing.webhook(body, utc_now()))
        answers += [client.get(f"/{quote(WORDS)}"), client.get("/health"), client.get("/openapi.json")]
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail" / "one.eml").write_bytes(bounce())
    mailbox = MailboxListening(folder=tmp_path / "mail")
    told = repr(read_mails(sqlite, mailbox, {}, tmp_path, utc_now))
    # The test's own client says which address it asks for.
    told += "".join(record.getMessage() for record in caplog.records if not record.name.startswith("http"))
    told += "".join(answer.text + repr(dict(answer.headers)) for answer in answers)
    printed = "".join(capfd.readouterr())
    rows = {table: sqlite.rows(table) for table in metadata.tables}
    told += printed + json.dumps(rows, default=str)

    assert "malformed" in printed
    assert "refused" in printed
    assert {answer.status_code for answer in answers} == {200, 400, 401, 403, 404}
    assert len(rows["delivery_events"]) >= 15
    assert rows["suppressions"]
    secrets = [signing.TWILIO_TOKEN, signing.ONESIGNAL_SECRET, signing.WEBHOOK_SECRET]
    assert [value for value in [*PRIVATE, *secrets] if value in told] == []
    assert any(EMAIL.encode() in path.read_bytes() for path in (tmp_path / "refused").iterdir()), "what is put aside is as it came"
