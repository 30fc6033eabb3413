"""A shop whose customers do things by chance from a seed, and which remembers from when on each thing was known.

`Shop.arrive(day)` hands out the rows that land on a day: everything that happens on it, later hours included (models and dispatch see
only what lies before their instant), and what arrives late from days before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

from winback.inbox.recording import EventType

START = datetime(2030, 1, 7)
"""The as_of of day 0, a Monday."""

DAY = timedelta(days=1)
CHANNELS = ("email", "sms", "push", "ads")
TIMEZONES = (None, None, "Asia/Kolkata")
CATEGORIES = ("consumables", "cosmetics", "apparel", "furniture", "books")
Row = dict[str, Any]


@dataclass(slots=True)
class Known:
    """A row and the day on which it landed: before, nobody could know."""

    row: Row
    landed_on: int


@dataclass(slots=True)
class Returned:
    """What a provider, mail system or link of ours tells the receiver about a message, and the day from which on it has."""

    kind: EventType
    message: Mapping[str, Any]
    at: datetime
    received: datetime
    is_machine: bool
    link: str | None
    address: str | None
    told_on: int | None = None


@dataclass(slots=True)
class Person:
    customer_id: str
    gap_days: float
    visits_a_day: float
    buys_again: float
    opens: float
    next_order_at: datetime
    orders: list[Row] = field(default_factory=list)


class Shop:
    """Customers with a history of two years before START, and what they do on each day after."""

    def __init__(self, seed: int, customers: int) -> None:
        self._chance = Random(seed)
        self._number = 0
        self.people: dict[str, Person] = {}
        self.landed: dict[str, list[Known]] = defaultdict(list)
        self._waiting: dict[int, list[tuple[str, Row]]] = defaultdict(list)
        self.returned: list[Returned] = []
        self._addresses: dict[tuple[str, str], str | None] = {}
        for number in range(30):
            self._later(
                0, "products", {"product_id": f"p{number}", "name": f"Thing {number}", "category": CATEGORIES[number % 5], "price": 10}
            )
        for number in range(customers):
            self._join(f"c{number:04d}", START - timedelta(days=self._chance.uniform(40, 900)))

    def arrive(self, days: Iterable[int]) -> dict[str, list[Row]]:
        """What lands on the last of `days`: it happened on any of them, or arrives late."""
        arriving = list(days)
        for day in arriving:
            self._live(day)
        rows: dict[str, list[Row]] = defaultdict(list)
        for day in sorted(day for day in self._waiting if day <= arriving[-1]):
            for table, row in self._waiting.pop(day):
                rows[table].append(row)
                self.landed[table].append(Known(row, arriving[-1]))
        return dict(rows)

    def answer(self, messages: Iterable[Mapping[str, Any]], day: int) -> None:
        """People (and machines) react to messages (message_id, customer_id, channel, program, sent_at).

        Some of it another system reports (raw, known from `day` on), some comes back to the receiver, some both; a report takes machines
        that the receiver knows for people.
        """
        for message in messages:
            at = message["sent_at"]
            self._event(message, "sent", at, day)
            ways = self._chance.choice((("raw",), ("receiver",), ("receiver",), ("raw", "receiver")))
            if message["channel"] == "email":
                self._tell(message, "delivered", at + timedelta(seconds=5), day, ways)
                if self._happens(0.4):
                    self._tell(message, "opened", at + timedelta(minutes=1), day, ways, is_machine=True)
                if self._happens(0.1):
                    self._scan(message, at + timedelta(seconds=7), day, ways)
                person = self.people[message["customer_id"]]
                shares: tuple[tuple[EventType, float], ...] = (
                    ("opened", person.opens), ("clicked", person.opens / 4), ("bounced", 0.005), ("soft_bounced", 0.02),
                    ("complained", 0.005), ("unsubscribed", 0.015),
                )  # fmt: skip
                for kind, share in shares:
                    if self._happens(share):
                        self._tell(message, kind, at + timedelta(hours=self._chance.uniform(0.1, 40)), day, ways)
            elif self._happens(0.02):
                self._tell(message, "unsubscribed", at + timedelta(hours=2), day, ways)
            if self._happens(0.03):
                self._order(self.people[message["customer_id"]], at + timedelta(hours=self._chance.uniform(0.5, 60)), day)

    def comes_back(self, before: datetime, day: int) -> list[Returned]:
        """What reaches the receiver before that instant, in order; told on `day`."""
        found = [one for one in self.returned if one.told_on is None and one.received < before]
        for one in found:
            one.told_on = day
        return sorted(found, key=lambda one: one.received)

    def _scan(self, message: Mapping[str, Any], at: datetime, day: int, ways: tuple[str, ...]) -> None:
        """A scanner that nobody recognises by name follows every link within seconds."""
        if "receiver" in ways:
            for number in range(3):
                seconds = timedelta(seconds=number)
                self.returned.append(self._back(message, "clicked", at + seconds, timedelta(0), is_machine=False, link=str(number)))
            if "raw" in ways:
                self._event(message, "clicked", at, day)

    def _tell(
        self, message: Mapping[str, Any], kind: EventType, at: datetime, day: int, ways: tuple[str, ...], *, is_machine: bool = False
    ) -> None:
        if "raw" in ways:
            reported = "bounced" if kind == "soft_bounced" else kind
            self._event(message, reported, at, day, is_machine=is_machine and "receiver" not in ways)
        if "receiver" in ways:
            # Some webhooks are held up for days.
            late = (
                timedelta(days=self._chance.randint(1, 4))
                if self._happens(0.1) and not is_machine and kind != "delivered"
                else timedelta(0)
            )
            self.returned.append(self._back(message, kind, at, late, is_machine=is_machine, link="shop" if kind == "clicked" else None))
            if kind == "unsubscribed" and self._happens(0.3):
                self.returned.append(self._back(message, "resubscribed", at + 9 * DAY, timedelta(0), is_machine=False, link=None))

    def _back(
        self, message: Mapping[str, Any], kind: EventType, at: datetime, late: timedelta, *, is_machine: bool, link: str | None
    ) -> Returned:
        address = self._addresses.get((message["customer_id"], message["channel"]))
        return Returned(kind, message, at, at + timedelta(seconds=1) + late, is_machine, link, address)

    def _later(self, day: int, table: str, row: Row) -> None:
        self._waiting[max(day, 0)].append((table, row))

    def _happens(self, share: float) -> bool:
        return self._chance.random() < share

    def _id(self, prefix: str) -> str:
        self._number += 1
        return f"{prefix}{self._number}"

    def _join(self, name: str, at: datetime) -> None:
        chance = self._chance
        day = (at - START).days
        number = int(name[1:])
        # Every twentieth shares an address with somebody: the fresher one is written to.
        address = f"c{number - 1:04d}@example.com" if number % 20 == 19 else f"{name}@example.com"
        gap = chance.choice((7, 20, 30, 60, 120))
        person = Person(name, gap, chance.choice((0, 0, 0.02, 0.1, 0.3)), chance.uniform(0.2, 0.95), chance.choice((0, 0.1, 0.4)), at)
        self.people[name] = person
        customer = {
            "customer_id": name,
            "email": None if self._happens(0.05) else address,
            "phone": f"+1555010{number:04d}" if self._happens(0.6) else None,
            "first_name": "Ann",
            "timezone": chance.choice(TIMEZONES),
            "country": "US",
            "created_at": at,
        }
        self._later(day, "customers", customer)
        self._addresses |= {(name, "email"): customer["email"], (name, "sms"): customer["phone"], (name, "push"): f"token-{name}"}
        if self._happens(0.5):
            device = {"push_token": f"token-{name}", "customer_id": name, "platform": "ios", "active": True, "updated_at": at}
            self._later(day, "devices", device)
        for channel, share in zip(CHANNELS, (0.9, 0.5, 0.6, 0.7), strict=True):
            if self._happens(share):
                self._consent(name, channel, at, day, granted=True)
        while person.next_order_at < START and self._happens(0.9):
            self._order(person, person.next_order_at, 0)
            person.next_order_at += timedelta(days=gap * chance.uniform(0.5, 1.6))
            if not self._happens(0.5 + person.buys_again / 2):
                person.next_order_at += timedelta(days=chance.choice((60, 200, 400)))
        if self._happens(0.6):
            self._visit(person, at + (START - at) * chance.random() if at < START else at, 0)

    def _consent(self, name: str, channel: str, at: datetime, day: int, *, granted: bool) -> None:
        row = {"customer_id": name, "channel": channel, "changed_at": at, "granted": granted, "source": "form"}
        self._later(day, "consents", row)

    def _order(self, person: Person, at: datetime, day: int) -> None:
        row: Row = {
            "order_id": self._id("o"),
            "customer_id": person.customer_id,
            "ordered_at": at,
            "status": "cancelled" if self._happens(0.03) else "paid",
            "total": round(self._chance.uniform(5, 400), 2),
            "refunded": 0,
            "currency": "USD",
        }
        # One in ten arrives days later.
        landing = day + self._chance.randint(1, 6) if self._happens(0.1) else day
        self._later(landing, "orders", row)
        line = {"order_id": row["order_id"], "line_no": 1, "product_id": f"p{self._chance.randrange(30)}", "quantity": 1}
        self._later(landing, "order_lines", line | {"unit_price": row["total"]})
        if self._happens(0.08):
            # A corrected row replaces its predecessor; half of the refunds are in full.
            refunded = row["total"] if self._happens(0.5) else round(row["total"] / 2, 2)
            self._later(landing + self._chance.randint(0, 12), "orders", row | {"refunded": refunded})
        person.orders.append(row)

    def _visit(self, person: Person, at: datetime, day: int) -> None:
        kind = self._chance.choice(("visit", "visit", "login", "action"))
        row = {"event_id": self._id("a"), "customer_id": person.customer_id, "event_type": kind, "occurred_at": at}
        self._later(day, "activity_events", row)

    def _event(self, message: Mapping[str, Any], kind: str, at: datetime, day: int, *, is_machine: bool = False) -> None:
        row = {
            "event_id": self._id("m"),
            "customer_id": message["customer_id"],
            "channel": message["channel"],
            "event_type": kind,
            "occurred_at": at,
            "campaign": message["program"],
            "is_machine": is_machine,
        }
        self._later(day, "message_events", row)

    def _live(self, day: int) -> None:
        """What people do between START + day and the midnight after."""
        midnight = START + day * DAY
        chance = self._chance
        if self._happens(0.5):
            self._join(f"c{len(self.people):04d}", midnight + timedelta(hours=chance.uniform(0, 23)))
        newsletter = day % 9 == 4
        for person in self.people.values():
            at = midnight + timedelta(seconds=chance.randrange(86_400))
            if person.next_order_at < midnight + DAY:
                if self._happens(person.buys_again):
                    self._order(person, at, day)
                person.next_order_at = midnight + timedelta(days=person.gap_days * chance.uniform(0.6, 1.8))
            if self._happens(person.visits_a_day):
                self._visit(person, at, day)
            if self._happens(0.003):
                self._consent(person.customer_id, chance.choice(CHANNELS), at, day, granted=False)
            elif self._happens(0.002):
                self._consent(person.customer_id, chance.choice(CHANNELS), at, day, granted=True)
            if newsletter:
                letter = {"customer_id": person.customer_id, "channel": "email", "program": "newsletter"}
                self._event(letter, "sent", at, day)
                if self._happens(person.opens):
                    self._event(letter, "opened", at + timedelta(hours=1), day + 1)
