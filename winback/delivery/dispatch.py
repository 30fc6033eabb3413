"""Sending what is due: claim, look once more, render, send, record. Killed anywhere, it neither loses nor doubles."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import md5
from itertools import groupby
from random import Random
from typing import Any

import duckdb
from sqlalchemy.exc import InterfaceError, OperationalError

from winback.clock import unguessable_token
from winback.delivery.feedback import LOOK_AGAIN, SUPPRESSED, News, settle_doubts, silence_claimed
from winback.delivery.guard import pause_where_needed
from winback.delivery.pace import Circuit, Rate, Timer, backoff
from winback.delivery.queue import CLOCKS_AHEAD, DISPATCHED, Item, Queue, address_check, claim, copy_ledger, record_late, workers_at_work
from winback.delivery.rendering import Renderer
from winback.delivery.rules import Rules
from winback.delivery.slices import Slice
from winback.destinations import Destinations, lane_of
from winback.destinations.base import (
    AUDIENCE_TOO_SMALL,
    DEAD_TOKEN,
    AudienceChange,
    AudienceDestination,
    AudienceOperation,
    Capabilities,
    Channel,
    Contact,
    FollowsUp,
    Message,
    MessageDestination,
    Outcome,
    Result,
)
from winback.destinations.identifiers import sha256_hex
from winback.errors import Busy, InDoubt, RejectItem, RetryLater, StopRun
from winback.ledger import Ledger
from winback.settings import Settings

_AT = "destination {}"
"""Where a dispatcher is present while it calls a destination that has a rate."""

LEASE = timedelta(minutes=15)
LONGEST_PASS = timedelta(minutes=15)
"""On the real clock: quiet hours, caps, patience and pauses are judged when the queue is read, so it is read afresh after this."""

LONGEST_DISPATCH = timedelta(minutes=45)
"""On the real clock: then landing gets its turn, which may bring purchases and refusals. What is left goes with the next dispatch."""

CLAIMED_AT_ONCE = 1000
_LONGEST_CALL = timedelta(minutes=1)
_IN_DOUBT_AT_ONCE = 50
_RECORDING_PAUSES = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0)
"""Seconds. What was sent and is not recorded is in doubt, so a hiccup of the ledger is waited for; well within the lease."""
_TOO_SMALL_WAIT = 24 * 3600.0
_SKIPPED = "skipped"

Sendable = Message | AudienceChange


@dataclass(frozen=True, slots=True)
class Share:
    """A dispatch of one slice, out of a hand-out. `is_valid`: whether the hand-out still stands, asked before each claim."""

    part: Slice
    is_valid: Callable[[], bool]


@dataclass(slots=True)
class DispatchReport:
    """What one dispatch did. `outcomes`: {lane: {outcome: n}}; `reasons`: {outcome: {reason: n}} of everything not accepted;
    `waiting`: open items that are not due, by why; `stopped`: destinations that were given up, with the reason; `settled`:
    messages of unknown outcome of which an event has come back, by what it proved."""

    now: datetime
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    reasons: dict[str, Counter[str]] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    stopped: dict[str, str] = field(default_factory=dict)
    claimed: int = 0
    settled: Counter[str] = field(default_factory=Counter)

    def total(self, outcome: str) -> int:
        """How many items ended this way, over all lanes."""
        return sum(counts[outcome] for counts in self.outcomes.values())

    def count(self, lane: str, outcome: str, reason: str) -> None:
        self.outcomes.setdefault(lane, Counter())[outcome] += 1
        if outcome != Outcome.ACCEPTED:
            self.reasons.setdefault(outcome, Counter())[reason or "no reason given"] += 1

    def add(self, other: DispatchReport) -> None:
        """Count what another dispatch did to this one. What waits is not added: each says it of its own queue."""
        self.claimed += other.claimed
        self.settled.update(other.settled)
        self.stopped |= other.stopped
        for mine, theirs in ((self.outcomes, other.outcomes), (self.reasons, other.reasons)):
            for name, counts in theirs.items():
                mine.setdefault(name, Counter()).update(counts)

    def metadata(self) -> dict[str, Any]:
        """Counts only, for logs and user interfaces."""
        values = {
            "claimed": self.claimed,
            "outcomes": {lane: dict(counts) for lane, counts in self.outcomes.items()},
            "reasons": {outcome: dict(counts.most_common(20)) for outcome, counts in self.reasons.items()},
            "waiting": dict(self.waiting),
        }
        if self.settled:
            values["settled"] = dict(self.settled)
        return {**values, "stopped": self.stopped} if self.stopped else values


def dispatch(
    settings: Settings,
    connection: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    destinations: Destinations,
    now: datetime,
    *,
    renderer: Renderer | None = None,
    clock: Callable[[], datetime] | None = None,
    chance: Random | None = None,
    timer: Timer | None = None,
    linger: timedelta = timedelta(0),
    lease: timedelta = LEASE,
    share: Share | None = None,
    shares_before: DispatchReport | None = None,
    until: datetime | None = None,
) -> DispatchReport:
    """Send everything that is due at `now` (naive UTC) and record what became of it.

    Parameters
    ----------
    clock
        Tells the time while a long dispatch goes on; without it time stands still at `now` (simulations, tests).
    renderer
        Default: the programs of the ledger with brand.yml.
    linger
        How long to wait, at most, for items that may be tried again soon. Needs `clock`.
    lease
        How long a claim holds; after it, another dispatcher takes the item to be in doubt.
    share
        `connection` is a hand-out: only the items that it lists are sent, and what is said of all of them is left to who handed it out.
    shares_before
        What shares of this dispatch have done: the report and the audit trail count it in.
    until
        When it ends, also where more is due; default: `LONGEST_DISPATCH` after `now`.

    Raises
    ------
    BadConfig
        brand.yml cannot be read, or the keys that sign links.
    """
    run = _Run(
        connection,
        ledger,
        destinations,
        renderer,
        lambda: _program_renderer(settings, ledger, destinations),
        clock or (lambda: now),
        chance or Random(),  # noqa: S311  (jitter, not secrets)
        timer or Timer(),
        lease,
        Rules.in_force(settings),
        share,
        until or now + LONGEST_DISPATCH,
        # On a simulated clock the raw tables hold the next days too.
        CLOCKS_AHEAD if settings.clock == "real" else timedelta(0),
        time_passes=clock is not None,
    )
    if shares_before is not None:
        run.report.add(shares_before)
    deadline = now + linger
    while True:
        progress = run.one_pass()
        if run.clock() >= run.until:
            break
        if progress and (clock is not None or run.more):
            continue
        wake = run.next_retry
        if clock is None or wake is None or wake > deadline:
            break
        run.timer.sleep(max(0.0, (wake - clock()).total_seconds()))
    run.finish()
    return run.report


def _program_renderer(settings: Settings, ledger: Ledger, destinations: Destinations) -> Renderer:
    from winback.delivery.rendering import ProgramRenderer
    from winback.links import own_links
    from winback.programs import brand_of

    email = destinations.messages.get(Channel.EMAIL)
    tracks = email is not None and email.capabilities.tracks
    return ProgramRenderer(ledger, brand_of(settings), own_links(settings), tracks=tracks)


class _Run:
    """One dispatch: passes over the queue until nothing more can be done now."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        ledger: Ledger,
        destinations: Destinations,
        renderer: Renderer | None,
        make_renderer: Callable[[], Renderer],
        clock: Callable[[], datetime],
        chance: Random,
        timer: Timer,
        lease: timedelta,
        rules: Rules,
        share: Share | None,
        until: datetime,
        heard_ahead: timedelta,
        *,
        time_passes: bool,
    ) -> None:
        self.connection = connection
        self.ledger = ledger
        self._renderer = renderer
        self._make_renderer = make_renderer
        self.clock = clock
        self.timer = timer
        self.lease = lease
        self.rules = rules
        self.heard_ahead = heard_ahead
        self.until = until
        self._pass_until = until
        self.share = share
        self.news: News
        self.time_passes = time_passes
        self.worker = f"{os.getpid()}-{unguessable_token(6)}"
        self.report = DispatchReport(clock())
        self.next_retry: datetime | None = None
        self.more = False
        self._destinations = destinations
        self._chance = chance
        # The warehouse connection, the random generator and the report are used by one lane at a time.
        self.lock = threading.Lock()
        self._circuits: dict[str, Circuit] = {}
        self._rates: dict[str, Rate] = {}
        self._open_since: datetime | None = None
        self._trail_seen = 0

    @property
    def renderer(self) -> Renderer:
        if self._renderer is None:
            self._renderer = self._make_renderer()
        return self._renderer

    def one_pass(self) -> int:
        """Work through what is due now; returns how many items were claimed."""
        before = self.report.claimed
        self._look_back()
        now = self.clock()
        self._pass_until = min(now + LONGEST_PASS, self.until)
        part = self.share.part if self.share else None
        queue = Queue(self.connection, self.ledger, self.rules, now, part, against_until=now + self.heard_ahead)
        try:
            found = [self._lane(queue, kind, name) for kind, name in queue.lanes()]
            lanes = [lane for lane in found if lane is not None and not lane.circuit.is_open]
            if any(lane.kind == "messages" for lane in lanes):
                # Reading the brand may fail, and then does before anything is claimed.
                _ = self.renderer
            with ExitStack() as seen:
                for name in sorted({lane.target.name for lane in lanes if lane.can.rate_per_second}):
                    seen.enter_context(self.ledger.present(_AT.format(name)))
                if len(lanes) == 1:
                    lanes[0].work()
                elif lanes:
                    # One thread per lane: a slow or failing provider holds up nobody else.
                    with ThreadPoolExecutor(len(lanes), thread_name_prefix="lane") as pool:
                        for future in [pool.submit(lane.work) for lane in lanes]:
                            future.result()
            self.more = queue.holds_more()
            if lanes:
                queue.look()
            self.report.waiting = queue.waiting()
            self.next_retry = queue.next_retry()
            self._open_since = queue.oldest_open()
            self._trail_seen = queue.trail_seen
        finally:
            queue.close()
        return self.report.claimed - before

    def _look_back(self) -> None:
        """What has come back of earlier messages: it settles doubts, and may say that a program should send no more."""
        part = self.share.part if self.share else None
        self.news = News(self.ledger, self._addresses_of)
        copy_ledger(self.ledger, self.connection, part)
        now = self.clock()
        settled = settle_doubts(self.connection, self.ledger, self.worker, self.rules, now)
        if settled:
            self.report.settled.update(settled)
            copy_ledger(self.ledger, self.connection, part)
        if part is None:
            if silence_claimed(self.connection, self.ledger, now):
                copy_ledger(self.ledger, self.connection)
            # Shares of programs are judged where all of them is known.
            pause_where_needed(self.connection, self.ledger, self.rules, now)

    def _addresses_of(self, customer_id: str) -> tuple[str | None, ...]:
        with self.lock:
            rows = self.connection.execute(
                "select email, phone, push_token from intermediate.int_customers__contacts where customer_id = ?", [customer_id]
            ).fetchall()
        return tuple(address for row in rows for address in row)

    def may_go_on(self) -> bool:
        """Whether what this pass knows may still be acted on."""
        return self.clock() < self._pass_until and (self.share is None or self.share.is_valid())

    def finish(self) -> None:
        """Note how it went, and from which day on items may still be open."""
        for name, circuit in self._circuits.items():
            if circuit.is_open:
                self.report.stopped[name] = circuit.reason
        if self.share or not (self.report.claimed or self.report.settled) or self._open_since is None:
            return
        details = {"open_since": self._open_since.isoformat(" "), "trail_seen": self._trail_seen, **self.report.metadata()}
        self.ledger.audit(DISPATCHED, actor="winback", subject=self.worker, details=details, now=self.clock())

    def wait_before_retry(self, attempt: int, asked: float | None) -> timedelta:
        with self.lock:
            return timedelta(seconds=backoff(attempt, asked, self._chance))

    def _lane(self, queue: Queue, kind: str, name: str) -> _Lane | None:
        target: MessageDestination | AudienceDestination | None
        target = self._destinations.messages.get(Channel(name)) if kind == "messages" else self._destinations.audiences.get(name)
        if target is None:
            what = f"channel {name}" if kind == "messages" else f"ad platform {name}"
            self.report.stopped[what] = "something is due, and there is no destination for it; name one in destinations.yml"
            return None
        circuit = self._circuits.setdefault(target.name, Circuit())
        rate = self._rates.setdefault(target.name, Rate(target.capabilities.rate_per_second, self.timer))
        lane_type = _MessageLane if kind == "messages" else _AudienceLane
        return lane_type(self, queue, kind, name, target, circuit, rate)


