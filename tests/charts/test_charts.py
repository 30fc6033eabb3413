"""A chart in every form says the same; the browser's drawing is looked at in tests/dashboard and here."""

from __future__ import annotations

import json
import re
import shutil
from html import unescape
from pathlib import Path

import pytest

from winback.charts import Chart, bars, columns, content_policy, embedded, look, script

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

STACKED = bars("b", "Bars <of> things", [("a & b", [1.0, 3.0]), ("none", [0.0])], series=("one", "two"))
MONTHS = columns("c", "Months", [("Jan", 5.0, True), ("Feb", None, True), ("Mar", 2.5, False)], unit="percent")


def test_text_has_bars_in_proportion_and_every_value() -> None:
    assert MONTHS.text().splitlines() == [
        "Jan  ████████████████████████████████  5.0%",
        "Feb                                    –",
        "Mar  ████████████████                  2.5% (immature)",
    ]
    assert STACKED.text().splitlines() == [
        "       one + two",
        "a & b  ████████████████████████████████  1 + 3",
        "none                                     0",
    ]
    assert bars("empty", "Nothing", []).text() == "nothing"


def test_data_cannot_end_the_script_that_holds_it() -> None:
    text = embedded({"name": "</script><script>alert(1)</script>"})
    assert "<" not in text
    assert json.loads(text) == {"name": "</script><script>alert(1)</script>"}


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
@pytest.mark.parametrize(
    "chart", [STACKED, MONTHS, bars("e", "Nothing", []), columns("e", "Nothing", [])], ids=["bars", "columns", "none", "void"]
)
def test_the_browser_draws_it(chart: Chart, tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    draw = script() + f"charts.mount(document.getElementById('here'), {embedded(chart.spec)});"
    policy = content_policy([draw], [look()])
    file = tmp_path / "chart.html"
    file.write_text(
        f"""<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}"><style>{look()}</style>"""
        f"""<div class="chart" id="here"></div><script>{draw}</script>""",
        encoding="utf-8",
    )
    problems: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        page = browser.new_page(locale="en-GB")
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda problem: problems.append(str(problem)))
        page.goto(file.as_uri())
        markup = page.locator("#here").inner_html()
        browser.close()
    assert problems == []
    assert "NaN" not in markup
    [told] = map(unescape, re.findall(r'aria-label="([^"]*)"', markup))
    if chart is STACKED:
        assert told == "Bars <of> things. a & b: one 1, two 3; none: one 0."
        widths = [float(width) for width in re.findall(r'class="s[01]"[^>]* width="([\d.]+)" height="18.0"', markup)]
        assert widths[1] == pytest.approx(3 * widths[0], abs=0.2)
    if chart is MONTHS:
        assert told == "Months. Jan: 5.0%, mature yes; Feb: –, mature yes; Mar: 2.5%, mature no."
        assert "s0 pale" in markup
