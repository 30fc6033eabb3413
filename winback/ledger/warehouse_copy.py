"""The ledger as a source of the warehouse: schema `ledger`, same tables and columns, brought up to date by `seq`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa
from sqlalchemy import Column, Connection, Engine, Table
from sqlalchemy.types import Date, DateTime, Integer, Text

from winback.errors import StopRun
from winback.ledger.tables import metadata, natural_keys
from winback.warehouse import in_transaction

_BATCH = 50_000
_TYPES: dict[type, tuple[str, pa.DataType]] = {
    Text: ("varchar", pa.string()),
    Integer: ("integer", pa.int32()),
    DateTime: ("timestamp", pa.timestamp("us")),
    Date: ("date", pa.date32()),
}


def copy(engine: Engine, warehouse: duckdb.DuckDBPyConnection, only: Mapping[str, str] | None = None) -> dict[str, int]:
    """Add the rows that schema `ledger` of the warehouse does not have yet; make its tables where they are missing.

    Returns the number of new rows per table. All or nothing: a failure leaves the warehouse as it was.

    Parameters
    ----------
    only
        {table: condition in the ledger's SQL}: bring these tables alone, and of them the rows that the condition holds for. The warehouse
        has the last row of each as it was when the others were left out.

    Raises
    ------
    StopRun
        The warehouse knows ledger rows that the ledger does not have: the ledger was replaced, or restored from an older copy.
    """
    tables = [table for table in metadata.sorted_tables if only is None or table.name in only]
    with in_transaction(warehouse):
        warehouse.execute("create schema if not exists ledger")
        query = "select table_name, list(column_name) from information_schema.columns where table_schema = 'ledger' group by table_name"
        existing = dict(warehouse.execute(query).fetchall())
        for table in tables:
            if table.name not in existing:
                warehouse.execute(f"create table ledger.{table.name} ({', '.join(map(_definition, table.columns))})")
                continue
            for column in table.columns:
                if column.name not in existing[table.name]:
                    # Added since; the rows of before have nothing in it, here as in the ledger.
                    warehouse.execute(f"alter table ledger.{table.name} add column {_definition(column)}")
        starts = _starts(warehouse, tables)
        last = _last_keys(warehouse, tables, starts)
        ends = _ends(engine, tables)
        added = {}
        with engine.connect() as connection, connection.begin():
            for table in tables:
                if table.name in last:
                    _compare(connection, table, starts[table.name], last[table.name])
                which = only[table.name] if only else "true"
                added[table.name] = _add(warehouse, connection, table, starts[table.name], ends[table.name], which)
    return added


def _definition(column: Column[Any]) -> str:
    kind = "bigint" if column.name == "seq" else next(name for base, (name, _) in _TYPES.items() if isinstance(column.type, base))
    return f"{column.name} {kind}"


def _ends(engine: Engine, tables: list[Table]) -> dict[str, int]:
    """The highest `seq` of each table below which nothing can appear any more.

    PostgreSQL hands out `seq` before the row is visible, so a slower transaction may commit a lower one later. A SHARE lock waits until
    the writers of a table have finished: what is visible then is complete. One table at a time, so that no deadlock can arise.
    SQLite has one writer at a time: there `seq` is the order of commits.
    """
    ends: dict[str, int] = {}
    with engine.connect() as connection:
        for table in tables:
            with connection.begin():
                if engine.dialect.name == "postgresql":
                    connection.exec_driver_sql(f"lock table {table.name} in share mode")
                ends[table.name] = connection.exec_driver_sql(f"select coalesce(max(seq), 0) from {table.name}").scalar_one()
    return ends


def _starts(warehouse: duckdb.DuckDBPyConnection, tables: list[Table]) -> dict[str, int]:
    """The last `seq` of each table that the warehouse has."""
    query = " union all ".join(f"select '{table.name}', coalesce(max(seq), 0) from ledger.{table.name}" for table in tables)
    return {row[0]: row[1] for row in warehouse.execute(query).fetchall()}


def _last_keys(warehouse: duckdb.DuckDBPyConnection, tables: list[Table], starts: Mapping[str, int]) -> dict[str, list[str | None]]:
    """The key, as texts, of the last row of each table that has one. One statement: a dispatch asks before and after each of its looks."""
    query = " union all ".join(
        f"select '{table.name}', [{', '.join(f'{name}::varchar' for name in _key(table))}] from ledger.{table.name} "
        f"where seq = {starts[table.name]}"
        for table in tables
        if starts[table.name]
    )
    return dict(warehouse.execute(query).fetchall()) if query else {}


def _key(table: Table) -> list[str]:
    return [*natural_keys(table)[0], "recorded_at"]


def _compare(ledger: Connection, table: Table, seq: int, last: Sequence[str | None]) -> None:
    """Make sure that both mean the same row by the last `seq` that the warehouse has."""
    found = ledger.exec_driver_sql(f"select {', '.join(_key(table))} from {table.name} where seq = {seq}").fetchone()
    if found is None or [_comparable(value) for value in found] != [_comparable(value) for value in last]:
        there = "another one there" if found else "not"
        raise StopRun(
            f"The warehouse has row {seq} of the ledger's table {table.name}, the ledger has {there}: "
            "the ledger was replaced or restored from an older copy, and may have forgotten what was sent. Nothing was sent today. "
            "Put the newer ledger back; if the one in place is right, delete the warehouse file (it is rebuilt from the sources) "
            "and run again."
        )


def _comparable(value: object) -> str:
    text = str(value)
    # SQLite and DuckDB print fractions of a second differently.
    return text.rstrip("0").rstrip(".") if "." in text else text


def _add(warehouse: duckdb.DuckDBPyConnection, ledger: Connection, table: Table, start: int, end: int, which: str) -> int:
    names = ", ".join(column.name for column in table.columns)
    added = 0
    # DuckDB finds the batch as a variable of this function. What is registered instead stays in memory until the transaction ends.
    for ledger_batch in _batches(ledger, table, names, start, end, which):
        warehouse.execute(f"insert into ledger.{table.name} ({names}) select {names} from ledger_batch")
        added += ledger_batch.num_rows
    return added


def _batches(ledger: Connection, table: Table, names: str, start: int, end: int, which: str) -> Iterator[pa.Table]:
    """Rows with start < seq <= end for which `which` holds, in order, in batches: memory stays flat.

    SQLite's timestamps travel as text; DuckDB reads them.
    """
    as_text = ledger.dialect.name == "sqlite"
    fields = []
    for column in table.columns:
        kind = pa.int64() if column.name == "seq" else next(arrow for base, (_, arrow) in _TYPES.items() if isinstance(column.type, base))
        fields.append(pa.field(column.name, pa.string() if as_text and pa.types.is_temporal(kind) else kind))
    schema = pa.schema(fields)
    while start < end:
        # Plain tuples of the driver: SQLAlchemy's rows cost more than reading them.
        cursor = ledger.connection.cursor()
        try:
            cursor.execute(
                f"select {names} from {table.name} where seq > {start} and seq <= {end} and ({which}) order by seq limit {_BATCH}"
            )
            rows: Sequence[Any] = cursor.fetchall()
        finally:
            cursor.close()
        if not rows:
            return
        columns = list(zip(*rows, strict=True))
        yield pa.table([pa.array(values, type=field.type) for values, field in zip(columns, schema, strict=True)], schema=schema)
        start = rows[-1][0]
