"""A shop that has sent messages, and its pages behind the links."""

from __future__ import annotations

import re
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn
from starlette.applications import Starlette

from tests.delivery.conftest import NOON, Shop, empty_ledger
from tests.delivery.conftest import shop as plain_shop
from winback.inbox.writer import GroupWriter
from winback.ledger import Ledger
from winback.links.addresses import OwnLinks, own_links
from winback.links.routes import routes
from winback.settings import PROJECT_ROOT, Settings

__all__ = ["empty_ledger", "plain_shop"]

PERSON = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@dataclass
class Site:
    """The pages of a shop. `now` is the time for everybody; each question about it is a second later than the last."""

    shop: Shop
    settings: Settings
    writer: GroupWriter
    now: list[datetime]

    @property
    def ledger(self) -> Ledger:
        return self.shop.ledger

    @property
    def links(self) -> OwnLinks:
        links = own_links(self.settings)
        assert links is not None
        return links

    def ask(self, method: str, url: str, data: Any = None, *, agent: str = PERSON, **headers: str) -> requests.Response:
        """One request as a browser makes it: no cookies, redirects not followed."""
        return requests.request(method, url, data=data, headers={"User-Agent": agent, **headers}, allow_redirects=False, timeout=20)

    def events(self) -> list[tuple[str, str | None, str | None]]:
        written = threading.Event()
        self.writer.put([], lambda problem: written.set())
        assert written.wait(20)
        return [(row["event_type"], row["channel"], row["link"]) for row in self.ledger.rows("delivery_events")]

    def suppressed(self, customer_id: str = "ann") -> set[str]:
        rows = self.ledger.rows("suppressions", customer_id=customer_id)
        lifted = {row["suppression_id"] for row in rows if row["operation"] == "lift"}
        return {row["channel"] for row in rows if row["operation"] == "add" and row["suppression_id"] not in lifted}

    def limits(self, customer_id: str = "ann") -> list[tuple[int, int]]:
        rows = self.ledger.rows("frequency_limits", customer_id=customer_id)
        lifted = {row["limit_id"] for row in rows if row["operation"] == "lift"}
        return [(row["max_messages"], row["window_days"]) for row in rows if row["operation"] == "add" and row["limit_id"] not in lifted]


@contextmanager
def serving(app: Starlette, listening: socket.socket) -> Iterator[None]:
    """The app on a socket that is bound already, in a thread, as `winback listen` runs it."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def open_site(shop: Shop, folder: Path) -> Iterator[Site]:
    """The pages of `shop`, with a copy of the shipped programs that a test may change."""
    shutil.copytree(PROJECT_ROOT / "programs", folder / "programs")
    (folder / "dbt_project").symlink_to(PROJECT_ROOT / "dbt_project")
    shop.customer("ann", timezone="Europe/London", first_name="Ann")
    now = [NOON]

    def clock() -> datetime:
        now[0] += timedelta(seconds=1)
        return now[0]

    with socket.create_server(("127.0.0.1", 0)) as listening, closing(GroupWriter(shop.ledger, clock)) as writer:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        settings = Settings(project=folder, home=shop.settings.home, clock="simulated", public_url=address)
        with serving(Starlette(routes=routes(settings, shop.ledger, writer, clock)), listening):
            yield Site(shop, settings, writer, now)


@pytest.fixture
def site(plain_shop: Shop, tmp_path: Path) -> Iterator[Site]:
    with open_site(plain_shop, tmp_path / "project") as opened:
        yield opened


def hidden_fields(html: str) -> list[tuple[str, str]]:
    """The hidden fields of a page's form, in order."""
    return re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', html)
