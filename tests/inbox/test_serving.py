"""The connection of a client that does not get to the point is closed; one that does is kept."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from structlog.testing import capture_logs

from tests.inbox.mails import OURS, bounce
from tests.inbox.test_recording import message
from winback.destinations.config import MailboxListening
from winback.inbox.serving import ImpatientProtocol, look_at_mail
from winback.ledger import open_ledger_at
from winback.settings import Settings


class HastyProtocol(ImpatientProtocol):
    head_seconds = 0.05


async def _hello(request: Request) -> PlainTextResponse:
    await request.body()
    return PlainTextResponse("hello")


async def _talk(first: bytes, then: bytes = b"") -> bytes:
    """What a client hears that sends `first`, reads, sends `then` and reads until the connection is closed."""
    config = uvicorn.Config(
        Starlette(routes=[Route("/", _hello, methods=["GET", "POST"])]), port=0, http=HastyProtocol, log_config=None, ws="none"
    )
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    reader, writer = await asyncio.open_connection(*server.servers[0].sockets[0].getsockname()[:2])
    writer.write(first)
    heard = b""
    if then:
        heard += await reader.readuntil(b"hello")
        writer.write(then)
    heard += await reader.read()
    writer.close()
    await server.shutdown()
    return heard


@pytest.mark.parametrize("head", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_an_unfinished_head_ends_the_connection(head: bytes) -> None:
    assert asyncio.run(_talk(head)) == b""


def test_an_unfinished_second_head_too() -> None:
    heard = asyncio.run(_talk(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HT"))
    assert heard.count(b"hello") == 1


def test_a_kept_connection_is_used_again() -> None:
    last = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert asyncio.run(_talk(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", last)).count(b"hello") == 2


def test_whatever_goes_wrong_with_mail_is_told_and_the_next_look_finds_it(tmp_path: Path) -> None:
    (tmp_path / "bounces").mkdir()
    (tmp_path / "bounces" / "a.eml").write_bytes(bounce())
    settings, mailbox = Settings(project=tmp_path), MailboxListening(folder=Path("bounces"))
    now = datetime(2026, 11, 21, 12)

    def look(path: Path) -> list[tuple[str, str]]:
        with open_ledger_at(f"sqlite:///{path}") as ledger, capture_logs() as told:
            message(ledger, OURS, "c1")
            if path.name == "broken.db":
                with ledger.engine.begin() as connection:
                    connection.exec_driver_sql("drop table delivery_events")
            look_at_mail(settings, ledger, mailbox, lambda: now)
        return [(one["log_level"], str(one.get("problem", one.get("events")))) for one in told]

    assert look(tmp_path / "broken.db") == [("error", "OperationalError")]
    assert look(tmp_path / "ledger.db") == [("info", "1")]
