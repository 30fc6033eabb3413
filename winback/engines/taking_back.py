"""What dbt has derived elsewhere comes back into the workbench: the same steps for every engine, which only says how to read a relation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from winback.engines.base import DERIVED_SCHEMAS, MARTS, READ_BY_PYTHON
from winback.warehouse import in_transaction

if TYPE_CHECKING:
    import duckdb


def replace_derived(
    workbench: duckdb.DuckDBPyConnection,
    schema_prefix: str,
    marts: Iterable[str],
    reading: Callable[[str, str], AbstractContextManager[str | None]],
) -> dict[str, int]:
    """Replace `marts` and what else Python reads, in one transaction; rows by `schema.table`.

    `reading(schema, table)` gives a query of the workbench that reads the engine's relation while the block lasts; None: there is none.
    """
    wanted = [(f"{schema_prefix}{MARTS}", table) for table in marts]
    wanted += [(f"{schema_prefix}{schema}", table) for schema, table in READ_BY_PYTHON]
    taken: dict[str, int] = {}
    with in_transaction(workbench):
        for schema, table in wanted:
            with reading(schema, table) as query:
                if query is None:
                    continue
                workbench.execute(f"create schema if not exists {schema}")
                _drop(workbench, schema, table)
                workbench.execute(f"create table {schema}.{table} as {query}")
            [(taken[f"{schema}.{table}"],)] = workbench.execute(f"select count(*) from {schema}.{table}").fetchall()
    return taken


def schemas_aside(schema_prefix: str) -> list[str]:
    """The schemas that dbt makes with this prefix."""
    if not schema_prefix:
        raise ValueError("a prefix is needed: the derived marts themselves are not dropped")
    return [f"{schema_prefix}{schema}" for schema in DERIVED_SCHEMAS]


def _drop(workbench: duckdb.DuckDBPyConnection, schema: str, table: str) -> None:
    """Drop a table or view of the workbench, whichever it is."""
    kinds = workbench.execute(
        "select table_type from information_schema.tables where table_schema = ? and table_name = ? and table_catalog = current_database()",
        [schema, table],
    ).fetchall()
    for (kind,) in kinds:
        workbench.execute(f"drop {'view' if kind == 'VIEW' else 'table'} {schema}.{table}")
