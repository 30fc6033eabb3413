"""A small shop's warehouse, as far as delivery reads it, beside a real ledger and a real outbox."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import md5
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.postgres import postgres_server, postgres_url
from winback.delivery.queue import Item
from winback.destinations import Destinations
from winback.destinations.base import AudienceDestination, Channel, Message, MessageDestination
from winback.destinations.local import LocalAudiences, LocalOutbox
from winback.ledger import Ledger, open_ledger_at
from winback.settings import Settings

__all__ = ["postgres_server", "postgres_url"]

AS_OF = datetime(2017, 12, 1)
NOON = datetime(2017, 12, 1, 12)

SCHEMA = """
create schema raw; create schema programs; create schema intermediate; create schema marts;
create table raw.orders (order_id varchar, customer_id varchar, ordered_at timestamp, status varchar, total decimal(18,4),
    refunded decimal(18,4), _file_id varchar, _row_number bigint);
create table raw.consents (customer_id varchar, channel varchar, changed_at timestamp, granted boolean, source varchar);
create table raw.message_events (event_id varchar, customer_id varchar, address varchar, channel varchar, event_type varchar,
    occurred_at timestamp, campaign varchar, is_machine boolean);
create table raw.activity_events (event_id varchar, customer_id varchar, event_type varchar, occurred_at timestamp);
create table raw.landed_files (file_id varchar, landed_at timestamp);
create table programs.versions (program varchar, version integer, is_draft boolean, priority integer, exit_on_purchase boolean,
    exit_on_engagement boolean, exclude_purchased_within_days integer);
create table intermediate.int_customers__contacts (customer_id varchar, email varchar, phone varchar, first_name varchar, last_name varchar,
    country varchar, timezone varchar, language varchar, extras varchar, push_token varchar,
    reachable_email boolean, reachable_sms boolean, reachable_push boolean, reachable_ads boolean,
    email_unreachable_reason varchar, sms_unreachable_reason varchar, push_unreachable_reason varchar, ads_unreachable_reason varchar);
create table marts.customers (customer_id varchar, days_since_last_order integer, order_count integer, main_category varchar,
    lifetime_value decimal(18,4), last_ordered_at timestamp, engagement_tier varchar, purchase_lifecycle varchar);
create table marts.journey_admissions (as_of timestamp, program varchar, version integer, customer_id varchar, anchor_at timestamp,
    audience_reason varchar, enrolment_id varchar, arm varchar, decision varchar, reason varchar);
create table marts.journey_actions (as_of timestamp, step_id varchar, message_id varchar, enrolment_id varchar, program varchar,
    version integer, customer_id varchar, arm varchar, step_no integer, kind varchar, content varchar, channel varchar, due_on date,
    decision varchar, reason varchar, expires_on date);
create table marts.journey_followups (followup_id varchar, enrolment_id varchar, program varchar, customer_id varchar, action varchar,
    value varchar, channel varchar, max_messages integer, window_days integer, ends_at timestamp);
create table marts.journey_enrolments (program varchar, customer_id varchar, arm varchar, enrolled_at timestamp, status varchar,
    exit_reason varchar);
