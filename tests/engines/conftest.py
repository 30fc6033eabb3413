"""Both engines' ways of handing over: PostgreSQL in a throw-away cluster, Spark's Parquet files without Spark itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from tests.landing.conftest import Shop
from tests.postgres import postgres_server, postgres_url
from winback.engines import Engine
from winback.engines.postgres import Postgres
from winback.engines.spark import Spark

__all__ = ["postgres_server", "postgres_url"]

Rows = list[tuple[Any, ...]]


@dataclass
class Reached:
    """An engine, and what it has: `read` gives the rows of `schema.table`, `write` makes a derived table of a select without a from."""

    engine: Engine
    read: Callable[[str], Rows]
    write: Callable[[str, str], None]


def postgres_reached(url: str) -> Reached:
    def read(table: str) -> Rows:
        with psycopg.connect(url) as connection:
            return connection.execute(f"select * from {table}").fetchall()

    def write(table: str, select: str) -> None:
        with psycopg.connect(url) as connection:
            connection.execute(f"create schema if not exists {table.split('.')[0]}")
            connection.execute(f"drop table if exists {table}")
            connection.execute(f"create table {table} as {select}")

    return Reached(Postgres(url), read, write)


def spark_reached(storage: Path) -> Reached:
    def read(table: str) -> Rows:
        folder = storage.joinpath("handed_over", *table.split("."))
        with duckdb.connect() as connection:
            return connection.execute(f"from read_parquet('{folder}/*.parquet')").fetchall()

    def write(table: str, select: str) -> None:
        folder = storage.joinpath("derived", *table.split("."))
        folder.mkdir(parents=True, exist_ok=True)
        with duckdb.connect() as connection:
            connection.execute(f"copy ({select}) to '{folder}/part-0.parquet' (format parquet)")

    return Reached(Spark(storage, None), read, write)


@pytest.fixture(params=["postgres", "spark"])
def reached(request: pytest.FixtureRequest, tmp_path: Path) -> Reached:
    if request.param == "spark":
        return spark_reached(tmp_path / "storage")
    return postgres_reached(request.getfixturevalue("postgres_url"))


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A shop whose workbench has a schema for every source."""
    one = Shop(tmp_path)
    start(one)
    yield one
    one.connection.close()


def start(shop: Shop) -> None:
    """The schemas that other parts of Winback write, with one table each."""
    shop.connection.execute(
        "create schema ledger; create table ledger.messages (seq bigint, message_id varchar, as_of timestamp); "
        "create schema programs; create table programs.versions (program varchar, holdout_percent double)"
    )
