"""Bounces and complaints that arrive as mail, from folders and over IMAP."""

from __future__ import annotations

import re
import socketserver
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.inbox.mails import OURS, THEIRS, bounce, complaint
from tests.inbox.test_recording import holding, message
from winback.destinations.config import MailboxListening
from winback.errors import BadConfig, RetryLater
from winback.inbox.mail import MailReport, read_mails
from winback.inbox.recording import address_hash
from winback.inbox.sources.mailbox import read_mail
from winback.ledger import Ledger, open_ledger_at

NOW = datetime(2026, 11, 21, 12)
ADA = address_hash("email", "ada@example.com")
LOGIN = {"BOUNCES_USERNAME": "bounces", "BOUNCES_PASSWORD": "secret"}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with open_ledger_at(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        message(opened, OURS, "c1")
        yield opened


@pytest.mark.parametrize("headers_only", [False, True])
def test_a_delivery_report(headers_only: bool) -> None:
    event = read_mail(bounce(headers_only=headers_only), NOW).events[0]
    assert (event.event_type, event.message_id, event.reason, event.address_hash) == ("bounced", OURS, "5.1.1", ADA)
    assert event.occurred_at == datetime(2026, 11, 20, 13, 30)


@pytest.mark.parametrize(
    ("action", "status", "kind"),
    [
        ("failed", "5.1.1", "bounced"),
        ("failed", "5.2.1", "bounced"),
        ("failed", "5.0.0", "bounced"),
        ("failed", "", "bounced"),
        ("failed", "5.2.2", "soft_bounced"),
        ("failed", "5.7.1", "soft_bounced"),
        ("failed", "4.4.7", "soft_bounced"),
        ("delivered", "2.0.0", "delivered"),
    ],
)
def test_what_a_report_says_of_the_address(action: str, status: str, kind: str) -> None:
    assert [event.event_type for event in read_mail(bounce(action=action, status=status), NOW).events] == [kind]


@pytest.mark.parametrize(("feedback", "kind"), [("abuse", "complained"), ("fraud", "complained"), ("opt-out", "unsubscribed")])
def test_a_feedback_report(feedback: str, kind: str) -> None:
    event = read_mail(complaint(feedback=feedback), NOW).events[0]
    assert (event.event_type, event.message_id, event.address_hash, event.reason) == (kind, OURS, ADA, feedback)
    assert event.occurred_at == datetime(2026, 11, 20, 14)


@pytest.mark.parametrize(
    "mail",
    [
        b"",
        b"\xff\xfe",
        b"Subject: I am on holiday\n\nBack on Monday",
        bounce(action="delayed"),
        bounce("not-one-of-ours"),
        complaint(feedback="not-spam"),
        b"x" * 1_000_001,
    ],
)
def test_other_mail_says_nothing(mail: bytes) -> None:
    batch = read_mail(mail, NOW)
    assert (batch.events, batch.ignored) == ([], 1)


@pytest.mark.parametrize("headers_only", [False, True])
def test_a_mail_that_the_parser_stumbles_over_does_not_keep_the_others_unread(ledger: Ledger, tmp_path: Path, headers_only: bool) -> None:
    folder = tmp_path / "bounces"
    folder.mkdir()
    # Python 3.11's parser of Message-ID fails with UnboundLocalError at an address that ends in an open bracket.
    broken = bounce(headers_only=headers_only).replace(f"<{OURS}@shop.example.com>".encode(), b"<a@[")
    (folder / "a.eml").write_bytes(broken)
    (folder / "b.eml").write_bytes(bounce())
    assert read(ledger, folder) == MailReport(mails=2, events=1, ignored=1)


@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, 5000), noise=st.binary(max_size=30), cut=st.integers(0, 200), kind=st.sampled_from([bounce(), complaint()]))
def test_whatever_the_mail_it_is_read_without_an_error(place: int, noise: bytes, cut: int, kind: bytes) -> None:
    at = place % len(kind)
    read_mail(kind[:at] + noise + kind[at + cut :], NOW)


