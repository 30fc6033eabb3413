"""`winback preview PROGRAM`: what a changed file would do, before it does it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from winback.previewing import Preview


def preview(
    program: Annotated[str, typer.Argument(help="Name of a program: a file in programs/ without .yml.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a program's file would do as it stands: who would enter, what would be sent, three messages. Sends nothing."""
    from rich.console import Console

    from winback.previewing import preview as make
    from winback.progress import listening
    from winback.settings import load_settings

    with Console(stderr=True).status("reading programs") as status, listening(status.update):
        made = make(load_settings(), program)
    if as_json:
        sys.stdout.write(json.dumps(made.as_dict(), indent=2, default=str) + "\n")
    else:
        _show(made, Console())


def _show(made: Preview, console: Console) -> None:
    from rich.markup import escape
    from rich.panel import Panel
    from rich.table import Table

    console.print(
        f"\n[bold]{made.program}[/] ({made.status}) as its file stands, as of {made.as_of:%Y-%m-%d}. Nothing is recorded or sent."
    )
    for notice in made.notices:
        console.print(f"[yellow]{escape(notice)}[/]")
    waterfall = Table(title=f"Of {made.audience:,} people in the audience", title_justify="left")
    for heading, justify in (("", "left"), ("in force", "right"), ("this file", "right"), ("change", "right")):
        waterfall.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for row in made.waterfall:
        if not row.in_force and not row.previewed and row.reason != "admitted":
            continue
        change = row.previewed - row.in_force
        style = "bold green" if row.reason == "admitted" else ""
        waterfall.add_row(
            row.reason.replace("_", " "), f"{row.in_force:,}", f"{row.previewed:,}", f"{change:+,}" if change else "", style=style
        )
    console.print(waterfall)
    schedule = Table(title="Steps of this file, for those who enter from now on", title_justify="left")
    for heading, justify in (("step", "right"), ("day", "right"), ("message or task", "left"), ("channels", "left")):
        schedule.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for step in made.schedule:
        day = (
            str(step.day)
            if step.day_in_force == step.day
            else f"{step.day} (in force: {'none' if step.day_in_force is None else step.day_in_force})"
        )
        schedule.add_row(str(step.step_no), day, step.content, ", ".join(step.channels))
    console.print(schedule)
    sends = Table(title="Steps due on this day, people inside included", title_justify="left")
    for heading, justify in (
        ("step", "right"),
        ("day", "right"),
        ("message", "left"),
        ("channel", "left"),
        ("decision", "left"),
        ("people", "right"),
    ):
        sends.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for send in made.sends:
        why = f"{send.decision} ({send.reason})" if send.reason else send.decision
        sends.add_row(str(send.step_no), str(send.day), send.content, send.channel or "", why.replace("_", " "), f"{send.customers:,}")
    console.print(sends if made.sends else "No step is due on this day.")
    for message in made.messages:
        head = "\n".join(filter(None, [f"[bold]{escape(message.subject)}[/]", f"[dim]{escape(message.preheader)}[/]"]))
        title = f"step {message.step_no}, {message.channel}, as customer {escape(message.customer_id)} would get it"
        console.print(Panel(f"{head}\n\n{escape(message.text.strip())}".strip(), title=title, title_align="left"))
