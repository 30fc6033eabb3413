"""A made-up shop of any size: raw tables, shipped programs and an empty ledger, as a day would find them before dbt.

python -m benchmarks.generate --customers 100000
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import duckdb

from winback.landing.contract import TABLES, create_raw
from winback.landing.mapping import load_mapping
from winback.ledger import Ledger, open_ledger
from winback.programs.sync import sync
from winback.settings import PROJECT_ROOT, Settings
from winback.warehouse import open_warehouse

VERSION = 2
"""Part of the folder's name: raise it when generate.sql changes, so that figures of different data are never compared."""

SEED = 7
FIRST_DAY = datetime(2023, 1, 1)
AS_OF = datetime(2026, 1, 5)
"""The day that is derived: a Monday, on which weekly programs take people in too.

The rows reach one day further, as a warehouse's do by the time a day is derived again, and so that one more day can be derived.
"""

_SQL = Path(__file__).with_name("generate.sql")


def home_of(customers: int, folder: Path = PROJECT_ROOT / "var" / "bench") -> Path:
    """The home folder of the data of this size."""
    return folder / f"{customers}-{VERSION}"


def generate(
    customers: int,
    home: Path,
    *,
    first_day: datetime = FIRST_DAY,
    as_of: datetime = AS_OF,
    seed: int = SEED,
    tell: Callable[[str], None] = lambda _: None,
) -> Settings:
    """Write the warehouse and the ledger of `customers` customers into `home`, replacing what is there; return its settings.

    Ten orders, twelve order lines, thirty message events and seven visits, logins or actions per customer, from `first_day` to a day
    after `as_of`. The same arguments give the same rows.
    """
    shutil.rmtree(home, ignore_errors=True)
    settings = Settings(home=home)
    with open_warehouse(settings) as warehouse:
        create_raw(warehouse)
        for name, value in {
            "customers": customers,
            "seed": seed,
            "first_day": first_day,
            "last_instant": as_of + timedelta(days=1),
        }.items():
            warehouse.execute(f"set variable {name} = $value", {"value": value})
        for statement in duckdb.extract_statements(_SQL.read_text(encoding="utf-8")):
            began = time.monotonic()
            warehouse.execute(statement)
            if statement.type == duckdb.StatementType.INSERT:
                table = statement.query.split("raw.")[1].split()[0]
                tell(f"generated {table} ({time.monotonic() - began:.1f} s)")
        with open_ledger(settings) as ledger:
            _as_landed(settings, warehouse, ledger, as_of - timedelta(days=1))
            # Known a day before, so that the programs are in force on the day derived.
            sync(settings, ledger, warehouse, as_of - timedelta(days=1), as_of - timedelta(days=1))
            ledger.copy_to_warehouse(warehouse)
        warehouse.execute("checkpoint")
    (home / "complete").touch()
    return settings


def _as_landed(settings: Settings, warehouse: duckdb.DuckDBPyConnection, ledger: Ledger, at: datetime) -> None:
    """Say of the generated rows what landing says of a first file for each table."""
    rows = []
    for position, table in enumerate(TABLES, start=1):
        [(count,)] = warehouse.execute(f"select count(*) from raw.{table}").fetchall()
        row = {"file_id": "generated", "file": f"{table}.parquet", "table_name": table, "rows_landed": count, "rows_quarantined": 0}
        warehouse.execute(
            "insert into raw.landed_files values (?, ?, ?, ?, ?, ?, ?, ?)",
            [*row.values(), at, position, load_mapping(settings).content_hash()],
        )
        warehouse.execute("insert into raw.changed_keys values ('generated', ?, ?, 'everybody', null)", [position, table])
        rows.append(row | {"position": position, "recorded_at": at})
    ledger.record("landed_files", rows)


def generate_once(customers: int, tell: Callable[[str], None] = lambda _: None) -> Settings:
    """The data of this size, made if it is not there yet."""
    home = home_of(customers)
    if (home / "complete").exists():
        return Settings(home=home)
    return generate_again(customers, tell)


def generate_again(customers: int, tell: Callable[[str], None] = lambda _: None) -> Settings:
    """The data of this size, made anew."""
    return generate(customers, home_of(customers), tell=tell)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--once", action="store_true", help="leave data of this size as it is")
    asked = parser.parse_args()
    began = time.monotonic()
    settings = (generate_once if asked.once else generate_again)(
        asked.customers, tell=lambda line: print(line, file=sys.stderr, flush=True)
    )
    print(json.dumps({"warehouse": str(settings.warehouse), "seconds": time.monotonic() - began}))


if __name__ == "__main__":
    main()
