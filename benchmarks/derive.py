"""Measure one day's derivation beside hand-written SQL, and write its part of docs/performance.md: `make bench PART=derive`.

python -m benchmarks.derive [--size 1000000] [--runs 3]
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from benchmarks.generate import AS_OF, generate_once
from benchmarks.measuring import Measured, medians, run
from benchmarks.page import PAGE, machine, write_part
from winback.clock import utc_now
from winback.settings import Settings
from winback.warehouse import open_warehouse

NAMES = {
    "floor": "hand-written SQL",
    "models": "dbt, models",
    "models_and_tests": "dbt, models and data tests",
}
SHOWN_NODES = 15


def prepare(settings: Settings) -> None:
    """Drop what an earlier run derived, so that each begins with raw, programs and ledger alone."""
    with open_warehouse(settings) as warehouse:
        for schema in ("floor", "seeds", "staging", "intermediate", "marts"):
            warehouse.execute(f"drop schema if exists {schema} cascade")
        warehouse.execute("checkpoint")


def compare(settings: Settings, runs: int) -> dict[str, Measured]:
    """Run every contender `runs` times in turn, so that a busy machine slows all of them; return medians."""
    measured: dict[str, list[Measured]] = {name: [] for name in NAMES}
    # Once before, unmeasured: a daily run finds dbt's parse of the day before.
    run(["benchmarks.contenders", "parse", str(settings.root), AS_OF.isoformat()])
    for turn in range(1, runs + 1):
        for name, label in NAMES.items():
            prepare(settings)
            result = run(["benchmarks.contenders", name, str(settings.root), AS_OF.isoformat()])
            measured[name].append(result)
            print(f"run {turn} of {runs}, {label}: {result.wall:.1f} s, cpu {result.cpu:.1f} s, peak {result.peak:,.0f} MB", flush=True)
    return {name: medians(results) for name, results in measured.items()}


def side_by_side(measured: Mapping[str, Measured]) -> list[str]:
    """The comparison as lines of a Markdown table."""
    floor = measured["floor"]
    lines = [
        "| | time | ratio | CPU time | ratio | peak memory | ratio | of it before the first model |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, label in NAMES.items():
        one = measured[name]
        fixed = f"{one.told['fixed']:.1f} s" if one.told["fixed"] else ""
        lines.append(
            f"| {label} | {one.wall:.1f} s | {one.wall / floor.wall:.2f} | {one.cpu:.1f} s | {one.cpu / floor.cpu:.2f} "
            f"| {one.peak:,.0f} MB | {one.peak / floor.peak:.2f} | {fixed} |"
        )
    return lines


def slowest(told: Mapping[str, float]) -> list[str]:
    """The models or tables that took longest, as lines of a Markdown table."""
    ordered = sorted(told.items(), key=lambda item: -item[1])[:SHOWN_NODES]
    return ["| | seconds |", "|---|---:|", *(f"| {name} | {seconds:.2f} |" for name, seconds in ordered)]


PART = """## A day's derivation beside hand-written SQL

{customers:,} customers, {orders:,} orders, {message_events:,} message events and {activity_events:,} visits, logins and actions over three
years, all generated (`benchmarks/generate.sql`). Every mart is derived from raw: by `dbt build`, in one process as a daily run does it, and
by `benchmarks/floor.sql`, which is what an expert would write by hand for DuckDB alone. A test holds both to the same rows.

{comparison}

{counted}, each in a process of its own and counted from its start to its end. dbt's time includes Python, imports and
parsing, shown apart in the last column. The {tests} data tests of a daily run are part of the last row alone; the hand-written script tests
nothing. Where time and CPU time tell different stories, other work had the machine.

{on}; {machine}; DuckDB with {threads} threads and a memory limit of {memory_limit}.

### Where the time goes

The slowest models; two run at a time:

{models}

The slowest tables of the hand-written script:

{floor}
"""


def report(settings: Settings, measured: Mapping[str, Measured], customers: int, runs: int, on: date) -> str:
    """Its part of docs/performance.md, from the figures alone."""
    return PART.format(
        customers=customers,
        orders=customers * 10,
        message_events=customers * 30,
        activity_events=customers * 7,
        comparison="\n".join(side_by_side(measured)),
        counted="One run of each" if runs == 1 else f"Medians of {runs} runs in turn",
        tests=measured["models_and_tests"].told["tests"],
        on=on.isoformat(),
        machine=machine("duckdb", "dbt-core", "dbt-duckdb"),
        threads=settings.threads,
        memory_limit=settings.memory_limit,
        models="\n".join(slowest(measured["models"].told["nodes"])),
        floor="\n".join(slowest(measured["floor"].told["nodes"])),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=1_000_000, help="customers")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--date", type=date.fromisoformat, default=None, help="date of the report (default: today, UTC)")
    parser.add_argument("--report", type=Path, default=PAGE, help="page to write its part of (default: docs/performance.md)")
    asked = parser.parse_args()
    settings = generate_once(asked.size, tell=lambda line: print(line, flush=True))
    measured = compare(settings, asked.runs)
    print("\n".join(side_by_side(measured)))
    write_part(asked.report, "derive", report(settings, measured, asked.size, asked.runs, asked.date or utc_now().date()))
    print(f"written: {asked.report}")


if __name__ == "__main__":
    main()
