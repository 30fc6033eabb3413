"""A command of winback in a process beside another one, which ends when that one ends, however it does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping


def start_beside(environment: Mapping[str, str], *arguments: str) -> None:
    """Start `winback <arguments>` beside this process. It outlives an exec of this process, not its end."""
    subprocess.Popen([sys.executable, "-m", "winback.cli.beside", str(os.getpid()), *arguments], env=dict(environment))


def _end_with(parent: int) -> None:
    look = threading.Event()
    while os.getppid() == parent:
        look.wait(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    from winback.cli import main

    threading.Thread(target=_end_with, args=(int(sys.argv[1]),), daemon=True).start()
    sys.argv = ["winback", *sys.argv[2:]]
    main()
