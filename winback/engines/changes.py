"""What an engine lacks of the workbench's source tables, so that a day's hand-over carries the day and not all history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from winback.landing.contract import TABLES as RAW_TABLES

if TYPE_CHECKING:
    import duckdb

SOURCE_SCHEMAS = ("raw", "ledger", "programs")
"""Schemas that dbt reads, all of their tables."""


@dataclass(frozen=True, slots=True)
class Change:
    """Rows to hand over: all of them (`whole`, in place of what is there), those of `condition`, or none."""

    whole: bool = False
    condition: str = ""

    @property
    def nothing(self) -> bool:
        return not self.whole and not self.condition


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A table of the workbench: columns with DuckDB's types, and the key by which a later row replaces an earlier one (raw only)."""

    schema: str
    name: str
    columns: dict[str, str]
    key: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"

    def change(self, workbench: duckdb.DuckDBPyConnection, new_files: list[str] | None, progress: tuple[int, int]) -> Change:
        """What is missing of a table that the engine has. `new_files`: None where it has other files; `progress`: its rows and last seq."""
        if self.schema == "ledger":
            rows, seq = progress
            [(known,)] = workbench.execute(f"select count(*) from {self.full_name} where seq <= ?", [seq]).fetchall()
            return Change(condition=f"where seq > {seq}") if known == rows else Change(whole=True)
        file_column = next((name for name in ("_file_id", "file_id") if name in self.columns), None)
        if file_column is None or new_files is None:
            return Change(whole=True)
        if not new_files:
            return Change()
        listed = ", ".join(f"'{file_id}'" for file_id in new_files)
        return Change(condition=f"where {file_column} in ({listed})")


def source_tables(workbench: duckdb.DuckDBPyConnection) -> list[SourceTable]:
    """Every table of the source schemas."""
    columns: dict[tuple[str, str], dict[str, str]] = {}
    for schema, table, column, kind in workbench.execute(
        "select schema_name, table_name, column_name, data_type from duckdb_columns() "
        "where database_name = current_database() and list_contains(?, schema_name) order by schema_name, table_name, column_index",
        [list(SOURCE_SCHEMAS)],
    ).fetchall():
        columns.setdefault((schema, table), {})[column] = kind
    return [
        SourceTable(schema, name, found, RAW_TABLES[name].key if schema == "raw" and name in RAW_TABLES else ())
        for (schema, name), found in columns.items()
    ]


def files_since(workbench: duckdb.DuckDBPyConnection, there: list[tuple[str, str, str, str]]) -> list[str] | None:
    """Ids of files that the workbench landed after `there` (file id, file, table, mapping hash, in order); None: another history."""
    query = "select file_id, file, table_name, mapping_hash from raw.landed_files order by position"
    here = workbench.execute(query).fetchall()
    return list(dict.fromkeys(row[0] for row in here[len(there) :])) if here[: len(there)] == there else None


def drop_in_workbench(workbench: duckdb.DuckDBPyConnection, schema: str, table: str) -> None:
    """Drop a table or view of the workbench, whichever it is."""
    kinds = workbench.execute(
        "select table_type from information_schema.tables where table_schema = ? and table_name = ? and table_catalog = current_database()",
        [schema, table],
    ).fetchall()
    for (kind,) in kinds:
        workbench.execute(f"drop {'view' if kind == 'VIEW' else 'table'} {schema}.{table}")
