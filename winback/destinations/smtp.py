"""Email through a mail server: kept-open, encrypted, pipelined connections, and one answer per message from the server itself.

A message whose content was ended and whose answer never came is `unknown`: SMTP has no way to ask. Before that point nothing was taken.
"""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from winback.destinations.base import Capabilities, Channel, Message, Outcome, Result
from winback.destinations.config import Context, DestinationConfig, EnvName, Sender
from winback.destinations.mime import build_mime, envelope_address
from winback.errors import BadConfig, RejectItem, RetryLater, StopRun

if TYPE_CHECKING:
    from winback.destinations.dkim_signature import Signer

CAPABILITIES = Capabilities(channels=frozenset({Channel.EMAIL}), batch_size=200, concurrency=4)

_ENHANCED = re.compile(rb"[245]\.\d{1,3}\.\d{1,3}\b")
_HOST = r"^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$"


class Config(DestinationConfig):
    """Keys of `destinations: smtp:`."""

    host: Annotated[str, Field(pattern=_HOST)]
    port: int = Field(587, ge=1, le=65_535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    ca_file: Path | None = None
    username_env: EnvName | None = None
    password_env: EnvName | None = None
    helo_name: Annotated[str, Field(pattern=_HOST)] | None = None
    bounce_address: str | None = None
    dkim_domain: Annotated[str, Field(pattern=_HOST)] | None = None
    dkim_selector: Annotated[str, Field(pattern=_HOST)] | None = None
    dkim_key_env: EnvName | None = None
    timeout_seconds: float = Field(30.0, gt=0, le=600)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.username_env is None) != (self.password_env is None):
            raise ValueError("username_env and password_env are allowed only together")
        given = [key for key in (self.dkim_domain, self.dkim_selector, self.dkim_key_env) if key is not None]
        if len(given) not in {0, 3}:
            raise ValueError("dkim_domain, dkim_selector and dkim_key_env are allowed only together")
        if self.security == "none" and (self.username_env or self.host not in {"localhost", "127.0.0.1", "::1"}):
            raise ValueError("security none is allowed only for localhost and without a password")
        return self


class _Lost(Exception):
    """The connection is gone. Which message it hit, and how, is in `_Batch`."""


class _Batch:
    """Hands messages to one connection after the other. `results[i]` is None while message i was certainly not taken."""

    def __init__(self, envelopes: Sequence[tuple[str, bytes] | Result]) -> None:
        self.envelopes = envelopes
        self.results: list[Result | None] = [one if isinstance(one, Result) else None for one in envelopes]
        self.ended: int | None = None
        """The message whose content is ended, or is about to be, and which has no answer yet."""

    def waiting(self) -> list[int]:
        return [position for position, result in enumerate(self.results) if result is None]

    def lost(self) -> bool:
        """The connection broke: whether that leaves a message in doubt, because its content was ended."""
        if self.ended is None:
            return False
        self.results[self.ended] = Result(Outcome.UNKNOWN, "SMTP: content sent, and the connection broke before the answer")
        self.ended = None
        return True


