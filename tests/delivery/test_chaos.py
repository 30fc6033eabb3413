"""Dispatchers that are killed, one or two at a time, before a provider that misbehaves and dies: nothing lost, nothing doubled.

WINBACK_CHAOS_MESSAGES and WINBACK_CHAOS_KILLS make it larger (20000 and 30 take some minutes each); --log-cli-level=INFO shows figures.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest

from tests.delivery import chaos_provider, chaos_worker
from tests.delivery.conftest import AS_OF, NOON, identity
from winback.ledger import Ledger, open_ledger_at

MESSAGES = int(os.environ.get("WINBACK_CHAOS_MESSAGES", "600"))
KILLS = int(os.environ.get("WINBACK_CHAOS_KILLS", "3"))
# Processes are forked from a server that has imported everything once, and nothing else: no threads, no open databases.
_processes = get_context("forkserver")
_processes.set_forkserver_preload(["tests.delivery.chaos_worker"])
_log = logging.getLogger(__name__)

IN_FLIGHT = 2 * 50
"""Items that one dispatcher of a provider without idempotency has claimed and not recorded, at most: two pages."""

SLICES = 3

COMBINATIONS = [("outbox", 1), ("keyed", 1), ("plain", 2)] + ([("keyed", 2), ("plain", 1)] if MESSAGES > 600 else [])

DEATHS = min(0.02, 40 / MESSAGES)
"""The share of calls that the provider does not survive: some of a whole run."""
RATES = {
    "outbox": {"throttled": 0.1, "error": 0.1, "drop": 0.05, "lost": 0.05, "duplicate": 0.05, "defer": 0.02, "die": 0.02},
    "keyed": {"throttled": 0.05, "error": 0.05, "drop": 0.03, "lost": 0.03, "duplicate": 0.02, "defer": 0.02, "late": 0.01, "die": DEATHS},
    "plain": {"throttled": 0.05, "error": 0.05, "drop": 0.01, "lost": 0.01, "duplicate": 0.01, "defer": 0.02, "late": 0.01, "die": DEATHS},
}


def fill(ledger: Ledger) -> list[str]:
    """Queue one message each for many customers, at no hour forbidden; returns their ids."""
    enrolments, messages = [], []
    for number in range(MESSAGES):
        enrolment_id = identity("lapsing", f"c{number}")
        common = {"program": "lapsing", "version": 1, "customer_id": f"c{number}", "as_of": AS_OF, "recorded_at": AS_OF}
        enrolments.append(
            {**common, "enrolment_id": enrolment_id, "anchor_at": AS_OF - timedelta(days=90), "arm": "treatment", "enrolled_at": AS_OF}
        )
        queued = {"enrolment_id": enrolment_id, "step_no": 1, "kind": "send", "channel": "email", "content": "x", "not_before": AS_OF}
        messages.append({**common, **queued, "message_id": identity(enrolment_id, 1, "email"), "expires_at": AS_OF + timedelta(days=60)})
    definition = json.dumps({"quiet_hours": {"from": 0, "to": 0}})
    policy = {"version": 1, "content_hash": "x", "definition": definition, "effective_at": AS_OF, "recorded_at": AS_OF}
    ledger.record("policy_versions", [policy])
    ledger.record("enrolments", enrolments)
    ledger.record("messages", messages)
    return [str(row["message_id"]) for row in messages]


@dataclass
class Provider:
    """What dispatchers talk to. `url` is empty for the outbox, which lives in the dispatcher's own process."""

    kind: str
    home: Path
    rates: dict[str, float]
    url: str = ""
    deaths: int = 0
    _process: subprocess.Popen[str] | None = None
    _is_up: threading.Event = field(default_factory=threading.Event)
    _is_over: threading.Event = field(default_factory=threading.Event)

    def lines(self, what: str) -> Counter[str]:
        """Ids by how often that happened to them."""
        lines = (self.home / "provider.log").read_text(encoding="ascii").splitlines()
        return Counter(one for happened, _, one in (line.partition(" ") for line in lines) if happened == what)

    def calm_down(self) -> None:
        """From now on nothing goes wrong."""
        self.rates = {}
        if self._process:
            self._is_up.clear()
            self._process.kill()
            self._is_up.wait()

    def live(self, port: int) -> None:
        """Start it, and again whenever it dies."""
        for seed in count():
            orders = {"port": port, "home": str(self.home), "keyed": self.kind == "keyed", "rates": self.rates, "seed": seed}
            command = [sys.executable, "-m", chaos_provider.__name__, json.dumps(orders)]
            with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True) as self._process:
                assert self._process.stdout is not None
                self._process.stdout.readline()
                self._is_up.set()
            if self._is_over.is_set():
                return
            self.deaths += 1

    def stop(self) -> None:
        self._is_over.set()
        if self._process:
            self._process.kill()


