"""A small shop whose past changes all the time: files come through landing, with late and corrected rows, and the ledger tells of messages
and of what came back, late too."""

from __future__ import annotations

import csv
import hashlib
import io
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from winback.landing import create_raw, land
from winback.ledger import open_ledger
from winback.programs.sync import sync
from winback.settings import Settings
from winback.warehouse import open_warehouse

START = datetime(2030, 1, 7)
CUSTOMERS = 240


class ChangingShop:
    """A small shop whose past changes all the time. The same seed gives the same files."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.settings = Settings(home=folder / "home", data=folder / "data")
        (folder / "data").mkdir(parents=True)
        self.customers: dict[str, dict[str, Any]] = {}
        self.orders: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.numbers = iter(range(1_000_000))
        self.messages: list[dict[str, Any]] = []
        with open_warehouse(self.settings) as warehouse, open_ledger(self.settings) as ledger:
            create_raw(warehouse)
            sync(self.settings, ledger, warehouse, START - timedelta(days=1), START - timedelta(days=1))

    def someone(self) -> str:
        return self.chance.choice(list(self.customers))

    def before(self, now: datetime, days: float) -> datetime:
        """Mostly of the last day, now and then long ago."""
        late = self.chance.random() < 0.3
        return now - timedelta(seconds=self.chance.randrange(1, int(86_400 * (days if late else 1))))

    def address(self, customer: str, channel: str) -> str:
        return str(self.customers[customer]["email" if channel == "email" else "phone"])

    def address_as_written(self, customer: str, channel: str) -> str:
        """In another form than the customer's row has it."""
        address = self.address(customer, channel)
        return address.upper() if channel == "email" else address.replace("+1555", "00 1 (555) ")

    def new_customer(self, now: datetime) -> dict[str, Any]:
        customer = f"c{len(self.customers)}"
        sharing = self.chance.choice([*self.customers, customer])
        return {
            "customer_id": customer,
            "email": f"{sharing}@example.com",
            "phone": f"+1555010{self.chance.randrange(150):04}",
            "created_at": self.before(now, 400),
        }

    def order(self, now: datetime, days: float) -> dict[str, Any]:
        order = f"o{next(self.numbers)}"
        placed = {"order_id": order, "customer_id": self.someone(), "ordered_at": self.before(now, days), "status": "paid", "refunded": 0}
        return placed | {"total": self.chance.randrange(5, 100)}

    def message_event(self, now: datetime, days: float) -> dict[str, Any]:
        channel = self.chance.choice(["email", "email", "sms"])
        customer = self.someone()
        by_address = self.chance.random() < 0.3
        return {
            "event_id": f"m{next(self.numbers)}",
            "customer_id": None if by_address else customer,
            "address": self.address_as_written(customer, channel) if by_address else None,
            "channel": channel,
            "event_type": self.chance.choice(["sent", "delivered", "opened", "clicked", "replied", "bounced", "bounced", "unsubscribed"]),
            "occurred_at": self.before(now, days),
            "campaign": self.chance.choice(["newsletter", "tier_drop"]),
            "is_machine": self.chance.random() < 0.2,
        }

    def put(self, now: datetime, table: str, rows: list[dict[str, Any]]) -> None:
        if rows:
            text = io.StringIO()
            writer = csv.DictWriter(text, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
            (self.settings.data / f"{table}-{now:%Y%m%dT%H%M}.csv").write_text(text.getvalue(), encoding="utf-8")  # type: ignore[operator]

    def past(self) -> None:
        """Two years of history, in one file a table."""
        for _ in range(CUSTOMERS):
            new = self.new_customer(START)
            self.customers[new["customer_id"]] = new
        self.put(START, "customers", list(self.customers.values()))
        self.put(START, "products", [{"product_id": f"p{n}", "category": ["apparel", "cosmetics", "furniture"][n % 3]} for n in range(9)])
        self.live(START, orders=1200, events=2500, days=700)

    def live(self, now: datetime, *, orders: int, events: int, days: float) -> None:
        """What happened up to `now`, and what is learnt of what happened before."""
        chance = self.chance
        placed = [self.order(now, days) for _ in range(orders)]
        for order in placed:
            self.orders[order["order_id"]] = order
        corrected = chance.sample(list(self.orders.values()), min(3, len(self.orders)))
        corrected[0]["refunded"] = corrected[0]["total"]
        corrected[1]["customer_id"] = self.someone()
        corrected[2]["ordered_at"] = self.before(now, days)
        self.put(now, "orders", [*placed, *(order for order in corrected if order not in placed)])
        # Lines come a while after their orders, now and then.
        lined = chance.sample(list(self.orders), orders)
        lines = [{"order_id": order, "line_no": line, "product_id": f"p{chance.randrange(9)}"} for order in lined for line in (1, 2)]
        self.put(now, "order_lines", lines)
        new_events = [self.message_event(now, days) for _ in range(events)]
        # Corrected ones are often another's, too: of a customer who was not known, or of an address alone.
        again = [
            event | {"event_type": "opened"} | {name: whose[name] for name in ("customer_id", "address", "channel")}
            for event, whose in zip(*(chance.sample(self.events, min(2, len(self.events))) for _ in range(2)), strict=True)
        ]
        self.events += new_events
        self.put(now, "message_events", new_events + again)
        activity = [
            {"event_id": f"a{next(self.numbers)}", "customer_id": self.someone(), "event_type": chance.choice(["visit", "login", "action"])}
            | {"occurred_at": self.before(now, days)}
            for _ in range(events // 2)
        ]
        self.put(now, "activity_events", activity)
        consents = {
            (self.someone(), chance.choice(["email", "sms", "push", "ads"]), self.before(now, days)): chance.random() < 0.8
            for _ in range(events // 4)
        }
        self.put(
            now,
            "consents",
            [{"customer_id": c, "channel": channel, "changed_at": at, "granted": g} for (c, channel, at), g in consents.items()],
        )
        devices = {(f"t{chance.randrange(20)}", self.before(now, days)): self.someone() for _ in range(3)}
        self.put(
            now,
            "devices",
            [{"push_token": token, "customer_id": c, "active": True, "updated_at": at} for (token, at), c in devices.items()],
        )

    def one_more_day(self, now: datetime) -> None:
        chance = self.chance
        changed = [self.customers[self.someone()] for _ in range(2)]
        changed[0]["email"], changed[1]["phone"] = self.customers[self.someone()]["email"], self.customers[self.someone()]["phone"]
        new = self.new_customer(now)
        self.customers[new["customer_id"]] = new
        # Every third day the whole list comes again, changed or not.
        everyone = now.day % 3 == 0
        self.put(now, "customers", list(self.customers.values()) if everyone else list({id(row): row for row in [*changed, new]}.values()))
        if chance.random() < 0.2:
            self.put(now, "products", [{"product_id": f"p{chance.randrange(9)}", "category": chance.choice(["apparel", "furniture"])}])
        self.live(now, orders=5, events=10, days=60)
        self.record(now)

    def record(self, now: datetime) -> None:
        """Messages of ours, and what came back: some of it was recorded long after it happened, and replies name a number alone."""
        chance = self.chance
        sent = []
        for _ in range(4):
            number = next(self.numbers)
            sent.append(
                {
                    "message_id": f"x{number}",
                    "enrolment_id": f"e{number}",
                    "step_no": 1,
                    "customer_id": self.someone(),
                    "program": "tier_drop",
                }
                | {"version": 1, "kind": "send", "channel": chance.choice(["email", "sms"]), "content": "hello", "not_before": now}
                | {"expires_at": now + timedelta(days=3), "as_of": now, "recorded_at": now - timedelta(hours=chance.randrange(1, 20))}
            )
        self.messages += sent
        outcomes = [
            {
                "item_id": message["message_id"],
                "attempt": 1,
                "outcome": "accepted",
                "recorded_at": now - timedelta(minutes=chance.randrange(60)),
            }
            for message in chance.sample(self.messages, min(4, len(self.messages)))
        ]
        events = []
        for _ in range(12):
            message = chance.choice(self.messages)
            by_number = message["channel"] == "sms" and chance.random() < 0.7
            address = self.address(chance.choice([message["customer_id"], self.someone()]), message["channel"])
            events.append(
                {
                    "event_id": f"d{next(self.numbers)}",
                    "source": "test",
                    "event_type": "replied" if by_number else chance.choice(["delivered", "opened", "clicked", "clicked", "bounced"]),
                    "message_id": None if by_number else chance.choice([message["message_id"], message["message_id"], "of another system"]),
                    "channel": message["channel"],
                    "address_hash": hashlib.sha256(address.encode()).hexdigest(),
                    "occurred_at": self.before(now, 5),
                    "is_machine": 0,
                    "link": chance.choice(["offer", "shop"]),
                    "recorded_at": now - timedelta(minutes=chance.randrange(1, 600)),
                }
            )
        with open_ledger(self.settings) as ledger:
            ledger.record("messages", sent)
            ledger.record("outcomes", outcomes)
            ledger.record("delivery_events", events)

    def land(self, now: datetime) -> None:
        with open_warehouse(self.settings) as warehouse, open_ledger(self.settings) as ledger:
            land(self.settings, warehouse, ledger, now=now, mapping="standard")
            ledger.copy_to_warehouse(warehouse)
