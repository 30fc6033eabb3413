"""Marts derived aside, in schemas of their own beside the real ones, and dropped afterwards: for previews and for other days."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import duckdb

from winback.dbt_command import run_dbt
from winback.engines import open_engine
from winback.errors import BadInput
from winback.settings import Settings
from winback.warehouse import open_warehouse


def derived_as_of(connection: duckdb.DuckDBPyConnection) -> datetime:
    """The instant as of which the marts stand.

    Raises
    ------
    BadInput
        Nothing has been derived yet.
    """
    try:
        row = connection.execute("select max(as_of) from marts.customers").fetchone()
    except duckdb.CatalogException:
        row = None
    if not row or row[0] is None:
        raise BadInput("The warehouse holds no marts yet. Run a day first: make run, or winback run --data FOLDER.")
    as_of: datetime = row[0]
    return as_of


@contextmanager
def program_draft_derived(settings: Settings, program: str, as_of: datetime) -> Iterator[duckdb.DuckDBPyConnection]:
    """What follows from the file of `program` as it stands: schemas `preview_marts` and so on, for the block.

    Only models that read programs are derived again; the others are taken from the marts as they are, where the engine still has them.
    """
    arguments = ["--quiet", "build", "--exclude-resource-type", "unit_test", "test"]
    if open_engine(settings).keeps_derived:
        state = str(settings.manifest.parent)
        arguments = ["--quiet", "run", "--select", "source:programs+", "--defer", "--favor-state", "--state", state]
    with _derived(
        settings, "preview_", lambda: run_dbt(settings, as_of, arguments, schema_prefix="preview_", drafts=program)
    ) as connection:
        yield connection


@contextmanager
def day_derived(settings: Settings, as_of: datetime) -> Iterator[duckdb.DuckDBPyConnection]:
    """The marts of another day, from the raw tables and the ledger as they stand: schemas `past_marts` and so on, for the block."""
    arguments = ["--quiet", "build", "--exclude-resource-type", "unit_test", "test"]
    with _derived(settings, "past_", lambda: run_dbt(settings, as_of, arguments, schema_prefix="past_")) as connection:
        yield connection


@contextmanager
def _derived(settings: Settings, prefix: str, derive: Callable[[], None]) -> Iterator[duckdb.DuckDBPyConnection]:
    engine = open_engine(settings)
    engine.check()
    engine.drop(prefix)
    try:
        with open_warehouse(settings) as connection:
            engine.hand_over(connection)
        derive()
        with open_warehouse(settings) as connection:
            engine.take_back(connection, prefix)
            yield connection
    finally:
        engine.drop(prefix)
        with open_warehouse(settings) as connection:
            for (schema,) in connection.execute(
                "select schema_name from duckdb_schemas() where database_name = current_database() and starts_with(schema_name, ?)",
                [prefix],
            ).fetchall():
                connection.execute(f'drop schema "{schema}" cascade')
