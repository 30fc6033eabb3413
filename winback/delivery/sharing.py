"""A dispatch shared with other processes, on this machine or others.

The workbench is one file of one process, so whoever holds it hands out what a dispatcher reads: for each slice of the queue, the customers
with something due, as Parquet files in a folder that all see. Nothing else may change raw data until the hand-out is over, as in a dispatch
by one. What comes in meanwhile (suppressions, events) is read from the ledger itself, as ever.

Who works at which slice, and whether a hand-out still stands, are locks in the ledger's database: they end with the process that holds
them. They save work; that nothing is sent twice rests on claims alone.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from winback.clock import unguessable_token
from winback.delivery.dispatch import CLAIMED_AT_ONCE, LONGEST_DISPATCH, DispatchReport, Share, dispatch
from winback.delivery.feedback import normal_address, silence_claimed
from winback.delivery.guard import pause_where_needed
from winback.delivery.pace import Timer
from winback.delivery.queue import copy_ledger, look_at_open, open_since
from winback.delivery.rendering import Renderer
from winback.delivery.rules import Rules
from winback.delivery.slices import AUDIENCE, CUSTOMER, Slice, number_of
from winback.destinations import Destinations
from winback.ledger import Ledger
from winback.settings import Settings
from winback.warehouse import open_in_memory

WORTH_SHARING = CLAIMED_AT_ONCE
"""Items due. Fewer are sent sooner than another process starts."""

AHEAD = timedelta(hours=1)
"""What becomes due in this time is handed out too: a long dispatch sends it in a later pass."""

_FOLDER = "hand_out_"
_LOOK_EVERY_SECONDS = 1.0
_ITEMS = "handed_out.items"
_MINE = "join handed_customers using (customer_id)"
_ADDRESSES = """
    (select customer_id, email as address from contacts union all select customer_id, phone from contacts
    union all select customer_id, push_token from contacts)
