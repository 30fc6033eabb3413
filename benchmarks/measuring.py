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


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
