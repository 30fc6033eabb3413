"""The one way to open the warehouse from Python, or one in memory that holds a part of it."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from winback.errors import BadConfig, Busy
from winback.settings import Settings


@contextmanager
def open_warehouse(settings: Settings, *, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the DuckDB warehouse, in UTC.

    Raises
    ------
    Busy
        Another process has the file open: DuckDB gives it to one process at a time.
    BadConfig
        DuckDB has not enough memory, or not enough disk to spill to, for what the caller does with the warehouse.
    """
    path = settings.warehouse
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        connection = duckdb.connect(
            str(path),
            read_only=read_only,
            config={"threads": settings.threads, "memory_limit": settings.memory_limit},
        )
    except duckdb.IOException as problem:
        if "lock" in str(problem).lower():
            raise Busy(
                f"{path} is open in another process (a Dagster run, most likely). Wait until it has ended and try again; "
                f"to read figures meanwhile, open {settings.published}."
            ) from None
        raise
    with _in_utc(connection, settings):
        yield connection


@contextmanager
def in_transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All that is written in the block, or where it fails nothing of it."""
    connection.execute("begin")
    try:
        yield
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise


@contextmanager
def open_in_memory(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an empty warehouse in memory, in UTC, within the same limits. The home needs no workbench.

    Raises
    ------
    BadConfig
        As `open_warehouse`.
    """
    settings.spill.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect(
        config={"threads": settings.threads, "memory_limit": settings.memory_limit, "temp_directory": str(settings.spill)}
    )
    with _in_utc(connection, settings):
        yield connection


@contextmanager
def _in_utc(connection: duckdb.DuckDBPyConnection, settings: Settings) -> Iterator[None]:
    """Hold the connection for the block, close it, and name the setting where memory or disk was not enough."""
    try:
        # Not in `config`: DuckDB 2.0 reads that before icu, which knows time zones, is loaded. `global` reaches cursors too.
        connection.execute("set global TimeZone = 'UTC'")
        yield
    except (duckdb.OutOfMemoryException, duckdb.IOException) as problem:
        if said := more_room(str(problem), settings):
            raise BadConfig(said) from problem
        raise
    finally:
        connection.close()


@contextmanager
def warehouse_kept_open(settings: Settings) -> Iterator[None]:
    """Keep DuckDB at the file over many openings: each alone reads the whole catalogue, and its end writes everything that is new in place.

    Raises
    ------
    Busy
        Another process has the file open.
    """
    with open_warehouse(settings):
        yield


_USED = re.compile(r"\(([^()]*/[^()]* used)\)")


def more_room(said: str, settings: Settings) -> str | None:
    """Which setting to change, where DuckDB or Spark ended something because memory or disk was not enough; None for any other error.

    `said` is its message, or another's that holds it. Its own advice is for people who type SQL.
    """
    if "java.lang.OutOfMemoryError" in said:
        return (
            f"Spark's Java process needs more memory than it has: in this process that is WINBACK_MEMORY_LIMIT (memory_limit; found: "
            f"{settings.memory_limit}); a Thrift server's is its own spark.driver.memory and spark.executor.memory. Raise it. Nothing is "
            "lost; the day can be run again."
        )
    if "max_temp_directory_size" in said or "No space left on device" in said:
        return (
            f"DuckDB spilled to {settings.warehouse.parent} what does not fit into memory, and the disk is full. Free some of it, move the "
            f"home to a larger one (WINBACK_HOME), or raise WINBACK_MEMORY_LIMIT (memory_limit; found: {settings.memory_limit}): less is "
            "spilled then. Nothing is lost; the day can be run again."
        )
    if "Out of Memory Error" not in said and "SET memory_limit" not in said:
        return None
    used = _USED.search(said)
    return (
        f"DuckDB needs more memory than WINBACK_MEMORY_LIMIT (memory_limit; found: {settings.memory_limit}) allows"
        f"{f', {used.group(1)}' if used else ''}. Raise it, to three quarters of the machine's memory at most, or lower WINBACK_THREADS "
        f"(found: {settings.threads}): every thread needs some of its own. Nothing is lost; the day can be run again."
    )


def ended_by_the_system(exit_code: int, settings: Settings) -> str | None:
    """Which setting to change, where the system killed a process, most likely because the machine had no memory left; else None."""
    if exit_code not in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return None
    return (
        "The day's process was killed, most likely by the system because memory ran out. DuckDB may use WINBACK_MEMORY_LIMIT "
        f"(memory_limit; found: {settings.memory_limit}), and Python needs up to 1 GB besides: lower it, to three quarters of what is free "
        "at most; DuckDB spills the rest to disk. Nothing is lost; the day can be run again."
    )


def source_notes(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Notices of the sources, such as "contact details are invented": shown wherever figures are shown."""
    present = connection.execute(
        "select 1 from information_schema.tables where table_schema = 'raw' and table_name = 'source_notes'"
    ).fetchall()
    if not present:
        return []
    return [note for (note,) in connection.execute("select distinct note from raw.source_notes order by note").fetchall()]