"""

# {relation: SQL of its rows with the number of the slice that gets them as `part`; None: every slice gets all of it}
_HANDED: dict[str, str | None] = {
    "programs.versions": None,
    # Who left by a link left with the address: also under the other names by which it is known.
    "intermediate.int_customers__contacts": f"""
        select contacts.*, part
        from contacts
        join (
            select customer_id, part from handed_customers
            union
            select others.customer_id, part
            from {_ADDRESSES} as mine {_MINE}
            join {_ADDRESSES} as others using (address)
        ) using (customer_id)
    """,
    "marts.customers": f"select given.*, part from marts.customers as given {_MINE}",
    "raw.orders": f"select given.*, part from raw.orders as given {_MINE}",
    "raw.consents": f"select given.*, part from raw.consents as given {_MINE}",
    "raw.activity_events": f"select given.*, part from raw.activity_events as given {_MINE}",
    "raw.message_events": f"""
        select given.*, part from raw.message_events as given {_MINE}
        union all
        select given.*, part
        from raw.message_events as given
        join (select distinct address, part from {_ADDRESSES} {_MINE} where address is not null) as mine
            on mine.address = {normal_address("given")}
        where given.customer_id is null
    """,
    "ledger.enrolments": f"select given.*, part from ledger.enrolments as given {_MINE}",
    "ledger.messages": f"select given.*, part from ledger.messages as given {_MINE}",
    "ledger.audience_changes": "select given.*, part from ledger.audience_changes as given join handed_items on item_id = change_id",
    "ledger.claims": "select given.*, part from ledger.claims as given join known_items using (item_id)",
    "ledger.outcomes": "select given.*, part from ledger.outcomes as given join known_items using (item_id)",
    "ledger.suppressions": None,
    "ledger.frequency_limits": None,
    "ledger.delivery_events": f"""
        select given.*, part from ledger.delivery_events as given join known_items on item_id = message_id
        union
        select given.*, part
        from ledger.delivery_events as given
        join (select distinct sha256(address) as address_hash, part from {_ADDRESSES} {_MINE} where address is not null)
            using (address_hash)
    """,
    _ITEMS: "select item_id, part from handed_items",
}
_GROWING = tuple(Slice(0, 1).ledger_rows())
"""Tables of the ledger that a share brings up to date: it needs their last rows, whosesoever they are, to know where to go on."""


class HandOut:
    """The folder of one hand-out, made by `hand_out`. It names whole customers: nobody else may read it, and it is removed at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def slices(self) -> int:
        """How many there are.

        Raises
        ------
        FileNotFoundError
            It is over.
        """
        return int(self._said("slices"))

    @property
    def until(self) -> datetime:
        """When the dispatch ends, also where more is due. Raises as `slices`."""
        return datetime.fromisoformat(self._said("until"))

    def _said(self, what: str) -> Any:
        return json.loads((self.folder / "hand_out.json").read_text(encoding="utf-8"))[what]

    def stands(self, ledger: Ledger) -> bool:
        """Whether who handed it out is still there: if not, it may be out of date."""
        return bool(ledger.at_work(f"hand-out {self.folder.name}"))

    def desk(self, number: int) -> str:
        """Where whoever sends slice `number` is present."""
        return f"hand-out {self.folder.name} {number}"

    def report_of(self, number: int) -> Path:
        return self.folder / f"report_{number}.json"

    def reports(self) -> Iterator[DispatchReport]:
        """What the slices that were sent to their end have reported."""
        for file in sorted(self.folder.glob("report_*.json")):
            told = json.loads(file.read_text(encoding="utf-8"))
            yield DispatchReport(
                datetime.fromisoformat(told["now"]),
                {lane: Counter(counts) for lane, counts in told["outcomes"].items()},
                {outcome: Counter(reasons) for outcome, reasons in told["reasons"].items()},
                {},
                told["stopped"],
                told["claimed"],
                Counter(told["settled"]),
            )

    @contextmanager
    def opened(self, settings: Settings, number: int) -> Iterator[duckdb.DuckDBPyConnection]:
        """A warehouse in memory with what a dispatcher of slice `number` reads."""
        with open_in_memory(settings) as connection:
            for name in _HANDED:
                connection.execute(f"create schema if not exists {name.partition('.')[0]}")
                files = [str(file) for file in (self.folder / name).rglob("*.parquet") if file.parent.name in (name, f"part={number}")]
                # The last row of a table may be in both.
                connection.execute(f"create table {name} as select distinct * from read_parquet({files}, hive_partitioning = false)")
            yield connection


@contextmanager
def hand_out(
    settings: Settings,
    connection: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    now: datetime,
    *,
    slices: int,
    at_least: int = WORTH_SHARING,
) -> Iterator[HandOut | None]:
    """Hand out what is due at `now` or soon after; it stands until the end of the block. None where too little is due to be shared.

    `connection` is the workbench; it is not needed any more when the block begins.
    """
    copy_ledger(ledger, connection)
    if silence_claimed(connection, ledger, now):
        copy_ledger(ledger, connection)
    pause_where_needed(connection, ledger, Rules.in_force(settings), now)
    since, _ = open_since(ledger)
    look_at_open(connection, since, now)
    due = f"""
        select item_id, customer_id, not_before, {number_of(CUSTOMER, slices)} as part
        from winback_message_states where not_before <= $until
        union all
        select item_id, customer_id, not_before, {number_of(AUDIENCE, slices)} from winback_change_states
    """
    connection.execute(f"create or replace temp table handed_items as {due}", {"until": now + AHEAD})
    due_now = connection.execute("select count(*) from handed_items where not_before <= ?", [now]).fetchall()[0][0]
    if due_now < at_least:
        connection.execute("drop table temp.handed_items")
        yield None
        return
    made = HandOut(settings.handouts / f"{_FOLDER}{unguessable_token(12)}")
    with ledger.present(f"hand-out {made.folder.name}", alone=True):
        _remove_leftovers(settings, ledger)
        made.folder.mkdir(parents=True, mode=0o700)
        try:
            _write(connection, made.folder)
            until = (now + LONGEST_DISPATCH).isoformat()
            (made.folder / "hand_out.json").write_text(json.dumps({"slices": slices, "until": until}), encoding="utf-8")
            yield made
        finally:
            shutil.rmtree(made.folder, ignore_errors=True)