class _Connection:
    """One open, greeted and authenticated connection."""

    def __init__(self, smtp: smtplib.SMTP, bounce: str) -> None:
        self._smtp = smtp
        self._pipelining = smtp.has_extn("pipelining")
        self._size = smtp.has_extn("size")
        self._largest = int(smtp.esmtp_features.get("size") or 0) if self._size and smtp.esmtp_features.get("size", "").isdigit() else 0
        self._bounce = bounce
        self._reset_first = False
        self.taken = 0

    @property
    def pipelining(self) -> bool:
        return self._pipelining

    def submit(self, batch: _Batch) -> None:
        """Hand over all waiting messages of the batch.

        With PIPELINING (RFC 2920) the end of one content and the envelope of the next message go out together: one round trip a
        message. DATA is last in its group, as the RFC asks.

        Raises
        ------
        _Lost
            The connection is gone.
        RetryLater, StopRun
            The server refuses the sender now, or for good.
        """
        end = b""
        for position in batch.waiting():
            recipient, content = batch.envelopes[position]  # type: ignore[misc]  # waiting ones are no Result
            if self._largest and len(content) > self._largest:
                batch.results[position] = Result(Outcome.REJECTED, "SMTP: larger than the server takes")
                continue
            commands = [b"RSET\r\n"] if self._reset_first else []
            size = f" SIZE={len(content)}" if self._size else ""
            commands += [f"MAIL FROM:<{self._bounce}>{size}\r\n".encode(), f"RCPT TO:<{recipient}>\r\n".encode(), b"DATA\r\n"]
            mail, rcpt, data = self._exchange(batch, end, commands)
            if 421 in {mail[0], rcpt[0], data[0]}:  # The server is closing: its limit of messages, or a shutdown.
                self.close()
                raise _Lost
            end = b""
            self._reset_first = True
            if mail[0] >= 400:
                self._abandon(data)
                self._sender_refused(*mail)
            elif rcpt[0] >= 400 or data[0] != 354:
                self._abandon(data)
                refused = rcpt if rcpt[0] >= 400 else data
                _stop_if_relay_refused(*refused)
                batch.results[position] = _refused("recipient" if rcpt[0] >= 400 else "message", *refused)
            else:
                self._write(_dotted(content))
                end = b".\r\n"
                batch.ended = position
                self._reset_first = False
        if end:
            self._write(end)
            self._read_end(batch)

    def _exchange(self, batch: _Batch, end: bytes, commands: list[bytes]) -> list[tuple[int, bytes]]:
        """Send the end of the previous content and an envelope; the answers to MAIL, RCPT and DATA (503 where not sent)."""
        if self._pipelining:
            self._write(end + b"".join(commands))
            if end:
                self._read_end(batch)
            return [self._read() for _ in commands][-3:]
        if end:
            self._write(end)
            self._read_end(batch)
        answers: list[tuple[int, bytes]] = []
        for command in commands:
            self._write(command)
            answers.append(self._read())
            if answers[-1][0] >= 400:
                break
        answers += [(503, b"")] * (len(commands) - len(answers))
        return answers[-3:]

    def _read_end(self, batch: _Batch) -> None:
        code, text = self._read()
        position = batch.ended
        assert position is not None  # noqa: S101 - an end is only sent for a message
        batch.ended = None
        if code < 400:
            self.taken += 1
            batch.results[position] = Result(Outcome.ACCEPTED)
        else:
            batch.results[position] = _refused("message", code, text)

    def _abandon(self, data: tuple[int, bytes]) -> None:
        # A server may answer 354 although it refused the recipient; an empty content without recipients goes nowhere (RFC 2920, 3.1).
        if data[0] == 354:
            self._write(b".\r\n")
            self._read()

    def _sender_refused(self, code: int, text: bytes) -> None:
        reason = f"SMTP: sender refused ({_codes(code, text)})"
        raise RetryLater(reason) if code < 500 else StopRun(reason)

    def _write(self, data: bytes) -> None:
        try:
            self._smtp.send(data)
        except (OSError, smtplib.SMTPException):
            self.close()
            raise _Lost from None

    def _read(self) -> tuple[int, bytes]:
        try:
            answer = self._smtp.getreply()
        except (OSError, smtplib.SMTPException):
            self.close()
            raise _Lost from None
        if answer[0] < 200:  # No SMTP answer at all: what else comes cannot be told apart.
            self.close()
            raise _Lost
        return answer

    def noop(self) -> None:
        self._write(b"NOOP\r\n")
        self._read()

    def quit(self) -> None:
        try:
            self._smtp.quit()
        except (OSError, smtplib.SMTPException):
            self.close()

    def close(self) -> None:
        self._smtp.close()


