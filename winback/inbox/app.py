"""The receiver as an ASGI app: reads a bounded body in bounded time, asks its source who sent it, records it, answers.

| answer | when | a provider then |
|---|---|---|
| 200 | recorded, on disk | is done |
| 400 | signed, and nothing in it can be read; kept in `inbox/refused/` | repeats it for a while |
| 401, 403 | not signed; the signature does not fit or is stale | |
| 408, 413, 415 | too slow, too large, compressed | |
| 503 + Retry-After | the ledger cannot be written now | repeats it later |
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from winback.inbox.incoming import Incoming, Malformed, Refused, Source
from winback.inbox.openapi import document
from winback.inbox.refused import RefusedFolder
from winback.inbox.writer import GroupWriter, TooBusy

LARGEST_BODY = 5_000_000
"""Bytes. SendGrid posts at most some hundred kilobytes."""

MOST_BEING_READ = 100_000_000
"""Bytes of all bodies that are being read at a time."""

BODY_SECONDS = 10.0
"""For a whole body to arrive."""

PATIENCE_SECONDS = 10.0
"""For the ledger, before a request is answered 503. Twilio itself waits 15 seconds."""

RETRY_AFTER = "15"
_log = structlog.get_logger("winback.inbox")


class Inbox:
    """What the routes share. `clock` gives the present as naive UTC; whoever makes the writer closes it."""

    def __init__(
        self,
        sources: Sequence[Source],
        writer: GroupWriter,
        refused: RefusedFolder,
        clock: Callable[[], datetime],
        *,
        body_seconds: float = BODY_SECONDS,
        patience: float = PATIENCE_SECONDS,
        standing: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self.sources = sources
        self.writer = writer
        self._refused = refused
        self._clock = clock
        self._body_seconds = body_seconds
        self._patience = patience
        self._standing = standing
        self._being_read = 0

    def app(self, more: Sequence[BaseRoute] = ()) -> Starlette:
        """The app. `more` are routes of other parts (our own links)."""
        routes: list[BaseRoute] = [
            Route(path, self._endpoint(source), methods=["POST"]) for source in self.sources for path in source.paths
        ]
        described = document(self.sources)

        async def openapi(request: Request) -> Response:  # noqa: ARG001
            return JSONResponse(described)

        routes += [Route("/health", self._health, methods=["GET"]), Route("/openapi.json", openapi, methods=["GET"]), *more]
        return Starlette(routes=routes, exception_handlers={HTTPException: _told})

    def _endpoint(self, source: Source) -> Callable[[Request], Any]:
        async def take(request: Request) -> Response:
            received = await self._received(request)
            try:
                source.verify(received)
            except Refused as problem:
                _log.warning("refused", source=source.name, status=problem.status, reason=problem.reason)
                return _answer(problem.status, {"error": problem.reason})
            return await self._take(source, received)

        return take

    async def _take(self, source: Source, received: Incoming) -> Response:
        try:
            batch = source.read(received)
        except Malformed as problem:
            is_kept = await asyncio.to_thread(self._refused.keep, source.name, problem.reason, received.body, received.received_at)
            _log.warning("malformed", source=source.name, reason=problem.reason, kept=is_kept)
            return _answer(400, {"error": problem.reason})
        try:
            if batch.events:
                await self.writer.record(batch.events, self._patience)
        except TooBusy as problem:
            return _answer(503, {"error": str(problem)}, {"Retry-After": RETRY_AFTER})
        for reason, content in batch.aside:
            is_kept = await asyncio.to_thread(self._refused.keep, source.name, reason, content, received.received_at)
            _log.warning("put_aside", source=source.name, reason=reason, kept=is_kept)
        media_type, text = source.answer
        if media_type:
            return Response(text, media_type=media_type)
        return _answer(200, {"recorded": len(batch.events), "ignored": batch.ignored, "put_aside": len(batch.aside)})

    async def _received(self, request: Request) -> Incoming:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            # No provider compresses; what a small body unpacks to is nobody's to decide.
            raise HTTPException(415, "compressed bodies are not taken")
        announced = headers.get("content-length", "")
        if announced.isascii() and announced.isdigit() and int(announced[:20]) > LARGEST_BODY:
            raise HTTPException(413, f"at most {LARGEST_BODY} bytes are taken", {"Connection": "close"})
        try:
            async with asyncio.timeout(self._body_seconds):
                body = await self._body(request)
        except TimeoutError:
            raise HTTPException(408, "the body took too long", {"Connection": "close"}) from None
        except ClientDisconnect:
            raise HTTPException(400, "the connection was closed") from None
        # As it stood on the wire: the signature is over that. A proxy's or a mount's prefix is in public_url.
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        return Incoming(path, request.scope["query_string"].decode("latin-1"), headers, body, self._clock())

    async def _body(self, request: Request) -> bytes:
        parts: list[bytes] = []
        size = 0
        try:
            async for part in request.stream():
                size += len(part)
                self._being_read += len(part)
                if size > LARGEST_BODY:
                    raise HTTPException(413, f"at most {LARGEST_BODY} bytes are taken", {"Connection": "close"})
                if self._being_read > MOST_BEING_READ:
                    raise HTTPException(503, "too much is arriving", {"Retry-After": RETRY_AFTER, "Connection": "close"})
                parts.append(part)
        finally:
            self._being_read -= size
        return b"".join(parts)

    async def _health(self, request: Request) -> Response:  # noqa: ARG002
        # Always 200: that nobody sends is no reason to restart the receiver.
        own = {"status": "ok", "open": [source.name for source in self.sources], "waiting": self.writer.waiting}
        return _answer(200, {**own, **await asyncio.to_thread(self._standing)})


def _answer(status: int, content: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse(dict(content), status_code=status, headers=dict(headers or {}))


async def _told(request: Request, problem: Exception) -> Response:  # noqa: ARG001
    assert isinstance(problem, HTTPException)  # noqa: S101 - registered for nothing else
    return _answer(problem.status_code, {"error": problem.detail}, problem.headers)
