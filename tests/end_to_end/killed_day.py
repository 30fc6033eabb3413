"""Plan, apply and dispatch one derived day in a process of its own, which kills itself at the n-th commit of the ledger.

python -m tests.end_to_end.killed_day PROJECT HOME AS_OF COMMIT      (COMMIT 0: nothing is killed, and the commits are printed)
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import datetime
from itertools import count
from pathlib import Path

from sqlalchemy import Engine, event

from winback.day import apply_day, dispatch_due, plan_day
from winback.settings import Settings


def main(project: str, home: str, as_of: datetime, kill_at: int) -> None:
    commits = count(1)
    made = 0

    def committed(*_: object) -> None:
        nonlocal made
        made = next(commits)
        if made == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "commit", committed)
    settings = Settings(project=Path(project), home=Path(home), clock="simulated", threads=1)
    plan_day(settings, as_of)
    apply_day(settings, as_of, as_of, "killed")
    dispatch_due(settings, as_of, as_of)
    sys.stdout.write(f"{made}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], datetime.fromisoformat(sys.argv[3]), int(sys.argv[4]))
