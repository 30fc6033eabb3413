"""Measure delivery to a provider that answers at once, beside bare loops of the same clients: `make bench PART=deliver`.

python -m benchmarks.deliver [--size 1000000] [--runs 3]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from benchmarks.measuring import Measured, run
from benchmarks.page import PAGE, machine, write_part
from benchmarks.provider import Provider, provider
from benchmarks.senders import ANSWERS
from tests.postgres import NoPostgres, cluster
from winback.clock import utc_now


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table: a contender of `benchmarks.senders`, how many things it handles, and what it has to reach.

    `beside` is the line that it is compared with. `least`: things a second; `share`: of the other line's speed.
    """

    name: str
    label: str
    contender: str
    destination: str
    size: int
    things: str
    beside: str = ""
    least: float = 0.0
    share: float = 0.0


def lines(size: int) -> list[Line]:
    """What is measured, for an activation of `size` actions; everything else grows with it up to a size that suits it."""
    single, batch, people, items = min(10_000, size // 2), min(20_000, size // 2), min(200_000, size), min(200_000, size)
    found = []
    for name, label in (("fcm", "FCM"), ("twilio", "Twilio"), ("webhook", "webhook")):
        found.append(Line(f"bare {name}", f"{label}: bare loop of requests", "bare", name, single, "messages"))
        found.append(
            Line(name, f"{label}: dispatched", "dispatched", name, single, "messages", beside=f"bare {name}", share=0.6),
        )
    found += [
        Line("bare smtp", "SMTP: bare loop of smtplib", "bare_smtp", "smtp", single, "messages"),
        Line("smtp", "SMTP: dispatched", "dispatched", "smtp", single, "messages", beside="bare smtp", least=300),
        Line(
            "smtp_dkim", "SMTP, signed with DKIM: dispatched", "dispatched", "smtp_dkim", single, "messages", beside="bare smtp", least=300
        ),
        Line("bare sendgrid", "SendGrid: bare loop of requests", "bare", "sendgrid", batch, "recipients"),
        Line(
            "sendgrid", "SendGrid: rendered messages", "destination", "sendgrid", batch, "recipients", beside="bare sendgrid", least=10_000
        ),
        Line("sendgrid whole", "SendGrid: dispatched", "dispatched", "sendgrid", batch, "recipients", beside="bare sendgrid"),
    ]
    for name, label in (("meta", "Meta"), ("google_data_manager", "Google Data Manager"), ("tiktok", "TikTok")):
        found.append(Line(f"bare {name}", f"{label}: bare loop of requests", "bare", name, 2 * people, "identifiers"))
        found.append(
            Line(name, f"{label}: hashed and handed over", "audience", name, people, "identifiers", beside=f"bare {name}", least=100_000)
        )
    found.append(Line("sqlite", "ledger on SQLite", "ledger", "", items, "claims with outcomes", least=20_000))
    return found


ACTIVATIONS = {"small": 10, "large": 1}
"""Sizes of activations as parts of the size asked for: memory is flat when both need as much."""

MOST_GROWTH = 1.25
"""Peak memory of the large activation to that of the small one, at most."""


@contextmanager
def _postgres() -> Iterator[str | None]:
    """The URL of an empty ledger on a PostgreSQL server of its own that writes to disk; None where PostgreSQL is not installed."""
    try:
        with cluster(durable=True) as url:
            yield f"{url}/postgres"
    except NoPostgres as missing:
        print(f"PostgreSQL is left out: {missing}", flush=True)
        yield None


def compare(size: int, runs: int) -> dict[str, Measured]:
    """Run every line `runs` times in turn, so that a busy machine slows all of them; return for each its medians."""
    wanted = lines(size)
    measured: dict[str, list[Measured]] = {}
    for turn in range(1, runs + 1):
        with _postgres() as url, provider(ANSWERS) as at:
            on_postgres = [replace(wanted[-1], name="postgres", label=POSTGRES, destination=url, least=0.0)] if url else []
            for line in (*wanted, *on_postgres):
                measured.setdefault(line.name, []).append(_run(line.contender, line.destination, line.size, at))
                print(f"run {turn} of {runs}, {line.label}: {_speed(measured[line.name][-1]):,.0f} {line.things}/s", flush=True)
    found = {name: middle(results) for name, results in measured.items()}
    for name, part in ACTIVATIONS.items():
        found[name] = _run("activation", "", size // part, Provider(0, 0))
        print(f"activation of {size // part:,} actions: {found[name].told['seconds']:.0f} s, peak {found[name].peak:,.0f} MB", flush=True)
    return found


POSTGRES = "ledger on PostgreSQL"


def _run(contender: str, destination: str, size: int, at: Provider) -> Measured:
    return run(["benchmarks.senders", contender, destination, str(size), str(at.http), str(at.smtp)])


def middle(results: Sequence[Measured]) -> Measured:
    """The run with the (lower) median speed, whole."""
    return sorted(results, key=_speed)[(len(results) - 1) // 2]


def _speed(one: Measured) -> float:
    speed: float = one.told["count"] / one.told["seconds"]
    return speed


def _cpu(one: Measured) -> float:
    """Microseconds of CPU time for one thing."""
    cpu: float = one.told["cpu"] / one.told["count"] * 1e6
    return cpu


def throughput(measured: Mapping[str, Measured], size: int) -> list[str]:
    """The lines of a Markdown table: speed, CPU time, both beside the bare loop, and whether the target was met."""
    table = [
        "| | a second | of the bare loop | CPU time each | of the bare loop | target | met |",
        "|---|---:|---:|---:|---:|---|---|",
    ]
    wanted = lines(size)
    if "postgres" in measured:
        wanted.append(replace(wanted[-1], name="postgres", label=POSTGRES, least=0.0))
    for line in wanted:
        one = measured[line.name]
        ratio = cpu_ratio = target = met = ""
        if line.beside:
            ratio = f"{_speed(one) / _speed(measured[line.beside]):.2f}"
            cpu_ratio = f"{_cpu(one) / _cpu(measured[line.beside]):.2f}"
        if line.share:
            target = f"≥ {line.share} of the bare loop"
            met = _yes(_speed(one) >= line.share * _speed(measured[line.beside]))
        elif line.least:
            target = f"≥ {line.least:,.0f} a second"
            met = _yes(_speed(one) >= line.least)
        table.append(
            f"| {line.label} | {_speed(one):,.0f} {line.things} | {ratio} | {_cpu(one):,.1f} µs | {cpu_ratio} | {target} | {met} |"
        )
    return table


def activation(measured: Mapping[str, Measured]) -> list[str]:
    """The lines of a Markdown table: memory and seconds per million actions at both sizes."""
    ledger = measured["sqlite"].told
    table = [
        "| | " + " | ".join(f"{measured[name].told['count']:,} actions" for name in ACTIVATIONS) + " |",
        "|---" + "|---:" * len(ACTIVATIONS) + "|",
        "| peak memory | " + " | ".join(f"{measured[name].peak:,.0f} MB" for name in ACTIVATIONS) + " |",
    ]
    labels = {
        "plan": "plan",
        "hash": "of it hashing, measured apart",
        "apply": "apply",
        "dispatch": "dispatch: claim, render, hand over, record",
        "render": "of it rendering (CPU time)",
    }
    for phase, label in labels.items():
        cells = [_per_million(*measured[name].told["phases"][phase], measured[name].told["count"]) for name in ACTIVATIONS]
        table.append(f"| {label}, seconds per million actions | {' | '.join(cells)} |")
    whole = [_per_million(measured[name].told["seconds"], measured[name].told["cpu"], measured[name].told["count"]) for name in ACTIVATIONS]
    table.append(f"| plan, apply and dispatch together, seconds per million actions | {' | '.join(whole)} |")
    for part, label in (("claiming", "of it claims, measured apart"), ("recording", "of it outcomes, measured apart")):
        seconds = ledger[part] / ledger["count"] * 1e6
        table.append(f"| {label}, seconds per million actions | {' | '.join([f'{seconds:.0f}'] * len(ACTIVATIONS))} |")
    return table


def _per_million(wall: float, cpu: float, count: int) -> str:
    return f"{wall / count * 1e6:.0f} (CPU time {cpu / count * 1e6:.0f})"


def _yes(is_met: bool) -> str:
    return "yes" if is_met else "**no**"


PART = """## Delivery to a provider that answers at once

The provider is a process of its own on the loopback (`benchmarks/provider.py`): it reads each request to its end and answers with something
made beforehand. *Dispatched* is all that a run does for a due message: finding it, the claim on disk, rendering a shipped program's
message, the request, the outcome on disk. The bare loop sends the very bytes that the destination sends, ready made, with the same client
at the same concurrency. Rate limits of the destinations are lifted.

{throughput}

{counted} in turn, each in a process of its own. CPU time is that of the sending process. Where time and CPU time tell different
stories, other work had the machine. An ad platform gets people in batches of 10,000 with up to five identifiers each; its bare loop hashes
nothing. The ledger takes items in lots of a thousand, two commits on disk for each lot.

### A large activation

Half of the actions are push messages, half additions to an ad audience; the destination is in the same process and takes everything.
DuckDB has 256 MB of memory, which both sizes fill.

{activation}

Memory at {large:,} actions is {growth:.2f} of that at {small:,}; target: flat, at most {most_growth}; met: {met}.

{on}; {machine}.
"""


def report(measured: Mapping[str, Measured], size: int, runs: int, on: date) -> str:
    """Its part of docs/performance.md, from the figures alone."""
    growth = measured["large"].peak / measured["small"].peak
    return PART.format(
        throughput="\n".join(throughput(measured, size)),
        activation="\n".join(activation(measured)),
        counted="One run of each" if runs == 1 else f"Medians of {runs} runs",
        small=measured["small"].told["count"],
        large=measured["large"].told["count"],
        growth=growth,
        most_growth=MOST_GROWTH,
        met=_yes(growth <= MOST_GROWTH),
        on=on.isoformat(),
        machine=machine("requests", "urllib3", "cryptography", "dkimpy", "duckdb", "sqlalchemy"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=1_000_000, help="actions of the large activation")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--date", type=date.fromisoformat, default=None, help="date of the report (default: today, UTC)")
    parser.add_argument("--report", type=Path, default=PAGE, help="page to write its part of (default: docs/performance.md)")
    asked = parser.parse_args()
    measured = compare(asked.size, asked.runs)
    print("\n".join((*throughput(measured, asked.size), "", *activation(measured))))
    write_part(asked.report, "deliver", report(measured, asked.size, asked.runs, asked.date or utc_now().date()))
    print(f"written: {asked.report}")


if __name__ == "__main__":
    main()
