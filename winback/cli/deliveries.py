"""`winback deliveries`: everything that was not accepted, and what to do about it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from winback.deliveries import Decision, Delivery, Filter
    from winback.ledger import Ledger
    from winback.settings import Settings

app = typer.Typer(help="What was not accepted, with the reasons; put it back into the queue or end it.", invoke_without_command=True)

_STATUSES = "deferred, rejected, unknown, skipped, waiting, discarded, all"
_DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]

Status = Annotated[str, typer.Option("--status", help=f"One of: {_STATUSES}.")]
Channel = Annotated[str | None, typer.Option("--channel", help="email, sms, push, task, ads, lists, or one platform: ads:meta.")]
Destination = Annotated[str | None, typer.Option("--destination", help="Through which it went last, e.g. smtp, outbox.")]
Program = Annotated[str | None, typer.Option("--program", help="Name of a program.")]
Customer = Annotated[str | None, typer.Option("--customer", help="A customer_id.")]
Since = Annotated[datetime | None, typer.Option("--since", formats=_DATES, help="Changed at or after this instant (UTC).")]
Reason = Annotated[str | None, typer.Option("--reason", help="The reason, exactly as it is shown.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]
Ids = Annotated[list[str] | None, typer.Argument(help="Ids, or their first characters (6 at least).", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
By = Annotated[str, typer.Option("--by", help="Who does this; stands in the audit trail.", envvar="USER")]


@app.callback()
def deliveries(
    context: typer.Context,
    status: Status = "all",
    channel: Channel = None,
    destination: Destination = None,
    program: Program = None,
    customer: Customer = None,
    since: Since = None,
    reason: Reason = None,
    limit: Annotated[int, typer.Option(min=1, help="How many to list, the latest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List what was not accepted: deferred, rejected, unknown, skipped, waiting. Counts first, then the latest ones."""
    if context.invoked_subcommand is not None:
        return
    from winback.clock import utc_now
    from winback.deliveries import acting_now, counted, listed
    from winback.ledger import open_ledger

    wanted = _filter(status, channel, destination, program, customer, since, reason)
    settings = settings_with_ledger()
    with open_ledger(settings) as ledger:
        _known(ledger, wanted)
        now = acting_now(settings, ledger, utc_now())
        counts = counted(ledger, wanted, now)
        found = listed(ledger, wanted, now, limit)
    if as_json:
        _print_json({"counts": counts, "deliveries": [one.as_dict() for one in found]})
    else:
        _show(counts, found)


@app.command("retry")
def retry(
    ids: Ids = None,
    status: Annotated[str | None, typer.Option("--status", help="Instead of ids: deferred, rejected, unknown, skipped, discarded.")] = None,
    channel: Channel = None,
    destination: Destination = None,
    program: Program = None,
    customer: Customer = None,
    since: Since = None,
    reason: Reason = None,
    not_sent: Annotated[
        bool, typer.Option("--i-know-it-was-not-sent", help="Also unknown ones that cannot be asked about: they will be sent again.")
    ] = False,
    yes: Yes = False,
    actor: By = "unknown",
    as_json: AsJson = False,
) -> None:
    """Put items back into the queue, unless that could send something twice. The next dispatch checks them again."""
    from winback.deliveries import may_retry, put_back

    def decide(settings: Settings, found: Sequence[Delivery], now: datetime) -> list[Decision]:
        return may_retry(settings, found, now, not_sent=not_sent)

    def record(ledger: Ledger, decisions: Sequence[Decision], now: datetime, acted_at: datetime) -> list[Decision]:
        return put_back(ledger, decisions, actor=actor, now=now, acted_at=acted_at)

    wanted = _filter(status or "all", channel, destination, program, customer, since, reason)
    _act(ids, wanted, decide, record, "put back into the queue", yes=yes, as_json=as_json)


@app.command("discard")
def discard(
    why: Annotated[str, typer.Option("--reason", help="Why; stands in the ledger. No addresses.")],
    ids: Ids = None,
    status: Annotated[str | None, typer.Option("--status", help=f"Instead of ids, one of: {_STATUSES}.")] = None,
    channel: Channel = None,
    destination: Destination = None,
    program: Program = None,
    customer: Customer = None,
    since: Since = None,
    yes: Yes = False,
    actor: By = "unknown",
    as_json: AsJson = False,
) -> None:
    """End items: they are not sent (again). What may have been sent stays unknown in the figures."""
    from winback.deliveries import discard as end
    from winback.deliveries import may_discard

    def decide(settings: Settings, found: Sequence[Delivery], now: datetime) -> list[Decision]:  # noqa: ARG001
        return may_discard(found)

    def record(ledger: Ledger, decisions: Sequence[Decision], now: datetime, acted_at: datetime) -> list[Decision]:
        return end(ledger, decisions, reason=why, actor=actor, now=now, acted_at=acted_at)

    wanted = _filter(status or "all", channel, destination, program, customer, since, None)
    _act(ids, wanted, decide, record, "discarded", yes=yes, as_json=as_json)


