"""`winback ledger`: whether what was recorded is still what was recorded."""

from __future__ import annotations

import typer

app = typer.Typer(help="The ledger: the record of what was done.", no_args_is_help=True)


@app.command("verify")
def verify() -> None:
    """Check the hash chain of the audit trail; exit code 1 if a row was changed, taken out or put in.

    Prints the last hash: keep it elsewhere, and rows that are cut off at the end show too.
    """
    import sqlalchemy as sa

    from winback.cli.deliveries import settings_with_ledger
    from winback.ledger import open_ledger, tables

    trail = tables.audit_trail
    with open_ledger(settings_with_ledger()) as opened:
        problems = opened.verify()
        last = opened.read(sa.select(trail.c.seq, trail.c.hash).order_by(trail.c.seq.desc()).limit(1))
    for problem in problems:
        typer.echo(problem)
    for row in last:
        typer.echo(f"last: row {row.seq}, hash {row.hash}")
    if problems:
        raise typer.Exit(1)
    typer.echo("The audit trail is whole.")
