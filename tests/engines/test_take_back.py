from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import duckdb
import pytest

from tests.engines.conftest import Reached

ROW = (
    "select cast('a' as varchar) as customer_id, cast(1.5 as decimal(18, 4)) as spend, cast(0.1 as double precision) as share, "
    "cast(7 as integer) as days, cast(8 as bigint) as orders, date '2025-03-01' as on_day, "
    "timestamp '2025-03-01 10:00:00.123456' as at, cast(null as boolean) as known"
)


@pytest.fixture
def workbench() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("set global TimeZone = 'UTC'")
    return connection


def test_marts_come_back_with_their_types(reached: Reached, workbench: duckdb.DuckDBPyConnection) -> None:
    reached.write("marts.customers", ROW)
    reached.write("intermediate.int_customers__contacts", ROW)
    reached.write("intermediate.int_of_no_concern", ROW)
    workbench.execute("create schema marts; create view marts.customers as select 1 as old")
    assert reached.engine.take_back(workbench) == {"marts.customers": 1, "intermediate.int_customers__contacts": 1}
    table = workbench.table("marts.customers")
    assert table.fetchall() == [("a", Decimal("1.5"), 0.1, 7, 8, date(2025, 3, 1), datetime(2025, 3, 1, 10, 0, 0, 123456), None)]
    types = ["VARCHAR", "DECIMAL(18,4)", "DOUBLE", "INTEGER", "BIGINT", "DATE", "TIMESTAMP", "BOOLEAN"]
    assert [str(kind) for kind in table.types] == types


def test_all_or_nothing(reached: Reached, workbench: duckdb.DuckDBPyConnection) -> None:
    reached.write("marts.customers", "select 2 as newer")
    reached.write("marts.journeys", "select 2 as newer")
    workbench.execute("create schema marts; create table marts.customers as select 1 as older")
    # A table that cannot be dropped: the second of the two fails.
    workbench.execute(
        "create table marts.journeys (id integer primary key); create table marts.steps (id integer references marts.journeys)"
    )
    with pytest.raises(duckdb.Error):
        reached.engine.take_back(workbench)
    assert workbench.execute("select older from marts.customers").fetchall() == [(1,)]


def test_schemas_derived_aside_come_back_and_go(reached: Reached, workbench: duckdb.DuckDBPyConnection) -> None:
    reached.write("marts.customers", "select 1 as real")
    reached.write("past_marts.customers", "select 2 as past")
    reached.write("past_of_somebody_else.customers", "select 3 as kept")
    assert reached.engine.take_back(workbench, "past_") == {"past_marts.customers": 1}
    reached.engine.drop("past_")
    assert reached.engine.take_back(workbench, "past_") == {}
    assert reached.engine.take_back(workbench) == {"marts.customers": 1}
    assert reached.engine.take_back(workbench, "past_of_somebody_else") == {}
    with pytest.raises(ValueError, match="a prefix is needed"):
        reached.engine.drop("")
