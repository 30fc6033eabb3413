"""`winback send-test PROGRAM STEP --to ADDRESS`: one message to yourself."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer


def send_test(
    program: Annotated[str, typer.Argument(help="Name of a program: a file in programs/ without .yml.")],
    step: Annotated[str, typer.Argument(help="Number of a step, from 1, or the name of its message.")],
    to: Annotated[str, typer.Option("--to", help="The one address it goes to: email, phone number or push token.")],
    channel: Annotated[str | None, typer.Option("--channel", help="email, sms or push; default: the step's first.")] = None,
    customer: Annotated[
        str | None, typer.Option("--customer", help="Whose values are filled in; default: your best customer whom the channel reaches.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Through the destination that destinations.yml names for the channel; default: into the outbox.")
    ] = False,
    actor: Annotated[str, typer.Option("--by", help="Who does this; stands in the audit trail.", envvar="USER")] = "unknown",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Send one message of a program's file, as it stands, to one address. Its links act on nobody; nothing is counted as sent."""
    from rich.console import Console

    from winback.clock import utc_now
    from winback.settings import load_settings
    from winback.trial_sends import send_test as send

    sent = send(load_settings(), program, step, to, utc_now(), channel=channel, customer_id=customer, live=live, actor=actor)
    if as_json:
        sys.stdout.write(json.dumps(sent.as_dict(), indent=2, ensure_ascii=False) + "\n")
    else:
        console = Console(soft_wrap=True, highlight=False)
        by = f"by {sent.channel} through {sent.destination}"
        what = f"step {sent.step_no} ({sent.content}) {by}, as customer {sent.customer_id} would get it"
        if sent.outcome == "accepted":
            console.print(f"Sent {what}.", markup=False)
            if sent.place:
                console.print(f"It is in {sent.place}; --live sends it for real.", markup=False)
        else:
            console.print(f"Not accepted ({sent.outcome}): {what}. {sent.reason}", markup=False)
    if sent.outcome != "accepted":
        raise typer.Exit(1)
