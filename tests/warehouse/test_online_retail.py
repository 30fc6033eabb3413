"""Real orders: Online Retail II, against figures that were computed twice without this project, and against the plain-Python reference."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from tests.warehouse import reference
from tests.warehouse.building import derive, load

pytestmark = [pytest.mark.slow, pytest.mark.real_data]

CUSTOMER_SIDE = "+customers +customer_tier_history +int_audiences__members +winback_monthly"
MODELS_ALONE = ("--resource-type", "seed", "--resource-type", "model")
TRUTH_DAY = datetime(2011, 6, 1)
OTHER_DAY = datetime(2010, 11, 14)


@pytest.fixture(scope="module")
def raw(test_data: Path) -> dict[str, pa.Table]:
    """Orders: invoices with a line that has a customer, is not cancelled and has a positive quantity and price."""
    lines = test_data / "online_retail_ii" / "lines.parquet"
    if not lines.is_file():
        pytest.skip(f"real data absent: no {lines}")
    with duckdb.connect() as connection:
        source = connection.read_parquet(str(lines))
        connection.register("lines", source)
        orders = connection.sql(
            """
            select
                Invoice as order_id,
                cast(min("Customer ID") as varchar) as customer_id,
                min(InvoiceDate) as ordered_at,
                'paid' as status,
                cast(sum(cast(Quantity as decimal(18, 4)) * cast(Price as decimal(18, 4))) as decimal(18, 4)) as total,
                'GBP' as currency
            from lines
            where
                "Customer ID" is not null
                and Invoice not like 'C%'
                and Quantity > 0
                and Price > 0
                -- These days stand in both sheets; the second sheet's rows are kept.
                and not (sheet = 'Year 2009-2010' and InvoiceDate >= timestamp '2010-12-01')
            group by Invoice
            """
        ).to_arrow_table()
        connection.register("orders", orders)
        customers = connection.sql("select distinct customer_id from orders").to_arrow_table()
    return {"orders": orders, "customers": customers}


@pytest.fixture(scope="module")
def home(raw: dict[str, pa.Table], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("online_retail")
    load(folder, raw)
    return folder


def query(path: Path, statement: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(statement).fetchall()


def test_marts_equal_the_truth(home: Path, test_data: Path) -> None:
    truth = json.loads((test_data / "online_retail_ii" / "truth_2011-06-01.json").read_text())["2011-06-01"]
    summary = truth["summary"]
    path = derive(home, TRUTH_DAY, select=CUSTOMER_SIDE, arguments=MODELS_ALONE)
    (figures,) = query(
        path,
        """
        select
            count(*), sum(order_count), sum(order_day_count), sum(lifetime_value),
            count(average_purchase_interval), avg(average_purchase_interval), median(average_purchase_interval),
            sum(days_since_last_order), median(days_since_last_order),
            count(*) filter (where days_past_cycle >= 8),
            count(*) filter (where days_since_last_order >= 365 and days_since_last_order < 730),
            count(*) filter (where days_since_last_order >= 90),
            count(*) filter (where days_since_last_order >= 90 and order_count >= 2)
        from marts.customers
        where order_count > 0
        """,
    )
    assert figures[:3] == (summary["customers"], summary["orders"], summary["sum_n_dates"])
    assert float(figures[3]) == pytest.approx(summary["total_value_dedup"], abs=0.0051)
    assert figures[4] == summary["customers_2plus_dates"]
    assert figures[5] == pytest.approx(summary["mean_avg_interval_dates"], abs=5e-7)
    assert figures[6:9] == (summary["median_avg_interval_dates"], summary["sum_days_since"], summary["median_days_since"])
    assert figures[9:] == (
        summary["due_avg_plus_8_dates"],
        summary["lapsed_365_to_729"],
        summary["dormant_90_plus"],
        summary["dormant_90_plus_repeat"],
    )
    members = dict(query(path, "select audience, count(*) from intermediate.int_audiences__members group by audience"))
    assert members["past_own_cycle"] == summary["due_avg_plus_8_dates"]
    assert members["customer_not_active"] == summary["dormant_90_plus"]
    assert members["lapsed_one_to_two_years"] == summary["lapsed_365_to_729"]
    returns = query(
        path,
        """
        select strftime(month, '%Y-%m'), returns, returned_customers
        from marts.winback_monthly
        where lapse_threshold_days = 90 and returns > 0
        order by month
        """,
    )
    assert returns == [(row["month"], row["winbacks"], row["customers"]) for row in truth["winback_monthly"]]


def test_another_day_equals_the_reference(home: Path, raw: dict[str, pa.Table]) -> None:
    """Figures, lifecycles, tiers, months and audiences of a day in the middle of the data, customer by customer."""
    path = derive(home, OTHER_DAY, select=CUSTOMER_SIDE, arguments=MODELS_ALONE)
    rows = {name: table.to_pylist() for name, table in raw.items()}
    expected = reference.customers(rows, OTHER_DAY)
    names = [name for name in next(iter(expected.values())) if name != "history"]
    found = {
        row[0]: dict(zip(names, row[1:], strict=True))
        for row in query(path, f"select customer_id, {', '.join(names)} from marts.customers")
    }
    assert set(found) == set(expected)
    for customer, figures in expected.items():
        for name in names:
            value = figures[name]
            close = pytest.approx(value, rel=1e-9, abs=1e-9) if isinstance(value, float) else value
            assert found[customer][name] == close, f"{customer}.{name}"
    months = {
        (month, threshold): tuple(counts)
        for month, threshold, *counts in query(
            path,
            """
            select month, lapse_threshold_days, lapsed_customers, won_back_customers, returns, returned_customers
            from marts.winback_monthly
            """,
        )
    }
    assert months == reference.winback_monthly(rows, OTHER_DAY)
    members: dict[str, set[str]] = {}
    for audience, customer in query(path, "select audience, customer_id from intermediate.int_audiences__members"):
        members.setdefault(audience, set()).add(customer)
    assert members == {audience: customers for audience, customers in reference.audiences(expected).items() if customers}
