"""PostgreSQL as the engine: tables travel as Arrow batches through COPY (ADBC), only what is new."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from winback.engines.base import MARTS
from winback.engines.changes import SOURCE_SCHEMAS, WHOLE, Change, Marks, SourceTable, compare, source_tables
from winback.engines.taking_back import replace_derived, schemas_aside
from winback.errors import BadConfig

if TYPE_CHECKING:
    import duckdb
    from adbc_driver_postgresql.dbapi import Connection

_BATCH = 100_000
_NOT_ALLOWED = "42501"
_ARRIVING = "winback_arriving"
# On the search path of dbt's profile: PostgreSQL does not know `double`, the name by which contracts of the models call it.
_OWN = "winback"
_KNOWN = f"{_OWN}.handed_over"
# Types of the workbench that PostgreSQL names otherwise, and the way back. Decimals come back as text and are cast.
_OUT = {"DOUBLE": "double precision", "HUGEINT": "numeric(38, 0)"}
_BACK = {
    "text": "varchar",
    "character varying": "varchar",
    "double precision": "double",
    "timestamp without time zone": "timestamp",
    "real": "float",
}


class Postgres:
    """A database of PostgreSQL 14 or newer. `url`: `postgresql://user:password@host:port/database`, a secret."""

    name = "postgres"
    keeps_derived = True

    def __init__(self, url: str) -> None:
        self._url = url

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        from adbc_driver_manager import Error
        from adbc_driver_postgresql import dbapi

        try:
            connection = dbapi.connect(self._url)
        except Error as problem:
            # libpq's words name host, user and database, never the password.
            raise BadConfig(
                f"WINBACK_ENGINE_URL: the PostgreSQL server cannot be reached: {_said(problem)}. "
                "Allowed: postgresql://user:password@host:port/database"
            ) from None
        try:
            with connection:
                yield connection
        except Error as problem:
            if problem.sqlstate != _NOT_ALLOWED:
                raise
            raise BadConfig(
                f"WINBACK_ENGINE_URL: PostgreSQL refuses: {_said(problem)}. The user needs schemas raw, ledger, programs, winback and "
                "those that dbt makes to be its own: grant create on database to it, or name an empty database"
            ) from None

    def check(self) -> None:
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.execute("select current_setting('server_version_num')::int, has_database_privilege(current_database(), 'create')")
            version, may_create = cursor.fetchall()[0]
        if version < 140000:
            raise BadConfig(f"WINBACK_ENGINE_URL: PostgreSQL {version // 10000} was found; 14 or newer is needed")
        if not may_create:
            raise BadConfig(
                "WINBACK_ENGINE_URL: the user may not create schemas in this database; grant create on database to it, or name another one"
            )

    def hand_over(self, workbench: duckdb.DuckDBPyConnection) -> Mapping[str, int]:
        handed: dict[str, int] = {}
        with self._connected() as connection, connection.cursor() as cursor:
            for schema in (*SOURCE_SCHEMAS, _OWN):
                cursor.execute(f"create schema if not exists {schema}")
            _name_types(cursor)
            known, tables = _known(cursor), source_tables(workbench)
            there = {f"{schema}.{name}": columns for schema in SOURCE_SCHEMAS for name, columns in _tables(cursor, schema).items()}
            (changed, reached), collation = compare(workbench, tables, known), _collation(cursor)
            for table in tables:
                change = changed[table.full_name]
                if there.get(table.full_name) != list(table.columns) or known.columns.get(table.full_name) != table.columns:
                    _create(cursor, table, collation)
                    change = WHOLE
                rows = _bring(workbench, cursor, table, change)
                if rows:
                    handed[table.full_name] = rows
            cursor.execute(f"delete from {_KNOWN}")
            cursor.execute(f"insert into {_KNOWN} values ($1)", (reached.to_json(),))
            connection.commit()
        return handed

    def take_back(self, workbench: duckdb.DuckDBPyConnection, schema_prefix: str = "") -> Mapping[str, int]:
        with self._connected() as connection, connection.cursor() as cursor:

            @contextmanager
            def reading(schema: str, table: str) -> Iterator[str | None]:
                columns = _columns(cursor, schema, table)
                if not columns:
                    yield None
                    return
                cursor.execute(f"select * from {schema}.{table}")
                workbench.register(_ARRIVING, cursor.fetch_record_batch())
                try:
                    casts = ", ".join(f'"{name}"::{_BACK.get(kind, kind)} as "{name}"' for name, kind in columns)
                    yield f"select {casts} from {_ARRIVING}"
                finally:
                    workbench.unregister(_ARRIVING)

            return replace_derived(workbench, schema_prefix, _tables(cursor, f"{schema_prefix}{MARTS}"), reading)

    def drop(self, schema_prefix: str) -> None:
        with self._connected() as connection, connection.cursor() as cursor:
            for schema in schemas_aside(schema_prefix):
                cursor.execute(f"drop schema if exists {schema} cascade")
            connection.commit()


def _said(problem: Exception) -> str:
    """The server's own words, of a message in which the query and codes stand too."""
    lines = [line.strip(" .") for line in str(problem).splitlines() if line.strip(" .") and "SQLSTATE" not in line[:12]]
    words = next((line for line in lines if "ERROR:" in line or "FATAL:" in line), lines[-1] if lines else "no reason was given")
    return words.rpartition("ERROR:")[2].strip()


