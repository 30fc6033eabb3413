"""How fast the receiver takes events, how long an answer takes, and what its memory does: `make bench PART=listen`.

    python -m benchmarks.listen --events 200000 --rate 2000 --kills 3 --batch 10

The sender paces itself by the clock and repeats what is not answered. Answers are timed from when a request was due, not from when
it was sent, so a slow receiver cannot hide behind a waiting sender. Requests that were due while the receiver was dead, or while
what had piled up meanwhile was being worked off, are timed apart.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.receiver import Receiver
from benchmarks.sender import Delivered, Stream, deliver, requests

SAMPLE_SECONDS = 5.0


@dataclass(slots=True)
class Run:
    """A stream, with the moments of the kills and the memory over time (seconds since the start, MB)."""

    stream: Stream = field(default_factory=Stream)
    seconds: float = 0.0
    deaths: list[tuple[float, float]] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)


async def measure(receiver: Receiver, *, events: int, batch: int, rate: float, kills: int, seed: int) -> Run:
    """Send `events` while killing the receiver at even distances; it is started again at once."""
    run = Run()
    total = -(-events // batch)
    marks = [total * (number + 1) // (kills + 1) for number in range(kills)]
    due_to_die = asyncio.Event()
    began = time.perf_counter()

    def progress(done: int) -> None:
        if marks and done >= marks[0]:
            marks.pop(0)
            due_to_die.set()

    async def killer() -> None:
        while True:
            await due_to_die.wait()
            due_to_die.clear()
            dead_at = time.perf_counter()
            receiver.kill()
            await asyncio.to_thread(receiver.start)
            run.deaths.append((dead_at, time.perf_counter()))

    async def watcher() -> None:
        while True:
            run.memory.append((time.perf_counter() - began, await asyncio.to_thread(receiver.resident_megabytes)))
            await asyncio.sleep(SAMPLE_SECONDS)

    others = [asyncio.create_task(killer()), asyncio.create_task(watcher())]
    # Made beforehand: signing is the sender's work and would be measured with the receiver's.
    prepared = list(requests(events, batch, seed))
    began = time.perf_counter()
    run.stream = await deliver(receiver.port, iter(prepared), requests_per_second=rate / batch if rate else 0, progress=progress)
    run.seconds = time.perf_counter() - began
    run.memory.append((run.seconds, receiver.resident_megabytes()))
    for task in others:
        task.cancel()
    return run


def recovered(run: Run) -> list[tuple[float, float]]:
    """From each death to when everything that had been due meanwhile was answered."""
    spans = []
    for dead_at, back_at in run.deaths:
        end = back_at
        for one in sorted(run.stream.delivered, key=lambda one: one.due):
            if dead_at - 1.0 <= one.due <= end and one.answered > end:
                end = one.answered
        spans.append((dead_at, end))
    return spans


def apart(run: Run) -> tuple[list[Delivered], list[Delivered]]:
    """Requests between kills, and those that a kill has hit or delayed."""
    spans = recovered(run)
    hit = [one for one in run.stream.delivered if one.attempts > 1 or any(start <= one.answered and one.due <= end for start, end in spans)]
    chosen = {id(one) for one in hit}
    return [one for one in run.stream.delivered if id(one) not in chosen], hit


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def recorded(home: Path) -> tuple[int, int]:
    """Rows and distinct ids in the ledger."""
    with sqlite3.connect(home / "ledger.db") as ledger:
        found: tuple[int, int] = ledger.execute("select count(*), count(distinct event_id) from delivery_events").fetchone()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", "--size", type=int, default=40_000, dest="events")
    parser.add_argument("--rate", type=float, default=2_000, help="events a second; 0: as fast as it goes")
    parser.add_argument("--batch", type=int, default=10, help="events a request")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="winback-listen-") as folder:
        receiver = Receiver(Path(folder) / "home")
        receiver.start()
        try:
            run = asyncio.run(
                measure(receiver, events=asked.events, batch=asked.batch, rate=asked.rate, kills=asked.kills, seed=asked.seed)
            )
        finally:
            code = receiver.stop()
        rows, distinct = recorded(receiver.home)
    between, hit = apart(run)
    milliseconds = [(one.answered - one.due) * 1000 for one in between]
    print(f"{asked.events:,} events, {asked.batch} a request, {asked.rate:,.0f}/s asked, {asked.kills} kills; receiver ended with {code}")
    print(f"  in the ledger     {rows:,} rows, {distinct:,} distinct")
    print(f"  events a second   {asked.events / run.seconds:,.0f}  ({run.seconds:.1f} s)")
    print(
        f"  answers           p50 {quantile(milliseconds, 0.5):.1f} ms, p99 {quantile(milliseconds, 0.99):.1f} ms, "
        f"p99.9 {quantile(milliseconds, 0.999):.1f} ms, longest {max(milliseconds, default=0):.1f} ms  ({len(between):,} requests)"
    )
    if run.deaths:
        slowest = max((one.answered - one.due for one in hit), default=0)
        print(f"  hit by kills      {len(hit):,} requests, the slowest answered after {slowest:.1f} s")
        print("  back after        " + ", ".join(f"{back - dead:.1f} s" for dead, back in run.deaths))
    print("  resident memory   " + ", ".join(f"{at:.0f} s: {size:.0f} MB" for at, size in run.memory[:: max(1, len(run.memory) // 10)]))


if __name__ == "__main__":
    main()
