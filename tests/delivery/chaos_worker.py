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

from tests.delivery.chaos_provider import LATE
from tests.delivery.conftest import AS_OF, SCHEMA, PlainRenderer
from winback.delivery import DispatchReport, dispatch
from winback.delivery.pace import Timer
from winback.delivery.sharing import HandOut, hand_out, send_slices, wait_for_others
from winback.destinations import Destinations
from winback.destinations.base import Capabilities, Channel, Message, Outcome, Result
from winback.destinations.faults import Faults
from winback.destinations.http import HttpClient
from winback.destinations.local import LocalOutbox
from winback.errors import InDoubt
from winback.ledger import Ledger, open_ledger_at
from winback.settings import Settings

BATCH = 10
CONCURRENCY = 2


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


class Keyed:
    """The chaos provider where it takes each id once."""

    name = "chaos"
    capabilities: ClassVar[Capabilities] = Capabilities(
        frozenset({Channel.EMAIL}), batch_size=BATCH, concurrency=CONCURRENCY, idempotent=True
    )

    def __init__(self, url: str) -> None:
        # Not by way of a proxy that the environment may name.
        os.environ["NO_PROXY"] = "127.0.0.1"
        self._client = HttpClient(url, provider="Chaos", credentials={}, connect_timeout=LATE, read_timeout=LATE)

    def send(self, messages: Sequence[Message], now: datetime) -> list[Result]:
        answer = self._client.request("POST", "/", json=[message.message_id for message in messages]).json()
        if not isinstance(answer, list):
            raise InDoubt("Chaos: an answer that cannot be read")
        return [Result(Outcome(outcome)) for outcome in answer]

    def resolve(self, messages: Sequence[Message], now: datetime) -> list[Result]:
        return [Result(Outcome.UNKNOWN)] * len(messages)

    def check(self) -> str:
        return self.name

    def close(self) -> None:
        self._client.close()


class Plain(Keyed):
    """The chaos provider where everything that reaches it is delivered once more."""

    capabilities: ClassVar[Capabilities] = Capabilities(frozenset({Channel.EMAIL}), batch_size=BATCH, concurrency=CONCURRENCY)


def _die_soon(chance: Random) -> None:
    timer = threading.Timer(chance.uniform(0, 0.02), os.kill, (os.getpid(), signal.SIGKILL))
    timer.daemon = True
    timer.start()


def _die_at(step: int, ledger: Ledger, destination: Any) -> None:
    """SIGKILL some milliseconds after the step-th row written, commit or call from the first claim on: at random moments, however fast
    the machine is."""
    steps = count(1)
    send = destination.send
    chance = Random(step)
    has_begun = threading.Event()

    def took_step() -> None:
        if next(steps) == step:
            _die_soon(chance)

    def counted(messages: Sequence[Message], now: datetime) -> list[Result]:
        took_step()
        results: list[Result] = send(messages, now)
        took_step()
        return results

    def wrote(*executed: Any) -> None:
        if executed[2].startswith("insert into"):
            has_begun.set()
            took_step()

    def committed(*_: object) -> None:
        if has_begun.is_set():
            took_step()

    destination.send = counted
    event.listen(ledger.engine, "after_cursor_execute", wrote)
    event.listen(ledger.engine, "commit", committed)


def _shared(
    settings: Settings, connection: duckdb.DuckDBPyConnection, ledger: Ledger, to: Destinations, now: datetime, folder: Path, slices: int
) -> DispatchReport:
    """Hand out, say where, send with whoever comes, and wait for them."""
    done = DispatchReport(now)
    with hand_out(settings, connection, ledger, now, slices=slices, at_least=1) as handed:
        if handed is not None:
            pointer = folder / "hand_out.txt"
            pointer.with_suffix(".part").write_text(str(handed.folder), encoding="utf-8")
            pointer.with_suffix(".part").replace(pointer)
            send_slices(settings, ledger, to, handed, clock=lambda: now, renderer=PlainRenderer())
            wait_for_others(ledger, handed, Timer())
            for one in handed.reports():
                done.add(one)
    return done


def main(orders: dict[str, Any]) -> None:
    """Dispatch as told; the report goes into a file, unless the process is killed before.

    `shared`: as who hands out to others. `hand_out`: as one who helps with what was handed out there, from slice `first` on.
    """
    home = Path(orders["home"])
    destination: Any
    match orders["provider"]:
        case "outbox":
            destination = LocalOutbox(home / "outbox", faults=Faults(orders["rates"], seed=orders["seed"]))
        case "keyed":
            destination = Keyed(orders["url"])
        case "plain":
            destination = Plain(orders["url"])
    settings = Settings(home=home, clock="simulated")
    now = datetime.fromisoformat(orders["now"])
    to = Destinations({Channel.EMAIL: destination})
    ledger = open_ledger_at(orders["ledger"])
    if orders["kill_at_step"] is not None:
        _die_at(orders["kill_at_step"], ledger, destination)
    if orders["kill_after"] is not None:
        timer = threading.Timer(orders["kill_after"], os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
    if orders["hand_out"]:
        handed = HandOut(Path(orders["hand_out"]))
        send_slices(settings, ledger, to, handed, clock=lambda: now, first=orders["first"], renderer=PlainRenderer())
        Path(orders["report"]).write_text("{}", encoding="utf-8")
        return
    connection = warehouse(orders["customers"])
    shares = _shared(settings, connection, ledger, to, now, home, orders["shared"]) if orders["shared"] else None
    report = dispatch(
        settings,
        connection,
        ledger,
        to,
        now,
        renderer=PlainRenderer(),
        chance=Random(orders["seed"]),
        timer=Timer(sleep=lambda seconds: None),
        shares_before=shares,
    )
    Path(orders["report"]).write_text(json.dumps(report.metadata()), encoding="utf-8")
