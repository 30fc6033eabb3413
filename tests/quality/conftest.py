"""A small warehouse whose raw tables pass every check."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from tests.warehouse.building import TABLES
from winback.settings import Settings
from winback.warehouse import open_warehouse


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "project" / "sources").mkdir(parents=True)
    return Settings(project=tmp_path / "project", home=tmp_path / "home")


@pytest.fixture
def raw(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_warehouse(settings) as connection:
        connection.execute("create schema raw")
        for table, columns in TABLES["raw"].items():
            connection.execute(f"create table raw.{table} ({columns})")
        connection.execute("""
            insert into raw.landed_files (file_id, file, table_name, rows_landed, rows_quarantined, landed_at)
            values ('f1', 'orders.csv', 'orders', 200, 0, '2017-12-01 00:05:00');
            insert into raw.customers (customer_id, created_at, _file_id, _row_number)
                select 'c' || i, timestamp '2016-01-01', 'f0', i from range(20) t(i);
            insert into raw.orders (order_id, customer_id, ordered_at, status, total, refunded, _file_id, _row_number)
                select 'o' || i, case when i % 7 > 0 then 'c' || (i % 20) end, timestamp '2017-11-30 12:00:00' - to_days(i),
                    'Paid', 10, 0, 'f1', i
                from range(200) t(i);
            insert into raw.order_lines (order_id, line_no, product_id, quantity, unit_price, _file_id, _row_number)
                select 'o' || (i // 2), i % 2, 'p1', 1, 5, 'f2', i from range(400) t(i);
            insert into raw.products (product_id, name, _file_id, _row_number) values ('p1', 'Tea', 'f3', 1);
            insert into raw.message_events (event_id, customer_id, channel, event_type, occurred_at, _file_id, _row_number)
                select 'm' || i, 'c1', 'email', 'opened', timestamp '2017-11-01', 'f4', i from range(5) t(i);
            insert into raw.activity_events (event_id, customer_id, event_type, occurred_at, _file_id, _row_number)
                select 'a' || i, 'c1', 'visit', timestamp '2017-11-01', 'f5', i from range(5) t(i);
            insert into raw.consents values
                ('c1', 'email', '2017-01-01', true, 'checkout', 'f6', 1), ('c1', 'ads', '2017-01-01', false, null, 'f6', 2);
            insert into raw.devices values ('token-1', 'c1', 'ios', true, '2017-01-01', 'f7', 1);
        """)
        yield connection