@contextmanager
def provider(kind: str, home: Path, rates: dict[str, float]) -> Iterator[Provider]:
    made = Provider(kind, home, rates)
    if kind == "outbox":
        yield made
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made.url = f"http://127.0.0.1:{port}"
    keeper = threading.Thread(target=made.live, args=(port,), daemon=True)
    keeper.start()
    made._is_up.wait()
    try:
        yield made
    finally:
        while keeper.is_alive():
            made.stop()
            keeper.join(0.2)


@dataclass(frozen=True)
class Worker:
    process: BaseProcess
    report: Path

    def finish(self) -> dict[str, Any] | None:
        """What the dispatcher reported; None if it was killed."""
        self.process.join(300)
        assert self.process.exitcode in (0, -9)
        return json.loads(self.report.read_text(encoding="utf-8")) if self.process.exitcode == 0 else None


def start(
    ledger: Ledger,
    target: Provider,
    now: datetime,
    *,
    seed: int = 1,
    kill_at_step: int | None = None,
    kill_after: float | None = None,
    shared: int = 0,
    hand_out: str = "",
    first: int = 0,
) -> Worker:
    report = target.home / f"report {uuid4()}.json"
    orders = {
        "home": str(target.home),
        "report": str(report),
        "ledger": ledger.engine.url.render_as_string(hide_password=False),
        "customers": MESSAGES,
        "now": now.isoformat(),
        "provider": target.kind,
        "url": target.url,
        "rates": target.rates,
        "seed": seed,
        "kill_at_step": kill_at_step,
        "kill_after": kill_after,
        "shared": shared,
        "hand_out": hand_out,
        "first": first,
    }
    process = _processes.Process(target=chaos_worker.main, args=(orders,))
    process.start()
    return Worker(process, report)


