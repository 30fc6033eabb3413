"""A folder of files, a warehouse in memory and a ledger that only remembers landed files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from winback.landing import LandingReport, land
from winback.settings import Settings

NOW = datetime(2025, 3, 1, 0, 0, 5)
CUSTOMERS = "customer_id,email\nC1,ana@example.com\nC2,bo@example.com\n"
ORDERS = "order_id,customer_id,ordered_at,total\nO1,C1,2025-01-05 10:00:00,20.00\nO2,C2,2025-01-06 11:30:00,35.50\n"


@dataclass
class RememberedFiles:
    """The part of the ledger that landing uses, kept in a list."""

    landed: list[dict[str, Any]] = field(default_factory=list)

    def rows(self, table: str, **equal: object) -> list[dict[str, Any]]:
        assert (table, equal) == ("landed_files", {})
        return list(self.landed)

    def record(self, table: str, rows: Iterable[Mapping[str, Any]]) -> int:
        assert table == "landed_files"
        known = {(row["file_id"], row["table_name"]) for row in self.landed}
        new = [dict(row) for row in rows if (row["file_id"], row["table_name"]) not in known]
        self.landed += new
        return len(new)


class Shop:
    """One installation: `put` files, `land` them, ask the warehouse."""

    def __init__(self, root: Path) -> None:
        self.data = root / "data"
        self.data.mkdir(parents=True, exist_ok=True)
        self.settings = Settings(home=root / "home", data=self.data)
        self.ledger = RememberedFiles()
        self.delete_warehouse()

    def delete_warehouse(self) -> None:
        self.connection = duckdb.connect(config={"threads": 1})
        self.connection.execute("set global TimeZone = 'UTC'")

    def put(self, name: str, content: str | bytes) -> Path:
        path = self.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def put_needed(self) -> None:
        self.put("customers.csv", CUSTOMERS)
        self.put("orders.csv", ORDERS)

    def land(self, mapping: str = "standard", now: datetime = NOW) -> LandingReport:
        return land(self.settings, self.connection, self.ledger, now=now, mapping=mapping)

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(query).fetchall()

    def quarantine(self) -> list[tuple[Any, ...]]:
        return self.ask("select file, row_number, column_name, reason from raw.quarantine order by all")

    def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """All raw rows without the place they came from."""
        from winback.landing import TABLES

        return {table: self.ask(f"select * exclude (_file_id, _row_number) from raw.{table} order by all") for table in TABLES}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    one = Shop(tmp_path)
    yield one
    one.connection.close()
