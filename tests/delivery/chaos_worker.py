"""One dispatcher in a process of its own, to be killed."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Sequence
from datetime import datetime
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import duckdb
from sqlalchemy import event

from tests.delivery.conftest import AS_OF, SCHEMA, PlainRenderer
from winback.delivery import dispatch
from winback.delivery.pace import Timer
from winback.destinations import Destinations
from winback.destinations.base import Capabilities, Channel, Message, Outcome, Result
from winback.destinations.faults import Faults
from winback.destinations.local import LocalOutbox
from winback.ledger import Ledger, open_ledger_at
from winback.settings import Settings


def warehouse(customers: int) -> duckdb.DuckDBPyConnection:
    """A warehouse in which everybody can be reached."""
    connection = duckdb.connect()
    connection.execute(SCHEMA)
    connection.execute(
        f"""
        insert into intermediate.int_customers__contacts (customer_id, email, reachable_email)
            select 'c' || i, 'c' || i || '@example.com', true from range({customers}) as numbers(i);
        insert into raw.consents select 'c' || i, 'email', timestamp '{AS_OF}' - interval 9 day, true, 'form'
            from range({customers}) as numbers(i);
        """
    )
    return connection


class Unforgiving:
    """A provider without idempotency: every message that reaches it is delivered, and written down, once more."""

    name = "unforgiving"
    capabilities: ClassVar[Capabilities] = Capabilities(frozenset({Channel.EMAIL}), batch_size=10, concurrency=2)

    def __init__(self, log: Path, faults: Faults) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._faults = faults

    def send(self, messages: Sequence[Message], now: datetime) -> list[Result]:
        self._faults.before(len(messages))
        results = [self._faults.refusal() or Result(Outcome.ACCEPTED) for _ in messages]
        taken = [message.message_id for message, result in zip(messages, results, strict=True) if result.outcome is Outcome.ACCEPTED]
        os.write(self._log, "".join(f"{item}\n" for item in taken).encode())
        return self._faults.after(results)

    def resolve(self, messages: Sequence[Message], now: datetime) -> list[Result]:
        return [Result(Outcome.UNKNOWN)] * len(messages)

    def check(self) -> str:
        return self.name

    def close(self) -> None:
        os.close(self._log)


def _die_at(step: int, ledger: Ledger, destination: Any) -> None:
    """SIGKILL some milliseconds after the step-th commit or call: at random moments, however fast the machine is."""
    steps = count(1)
    send = destination.send

    def took_step(*_: object) -> None:
        if next(steps) == step:
            threading.Timer(Random(step).uniform(0, 0.02), os.kill, (os.getpid(), signal.SIGKILL)).start()

    def counted(messages: Sequence[Message], now: datetime) -> list[Result]:
        took_step()
        results: list[Result] = send(messages, now)
        took_step()
        return results

    destination.send = counted
    event.listen(ledger.engine, "commit", took_step)


def main(orders: dict[str, Any]) -> None:
    """Dispatch as told; the report goes into a file, unless the process is killed before."""
    home = Path(orders["home"])
    faults = Faults.parse(orders["faults"])
    destination: Any = Unforgiving(home / "taken.log", faults) if orders["unforgiving"] else LocalOutbox(home / "outbox", faults=faults)
    connection = warehouse(orders["customers"])
    ledger = open_ledger_at(orders["ledger"])
    if orders["kill_at"] is not None:
        _die_at(orders["kill_at"], ledger, destination)
    settings = Settings(home=home, clock="simulated")
    now = datetime.fromisoformat(orders["now"])
    report = dispatch(
        settings,
        connection,
        ledger,
        Destinations({Channel.EMAIL: destination}),
        now,
        renderer=PlainRenderer(),
        chance=Random(1),
        timer=Timer(sleep=lambda seconds: None),
    )
    Path(orders["report"]).write_text(json.dumps(report.metadata()), encoding="utf-8")
