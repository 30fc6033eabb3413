"""Derive a home's marts on an engine, as a day does: hand over, dbt, take back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from time import monotonic

from winback.dbt_command import run_dbt
from winback.engines import open_engine
from winback.settings import Settings
from winback.warehouse import open_warehouse

MODELS_ALONE = ["--quiet", "--no-version-check", "build", "--exclude-resource-type", "unit_test", "test"]


def derive_with(settings: Settings, as_of: datetime, told: Callable[[str], None] = lambda line: None) -> Path:
    """Return the path of the workbench; `told` gets a line of seconds: hand over, build, take back."""
    engine = open_engine(settings)
    engine.check()
    times = [monotonic()]
    with open_warehouse(settings) as workbench:
        rows = sum(engine.hand_over(workbench).values())
    times.append(monotonic())
    run_dbt(settings, as_of, MODELS_ALONE)
    times.append(monotonic())
    with open_warehouse(settings) as workbench:
        engine.take_back(workbench)
    times.append(monotonic())
    seconds = ", ".join(
        f"{name} {end - start:.1f} s" for name, start, end in zip(("hand over", "build", "take back"), times, times[1:], strict=False)
    )
    told(f"{settings.target} {as_of:%Y-%m-%d}: {rows} rows; {seconds}")
    return settings.warehouse
