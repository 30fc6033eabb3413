"""A dispatch shared by slices: the same decisions as one dispatcher makes, each message once, and nothing from a hand-out that is over."""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import duckdb
import pytest

from tests.delivery.conftest import AS_OF, NOON, SCHEMA, PlainRenderer, Shop, identity
from winback.delivery import DispatchReport, dispatch
from winback.delivery.pace import Timer
from winback.delivery.queue import open_since
from winback.delivery.sharing import HandOut, hand_out, send_slices, wait_for_others
from winback.delivery.slices import AUDIENCE, CUSTOMER, Slice, number_of
from winback.destinations import Destinations
from winback.destinations.base import Capabilities, Channel, Message, Outcome, Result
from winback.destinations.local import LocalAudiences
from winback.errors import BadConfig
from winback.ledger import open_ledger_at
from winback.settings import Settings

SLICES = 3


class Provider:
    """Takes everything, and does something with each call first."""

    name = "provider"
    capabilities: ClassVar[Capabilities] = Capabilities(frozenset({Channel.EMAIL, Channel.SMS}), batch_size=5, rate_per_second=1000.0)

    def __init__(self, first: Any = None) -> None:
        self.taken: list[str] = []
        self._first = first

    def send(self, messages: Sequence[Message], now: datetime) -> list[Result]:
        if self._first:
            self._first()
        self.taken += [message.message_id for message in messages]
        return [Result(Outcome.ACCEPTED)] * len(messages)

    def resolve(self, messages: Sequence[Message], now: datetime) -> list[Result]:
        return [Result(Outcome.UNKNOWN)] * len(messages)

    def check(self) -> str:
        return self.name

    def close(self) -> None: ...


@pytest.fixture
def shop(tmp_path: Path, postgres_url: str) -> Iterator[Shop]:
    warehouse = duckdb.connect(config={"threads": 2})
    warehouse.execute(SCHEMA)
    with open_ledger_at(postgres_url) as ledger:
        made = Shop(Settings(home=tmp_path, dispatch_shards=SLICES), warehouse, ledger)
        made.program()
        yield made
    warehouse.close()


def places(provider: Provider, outbox: Path) -> Destinations:
    return Destinations({Channel.EMAIL: provider, Channel.SMS: provider}, {"meta": LocalAudiences(outbox, "meta")})


def shared(shop: Shop, provider: Provider, now: datetime = NOON, **options: Any) -> DispatchReport:
    """What the day does, in one process."""
    to = places(provider, shop.settings.outbox)
    told = DispatchReport(now)
    with hand_out(shop.settings, shop.warehouse, shop.ledger, now, slices=SLICES, at_least=1) as handed:
        assert handed is not None
        send_slices(shop.settings, shop.ledger, to, handed, clock=lambda: now, renderer=PlainRenderer(), **options)
        for one in handed.reports():
            told.add(one)
    return dispatch(shop.settings, shop.warehouse, shop.ledger, to, now, renderer=PlainRenderer(), chance=Random(1), shares_before=told)


def rows(query: str) -> list[Any]:
    with duckdb.connect() as connection:
        return connection.execute(query).fetchall()


def test_python_and_sql_find_the_same_slice() -> None:
    keys = [f"customer {number}" for number in range(500)] + ["", "é", "x" * 99]
    for of in (1, 2, 3, 7, 64):
        found = rows(f"select key, {number_of('key', of)} from (select unnest({keys}) as key)")
        slices = [Slice(number, of) for number in range(of)]
        holding = {key for one in slices for (key,) in rows(f"from (select unnest({keys}) as key) where {one.holds('key')}")}
        assert holding == set(keys)
        assert all(slices[number].contains(key) for key, number in found)
        assert all(sum(one.contains(key) for one in slices) == 1 for key in keys)
    counts = Counter(number for _, number in rows(f"select key, {number_of('key', 4)} from (select unnest({keys}) as key)"))
    assert min(counts.values()) > 80


def test_postgresql_finds_the_same_slice(shop: Shop) -> None:
    keys = [f"c{number}" for number in range(40)]
    with shop.ledger.reading() as connection:
        for one in (Slice(number, SLICES) for number in range(SLICES)):
            found: list[str] = list(
                connection.exec_driver_sql(f"select key from unnest(%s::text[]) as key where {one.holds('key')}", (keys,)).scalars()
            )
            assert sorted(found) == sorted(key for key in keys if one.contains(key))
    assert AUDIENCE.count("||") == 2
    assert CUSTOMER == "customer_id"


