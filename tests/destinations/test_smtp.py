"""SMTP: the conformance situations against a real mail server, then connections, DKIM and what is SMTP's own."""

from __future__ import annotations

import dataclasses
import socket
import socketserver
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email import message_from_bytes, policy
from functools import cache
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.destinations.conformance.mail_server import PASSWORD, USER, Behaviour, MailServer, ca_file
from tests.destinations.conformance.server import Captured, Reply, closed_port
from tests.destinations.conformance.suite import IMPATIENT, NOW, TIMEOUT, Conformance, Entry, Situation, messages
from winback.destinations.base import Channel, Message, Outcome, Result
from winback.destinations.config import Context, Sender
from winback.destinations.smtp import Config, Smtp, build
from winback.errors import BadConfig, RetryLater, StopRun

ITEMS = messages(Channel.EMAIL, ["anna@example.com", "bert@example.com", "cleo@example.com"])
SENDER = Sender("shop@example.com", "The Shop", "help@example.com")
ENVIRONMENT = {"SMTP_USERNAME": USER, "SMTP_PASSWORD": PASSWORD}

BEHAVIOURS = {
    "throttled_with_retry_after": Behaviour(mail="421 4.7.0 anna@example.com: come back in 7 seconds"),
    "throttled_without_retry_after": Behaviour(mail="451 4.7.1 too fast"),
    "server_error": Behaviour(content="451 4.3.0 disk full"),
    "reset_mid_answer": Behaviour(content="reset"),
    "timeout_after_send": Behaviour(content="never_answer"),
    "slow_provider": Behaviour(content="slow"),
    "partial_batch": Behaviour(recipients={"bert@example.com": "550 5.1.1 bert@example.com unknown"}),
    "bad_item": Behaviour(recipients={"anna@example.com": "550 5.1.1 anna@example.com unknown"}),
    "expired_credentials": Behaviour(login=False),
    "malformed_answer": Behaviour(content="Welcome to the guest network"),
}


def open_smtp(port: int, **keys: Any) -> Smtp:
    keys = {"username_env": "SMTP_USERNAME", "password_env": "SMTP_PASSWORD", "ca_file": ca_file(), **keys}
    return build(Config(host="127.0.0.1", port=port, **{"timeout_seconds": TIMEOUT, **keys}), Context({**ENVIRONMENT, **DKIM()}, SENDER))


class TestSmtpConforms(Conformance):
    entry = Entry(
        build=lambda base_url: open_smtp(int(base_url.rpartition(":")[2])),
        items=ITEMS,
        success=Reply(),
        replies={},
        expected={
            "throttled_with_retry_after": "retry later",
            "throttled_without_retry_after": "retry later",
            "server_error": "deferred, deferred, deferred",
            "connection_refused": "retry later",
            "reset_mid_answer": "unknown, deferred, deferred",
            "timeout_after_send": "unknown, deferred, deferred",
            "slow_provider": "accepted, accepted, accepted",
            "partial_batch": "accepted, rejected, accepted",
            "bad_item": "rejected",
            "expired_credentials": "stop",
            "malformed_answer": "unknown, deferred, deferred",
        },
        secrets=[PASSWORD],
        contract=None,
    )

    @contextmanager
    def opened_in(self, situation: Situation) -> Iterator[tuple[Any, list[Captured]]]:
        if situation.name == "connection_refused":
            yield open_smtp(closed_port()), []
            return
        with MailServer(BEHAVIOURS[situation.name]) as server:
            destination = open_smtp(server.port, **({"timeout_seconds": IMPATIENT} if situation.name == "timeout_after_send" else {}))
            yield destination, []
            destination.close()

    def test_check_says_what_it_can_do(self, caplog: pytest.LogCaptureFixture) -> None:
        with MailServer() as server:
            destination = open_smtp(server.port)
            assert destination.check() == "SMTP: connected with STARTTLS, login accepted; email, pipelined, no DKIM key"
            destination.close()
        assert PASSWORD not in caplog.text

    def test_check_stops_at_refused_credentials(self) -> None:
        with MailServer(Behaviour(login=False)) as server, pytest.raises(StopRun, match="535"):
            open_smtp(server.port).check()


