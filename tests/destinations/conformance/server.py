"""A provider on the loopback: a real HTTP server that misbehaves on demand and remembers every request."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

RESPITE = 0.05
"""Seconds between the bytes of a slow answer: well below the client's time-out."""


@dataclass(frozen=True, slots=True)
class Captured:
    """One request as it came over the wire. Header names are lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(urlsplit(self.target).query, keep_blank_values=True)

    def json(self) -> Any:
        return json.loads(self.body)

    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server answers. `behaviour`: answer, reset_mid_answer, never_answer, slow."""

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    behaviour: str = "answer"

    def content(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


class LocalProvider:
    """Serves `answer(request)` on 127.0.0.1 until closed. `requests` holds what arrived, in order."""

    def __init__(self, answer: Callable[[Captured], Reply]) -> None:
        self.requests: list[Captured] = []
        self.connections = 0
        self._released = threading.Event()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                provider.connections += 1
                super().setup()

            def handle_any(self) -> None:
                length = self.headers.get("Content-Length")
                body = self.rfile.read(int(length)) if length else b""
                request = Captured(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                provider.requests.append(request)
                provider._play(self, answer(request))

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # The client hung up first: what a time-out looks like from here.

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(poll_interval=0.01), daemon=True)
        self._thread.start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def _play(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        content = reply.content()
        if reply.behaviour == "never_answer":
            self._released.wait(10)
            handler.close_connection = True
            return
        head = {"Date": formatdate(usegmt=True), "Content-Type": "application/json", **reply.headers, "Content-Length": str(len(content))}
        if reply.behaviour == "reset_mid_answer":
            head["Content-Length"] = str(len(content) + 1_000)
        lines = [f"HTTP/1.1 {reply.status} Reply", *(f"{name}: {value}" for name, value in head.items())]
        handler.wfile.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        if reply.behaviour == "reset_mid_answer":
            handler.wfile.write(content[:10])
            # Linger of zero seconds: closing sends RST instead of FIN, as a crashing provider does.
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()
            handler.close_connection = True
            return
        if reply.behaviour == "slow":
            for position in range(min(2, len(content))):
                self._released.wait(RESPITE)
                handler.wfile.write(content[position : position + 1])
            content = content[2:]
        handler.wfile.write(content)

    def close(self) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def closed_port() -> int:
    """A port of the loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
