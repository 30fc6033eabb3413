"""Dispatch of one queue by one process and by several, on a PostgreSQL ledger: `python -m benchmarks.shards`.

Two providers: one whose calls take 400 ms and carry one message (32 at once); one that takes a thousand at once
and answers without delay, where only the processor is the limit. Processes are started before the clock is.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar

import duckdb

from tests.delivery.conftest import AS_OF, NOON, SCHEMA, PlainRenderer, identity
from tests.postgres import cluster
from winback.delivery import DispatchReport, dispatch
from winback.delivery.pace import Timer
from winback.delivery.sharing import HandOut, hand_out, send_slices, wait_for_others
from winback.destinations import Destinations
from winback.destinations.base import Capabilities, Channel, Message, Outcome, Result
from winback.ledger import Ledger, open_ledger_at
from winback.settings import Settings


class Quick:
    """Takes everything at once."""

    name = "provider"
    capabilities: ClassVar[Capabilities] = Capabilities(frozenset({Channel.EMAIL}), batch_size=1000, concurrency=4)
    seconds = 0.0

    def send(self, messages: Sequence[Message], now: datetime) -> list[Result]:  # noqa: ARG002
        time.sleep(self.seconds)
        return [Result(Outcome.ACCEPTED)] * len(messages)

    def resolve(self, messages: Sequence[Message], now: datetime) -> list[Result]:  # noqa: ARG002
        return [Result(Outcome.UNKNOWN)] * len(messages)

    def check(self) -> str:
        return self.name

    def close(self) -> None: ...


class Slow(Quick):
    """Takes them one by one, and takes its time."""

    capabilities: ClassVar[Capabilities] = Capabilities(frozenset({Channel.EMAIL}), concurrency=32)
    seconds = 0.4


def _everywhere(kind: str) -> Destinations:
    return Destinations({Channel.EMAIL: Slow() if kind == "slow" else Quick()})


def _fill(ledger: Ledger, count: int) -> None:
    common = {"program": "lapsing", "version": 1, "as_of": AS_OF, "recorded_at": AS_OF}
    people = [(f"c{number}", identity("lapsing", f"c{number}")) for number in range(count)]
    entered = {"anchor_at": AS_OF - timedelta(days=90), "arm": "treatment", "enrolled_at": AS_OF}
    queued = {
        "step_no": 1,
        "kind": "send",
        "channel": "email",
        "content": "x",
        "not_before": AS_OF,
        "expires_at": AS_OF + timedelta(days=9),
    }
    ledger.record("policy_versions", [{"version": 1, "content_hash": "x", "effective_at": AS_OF, "recorded_at": AS_OF, "definition": "{}"}])
    ledger.record("enrolments", ({**common, **entered, "customer_id": who, "enrolment_id": key} for who, key in people))
    ledger.record(
        "messages",
        ({**common, **queued, "customer_id": who, "enrolment_id": key, "message_id": identity(key, 1)} for who, key in people),
    )


def _workbench(count: int) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"threads": 2})
    connection.execute(SCHEMA)
    connection.execute(
        f"""
        insert into intermediate.int_customers__contacts (customer_id, email, reachable_email)
            select 'c' || i, 'c' || i || '@example.com', true from range({count}) as numbers(i);
        insert into raw.consents select 'c' || i, 'email', timestamp '{AS_OF}' - interval 9 day, true, 'form'
            from range({count}) as numbers(i);
        """
    )
    return connection


def _help(home: str, ledger_url: str, kind: str, first: int, ready: Any, handed_out: Any) -> None:
    with open_ledger_at(ledger_url) as ledger:
        ready.release()
        folder = handed_out.get()
        to = _everywhere(kind)
        send_slices(Settings(home=Path(home)), ledger, to, HandOut(Path(folder)), clock=lambda: NOON, first=first, renderer=PlainRenderer())


def measure(server: str, number: int, kind: str, count: int, processes: int) -> float:
    """Seconds from the first look to the last outcome."""
    import psycopg

    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"create database shards_{number}")
    url = f"{server}/shards_{number}"
    context = get_context("spawn")
    with tempfile.TemporaryDirectory() as home, open_ledger_at(url) as ledger, _workbench(count) as workbench:
        _fill(ledger, count)
        settings = Settings(home=Path(home))
        ready, handed_out = context.Semaphore(0), context.Queue()
        workers = [context.Process(target=_help, args=(home, url, kind, first, ready, handed_out)) for first in range(1, processes)]
        for worker in workers:
            worker.start()
        for _ in workers:
            ready.acquire()
        to = _everywhere(kind)
        shares: DispatchReport | None = None
        ledger.copy_to_warehouse(workbench)
        began = time.perf_counter()
        if processes > 1:
            shares = DispatchReport(NOON)
            with hand_out(settings, workbench, ledger, NOON, slices=processes) as handed:
                if handed is None:
                    raise RuntimeError("too little to share")
                for _ in workers:
                    handed_out.put(str(handed.folder))
                send_slices(settings, ledger, to, handed, clock=lambda: NOON, renderer=PlainRenderer())
                wait_for_others(ledger, handed, Timer())
                for one in handed.reports():
                    shares.add(one)
        report = dispatch(settings, workbench, ledger, to, NOON, renderer=PlainRenderer(), shares_before=shares)
        seconds = time.perf_counter() - began
        for worker in workers:
            worker.join()
        if report.total("accepted") != count:
            raise RuntimeError(f"{report.outcomes}, wanted {count}")
        return seconds


def main() -> None:
    with cluster(durable=True) as server:
        number = 0
        for kind, count in (("slow", 3_000), ("quick", 60_000)):
            for processes in (1, 2, 4):
                number += 1
                seconds = measure(server, number, kind, count, processes)
                sys.stdout.write(f"{kind}: {count:,} messages, {processes} processes: {seconds:.1f} s, {count / seconds:,.0f}/s\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
