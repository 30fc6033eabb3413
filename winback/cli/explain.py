"""`winback explain CUSTOMER`: why somebody is, or is not, in a program."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from winback.explaining import Explanation

_FACTS = (
    "engagement_tier tier_changed_on purchase_lifecycle days_since_last_order days_past_cycle average_purchase_interval order_count "
    "lifetime_value days_since_last_engagement"
).split()
_CHANNELS = ("email", "sms", "push", "ads")


def explain(
    customer: Annotated[str, typer.Argument(help="A customer_id.")],
    as_of: Annotated[
        datetime | None,
        typer.Option(
            "--as-of",
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"],
            help="Midnight (UTC) before which events are seen; default: the last run's.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Explain a customer: every gate's value in every program, and the decision."""
    from rich.console import Console

    from winback.explaining import explain as explained
    from winback.progress import listening
    from winback.settings import load_settings

    with Console(stderr=True).status("reading") as status, listening(status.update):
        told = explained(load_settings(), customer, as_of)
    if as_json:
        sys.stdout.write(json.dumps(told.as_dict(), indent=2, default=str) + "\n")
    else:
        _show(told, Console())


def _say(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return "none" if value is None else str(value)


def _show(told: Explanation, console: Console) -> None:
    from rich.markup import escape
    from rich.padding import Padding
    from rich.table import Table

    console.print(f"\n[bold]Customer {escape(told.customer_id)}[/] as of {told.as_of:%Y-%m-%d %H:%M} UTC")
    facts = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name in _FACTS:
        facts.add_row(name.replace("_", " "), escape(_say(told.facts.get(name))))
    for channel in _CHANNELS:
        reached = told.facts[f"reachable_{channel}"]
        facts.add_row(
            f"reachable by {channel}", "yes" if reached else f"no: {_say(told.facts[f'{channel}_unreachable_reason']).replace('_', ' ')}"
        )
    facts.add_row("segments", ", ".join(told.segments) or "none")
    console.print(facts)
    for view in told.programs:
        heading = f"\n[bold]{view.program}[/] (version {view.version}, {view.status})"
        if not view.in_audience:
            console.print(f"{heading}: not in audience {view.audience}" if view.status == "live" else heading)
            continue
        decided = f"[green]admitted[/], {view.arm}" if view.reason is None else f"[yellow]stays out: {view.reason.replace('_', ' ')}[/]"
        console.print(f"{heading}: {decided}; lapsed since {_say(view.anchor_at)}, {view.lapse_days} days over")
        gates = Table(box=None, padding=(0, 2, 0, 2), show_header=False)
        for gate in view.gates:
            looked_at = ", ".join(f"{name.replace('_', ' ')} {escape(_say(value))}" for name, value in gate.values.items())
            gates.add_row("[red]stops[/]" if gate.stops else "[dim]passes[/]", gate.name.replace("_", " "), f"[dim]{looked_at}[/]")
        console.print(gates)
    for title, rows in (
        ("Journeys", told.journeys),
        ("Due on this day", told.actions),
        ("Messages", told.deliveries),
        ("What came back", told.came_back),
        ("Suppressions", told.refusals),
    ):
        if rows:
            console.print(f"\n[bold]{title}[/]")
            for row in rows:
                known = [
                    (name.replace("_", " "), _say(value)) for name, value in row.items() if value is not None and not name.endswith("_id")
                ]
                (_, first), *others = known
                console.print(
                    Padding(f"[bold]{escape(first)}[/]: " + escape(", ".join(f"{name} {said}" for name, said in others)), (0, 0, 0, 2))
                )
