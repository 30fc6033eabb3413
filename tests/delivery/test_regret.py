"""A message that left after a known purchase is counted, once, under the run that planned it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.delivery.conftest import AS_OF, NOON, PlainRenderer, Shop
from winback.delivery import dispatch, regret_sends
from winback.delivery.queue import Item
from winback.delivery.regret import regret_sends_by_run
from winback.destinations.base import Message


class LateNews(PlainRenderer):
    """A purchase of the customer becomes known after the queue was read and before the message leaves."""

    def __init__(self, shop: Shop) -> None:
        super().__init__()
        self._shop = shop

    def render(self, item: Item) -> Message:
        self._shop.order(item.row["customer_id"], NOON - timedelta(hours=1))
        return super().render(item)


def test_a_purchase_that_came_too_late_to_stop_a_message_is_a_regret_send(shop: Shop) -> None:
    shop.customer("ann")
    shop.customer("bob")
    shop.message("ann")
    dispatch(shop.settings, shop.warehouse, shop.ledger, shop.destinations(), NOON, renderer=LateNews(shop))
    shop.ledger.copy_to_warehouse(shop.warehouse)
    before = shop.warehouse.execute("select max(seq) from ledger.outcomes").fetchall()[0][0]
    shop.message("bob")
    dispatch(shop.settings, shop.warehouse, shop.ledger, shop.destinations(), NOON, renderer=PlainRenderer())
    assert regret_sends_by_run(shop.warehouse) == {AS_OF: 1}
    assert regret_sends(shop.warehouse, after=before) == 0


@pytest.mark.parametrize(
    ("bought", "landed", "regrets"),
    [
        (AS_OF + timedelta(hours=2), AS_OF + timedelta(hours=3), 1),
        (AS_OF + timedelta(hours=2), AS_OF + timedelta(days=1), 0),
        (AS_OF - timedelta(days=3), AS_OF + timedelta(hours=3), 1),
        (AS_OF - timedelta(days=30), AS_OF + timedelta(hours=3), 0),
    ],
    ids=["known", "known only later", "would have kept them out", "long before the entry"],
)
def test_what_counts(shop: Shop, bought: object, landed: object, regrets: int) -> None:
    shop.customer("ann")
    shop.message("ann")
    dispatch(shop.settings, shop.warehouse, shop.ledger, shop.destinations(), NOON, renderer=PlainRenderer())
    shop.warehouse.execute("insert into raw.landed_files values ('file', ?)", [landed])
    shop.warehouse.execute("insert into raw.orders values ('o', 'ann', ?, 'paid', 10, 0, 'file', 1)", [bought])
    assert regret_sends(shop.warehouse) == regrets


def test_a_late_purchase_after_the_one_that_the_lapse_began_with_counts(shop: Shop) -> None:
    shop.customer("ann")
    shop.message("ann")
    dispatch(shop.settings, shop.warehouse, shop.ledger, shop.destinations(), NOON, renderer=PlainRenderer())
    shop.order("ann", AS_OF - timedelta(days=90))
    assert regret_sends(shop.warehouse) == 0
    shop.order("ann", AS_OF - timedelta(days=30))
    assert regret_sends(shop.warehouse) == 1


def test_a_message_in_doubt_left_when_the_doubt_arose(shop: Shop) -> None:
    shop.customer("ann")
    message = shop.message("ann")
    answers = (("unknown", NOON), ("accepted", NOON + timedelta(days=1)))
    for attempt, (outcome, at) in enumerate(answers, start=1):
        shop.ledger.record("outcomes", [{"item_id": message, "attempt": attempt, "outcome": outcome, "recorded_at": at}])
    shop.order("ann", NOON + timedelta(hours=1))
    shop.ledger.copy_to_warehouse(shop.warehouse)
    assert regret_sends(shop.warehouse) == 0
