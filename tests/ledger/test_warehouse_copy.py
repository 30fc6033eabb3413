from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from winback.errors import StopRun
from winback.ledger import Ledger, open_ledger_at, tables, warehouse_copy

NOW = datetime(2017, 12, 1, 10, 30, 0, 250000)


def claim(item: str) -> dict[str, object]:
    return {"item_id": item, "attempt": 1, "worker": "w", "lease_until": NOW, "recorded_at": NOW}


def items(warehouse: duckdb.DuckDBPyConnection) -> list[str]:
    return [row[0] for row in warehouse.execute("select item_id from ledger.claims order by seq").fetchall()]


@pytest.fixture
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def test_every_table_is_there_with_its_types_although_empty(ledger: Ledger, warehouse: duckdb.DuckDBPyConnection) -> None:
    ledger.copy_to_warehouse(warehouse)
    found = warehouse.execute(
        "select table_name, column_name, data_type from information_schema.columns where table_schema = 'ledger'"
    ).fetchall()
    types = {(table, column): kind for table, column, kind in found}
    assert {table for table, _ in types} == set(tables.metadata.tables)
    assert types["claims", "seq"] == "BIGINT"
    assert types["claims", "lease_until"] == "TIMESTAMP"
    assert types["claims", "attempt"] == "INTEGER"
    assert types["steps", "due_on"] == "DATE"
    assert types["messages", "offer_code"] == "VARCHAR"


def test_a_column_that_a_newer_ledger_has_is_added_to_the_copy(ledger: Ledger, warehouse: duckdb.DuckDBPyConnection) -> None:
    ledger.record("claims", [claim("a")])
    ledger.copy_to_warehouse(warehouse)
    warehouse.execute("alter table ledger.claims drop column destination")
    ledger.record("claims", [{**claim("b"), "destination": "smtp"}])
    ledger.copy_to_warehouse(warehouse)
    assert warehouse.execute("select item_id, destination from ledger.claims order by seq").fetchall() == [("a", None), ("b", "smtp")]


def test_only_new_rows_are_copied_and_values_stay_the_same(ledger: Ledger, warehouse: duckdb.DuckDBPyConnection) -> None:
    ledger.record("claims", [claim("a"), claim("b")])
    step = {
        "step_id": "s",
        "enrolment_id": "e",
        "step_no": 1,
        "decision": "queued",
        "due_on": date(2017, 12, 3),
        "as_of": NOW,
        "recorded_at": NOW,
    }
    ledger.record("steps", [step])
    assert {name: rows for name, rows in ledger.copy_to_warehouse(warehouse).items() if rows} == {"claims": 2, "steps": 1}
    ledger.record("claims", [claim("c")])
    assert {name: rows for name, rows in ledger.copy_to_warehouse(warehouse).items() if rows} == {"claims": 1}
    assert items(warehouse) == ["a", "b", "c"]
    assert warehouse.execute("select lease_until, recorded_at from ledger.claims limit 1").fetchone() == (NOW, NOW)
    assert warehouse.execute("select due_on, reason, as_of from ledger.steps").fetchone() == (date(2017, 12, 3), None, NOW)


def test_a_deleted_warehouse_is_filled_again(ledger: Ledger) -> None:
    ledger.record("claims", [claim("a"), claim("b")])
    for _ in range(2):
        with duckdb.connect() as fresh:
            ledger.copy_to_warehouse(fresh)
            assert items(fresh) == ["a", "b"]


def test_more_rows_than_a_batch_arrive_in_order(
    ledger: Ledger, warehouse: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("winback.ledger.warehouse_copy._BATCH", 100)
    ledger.record("claims", (claim(f"{number:04}") for number in range(1050)))
    ledger.copy_to_warehouse(warehouse)
    assert items(warehouse) == [f"{number:04}" for number in range(1050)]


@pytest.mark.parametrize("rows", [[], ["x"], ["x", "y"]])
def test_a_ledger_that_was_replaced_stops_the_run(warehouse: duckdb.DuckDBPyConnection, tmp_path: Path, rows: list[str]) -> None:
    """An older copy of the ledger has forgotten sends; going on would repeat them."""
    with open_ledger_at(f"sqlite:///{tmp_path / 'one.db'}") as ledger:
        ledger.record("claims", [claim("a"), claim("b")])
        ledger.copy_to_warehouse(warehouse)
    with open_ledger_at(f"sqlite:///{tmp_path / 'two.db'}") as other:
        other.record("claims", [claim(item) for item in rows])
        with pytest.raises(StopRun, match="table claims"):
            other.copy_to_warehouse(warehouse)
    assert items(warehouse) == ["a", "b"]


def test_a_slower_transaction_with_a_lower_number_is_not_passed_over(postgres_url: str, warehouse: duckdb.DuckDBPyConnection) -> None:
    with open_ledger_at(postgres_url) as ledger:
        started, finish = threading.Event(), threading.Event()

        def slow() -> None:
            with ledger.writing() as writer:
                writer.record("claims", [claim("slow")])
                started.set()
                finish.wait(10)

        writing = threading.Thread(target=slow)
        writing.start()
        started.wait(10)
        ledger.record("claims", [claim("quick")])
        copying = threading.Thread(target=ledger.copy_to_warehouse, args=(warehouse,))
        copying.start()
        copying.join(0.3)
        assert copying.is_alive(), "the copy waits for the writer whose number is lower"
        finish.set()
        writing.join(10)
        copying.join(10)
        assert items(warehouse) == ["slow", "quick"]


def test_memory_does_not_grow_with_what_is_copied(
    ledger: Ledger, warehouse: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was copied used to stay in memory until the commit: a gigabyte for a million actions."""
    ledger.record(
        "outcomes", [{"item_id": f"{number:064x}", "attempt": 1, "outcome": "accepted", "recorded_at": NOW} for number in range(8_000)]
    )
    monkeypatch.setattr(warehouse_copy, "_BATCH", 500)
    held: list[int] = []
    batches = warehouse_copy._batches

    def watched(*arguments: Any) -> Iterator[pa.Table]:
        for batch in batches(*arguments):
            held.append(pa.total_allocated_bytes())
            yield batch

    monkeypatch.setattr(warehouse_copy, "_batches", watched)

    ledger.copy_to_warehouse(warehouse)

    assert len(held) == 16
    assert max(held) <= 2 * held[0]  # the batch being made, and the one before
