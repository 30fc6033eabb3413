"""The receiver as a process: killed without warning, stopped in an orderly way, and beset by slow clients.

At full size: `python -m benchmarks.listen --events 200000 --rate 2000 --kills 3`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.listen import measure, recorded
from benchmarks.receiver import Receiver
from benchmarks.sender import deliver, events, requests
from winback.inbox.recording import derived_id

pytestmark = pytest.mark.slow

EVENTS = int(os.environ.get("WINBACK_LISTEN_EVENTS", "3000"))
KILLS = int(os.environ.get("WINBACK_LISTEN_KILLS", "2"))


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    started = Receiver(tmp_path / "home")
    started.start()
    try:
        yield started
    finally:
        started.kill()


def test_killed_during_a_stream_every_event_is_there_once(receiver: Receiver) -> None:
    run = asyncio.run(measure(receiver, events=EVENTS, batch=5, rate=0, kills=KILLS, seed=11))
    assert len(run.deaths) == KILLS
    with sqlite3.connect(receiver.home / "ledger.db") as ledger:
        found = [row[0] for row in ledger.execute("select event_id from delivery_events")]
        refused = "event_type in ('unsubscribed', 'bounced', 'complained')"
        unsilenced = f"""
            select count(*) from delivery_events where {refused} and address_hash not in
                (select address_hash from suppressions where operation = 'add')
        """
        assert ledger.execute(unsilenced).fetchall() == [(0,)]
    assert sorted(found) == sorted(derived_id("sendgrid", event["sg_event_id"]) for event in events(EVENTS, 11))


def test_stopped_in_an_orderly_way_it_answers_what_it_took(receiver: Receiver) -> None:
    async def stream() -> list[bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
        writer.writelines(requests(500, 500, 3))
        # Told to stop with the request in its hands: the head has been read, and the rest is on its way.
        await asyncio.to_thread(receiver.stop)
        return [await reader.read(-1)]

    answers = asyncio.run(stream())
    answered = answers[0].startswith(b"HTTP/1.1 200")
    rows, _ = recorded(receiver.home)
    assert rows == 500 if answered else rows in (0, 500)
    receiver.start()


def test_connections_that_say_nothing_do_not_stop_others(receiver: Receiver) -> None:
    mute = [socket.create_connection(("127.0.0.1", receiver.port)) for _ in range(200)]
    for one in mute[:100]:
        one.sendall(b"POST /sendgrid/events HTTP/1.1\r\nHost: receiver\r\nContent-Length: 1000\r\n\r\n[")
    for one in mute[100:]:
        one.sendall(b"POST /sendgrid/events HTT")
    stream = asyncio.run(deliver(receiver.port, requests(100, 10, 5), requests_per_second=0, connections=4))
    assert [one.attempts for one in stream.delivered] == [1] * 10
    for one in mute:
        one.close()
