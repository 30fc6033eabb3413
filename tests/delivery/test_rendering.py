from __future__ import annotations

import email
import email.policy
import json

import pytest

from tests.delivery.conftest import AS_OF, NOON, Shop
from winback.delivery import dispatch
from winback.destinations import open_destinations
from winback.programs import load_programs
from winback.programs.sync import record
from winback.settings import Settings


@pytest.fixture
def world(shop: Shop) -> Shop:
    """The shipped programs, recorded in the ledger as a run records them."""
    record(load_programs(Settings()), shop.ledger, AS_OF, AS_OF, actor="test")
    return shop


def test_shipped_programs_reach_the_outbox_as_customers_will_see_them(world: Shop) -> None:
    world.customer("ann", timezone="Europe/London")
    for number, channel in enumerate(("email", "push", "sms"), start=1):
        world.message("ann", channel, program="lapsing_repeat_buyers", step_no=number, content="we_miss_you", offer_code="COMEBACK15")
    settings = world.settings.model_copy(update={"public_url": "https://mail.example.com"})
    with open_destinations(settings, environment={}) as places:
        report = dispatch(settings, world.warehouse, world.ledger, places, NOON)
    assert report.total("accepted") == 3, report.metadata()
    (path,) = (world.settings.outbox / "email").rglob("*.eml")
    parsed = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    brand = load_programs(world.settings).brand
    assert brand.sender.email in parsed["From"]
    assert parsed["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    unsubscribe, mailto = parsed["List-Unsubscribe"].split(", ")
    assert unsubscribe.startswith("<https://mail.example.com/u/")
    assert mailto == f"<mailto:{brand.unsubscribe.mailto}>"
    plain, html = parsed.get_body(("plain",)), parsed.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert "Zoë" in html.get_content()
    assert brand.postal_address.split("\n")[0] in plain.get_content()
    for channel in ("push", "sms"):
        line = json.loads((world.settings.outbox / channel / "2017-12-01.jsonl").read_text(encoding="utf-8"))
        assert line["text"]


def test_a_message_whose_version_is_unknown_is_rejected_and_said(world: Shop) -> None:
    world.customer("ann", timezone="Europe/London")
    message = world.message("ann", program="lapsing_repeat_buyers", version=99)
    with open_destinations(world.settings, environment={}) as places:
        dispatch(world.settings, world.warehouse, world.ledger, places, NOON)
    assert world.outcomes(message) == [("rejected", "the ledger has no version 99 of lapsing_repeat_buyers")]
