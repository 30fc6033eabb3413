"""Streamlit shows the same figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from winback.dashboard import open_published
from winback.settings import PROJECT_ROOT, Settings

testing = pytest.importorskip("streamlit.testing.v1", reason="the extra `explore` is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture
def explored(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> testing.AppTest:  # type: ignore[name-defined]
    monkeypatch.setenv("WINBACK_HOME", str(settings.root))
    return testing.AppTest.from_file(str(Path(PROJECT_ROOT / "winback" / "dashboard" / "explore.py")), default_timeout=60).run()


def revenue(settings: Settings, condition: str) -> str:
    with open_published(settings) as connection:
        query = f"select sum(net_value) from marts.order_attribution where is_last_touch and {condition}"
        return f"{connection.execute(query).fetchall()[0][0]:,.0f}"


def test_the_window_is_what_sql_says(explored: testing.AppTest, settings: Settings) -> None:  # type: ignore[name-defined]
    assert not explored.exception
    assert explored.metric[1].value == revenue(settings, "hours_since_touch < 72")
    explored.sidebar.number_input[0].set_value(30.5).run()
    assert explored.metric[1].value == revenue(settings, "hours_since_touch < 30.5")
    explored.sidebar.selectbox[0].set_value("customer_lapsed").run()
    assert not explored.exception
    assert explored.metric[1].value == revenue(settings, "hours_since_touch < 30.5 and program = 'customer_lapsed'")


def test_headline_notices_and_what_needs_a_holdout(explored: testing.AppTest, settings: Settings) -> None:  # type: ignore[name-defined]
    with open_published(settings) as connection:
        [(incremental,)] = connection.execute("select incremental_revenue from marts.campaign_lift where scope = 'all'").fetchall()
    assert explored.metric[0].value == f"{incremental:,.0f}"
    assert "are invented" in explored.warning[0].value
    explored.sidebar.selectbox[0].set_value("email_fading").run()
    assert not explored.exception
    assert explored.metric[0].value == "–"
