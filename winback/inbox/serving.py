"""The receiver as a process: what is open, uvicorn around it, and an end that answers everything it took."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import structlog
import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from winback.clock import utc_now
from winback.destinations.config import MailboxListening, load_destinations
from winback.errors import BadConfig, RetryLater, WinbackError
from winback.inbox.app import Inbox
from winback.inbox.config import Opened, open_sources
from winback.inbox.mail import read_mails
from winback.inbox.refused import RefusedFolder
from winback.inbox.standing import Standing
from winback.inbox.writer import GroupWriter
from winback.ledger import Ledger, open_ledger
from winback.links.routes import routes
from winback.settings import Settings

HEAD_SECONDS = 10.0
"""For the head of a request to arrive; uvicorn itself would wait for ever."""

MOST_CONNECTIONS = 1_000
STOP_SECONDS = 20

_log = structlog.get_logger("winback.inbox")
_Protocol: Any = AutoHTTPProtocol


class ImpatientProtocol(_Protocol):  # type: ignore[misc]
    """Closes a connection whose request head does not arrive in time, so that idle ones cannot take all places."""

    head_seconds = HEAD_SECONDS

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(self.head_seconds, self._close_if_waiting)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._is_waiting():
            self._head_timer.cancel()
        elif self._head_timer.cancelled():
            self._head_timer = self.loop.call_later(self.head_seconds, self._close_if_waiting)

    def connection_lost(self, problem: Exception | None) -> None:
        self._head_timer.cancel()
        super().connection_lost(problem)

    def _is_waiting(self) -> bool:
        return self.cycle is None or bool(self.cycle.response_complete)

    def _close_if_waiting(self) -> None:
        if self._is_waiting() and not self.transport.is_closing():
            self.transport.close()


def opened(settings: Settings, environment: Mapping[str, str] | None = None) -> Opened:
    """Which sources are open with this environment (default: the process's).

    Raises
    ------
    BadConfig
        destinations.yml, the public address or a secret cannot be used.
    """
    config = load_destinations(settings.project)
    group_id = getattr(config.configs.get("sendgrid"), "unsubscribe_group_id", None)
    return open_sources(
        config.listen, os.environ if environment is None else environment, public_url=settings.public_url, group_id=group_id
    )


def listen(settings: Settings, *, host: str, port: int, ready: Callable[[int], None]) -> None:
    """Receive until SIGINT or SIGTERM. `ready` is called with the port once connections are taken.

    Raises
    ------
    BadConfig
        As `opened`; or the port is taken.
    """
    found = opened(settings)
    # uvicorn ends in an orderly way and then raises what it was told to end by.
    with open_ledger(settings) as ledger, suppress(KeyboardInterrupt):
        asyncio.run(_serve(settings, ledger, found, host, port, ready))


async def _serve(settings: Settings, ledger: Ledger, found: Opened, host: str, port: int, ready: Callable[[int], None]) -> None:
    from winback.links.times import clock_of

    # In the demo, what comes back belongs to the demo's day. Signatures are as old as they are.
    clock = clock_of(settings, ledger)
    writer = GroupWriter(ledger, clock)
    refused = RefusedFolder(settings.root / "inbox" / "refused")
    inbox = Inbox(found.sources, writer, refused, utc_now, standing=Standing(ledger, clock))
    try:
        pages = routes(settings, ledger, writer, clock)
    except BadConfig:
        await asyncio.to_thread(writer.close)
        raise
    config = uvicorn.Config(
        inbox.app(pages),
        host=host,
        port=port,
        http=ImpatientProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        # Where the world reaches us is in the environment: what a header says of it is nobody's proof.
        proxy_headers=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    server = _Server(config, ready, writer)
    mailbox = load_destinations(settings.project).listen.mailbox
    reading = asyncio.create_task(_read_mail_now_and_then(settings, ledger, mailbox, clock)) if mailbox else None
    try:
        await server.serve()
    except SystemExit:
        raise BadConfig(f"Port {port} of {host} cannot be listened on: is another receiver running? Choose one with --port.") from None
    finally:
        if reading is not None:
            reading.cancel()
        await asyncio.to_thread(writer.close)


async def _read_mail_now_and_then(settings: Settings, ledger: Ledger, mailbox: MailboxListening, clock: Callable[[], datetime]) -> None:
    while True:
        await asyncio.to_thread(look_at_mail, settings, ledger, mailbox, clock)
        await asyncio.sleep(mailbox.every_seconds)


def look_at_mail(settings: Settings, ledger: Ledger, mailbox: MailboxListening, clock: Callable[[], datetime]) -> None:
    """Read bounces and complaints once. Never raises: what goes wrong is told, and tried again at the next look."""
    try:
        report = read_mails(ledger, mailbox, os.environ, settings.project, clock)
    except RetryLater as problem:
        _log.warning("mailbox", problem=problem.reason)
    except WinbackError as problem:
        _log.warning("mailbox", problem=str(problem))
    except Exception as problem:  # noqa: BLE001 - a full disk today must not keep tomorrow's bounces unread
        _log.error("mailbox", problem=type(problem).__name__)
    else:
        if report.mails:
            _log.info("mailbox", mails=report.mails, events=report.events, ignored=report.ignored)


class _Server(uvicorn.Server):
    """Says when it takes connections, and on which port; ends with everything written."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[int], None], writer: GroupWriter) -> None:
        super().__init__(config)
        self._ready = ready
        self._writer = writer

    async def shutdown(self, sockets: Sequence[Any] | None = None) -> None:
        await super().shutdown(sockets=list(sockets) if sockets else None)
        # Here, not after `serve`: uvicorn ends it by raising the signal again, and SIGTERM lets nothing run any more.
        await asyncio.to_thread(self._writer.close)

    async def startup(self, sockets: Sequence[Any] | None = None) -> None:
        await super().startup(sockets=list(sockets) if sockets else None)
        if self.started:
            self._ready(self.servers[0].sockets[0].getsockname()[1])