def outcomes(results: Sequence[Result]) -> list[str]:
    return [result.outcome.value for result in results]


@pytest.mark.parametrize("pipelining", [True, False])
def test_messages_arrive_whole_over_one_connection(pipelining: bool) -> None:
    items = [
        dataclasses.replace(ITEMS[0], text="a line\n.\n..two dots\n.end", html="", subject="Grüße"),
        dataclasses.replace(ITEMS[1], text="Привет " * 100),
        ITEMS[2],
    ]
    with MailServer(Behaviour(pipelining=pipelining)) as server:
        destination = open_smtp(server.port, bounce_address="bounces@example.com")
        assert outcomes(destination.send(items, NOW)) == ["accepted"] * 3
        assert outcomes(destination.send(items, NOW)) == ["accepted"] * 3
        destination.close()
    assert server.sessions == 1
    assert [envelope.rcpt_tos for envelope in server.taken] == [[item.to] for item in items * 2]
    assert server.taken[0].mail_from == "bounces@example.com"
    parsed = [message_from_bytes(envelope.content or b"", policy=policy.default) for envelope in server.taken]
    assert parsed[0]["Message-ID"] == f"<{items[0].message_id}@example.com>"
    assert parsed[0]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert parsed[0].get_content().replace("\r\n", "\n") == items[0].text + "\n"
    body = parsed[1].get_body(("plain",))
    assert body is not None
    assert body.get_content() == items[1].text


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize(
    ("refusal", "expected"),
    [("450 4.2.1 try later", "deferred"), ("550 5.1.1 unknown", "rejected"), ("552 5.2.2 full", "rejected")],
)
def test_one_refused_recipient_leaves_the_others_alone(pipelining: bool, refusal: str, expected: str) -> None:
    for position, item in enumerate(ITEMS):
        with MailServer(Behaviour(pipelining=pipelining, recipients={item.to: refusal})) as server:
            destination = open_smtp(server.port)
            results = destination.send(ITEMS, NOW)
            destination.close()
        assert outcomes(results) == ["accepted"] * position + [expected] + ["accepted"] * (2 - position)
        assert results[position].reason == f"SMTP: recipient refused{' for now' if expected == 'deferred' else ''} ({refusal[:9]})"
        assert len(server.taken) == 2


def test_a_server_that_does_not_relay_for_us_stops_and_rejects_nobody() -> None:
    refusals = {item.to: "554 5.7.1 relay access denied" for item in ITEMS}
    with MailServer(Behaviour(recipients=refusals)) as server, pytest.raises(StopRun, match="relay"):
        open_smtp(server.port).send(ITEMS, NOW)


def test_a_refused_sender_stops() -> None:
    with MailServer(Behaviour(mail="550 5.7.1 not yours")) as server, pytest.raises(StopRun, match="sender refused"):
        open_smtp(server.port).send(ITEMS, NOW)


@pytest.mark.parametrize("pipelining", [True, False])
def test_a_limit_of_messages_per_connection_means_another_connection(pipelining: bool) -> None:
    with MailServer(Behaviour(pipelining=pipelining, longest_session=2)) as server:
        destination = open_smtp(server.port)
        assert outcomes(destination.send(ITEMS * 3, NOW)) == ["accepted"] * 9
        destination.close()
    assert server.sessions == 5
    assert len(server.taken) == 9


def test_a_connection_closed_while_idle_is_replaced() -> None:
    with MailServer() as server:
        destination = open_smtp(server.port)
        destination.send(ITEMS[:1], NOW)
        port = server.port
    with MailServer() as second:
        destination._config = destination._config.model_copy(update={"port": second.port})
        assert port != second.port or second.sessions == 0
        assert outcomes(destination.send(ITEMS, NOW)) == ["accepted"] * 3
        destination.close()
    assert len(second.taken) == 3


