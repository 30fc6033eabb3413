"""The connection of a client that does not get to the point is closed; one that does is kept."""

from __future__ import annotations

import asyncio

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from winback.inbox.serving import ImpatientProtocol


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
