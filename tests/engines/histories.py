"""A small shop with all that a shop can have: random histories of people, programs of every kind, and a ledger of some days."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.journeys.world import START, World
from tests.warehouse import building
from tests.warehouse.test_random_histories import people, raw_tables

PEOPLE = 150
LAST_DAY = 2
AS_OF = START + timedelta(days=LAST_DAY)
ODD_NAMES = ("ÄRGER", "_b", "B", "a", "Ünal ", "O'Brien", "näh\\e", "日本", 'say "hi"', "a|b;c,d")


def world_with_everything(home: Path, parsed: Path) -> World:
    """The warehouse of a shop in its third day: two days have been planned and recorded."""
    world = World(home, parsed)
    with world.open() as connection:
        for table, rows in raw_tables(_histories(), random.Random(1)).items():
            building.insert(connection, "raw", table, rows)
    for number, name in enumerate((*ODD_NAMES, *(f"n{number}" for number in range(40)))):
        world.customer(name, ordered=(-61 - 14 * number, -800))
    world.program(
        "plain",
        holdout_percent=50.0,
        holdout_below="80000000",
        lists=["klaviyo"],
        ad_audiences=["meta", "google"],
        steps=[{"day": day, "send": f"step_{day}", "channels": ["email", "sms"]} for day in range(LAST_DAY + 2)],
    )
    world.program("weekly", audience="past_own_cycle", cadence="weekly", weekday=1, max_per_day=5, priority=3)
    world.program(
        "tasks", audience="customer_not_active", steps=[{"day": 0, "task": "call"}, {"day": 1, "send": "x", "channels": ["sms", "push"]}]
    )
    world.program(
        "resting", audience="lapsed_one_to_two_years", complete_suppress_days=30, complete_tag="rested", steps=[{"day": 0, "send": "bye"}]
    )
    for day in range(LAST_DAY):
        world.run(day, lambda message: {"0": "rejected", "1": "deferred", "2": None}.get(message["message_id"][0], "accepted"))
        world.order(ODD_NAMES[day], day + 0.4)
        _tell(world, day)
    return world


def _histories() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    @seed(1)
    @settings(max_examples=PEOPLE, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(person=people)
    def collect(person: dict[str, Any]) -> None:
        found.append(person)

    collect()
    return found


def _tell(world: World, day: int) -> None:
    """What providers report of the day's messages."""
    kinds = ["delivered", "opened", "clicked", "bounced", "soft_bounced", "complained", "unsubscribed", "replied", "read"]
    messages = world.rows("select message_id, channel, as_of from ledger.messages order by message_id")
    world.add(
        "ledger.delivery_events",
        [
            {
                "event_id": f"{day}-{number}",
                "source": "test",
                "event_type": kinds[number % len(kinds)],
                "message_id": message["message_id"],
                "channel": message["channel"],
                "occurred_at": message["as_of"] + timedelta(hours=11, milliseconds=number),
                "is_machine": number % 4 == 0,
                "link": "https://shop.example.com/a" if number % 3 else None,
                "recorded_at": message["as_of"] + timedelta(hours=12),
            }
            for number, message in enumerate(messages)
        ],
    )
