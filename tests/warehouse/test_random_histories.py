"""The SQL of the customer side against the plain-Python reference, over random histories."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.warehouse import reference
from tests.warehouse.building import derive, load

CUSTOMER_SIDE = "+customers +customer_tier_history +int_audiences__members +winback_monthly"
AS_OF = datetime(2030, 1, 10)
# Days ago on which thresholds turn; more likely than others, so that a few hundred customers meet all of them.
TURNING_POINTS = [0, 1, 2, 7, 8, 29, 30, 31, 32, 59, 60, 61, 89, 90, 91, 92, 180, 364, 365, 366, 729, 730, 731]

moments = st.builds(
    lambda days, seconds: AS_OF - timedelta(days=days) + timedelta(seconds=seconds),
    st.one_of(st.sampled_from(TURNING_POINTS), st.integers(-3, 800)),
    st.sampled_from([0, 1, 43_200, 86_399]),
)
money = st.integers(0, 40_000).map(lambda cents: Decimal(cents) / 100)
orders = st.fixed_dictionaries(
    {
        "ordered_at": moments,
        "status": st.sampled_from(["paid", "paid", "paid", "Fulfilled", None, "cancelled", "Voided"]),
        "total": money,
        "refund": st.sampled_from([None, "0", "0.5", "1"]),
        "products": st.lists(st.sampled_from(["tea", "soap", "shirt", "scarf", "sofa", "other", "none"]), max_size=3),
    }
)
messages = st.fixed_dictionaries(
    {
        "occurred_at": moments,
        "channel": st.sampled_from(["email", "email", "sms", "push"]),
        "event_type": st.sampled_from(
            ["sent", "delivered", "opened", "clicked", "replied", "bounced", "bounced", "complained", "unsubscribed"]
        ),
        "is_machine": st.sampled_from([True, False, None]),
        "by_address": st.booleans(),
    }
)
activities = st.fixed_dictionaries({"occurred_at": moments, "event_type": st.sampled_from(["visit", "login", "action"])})
consents = st.fixed_dictionaries(
    {"changed_at": moments, "channel": st.sampled_from(["email", "sms", "push", "ads"]), "granted": st.sampled_from([True, True, False])}
)
people = st.fixed_dictionaries(
    {
        "email": st.sampled_from([None, "own", "Shared@Example.com ", "nonsense"]),
        "phone": st.sampled_from([None, "+15550100001", "12"]),
        "created_at": st.one_of(st.none(), moments),
        "orders": st.lists(orders, max_size=8),
        "messages": st.lists(messages, max_size=8),
        "activities": st.lists(activities, max_size=4),
        "consents": st.lists(consents, max_size=4),
    }
)


def raw_tables(histories: list[dict[str, Any]], shuffle: random.Random) -> dict[str, list[dict[str, Any]]]:
    """Raw tables of these people in random order, and every event twice. Orders stand once: landing holds that, and models rely on it."""
    raw: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("customers", "orders", "order_lines", "message_events", "activity_events", "consents")
    }
    for number, person in enumerate(histories):
        customer = f"c{number}"
        email = f"c{number}@example.com" if person["email"] == "own" else person["email"]
        raw["customers"].append({"customer_id": customer, "email": email, "phone": person["phone"], "created_at": person["created_at"]})
        for index, order in enumerate(person["orders"]):
            order_id = f"{customer}-{index}"
            refunded = None if order["refund"] is None else order["total"] * Decimal(order["refund"])
            raw["orders"].append(
                {"order_id": order_id, "customer_id": customer, "refunded": refunded}
                | {key: order[key] for key in ("ordered_at", "status", "total")}
            )
            raw["order_lines"] += [
                {"order_id": order_id, "line_no": line, "product_id": product} for line, product in enumerate(order["products"], 1)
            ]
        for index, event in enumerate(person["messages"]):
            address = email if event["channel"] == "email" else person["phone"] if event["channel"] == "sms" else None
            by_address = event["by_address"] and address is not None
            raw["message_events"].append(
                {
                    "event_id": f"m{number}-{index}",
                    "customer_id": None if by_address else customer,
                    "address": address if by_address else None,
                }
                | {key: event[key] for key in ("occurred_at", "channel", "event_type", "is_machine")}
            )
        raw["activity_events"] += [
            {"event_id": f"a{number}-{i}", "customer_id": customer} | event for i, event in enumerate(person["activities"])
        ]
        raw["consents"] += [{"customer_id": customer} | change for change in person["consents"]]
    replayed = {name: shuffle.sample(rows, len(rows)) for name, rows in raw.items()}
    for name in ("message_events", "activity_events"):
        replayed[name] += shuffle.sample(raw[name], len(raw[name]))
    categories = {
        "tea": "consumables",
        "soap": "Cosmetics",
        "shirt": "apparel",
        "scarf": "Apparel",
        "sofa": "furniture",
        "other": "books",
        "none": None,
    }
    replayed["products"] = [{"product_id": product, "category": category} for product, category in categories.items()]
    return replayed


def rows_of(path: Path, query: str) -> list[dict[str, Any]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        cursor = connection.execute(query)
        names = [column[0] for column in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def assert_equal_to_reference(path: Path, raw: dict[str, list[dict[str, Any]]], as_of: datetime) -> None:
    expected = reference.customers(raw, as_of)
    found = {row["customer_id"]: row for row in rows_of(path, "select * from marts.customers")}
    assert set(found) == set(expected)
    for customer, figures in expected.items():
        for name, value in figures.items():
            if name == "history":
                continue
            actual = found[customer][name]
            close = pytest.approx(value, rel=1e-9, abs=1e-9) if isinstance(value, float) else value
            assert actual == close, f"{customer}.{name}: {actual!r} in SQL, {value!r} by the reference"
    history: dict[str, list[tuple[Any, ...]]] = {customer: [] for customer in expected}
    for row in rows_of(path, "select * from marts.customer_tier_history order by started_on"):
        stays = history[row["customer_id"]]
        assert row["previous_tier"] == (stays[-1][0] if stays else None), row
        stays.append((row["tier"], row["started_on"], row["ended_on"]))
    for customer, figures in expected.items():
        assert history[customer] == figures["history"], customer
    members: dict[str, set[str]] = {}
    for row in rows_of(path, "select * from intermediate.int_audiences__members"):
        members.setdefault(row["audience"], set()).add(row["customer_id"])
    for audience, customers in reference.audiences(expected).items():
        assert members.get(audience, set()) == customers, audience
    months = {
        (row["month"], row["lapse_threshold_days"]): (
            row["lapsed_customers"],
            row["won_back_customers"],
            row["returns"],
            row["returned_customers"],
        )
        for row in rows_of(path, "select * from marts.winback_monthly")
    }
    assert months == reference.winback_monthly(raw, as_of)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 2])
def test_sql_equals_the_reference(batch: int, tmp_path: Path) -> None:
    """One start of dbt for some hundred customers at a time: starting it costs seconds."""
    histories: list[dict[str, Any]] = []

    @seed(batch)
    @settings(max_examples=300, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(person=people)
    def collect(person: dict[str, Any]) -> None:
        histories.append(person)

    collect()
    raw = raw_tables(histories, random.Random(batch))
    load(tmp_path, raw)
    path = derive(tmp_path, AS_OF, select=CUSTOMER_SIDE, arguments=("--resource-type", "seed", "--resource-type", "model"))
    assert_equal_to_reference(path, raw, AS_OF)
