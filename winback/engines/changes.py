"""What an engine lacks of the workbench's source tables, so that a day's hand-over carries the day and not all history.

An engine keeps `Marks` beside the tables: how far they reach, and a fingerprint of what lies before. Where the workbench does not hold the
same before that point (it was rebuilt from other files, a mapping was edited, the ledger was replaced), the table goes over as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from winback.landing.contract import TABLES as RAW_TABLES

if TYPE_CHECKING:
    import duckdb

SOURCE_SCHEMAS = ("raw", "ledger", "programs")
"""Schemas that dbt reads, all of their tables."""

_LANDED = "raw.landed_files"


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

    @property
    def file_column(self) -> str | None:
        """The column that names the file that a row came from."""
        return next((name for name in ("_file_id", "file_id") if self.schema == "raw" and name in self.columns), None)


@dataclass(frozen=True, slots=True)
class Mark:
    """All rows up to a number (`seq` of the ledger, `position` of the landed files), and their fingerprint."""

    upto: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Marks:
    """How far the source tables reach: `ends` by `schema.table` of the ledger and of the landed files, `columns` of every table."""

    ends: Mapping[str, Mark] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Marks:
        kept = json.loads(text)
        return cls({name: Mark(**mark) for name, mark in kept["ends"].items()}, kept["columns"])


@dataclass(frozen=True, slots=True)
class Change:
    """Rows to hand over: all of them (`whole`, in place of what is there), those of `condition`, or none."""

    whole: bool = False
    condition: str = ""

    @property
    def nothing(self) -> bool:
        return not self.whole and not self.condition


WHOLE, NOTHING = Change(whole=True), Change()


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


def compare(workbench: duckdb.DuckDBPyConnection, tables: list[SourceTable], before: Marks) -> tuple[dict[str, Change], Marks]:
    """What each table has that an engine with the marks `before` lacks, by `schema.table`; and the marks of the workbench as it stands."""
    ends: dict[str, Mark] = {}
    same: dict[str, Mark] = {}
    for table in tables:
        if _number(table.full_name) in table.columns:
            known = before.ends.get(table.full_name)
            ends[table.full_name], there = _marks(workbench, table.full_name, known.upto if known else 0)
            if known == there:
                same[table.full_name] = there
    landed: list[tuple[str, str]] | None = None
    # Rows of which no file is told (other tools may write them) cannot be found again by their files.
    if _LANDED in same and same[_LANDED].upto:
        later = f"select file_id, table_name from {_LANDED} where position > {same[_LANDED].upto} order by position"
        landed = workbench.execute(later).fetchall()
    found = {}
    for table in tables:
        change = WHOLE
        if before.columns.get(table.full_name) == table.columns:
            if table.schema == "ledger" and table.full_name in same:
                change = Change(condition=f"where seq > {same[table.full_name].upto}")
            elif table.file_column is not None and landed is not None:
                change = _of_files(table, landed)
        found[table.full_name] = change
    return found, Marks(ends, {table.full_name: table.columns for table in tables})


def _of_files(table: SourceTable, landed: list[tuple[str, str]]) -> Change:
    """Rows that came with files landed into tables. One content can come into several tables, and not at once."""
    if "table_name" in table.columns:
        listed = ", ".join(f"('{file_id}', '{name}')" for file_id, name in landed)
        condition = f"where ({table.file_column}, table_name) in ({listed})"
    else:
        listed = ", ".join(f"'{file_id}'" for file_id, name in landed if name == table.name)
        condition = f"where {table.file_column} in ({listed})"
    return Change(condition=condition) if listed else NOTHING


def _number(full_name: str) -> str:
    return "position" if full_name == _LANDED else "seq" if full_name.startswith("ledger.") else ""


def _marks(workbench: duckdb.DuckDBPyConnection, full_name: str, upto: int) -> tuple[Mark, Mark]:
    """The mark of all rows, and the one that an engine has which holds the rows up to a number; the table is read once."""
    number = _number(full_name)
    # A version of DuckDB that hashes otherwise costs one whole hand-over, and nothing else.
    query = f"""
        select
            coalesce(max({number}), 0), count(*), coalesce(sum(hashed), 0),
            coalesce(max({number}) filter (where {number} <= {upto}), 0),
            count(*) filter (where {number} <= {upto}),
            coalesce(sum(hashed) filter (where {number} <= {upto}), 0)
        from (select {number}, hash(entry) as hashed from {full_name} as entry)
    """
    [(last, rows, hashes, last_before, rows_before, hashes_before)] = workbench.execute(query).fetchall()
    return Mark(last, f"{rows}:{hashes}"), Mark(last_before, f"{rows_before}:{hashes_before}")
