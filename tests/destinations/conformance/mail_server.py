# ruff: noqa: N802 - the names and arguments of the handlers are aiosmtpd's
"""A mail server on the loopback (aiosmtpd) with STARTTLS and login that misbehaves on demand and remembers what it took."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import logging
import ssl
import threading
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# What this server logs is not what the client logs.
logging.getLogger("mail.log").setLevel(logging.CRITICAL)

USER, PASSWORD = "mailer", "secret-mail-password"


@dataclass(slots=True)
class Behaviour:
    """How the server answers. Replies are full lines; `content` is what it does after the end of a content."""

    mail: str = ""
    recipients: dict[str, str] = field(default_factory=dict)
    content: str = "250 2.0.0 taken"
    """A reply, or: reset, never_answer, slow, close."""
    pipelining: bool = True
    login: bool = True
    longest_session: int = 0
    """Messages after which the server closes the connection with 421; 0: no limit."""
    size: int = 0


class MailServer:
    """Serves on 127.0.0.1 while entered. `taken`: envelopes whose content arrived whole; `commands` as `NAME` in order."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.behaviour = behaviour or Behaviour()
        self.taken: list[Envelope] = []
        self.sessions = 0
        self.released = threading.Event()
        self._controller: Controller | None = None

    @property
    def port(self) -> int:
        assert self._controller is not None
        return self._controller.port

    def __enter__(self) -> Self:
        outer = self

        class Handler:
            async def handle_EHLO(
                self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
            ) -> list[str]:
                session.host_name = hostname
                extra = ["250-PIPELINING"] if outer.behaviour.pipelining else []
                return [*responses[:-1], *extra, responses[-1]]

            async def handle_MAIL(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:
                session.count = getattr(session, "count", 0) + 1
                if outer.behaviour.longest_session and session.count > outer.behaviour.longest_session:
                    server.transport.write(b"421 4.7.0 enough for one connection\r\n")
                    server.transport.close()
                    return "421 closed"
                if outer.behaviour.mail:
                    return outer.behaviour.mail
                envelope.mail_from = address
                return "250 OK"

            async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:
                refusal = outer.behaviour.recipients.get(address, "")
                if not refusal:
                    envelope.rcpt_tos.append(address)
                return refusal or "250 OK"

            async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
                outer.taken.append(envelope)
                content = outer.behaviour.content
                if content == "reset":
                    server.transport.write(b"25")
                    server.transport.abort()
                    return "250 never seen"
                if content == "never_answer":
                    await asyncio.get_running_loop().run_in_executor(None, outer.released.wait, 10)
                    return "250 too late"
                if content == "slow":
                    for byte in (b"2", b"5", b"0"):
                        await asyncio.get_running_loop().run_in_executor(None, outer.released.wait, 0.05)
                        server.transport.write(byte)
                    return " taken"
                return content

        def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
            return AuthResult(
                handled=False, success=outer.behaviour.login and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
            )

        class Counting(Controller):
            def factory(self) -> SMTP:
                outer.sessions += 1
                return super().factory()

            def _trigger_server(self) -> None:
                # aiosmtpd greets itself at the port it was given; here the system chose one.
                self.port = self.server.sockets[0].getsockname()[1]
                super()._trigger_server()

        self._controller = Counting(
            Handler(),
            hostname="127.0.0.1",
            port=0,
            tls_context=_server_context(),
            require_starttls=True,
            authenticator=authenticate,
            auth_required=True,
            data_size_limit=self.behaviour.size or None,
            ready_timeout=30.0,
        )
        self._controller.start()
        self.sessions = 0
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        assert self._controller is not None
        self._controller.stop()


@cache
def _folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="winback-mail-server-")


@cache
def ca_file() -> Path:
    """The server's certificate, to be trusted by the client."""
    _server_context()
    return Path(_folder().name) / "certificate.pem"


@cache
def _server_context() -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.example.com")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = Path(_folder().name)
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context
