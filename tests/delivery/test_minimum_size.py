"""A platform that refuses what would leave an audience too small: changes wait, and go out together once the audience is large enough."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random
from typing import ClassVar

from tests.delivery.conftest import AS_OF, PlainRenderer, Shop
from winback.delivery import apply_plan, dispatch, make_plan
from winback.destinations import Destinations
from winback.destinations.base import AUDIENCE_TOO_SMALL, AudienceChange, AudienceOperation, Capabilities, Channel, Contact, Outcome, Result
from winback.destinations.identifiers import tiktok_identifiers

MINIMUM = 5


class Platform:
    """As TikTok does: no audience comes into being below the minimum, and no removal leaves one below it."""

    name = "tiktok"
    capabilities: ClassVar[Capabilities] = Capabilities(frozenset({Channel.ADS}), batch_size=64, idempotent=True, minimum_audience=MINIMUM)

    def __init__(self) -> None:
        self.members: set[str] = set()
        self.refused = 0

    def identifiers(self, contact: Contact) -> tuple[tuple[str, str], ...]:
        return tiktok_identifiers(contact)

    def change(self, changes: Sequence[AudienceChange], now: datetime) -> list[Result]:
        people = {change.customer_id for change in changes}
        wanted = self.members | people if changes[0].operation is AudienceOperation.ADD else self.members - people
        if len(wanted) < MINIMUM:
            self.refused += 1
            return [Result(Outcome.DEFERRED, AUDIENCE_TOO_SMALL)] * len(changes)
        self.members = wanted
        return [Result(Outcome.ACCEPTED)] * len(changes)

    def check(self) -> str:
        return "tiktok"

    def close(self) -> None: ...


def day(number: int) -> datetime:
    return AS_OF + timedelta(days=number)


def run(shop: Shop, platform: Platform, number: int) -> None:
    """A day's plan, its application and its dispatch, and the dispatches of the hours after it."""
    apply_plan(shop.settings, shop.warehouse, shop.ledger, make_plan(shop.settings, shop.warehouse, shop.ledger, day(number)), day(number))
    for hour in (0, 6, 12, 18):
        send(shop, platform, day(number) + timedelta(hours=hour))


def send(shop: Shop, platform: Platform, now: datetime) -> None:
    places = Destinations({}, {"tiktok": platform})
    dispatch(shop.settings, shop.warehouse, shop.ledger, places, now, renderer=PlainRenderer(), chance=Random(1))


def join(shop: Shop, *names: str) -> None:
    for name in names:
        shop.customer(name)
        shop.member(name, platform="tiktok")


def forget_warehouse(shop: Shop) -> None:
    """The warehouse is deleted and rebuilt: what delivery knows comes from the ledger again."""
    shop.warehouse.execute("drop schema ledger cascade")


def test_people_who_come_one_by_one_are_added_once_they_are_enough(shop: Shop) -> None:
    platform = Platform()
    for number in range(MINIMUM - 1):
        join(shop, f"c{number}")
        run(shop, platform, number)
        assert platform.members == set()
    forget_warehouse(shop)
    join(shop, "last")
    run(shop, platform, MINIMUM - 1)
    assert platform.members == {"c0", "c1", "c2", "c3", "last"}


def test_removals_wait_while_additions_go_on_and_are_made_once_the_audience_is_large_enough(shop: Shop) -> None:
    platform = Platform()
    first = [f"c{number}" for number in range(MINIMUM)]
    join(shop, *first)
    run(shop, platform, 0)
    assert platform.members == set(first)
    for name in first[:2]:
        shop.leave(name)
    run(shop, platform, 1)
    assert platform.members == set(first)
    forget_warehouse(shop)
    # Asked once: neither a day run again nor later days ask for what is waiting.
    run(shop, platform, 1)
    join(shop, "new1")
    run(shop, platform, 2)
    assert platform.members == {*first, "new1"}
    for number in range(3, 9):
        run(shop, platform, number)
    join(shop, "new2", "new3")
    run(shop, platform, 9)
    run(shop, platform, 10)
    assert platform.members == {*first[2:], "new1", "new2", "new3"}
    removes = [row["customer_id"] for row in shop.ledger.rows("audience_changes") if row["operation"] == "remove"]
    assert sorted(removes) == first[:2]
    run(shop, platform, 11)
    assert platform.members == {*first[2:], "new1", "new2", "new3"}


def test_who_comes_back_while_the_removal_waits_is_in_at_the_end(shop: Shop) -> None:
    platform = Platform()
    first = [f"c{number}" for number in range(MINIMUM)]
    join(shop, *first)
    run(shop, platform, 0)
    shop.leave("c0")
    run(shop, platform, 1)
    shop.member("c0", platform="tiktok")
    run(shop, platform, 2)
    assert platform.members == set(first)
    join(shop, "new")
    run(shop, platform, 3)
    run(shop, platform, 4)
    assert platform.members == {*first, "new"}
    assert not [one for one in shop.ledger.rows("audience_changes") if shop.outcomes(one["change_id"])[-1][0] != "accepted"]