class Smtp:
    """Sends through the configured mail server. Connections stay open between calls, one per thread that sends at the same time."""

    name = "smtp"
    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, config: Config, sender: Sender, login: tuple[str, str] | None, signer: Signer | None) -> None:
        self._config = config
        self._sender = sender
        self._login = login
        self._signer = signer
        self._bounce = envelope_address(config.bounce_address or sender.email)
        self._idle: deque[_Connection] = deque()
        self._tls = ssl.create_default_context(cafile=str(config.ca_file) if config.ca_file else None)

    def send(self, messages: Sequence[Message], now: datetime) -> list[Result]:
        batch = _Batch([self._envelope(message, now) for message in messages])
        while batch.waiting():
            try:
                with self._connection() as (connection, was_idle):
                    connection.submit(batch)
            except _Lost:
                # A connection that the server closed while it was idle, or after its limit of messages, took nothing more: the rest
                # goes over a new one. Otherwise the server is in trouble, and more content would only end in doubt as well.
                if batch.lost() or not (was_idle or connection.taken):
                    return self._stopped(batch, RetryLater("SMTP: the connection broke"))
            except (RetryLater, StopRun) as problem:
                return self._stopped(batch, problem)
        return [result for result in batch.results if result is not None]

    def _stopped(self, batch: _Batch, problem: RetryLater | StopRun) -> list[Result]:
        """The server takes no more now: raised if it took none, else what is left is deferred."""
        if all(result is None or result.outcome is Outcome.REJECTED for result in batch.results):
            raise problem
        rest = Result(Outcome.DEFERRED, str(problem), retry_after=problem.after if isinstance(problem, RetryLater) else None)
        return [rest if result is None else result for result in batch.results]

    def resolve(self, messages: Sequence[Message], now: datetime) -> list[Result]:  # noqa: ARG002
        """SMTP cannot be asked: what is unknown stays so."""
        return [Result(Outcome.UNKNOWN, "SMTP cannot be asked what became of a message")] * len(messages)

    def check(self) -> str:
        with self._connection() as (connection, _):
            try:
                connection.noop()
            except _Lost:
                raise RetryLater("SMTP: the connection broke") from None
            pipelining = "pipelined" if connection.pipelining else "not pipelined"
        security = {"starttls": "STARTTLS", "tls": "TLS", "none": "no encryption"}[self._config.security]
        login = "login accepted" if self._login else "no login"
        return f"SMTP: connected with {security}, {login}; email, {pipelining}, {'signed with DKIM' if self._signer else 'no DKIM key'}"

    def close(self) -> None:
        while self._idle:
            self._idle.pop().quit()

    def _envelope(self, message: Message, now: datetime) -> tuple[str, bytes] | Result:
        try:
            content = build_mime(message, self._sender, now)
            return envelope_address(message.to), content if self._signer is None else self._signer.header(content, now) + content
        except RejectItem as refusal:
            return Result(Outcome.REJECTED, refusal.reason)

    @contextmanager
    def _connection(self) -> Iterator[tuple[_Connection, bool]]:
        """An open connection and whether it was idle before; goes back to the idle ones unless it is lost."""
        idle = self._take_idle()
        connection, was_idle = idle or self._open(), idle is not None
        try:
            yield connection, was_idle
        except (RetryLater, StopRun):
            connection.quit()
            raise
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)

    def _take_idle(self) -> _Connection | None:
        try:
            return self._idle.pop()
        except IndexError:  # Another thread may have taken the last one since it was seen.
            return None

    def _open(self) -> _Connection:
        problem: Exception
        smtp: smtplib.SMTP | None = None
        try:
            smtp = self._greeted()
            return _Connection(smtp, self._bounce)
        except smtplib.SMTPAuthenticationError as refused:
            codes = _codes(refused.smtp_code, _bytes(refused.smtp_error))
            stop = refused.smtp_code >= 500
            problem = StopRun(f"SMTP: login refused ({codes}); check the variables of username_env and password_env")
            if not stop:
                problem = RetryLater(f"SMTP: login not possible now ({codes})")
        except smtplib.SMTPNotSupportedError:
            problem = StopRun("SMTP: the server does not offer STARTTLS or a login; check security and port in destinations.yml")
        except smtplib.SMTPResponseException as refused:
            problem = RetryLater(f"SMTP: the server refuses the connection ({_codes(refused.smtp_code, _bytes(refused.smtp_error))})")
        except (OSError, smtplib.SMTPException) as failure:
            problem = RetryLater(f"SMTP: no connection ({type(failure).__name__})")
        if smtp is not None:
            smtp.close()
        # Raised out here, so that no traceback shows the server's text.
        raise problem

    def _greeted(self) -> smtplib.SMTP:
        config = self._config
        if config.security == "tls":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                config.host, config.port, local_hostname=config.helo_name, timeout=config.timeout_seconds, context=self._tls
            )
        else:
            smtp = smtplib.SMTP(config.host, config.port, local_hostname=config.helo_name, timeout=config.timeout_seconds)
        try:
            # smtplib leaves Nagle's algorithm on: content and its end then wait for each other, 40 to 90 ms a message.
            if smtp.sock is not None:
                smtp.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            smtp.ehlo_or_helo_if_needed()
            if config.security == "starttls":
                smtp.starttls(context=self._tls)
                smtp.ehlo()
            if self._login is not None:
                _log_in(smtp, *self._login)
        except BaseException:
            smtp.close()
            raise
        return smtp


