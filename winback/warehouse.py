"""The one way to open the warehouse from Python."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from winback.errors import Busy
from winback.settings import Settings


@contextmanager
def open_warehouse(settings: Settings, *, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the DuckDB warehouse, in UTC.

    Raises
    ------
    Busy
        Another process has the file open: DuckDB gives it to one process at a time.
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
    try:
        # Not in `config`: DuckDB 2.0 reads that before icu, which knows time zones, is loaded. `global` reaches cursors too.
        connection.execute("set global TimeZone = 'UTC'")
        yield connection
    finally:
        connection.close()


def source_notes(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Notices of the sources, such as "contact details are invented": shown wherever figures are shown."""
    present = connection.execute(
        "select 1 from information_schema.tables where table_schema = 'raw' and table_name = 'source_notes'"
    ).fetchall()
    if not present:
        return []
    return [note for (note,) in connection.execute("select distinct note from raw.source_notes order by note").fetchall()]
