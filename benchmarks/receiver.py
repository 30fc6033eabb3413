"""The receiver in a process of its own, to be measured and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

from benchmarks.sender import PUBLIC_KEY
from winback.settings import PROJECT_ROOT


class Receiver:
    """`winback listen` on a home of its own. `pid` is that of the process now running."""

    def __init__(self, home: Path, port: int = 0) -> None:
        self.home = home
        self.port = port
        self._process: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        """Returns when it takes connections."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WINBACK_")}
        environment |= {"WINBACK_HOME": str(self.home), "SENDGRID_WEBHOOK_PUBLIC_KEY": PUBLIC_KEY}
        command = [sys.executable, "-c", "from winback.cli import main; main()", "listen", "--port", str(self.port)]
        self._process = subprocess.Popen(command, env=environment, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True)
        first = _output(self._process).readline()
        if "http://" not in first:
            raise RuntimeError(f"the receiver did not start: {first}")
        self.port = int(first.split("http://")[1].split()[0].rpartition(":")[2])

    def kill(self) -> None:
        """As a power cut would, but for the disk."""
        self._process.kill()
        self._ended()

    def stop(self) -> int:
        """As an operator would; its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._ended()

    def _ended(self) -> int:
        code = self._process.wait()
        _output(self._process).close()
        return code

    def resident_megabytes(self) -> float:
        found = subprocess.run(["ps", "-o", "rss=", "-p", str(self.pid)], capture_output=True, text=True, check=False).stdout.strip()
        return int(found or 0) / 1024


def _output(process: subprocess.Popen[str]) -> IO[str]:
    if process.stdout is None:
        raise RuntimeError("started without a pipe")
    return process.stdout
