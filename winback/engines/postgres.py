"""PostgreSQL as the engine: tables travel as Arrow batches through COPY (ADBC), only what is new."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from winback.engines.base import MARTS, READ_BY_PYTHON, HandedOver
from winback.engines.changes import SOURCE_SCHEMAS, Change, SourceTable, drop_in_workbench, files_since, source_tables
from winback.errors import BadConfig

if TYPE_CHECKING:
    import duckdb
    from adbc_driver_postgresql.dbapi import Connection

_BATCH = 100_000
_ARRIVING = "winback_arriving"
# On the search path of dbt's profile: PostgreSQL does not know `double`, the name by which contracts of the models call it.
_OWN = "winback"
# Types of the workbench that PostgreSQL names otherwise, and the way back. Decimals come back as text and are cast.
_OUT = {"VARCHAR": "text", "DOUBLE": "double precision", "HUGEINT": "numeric(38, 0)"}
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
                f"WINBACK_ENGINE_URL: the PostgreSQL server cannot be reached: {str(problem).strip().splitlines()[-1]}. "
                "Allowed: postgresql://user:password@host:port/database"
            ) from None
        with connection:
            yield connection

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

    def hand_over(self, workbench: duckdb.DuckDBPyConnection) -> HandedOver:
        handed: dict[str, int] = {}
        with self._connected() as connection, connection.cursor() as cursor:
            for schema in (*SOURCE_SCHEMAS, _OWN):
                cursor.execute(f"create schema if not exists {schema}")
            _name_types(cursor)
            here, there = source_tables(workbench), {schema: _tables(cursor, schema) for schema in SOURCE_SCHEMAS}
            new_files = _files_not_there(workbench, cursor) if "landed_files" in there["raw"] else None
            for table in here:
                if there[table.schema].get(table.name) != list(table.columns):
                    _create(cursor, table)
                    change = Change(whole=True)
                else:
                    change = table.change(workbench, new_files, _progress(cursor, table))
                rows = _bring(workbench, cursor, table, change)
                if rows:
                    handed[table.full_name] = rows
            connection.commit()
        return HandedOver(handed)

    def take_back(self, workbench: duckdb.DuckDBPyConnection, schema_prefix: str = "") -> Mapping[str, int]:
        taken: dict[str, int] = {}
        with self._connected() as connection, connection.cursor() as cursor:
            wanted = [(f"{schema_prefix}{MARTS}", table) for table in _tables(cursor, f"{schema_prefix}{MARTS}")]
            wanted += [(f"{schema_prefix}{schema}", table) for schema, table in READ_BY_PYTHON]
            workbench.execute("begin")
            try:
                for schema, table in wanted:
                    columns = _columns(cursor, schema, table)
                    if not columns:
                        continue
                    workbench.execute(f"create schema if not exists {schema}")
                    drop_in_workbench(workbench, schema, table)
                    cursor.execute(f"select * from {schema}.{table}")
                    workbench.register(_ARRIVING, cursor.fetch_record_batch())
                    try:
                        casts = ", ".join(f'"{name}"::{_BACK.get(kind, kind)} as "{name}"' for name, kind in columns)
                        workbench.execute(f"create table {schema}.{table} as select {casts} from {_ARRIVING}")
                    finally:
                        workbench.unregister(_ARRIVING)
                    taken[f"{schema}.{table}"] = workbench.execute(f"select count(*) from {schema}.{table}").fetchall()[0][0]
                workbench.execute("commit")
            except BaseException:
                workbench.execute("rollback")
                raise
        return taken

    def drop(self, schema_prefix: str) -> None:
        if not schema_prefix:
            raise ValueError("a prefix is needed: the derived marts themselves are not dropped")
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.execute("select nspname from pg_namespace where starts_with(nspname, $1)", (schema_prefix,))
            for (schema,) in cursor.fetchall():
                cursor.execute(f'drop schema "{schema}" cascade')
            connection.commit()


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


def _files_not_there(workbench: duckdb.DuckDBPyConnection, cursor: Any) -> list[str] | None:
    """Files landed since the last hand-over; None where the engine's raw tables are not an earlier state of the workbench's."""
    cursor.execute("select file_id, file, table_name, mapping_hash from raw.landed_files order by position")
    return files_since(workbench, [tuple(row) for row in cursor.fetchall()])


def _progress(cursor: Any, table: SourceTable) -> tuple[int, int]:
    """Rows and highest `seq` of a ledger table of the engine."""
    if table.schema != "ledger":
        return 0, 0
    cursor.execute(f"select count(*), coalesce(max(seq), 0) from {table.full_name}")
    rows, seq = cursor.fetchall()[0]
    return int(rows), int(seq)


def _name_types(cursor: Any) -> None:
    cursor.execute(
        "select 1 from pg_type join pg_namespace on typnamespace = pg_namespace.oid where typname = 'double' and nspname = $1", (_OWN,)
    )
    if not cursor.fetchall():
        cursor.execute(f"create domain {_OWN}.double as double precision")


def _create(cursor: Any, table: SourceTable) -> None:
    columns = ", ".join(f'"{name}" {_OUT.get(kind, kind.lower())}' for name, kind in table.columns.items())
    # The models' views hang on it; the build that follows makes them again.
    cursor.execute(f"drop table if exists {table.full_name} cascade")
    cursor.execute(f"create table {table.full_name} ({columns})")


def _bring(workbench: duckdb.DuckDBPyConnection, cursor: Any, table: SourceTable, change: Change) -> int:
    """Copy the changed rows over; returns how many."""
    if change.nothing:
        return 0
    if change.whole:
        cursor.execute(f"truncate {table.full_name}")
    reader = workbench.sql(f"select * from {table.full_name} {change.condition}").to_arrow_reader(_BATCH)
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
