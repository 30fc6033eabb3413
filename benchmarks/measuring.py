"""Time and memory of a child process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from winback.settings import PROJECT_ROOT

_SHOWN = 40
"""Lines of what a failed child complained of."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: `wall` and `cpu` (user and system, all threads) in seconds, `peak` resident memory in MB, `told` what it printed."""

    wall: float
    cpu: float
    peak: float
    told: dict[str, Any]


class Failed(SystemExit):
    """A contender did not come to its end. The message is what it said."""


def run(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Measured:
    """Run `python -m <arguments>` in a process of its own and account for it; its last line on standard output is JSON.

    Raises
    ------
    Failed
        It ended with an error.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaints:
        began = time.monotonic()
        child = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdout=output,
            stderr=complaints,
            cwd=PROJECT_ROOT,
            env=os.environ | dict(environment or {}),
        )
        # wait4 instead of Popen.wait: it returns what this one child used, not the sum over all children.
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        lines, said = (_text(file).splitlines() for file in (output, complaints))
    if child.returncode != 0 or not lines:
        raise Failed("\n".join([f"{' '.join(arguments)} ended with {child.returncode}", *lines, *said[-_SHOWN:]]))
    kilobytes = usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return Measured(wall, usage.ru_utime + usage.ru_stime, kilobytes / 1024, json.loads(lines[-1]))


def cpu_of_server(process: int) -> float | None:
    """CPU seconds of a process and its children, those that have ended too. None where the system does not tell (it is not Linux)."""
    processes = Path("/proc")
    if not (processes / "stat").exists():
        return None
    ticks = 0
    for folder in processes.glob("[0-9]*"):
        try:
            # After the name, which may hold blanks: state, parent, ...; user and system time, then those of children waited for.
            told = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        if folder.name == str(process):
            ticks += sum(map(int, told[11:15]))
        elif told[1] == str(process):
            ticks += sum(map(int, told[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