def varied(shop: Shop) -> None:
    """Customers of all fates, with links to each other."""
    shop.policy(caps={"email": {"messages": 1, "days": 7}}, quiet_hours={"from": 0, "to": 0})
    for number in range(60):
        name = f"c{number}"
        match number % 13:
            case 1:
                shop.customer(name, consents=())
            case 2:
                shop.customer(name)
                shop.order(name, AS_OF + timedelta(hours=1))
            case 3:
                shop.customer(name)
                shop.event(name, "unsubscribed", AS_OF)
            case 4:
                # Known by the address of somebody who left by a link, and is in no queue.
                shop.customer(name, email=f"shared{number}@example.com")
                shop.customer(f"twin{number}", email=f"shared{number}@example.com")
                row = {"suppression_id": name, "operation": "add", "customer_id": f"twin{number}", "channel": "email"}
                shop.ledger.record("suppressions", [{**row, "reason": "unsubscribed", "starts_at": AS_OF, "recorded_at": AS_OF}])
            case 5:
                shop.customer(name)
                hashed = sha256(f"{name}@example.com".encode()).hexdigest()
                row = {"suppression_id": name, "operation": "add", "address_hash": hashed, "channel": "all", "reason": "complained"}
                shop.ledger.record("suppressions", [{**row, "starts_at": AS_OF, "recorded_at": AS_OF}])
            case 6:
                shop.customer(name)
                shop.event(name, "sent", AS_OF - timedelta(days=1))
            case 7:
                # Refused at an address, by an event that names no customer.
                shop.customer(name)
                shop.warehouse.execute(
                    "insert into raw.message_events values (?, null, ?, 'email', 'unsubscribed', ?, null, false)",
                    [f"by address {name}", f" {name.upper()}@example.com", AS_OF],
                )
            case 8:
                shop.customer(name, reachable_email=False, email_unreachable_reason="bounced")
            case 9:
                shop.customer(name)
                shop.message(name, program="second", step_no=2)
            case 10:
                # A mail has said that the address is dead, and nothing has been made of it yet.
                shop.customer(name)
                earlier = shop.message(name, program="earlier", as_of=AS_OF - timedelta(days=2))
                event = {"event_id": name, "source": "mailbox", "event_type": "bounced", "channel": "email", "message_id": earlier}
                hashed = sha256(f"{name}@example.com".encode()).hexdigest()
                row = event | {"address_hash": hashed, "occurred_at": AS_OF, "is_machine": 0, "recorded_at": AS_OF}
                shop.ledger.record("delivery_events", [row])
                shop.ledger.record("outcomes", [{"item_id": earlier, "attempt": 1, "outcome": "accepted", "recorded_at": AS_OF}])
            case 11:
                # Refused at a phone number that is written in another form.
                shop.customer(name, phone=f"+4477009000{number:02}")
                shop.message(name, "sms", step_no=2)
                shop.warehouse.execute(
                    "insert into raw.message_events values (?, null, ?, 'sms', 'unsubscribed', ?, null, false)",
                    [f"by number {name}", f"0044 7700 9000 {number:02}", AS_OF],
                )
            case _:
                shop.customer(name)
        shop.message(name)
    shop.program("second")
    changes = [
        {"change_id": identity("meta", number), "platform": "meta", "audience": f"a{number % 4}", "program": "lapsing"}
        | {"customer_id": f"c{number}", "operation": "add", "identifiers": '[["email", "x"]]', "as_of": AS_OF, "recorded_at": AS_OF}
        for number in range(0, 60, 5)
    ]
    shop.ledger.record("audience_changes", changes)


def decided(shop: Shop) -> dict[str, list[tuple[int, str, str | None]]]:
    found: dict[str, list[tuple[int, str, str | None]]] = {}
    for row in shop.ledger.rows("outcomes"):
        found.setdefault(row["item_id"], []).append((row["attempt"], row["outcome"], row["reason"]))
    return found


def test_slices_decide_as_one_dispatcher_does(shop: Shop, tmp_path: Path) -> None:
    varied(shop)
    alone = duckdb.connect()
    alone.execute(SCHEMA)
    with open_ledger_at(f"sqlite:///{tmp_path / 'alone.db'}") as ledger:
        one = Shop(Settings(home=tmp_path / "alone"), alone, ledger)
        one.program()
        varied(one)
        before = dispatch(
            one.settings, alone, ledger, places(Provider(), one.settings.outbox), NOON, renderer=PlainRenderer(), chance=Random(1)
        )
        expected = decided(one)
    provider = Provider()

    report = shared(shop, provider)

    assert decided(shop) == expected
    assert len({reason for rows in expected.values() for _, _, reason in rows}) >= 7
    assert len(provider.taken) == len(set(provider.taken)) == report.total("accepted") - report.outcomes["ads:meta"]["accepted"]
    assert (report.claimed, report.outcomes, report.reasons, report.waiting) == (
        before.claimed, before.outcomes, before.reasons, before.waiting,
    )  # fmt: skip
    assert open_since(shop.ledger)[0] == AS_OF
    acts = shop.ledger.rows("audit_trail", act="dispatch")
    assert len(acts) == 1
    workers = {row["worker"] for row in shop.ledger.rows("claims")}
    assert len(workers) >= SLICES


