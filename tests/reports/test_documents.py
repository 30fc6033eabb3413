"""The report's forms: all figures, the notices, nothing from outside, nobody's data."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from datetime import date

import duckdb
import pytest
from rich.console import Console

from tests.reports.conftest import AS_OF
from winback.errors import BadInput
from winback.ledger import Ledger
from winback.reports import Report, day_report, summary
from winback.settings import Settings


@pytest.fixture
def report(settings: Settings, warehouse: duckdb.DuckDBPyConnection, ledger: Ledger) -> Report:
    return day_report(settings, warehouse, ledger, AS_OF)


def test_markdown_says_all(report: Report) -> None:
    text = report.markdown
    assert text == report.markdown_path.read_text(encoding="utf-8")
    assert text.startswith("# Win-back report for Thursday, 2017-11-30\n")
    assert r"> **Notice:** Contacts \<and> consents are invented (seed 7)" in text
    assert "| at risk | 20 |" in text
    assert "| lapsing_repeat_buyers | 2 | 30 | 20 | 3 | 10 | suppressed 4, unreachable 6 |" in text
    assert "| none | skip (unreachable) | 1 |" in text
    assert "| email | 2 | 1 | 0 | 1 | 0 | 0 | 0 |" in text
    assert "| meta | lapsing_repeat_buyers | 7 | 2 | 1 |" in text
    assert "| 2017-11 | 90 days | 200 | 21 | 10.5% | immature |" in text
    assert "regret" not in text


def test_markdown_has_no_html_and_charts_are_text(report: Report) -> None:
    """The Dagster UI drops HTML."""
    drawn = re.findall(r"```text\n(.*?)\n```", report.markdown, flags=re.DOTALL)
    assert len(drawn) == len(report.charts) == 5
    assert all("█" in text for text in drawn)
    assert "<" not in report.markdown.replace(r"\<", "")
    assert len(report.markdown) < 20_000


def test_html_asks_for_nothing_and_escapes(report: Report) -> None:
    page = report.html_path.read_text(encoding="utf-8")
    assert not re.search(r"https?://(?!www\.w3\.org)|<link|<img|@import|url\(| src=", page)
    assert "default-src 'none'; script-src 'sha256-" in page
    assert "Contacts &lt;and&gt; consents" in page
    assert re.findall(r'data-chart="(\w+)"', page) == [chart.name for chart in report.charts]
    assert len(page) < 60_000


def test_nobody_is_named(report: Report, settings: Settings) -> None:
    everything = "".join(path.read_text(encoding="utf-8") for path in settings.reports.iterdir())
    assert not re.search(r"\bc\d+\b|@", re.sub(r"<style>.*?</style>|<script>.*?</script>", "", everything, flags=re.DOTALL))


def test_numbers_can_be_plotted(report: Report) -> None:
    assert all(isinstance(value, int | float) for value in report.numbers.values())
    assert report.numbers["tier_inactive"] == 40
    assert report.numbers["accepted_email"] == 1
    assert report.numbers["regret_sends"] == 0


def test_regret_sends_stand_out(settings: Settings, warehouse: duckdb.DuckDBPyConnection, ledger: Ledger) -> None:
    warehouse.execute(
        "insert into raw.orders (order_id, customer_id, _file_id, ordered_at, total) values ('o1', 'c2', 'f1', '2017-12-01 09:00:00', 10)"
    )
    report = day_report(settings, warehouse, ledger, AS_OF)
    assert "**1 regret sends by this day's run, 1 since the beginning**" in report.markdown
    assert "<strong>1 regret sends by this day" in report.html


def test_the_same_day_again_gives_the_same_files(
    settings: Settings, warehouse: duckdb.DuckDBPyConnection, ledger: Ledger, report: Report
) -> None:
    before = {path.name: path.read_bytes() for path in settings.reports.iterdir()}
    assert set(before) == {"2017-12-01.md", "2017-12-01.html", "2017-12-01.json"}
    day_report(settings, warehouse, ledger, AS_OF)
    assert {path.name: path.read_bytes() for path in settings.reports.iterdir()} == before


def test_summary_fits_a_terminal_and_names_the_paths(settings: Settings, report: Report) -> None:
    told = summary(settings)
    screen = Console(width=100, file=io.StringIO())
    screen.print(told.renderable())
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    for words in (
        "Notice: Contacts <and> consents",
        "at risk",
        "past own cycle",
        "suppressed 4, unreachable 6",
        "20 (3 held out)",
        "immature",
    ):
        assert words in text
    flat = text.replace("\n", "")
    assert all(str(path) in flat for path in (settings.outbox, settings.published, report.html_path))


def test_summary_for_machines(settings: Settings, report: Report) -> None:
    told = json.loads(json.dumps(summary(settings, date(2017, 12, 1)).as_dict()))
    assert told["customers"] == 100
    assert told["numbers"] == report.numbers
    assert told["paths"]["report"] == str(report.html_path)


def test_summary_says_which_days_there_are(settings: Settings, report: Report) -> None:
    with pytest.raises(BadInput, match="no report as of 2018-01-01; the ones there are reach from 2017-12-01 to 2017-12-01"):
        summary(settings, date(2018, 1, 1))


def test_no_report_yet(settings: Settings) -> None:
    with pytest.raises(BadInput, match="no report yet"):
        summary(settings)


def test_command(settings: Settings, report: Report) -> None:
    command = [sys.executable, "-c", "import typer; from winback.cli.report import report; typer.run(report)"]
    environment = {**os.environ, "WINBACK_HOME": str(settings.root)}
    shown = subprocess.run([*command, "--as-of", "2017-12-01", "--json"], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout)["day"] == "2017-11-30"