def some_moment(chance: Random, kind: str) -> dict[str, Any]:
    """When to kill: at a step or after a time. Each run gets about its share of the work, since earlier ones did part of it."""
    if chance.random() < 0.5:
        steps = 12 * MESSAGES // 1000 if kind == "outbox" else 2 * MESSAGES // chaos_worker.BATCH
        return {"kill_at_step": 1 + chance.randrange(max(3, steps * 2 // KILLS))}
    return {"kill_after": chance.uniform(0, 0.5 + 0.005 * MESSAGES / KILLS)}


def in_flight(ledger: Ledger) -> set[str]:
    """Items with a claim whose outcome is not recorded."""
    answered = {(row["item_id"], row["attempt"]) for row in ledger.rows("outcomes")}
    return {row["item_id"] for row in ledger.rows("claims") if (row["item_id"], row["attempt"]) not in answered}


def latest(ledger: Ledger) -> dict[str, str]:
    """{item: its latest outcome}"""
    newest: dict[str, tuple[int, str]] = {}
    for row in ledger.rows("outcomes"):
        newest[row["item_id"]] = max(newest.get(row["item_id"], (0, "")), (row["attempt"], row["outcome"]))
    return {item: outcome for item, (_, outcome) in newest.items()}


@dataclass
class Chaos:
    """What happened: `at_kills` are the numbers of items newly in flight at the end of each round with a kill."""

    kills: int = 0
    rounds: int = 0
    caught: set[str] = field(default_factory=set)
    at_kills: list[int] = field(default_factory=list)


def survive(ledger: Ledger, target: Provider, dispatchers: int, chance: Random) -> Chaos:
    """Kill dispatchers until `KILLS` died, then let one work until nothing waits."""
    seen = Chaos()
    now = NOON
    while seen.kills < KILLS and seen.rounds < 2 * KILLS:
        workers = [start(ledger, target, now, seed=chance.randrange(10**6), **some_moment(chance, target.kind)) for _ in range(dispatchers)]
        died = sum(worker.finish() is None for worker in workers)
        flying = in_flight(ledger)
        if died:
            seen.at_kills.append(len(flying - seen.caught))
        seen.kills += died
        seen.rounds += 1
        seen.caught |= flying
        # Sooner or later than the claims of the dead run out.
        now += timedelta(minutes=chance.randint(1, 40))
    target.calm_down()
    for _ in range(60):
        now += timedelta(hours=8)
        report = start(ledger, target, now).finish()
        if report and not report["waiting"]:
            return seen
    raise AssertionError(f"still waiting: {report and report['waiting']}")


@pytest.mark.parametrize(("kind", "dispatchers"), COMBINATIONS)
def test_killed_and_restarted_nothing_is_lost_or_doubled(any_ledger: Ledger, tmp_path: Path, kind: str, dispatchers: int) -> None:
    ids = fill(any_ledger)
    with provider(kind, tmp_path, RATES[kind]) as target:
        seen = survive(any_ledger, target, dispatchers, Random(f"{kind}{dispatchers}{any_ledger.dialect}"))
        ended = latest(any_ledger)
        attempts = Counter(row["item_id"] for row in any_ledger.rows("claims"))
        figures = {
            "kills": seen.kills,
            "rounds": seen.rounds,
            "newly in flight at kills": seen.at_kills,
            "deaths": target.deaths,
            "attempts": sum(attempts.values()),
            "outcomes": dict(Counter(ended.values())),
        }
        _log.info("%s, %d dispatcher(s), %s: %s", kind, dispatchers, any_ledger.dialect, figures)
    assert seen.kills > 0
    assert set(ended) == set(ids)
    if kind == "outbox":
        assert sorted(path.stem for path in (tmp_path / "outbox" / "email").rglob("*.eml")) == sorted(ids)
        assert set(ended.values()) == {"accepted"}
        return
    taken, received, answered = (target.lines(what) for what in ("taken", "received", "answered"))
    assert max(taken.values()) == 1
    # Halves are sent of what is refused as a whole, and this provider refuses nothing so: a claim is a call at most.
    assert all(times <= attempts[item] for item, times in received.items())
    assert {item for item, outcome in ended.items() if outcome == "accepted"} <= set(taken)
    if kind == "keyed":
        assert set(taken) == set(ids)
        assert set(ended.values()) == {"accepted"}
        return
    assert set(ended.values()) <= {"accepted", "unknown"}
    assert max(seen.at_kills) <= dispatchers * IN_FLIGHT
    unknown = {item for item, outcome in ended.items() if outcome == "unknown"}
    unanswered = {item for item, times in received.items() if times > answered[item]}
    # A call on a connection that was kept open to a provider now dead reaches nobody, which the caller cannot know.
    assert len(unknown - seen.caught - unanswered) <= target.deaths * dispatchers * chaos_worker.CONCURRENCY * chaos_worker.BATCH


def handed_out(home: Path, worker: Worker) -> str:
    """Where the dispatcher has handed out; empty if it ended before."""
    pointer = home / "hand_out.txt"
    while worker.process.is_alive() and not pointer.exists():
        worker.process.join(0.05)
    found = pointer.read_text(encoding="utf-8") if pointer.exists() else ""
    pointer.unlink(missing_ok=True)
    return found


@pytest.mark.parametrize("kind", ["outbox", "keyed"])
def test_shares_that_are_killed_beside_a_dispatcher_of_everything_lose_and_double_nothing(
    postgres_url: str, tmp_path: Path, kind: str
) -> None:
    """One hands out, two help, and one knows nothing of it and sends the whole queue: any of them may die at any moment."""
    with open_ledger_at(postgres_url) as ledger, provider(kind, tmp_path, RATES[kind]) as target:
        ids = fill(ledger)
        chance = Random(f"shares {kind}")
        now, kills, helped = NOON, 0, 0
        for _ in range(2 * KILLS):
            moments = [some_moment(chance, kind) if chance.random() < 0.7 else {} for _ in range(4)]
            giver = start(ledger, target, now, seed=chance.randrange(10**6), shared=SLICES, **moments[0])
            folder = handed_out(tmp_path, giver)
            helpers = [
                start(ledger, target, now, seed=chance.randrange(10**6), hand_out=folder, first=first, **moments[first])
                for first in (1, 2)
                if folder
            ]
            stranger = start(ledger, target, now, seed=chance.randrange(10**6), **moments[3])
            ended = [worker.finish() for worker in (giver, stranger, *helpers)]
            kills += ended.count(None)
            helped += len(helpers)
            if kills >= KILLS:
                break
            now += timedelta(minutes=chance.randint(1, 40))
        target.calm_down()
        for _ in range(60):
            now += timedelta(hours=8)
            report = start(ledger, target, now, shared=SLICES).finish()
            (tmp_path / "hand_out.txt").unlink(missing_ok=True)
            if report and not report["waiting"]:
                break
        assert kills > 0
        assert helped > 0
        _log.info("shares, %s: %d kills, %d helpers, %d attempts", kind, kills, helped, len(ledger.rows("claims")))
        assert Counter(latest(ledger).values()) == Counter({"accepted": len(ids)})
        assert set(latest(ledger)) == set(ids)
        if kind == "outbox":
            assert sorted(path.stem for path in (tmp_path / "outbox" / "email").rglob("*.eml")) == sorted(ids)
        else:
            assert target.lines("taken") == Counter(ids)
        assert list((tmp_path / "handouts").iterdir()) == []


@pytest.mark.parametrize("kind", ["outbox", "plain"])
def test_two_dispatchers_at_once_share_the_work(any_ledger: Ledger, tmp_path: Path, kind: str) -> None:
    ids = fill(any_ledger)
    with provider(kind, tmp_path, {}) as target:
        workers = [start(any_ledger, target, NOON) for _ in range(2)]
        reports = [worker.finish() for worker in workers]
        assert sum(report["claimed"] for report in reports if report) == MESSAGES
        assert len(any_ledger.rows("claims")) == MESSAGES
        assert {row["outcome"] for row in any_ledger.rows("outcomes")} == {"accepted"}
        if kind == "plain":
            assert target.lines("taken") == Counter(ids)
        else:
            assert len(list((tmp_path / "outbox").rglob("*.eml"))) == MESSAGES