def test_a_suppression_that_comes_after_the_hand_out_is_heard(shop: Shop) -> None:
    for number in range(12):
        shop.customer(f"c{number}")
        shop.message(f"c{number}")

    def everybody_leaves() -> None:
        row = {"operation": "add", "channel": "email", "reason": "unsubscribed", "starts_at": NOON, "recorded_at": NOON}
        shop.ledger.record("suppressions", [{**row, "suppression_id": f"s{number}", "customer_id": f"c{number}"} for number in range(12)])

    provider = Provider(everybody_leaves)
    shared(shop, provider)

    first = Slice(0, SLICES)
    assert provider.taken == [identity(identity("lapsing", f"c{n}"), 1, "email") for n in range(12) if first.contains(f"c{n}")][:5]
    assert Counter(row["reason"] for row in shop.ledger.rows("outcomes")) == Counter(
        {"suppressed": 12 - len(provider.taken), None: len(provider.taken)}
    )


def test_a_limit_that_comes_after_the_hand_out_is_heard(shop: Shop) -> None:
    for number in range(12):
        shop.customer(f"c{number}")
        shop.message(f"c{number}")
        shop.event(f"c{number}", "sent", AS_OF - timedelta(days=1))
    to = places(provider := Provider(), shop.settings.outbox)
    with hand_out(shop.settings, shop.warehouse, shop.ledger, NOON, slices=SLICES, at_least=1) as handed:
        assert handed is not None
        limits = [
            {"limit_id": f"l{number}", "operation": "add", "customer_id": f"c{number}", "channel": "email", "max_messages": 1}
            | {"window_days": 30, "recorded_at": NOON}
            for number in range(12)
        ]
        shop.ledger.record("frequency_limits", limits)
        send_slices(shop.settings, shop.ledger, to, handed, clock=lambda: NOON, renderer=PlainRenderer())
    assert provider.taken == []


def test_one_who_overlaps_sends_nothing_twice(shop: Shop) -> None:
    for number in range(30):
        shop.customer(f"c{number}")
        shop.message(f"c{number}")
    other = Provider()

    def another_dispatcher() -> None:
        if not other.taken:
            to = places(other, shop.settings.outbox)
            with duckdb.connect() as own:
                own.execute(SCHEMA)
                for table in ("intermediate.int_customers__contacts", "raw.consents", "programs.versions"):
                    given = shop.warehouse.execute(f"from {table}").fetchall()
                    own.executemany(f"insert into {table} values ({', '.join('?' * len(given[0]))})", given)
                dispatch(shop.settings, own, shop.ledger, to, NOON, renderer=PlainRenderer())

    provider = Provider(another_dispatcher)
    shared(shop, provider)

    taken = provider.taken + other.taken
    assert len(taken) == len(set(taken)) == 30
    assert provider.taken
    assert other.taken


def test_a_hand_out_is_private_and_goes_with_its_dispatch(shop: Shop) -> None:
    shop.customer("c1")
    shop.message("c1")
    with hand_out(shop.settings, shop.warehouse, shop.ledger, NOON, slices=SLICES, at_least=1) as handed:
        assert handed is not None
        assert stat.S_IMODE(handed.folder.stat().st_mode) == 0o700
        left = HandOut(handed.folder)
        assert left.stands(shop.ledger)
        kept = [file for file in handed.folder.rglob("*") if file.is_file()]
        assert kept
    provider = Provider()

    assert not left.folder.exists()
    assert not left.stands(shop.ledger)
    assert send_slices(shop.settings, shop.ledger, places(provider, shop.settings.outbox), left, clock=lambda: NOON) == 0
    assert provider.taken == []


def test_what_a_dead_dispatch_handed_out_is_not_sent_and_swept_away(shop: Shop) -> None:
    shop.customer("c1")
    shop.message("c1")
    with hand_out(shop.settings, shop.warehouse, shop.ledger, NOON, slices=SLICES, at_least=1) as handed:
        assert handed is not None
        left = shop.settings.handouts / "hand_out_left"
        handed.folder.rename(left)
        provider = Provider()
        to = places(provider, shop.settings.outbox)
        # Its files are all there; who handed them out is not.
        assert send_slices(shop.settings, shop.ledger, to, HandOut(left), clock=lambda: NOON) == 0
        assert provider.taken == []
    assert left.exists()
    somebodys = shop.settings.handouts / "somebody's"
    somebodys.mkdir()
    with hand_out(shop.settings, shop.warehouse, shop.ledger, NOON, slices=SLICES, at_least=1) as again:
        assert again is not None
        assert set(shop.settings.handouts.iterdir()) == {again.folder, somebodys}


