"""Engines on which dbt computes besides DuckDB: PostgreSQL and Spark. What Winback itself reads is always in the workbench."""

from __future__ import annotations

from winback.engines.base import Engine, InTheWorkbench
from winback.settings import Settings

__all__ = ["Engine", "open_engine"]


def open_engine(settings: Settings) -> Engine:
    """The engine of the setting `target`.

    Raises
    ------
    BadConfig
        The target needs a setting that is missing.
    """
    if settings.target == "postgres":
        from winback.engines.postgres import Postgres

        return Postgres(settings.engine_address().geturl())
    if settings.target == "spark":
        from winback.engines.spark import Spark

        return Spark(settings.storage, settings.engine_address() if settings.engine_url else None)
    return InTheWorkbench()
