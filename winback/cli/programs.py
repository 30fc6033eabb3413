"""`winback programs`: check, list, show, approve what marketing decides."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from winback.ledger import Ledger
    from winback.programs import LoadedPrograms
    from winback.programs.schema import Program, Step
    from winback.settings import Settings

app = typer.Typer(help="Check, list and show what stands in programs/; approve a version.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]
Name = Annotated[str, typer.Argument(help="The program's name.")]


@app.command("check")
def check(as_json: AsJson = False) -> None:
    """Find everything that is wrong in programs/: file, line, what was found, what is allowed. Exit code 1 where there is an error."""
    from winback.programs import check as find_problems
    from winback.programs.surroundings import program_files
    from winback.settings import load_settings

    settings = load_settings()
    with _ledger_if_any(settings) as ledger:
        problems = find_problems(settings, ledger)
    errors = sum(problem.severity == "error" for problem in problems)
    if as_json:
        _print_json({"ok": errors == 0, "errors": errors, "problems": [problem.as_dict() for problem in problems]})
    else:
        console = _console()
        for problem in problems:
            place = f"{problem.file}:{problem.line}" if problem.line else problem.file
            colour = "red" if problem.severity == "error" else "yellow"
            console.print(f"[bold {colour}]{problem.severity}[/] [cyan]{place}[/]", highlight=False)
            _print_plain(console, f"  {problem.field + ': ' if problem.field else ''}{problem.message}")
        warnings = len(problems) - errors
        counted = f"{errors} {_plural('error', errors)}, {warnings} {_plural('warning', warnings)}"
        if errors:
            console.print(f"[bold red]{counted}.[/] Nothing runs until the errors are gone.", highlight=False)
        else:
            count = len(program_files(settings.programs_dir))
            console.print(f"[bold green]{count} {_plural('program', count)} checked:[/] {counted}.", highlight=False)
    if errors:
        raise typer.Exit(1)


@app.command("list")
def list_programs(as_json: AsJson = False) -> None:
    """List the programs: status, audience, steps, and the version that the ledger knows."""
    from rich.table import Table

    from winback.programs import load_programs
    from winback.settings import load_settings

    settings = load_settings()
    with _ledger_if_any(settings) as ledger:
        loaded = load_programs(settings, ledger)
        rows = [_overview(program, loaded, ledger) for program in loaded.programs.values()]
    rows.sort(key=lambda row: (row["group"], -row["priority"], row["name"]))
    if as_json:
        _print_json(rows)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("program", "status", "audience", "lapse days", "enters", "days", "channels", "group", "priority", "version"):
        table.add_column(heading)
    for row in rows:
        colour = {"live": "green", "paused": "yellow", "draft": "dim", "retired": "dim"}[row["status"]]
        table.add_row(
            row["name"],
            f"[{colour}]{row['status']}[/]" + (", [red]email paused[/]" if row["email_paused_at"] else ""),
            row["audience"],
            row["lapse_days"],
            row["cadence"],
            ", ".join(str(day) for day in row["days"]),
            ", ".join(row["channels"]),
            row["group"],
            str(row["priority"]),
            row["version"],
        )
    _console(error=False).print(table)


@app.command("show")
def show(name: Name, as_json: AsJson = False) -> None:
    """Show one program: who enters, what happens when, what each message says first."""
    from rich.table import Table

    from winback.programs import load_programs
    from winback.settings import load_settings

    settings = load_settings()
    with _ledger_if_any(settings) as ledger:
        loaded = load_programs(settings, ledger)
        program = _find(loaded, name)
        overview = _overview(program, loaded, ledger)
    if as_json:
        _print_json(
            {**program.model_dump(mode="json", by_alias=True), "version": overview["version"], "timeline": _timeline(program, loaded)}
        )
        return
    console = _console(error=False)
    console.print(f"[bold]{program.name}[/]  {program.status}, version {overview['version']}", highlight=False)
    if program.description:
        console.print(program.description, highlight=False)
    console.print()
    facts = Table(box=None, show_header=False, pad_edge=False)
    for label, value in _facts(program):
        facts.add_row(f"[dim]{label}[/]", value)
    console.print(facts)
    console.print()
    steps = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("day", "what", "channel", "for", "says"):
        steps.add_column(heading)
    for row in _timeline(program, loaded):
        steps.add_row(str(row["day"]), row["content"], row["channel"], row["condition"], row["says"])
    console.print(steps)
    console.print(f"\n[dim]Its effect on today's customers: winback preview {program.name}[/]", highlight=False)


@app.command("schema")
def schema(
    name: Annotated[str, typer.Argument(help="program, brand or page.")] = "program",
    write: Annotated[bool, typer.Option("--write", help="Write the schema files and the reference in docs/programs.md instead.")] = False,
) -> None:
    """Print the JSON Schema that editors use for completion."""
    from winback.programs import json_schemas
    from winback.settings import load_settings

    if write:
        from winback.programs import reference

        settings = load_settings()
        changed = json_schemas.write(settings.programs_dir)
        page = settings.project / reference.PAGE
        if page.exists() and reference.refresh(page):
            changed.append(page)
        _console().print("\n".join(f"wrote {path}" for path in changed) or "Everything is up to date.", highlight=False)
        return
    if name not in ("program", "brand", "page"):
        raise typer.BadParameter(f'found "{name}"; allowed: program, brand, page', param_hint="NAME")
    sys.stdout.write(json_schemas.text(name))


@app.command("approve")
def approve(
    name: Name,
    approved_by: Annotated[str, typer.Option("--by", help="Who approves; stands in the audit trail.", envvar="USER")],
    as_json: AsJson = False,
) -> None:
    """Approve a program as its file stands. Needed before it acts where WINBACK_APPROVAL is required."""
    from winback.clock import utc_now
    from winback.ledger import open_ledger
    from winback.programs import approve as record_approval
    from winback.programs.sync import next_as_of
    from winback.settings import load_settings

    settings = load_settings()
    now = utc_now()
    with open_ledger(settings) as ledger:
        version = record_approval(settings, ledger, name, approved_by, next_as_of(settings, ledger, now), now)
    if as_json:
        _print_json({"program": name, "version": version, "approved_by": approved_by})
    else:
        _console().print(f"[green]Approved[/] {name}, version {version}, by {approved_by}.", highlight=False)


@app.command("resume")
def resume(
    name: Name,
    reason: Annotated[str, typer.Option("--reason", help="What has changed; stands in the audit trail.")],
    by: Annotated[str, typer.Option("--by", help="Who resumes; stands in the audit trail.", envvar="USER")],
    as_json: AsJson = False,
) -> None:
    """Let a program send email again that was paused because recipients complained, left or bounced. Counting begins anew."""
    from winback.clock import utc_now
    from winback.deliveries import acting_now
    from winback.delivery.guard import resume_email
    from winback.ledger import open_ledger
    from winback.settings import load_settings

    settings = load_settings()
    with open_ledger(settings) as ledger:
        paused_at = resume_email(ledger, name, by=by, reason=reason, now=acting_now(settings, ledger, utc_now()))
    if as_json:
        _print_json({"program": name, "paused_at": paused_at, "resumed_by": by, "reason": reason})
    else:
        _console().print(f"[green]Resumed[/] the email of {name}, paused since {paused_at:%Y-%m-%d %H:%M} UTC.", highlight=False)


@contextmanager
def _ledger_if_any(settings: Settings) -> Iterator[Ledger | None]:
    """The ledger of this home; None where there is none yet (looking at programs makes no state)."""
    if settings.ledger_url is None and not (settings.root / "ledger.db").exists():
        yield None
        return
    from winback.ledger import open_ledger

    with open_ledger(settings) as ledger:
        yield ledger


def _find(loaded: LoadedPrograms, name: str) -> Program:
    from winback.errors import BadConfig
    from winback.programs.problems import near_miss, one_of

    if name not in loaded.programs:
        raise BadConfig(f'there is no program "{name}"; allowed: {one_of(loaded.programs)}{near_miss(name, loaded.programs)}')
    return loaded.programs[name]


def _overview(program: Program, loaded: LoadedPrograms, ledger: Ledger | None) -> dict[str, Any]:
    from winback.delivery.guard import email_pauses

    known = ledger.latest_versions().get(program.name) if ledger else None
    if known is None:
        version = "not run yet"
    elif known["content_hash"] == loaded.definitions[program.name].content_hash:
        version = str(known["version"])
    else:
        version = f"{known['version']}, changed since"
    paused = email_pauses(ledger).get(program.name) if ledger else None
    channels = dict.fromkeys(channel for step in program.steps for channel in _channels(step))
    return {
        "name": program.name,
        "status": program.status,
        "email_paused_at": paused,
        "description": program.description,
        "audience": program.audience,
        "lapse_days": _range(program),
        "cadence": _cadence(program),
        "days": [step.day for step in program.steps],
        "channels": [*channels, *program.ad_audiences, *program.lists],
        "group": program.group,
        "priority": program.priority,
        "version": version,
    }


def _channels(step: Step) -> list[str]:
    return list(step.channels) if step.channels else ["task"]


def _range(program: Program) -> str:
    lapse = program.lapse_days
    if lapse.below is None:
        return "any" if lapse.at_least is None else f"{lapse.at_least} or more"
    return f"{lapse.at_least or 0} to {lapse.below - 1}"


def _cadence(program: Program) -> str:
    if isinstance(program.cadence, str) or program.cadence.on is None:
        return program.every
    return f"{program.every} on {program.cadence.on}"


def _facts(program: Program) -> list[tuple[str, str]]:
    entry, offer, end = program.entry, program.offer, program.on_complete
    facts = [("audience", program.audience), ("lapse days", _range(program)), ("enters", _cadence(program))]
    if entry.exclude_purchased_within_days:
        facts.append(("not if bought", f"within {entry.exclude_purchased_within_days} days"))
    if entry.exclude_engaged_within_days:
        facts.append(("not if engaged", f"within {entry.exclude_engaged_within_days} days"))
    again = [f"after {entry.reentry.after_days} days"] if entry.reentry.after_days is not None else []
    again += [f"{entry.reentry.max_entries} times at most"] if entry.reentry.max_entries is not None else []
    facts.append(("again", ", ".join(["once per lapse", *again])))
    if entry.max_per_day is not None:
        facts.append(("at most", f"{entry.max_per_day} a day"))
    facts.append(("holdout", f"{program.holdout_percent:g}%"))
    facts.append(("leaves on", ", ".join(program.exit_on)))
    if offer is not None:
        parts = [offer.code or f"codes of {offer.codes}"]
        parts += [f"{offer.percent}%"] if offer.percent is not None else []
        parts += [f"{offer.expires_after_days} days"] if offer.expires_after_days is not None else []
        facts.append(("offer", ", ".join(parts)))
    if program.ad_audiences:
        facts.append(("ad audiences", ", ".join(program.ad_audiences)))
    if program.lists:
        facts.append(("lists", ", ".join(program.lists)))
    after = [f"tag {end.tag}"] if end.tag else []
    after += [f"{end.suppress_days} days of silence"] if end.suppress_days else []
    if end.lower_frequency:
        after.append(f"{end.lower_frequency.messages} {end.lower_frequency.channel} in {end.lower_frequency.days} days at most")
    after += [f"then {end.then}"] if end.then else []
    if after:
        facts.append(("at the end", ", ".join(after) + (f" (after {end.after_days} more days)" if end.after_days else "")))
    return facts


def _timeline(program: Program, loaded: LoadedPrograms) -> list[dict[str, Any]]:
    """One row per step and channel, with the subject, title or first words as a sample customer gets them."""
    from winback.programs import links_for, render
    from winback.programs.variables import sample_offer, sample_row

    definition = loaded.definitions[program.name]
    rows: list[dict[str, Any]] = []
    for number, step in enumerate(program.steps, start=1):
        content = step.send or step.task or ""
        condition = f"only {step.only_if}" if step.only_if else f"not {step.unless}" if step.unless else ""
        for channel in _channels(step):
            message = render(
                definition, content, channel, sample_row(), loaded.brand, links_for(loaded.brand, "sample"), sample_offer(program.offer)
            )
            says = message.subject or message.title or message.text
            rows.append({"step": number, "day": step.day, "content": content, "channel": channel, "condition": condition, "says": says})
    return rows


def _plural(word: str, count: int) -> str:
    return word if count == 1 else word + "s"


def _console(*, error: bool = True) -> Console:
    from rich.console import Console

    return Console(stderr=error, soft_wrap=error)


def _print_plain(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False)


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")
