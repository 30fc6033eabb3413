"""`winback destinations`: where each channel goes, and whether the providers accept the credentials."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from winback.destinations.checking import DestinationView
    from winback.settings import Settings

app = typer.Typer(help="Where messages and audience changes go: destinations.yml.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]


@app.command("list")
def list_destinations(as_json: AsJson = False) -> None:
    """List every destination of this installation: what it can do, and which channels go through it. Asks nobody."""
    from winback.destinations.checking import views
    from winback.settings import load_settings

    settings = load_settings()
    found = views(settings)
    if as_json:
        _print_json([one.as_dict() for one in found])
        return
    console = _console()
    _table(console, found)
    _say_rest(console, settings.clock, found)


@app.command("check")
def check(as_json: AsJson = False) -> None:
    """Ask each configured provider whether it accepts the credentials. Exit code 1 where one of a live channel does not."""
    from winback.destinations.checking import probe, views
    from winback.progress import listening
    from winback.settings import load_settings

    settings = load_settings()
    errors = _console(error=True)
    with errors.status("asking") as status, listening(status.update):
        checked = [probe(settings, one) for one in views(settings) if one.is_configured]
    missing = _missing(settings)
    failed = [one for one in checked if one.live and not one.ok] or missing
    if as_json:
        _print_json({"ok": not failed, "destinations": [one.as_dict() for one in checked], "missing": missing})
    else:
        from rich.markup import escape

        console = _console()
        for one in checked:
            colour, word = ("green", "works") if one.ok else ("red", "fails") if one.live else ("yellow", "fails")
            live = f", live for {', '.join(one.live)}" if one.live else ""
            console.print(f"[bold {colour}]{word}[/] {one.name}{live}")
            console.print(f"  {one.told}", markup=False)
            console.print(f"  {one.abilities()}", style="dim", markup=False)
        for message in missing:
            console.print(f"[bold red]missing[/] {escape(message)}")
        _say_rest(console, settings.clock, checked)
    if failed:
        raise typer.Exit(1)


def _missing(settings: Settings) -> list[str]:
    """Ids that live programs need and destinations.yml does not have. What is wrong in programs/ itself is for `winback programs check`."""
    from winback.destinations.checking import gaps
    from winback.programs import valid_programs

    wanted = {program.name: program.platforms for program in valid_programs(settings) if program.status == "live"}
    return [gap.message for gap in gaps(settings, wanted)]


def _table(console: Console, found: list[DestinationView]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("destination", "takes", "configured", "live for", "items a call", "after a lost answer"):
        table.add_column(heading, no_wrap=heading == "destination", justify="right" if heading == "items a call" else "left")
    for one in found:
        live = f"[green]{', '.join(one.live)}[/]" if one.live else ""
        configured = "yes" if one.is_configured else ""
        table.add_row(one.name, ", ".join(one.channels), configured, live, f"{one.items_per_call:,}", one.after_a_lost_answer)
    console.print(table)


def _say_rest(console: Console, clock: str, found: list[DestinationView]) -> None:
    from winback.destinations.checking import not_live

    if clock == "simulated":
        console.print("[yellow]This home's clock is simulated: everything goes to the outbox, whatever is live.[/]")
    elif rest := not_live(found):
        console.print(f"To the outbox: {', '.join(rest)}.")


def _console(*, error: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=error, soft_wrap=not error, highlight=False)


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
