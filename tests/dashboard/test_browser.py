"""The page in a real browser: nothing asked, nothing broken, the window changes the figures to what SQL says."""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dashboard.conftest import publish_world
from winback.dashboard import open_published, write_dashboard
from winback.settings import Settings

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")]

PAGES = (
    "overview",
    "programs",
    "programs?program=lapsing_repeat_buyers",
    "programs?program=email_fading",
    "tiers",
    "audiences",
    "deliverability",
    "next",
    "about",
)
NOBODY = "; ".join(
    f"delete from marts.{mart}"
    for mart in (
        "attribution_cube",
        "campaign_lift",
        "campaign_report",
        "campaign_step_report",
        "deliverability_daily",
        "journey_flow",
        "order_attribution",
        "return_curves",
        "upcoming_steps",
    )
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def address(settings: Settings) -> str:
    return write_dashboard(settings).path.as_uri()


class Viewer:
    """A browser page that remembers what went wrong and what was asked for."""

    def __init__(self, browser: Any, address: str, **context: Any) -> None:
        self.page = browser.new_context(locale="en-GB", **context).new_page()
        self.address = address
        self.problems: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda problem: self.problems.append(str(problem)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def open(self, place: str) -> Any:
        self.page.goto("about:blank")
        self.page.goto(f"{self.address}#{place}")
        return self.page

    def close(self) -> None:
        self.page.context.close()
        outside = [url for url in self.asked if not url.startswith(("about:", "data:", "blob:", self.address))]
        assert (self.problems, outside) == ([], [])


@pytest.fixture
def viewer(browser: Any, address: str) -> Iterator[Viewer]:
    found = Viewer(browser, address, viewport={"width": 1440, "height": 900})
    yield found
    found.close()


def amount(page: Any) -> int:
    return int(re.sub(r"[^\d]", "", page.locator("#attributed").inner_text().split(".")[0]))


def in_sql(settings: Settings, condition: str) -> int:
    with open_published(settings) as connection:
        query = f"select coalesce(sum(net_value), 0) from marts.order_attribution where is_last_touch and {condition}"
        return int(connection.execute(query).fetchall()[0][0])


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_opens(browser: Any, address: str, width: int, scheme: str) -> None:
    viewer = Viewer(browser, address, viewport={"width": width, "height": 900}, color_scheme=scheme)
    for place in PAGES:
        page = viewer.open(place)
        assert page.locator("h1").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{place} is wider than the screen"
        assert "NaN" not in page.locator("body").inner_text()
        assert "undefined" not in page.locator("#page").inner_html()
        assert page.locator(".notice").first.inner_text() == "Notice: Contacts <and> consents are invented (seed 7)"
        drawings = page.locator(".chart")
        for number in range(drawings.count()):
            alternative = drawings.nth(number).locator("svg[role=img]").get_attribute("aria-label")
            assert len(alternative) > 20, f"a chart of {place} has no text alternative"
            assert drawings.nth(number).locator("xpath=..").locator("h3 + p").inner_text(), "every chart says of what"
    viewer.close()


@pytest.mark.parametrize("hours", [1, 24, 71, 72, 333, 720])
def test_the_window_changes_the_figures_to_what_sql_says(viewer: Viewer, settings: Settings, hours: int) -> None:
    page = viewer.open("overview?hours=48")
    assert amount(page) == pytest.approx(in_sql(settings, "hours_since_touch < 48"), abs=1)
    page.fill("#hours", str(hours))
    page.press("#hours", "Enter")
    assert amount(page) == pytest.approx(in_sql(settings, f"hours_since_touch < {hours}"), abs=1)
    assert f"less than {hours} hour" in page.locator(".beside").inner_text()
    assert page.locator("#said").inner_text().startswith(f"Attributed revenue within {hours} hour")


def test_filters_are_those_of_sql_and_stay_in_the_address(viewer: Viewer, settings: Settings) -> None:
    page = viewer.open("overview")
    page.click("[data-hours='120']")
    page.select_option("#program", "customer_lapsed")
    page.select_option("#brand", "Harbour & <Hill>")
    page.select_option("#channel", "email")
    page.fill("#from", "2025-01-01")
    page.fill("#to", "2025-03-31")
    condition = """is_last_touch_120h and program = 'customer_lapsed' and brand = 'Harbour & <Hill>' and channel = 'email'
        and ordered_on between '2025-01-01' and '2025-03-31'"""
    expected = in_sql(settings, condition)
    assert expected > 0
    assert amount(page) == pytest.approx(expected, abs=1)
    assert "Not filtered by brand, channel, dates." in page.locator(".lead").inner_text()
    shared = page.url.split("#")[1]
    assert amount(viewer.open(shared)) == pytest.approx(expected, abs=1)
    page.click("#reset")
    assert amount(page) == pytest.approx(in_sql(settings, "is_last_touch_120h"), abs=1)


def test_headline_is_the_mart_s(viewer: Viewer, settings: Settings) -> None:
    with open_published(settings) as connection:
        rows = connection.execute(
            "select program, incremental_revenue from marts.campaign_lift where scope in ('all', 'program')"
        ).fetchall()
    figures = dict(rows)
    shown = viewer.open("overview").locator("#incremental").inner_text()
    assert shown == f"+US${figures['(all)']:,.0f}"
    shown = viewer.open("programs?program=customer_lapsed").locator("#incremental").inner_text()
    assert shown == f"+US${figures['customer_lapsed']:,.0f}"


def test_journeys_add_up_and_divide_after_summing(viewer: Viewer, settings: Settings) -> None:
    with open_published(settings) as connection:
        [(started, purchased)] = connection.execute("""
            select sum(started), sum(purchased) from marts.campaign_report
            where program = 'lapsing_repeat_buyers' and version = 2 and arm = 'treatment' and brand = 'Greengate'
        """).fetchall()
    page = viewer.open("programs?program=lapsing_repeat_buyers&version=2&brand=Greengate")
    figure = page.locator("figure", has=page.get_by_role("heading", name="Where journeys stand"))
    figure.locator("summary").click()
    row = figure.locator("tbody tr", has_text="bought").locator("td")
    assert row.all_inner_texts()[:2] == [f"{purchased:,}", f"{100 * purchased / started:.1f}%"]


def test_curves_are_those_of_the_mart_and_join_by_sums(viewer: Viewer, settings: Settings) -> None:
    with open_published(settings) as connection:
        [(overall,)] = connection.execute("""
            select returned_percentage from marts.return_curves
            where scope = 'program' and program = 'customer_lapsed' and arm = 'treatment' and day = 30
        """).fetchall()
        [(brand,)] = connection.execute("""
            with days as (
                select day, sum(at_risk) as at_risk, sum(returned) as returned from marts.return_curves
                where scope = 'cohort' and program = 'customer_lapsed' and arm = 'treatment' and brand = 'Greengate' and day <= 30
                group by day
            )
            select 100 * (1 - product(1 - returned / at_risk)) from days
        """).fetchall()
    for place, expected in (("", overall), ("&brand=Greengate", brand)):
        page = viewer.open(f"programs?program=customer_lapsed{place}")
        figure = page.locator("figure", has=page.get_by_role("heading", name="Back by day"))
        figure.locator("summary").click()
        row = figure.locator("tbody tr", has=page.locator("th", has_text=re.compile(r"^day 30$")))
        assert row.locator("td").first.inner_text() == f"{expected:.1f}%"


def test_a_first_day_says_why_there_is_nothing(browser: Any, tmp_path: Path) -> None:
    viewer = Viewer(browser, write_dashboard(publish_world(tmp_path, NOBODY)).path.as_uri(), viewport={"width": 390, "height": 900})
    for place in PAGES:
        page = viewer.open(place)
        text = page.locator("#page").inner_text()
        assert "NaN" not in text
        assert "Infinity" not in text
    assert "Nobody has entered yet" in viewer.open("overview").locator(".lead").inner_text()
    assert "No message has gone out before an order yet" in viewer.page.locator(".beside").inner_text()
    assert "No message has been sent yet." in viewer.open("deliverability").locator("#page").inner_text()
    viewer.close()


def test_no_holdout_and_open_windows_are_said(viewer: Viewer, browser: Any, tmp_path: Path) -> None:
    assert "Nobody has been held out" in viewer.open("programs?program=email_fading").locator(".lead").inner_text()
    young = publish_world(tmp_path, "update marts.campaign_lift set holdout_enrolled = 0, treatment_enrolled = 0, lift_points = null")
    other = Viewer(browser, write_dashboard(young).path.as_uri())
    assert "the next closes on 2 Jul 2025" in other.open("overview").locator(".lead").inner_text()
    other.close()


def test_by_keyboard_alone(viewer: Viewer, settings: Settings) -> None:
    page = viewer.open("overview")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the figures"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Programs"
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.tagName === 'H1'")
    assert page.evaluate("document.activeElement.textContent") == "Programs"
    page.focus("#hours")
    page.keyboard.press("Control+a")
    page.keyboard.type("48")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "hours", "changing the window keeps the place"
    viewer.open("overview?hours=48")
    assert amount(page) == pytest.approx(in_sql(settings, "hours_since_touch < 48"), abs=1)
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    page.locator("details[open] table").wait_for()


def test_everything_that_can_be_changed_has_a_name(viewer: Viewer) -> None:
    for place in PAGES:
        page = viewer.open(place)
        nameless = page.evaluate("""() => [...document.querySelectorAll("input, select, button, summary, a, [role=region]")].filter((e) =>
            !(e.labels?.length || e.getAttribute("aria-label") || e.textContent.trim())).map((e) => e.outerHTML)""")
        assert nameless == []
        twice = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id).filter((id, i, all) => all.indexOf(id) !== i)")
        assert twice == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read(browser: Any, address: str, scheme: str) -> None:
    """WCAG AA: 4.5 to 1 for words, 3 to 1 for what is drawn."""
    viewer = Viewer(browser, address, color_scheme=scheme)
    page = viewer.open("overview")
    ratios = page.evaluate("""() => {
        const style = getComputedStyle(document.documentElement), pen = document.createElement("canvas").getContext("2d");
        const light = (name) => {
            pen.fillStyle = style.getPropertyValue(name).trim();
            const parts = pen.fillStyle.match(/[0-9a-f]{2}/g).map((h) => parseInt(h, 16) / 255);
            const [r, g, b] = parts.map((v) => (v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4));
            return .2126 * r + .7152 * g + .0722 * b;
        };
        const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort(); return (y + .05) / (x + .05); };
        const words = [["--ink", "--card"], ["--quiet", "--card"], ["--ink", "--paper"], ["--ink", "--notice"], ["--quiet", "--paper"],
            ["--accent-ink", "--accent"], ["--accent", "--card"]];
        const drawn = ["--s0", "--s1", "--s2", "--s4", "--s5", "--s6", "--s7"].map((s) => [s, "--card"]);
        return [words.map((p) => [...p, ratio(...p)]), drawn.map((p) => [...p, ratio(...p)])];
    }""")
    assert [pair for pair in ratios[0] if pair[2] < 4.5] == []
    assert [pair for pair in ratios[1] if pair[2] < 3] == []
    viewer.close()


def test_a_chart_can_be_downloaded(viewer: Viewer) -> None:
    page = viewer.open("next")
    figure = page.locator("figure", has=page.get_by_role("heading", name="Who this run let in, and who not"))
    with page.expect_download() as started:
        figure.get_by_role("button", name="CSV").click()
    assert started.value.suggested_filename == "winback-2025-07-01-who-this-run-let-in-and-who-not.csv"
    rows = list(csv.reader(io.StringIO(Path(started.value.path()).read_text(encoding="utf-8"))))
    assert rows[0] == ["decision", "customers", "in words"]
    assert rows[1][:2] == ["suppressed", "36"]
    assert rows[-1][:2] == ["admitted", "192"]


def test_paper_has_figures_and_no_buttons(viewer: Viewer) -> None:
    page = viewer.open("overview?program=customer_lapsed")
    page.emulate_media(media="print")
    assert not page.locator("#filters").is_visible()
    assert page.locator("#printed").inner_text() == "As of 1 Jul 2025 · customer lapsed · attribution window 72 hours"
    assert page.locator(".chart svg").first.is_visible()


def test_numbers_are_written_as_the_reader_writes_them(browser: Any, address: str) -> None:
    viewer = Viewer(browser, address)
    viewer.page.context.close()
    german = browser.new_context(locale="de-DE").new_page()
    german.goto(f"{address}#overview")
    assert re.fullmatch(r"\d{1,3}(\.\d{3})*\s\$", german.locator("#attributed").inner_text())
    german.context.close()


def test_the_page_may_not_reach_out(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.goto(address)
    assert page.evaluate("fetch('https://example.com/').then(() => 'reached', () => 'refused')") == "refused"
    page.close()
