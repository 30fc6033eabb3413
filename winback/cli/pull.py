"""`winback pull`: what webhooks may have missed."""

from __future__ import annotations

from typing import Annotated

import typer


def pull(
    mail: Annotated[bool, typer.Option(help="Read the mailbox of bounces and complaints too.")] = True,
) -> None:
    """Fetch the providers' lists of dead and unwilling addresses, and read bounces that came as mail. Exit code 1 if one failed."""
    from winback.clock import utc_now
    from winback.inbox.nightly import pull_everything
    from winback.settings import load_settings

    settings = load_settings()
    results = pull_everything(settings, utc_now(), mail=mail)
    if settings.clock == "simulated":
        typer.echo("Nothing is pulled on a simulated clock, which asks no provider: WINBACK_CLOCK=real, or `clock: real` in winback.yml.")
    elif not results:
        typer.echo("Nothing to pull: destinations.yml configures neither sendgrid nor twilio, and no listen.mailbox.")
    for one in results:
        typer.echo(f"{one.name}: {one.entries:,} entries, {one.new:,} new" + (f"; {one.problem}" if one.problem else ""))
    if any(one.problem for one in results):
        raise typer.Exit(1)