def test_a_share_that_needs_more_memory_names_the_setting(shop: Shop) -> None:
    shop.customer("c1")
    shop.message("c1")
    little = shop.settings.model_copy(update={"memory_limit": "20MB"})
    sort = "create table sorted as select i, md5(cast(i as varchar)) as text from range(1000000) as numbers(i) order by text"
    with hand_out(shop.settings, shop.warehouse, shop.ledger, NOON, slices=1, at_least=1) as handed:
        assert handed is not None
        with pytest.raises(BadConfig, match=r"WINBACK_MEMORY_LIMIT \(memory_limit; found: 20MB\)"), handed.opened(little, 0) as share:
            share.execute(sort)


def test_a_share_stops_when_who_handed_it_out_has_gone(shop: Shop) -> None:
    for number in range(60):
        shop.customer(f"c{number}")
        shop.message(f"c{number}")
    with hand_out(shop.settings, shop.warehouse, shop.ledger, NOON, slices=1, at_least=1) as handed:
        assert handed is not None
        provider = Provider()
        provider.capabilities = Capabilities(frozenset({Channel.EMAIL}), batch_size=5, rate_per_second=1000.0)  # type: ignore[misc]
        gone = iter([True, True])
        handed.stands = lambda ledger: next(gone, False)  # type: ignore[method-assign]
        send_slices(
            shop.settings, shop.ledger, places(provider, shop.settings.outbox), handed, clock=lambda: NOON, renderer=PlainRenderer()
        )
    assert len(provider.taken) == 50, "one portion of claims"


def test_too_little_is_not_shared(shop: Shop) -> None:
    shop.customer("c1")
    shop.message("c1")
    shop.customer("c2")
    shop.message("c2", not_before=NOON + timedelta(minutes=1))
    with hand_out(shop.settings, shop.warehouse, shop.ledger, NOON, slices=SLICES, at_least=2) as handed:
        assert handed is None
    assert not shop.settings.handouts.exists()


def test_what_is_due_much_later_is_not_handed_out(shop: Shop) -> None:
    shop.customer("c1")
    shop.message("c1", not_before=NOON + timedelta(minutes=59))
    shop.customer("c3")
    shop.message("c3")
    shop.customer("c2")
    later = shop.message("c2", not_before=NOON + timedelta(minutes=61))
    with hand_out(shop.settings, shop.warehouse, shop.ledger, NOON, slices=1, at_least=1) as handed:
        assert handed is not None
        with handed.opened(shop.settings, 0) as connection:
            items = {row[0] for row in connection.execute("from handed_out.items").fetchall()}
    assert len(items) == 2
    assert later not in items


def test_a_slice_that_somebody_is_at_is_left_to_them_and_waited_for(shop: Shop) -> None:
    for number in range(12):
        shop.customer(f"c{number}")
        shop.message(f"c{number}")
    provider = Provider()
    with hand_out(shop.settings, shop.warehouse, shop.ledger, NOON, slices=SLICES, at_least=1) as handed:
        assert handed is not None
        to = places(provider, shop.settings.outbox)
        at_it = shop.ledger.present(handed.desk(1), alone=True)
        assert at_it.__enter__()
        assert send_slices(shop.settings, shop.ledger, to, handed, clock=lambda: NOON, renderer=PlainRenderer()) == SLICES - 1
        waits: list[float] = []

        def leaves(seconds: float) -> None:
            waits.append(seconds)
            at_it.__exit__(None, None, None)

        wait_for_others(shop.ledger, handed, Timer(sleep=leaves))
        assert waits
        assert len(list(handed.reports())) == SLICES - 1


def test_a_rate_is_divided_by_those_who_call_its_destination(shop: Shop) -> None:
    for number in range(30):
        shop.customer(f"c{number}")
        shop.message(f"c{number}")
    seen: list[int | None] = []
    provider = Provider(lambda: seen.append(shop.ledger.at_work("destination provider")))
    waits: list[float] = []
    timer = Timer(monotonic=lambda: 0.0, sleep=waits.append)
    with shop.ledger.present("destination provider"), shop.ledger.present("destination another"):
        dispatch(
            shop.settings, shop.warehouse, shop.ledger, places(provider, shop.settings.outbox), NOON, renderer=PlainRenderer(), timer=timer
        )
    assert set(seen) == {2}
    assert waits == pytest.approx([0.002 * call for call in range(1, 6)])
    assert shop.ledger.at_work("destination provider") == 0
