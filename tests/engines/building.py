"""Derive a home's marts on an engine, as a day does: hand over, dbt, take back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from time import monotonic

from winback.dbt_command import in_environment, run_dbt
from winback.engines import open_engine
from winback.settings import Settings
from winback.warehouse import open_warehouse

MODELS_ALONE = ["--quiet", "--no-version-check", "build", "--exclude-resource-type", "unit_test", "test"]


def derive_with(settings: Settings, as_of: datetime) -> Path:
    """Return the path of the workbench, which holds the marts."""
    return _derive(settings, {"": as_of}, lambda line: None)


def aside(as_of: datetime) -> str:
    """The prefix of the schemas into which `derive_aside` derives a day."""
    return f"day_{as_of:%Y%m%d}_"


def derive_aside(settings: Settings, days: Iterable[datetime], told: Callable[[str], None]) -> Path:
    """Derive days, each into schemas of its own, after one hand-over; return the path of the workbench.

    `told` gets a line of seconds for each step.
    """
    return _derive(settings, {aside(day): day for day in days}, told)


def _derive(settings: Settings, days: dict[str, datetime], told: Callable[[str], None]) -> Path:
    engine = open_engine(settings)
    engine.check()
    start = monotonic()
    with open_warehouse(settings) as workbench:
        rows = sum(engine.hand_over(workbench).values())
    told(f"{settings.target}: {rows} rows handed over in {monotonic() - start:.1f} s")
    for prefix, as_of in days.items():
        start = monotonic()
        _run(settings, as_of, prefix)
        told(f"{settings.target} {as_of:%Y-%m-%d}: built in {monotonic() - start:.1f} s")
    start = monotonic()
    with open_warehouse(settings) as workbench:
        rows = sum(sum(engine.take_back(workbench, prefix).values()) for prefix in days)
    told(f"{settings.target}: {rows} rows taken back in {monotonic() - start:.1f} s")
    return settings.warehouse


def _run(settings: Settings, as_of: datetime, prefix: str) -> None:
    if settings.target != "spark" or settings.engine_url is not None:
        run_dbt(settings, as_of, MODELS_ALONE, schema_prefix=prefix)
        return
    from dbt.cli.main import dbtRunner  # noqa: TID251  (one process for all days)

    # In this process: Spark's Java process, which has translated itself by the second day, lasts until the tables are taken back.
    with in_environment(settings.dbt_environment(as_of, schema_prefix=prefix)):
        outcome = dbtRunner().invoke(MODELS_ALONE)
    assert outcome.success, outcome.exception or [result.message for result in outcome.result if result.status == "error"]  # type: ignore[union-attr]
