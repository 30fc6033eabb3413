"""Dispatchers that are killed, and two at once: nothing lost, nothing doubled.

WINBACK_CHAOS_MESSAGES and WINBACK_CHAOS_KILLS make it larger (20000 and 30 take some minutes).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest

from tests.delivery import chaos_worker
from tests.delivery.conftest import AS_OF, NOON, identity
from winback.ledger import Ledger

MESSAGES = int(os.environ.get("WINBACK_CHAOS_MESSAGES", "600"))
KILLS = int(os.environ.get("WINBACK_CHAOS_KILLS", "3"))
# Workers are forked from a server that has imported everything once, and nothing else: no threads, no open databases.
_processes = get_context("forkserver")
_processes.set_forkserver_preload(["tests.delivery.chaos_worker"])

IN_FLIGHT = 3 * 50
"""Items of an unforgiving provider that one dispatcher has claimed and not recorded, at most: under way, and in the making."""


def fill(ledger: Ledger) -> list[str]:
    """Queue one message each for many customers; returns their ids."""
    enrolments, messages = [], []
    for number in range(MESSAGES):
        enrolment_id = identity("lapsing", f"c{number}")
        common = {"program": "lapsing", "version": 1, "customer_id": f"c{number}", "as_of": AS_OF, "recorded_at": AS_OF}
        enrolments.append(
            {**common, "enrolment_id": enrolment_id, "anchor_at": AS_OF - timedelta(days=90), "arm": "treatment", "enrolled_at": AS_OF}
        )
        queued = {"enrolment_id": enrolment_id, "step_no": 1, "kind": "send", "channel": "email", "content": "x", "not_before": AS_OF}
        messages.append({**common, **queued, "message_id": identity(enrolment_id, 1, "email"), "expires_at": AS_OF + timedelta(days=60)})
    ledger.record("enrolments", enrolments)
    ledger.record("messages", messages)
    return [str(row["message_id"]) for row in messages]


@dataclass(frozen=True)
class Worker:
    process: BaseProcess
    report: Path

    def finish(self) -> dict[str, Any] | None:
        """What the dispatcher reported; None if it was killed."""
        self.process.join(300)
        assert self.process.exitcode in (0, -9)
        return json.loads(self.report.read_text(encoding="utf-8")) if self.process.exitcode == 0 else None


def start(ledger: Ledger, home: Path, now: datetime, *, unforgiving: bool, faults: str = "", kill_at: int | None = None) -> Worker:
    report = home / f"report {uuid4()}.json"
    orders = {
        "home": str(home),
        "report": str(report),
        "ledger": ledger.engine.url.render_as_string(hide_password=False),
        "customers": MESSAGES,
        "now": now.isoformat(),
        "unforgiving": unforgiving,
        "faults": faults,
        "kill_at": kill_at,
    }
    process = _processes.Process(target=chaos_worker.main, args=(orders,))
    process.start()
    return Worker(process, report)


def _some_step(chance: Random, steps: int) -> int:
    """A commit or call of a dispatch that has about this many; the share of each run, since earlier ones did part of the work."""
    return 1 + chance.randrange(max(3, steps * 2 // KILLS))


def latest(ledger: Ledger) -> Counter[str]:
    """Items by their latest outcome."""
    newest: dict[str, tuple[int, str]] = {}
    for row in ledger.rows("outcomes"):
        newest[row["item_id"]] = max(newest.get(row["item_id"], (0, "")), (row["attempt"], row["outcome"]))
    return Counter(outcome for _, outcome in newest.values())


def test_killed_and_restarted_with_an_idempotent_provider_nothing_is_lost_or_doubled(any_ledger: Ledger, tmp_path: Path) -> None:
    ids = fill(any_ledger)
    chance = Random(11)
    now = NOON
    kills = 0
    for _ in range(KILLS):
        faults = f"throttled=0.1,error=0.1,lost=0.1,defer=0.02,duplicate=0.05,seed={chance.randrange(1000)}"
        killed = start(
            any_ledger, tmp_path, now, unforgiving=False, faults=faults, kill_at=_some_step(chance, 12 * MESSAGES // 1000)
        ).finish()
        kills += killed is None
        now += timedelta(minutes=20)
    for _ in range(3):
        now += timedelta(hours=2)
        report = start(any_ledger, tmp_path, now, unforgiving=False).finish()
        if report and not report["waiting"]:
            break
    assert kills > 0
    delivered = [path.stem for path in (tmp_path / "outbox" / "email").rglob("*.eml")]
    assert sorted(delivered) == sorted(ids)
    assert latest(any_ledger) == {"accepted": MESSAGES}


def test_killed_and_restarted_with_any_other_provider_nothing_is_doubled(any_ledger: Ledger, tmp_path: Path) -> None:
    fill(any_ledger)
    chance = Random(12)
    now = NOON
    kills = 0
    for _ in range(KILLS):
        faults = f"throttled=0.1,defer=0.02,seed={chance.randrange(1000)}"
        killed = start(
            any_ledger, tmp_path, now, unforgiving=True, faults=faults, kill_at=_some_step(chance, 80 * MESSAGES // 1000)
        ).finish()
        kills += killed is None
        now += timedelta(minutes=20)
    for _ in range(3):
        now += timedelta(hours=2)
        report = start(any_ledger, tmp_path, now, unforgiving=True).finish()
        if report and not report["waiting"]:
            break
    assert kills > 0
    delivered = Counter((tmp_path / "taken.log").read_text(encoding="ascii").split())
    assert max(delivered.values()) == 1
    outcomes = latest(any_ledger)
    assert set(outcomes) <= {"accepted", "unknown"}
    assert sum(outcomes.values()) == MESSAGES
    assert outcomes["unknown"] <= kills * IN_FLIGHT
    accepted = {row["item_id"] for row in any_ledger.rows("outcomes") if row["outcome"] == "accepted"}
    assert accepted <= set(delivered)


@pytest.mark.parametrize("unforgiving", [False, True])
def test_two_dispatchers_at_once_share_the_work(any_ledger: Ledger, tmp_path: Path, unforgiving: bool) -> None:
    ids = fill(any_ledger)
    workers = [start(any_ledger, tmp_path, NOON, unforgiving=unforgiving) for _ in range(2)]
    reports = [worker.finish() for worker in workers]
    assert sum(report["claimed"] for report in reports if report) == MESSAGES
    claims = any_ledger.rows("claims")
    assert len(claims) == len(ids)
    assert {row["outcome"] for row in any_ledger.rows("outcomes")} == {"accepted"}
    if unforgiving:
        delivered = Counter((tmp_path / "taken.log").read_text(encoding="ascii").split())
        assert sorted(delivered.elements()) == sorted(ids)
    else:
        assert len(list((tmp_path / "outbox").rglob("*.eml"))) == MESSAGES
