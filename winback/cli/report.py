"""`winback report`: the figures of a day, as the run's end showed them."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Annotated

import typer


def report(
    as_of: Annotated[
        datetime | None, typer.Option("--as-of", formats=["%Y-%m-%d"], help="Show the report of this as_of date; default: the last one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a day: tiers, audiences, admissions with reasons, what was sent, win-back percentages. Works while a run is under way."""
    from rich.console import Console

    from winback.reports import summary
    from winback.settings import load_settings

    told = summary(load_settings(), as_of.date() if as_of else None)
    if as_json:
        sys.stdout.write(json.dumps(told.as_dict(), indent=2) + "\n")
    else:
        Console().print(told.renderable())
