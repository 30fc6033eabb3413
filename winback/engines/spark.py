"""Spark as the engine: tables travel as Parquet files in a folder that this machine and Spark's workers see under the same path.

The folder holds `handed_over/<schema>/<table>/*.parquet`, which dbt's first hook makes known to Spark, and `derived/<schema>/<table>/`,
where dbt's tables are written. Nothing depends on a metastore that outlives a build.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult

from winback.engines.base import DERIVED_SCHEMAS, MARTS
from winback.engines.changes import Marks, SourceTable, compare, source_tables
from winback.engines.taking_back import replace_derived, schemas_aside
from winback.errors import BadConfig

if TYPE_CHECKING:
    import duckdb

_SECONDS_TO_ANSWER = 10


@dataclass(frozen=True, slots=True)
class Part:
    """One Parquet file of a handed over table: of raw tables, its rows by the file they were landed from."""

    name: str
    files: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Contents:
    """What the folder holds. Written last, in one step: a file that it does not name is a leftover of a hand-over that did not end."""

    number: int = 0
    marks: Marks = field(default_factory=Marks)
    parts: Mapping[str, list[Part]] = field(default_factory=dict)


class Spark:
    """Spark 4 in this process (`address` none) or behind a Thrift server.

    `storage` is the folder for both sides.
    """

    name = "spark"
    keeps_derived = False

    def __init__(self, storage: Path, address: SplitResult | None) -> None:
        self._storage = storage
        self._address = address

    def check(self) -> None:
        if find_spec("dbt.adapters.spark") is None or find_spec("pyspark") is None:
            raise BadConfig("WINBACK_TARGET=spark: dbt-spark and pyspark are not installed; uv sync --frozen --extra spark --inexact")
        if self._address is None:
            java = Path(os.environ["JAVA_HOME"], "bin", "java") if os.environ.get("JAVA_HOME") else shutil.which("java")
            if java is None or not Path(java).exists():
                raise BadConfig("WINBACK_TARGET=spark: no Java was found; install Java 17 or 21, or set JAVA_HOME to it")
        else:
            self._check_server(self._address)
        try:
            self._storage.mkdir(parents=True, exist_ok=True)
            (self._storage / ".writable").touch()
        except OSError as problem:
            raise BadConfig(
                f"WINBACK_ENGINE_STORAGE: {self._storage} cannot be written ({problem.strerror}); name a folder that this machine and "
                "Spark's workers see under the same path"
            ) from None

    def _check_server(self, address: SplitResult) -> None:
        if find_spec("pyhive") is None:
            raise BadConfig(
                "WINBACK_ENGINE_URL: a Thrift server needs PyHive, which is not installed; uv sync --frozen --extra spark --inexact"
            )
        try:
            socket.create_connection((address.hostname or "", address.port or 10000), _SECONDS_TO_ANSWER).close()
        except OSError as problem:
            raise BadConfig(
                f"WINBACK_ENGINE_URL: no Thrift server answers at {address.hostname}:{address.port or 10000} "
                f"({problem.strerror or problem}); start one (docs/engines.md), or name where it is: thrift://host:port"
            ) from None

    def hand_over(self, workbench: duckdb.DuckDBPyConnection) -> Mapping[str, int]:
        for schema in DERIVED_SCHEMAS:
            # A model that is no more would be taken back for ever.
            shutil.rmtree(self._storage / "derived" / schema, ignore_errors=True)
        before = self._contents()
        self._remove_leftovers(before)
        handed: dict[str, int] = {}
        parts: dict[str, list[Part]] = {}
        tables = source_tables(workbench)
        changed, reached = compare(workbench, tables, before.marks)
        number = before.number + 1
        for table in tables:
            folder = self._folder(table.full_name)
            folder.mkdir(parents=True, exist_ok=True)
            change = changed[table.full_name]
            kept = [] if change.whole else list(before.parts.get(table.full_name, []))
            conditions = [change.condition]
            files: list[dict[str, int]] = [{}]
            if table.file_column is not None:
                kept, files = _by_file(workbench, table, kept)
                conditions = [_of_files(table.file_column, part) for part in files]
            for position, (condition, held) in enumerate(zip(conditions, files, strict=True)):
                part = Part(f"{number:08d}-{position}.parquet", held)
                rows = _write(workbench, table, condition, folder / part.name)
                # Spark reads a table's columns from its files: an empty table is one file without rows.
                if rows or not (kept or position):
                    kept.append(part)
                    handed[table.full_name] = handed.get(table.full_name, 0) + rows
            parts[table.full_name] = kept
        after = _Contents(number, reached, parts)
        self._remember(after)
        self._remove_leftovers(after)
        return {table: rows for table, rows in handed.items() if rows}

    def take_back(self, workbench: duckdb.DuckDBPyConnection, schema_prefix: str = "") -> Mapping[str, int]:
        _end_session()
        derived = self._storage / "derived"
        marts = [folder.name for folder in sorted((derived / f"{schema_prefix}{MARTS}").glob("*"))]
        return replace_derived(
            workbench, schema_prefix, marts, lambda schema, table: nullcontext(_reading_of(workbench, derived / schema / table))
        )

    def drop(self, schema_prefix: str) -> None:
        for schema in schemas_aside(schema_prefix):
            shutil.rmtree(self._storage / "derived" / schema, ignore_errors=True)

    def _folder(self, full_name: str) -> Path:
        return self._storage.joinpath("handed_over", *full_name.split("."))

    def _contents(self) -> _Contents:
        path = self._storage / "handed_over.json"
        if not path.exists():
            return _Contents()
        kept = json.loads(path.read_text(encoding="utf-8"))
        parts = {table: [Part(**part) for part in parts] for table, parts in kept["parts"].items()}
        return _Contents(kept["number"], Marks.from_json(kept["marks"]), parts)

    def _remember(self, contents: _Contents) -> None:
        parts = {table: [{"name": part.name, "files": part.files} for part in parts] for table, parts in contents.parts.items()}
        text = json.dumps({"number": contents.number, "marks": contents.marks.to_json(), "parts": parts})
        aside = self._storage / "handed_over.json.new"
        aside.write_text(text, encoding="utf-8")
        aside.replace(self._storage / "handed_over.json")

    def _remove_leftovers(self, contents: _Contents) -> None:
        for path in (self._storage / "handed_over").glob("*/*/*"):
            if path.name not in {part.name for part in contents.parts.get(f"{path.parent.parent.name}.{path.parent.name}", [])}:
                path.unlink()


def _by_file(workbench: duckdb.DuckDBPyConnection, table: SourceTable, parts: list[Part]) -> tuple[list[Part], list[dict[str, int]]]:
    """Parts that are still right, and the contents of those to write: rows by landed file.

    A row that a later file replaces leaves its first file, so that this one's number of rows falls.
    """
    counted = workbench.execute(f"select {table.file_column}, count(*) from {table.full_name} group by all").fetchall()
    rows: dict[str, int] = dict(counted)
    kept = [part for part in parts if all(rows.get(file) == held for file, held in part.files.items())]
    stale = [{file: rows[file] for file in part.files if file in rows} for part in parts if part not in kept]
    known = {file for part in parts for file in part.files}
    new = {file: count for file, count in rows.items() if file not in known}
    return kept, [part for part in [*stale, new] if part] or ([] if kept else [{}])


def _reading_of(workbench: duckdb.DuckDBPyConnection, folder: Path) -> str | None:
    """A query of the table that Spark wrote into a folder; None where it wrote none."""
    if not any(folder.glob("*.parquet")):
        return None
    files = str(folder / "*.parquet").replace("'", "''")
    columns = workbench.sql(f"from read_parquet('{files}')")
    # Spark's timestamps are instants; the workbench's are UTC without saying so.
    casts = ", ".join(
        f'"{name}"::timestamp as "{name}"' if str(kind) == "TIMESTAMP WITH TIME ZONE" else f'"{name}"'
        for name, kind in zip(columns.columns, columns.types, strict=True)
    )
    return f"select {casts} from read_parquet('{files}')"


def _of_files(column: str, files: dict[str, int]) -> str:
    listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
    return f"where {column} in ({listed})" if files else "where false"


def _write(workbench: duckdb.DuckDBPyConnection, table: SourceTable, condition: str, path: Path) -> int:
    # DuckDB writes a huge integer as a floating point number.
    columns = ", ".join(f'"{name}"::decimal(38, 0)' if kind == "HUGEINT" else f'"{name}"' for name, kind in table.columns.items())
    target = str(path).replace("'", "''")
    [(rows,)] = workbench.execute(f"copy (select {columns} from {table.full_name} {condition}) to '{target}' (format parquet)").fetchall()
    return int(rows)


def _end_session() -> None:
    """End the Java process in which this process's dbt has computed: its memory is needed for what comes next."""
    if "pyspark" not in sys.modules:
        return
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    # pyspark has no public way to end the process that it started.
    gateway: Any = SparkContext._gateway  # noqa: SLF001
    if gateway is None:
        return
    SparkSession.builder.getOrCreate().stop()
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait()
    SparkContext._gateway = SparkContext._jvm = None  # noqa: SLF001