def read(ledger: Ledger, folder: Path) -> MailReport:
    return read_mails(ledger, MailboxListening(folder=folder), {}, folder.parent, lambda: NOW)


def test_a_folder_of_eml_files(ledger: Ledger, tmp_path: Path) -> None:
    folder = tmp_path / "bounces"
    folder.mkdir()
    for name, content in {"a.eml": bounce(), "b.eml": complaint(), "c.eml": b"Subject: hello\n\nhello", "d.txt": b"no mail"}.items():
        (folder / name).write_bytes(content)
    assert read(ledger, folder) == MailReport(mails=3, events=2, ignored=1)
    assert holding(ledger) == {("c1", None, "email", "complained")}
    assert {row["address_hash"] for row in ledger.rows("delivery_events")} == {ADA}
    assert sorted(path.name for path in folder.iterdir()) == ["d.txt", "read"]
    assert read(ledger, folder) == MailReport()
    (folder / "again.eml").write_bytes(bounce())
    assert read(ledger, folder) == MailReport(mails=1, events=0)


def test_a_maildir(ledger: Ledger, tmp_path: Path) -> None:
    for name in ("new", "cur", "tmp"):
        (tmp_path / "maildir" / name).mkdir(parents=True)
    (tmp_path / "maildir" / "new" / "1.host").write_bytes(bounce())
    assert read(ledger, tmp_path / "maildir").events == 1
    assert [path.name for path in (tmp_path / "maildir" / "cur").iterdir()] == ["1.host:2,S"]


def test_a_forged_report_about_no_message_of_ours_silences_nobody(ledger: Ledger, tmp_path: Path) -> None:
    folder = tmp_path / "bounces"
    folder.mkdir()
    (folder / "a.eml").write_bytes(bounce(THEIRS))
    (folder / "b.eml").write_bytes(complaint(THEIRS))
    assert read(ledger, folder).events == 2
    assert holding(ledger) == set()
    assert {row["message_id"] for row in ledger.rows("delivery_events")} == {THEIRS}


def test_a_report_about_a_message_of_ours_silences_nobody_elses_address(ledger: Ledger, tmp_path: Path) -> None:
    folder = tmp_path / "bounces"
    folder.mkdir()
    block = b"\nFinal-Recipient: rfc822; victim@example.com\nAction: failed\nStatus: 5.1.1\n"
    (folder / "a.eml").write_bytes(bounce().replace(b"\n\nOriginal-Recipient", b"\n" + block * 3 + b"\nOriginal-Recipient"))
    (folder / "b.eml").write_bytes(complaint(recipient="victim@example.com"))
    (folder / "c.eml").write_bytes(complaint(recipient="victim@example.com", feedback="opt-out"))
    assert read(ledger, folder) == MailReport(mails=3, events=3)
    assert holding(ledger) == {("c1", None, "email", "complained"), ("c1", None, "email", "unsubscribed")}


def test_a_complaint_with_the_address_blacked_out_is_about_the_messages_customer(ledger: Ledger, tmp_path: Path) -> None:
    folder = tmp_path / "bounces"
    folder.mkdir()
    (folder / "a.eml").write_bytes(complaint(recipient="redacted"))
    read(ledger, folder)
    assert holding(ledger) == {("c1", None, "email", "complained")}


def test_a_folder_that_cannot_be_written_is_tried_again(ledger: Ledger, tmp_path: Path) -> None:
    folder = tmp_path / "bounces"
    folder.mkdir()
    (folder / "a.eml").write_bytes(bounce())
    (folder / "read").write_bytes(b"a file where a folder should be")
    with pytest.raises(RetryLater, match="FileExistsError"):
        read(ledger, folder)


def test_what_mail_says_is_recorded_as_of_when_the_ledger_was_free(ledger: Ledger, tmp_path: Path) -> None:
    folder = tmp_path / "bounces"
    folder.mkdir()
    (folder / "a.eml").write_bytes(bounce())
    times: list[bool] = []

    def clock() -> datetime:
        # SQLAlchemy's pool says whether the transaction has begun by the time we are asked.
        times.append(ledger.engine.pool.checkedout() == 1)  # type: ignore[attr-defined]
        return NOW

    read_mails(ledger, MailboxListening(folder=folder), {}, tmp_path, clock)
    assert times == [False, True]