def _filter(
    status: str,
    channel: str | None,
    destination: str | None,
    program: str | None,
    customer: str | None,
    since: datetime | None,
    reason: str | None,
) -> Filter:
    from winback.deliveries import LANES, STATUSES, Filter
    from winback.destinations import PLATFORMS, lane_of
    from winback.destinations.config import installed

    if status not in (*STATUSES, "all"):
        raise typer.BadParameter(f"found {status!r}; allowed: {_STATUSES}", param_hint="--status")
    lanes = (*LANES, *map(lane_of, PLATFORMS))
    if channel is not None and channel not in lanes:
        raise typer.BadParameter(f"found {channel!r}; allowed: {', '.join(lanes)}", param_hint="--channel")
    places = ("outbox", *(f"outbox_{platform}" for platform in PLATFORMS), *installed())
    if destination is not None and destination not in places:
        raise typer.BadParameter(f"found {destination!r}; allowed: {', '.join(places)}", param_hint="--destination")
    return Filter(None if status == "all" else status, channel, destination, program, customer, since, reason)


def _known(ledger: Ledger, wanted: Filter) -> None:
    """A misspelt name would find nothing, which reads like good news."""
    from winback.errors import BadInput

    programs = sorted(ledger.statuses())
    if wanted.program is not None and wanted.program not in programs:
        raise BadInput(f"--program: found {wanted.program!r}; the ledger knows: {', '.join(programs) or 'none yet'}.")


def settings_with_ledger() -> Settings:
    """The settings of a home that has run: looking makes no state."""
    from winback.errors import BadInput
    from winback.settings import load_settings

    settings = load_settings()
    if settings.ledger_url is None and not (settings.root / "ledger.db").exists():
        raise BadInput(
            f"{settings.root}: there is no ledger yet, so nothing was sent. Run a day first: make run, or winback run --data FOLDER."
        )
    return settings


def _act(
    ids: Sequence[str] | None,
    wanted: Filter,
    decide: Callable[[Settings, Sequence[Delivery], datetime], list[Decision]],
    record: Callable[[Ledger, Sequence[Decision], datetime, datetime], list[Decision]],
    done_word: str,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    from rich.console import Console

    from winback.clock import utc_now
    from winback.deliveries import Filter, acting_now, listed, named
    from winback.errors import BadInput
    from winback.ledger import open_ledger

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    if bool(ids) == (wanted != Filter()):
        raise BadInput("Say which: either ids, or filters (--status, --channel, --destination, --program, --customer, --since).")
    settings = settings_with_ledger()
    with open_ledger(settings) as ledger:
        _known(ledger, wanted)
        acted_at = utc_now()
        now = acting_now(settings, ledger, acted_at)
        found = named(ledger, ids, now) if ids else listed(ledger, wanted, now)
        if not ids and wanted.status is None:
            # Ended by a person: only they, or that word, name it again.
            found = [one for one in found if one.status != "discarded"]
        decisions = decide(settings, found, now)
        allowed = sum(one.outcome is not None for one in decisions)
        if not ids and not yes and allowed:
            reasons = Counter(f"{one.delivery.status}: {one.delivery.reason}" for one in decisions if one.outcome is not None)
            for what, count in reasons.most_common(20):
                console.print(f"{count:>8,}  {what}", markup=False)
            typer.confirm(f"{allowed:,} of {len(decisions):,} can be {done_word}. Go on?", abort=True, err=True)
        decisions = record(ledger, decisions, now, acted_at) if allowed else decisions
    done = [one.delivery for one in decisions if one.outcome is not None]
    refused = [one for one in decisions if one.outcome is None]
    if as_json:
        told = [{"item_id": one.delivery.item_id, "why": one.why} for one in refused]
        _print_json({"done": [one.item_id for one in done], "refused": told})
    else:
        console.print(f"{len(done):,} {done_word}{f', {len(refused):,} left as they are' if refused else ''}.")
        if ids:
            for one in refused:
                console.print(f"  {one.delivery.item_id} {one.why}", markup=False)
        else:
            for why, count in Counter(one.why for one in refused).most_common(20):
                console.print(f"{count:>8,}  {why}", markup=False)
    if ids and refused:
        raise typer.Exit(1)


def _show(counts: Sequence[dict[str, Any]], found: Sequence[Delivery]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if not counts:
        console.print("Nothing: all that was due was accepted, as far as these filters go.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("status", "channel", "destination", "reason"):
        table.add_column(heading)
    table.add_column("items", justify="right", no_wrap=True)
    for row in counts:
        table.add_row(row["status"], row["lane"], row["destination"] or "", escape(row["reason"].replace("_", " ")), f"{row['items']:,}")
    console.print(table)
    console.print(f"\n[dim]The latest {len(found):,}:[/]" if len(found) < sum(row["items"] for row in counts) else "")
    latest = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("id", "changed (UTC)", "channel", "customer"):
        latest.add_column(heading, no_wrap=True)
    for heading in ("message", "status and reason"):
        latest.add_column(heading, overflow="fold")
    for one in found:
        again = f", next try {one.retry_at:%Y-%m-%d %H:%M}" if one.retry_at else ""
        latest.add_row(
            one.item_id[:12],
            f"{one.changed_at:%Y-%m-%d %H:%M}",
            one.lane,
            escape(one.customer_id),
            escape(f"{one.program}: {one.content}"),
            escape(f"{one.status}: {one.reason.replace('_', ' ')}{again}"),
        )
    console.print(latest)


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")
