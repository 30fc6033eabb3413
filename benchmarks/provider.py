"""A provider that answers at once, in a process of its own: it reads a request to its end and sends an answer made beforehand.

It understands no more of HTTP and SMTP than where a request ends, so that what is measured is the client.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from winback.settings import PROJECT_ROOT

_NO_ANSWER = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Provider:
    """Where it listens on 127.0.0.1."""

    http: int
    smtp: int

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.http}"


@contextmanager
def provider(answers: Mapping[str, str]) -> Iterator[Provider]:
    """Run one for as long as the block takes. `answers`: JSON per beginning of a path; the first that fits is taken."""
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.provider", json.dumps(dict(answers))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=PROJECT_ROOT,
    )
    try:
        assert child.stdout is not None  # noqa: S101 - for the type checker
        yield Provider(**json.loads(child.stdout.readline()))
    finally:
        # It ends when its standard input does: also when this process is killed.
        child.communicate()


class _Http(asyncio.Protocol):
    """Requests of one connection, one after the other."""

    def __init__(self, answers: list[tuple[bytes, bytes]]) -> None:
        self._answers = answers
        self._head = b""
        self._answer = b""
        self._missing = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._missing -= len(data)
        else:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._head[:end].lower()
            path = self._head.split(b" ", 2)[1]
            self._answer = next((answer for beginning, answer in self._answers if path.startswith(beginning)), _NO_ANSWER)
            length = head.find(b"\r\ncontent-length:")
            body = int(head[length + 17 :].split(b"\r\n", 1)[0]) if length >= 0 else 0
            self._missing = body - (len(self._head) - end - 4)
            self._head = b""
        if self._missing <= 0:
            self._missing = 0
            self._transport.write(self._answer)


class _Smtp(asyncio.Protocol):
    """Commands and contents of one connection; everything is taken."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_content = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(b"220 benchmark\r\n")

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        self._rest = b""
        answers = []
        while data:
            if self._is_content:
                end = data.find(b"\r\n.\r\n")
                if end < 0:
                    # Only its end matters; keeping all of it would make a long content slow.
                    self._rest = data[-4:]
                    break
                answers.append(b"250 2.0.0 taken\r\n")
                data = data[end + 5 :]
                self._is_content = False
                continue
            line, ended, left = data.partition(b"\r\n")
            if not ended:
                self._rest = data
                break
            data = left
            verb = line[:4].upper()
            if verb == b"DATA":
                self._is_content = True
                answers.append(b"354 go on\r\n")
                # What follows may be the end itself, of an empty content.
                data = b"\r\n" + data if data else data
                self._rest = b"" if data else b"\r\n"
            elif verb == b"EHLO":
                answers.append(b"250-benchmark\r\n250-PIPELINING\r\n250 SIZE 0\r\n")
            elif verb == b"QUIT":
                answers.append(b"221 bye\r\n")
            else:
                answers.append(b"250 OK\r\n")
        if answers:
            self._transport.write(b"".join(answers))


def _http_answer(text: str) -> bytes:
    body = text.encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Message-Id: benchmark\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def _serve(answers: Mapping[str, str]) -> None:
    loop = asyncio.get_running_loop()
    prepared = [(beginning.encode(), _http_answer(text)) for beginning, text in answers.items()]
    http = await loop.create_server(lambda: _Http(prepared), "127.0.0.1", 0)
    smtp = await loop.create_server(_Smtp, "127.0.0.1", 0)
    ports = {"http": http.sockets[0].getsockname()[1], "smtp": smtp.sockets[0].getsockname()[1]}
    print(json.dumps(ports), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(json.loads(sys.argv[1])))
