"""The `winback` command. Each command imports what it needs when it is called, so that `winback --help` is quick."""

from __future__ import annotations

import sys

import typer

from winback.cli import (
    dashboard,
    dbt,
    deliveries,
    destinations,
    explain,
    ledger,
    listen,
    preview,
    programs,
    pull,
    report,
    run,
    send_test,
    serve,
    watch,
)
from winback.errors import WinbackError

EXIT_PROBLEM = 1

app = typer.Typer(
    name="winback",
    help="Win customers back: who is lapsing, what to send them, what was really won back.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("run")(run.run)
app.command("serve")(serve.serve)
app.command("listen")(listen.listen)
app.command("pull")(pull.pull)
app.add_typer(programs.app, name="programs")
app.command("preview")(preview.preview)
app.command("explain")(explain.explain)
app.command("send-test")(send_test.send_test)
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(destinations.app, name="destinations")
app.add_typer(ledger.app, name="ledger")
app.command("watch")(watch.watch)
app.command("report")(report.report)
app.command("dashboard")(dashboard.dashboard)
app.command("dbt", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(dbt.dbt)
app.command("mf", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(dbt.mf)


def main() -> None:
    """Run the command line: 0 done, 1 a problem that the message explains, 2 wrong usage."""
    try:
        app()
    except WinbackError as problem:
        from rich.console import Console

        console = Console(stderr=True, soft_wrap=True, highlight=False)
        console.print(type(problem).__name__, style="bold red", end=" ")
        # Lists and paths hold brackets, which are no markup.
        console.print(str(problem), markup=False)
        sys.exit(EXIT_PROBLEM)
