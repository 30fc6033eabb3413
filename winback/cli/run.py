"""`winback run`: one day or several, from files to messages, marts and report. A channel that is live sends for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from winback.settings import Settings

DEMO_FIRST_DAY = date(2017, 11, 30)
DEMO_DAYS = 15


def run(
    demo: Annotated[bool, typer.Option("--demo", help="Run on the real basket data of 2,469 households, with invented contacts.")] = False,
    data: Annotated[Path | None, typer.Option(help="Run on your own files in this folder.", exists=True, file_okay=False)] = None,
    mapping: Annotated[str | None, typer.Option(help="Column mapping: a name from sources/, or the path of a .yml file.")] = None,
    first: Annotated[
        datetime | None,
        typer.Option("--date", formats=["%Y-%m-%d"], help="First day to run; default: the last day with orders, at the latest yesterday."),
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="How many days in a row.")] = None,
    full_refresh: Annotated[
        bool, typer.Option("--full-refresh", help="Derive everything anew, also what is kept from day to day. The result is the same.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Run the day: land, check, derive, plan, apply, send, publish, report.

    Homes that --demo and --data make write everything to the outbox. On the real clock, channels that are live in destinations.yml send.
    """
    from rich.console import Console

    from winback.engines import open_engine
    from winback.errors import BadConfig, WinbackError
    from winback.home import home_for_data, make_current, prepare_home
    from winback.settings import PROJECT_ROOT, is_path_of_mapping, load_settings
    from winback.warehouse import ended_by_the_system

    console = Console(stderr=True)
    if demo and data:
        raise BadConfig("--demo and --data: choose one of the two.")
    if mapping and is_path_of_mapping(mapping):
        # What is typed is meant from here; what a home remembers has to hold everywhere.
        mapping = str(Path(mapping).resolve())
    explicit = os.environ.get("WINBACK_HOME")
    if demo:
        home = PROJECT_ROOT / (explicit or "var/demo")
        _make_demo_data(home / "data", console)
        prepare_home(home, data=(home / "data").resolve(), mapping=mapping or "demo", clock="simulated")
    elif data:
        home = PROJECT_ROOT / explicit if explicit else home_for_data(data)
        prepare_home(home, data=data.resolve(), mapping=mapping, clock="simulated")
    else:
        home = load_settings().root
        if not (home / "winback.yml").exists():
            raise BadConfig(f"{home}: there is nothing to run on yet. Say --demo, or --data with the folder of your files.")
        prepare_home(home, mapping=mapping)
    if not explicit:
        make_current(home)
    settings = load_settings(home)
    open_engine(settings).check()
    start = first.date() if first else (DEMO_FIRST_DAY if demo else _last_day_with_orders(settings, console))
    count = days or (DEMO_DAYS if demo else 1)

    console.print(where_it_goes(settings), markup=False, highlight=False)
    command = [sys.executable, "-m", "dagster_project.days", start.isoformat(), str(count), *(["--full-refresh"] if full_refresh else [])]
    finished = subprocess.run(command, env=os.environ | settings.dagster_environment(), cwd=PROJECT_ROOT, check=False)
    if finished.returncode != 0:
        if said := ended_by_the_system(finished.returncode, settings):
            raise WinbackError(said)
        raise typer.Exit(finished.returncode)

    from winback.reports import summary

    told = summary(settings)
    if as_json:
        sys.stdout.write(json.dumps(told.as_dict(), indent=2, default=str) + "\n")
    else:
        Console().print(told.renderable())


def where_it_goes(settings: Settings) -> str:
    """One line for people: what leaves the building, and through which destination."""
    from winback.destinations import PLATFORMS, routes

    outbox = {"outbox", *(f"outbox_{platform}" for platform in PLATFORMS)}
    lanes = routes(settings)
    live = [f"{lane} ({name})" for lane, name in lanes.items() if name not in outbox]
    rest = " The rest goes to the outbox." if len(live) < len(lanes) else ""
    return f"Live: {', '.join(live)}.{rest}" if live else "Everything goes to the outbox."


def _make_demo_data(folder: Path, console: Console) -> None:
    from winback.demo import make
    from winback.progress import listening

    with console.status("making the demo data") as status, listening(status.update):
        make(folder)


def _last_day_with_orders(settings: Settings, console: Console) -> date:
    """Land what is there and read the last complete day that holds an order."""
    from winback.clock import utc_now
    from winback.errors import BadInput
    from winback.landing import land
    from winback.ledger import open_ledger
    from winback.progress import listening
    from winback.warehouse import open_warehouse

    now = utc_now()
    with (
        console.status("reading your files") as status,
        listening(status.update),
        open_ledger(settings) as ledger,
        open_warehouse(settings) as connection,
    ):
        land(settings, connection, ledger, now=now)
        [last] = connection.execute("select max(ordered_at)::date from raw.orders where ordered_at < ?::date", [now.date()]).fetchone() or (
            None,
        )
    if last is None:
        raise BadInput(f"{settings.data}: no order before today was found, so there is no day to run; give --date to choose one.")
    console.print(f"Running the last day with orders, {last}. Choose another with --date, more with --days.")
    return last  # type: ignore[no-any-return]
