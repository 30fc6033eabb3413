"""What days of the demo cost, everything included: `python -m benchmarks.days`. A cold process for one day, then 30 days in one process."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from benchmarks.page import PAGE, machine, write_part
from winback.cli.run import DEMO_FIRST_DAY
from winback.settings import PROJECT_ROOT

_MANY = 30
_START_UP = re.compile(r"start-up ([\d.]+); the days ([\d.]+)(.*)")


def _run(home: Path, *arguments: str) -> tuple[float, float, str]:
    """Seconds, seconds of CPU time, and what was said."""
    environment = os.environ | {"WINBACK_HOME": str(home), "COLUMNS": "200"}
    began, used = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", "from winback.cli import main; main()", "run", *arguments]
    finished = subprocess.run(command, cwd=PROJECT_ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    if finished.returncode != 0:
        raise SystemExit(finished.stderr)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - began, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime, finished.stderr


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="winback-days-"))
    try:
        home = folder / "home"
        _run(home, "--demo", "--days", "1")  # makes the data and the home, which no later day does
        second = DEMO_FIRST_DAY + timedelta(days=1)
        cold, cold_cpu, said = _run(home, "--date", second.isoformat(), "--days", "1")
        found = _START_UP.search(said)
        start_up = float(found.group(1)) if found else 0.0
        _, _, said = _run(home, "--date", (second + timedelta(days=1)).isoformat(), "--days", str(_MANY))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    where = _START_UP.search(said)
    a_day = float(where.group(2)) / _MANY if where else 0.0
    rows = [
        ("one day, from a cold process", cold, cold_cpu, "≤ 20 s", cold <= 20),
        ("of it start-up: before the day begins", start_up, None, "less than half", start_up < cold / 2),
        (f"{_MANY} days in one process, a day", a_day, None, "≤ 3 s", a_day <= 3),
    ]
    lines = ["## Days of the demo", "", "| | seconds | CPU time | target | met |", "|---|---:|---:|---|---|"]
    for name, wall, cpu, target, met in rows:
        lines.append(f"| {name} | {wall:.1f} | {'' if cpu is None else f'{cpu:.1f}'} | {target} | {'yes' if met else '**no**'} |")
    told = f"Seconds of the {_MANY} days: start-up {where.group(1)}, the days {where.group(2)}{where.group(3)}." if where else ""
    lines += ["", "Land, check, derive with all data tests, plan, apply, send, publish, report. " + told, ""]
    lines += ["Where time and CPU time tell different stories, other work had the machine.", ""]
    write_part(PAGE, "days", "\n".join([*lines, machine("dbt-core", "dagster", "duckdb", "great-expectations")]))


if __name__ == "__main__":
    main()
