"""Where dbt computes: in the workbench (DuckDB, the default), or on an engine that the workbench hands its tables to.

Python has one SQL dialect. The workbench is the DuckDB file in the home: files are parsed, checked and landed there, the dispatcher looks
there before it sends, reports and published marts are read from there. An engine gets the tables that dbt reads before the build
(`hand_over`) and gives back what Python reads after it (`take_back`), both as Arrow batches or Parquet, never row by row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import duckdb

MARTS = "marts"
"""The schema that is taken back as a whole."""

DERIVED_SCHEMAS = ("seeds", "staging", "intermediate", MARTS)
"""Schemas that dbt makes."""

READ_BY_PYTHON = (
    ("intermediate", "int_customers__contacts"),
    ("intermediate", "int_engagement__delivery_events_judged"),
    ("intermediate", "int_journeys__gates_evaluated"),
    ("staging", "stg_programs__in_force"),
    ("staging", "stg_programs__steps"),
)
"""Relations outside the marts that Python reads; a test finds every one that the code names."""


class Engine(Protocol):
    """One engine. `keeps_derived`: what a build has made can be read by the next one."""

    name: str
    keeps_derived: bool

    def check(self) -> None:
        """Raises `BadConfig` where the engine cannot be reached or used, naming the setting."""
        ...

    def hand_over(self, workbench: duckdb.DuckDBPyConnection) -> Mapping[str, int]:
        """Bring the source schemas of the engine to what the workbench has; rows that went over by `schema.table`.

        All or nothing where the engine has transactions. A table of which nothing went over is absent.
        """
        ...

    def take_back(self, workbench: duckdb.DuckDBPyConnection, schema_prefix: str = "") -> Mapping[str, int]:
        """Replace what Python reads by what the engine has derived, in one transaction; rows by `schema.table`."""
        ...

    def drop(self, schema_prefix: str) -> None:
        """Drop the schemas that were derived aside."""
        ...


class InTheWorkbench:
    """DuckDB: dbt reads and writes the workbench itself, nothing has to travel."""

    name = "duckdb"
    keeps_derived = True

    def check(self) -> None:
        """Nothing to reach."""

    def hand_over(self, workbench: duckdb.DuckDBPyConnection) -> Mapping[str, int]:  # noqa: ARG002  (the interface's)
        return {}

    def take_back(self, workbench: duckdb.DuckDBPyConnection, schema_prefix: str = "") -> Mapping[str, int]:  # noqa: ARG002
        return {}

    def drop(self, schema_prefix: str) -> None:
        """The workbench drops its own."""
