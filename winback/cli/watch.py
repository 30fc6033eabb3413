"""`winback watch`: whether anything is being sent at all, asked by something that lives when the scheduler does not."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any

import typer


def watch(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")] = False) -> None:
    """Check whether anything is blocking delivery, such as a schedule that has stopped; exit code 1 if so. For cron.

    Alert channels are told once when it begins and once when it is over. Runs are not disturbed.
    """
    from winback.alerts import Watched, watch_from_outside
    from winback.cli.deliveries import settings_with_ledger
    from winback.clock import utc_now
    from winback.ledger import open_ledger

    settings = settings_with_ledger()
    is_simulated = settings.clock == "simulated"
    with open_ledger(settings) as ledger:
        watched = Watched() if is_simulated else watch_from_outside(settings, ledger, utc_now())
    is_well = not any(condition.severity == "error" for condition in watched.conditions)
    if as_json:
        told: dict[str, Any] = {
            "ok": is_well,
            "conditions": [{"key": one.key, "severity": one.severity, "text": one.text} for one in watched.conditions],
            **{name: value.total_seconds() if isinstance(value, timedelta) else value for name, value in asdict(watched.waiting).items()},
        }
        typer.echo(json.dumps(told))
    elif is_simulated:
        typer.echo("A home on a simulated clock has nothing that could be late.")
    else:
        for condition in watched.conditions:
            typer.echo(f"{condition.severity}: {condition.text}")
        waiting = watched.waiting
        last = "none yet" if waiting.since_last_day is None else f"{waiting.since_last_day / timedelta(hours=1):.0f} hours ago"
        typer.echo(f"due and not tried: {waiting.messages:,} messages, {waiting.changes:,} audience changes; last day applied: {last}")
    if not is_well:
        raise typer.Exit(1)