def test_too_large_for_the_server_is_rejected_without_sending() -> None:
    with MailServer(Behaviour(size=5_000)) as server:
        destination = open_smtp(server.port)
        results = destination.send([dataclasses.replace(ITEMS[0], text="x " * 5_000), ITEMS[1]], NOW)
        destination.close()
    assert outcomes(results) == ["rejected", "accepted"]
    assert len(server.taken) == 1


def test_unusable_address_is_rejected_and_never_reaches_the_server() -> None:
    bad = dataclasses.replace(ITEMS[0], to="anna@example.com>\r\nRCPT TO:<eve@example.com")
    with MailServer() as server:
        destination = open_smtp(server.port)
        results = destination.send([bad, ITEMS[1]], NOW)
        destination.close()
    assert outcomes(results) == ["rejected", "accepted"]
    assert "anna" not in results[0].reason
    assert [envelope.rcpt_tos for envelope in server.taken] == [["bert@example.com"]]


@contextmanager
def scripted(answers: list[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """A plain server that gives these answers, one per command (and per content), whatever is asked."""
    heard: list[bytes] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            queue = list(answers)
            self.wfile.write(b"220 here\r\n")
            in_content = False
            for line in self.rfile:
                if in_content and line != b".\r\n":
                    continue
                heard.append(line.strip())
                if not queue:
                    return
                answer = queue.pop(0)
                in_content = answer.startswith(b"354")
                self.wfile.write(answer + b"\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
        thread.start()
        yield server.server_address[1], heard
        server.shutdown()
        thread.join()


PLAIN: dict[str, Any] = {"security": "none", "username_env": None, "password_env": None}
EHLO = b"250-here\r\n250-SIZE\r\n250 PIPELINING"


def test_354_after_a_refused_recipient_gets_an_empty_content() -> None:
    first = [b"250 ok", b"550 5.1.1 no", b"354 go on", b"554 no valid recipients"]
    with scripted([EHLO, *first, b"250 reset", b"250 ok", b"250 ok", b"354", b"250 ok"]) as (port, heard):
        destination = open_smtp(port, **PLAIN)
        assert outcomes(destination.send(ITEMS[:2], NOW)) == ["rejected", "accepted"]
        destination.close()
    assert b" ".join(line.split(b" ")[0] for line in heard[:10]) == b"ehlo MAIL RCPT DATA . RSET MAIL RCPT DATA ."


def test_refused_content_is_rejected_and_the_next_goes_on() -> None:
    answers = [EHLO, b"250 ok", b"250 ok", b"354", b"554 5.7.1 looks like spam", b"250 ok", b"250 ok", b"354", b"250 ok"]
    with scripted(answers) as (port, _):
        destination = open_smtp(port, **PLAIN)
        results = destination.send(ITEMS[:2], NOW)
        destination.close()
    assert outcomes(results) == ["rejected", "accepted"]
    assert results[0].reason == "SMTP: message refused (554 5.7.1)"


def test_connection_lost_in_the_envelope_means_not_sent() -> None:
    with scripted([EHLO, b"250 ok"]) as (port, _), pytest.raises(RetryLater):
        open_smtp(port, **PLAIN).send(ITEMS[:2], NOW)


def test_connection_lost_in_the_next_envelope_leaves_the_first_accepted() -> None:
    with scripted([EHLO, b"250 ok", b"250 ok", b"354", b"250 ok", b"250 ok"]) as (port, _):
        # The first connection takes one message and breaks, so does the second: progress, then the last.
        assert outcomes(open_smtp(port, **PLAIN).send(ITEMS, NOW)) == ["accepted"] * 3


def test_a_server_without_starttls_is_never_used_in_clear() -> None:
    with scripted([b"250-here\r\n250 PIPELINING", b"502 no"]) as (port, heard), pytest.raises(StopRun, match="STARTTLS"):
        open_smtp(port).send(ITEMS, NOW)
    assert not [line for line in heard if line.startswith((b"MAIL", b"AUTH"))]


def test_an_untrusted_certificate_is_refused() -> None:
    with MailServer() as server, pytest.raises(RetryLater, match="SSLCertVerificationError"):
        open_smtp(server.port, ca_file=None).send(ITEMS, NOW)
    assert server.taken == []


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2048)


@cache
def DKIM() -> dict[str, str]:  # noqa: N802
    pem = _key().private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {"DKIM_KEY": pem.decode()}


def test_dkim_signature_verifies_and_covers_the_unsubscribe_headers() -> None:
    from base64 import b64encode

    public = _key().public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    with MailServer() as server:
        destination = open_smtp(server.port, dkim_domain="example.com", dkim_selector="winback", dkim_key_env="DKIM_KEY")
        assert outcomes(destination.send(ITEMS, NOW)) == ["accepted"] * 3
        assert "signed with DKIM" in destination.check()
        destination.close()
    for envelope in server.taken:
        content = envelope.content
        assert isinstance(content, bytes)
        asked: list[bytes] = []

        def answer(name: bytes, timeout: int = 5, asked: list[bytes] = asked) -> bytes:
            asked.append(name)
            return b"v=DKIM1; k=rsa; p=" + b64encode(public)

        assert dkim.verify(content, dnsfunc=answer)
        assert asked == [b"winback._domainkey.example.com."]
        signed = str(message_from_bytes(content)["DKIM-Signature"]).partition("h=")[2].partition(";")[0].replace(" ", "").split(":")
        assert {"list-unsubscribe", "list-unsubscribe-post", "from", "subject", "message-id"} <= {name.strip() for name in signed}
        tampered = content.replace(b"Secretlink", b"Otherlink0")
        assert not dkim.verify(tampered, dnsfunc=answer)


def test_a_dkim_key_may_be_named_by_its_path(tmp_path: Any) -> None:
    file = tmp_path / "dkim.pem"
    file.write_text(DKIM()["DKIM_KEY"])
    keys: dict[str, Any] = {"dkim_domain": "example.com", "dkim_selector": "winback", "dkim_key_env": "KEY_FILE"}
    build(Config(host="mail.example.com", **keys), Context({"KEY_FILE": str(file)}, SENDER))
    for wrong in ("no/such/file", "-----BEGIN NONSENSE-----"):
        with pytest.raises(BadConfig, match="KEY_FILE") as problem:
            build(Config(host="mail.example.com", **keys), Context({"KEY_FILE": wrong}, SENDER))
        assert wrong not in str(problem.value)


def test_sender_must_be_known_and_usable() -> None:
    config = Config(host="mail.example.com")
    with pytest.raises(BadConfig, match=r"sender\.email"):
        build(config, Context({}))
    with pytest.raises(BadConfig, match="no usable email address"):
        build(config, Context({}, Sender("the shop")))


def test_smtp_cannot_be_asked() -> None:
    destination = build(Config(host="mail.example.com"), Context({}, SENDER))
    results = destination.resolve(ITEMS, NOW)
    assert [result.outcome for result in results] == [Outcome.UNKNOWN] * 3
    assert isinstance(ITEMS[0], Message)


def test_no_message_waits_for_a_delayed_acknowledgement() -> None:
    """With Nagle's algorithm on, every message took 40 to 90 ms."""
    with scripted([EHLO] + [b"250 ok", b"250 ok", b"354", b"250 ok"] * 3) as (port, _):
        destination = open_smtp(port, **PLAIN)
        destination.send(ITEMS, NOW)
        sock = destination._idle[0]._smtp.sock
        assert sock is not None
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        destination.close()
