"""The newest dashboard on an address of this machine. Each request reads the file anew, so a page opened after a run is of that run."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from winback.dashboard.page import write_dashboard
from winback.errors import BadConfig, BadInput
from winback.settings import Settings

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response


def newest(settings: Settings) -> Path:
    """The newest day's file; made now, where marts have been published and no day has left one.

    Raises
    ------
    BadInput
        Nothing has been published.
    """
    files = sorted(settings.dashboards.glob("????-??-??.html"))
    return files[-1] if files else write_dashboard(settings).path


def app(settings: Settings) -> Starlette:
    """`/` shows the newest day, `/2025-07-01.html` that day."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import FileResponse, PlainTextResponse
    from starlette.routing import Route

    # The page may be shown by itself only, and is read again each time: the file of a day changes when the day is run again.
    headers = {
        "Cache-Control": "no-cache",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
    }

    async def show_newest(_: Request) -> Response:
        try:
            return FileResponse(await run_in_threadpool(newest, settings), media_type="text/html", headers=headers)
        except BadInput as problem:
            return PlainTextResponse(str(problem), status_code=503, headers=headers)

    async def show_day(request: Request) -> Response:
        day = str(request.path_params["day"])
        path = settings.dashboards / f"{day}.html"
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", day) or not path.is_file():
            return PlainTextResponse("There is no dashboard of that day.", status_code=404, headers=headers)
        return FileResponse(path, media_type="text/html", headers=headers)

    # Only by names of this machine: a page elsewhere must not reach it through a name that it points here.
    guard = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    return Starlette(routes=[Route("/", show_newest), Route("/{day}.html", show_day)], middleware=[guard])


def serve(settings: Settings, *, port: int, ready: Callable[[int], None]) -> None:
    """Serve on 127.0.0.1 until SIGINT or SIGTERM. `port` 0 takes any that is free; `ready` is told which.

    Raises
    ------
    BadConfig
        The port is taken.
    """
    from contextlib import suppress

    import uvicorn

    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            raise BadConfig(
                f"Port {port} of 127.0.0.1 is taken: is another dashboard open? Choose one with --port; 0 takes any free one."
            ) from None
        listener.listen()
        ready(listener.getsockname()[1])
        config = uvicorn.Config(
            app(settings), log_config=None, access_log=False, server_header=False, ws="none", timeout_graceful_shutdown=2
        )
        # uvicorn ends in an orderly way and then raises what it was told to end by.
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])