create table marts.ad_audience_members (platform varchar, program varchar, customer_id varchar, enrolment_id varchar);
"""


def identity(*parts: object) -> str:
    return md5("|".join(str(part) for part in parts).encode(), usedforsecurity=False).hexdigest()


@dataclass
class PlainRenderer:
    """Renders a line of text: delivery does not depend on templates."""

    rendered: list[str] = field(default_factory=list)

    def render(self, item: Item) -> Message:
        row = item.row
        self.rendered.append(item.item_id)
        return Message(
            message_id=item.item_id,
            channel=Channel(row["channel"]),
            customer_id=row["customer_id"],
            to=row["address"],
            program=row["program"],
            program_version=row["version"],
            step_no=row["step_no"],
            content=row["content"],
            subject="We miss you",
            text=f"Hello {row['first_name'] or 'there'}",
            html="<p>Hello</p>",
            unsubscribe_url=f"https://shop.example.com/leave?m={item.item_id}",
        )


@dataclass
class Shop:
    """Builds the rows that a test is about."""

    settings: Settings
    warehouse: duckdb.DuckDBPyConnection
    ledger: Ledger
    _orders: int = 0

    def program(
        self, name: str = "lapsing", *, version: int = 1, status: str = "live", offer: dict[str, Any] | None = None, **columns: Any
    ) -> None:
        values = {"priority": 10, "exit_on_purchase": True, "exit_on_engagement": False, "exclude_purchased_within_days": 7, **columns}
        self.warehouse.execute("insert into programs.versions values (?, ?, false, ?, ?, ?, ?)", [name, version, *values.values()])
        definition = json.dumps({"program": {"name": name, "offer": offer}, "templates": {}})
        start = AS_OF - timedelta(days=30)
        row = {
            "program": name,
            "version": version,
            "content_hash": name,
            "definition": definition,
            "effective_at": start,
            "recorded_at": start,
        }
        self.ledger.record("program_versions", [row])
        self.status(name, status, start)

    def status(self, program: str, status: str, at: datetime) -> None:
        self.ledger.record("program_statuses", [{"program": program, "status": status, "effective_at": at, "recorded_at": at}])

    def policy(self, **sending: Any) -> None:
        definition = {"local_hour": 10, "quiet_hours": {"from": 21, "to": 8}, "timezone": "UTC", "caps": {}, **sending}
        row = {"version": 1, "content_hash": "x", "definition": json.dumps(definition), "effective_at": AS_OF, "recorded_at": AS_OF}
        self.ledger.record("policy_versions", [row])

    def customer(
        self, customer_id: str, *, timezone: str | None = None, consents: Sequence[str] = ("email", "sms", "push", "ads"), **contact: Any
    ) -> None:
        values = {
            "email": f"{customer_id}@example.com",
            "phone": "+15550100001",
            "first_name": "Zoë",
            "country": "US",
            "timezone": timezone,
            "push_token": f"token-{customer_id}",
            "reachable_email": True,
            "reachable_sms": True,
            "reachable_push": True,
            "reachable_ads": True,
            **contact,
        }
        names = ["customer_id", *values]
        marks = ", ".join("?" * len(names))
        self.warehouse.execute(
            f"insert into intermediate.int_customers__contacts ({', '.join(names)}) values ({marks})", [customer_id, *values.values()]
        )
        self.warehouse.execute("insert into marts.customers (customer_id, order_count) values (?, 3)", [customer_id])
        for channel in consents:
            self.consent(customer_id, channel, AS_OF - timedelta(days=100))

    def consent(self, customer_id: str, channel: str, at: datetime, *, granted: bool = True) -> None:
        self.warehouse.execute("insert into raw.consents values (?, ?, ?, ?, 'form')", [customer_id, channel, at, granted])

    def order(self, customer_id: str, at: datetime, **columns: Any) -> None:
        self._orders += 1
        values = {"status": "paid", "total": 10, "refunded": 0, **columns}
        self.warehouse.execute(
            "insert into raw.orders values (?, ?, ?, ?, ?, ?, 'file', 1)", [f"o{self._orders}", customer_id, at, *values.values()]
        )

    def event(
        self, customer_id: str, kind: str, at: datetime, *, channel: str = "email", campaign: str | None = None, is_machine: bool = False
    ) -> None:
        self._orders += 1
        self.warehouse.execute(
            "insert into raw.message_events values (?, ?, null, ?, ?, ?, ?, ?)",
            [f"e{self._orders}", customer_id, channel, kind, at, campaign, is_machine],
        )

    def message(self, customer_id: str, channel: str = "email", *, program: str = "lapsing", step_no: int = 1, **columns: Any) -> str:
        """An enrolment with one queued message, in the ledger; returns the message's id."""
        enrolment_id = identity(program, customer_id)
        self.ledger.record(
            "enrolments",
            [
                {
                    "enrolment_id": enrolment_id,
                    "program": program,
                    "version": 1,
                    "customer_id": customer_id,
                    "anchor_at": AS_OF - timedelta(days=90),
                    "arm": columns.pop("arm", "treatment"),
                    "enrolled_at": AS_OF,
                    "as_of": AS_OF,
                    "recorded_at": AS_OF,
                }
            ],
        )
        message_id = identity(enrolment_id, step_no, channel)
        row = {
            "message_id": message_id,
            "enrolment_id": enrolment_id,
            "step_no": step_no,
            "customer_id": customer_id,
            "program": program,
            "version": 1,
            "kind": "task" if channel == "task" else "send",
            "channel": channel,
            "content": "we_miss_you",
            "not_before": AS_OF,
            "expires_at": AS_OF + timedelta(days=4),
            "as_of": AS_OF,
            "recorded_at": AS_OF,
            **columns,
        }
        self.ledger.record("messages", [row])
        return message_id

    def admission(self, customer_id: str, *, program: str = "lapsing", arm: str = "treatment", as_of: datetime = AS_OF) -> str:
        enrolment_id = identity(program, customer_id)
        self.warehouse.execute(
            "insert into marts.journey_admissions values (?, ?, 1, ?, ?, 'late', ?, ?, 'admitted', null)",
            [as_of, program, customer_id, as_of - timedelta(days=90), enrolment_id, arm],
        )
        return enrolment_id

    def action(
        self,
        customer_id: str,
        decision: str = "send",
        *,
        program: str = "lapsing",
        step_no: int = 1,
        channel: str | None = "email",
        as_of: datetime = AS_OF,
        reason: str | None = None,
    ) -> str:
        enrolment_id = identity(program, customer_id)
        message_id = identity(enrolment_id, step_no, channel)
        self.warehouse.execute(
            "insert into marts.journey_actions values (?, ?, ?, ?, ?, 1, ?, ?, ?, ?, 'we_miss_you', ?, ?, ?, ?, ?)",
            [
                as_of, identity(enrolment_id, step_no), message_id, enrolment_id, program, customer_id,
                "holdout" if decision == "withhold" else "treatment", step_no, "task" if decision == "task" else "send", channel,
                as_of.date(), decision, reason, as_of.date() + timedelta(days=3),
            ],
        )  # fmt: skip
        return message_id

    def member(self, customer_id: str, *, platform: str = "meta", program: str = "lapsing") -> None:
        self.warehouse.execute(
            "insert into marts.ad_audience_members values (?, ?, ?, ?)", [platform, program, customer_id, identity(program, customer_id)]
        )

    def leave(self, customer_id: str, reason: str = "purchase", *, program: str = "lapsing") -> None:
        """Out of the desired members, as an exit."""
        self.warehouse.execute("delete from marts.ad_audience_members where customer_id = ? and program = ?", [customer_id, program])
        self.warehouse.execute(
            "insert into marts.journey_enrolments values (?, ?, 'treatment', ?, 'exited', ?)", [program, customer_id, AS_OF, reason]
        )

    def outcomes(self, item_id: str) -> list[tuple[str, str | None]]:
        return [(row["outcome"], row["reason"]) for row in self.ledger.rows("outcomes", item_id=item_id)]

    def destinations(self, *, messages: MessageDestination | None = None, audiences: AudienceDestination | None = None) -> Destinations:
        outbox = messages or LocalOutbox(self.settings.outbox)
        channels = (Channel.EMAIL, Channel.SMS, Channel.PUSH, Channel.TASK)
        return Destinations(
            dict.fromkeys(channels, outbox),
            {platform: audiences or LocalAudiences(self.settings.outbox, platform) for platform in ("meta", "google", "tiktok")},
        )


@pytest.fixture(params=["sqlite", "postgresql"])
def any_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    url = f"sqlite:///{tmp_path / 'ledger.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with open_ledger_at(url) as ledger:
        yield ledger


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite ledger without rows: copying it is quicker than migrating one per test."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    open_ledger_at(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def shop(tmp_path: Path, empty_ledger: Path) -> Iterator[Shop]:
    warehouse = duckdb.connect(config={"threads": 2})
    warehouse.execute(SCHEMA)
    shutil.copy(empty_ledger, tmp_path / "ledger.db")
    with open_ledger_at(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        made = Shop(Settings(home=tmp_path, clock="simulated"), warehouse, ledger)
        made.program()
        yield made
    warehouse.close()
