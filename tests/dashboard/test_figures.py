"""The figures are what the published marts say, whichever form reads them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import yaml

from tests.dashboard.conftest import AS_OF, NOTE, publish_world
from winback.dashboard import figures as module
from winback.dashboard import gather, open_published, write_dashboard
from winback.dashboard.figures import Figures, attributed
from winback.errors import BadInput
from winback.settings import PROJECT_ROOT, Settings

MODELS = {path.stem: path for path in (PROJECT_ROOT / "dbt_project" / "models" / "marts").rglob("*.yml")}


@pytest.fixture(scope="module")
def figures(settings: Settings) -> Figures:
    with open_published(settings) as connection:
        return gather(connection)


def test_the_invented_world_has_the_columns_of_the_marts(settings: Settings) -> None:
    """Else the tests of the page would go on passing while the page of a real day breaks."""
    with open_published(settings) as connection:
        found = connection.execute(
            "select table_name, list(column_name) from duckdb_columns() where schema_name = 'marts' group by table_name"
        ).fetchall()
    world = {table: set(columns) for table, columns in found if not table.startswith("published_")}
    for table, columns in world.items():
        [model] = [model for model in yaml.safe_load(MODELS[table].read_text(encoding="utf-8"))["models"] if model["name"] == table]
        assert columns == {column["name"] for column in model["columns"]}, table


def test_run_and_notices(figures: Figures) -> None:
    assert (figures.run_id, figures.as_of, figures.currency, figures.notes) == ("run-1", AS_OF, "USD", [NOTE])


@pytest.mark.parametrize("hours", [1, 24, 72, 100, 720])
def test_cube_and_orders_agree_on_every_window(settings: Settings, figures: Figures, hours: int) -> None:
    with open_published(settings) as connection:
        orders = attributed(connection, hours).rows()
    cube = [row for row in figures.tables["cube"].rows() if row["hours"] < hours]
    assert sum(row["orders"] for row in cube) == sum(row["orders"] for row in orders)
    assert sum(row["revenue"] for row in cube) == pytest.approx(sum(row["revenue"] for row in orders))


def test_windows_need_not_be_whole_hours_and_end_before_their_last_minute(settings: Settings) -> None:
    with open_published(settings) as connection:
        [(age,)] = connection.execute("select min(hours_since_touch) from marts.order_attribution where is_last_touch").fetchall()
        assert attributed(connection, age).rows() == []
        assert [row["orders"] for row in attributed(connection, age + 0.001).rows()] == [1]


def test_filters_of_attribution_are_those_of_sql(settings: Settings) -> None:
    with open_published(settings) as connection:
        rows = attributed(
            connection, 72, program="customer_lapsed", brand="Greengate", channel="email", since=date(2025, 1, 1), until=date(2025, 3, 31)
        ).rows()
        [(orders, revenue)] = connection.execute("""
            select count(*), sum(net_value) from marts.order_attribution
            where is_last_touch_72h and program = 'customer_lapsed' and brand = 'Greengate' and channel = 'email'
                and ordered_at >= '2025-01-01' and ordered_at < '2025-04-01'
        """).fetchall()
    assert (sum(row["orders"] for row in rows), sum(row["revenue"] for row in rows)) == (orders, pytest.approx(float(revenue)))
    assert orders > 0


@pytest.mark.parametrize(("limit", "dates", "exact"), [(1_500, "day", 168), (1_470, "week", 168), (1_360, "month", 168), (10, "month", 24)])
def test_a_cube_too_large_is_joined_and_keeps_the_windows_it_offers(
    settings: Settings, figures: Figures, monkeypatch: pytest.MonkeyPatch, limit: int, dates: str, exact: int
) -> None:
    monkeypatch.setattr(module, "CUBE_ROWS", limit)
    with open_published(settings) as connection:
        joined = gather(connection)
    assert (joined.dates_joined, joined.exact_hours) == (dates, exact)
    assert len(joined.tables["cube"]) < len(figures.tables["cube"])
    for hours in (*(hours for hours in (1, 24, 100, 167) if hours <= exact), 168, 192, 480, 720):
        sums = [
            (sum(row["orders"] for row in rows), pytest.approx(sum(row["revenue"] for row in rows)))
            for rows in ([row for row in found.tables["cube"].rows() if row["hours"] < hours] for found in (joined, figures))
        ]
        assert sums[0] == sums[1]


def test_curves_hold_a_number_for_each_day_from_the_first(figures: Figures) -> None:
    curves = figures.tables["curves"].rows()
    assert {len(row["at_risk"]) == len(row["returned"]) for row in curves} == {True}
    assert max(len(row["at_risk"]) for row in curves) == 91


def test_nothing_published_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing has been published yet"):
        write_dashboard(Settings(home=tmp_path))


def test_marts_of_an_older_winback_are_said_so(tmp_path: Path) -> None:
    older = publish_world(tmp_path, "drop table marts.campaign_lift")
    with pytest.raises(BadInput, match=r"not what this version of winback reads .*campaign_lift"):
        write_dashboard(older)


def test_the_dashboard_of_a_day_is_of_that_day(settings: Settings) -> None:
    with pytest.raises(BadInput, match="are of 2025-07-01 00:00, not of 2025-07-02 00:00"):
        write_dashboard(settings, AS_OF.replace(day=2))
