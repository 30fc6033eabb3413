"""The routes behind the links. GET and HEAD never change what anybody gets; POST does, and needs no cookie: the signed address is the key.

GET, POST  /u/<token>               unsubscribe (RFC 8058)
GET, POST  /p/<token>               choose channels and frequency
GET        /o/<token>.gif           opened
GET        /c/<token>/<number>?to=  clicked
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any
from urllib.parse import quote

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from winback.errors import BadConfig, Busy
from winback.inbox.machines import is_machine
from winback.inbox.recording import Event, EventType, derived_id
from winback.inbox.writer import GroupWriter, TooBusy
from winback.ledger import Ledger
from winback.links.addresses import CLICK, OPEN, PREFERENCES, UNSUBSCRIBE, OwnLinks, own_links, said_of_click
from winback.links.choices import MONTHLY, SOURCE, WEEKLY, ChoiceBook, Choices, Recipient
from winback.links.keys import KeyRing, link_keys
from winback.links.pages import Pages, limit_of
from winback.links.tokens import Purpose, message_of
from winback.programs import brand_of
from winback.programs.page_texts import FOLDER, load_page_texts
from winback.settings import Settings

LARGEST_FORM = 16_384
"""Bytes; a form of ours has a few hundred."""

FORM_SECONDS = 10.0
"""For a whole form to arrive."""

_PIXEL = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")
_PIXEL_HEADERS = {"Cache-Control": "no-store, private", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_log = structlog.get_logger("winback.links")
_AHEAD = ("purpose", "sec-purpose", "x-purpose", "x-moz")

Handler = Callable[[Request], Awaitable[Response]]


def routes(settings: Settings, ledger: Ledger, writer: GroupWriter, clock: Callable[[], datetime]) -> list[Route]:
    """The routes, to be mounted by an app under the path of `public_url`; none where messages link to the brand's own pages.

    Parameters
    ----------
    writer
        Takes opens and clicks; whoever makes it closes it.
    clock
        Now, naive UTC.

    Raises
    ------
    BadConfig
        brand.yml, the words of the pages or the signing keys cannot be read.
    """
    links = own_links(settings)
    if links is None:
        return []
    desk = _Desk(settings, ledger, writer, clock, links, link_keys(settings))
    return [
        Route(f"{UNSUBSCRIBE}/{{token:path}}", desk.answered(desk.unsubscribe), methods=["GET", "POST"]),
        Route(f"{PREFERENCES}/{{token:path}}", desk.answered(desk.preferences), methods=["GET", "POST"]),
        Route(f"{OPEN}/{{token}}.gif", desk.opened, methods=["GET"]),
        Route(f"{CLICK}/{{token}}/{{number}}", desk.clicked, methods=["GET"]),
    ]


class _Desk:
    """Answers the requests of all routes."""

    def __init__(
        self, settings: Settings, ledger: Ledger, writer: GroupWriter, clock: Callable[[], datetime], links: OwnLinks, keys: KeyRing
    ) -> None:
        self._settings = settings
        self._book = ChoiceBook(ledger, settings.published / "winback.duckdb", clock)
        self._writer = writer
        self._clock = clock
        self._links = links
        self._keys = keys
        self._seen = self._stamp()
        self._pages = self._read_pages()

    def answered(self, handler: Handler) -> Handler:
        """A handler whose page and headers fit, also where it fails."""

        async def answer(request: Request) -> Response:
            try:
                response = await handler(request)
            except Busy:
                response = HTMLResponse(self.pages.busy(self._language(request)), 503, {"Retry-After": "60"})
            response.headers.update(self.pages.headers)
            return response

        return answer

    async def unsubscribe(self, request: Request) -> Response:
        of = await self._recipient(request, "unsubscribe")
        language = self._language(request)
        if of is None:
            return self._problem(language)
        instead = self._links.preferences(of.message_id, language)
        if request.method == "POST":
            form = await _form(request)
            if form.get("List-Unsubscribe") == "One-Click" or form.get("act") == "leave":
                await run_in_threadpool(self._book.leave, of)
                return HTMLResponse(self.pages.left(language, of.channel, instead))
            if form.get("act") == "come_back":
                await run_in_threadpool(self._book.come_back, of)
                return HTMLResponse(self.pages.returned(language, instead))
            return HTMLResponse(self.pages.leaving(language, of.channel, instead), 400)
        choices = await run_in_threadpool(self._book.choices, of)
        # A refusal of an address says nothing of the customer's others: whoever asks may still be written to.
        if of.channel not in choices.left:
            return HTMLResponse(self.pages.leaving(language, of.channel, instead))
        return HTMLResponse(self.pages.left(language, of.channel, instead, undo=of.channel not in choices.silenced))

    async def preferences(self, request: Request) -> Response:
        of = await self._recipient(request, "preferences")
        language = self._language(request)
        if of is None:
            return self._problem(language)
        before = await run_in_threadpool(self._book.choices, of)
        if request.method != "POST":
            return HTMLResponse(self.pages.choosing(language, before))
        form = await _form(request)
        here = self._links.preferences(of.message_id, language)
        act = form.get("act")
        if act == "stay":
            await run_in_threadpool(self._book.stay, of)
            return HTMLResponse(self.pages.stayed(language, here))
        if act == "go":
            await run_in_threadpool(self._book.choose, of, (), before.emails)
        elif act == "choose":
            try:
                await run_in_threadpool(self._choose, of, before, form)
            except ValueError:
                return HTMLResponse(self.pages.choosing(language, before), 400)
        else:
            return HTMLResponse(self.pages.choosing(language, before), 400)
        after = await run_in_threadpool(self._book.choices, of)
        return HTMLResponse(self.pages.saved(language, before, after, here))

    async def opened(self, request: Request) -> Response:
        message_id = message_of(self._keys, "open", request.path_params["token"])
        if message_id is not None:
            self._note(request, "opened", message_id, None)
        # Whoever shows a mail shows the picture, signed or not: a broken one would only spoil the mail.
        return Response(_PIXEL, media_type="image/gif", headers=_PIXEL_HEADERS)

    async def clicked(self, request: Request) -> Response:
        number, target = request.path_params["number"], request.query_params.get("to", "")
        message_id = None
        if number.isascii() and number.isdigit() and len(number) <= 4:
            message_id = message_of(self._keys, "click", request.path_params["token"], said_of_click(int(number), target))
        if message_id is None:
            response = self._problem(self._language(request))
            response.headers.update(self.pages.headers)
            return response
        self._note(request, "clicked", message_id, number)
        location = quote(target, safe="%/:=&?~#+!$,;'@()*[]")
        return Response(status_code=302, headers={"Location": location, **_PIXEL_HEADERS})

    def _note(self, request: Request, kind: EventType, message_id: str, link: str | None) -> None:
        now = self._clock()
        event = Event(
            event_id=derived_id(SOURCE, kind, message_id, link, now.isoformat()),
            source=SOURCE,
            event_type=kind,
            occurred_at=now,
            channel="email",
            message_id=message_id,
            is_machine=_looked_ahead(request.method, request.headers),
            link=link,
        )
        try:
            self._writer.put([event], _told)
        except TooBusy as problem:
            _told(problem)

    def _choose(self, of: Recipient, before: Choices, form: FormData) -> None:
        """Raises `ValueError` where the form names a limit that nobody offered."""
        code = form.get("emails")
        allowed = {WEEKLY, MONTHLY, *self._book.limits_ever(of)}
        emails = limit_of(code, allowed) if isinstance(code, str) else before.emails
        self._book.choose(of, [channel for channel in form.getlist("on") if isinstance(channel, str)], emails)

    async def _recipient(self, request: Request, purpose: Purpose) -> Recipient | None:
        message_id = message_of(self._keys, purpose, request.path_params["token"])
        return None if message_id is None else await run_in_threadpool(self._book.recipient, message_id)

    def _problem(self, language: str) -> Response:
        # One answer for a forged link, a cut one and an unknown message: it tells nobody which it was.
        return HTMLResponse(self.pages.problem(language), 404)

    def _language(self, request: Request) -> str:
        return self.pages.language(request.query_params.get("l", "")[:40], request.headers.get("accept-language", ""))

    @property
    def pages(self) -> Pages:
        """The pages as brand.yml and programs/pages/ say now. A half-edited file changes nothing until it is whole."""
        stamp = self._stamp()
        if stamp != self._seen:
            self._seen = stamp
            with suppress(BadConfig):
                self._pages = self._read_pages()
        return self._pages

    def _read_pages(self) -> Pages:
        return Pages(brand_of(self._settings), load_page_texts(self._settings.programs_dir))

    def _stamp(self) -> tuple[tuple[str, int], ...]:
        folder = self._settings.programs_dir
        files = [folder / "brand.yml", *sorted((folder / FOLDER).glob("*.yml"))]
        return tuple((path.name, path.stat().st_mtime_ns) for path in files if path.is_file())


def _told(problem: BaseException | None) -> None:
    if problem is not None:
        _log.warning("not_counted", reason=str(problem))


def _looked_ahead(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a pixel or link was loaded by a program: one that says so, or one that loads what nobody looks at yet."""
    agent = headers.get("user-agent", "")
    ahead = any(word in headers.get(name, "").lower() for name in _AHEAD for word in ("prefetch", "preview", "prerender"))
    return method == "HEAD" or not agent.strip() or ahead or is_machine(agent)


async def _form(request: Request) -> FormData:
    """The form of a POST, urlencoded or multipart; at most `LARGEST_FORM` bytes of it are read, for at most `FORM_SECONDS`."""
    size = 0

    async def bounded() -> Any:
        nonlocal size
        message = await request.receive()
        size += len(message.get("body", b""))
        if size > LARGEST_FORM:
            raise HTTPException(413)
        return message

    try:
        async with asyncio.timeout(FORM_SECONDS):
            return await Request(request.scope, bounded).form(max_files=0, max_fields=20)
    except TimeoutError:
        raise HTTPException(408, headers={"Connection": "close"}) from None
    except ClientDisconnect:
        raise HTTPException(400) from None
