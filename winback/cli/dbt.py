"""`winback dbt` and `winback mf`: dbt and its semantic layer on this home's warehouse, for data teams."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer


def dbt(
    context: typer.Context,
    as_of: Annotated[
        datetime | None,
        typer.Option("--as-of", formats=["%Y-%m-%d"], help="Midnight (UTC) before which events are seen; default: today's."),
    ] = None,
) -> None:
    """Run dbt with what the project needs set: `winback dbt build --select customers`, `winback dbt show ...`."""
    from winback.clock import utc_now
    from winback.dbt_command import run_dbt
    from winback.settings import load_settings

    instant = as_of or utc_now().replace(hour=0, minute=0, second=0, microsecond=0)
    run_dbt(load_settings(), instant, context.args or ["--help"], quiet=False)


def mf(
    context: typer.Context,
    as_of: Annotated[
        datetime | None,
        typer.Option("--as-of", formats=["%Y-%m-%d"], help="Midnight (UTC) as of which the marts were derived; default: today's."),
    ] = None,
) -> None:
    """Ask the semantic layer: `winback mf query --metrics win_back_percentage --group-by journey__program`."""
    from winback.clock import utc_now
    from winback.dbt_command import run_metricflow
    from winback.settings import load_settings

    instant = as_of or utc_now().replace(hour=0, minute=0, second=0, microsecond=0)
    run_metricflow(load_settings(), instant, context.args or ["--help"])