def build(config: Config, context: Context) -> Smtp:
    sender = context.require_sender("smtp")
    login = None
    if config.username_env and config.password_env:
        login = (
            context.secret("smtp", "username_env", config.username_env),
            context.secret("smtp", "password_env", config.password_env),
        )
    signer = None
    if config.dkim_key_env:
        signer = _signer(context.secret("smtp", "dkim_key_env", config.dkim_key_env), config)
    try:
        envelope_address(sender.email)
        envelope_address(config.bounce_address or sender.email)
    except RejectItem:
        raise BadConfig("smtp: sender.email in brand.yml or bounce_address in destinations.yml is no usable email address") from None
    return Smtp(config, sender, login, signer)


def _log_in(smtp: smtplib.SMTP, user: str, password: str) -> None:
    """Log in by the first mechanism that the server offers, and no other.

    smtplib's own `login` tries the next one after a refusal; servers that hang up after the first then look as if they were down.
    """
    offered = smtp.esmtp_features.get("auth", "").upper().split()
    mechanisms: dict[str, Any] = {"PLAIN": smtp.auth_plain, "LOGIN": smtp.auth_login, "CRAM-MD5": smtp.auth_cram_md5}
    mechanism = next((name for name in mechanisms if name in offered), None)
    if mechanism is None:
        raise smtplib.SMTPNotSupportedError
    smtp.user, smtp.password = user, password
    smtp.auth(mechanism, mechanisms[mechanism])


def _signer(value: str, config: Config) -> Signer:
    """Signs with the private key that the variable holds, or that the file at its path does."""
    from winback.destinations.dkim_signature import Signer

    where = f"destinations.yml: smtp.dkim_key_env: {config.dkim_key_env}"
    if not value.startswith("-----BEGIN"):
        try:
            value = Path(value).read_text(encoding="ascii")
        except (OSError, ValueError):
            raise BadConfig(f"{where} holds neither a private key in PEM form nor the path of a file with one") from None
    try:
        return Signer(value.replace("\\n", "\n").encode(), config.dkim_domain or "", config.dkim_selector or "")
    except ValueError:
        raise BadConfig(f"{where} holds no usable RSA private key; allowed: PKCS#1 or PKCS#8 in PEM form, without a password") from None


def _dotted(content: bytes) -> bytes:
    """Content ready for DATA: lines that begin with a dot get another (RFC 5321, 4.5.2); CR LF at the end."""
    dotted = content.replace(b"\r\n.", b"\r\n..")
    return dotted if dotted.endswith(b"\r\n") else dotted + b"\r\n"


def _refused(what: str, code: int, text: bytes) -> Result:
    if code < 500:
        return Result(Outcome.DEFERRED, f"SMTP: {what} refused for now ({_codes(code, text)})")
    return Result(Outcome.REJECTED, f"SMTP: {what} refused ({_codes(code, text)})")


def _stop_if_relay_refused(code: int, text: bytes) -> None:
    # A server that does not relay for us refuses every recipient alike: our fault, and no reason to give up on the addresses.
    if code in {530, 535, 538} or (code >= 500 and b"relay" in text.lower()):
        raise StopRun(f"SMTP: the server does not relay for this sender ({_codes(code, text)}); check login and host in destinations.yml")


def _codes(code: int, text: bytes) -> str:
    """The reply code and the enhanced status code, without the text: servers quote addresses in it."""
    enhanced = _ENHANCED.match(text)
    return f"{code} {enhanced.group().decode()}" if enhanced else str(code)


def _bytes(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "replace")
