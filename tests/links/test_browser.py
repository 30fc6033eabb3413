"""The pages in a real browser: a phone's and a desk's screen, the keyboard alone, light and dark."""

from __future__ import annotations

import email
import email.policy
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.delivery.conftest import AS_OF, NOON
from tests.links.conftest import Site
from tests.links.test_addresses import hrefs
from winback.delivery import dispatch
from winback.destinations import open_destinations
from winback.programs import load_programs
from winback.programs.sync import record
from winback.settings import Settings

PHONE = {"width": 390, "height": 844}
DESK = {"width": 1440, "height": 900}

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield opened
        opened.close()


@dataclass
class Visit:
    """A page, and what went wrong on it: console messages, and requests to anybody but the listener."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)


@contextmanager
def visiting(browser: Browser, site: Site, **context: Any) -> Iterator[Visit]:
    """A fresh browser window; leaving it, nothing may have gone wrong."""
    opened = browser.new_context(**{"viewport": DESK, "locale": "en-GB"} | context)
    opened.set_default_timeout(10_000)
    visit = Visit(opened.new_page())
    visit.page.on("console", lambda message: visit.complaints.append(message.text))
    visit.page.on("pageerror", lambda problem: visit.complaints.append(str(problem)))
    base = site.links.base_url
    visit.page.on("request", lambda request: None if request.url.startswith((base, "data:")) else visit.strangers.append(request.url))
    try:
        yield visit
        assert (visit.complaints, visit.strangers, opened.cookies()) == ([], [], [])
    finally:
        opened.close()


def keep(page: Page, name: str) -> None:
    """A picture for people to look at, where WINBACK_TEST_PICTURES names a folder."""
    folder = os.environ.get("WINBACK_TEST_PICTURES")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.fixture
def delivered(site: Site) -> Any:
    return deliver(site)


def deliver(site: Site) -> Any:
    """The email that the dispatcher has put into the outbox for Ann, who was also written to by SMS."""
    record(load_programs(Settings()), site.ledger, AS_OF, AS_OF, actor="test")
    for number, channel in enumerate(("email", "sms"), start=1):
        site.shop.message("ann", channel, program="lapsing_repeat_buyers", step_no=number, content="we_miss_you", offer_code="COMEBACK15")
    with open_destinations(site.settings, environment={}) as places:
        dispatch(site.settings, site.shop.warehouse, site.ledger, places, NOON)
    (path,) = (site.settings.outbox / "email").rglob("*.eml")
    return email.message_from_bytes(path.read_bytes(), policy=email.policy.default)


def link(delivered: Any, site: Site, kind: str) -> str:
    """A link of the delivered email, as its reader would follow it."""
    html = delivered.get_body(("html",)).get_content()
    return next(href for href in hrefs(html) if href.startswith(f"{site.links.base_url}/{kind}/"))


def test_unsubscribing_from_a_delivered_email(browser: Browser, site: Site, delivered: Any) -> None:
    url = link(delivered, site, "u")
    assert url in delivered["List-Unsubscribe"]
    with visiting(browser, site) as visit:
        page = visit.page
        page.goto(url)
        keep(page, "leaving-desk")
        assert site.suppressed() == set()
        page.get_by_role("button", name="Unsubscribe").click()
        assert page.get_by_role("heading", level=1).inner_text() == "You are unsubscribed"
        keep(page, "left-desk")
        assert site.suppressed() == {"email"}
        page.get_by_role("button", name="Undo").click()
        assert page.get_by_role("heading", level=1).inner_text() == "Welcome back"
        assert site.suppressed() == set()


def test_a_click_in_a_delivered_email_reaches_the_shop(browser: Browser, site: Site) -> None:
    # A shop on this machine, under another name than the listener's: nothing is asked of anybody outside.
    shop = site.links.base_url.replace("127.0.0.1", "localhost") + "/shop?utm_source=mail#new"
    brand = site.settings.programs_dir / "brand.yml"
    brand.write_text(brand.read_text().replace("shop_url: https://www.example.com\n", f'shop_url: "{shop}"\n'))
    opened = browser.new_context()
    page = opened.new_page()
    page.goto(link(deliver(site), site, "c"))
    assert page.url == shop
    assert page.evaluate("document.referrer") == ""
    opened.close()
    assert [kind for kind, _, _ in site.events()] == ["clicked"]


@pytest.mark.parametrize(("name", "viewport"), [("phone", PHONE), ("desk", DESK)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_choosing_on_every_screen(browser: Browser, site: Site, delivered: Any, name: str, viewport: Any, scheme: str) -> None:
    with visiting(browser, site, viewport=viewport, color_scheme=scheme) as visit:
        page = visit.page
        page.goto(link(delivered, site, "p"))
        keep(page, f"choosing-{name}-{scheme}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing to scroll sideways"
        page.get_by_label("Text messages").uncheck()
        page.get_by_label("At most once a month").check()
        page.get_by_role("button", name="Save my choice").click()
        assert page.get_by_role("heading", level=1).inner_text() == "Your choice is saved"
        assert page.get_by_role("listitem").first.inner_text() == "Emails · At most once a month"
        keep(page, f"saved-{name}-{scheme}")
        assert (site.suppressed(), site.limits()) == ({"sms"}, [(1, 30)])
        page.get_by_role("button", name="Undo").click()
        assert (site.suppressed(), site.limits()) == (set(), [])


def test_everything_can_be_done_with_the_keyboard_alone(browser: Browser, site: Site, delivered: Any) -> None:
    with visiting(browser, site, viewport=PHONE) as visit:
        page = visit.page
        page.goto(link(delivered, site, "p"))

        def focused() -> str:
            return str(page.evaluate("document.activeElement.value || document.activeElement.textContent"))

        seen = []
        for _ in range(5):
            page.keyboard.press("Tab")
            seen.append(focused())
            ring = page.evaluate(
                "() => { const one = document.activeElement; const at = one.closest('label') || one;"
                " return getComputedStyle(at).outlineStyle + ' ' + parseFloat(getComputedStyle(at).outlineWidth) }"
            )
            assert ring == "solid 3", f"{seen[-1]} shows where the keyboard is"
            if len(seen) == 2:
                page.keyboard.press("Space")
                keep(page, "keyboard-phone")
            if len(seen) == 3:
                page.keyboard.press("ArrowDown")
        assert seen == ["email", "sms", "usual", "choose", "stay"]
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Your choice is saved").wait_for()
        assert (site.suppressed(), site.limits()) == ({"sms"}, [(1, 7)])


def test_a_reader_of_screens_is_told_everything(browser: Browser, site: Site, delivered: Any) -> None:
    with visiting(browser, site) as visit:
        page = visit.page
        page.goto(link(delivered, site, "p") + "?l=de")
        assert page.evaluate("document.documentElement.lang") == "de"
        assert page.get_by_role("group", name="Wie dürfen wir Sie erreichen?").get_by_role("checkbox").count() == 2
        assert page.get_by_role("group", name="Wie oft dürfen wir Ihnen mailen?").get_by_role("radio").count() == 3
        assert page.get_by_role("main").count() == page.get_by_role("banner").count() == page.get_by_role("contentinfo").count() == 1
        assert page.get_by_role("heading", level=1).count() == 1
        nameless = page.evaluate(
            "[...document.querySelectorAll('input,button,a')].filter(one => !(one.labels?.length || one.textContent)).length"
        )
        assert nameless == 0
        small = page.evaluate(
            "[...document.querySelectorAll('label, button')]"
            ".filter(one => one.getBoundingClientRect().height < 44).map(one => one.textContent)"
        )
        assert small == [], "fingers need 44 pixels"
        page.get_by_role("link", name="Français").click()
        assert page.get_by_role("heading", level=1).inner_text() == "À vous de choisir ce que vous recevez"
        keep(page, "choosing-french")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("accent", ["#1f6f4a", "#ffd400", "#101010"])
def test_words_can_be_read_whatever_the_brands_colour(browser: Browser, site: Site, delivered: Any, scheme: str, accent: str) -> None:
    brand = site.settings.programs_dir / "brand.yml"
    text = brand.read_text().replace('accent: "#1f6f4a"', f'accent: "{accent}"')
    brand.write_text(text.replace('accent_text: "#ffffff"', 'accent_text: "#000000"') if accent == "#ffd400" else text)
    with visiting(browser, site, color_scheme=scheme) as visit:
        page = visit.page
        page.goto(link(delivered, site, "p"))
        keep(page, f"choosing-{accent[1:]}-{scheme}")
        worst = page.evaluate(_CONTRASTS)
        assert worst["ratio"] >= 4.5, worst


_CONTRASTS = """() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(one => one / 255).map(one => one <= .04045 ? one / 12.92 : ((one + .055) / 1.055) ** 2.4)
    .reduce((sum, one, at) => sum + one * [.2126, .7152, .0722][at], 0);
  const behind = one => { for (; one; one = one.parentElement) {
    const colour = parse(getComputedStyle(one).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour; } return [255, 255, 255]; };
  let worst = {ratio: 21};
  for (const one of document.querySelectorAll('h1, h2, p, legend, label span, button, a, small')) {
    const [a, b] = [light(parse(getComputedStyle(one).color)), light(behind(one))].sort().reverse();
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < worst.ratio) worst = {ratio, text: one.textContent.slice(0, 40)};
  }
  return worst;
}"""


def test_a_link_that_was_cut_off_helps(browser: Browser, site: Site, delivered: Any) -> None:
    with visiting(browser, site, viewport=PHONE) as visit:
        page = visit.page
        answer = page.goto(link(delivered, site, "u")[:-3])
        assert answer is not None
        assert answer.status == 404
        keep(page, "problem-phone")
        assert page.get_by_role("link", name="unsubscribe@example.com").get_attribute("href") == "mailto:unsubscribe@example.com"
        # The browser says itself that the answer was 404.
        assert all("404" in complaint for complaint in visit.complaints)
        visit.complaints.clear()