@dataclass(slots=True)
class _Batch:
    """Claimed items on their way: what was decided without sending, and the calls that are out.

    The text of a result says what it is: `answered` by the destination, `skipped`, put off until `later`, or `closed` while in doubt.
    """

    lease_until: datetime
    results: list[tuple[Item, str, Result]] = field(default_factory=list)
    calls: list[tuple[list[Item], Future[list[Result]] | list[Result]]] = field(default_factory=list)


class _Lane:
    """Everything due for one channel or ad platform, through one destination."""

    def __init__(
        self,
        run: _Run,
        queue: Queue,
        kind: str,
        name: str,
        target: Any,
        circuit: Circuit,
        rate: Rate,
    ) -> None:
        self.run = run
        self.queue = queue
        self.kind = kind
        self.name = name
        self.target = target
        self.circuit = circuit
        self.rate = rate
        self.can: Capabilities = target.capabilities
        self.label = name if kind == "messages" else lane_of(name)

    def work(self) -> None:
        """Claim and send page after page. While one page is with the provider, the next is made ready."""
        size = self._claim_size()
        with self.run.lock:
            end = self.queue.size(self.kind, self.name)
        pool = ThreadPoolExecutor(self.can.concurrency, thread_name_prefix=self.label) if self.can.concurrency > 1 else None
        under_way: deque[_Batch] = deque()
        try:
            # Read in larger parts than are claimed: each reading looks through the queue.
            page = max(size, CLAIMED_AT_ONCE)
            for after in range(0, end, page):
                with self.run.lock:
                    items = self.queue.page(self.kind, self.name, after, page)
                for portion in _portions(items, size):
                    if self.circuit.is_open or not self.run.may_go_on():
                        return
                    under_way.append(self._begin(portion, pool))
                    if len(under_way) > (1 if pool else 0):
                        self._record(under_way.popleft())
        finally:
            while under_way:
                self._record(under_way.popleft())
            if pool is not None:
                pool.shutdown()

    def _claim_size(self) -> int:
        """Large enough for cheap commits, small enough that a killed dispatcher leaves little in doubt."""
        size = CLAIMED_AT_ONCE if self.can.idempotent else max(_IN_DOUBT_AT_ONCE, self.can.concurrency * 2)
        if self.can.rate_per_second:
            size = min(size, max(1, int(self.can.rate_per_second * 60)))
        return max(size, self.can.batch_size)

    def _begin(self, items: list[Item], pool: ThreadPoolExecutor | None) -> _Batch:
        now = self.run.clock()
        batch = _Batch(now + self.run.lease)
        # What stays unknown for good is claimed once more, to say so.
        repeatable = frozenset(item.item_id for item in items if item.state == "unknown" or (item.in_doubt and self.mode(item) != "leave"))
        won, left = claim(self.run.ledger, items, self.run.worker, now, self.run.lease, repeatable=repeatable, destination=self.target.name)
        if self.can.rate_per_second:
            seen = self.run.ledger.at_work(_AT.format(self.target.name))
            self.rate.share(workers_at_work(self.run.ledger, now) if seen is None else seen)
        with self.run.lock:
            self.run.report.claimed += len(won) + left
            for _ in range(left):
                self.run.report.count(self.label, Outcome.UNKNOWN, "the dispatcher ended before the answer was recorded")
        against = self.against(won, now)
        ask: list[tuple[Item, Sendable]] = []
        send: list[tuple[Item, Sendable]] = []
        for item in (self._advised(item, against) for item in won):
            mode = self.mode(item) if item.in_doubt else "send"
            early = self._early(item, mode)
            if early is not None:
                batch.results.append((item, *early))
                continue
            try:
                made = self.make(item)
            except RejectItem as refusal:
                # What is in doubt may have left when it could still be made.
                result = _in_doubt(item, refusal.reason) if item.in_doubt else Result(Outcome.REJECTED, refusal.reason)
                batch.results.append((item, "answered", result))
                continue
            except Exception as problem:  # noqa: BLE001  (one message that cannot be made must not keep the others from leaving)
                batch.results += [
                    (item, "answered", result) for result in _not_sent([item], f"could not be made: {type(problem).__name__}")
                ]
                continue
            (ask if mode == "ask" else send).append((item, made))
        for asked, part in ((True, ask), (False, send)):
            for chunk in self.chunks(part):
                self._submit(batch, chunk, asked, pool)
        return batch

    def _advised(self, item: Item, against: Mapping[str, str]) -> Item:
        """The item with what the ledger has learnt since the queue was read. Whether an engagement ends the journey is for the next look to
        say, which knows machines from people."""
        reason = against.get(item.item_id)
        if reason is None or item.decision != "send":
            return item
        return replace(item, decision="skip", reason=reason) if reason == SUPPRESSED else replace(item, decision="defer", reason=LOOK_AGAIN)

    def _early(self, item: Item, mode: str) -> tuple[str, Result] | None:
        """What is decided about an item without calling the destination; None where it is called."""
        if not item.in_doubt:
            if item.decision == "skip":
                return _SKIPPED, Result(Outcome.REJECTED, item.reason)
            return ("later", Result(Outcome.DEFERRED, item.reason)) if item.decision == "defer" else None
        # It may have arrived, so it can no longer be said to be skipped. Where it can be asked about it is, whatever has happened since.
        if mode == "ask":
            return None
        if mode == "leave" or item.decision == "skip":
            why = item.reason or ("its destination is another now" if self._went_elsewhere(item) else "cannot be repeated")
            return "closed", _in_doubt(item, f"in doubt, and then {why}")
        return ("later", _in_doubt(item, item.reason)) if item.decision == "defer" else None

    def _submit(self, batch: _Batch, chunk: list[tuple[Item, Sendable]], asked: bool, pool: ThreadPoolExecutor | None) -> None:
        items = [item for item, _ in chunk]
        things = [thing for _, thing in chunk]

        def call() -> list[Result]:
            return self._call(things, items, asked, batch.lease_until)

        batch.calls.append((items, pool.submit(call) if pool else call()))

    def _call(self, things: Sequence[Sendable], items: Sequence[Item], asked: bool, lease_until: datetime) -> list[Result]:
        """One call of the destination; whatever goes wrong becomes one result per item."""
        if self.circuit.is_open:
            return _not_sent(items, "not sent: the destination was given up for this run")
        self.rate.wait()
        now = self.run.clock()
        if now >= lease_until - _LONGEST_CALL - timedelta(seconds=self.can.ask_after):
            # Once the claim has run out another dispatcher may ask, and send what is not found: by then this call must be over, and seen.
            return _not_sent(items, "not sent: the claim ran out while waiting")
        try:
            results = self.ask(things, items, now) if asked else self.hand_over(things, now)
        except RetryLater as later:
            self.circuit.failed(later.reason)
            if later.after is not None and self.run.time_passes:
                self.rate.pause(later.after)
            return _not_sent(items, later.reason, later.after)
        except RejectItem as refusal:
            self.circuit.succeeded()
            if len(things) == 1:
                return [_in_doubt(items[0], refusal.reason) if asked else Result(Outcome.REJECTED, refusal.reason)]
            # The provider names no item: halves find the bad one.
            middle = len(things) // 2
            return [
                *self._call(things[:middle], items[:middle], asked, lease_until),
                *self._call(things[middle:], items[middle:], asked, lease_until),
            ]
        except StopRun as stop:
            self.circuit.stop(str(stop))
            return _not_sent(items, str(stop))
        except InDoubt as doubt:
            self.circuit.failed(doubt.reason)
            return [_in_doubt(item, doubt.reason) for item in items]
        except Exception as problem:  # noqa: BLE001  (a destination that chokes on one message must not keep the others from leaving)
            reason = f"{self.target.name} failed with {type(problem).__name__}"
            self.circuit.failed(reason)
            return [_in_doubt(item, reason) for item in items]
        if len(results) != len(things):
            reason = f"{self.target.name} answered {len(results)} results for {len(things)} items"
            self.circuit.failed(reason)
            return [_in_doubt(item, reason) for item in items]
        if not asked and all(result.outcome is Outcome.UNKNOWN and not result.provider_id for result in results):
            # What is called on like this leaves everything in doubt, and nothing sent.
            self.circuit.failed(results[0].reason)
        else:
            self.circuit.succeeded()
        if asked:
            return results
        return [
            replace(result, outcome=Outcome.UNKNOWN) if item.in_doubt and result.outcome is Outcome.DEFERRED else result
            for item, result in zip(items, results, strict=True)
        ]

    def _record(self, batch: _Batch) -> None:
        """Write down what became of a batch, in one commit."""
        now = self.run.clock()
        for items, answer in batch.calls:
            results = answer.result() if isinstance(answer, Future) else answer
            batch.results += [(item, "answered", result) for item, result in zip(items, results, strict=True)]
        rows: list[Mapping[str, Any]] = []
        dead = []
        not_taken: set[str] = set()
        for item, kind, result in batch.results:
            rows.append(
                {
                    "item_id": item.item_id,
                    "attempt": item.attempts + 1,
                    "outcome": _SKIPPED if kind == _SKIPPED else result.outcome.value,
                    "reason": result.reason or None,
                    "provider_id": result.provider_id or None,
                    "retry_at": self._retry_at(item, kind, result, now),
                    "destination": item.row["in_doubt_at"] or self.target.name,
                    "recorded_at": now,
                }
            )
            if result.outcome is Outcome.REJECTED and result.reason == DEAD_TOKEN:
                dead.append(item)
            if not item.in_doubt and rows[-1]["outcome"] in (Outcome.DEFERRED, _SKIPPED):
                not_taken.add(item.item_id)
        self._write(rows, [_dead_token(item, self.target.name, now) for item in dead], not_taken)
        with self.run.lock:
            for row in rows:
                self.run.report.count(self.label, row["outcome"], row["reason"] or "")

    def _write(self, rows: list[Mapping[str, Any]], dead: list[Mapping[str, Any]], not_taken: Set[str]) -> None:
        """Until it is written: a row that is there already, of a commit whose answer was lost, stays as it is."""
        pauses = iter(_RECORDING_PAUSES)
        while True:
            try:
                with self.run.ledger.writing() as writer:
                    if writer.record("outcomes", rows) != len(rows):
                        record_late(writer, rows, self.run.worker, not_taken=not_taken)
                    writer.record("suppressions", dead)
            except (Busy, InterfaceError, OperationalError):
                pause = next(pauses, None)
                if pause is None:
                    raise
                self.run.timer.sleep(pause)
            else:
                return

    def _retry_at(self, item: Item, kind: str, result: Result, now: datetime) -> datetime | None:
        if kind == "later":
            return item.retry_at
        if kind != "answered" or (item.in_doubt and item.decision == "skip" and item.reason == "expired"):
            return None
        if result.outcome is Outcome.DEFERRED:
            asked = _TOO_SMALL_WAIT if result.reason == AUDIENCE_TOO_SMALL and result.retry_after is None else result.retry_after
            return now + self.run.wait_before_retry(item.attempts + 1, asked)
        if result.outcome is Outcome.UNKNOWN:
            in_doubt = replace(item, state="unknown", provider_id=result.provider_id)
            if self.mode(in_doubt) != "leave":
                wait = self.run.wait_before_retry(item.attempts + 1, result.retry_after)
                return now + max(wait, timedelta(seconds=self.can.ask_after))
        return None

    def mode(self, item: Item) -> str:
        """What to do with an item in doubt: repeat, ask or leave."""
        return "leave" if self._went_elsewhere(item) else self.able(item)

    def _went_elsewhere(self, item: Item) -> bool:
        """Whether what is in doubt was handed to another destination: this one knows nothing of it, and would send it again."""
        return item.row["in_doubt_at"] not in (None, self.target.name)

    # What differs between messages and audience changes

    def against(self, items: Sequence[Item], now: datetime) -> Mapping[str, str]:  # noqa: ARG002
        """{item_id: reason} of what should wait or no longer leave, since the queue was read."""
        return {}

    def able(self, item: Item) -> str:
        """What can be done here about an item in doubt: repeat, ask or leave."""
        raise NotImplementedError

    def make(self, item: Item) -> Sendable:
        """The item as the destination takes it; raises RejectItem."""
        raise NotImplementedError

    def chunks(self, things: list[tuple[Item, Sendable]]) -> Iterator[list[tuple[Item, Sendable]]]:
        """Parts that may go out in one call; smaller ones after each failure, so that an item that spoils its batch is soon alone."""
        for shift, group in groupby(things, key=lambda thing: _halvings(thing[0])):
            part = list(group)
            size = max(1, self.can.batch_size >> shift)
            for start in range(0, len(part), size):
                yield part[start : start + size]

    def hand_over(self, things: Sequence[Any], now: datetime) -> list[Result]:
        raise NotImplementedError

    def ask(self, things: Sequence[Any], items: Sequence[Item], now: datetime) -> list[Result]:
        raise NotImplementedError


