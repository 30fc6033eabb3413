"""Links in what the dispatcher hands over."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import unescape
from pathlib import Path

import pytest

from tests.delivery.conftest import AS_OF, NOON, Shop
from tests.links.test_addresses import hrefs
from winback.delivery import dispatch
from winback.destinations.base import Capabilities, Channel, Message, Outcome, Result
from winback.destinations.sendgrid import CAPABILITIES as SENDGRID
from winback.destinations.smtp import CAPABILITIES as SMTP
from winback.links import link_keys
from winback.links.tokens import message_of
from winback.programs import load_programs
from winback.programs.sync import record
from winback.settings import PROJECT_ROOT, Settings

BASE = "https://mail.example.com"


@dataclass
class Kept:
    """A destination of email that keeps what it is given."""

    capabilities: Capabilities
    name: str = "kept"
    messages: list[Message] = field(default_factory=list)

    def send(self, messages: Sequence[Message], now: datetime) -> list[Result]:
        self.messages += messages
        return [Result(Outcome.ACCEPTED)] * len(messages)

    def resolve(self, messages: Sequence[Message], now: datetime) -> list[Result]:
        return [Result(Outcome.ACCEPTED)] * len(messages)

    def check(self) -> str:
        return "kept"

    def close(self) -> None: ...


def sent(shop: Shop, capabilities: Capabilities, folder: Path, brand: str = "", **settings: str | None) -> Message:
    """The message that a destination with these capabilities gets."""
    (folder / "programs").mkdir(parents=True)
    shipped = (PROJECT_ROOT / "programs" / "brand.yml").read_text()
    (folder / "programs" / "brand.yml").write_text(shipped + brand)
    (folder / "dbt_project").symlink_to(PROJECT_ROOT / "dbt_project")
    record(load_programs(Settings()), shop.ledger, AS_OF, AS_OF, actor="test")
    shop.customer("ann", timezone="Europe/London", language="de-AT")
    shop.message("ann", program="lapsing_repeat_buyers", content="we_miss_you", offer_code="COMEBACK15")
    chosen = Settings(project=folder, home=shop.settings.home, clock="real", **({"public_url": BASE} | settings))
    kept = Kept(capabilities)
    places = shop.destinations()
    dispatch(chosen, shop.warehouse, shop.ledger, type(places)({Channel.EMAIL: kept}, {}), NOON)
    (message,) = kept.messages
    return message


def test_links_are_signed_counted_and_in_the_customers_language(plain_shop: Shop, tmp_path: Path) -> None:
    message = sent(plain_shop, SMTP, tmp_path / "p")
    keys = link_keys(plain_shop.settings)
    token, _, language = message.unsubscribe_url.removeprefix(f"{BASE}/u/").partition("?")
    assert message_of(keys, "unsubscribe", token) == message.message_id
    assert language == "l=de-AT"
    kinds = [re.sub(r"^https://mail\.example\.com/(.)/.*", r"\1", href, flags=re.DOTALL) for href in hrefs(message.html)]
    assert set(kinds) == {"c", "p", "u"}
    assert kinds.count("u") == kinds.count("p") == 1
    assert message.unsubscribe_url in hrefs(message.html)
    # Words are for people to read: addresses in the plain part stay as they are, apart from our own pages.
    assert f"{BASE}/c/" not in message.text
    assert message.unsubscribe_url in message.text
    assert "/o/" not in message.html, "opens are counted only where the brand asks for it"


def test_opens_are_counted_where_the_brand_asks_for_it(plain_shop: Shop, tmp_path: Path) -> None:
    message = sent(plain_shop, SMTP, tmp_path / "p", "tracking: {opens: true, clicks: false}\n")
    assert re.search(rf'<img src="{BASE}/o/[^"]+\.gif" width="1" height="1" alt=""[^>]*></body>', message.html)
    assert f"{BASE}/c/" not in message.html


def test_a_destination_that_counts_itself_gets_clean_links(plain_shop: Shop, tmp_path: Path) -> None:
    message = sent(plain_shop, SENDGRID, tmp_path / "p", "tracking: {opens: true, clicks: true}\n")
    assert f"{BASE}/c/" not in message.html
    assert f"{BASE}/o/" not in message.html
    assert message.unsubscribe_url.startswith(f"{BASE}/u/")


def test_without_an_address_of_ours_messages_link_to_the_brands_pages(plain_shop: Shop, tmp_path: Path) -> None:
    message = sent(plain_shop, SMTP, tmp_path / "p", public_url=None)
    assert message.unsubscribe_url == f"https://www.example.com/unsubscribe?m={message.message_id}"
    assert "https://www.example.com" in {unescape(href) for href in hrefs(message.html)}
    assert not (plain_shop.settings.home / "link_keys").exists()


@pytest.mark.parametrize("line", ["tracking: {open: true}", "tracking: {clicks: maybe}"])
def test_what_tracking_allows_is_said(line: str, tmp_path: Path) -> None:
    from winback.errors import BadConfig
    from winback.programs import brand_of

    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "brand.yml").write_text((PROJECT_ROOT / "programs" / "brand.yml").read_text() + line + "\n")
    with pytest.raises(BadConfig, match=r"brand\.yml:\d+: tracking\.(open: is not a known field|clicks: found \"maybe\")"):
        brand_of(Settings(project=tmp_path))