def _write(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    connection.execute(
        """
        create or replace temp table handed_customers as select distinct customer_id, part from handed_items;
        create or replace temp table known_items as
            select message_id as item_id, part from ledger.messages join handed_customers using (customer_id)
            union
            select item_id, part from handed_items;
        create or replace temp view contacts as from intermediate.int_customers__contacts;
        """
    )
    try:
        for name, of_slices in _HANDED.items():
            schema, _, table = name.partition(".")
            rows = of_slices or f"from {name}"
            if of_slices:
                # A slice without rows has no file: `all` says what columns there are.
                last = f"where seq = (select max(seq) from {name})" if schema == "ledger" and table in _GROWING else "limit 0"
                empty = "select item_id from handed_items limit 0" if name == _ITEMS else f"from {name} {last}"
                _copy(connection, rows, folder / name, ", partition_by (part)")
                (folder / name).mkdir(exist_ok=True)
                rows = empty
            else:
                (folder / name).mkdir()
            _copy(connection, rows, folder / name / "all.parquet", "")
    finally:
        connection.execute(
            "drop view temp.contacts; drop table temp.known_items; drop table temp.handed_customers; drop table temp.handed_items"
        )


def _copy(connection: duckdb.DuckDBPyConnection, rows: str, target: Path, options: str) -> None:
    path = str(target).replace("'", "''")
    connection.execute(f"copy ({rows}) to '{path}' (format parquet{options})")


def _remove_leftovers(settings: Settings, ledger: Ledger) -> None:
    """What a dispatch that was killed has left behind, and nothing else that may lie there."""
    for folder in settings.handouts.glob(f"{_FOLDER}*"):
        if not HandOut(folder).stands(ledger):
            shutil.rmtree(folder, ignore_errors=True)


def send_slices(
    settings: Settings,
    ledger: Ledger,
    destinations: Destinations,
    handed: HandOut,
    *,
    clock: Callable[[], datetime],
    first: int = 0,
    renderer: Renderer | None = None,
) -> int:
    """Send slice after slice that nobody else is at, beginning with number `first`; returns how many were sent to their end.

    Ends early, and quietly, when the hand-out is over.
    """
    sent = 0
    try:
        slices, until = handed.slices, handed.until
        for number in ((first + offset) % slices for offset in range(slices)):
            with ledger.present(handed.desk(number), alone=True) as is_free:
                if not is_free or handed.report_of(number).exists():
                    continue
                share = Share(Slice(number, slices), lambda: handed.stands(ledger))
                if not share.is_valid() or clock() >= until:
                    break
                with handed.opened(settings, number) as connection:
                    report = dispatch(
                        settings, connection, ledger, destinations, clock(), renderer=renderer, clock=clock, share=share, until=until
                    )
                _tell(handed.report_of(number), report)
                sent += 1
    except (FileNotFoundError, duckdb.IOException):
        if handed.stands(ledger):
            raise
    return sent


def wait_for_others(ledger: Ledger, handed: HandOut, timer: Timer) -> None:
    """Return when nobody is at any slice: each is sent, or was left by a process that ended."""
    for number in range(handed.slices):
        while ledger.at_work(handed.desk(number)):
            timer.sleep(_LOOK_EVERY_SECONDS)


def _tell(file: Path, report: DispatchReport) -> None:
    told = {
        "now": report.now.isoformat(),
        "outcomes": report.outcomes,
        "reasons": report.reasons,
        "stopped": report.stopped,
        "claimed": report.claimed,
        "settled": report.settled,
    }
    unfinished = file.with_suffix(".part")
    unfinished.write_text(json.dumps(told), encoding="utf-8")
    unfinished.replace(file)