class _MessageLane(_Lane):
    def against(self, items: Sequence[Item], now: datetime) -> Mapping[str, str]:
        return self.run.news.against(items, now)

    def able(self, item: Item) -> str:
        # Where both can be done, repeating is quicker; what is not to be sent any more, or not now, is asked about.
        if self.can.idempotent and (item.decision == "send" or not self.can.can_ask):
            return "repeat"
        return "ask" if self.can.can_ask else "leave"

    def make(self, item: Item) -> Message:
        return self.run.renderer.render(item)

    def hand_over(self, things: Sequence[Message], now: datetime) -> list[Result]:
        return list(self.target.send(things, now))

    def ask(self, things: Sequence[Message], items: Sequence[Item], now: datetime) -> list[Result]:
        asked = [
            replace(
                message,
                first_tried_at=item.row["first_claimed_at"],
                is_readdressed=any(check != address_check(item) for check in item.row["address_checks"] or ()),
            )
            for message, item in zip(things, items, strict=True)
        ]
        return list(self.target.resolve(asked, now))


class _AudienceLane(_Lane):
    def able(self, item: Item) -> str:
        if item.provider_id and isinstance(self.target, FollowsUp):
            return "ask"
        return "repeat" if self.can.idempotent else "leave"

    def make(self, item: Item) -> AudienceChange:
        row = item.row
        contact = None
        if self.can.needs_contact:
            contact = Contact(row["customer_id"], row["email"], row["phone"], row["first_name"], row["last_name"], row["country"])
        return AudienceChange(
            change_id=item.item_id,
            audience=row["audience"],
            customer_id=row["customer_id"],
            operation=AudienceOperation(row["operation"]),
            identifiers=tuple((kind, value) for kind, value in json.loads(row["identifiers"])),
            contact=contact,
        )

    def chunks(self, things: list[tuple[Item, Sendable]]) -> Iterator[list[tuple[Item, Sendable]]]:
        """Changes of one audience and one operation per call."""
        for _, group in groupby(things, key=lambda thing: (thing[0].row["audience"], thing[0].row["operation"])):
            yield from super().chunks(list(group))

    def hand_over(self, things: Sequence[AudienceChange], now: datetime) -> list[Result]:
        return list(self.target.change(things, now))

    def ask(self, things: Sequence[AudienceChange], items: Sequence[Item], now: datetime) -> list[Result]:
        return list(self.target.resolve_changes(things, [item.provider_id for item in items], now))