def _tables(cursor: Any, schema: str) -> dict[str, list[str]]:
    """Tables and views of a schema of the engine with their columns."""
    cursor.execute(
        "select table_name, column_name from information_schema.columns where table_schema = $1 order by table_name, ordinal_position",
        (schema,),
    )
    found: dict[str, list[str]] = {}
    for table, column in cursor.fetchall():
        found.setdefault(table, []).append(column)
    return found


def _columns(cursor: Any, schema: str, table: str) -> list[tuple[str, str]]:
    cursor.execute(
        "select column_name, case when data_type = 'numeric' and numeric_precision is not null "
        "then 'decimal(' || numeric_precision || ', ' || numeric_scale || ')' when data_type = 'numeric' then 'decimal(38, 9)' "
        "else data_type end from information_schema.columns where table_schema = $1 and table_name = $2 order by ordinal_position",
        (schema, table),
    )
    return [(name, kind) for name, kind in cursor.fetchall()]


def _known(cursor: Any) -> Marks:
    """How far the engine's tables reach."""
    cursor.execute(f"create table if not exists {_KNOWN} (marks text)")
    cursor.execute(f"select marks from {_KNOWN}")
    kept = cursor.fetchall()
    return Marks.from_json(kept[0][0]) if kept else Marks()


def _name_types(cursor: Any) -> None:
    cursor.execute(
        "select 1 from pg_type join pg_namespace on typnamespace = pg_namespace.oid where typname = 'double' and nspname = $1", (_OWN,)
    )
    if not cursor.fetchall():
        cursor.execute(f"create domain {_OWN}.double as double precision")


def _collation(cursor: Any) -> str:
    """Text is ordered by its characters' numbers, as DuckDB does, and letters of all languages have a lower case."""
    cursor.execute(
        "select collname from pg_collation where collname in ('pg_c_utf8', 'C.utf8', 'C.UTF-8') "
        "and collencoding in (-1, (select encoding from pg_database where datname = current_database())) order by collname desc limit 1"
    )
    found = cursor.fetchall()
    return str(found[0][0]) if found else "C"


def _create(cursor: Any, table: SourceTable, collation: str) -> None:
    types = _OUT | {"VARCHAR": f'text collate "{collation}"'}
    columns = ", ".join(f'"{name}" {types.get(kind, kind.lower())}' for name, kind in table.columns.items())
    # The models' views hang on it; the build that follows makes them again.
    cursor.execute(f"drop table if exists {table.full_name} cascade")
    cursor.execute(f"create table {table.full_name} ({columns})")


def _bring(workbench: duckdb.DuckDBPyConnection, cursor: Any, table: SourceTable, change: Change) -> int:
    """Copy the changed rows over; returns how many."""
    if change.nothing:
        return 0
    if change.whole:
        cursor.execute(f"truncate {table.full_name}")
    # PostgreSQL's text cannot hold a zero byte.
    columns = ", ".join(
        f'replace("{name}", chr(0), \'\') as "{name}"' if kind == "VARCHAR" else f'"{name}"' for name, kind in table.columns.items()
    )
    reader = workbench.sql(f"select {columns} from {table.full_name} {change.condition}").to_arrow_reader(_BATCH)
    if change.whole or not table.key:
        index = f"{table.name}_by_key"
        cursor.execute(f"drop index if exists {table.schema}.{index}")
        rows = int(cursor.adbc_ingest(table.name, reader, mode="append", db_schema_name=table.schema))
        if table.key:
            cursor.execute(f"create index {index} on {table.full_name} ({', '.join(table.key)})")
    else:
        cursor.execute(f"create temporary table {_ARRIVING} (like {table.full_name}) on commit drop")
        rows = int(cursor.adbc_ingest(_ARRIVING, reader, mode="append", temporary=True))
        same = " and ".join(f"present.{key} = arriving.{key}" for key in table.key)
        cursor.execute(f"delete from {table.full_name} as present using {_ARRIVING} as arriving where {same}")
        cursor.execute(f"insert into {table.full_name} select * from {_ARRIVING}")
        cursor.execute(f"drop table {_ARRIVING}")
    cursor.execute(f"analyze {table.full_name}")
    return rows