def test_no_folder(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="is no folder"):
        read(ledger, tmp_path / "nowhere")


class MailServer(socketserver.ThreadingTCPServer):
    """As much of IMAP as a client needs that reads what is unseen."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, mails: list[bytes]) -> None:
        self.mails = mails
        self.seen: set[int] = set()
        super().__init__(("127.0.0.1", 0), _Session)


class _Session(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self.wfile.write(b"* OK ready\r\n")
        for line in self.rfile:
            tag, command, rest = [*line.decode().strip().split(" ", 2), ""][:3]
            answer = self._answer(command.upper(), rest)
            self.wfile.write(f"{tag} {answer}\r\n".encode())
            if command.upper() == "LOGOUT":
                return

    def _answer(self, command: str, rest: str) -> str:
        mails, seen = self.server.mails, self.server.seen
        if command == "CAPABILITY":
            self.wfile.write(b"* CAPABILITY IMAP4rev1\r\n")
        elif command == "LOGIN" and "secret" not in rest:
            return "NO refused"
        elif command == "SELECT":
            if rest != '"INBOX"':
                return "NO no such mailbox"
            self.wfile.write(f"* {len(mails)} EXISTS\r\n".encode())
        elif rest.lower().startswith("search"):
            unseen = " ".join(str(uid) for uid in range(1, len(mails) + 1) if uid not in seen)
            self.wfile.write(f"* SEARCH {unseen}\r\n".encode())
        elif rest.lower().startswith("fetch"):
            uid = int(rest.split()[1])
            content = mails[uid - 1]
            self.wfile.write(f"* {uid} FETCH (UID {uid} BODY[]<0> {{{len(content)}}}\r\n".encode() + content + b")\r\n")
        elif rest.lower().startswith("store"):
            seen.update(int(uid) for uid in re.findall(r"\d+", rest.split()[1]))
        return "OK done"


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    with MailServer([bounce(), complaint(), b"Subject: x\n\nx"]) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def imap(server: MailServer, **more: object) -> MailboxListening:
    values = {"host": "127.0.0.1", "port": server.server_address[1], "security": "none", **more}
    return MailboxListening.model_validate(values)


def test_an_imap_mailbox(ledger: Ledger, tmp_path: Path, mail_server: MailServer) -> None:
    assert read_mails(ledger, imap(mail_server), LOGIN, tmp_path, lambda: NOW) == MailReport(mails=3, events=2, ignored=1)
    assert mail_server.seen == {1, 2, 3}
    assert read_mails(ledger, imap(mail_server), LOGIN, tmp_path, lambda: NOW) == MailReport()


def test_an_imap_mailbox_that_refuses(ledger: Ledger, tmp_path: Path, mail_server: MailServer) -> None:
    with pytest.raises(BadConfig, match=r"BOUNCES_PASSWORD$"):
        read_mails(ledger, imap(mail_server), LOGIN | {"BOUNCES_PASSWORD": "wrong"}, tmp_path, lambda: NOW)
    with pytest.raises(BadConfig, match="BOUNCES_PASSWORD is not set"):
        read_mails(ledger, imap(mail_server), {"BOUNCES_USERNAME": "x"}, tmp_path, lambda: NOW)
    with pytest.raises(BadConfig, match="no mailbox 'Bounces'"):
        read_mails(ledger, imap(mail_server, mailbox="Bounces"), LOGIN, tmp_path, lambda: NOW)
    assert mail_server.seen == set()


def test_a_mail_server_that_is_not_there(ledger: Ledger, tmp_path: Path) -> None:
    config = MailboxListening(host="127.0.0.1", port=1, security="none")
    with pytest.raises(RetryLater, match="cannot be reached"):
        read_mails(ledger, config, LOGIN, tmp_path, lambda: NOW)