def _portions(items: list[Item], size: int) -> Iterator[list[Item]]:
    """What is claimed, and then recorded, at once: ever less of what dispatchers died with, so that what kills them is soon alone."""
    for deaths, group in groupby(items, key=lambda item: item.attempts - 1 if item.state == "lapsed" else 0):
        part = list(group)
        portion = max(1, size >> 2 * deaths)
        for start in range(0, len(part), portion):
            yield part[start : start + portion]


def _not_sent(items: Sequence[Item], reason: str, after: float | None = None) -> list[Result]:
    """Nothing was sent this time; what was in doubt before still is."""
    return [_in_doubt(item, reason, after) if item.in_doubt else Result(Outcome.DEFERRED, reason, retry_after=after) for item in items]


def _in_doubt(item: Item, reason: str, after: float | None = None) -> Result:
    """Nobody knows what became of it. What it can be asked about by is kept: only the provider's own answer says that it is over."""
    return Result(Outcome.UNKNOWN, reason, item.provider_id, after)


def _halvings(item: Item) -> int:
    if item.row.get("last_reason") == AUDIENCE_TOO_SMALL and item.row["operation"] == AudienceOperation.ADD:
        return 0  # Nothing is wrong with them, and fewer would be refused for certain.
    return 2 * item.attempts if item.in_doubt else 2 * max(0, item.attempts - 2)


def _dead_token(item: Item, destination: str, now: datetime) -> Mapping[str, Any]:
    """The app is gone from this device: its token is not used again."""
    hashed = sha256_hex(item.row["address"])
    return {
        "suppression_id": md5(f"{DEAD_TOKEN}|{hashed}".encode(), usedforsecurity=False).hexdigest(),
        "operation": "add",
        "address_hash": hashed,
        "channel": "push",
        "reason": DEAD_TOKEN,
        "starts_at": now,
        "source": destination,
        "recorded_at": now,
    }
