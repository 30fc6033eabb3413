"""One thread that writes what all waiting requests have brought, commits once, and only then lets them be answered.

A commit waits for the disk (milliseconds); a request alone would pay it alone. Under load the next group gathers while the last one is
written, so the pace follows from the disk and nothing is tuned.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from winback.errors import Busy
from winback.inbox.recording import Event, RecordReport, record_in
from winback.ledger import Ledger

MOST_IN_A_COMMIT = 5_000
"""Events. Enough for tens of thousands a second, and a commit of them takes a fraction of a second."""

MOST_WAITING = 100_000
"""Events in memory. More than that are refused until the ledger can be written again: the provider keeps them for us."""

_log = structlog.get_logger("winback.inbox")


class TooBusy(Exception):
    """It is not recorded, and the sender should send it again."""


@dataclass(slots=True)
class _Waiting:
    events: Sequence[Event]
    done: Callable[[BaseException | None], None]


class GroupWriter:
    """Records batches of events, each whole or not at all. `clock` gives the present as naive UTC."""

    def __init__(self, ledger: Ledger, clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._waiting = 0
        self._count_lock = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="inbox-writer", daemon=True)
        self.recorded = 0
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Events that are taken and not yet on disk."""
        return self._waiting

    async def record(self, events: Sequence[Event], patience: float) -> None:
        """Returns when the events are on disk.

        Raises
        ------
        TooBusy
            Too much is waiting, another process holds the ledger, or `patience` (seconds) is over. The events may still be recorded;
            sent again they count once.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def settle(problem: BaseException | None) -> None:
            if future.done():
                return
            if problem is None:
                future.set_result(None)
            else:
                future.set_exception(problem)

        def done(problem: BaseException | None) -> None:
            loop.call_soon_threadsafe(settle, problem)

        self.put(events, done)
        try:
            await asyncio.wait_for(future, patience)
        except TimeoutError:
            raise TooBusy("the ledger is taking too long") from None

    def put(self, events: Sequence[Event], done: Callable[[BaseException | None], None]) -> None:
        """Hand over a batch; `done` is called from the writing thread with None, or with what went wrong."""
        with self._count_lock:
            if self._is_closed or self._waiting + len(events) > MOST_WAITING:
                raise TooBusy("too much is waiting for the ledger")
            self._waiting += len(events)
            self._queue.put(_Waiting(events, done))

    def close(self) -> None:
        """Write what waits, then stop."""
        with self._count_lock:
            if not self._is_closed:
                self._is_closed = True
                self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        is_open = True
        while is_open:
            first = self._queue.get()
            if first is None:
                return
            group = [first]
            size = len(first.events)
            while size < MOST_IN_A_COMMIT:
                try:
                    following = self._queue.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    is_open = False
                    break
                group.append(following)
                size += len(following.events)
            self._write(group)
            with self._count_lock:
                self._waiting -= size

    def _write(self, group: list[_Waiting]) -> None:
        try:
            report = self._record([event for one in group for event in one.events])
        except Busy:
            _log.warning("ledger_busy", requests=len(group))
            self._settle(group, TooBusy("another process holds the ledger"))
        except Exception as problem:  # noqa: BLE001 - the thread has to live on, and each request has to be answered
            if len(group) > 1:
                # One batch that the database does not take must not take the others with it.
                for one in group:
                    self._write([one])
                return
            _log.error("not_recorded", problem=type(problem).__name__)
            self._settle(group, TooBusy("the ledger did not take it"))
        else:
            self.recorded += report.events
            self._settle(group, None)

    def _record(self, events: Sequence[Event]) -> RecordReport:
        with self._ledger.writing() as writer:
            # Asked for once the ledger is ours: nothing is recorded as of an instant that a reader has already passed.
            return record_in(writer, events, self._clock())

    @staticmethod
    def _settle(group: list[_Waiting], problem: TooBusy | None) -> None:
        for one in group:
            try:
                one.done(problem)
            except Exception as failure:  # noqa: BLE001 - whoever asked has gone (its event loop is closed); others wait for the thread
                _log.warning("nobody_to_tell", problem=type(failure).__name__)
