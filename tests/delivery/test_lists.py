"""A customer's way through a Klaviyo list, from entry to exit, with Klaviyo on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from tests.delivery.conftest import AS_OF, PlainRenderer, Shop
from tests.destinations.conformance import contracts
from tests.destinations.conformance.server import Captured, LocalProvider, Reply
from winback.delivery import DispatchReport, apply_plan, dispatch, make_plan
from winback.destinations import Destinations, klaviyo, lane_of
from winback.destinations.config import Context
from winback.destinations.local import LocalAudiences

JOBS = "/api/profile-bulk-import-jobs"


def answer(captured: Captured) -> Reply:
    if captured.path == JOBS:
        return Reply(202, {"data": {"type": "profile-bulk-import-job", "id": "job1", "attributes": {"status": "queued"}}})
    if captured.path.startswith(JOBS):
        return Reply(
            200, {"data": {"type": "profile-bulk-import-job", "id": "job1", "attributes": {"status": "complete", "failed_count": 0}}}
        )
    if captured.path == "/api/profile-import":
        return Reply(200, {"data": {"type": "profile", "id": "P1"}})
    return Reply(204)


class Days:
    """Plan, apply and dispatch of a shop whose lists are live."""

    def __init__(self, shop: Shop, provider: LocalProvider) -> None:
        self.shop = shop
        self.provider = provider

    def run(self, now: datetime, *, planned: bool = True) -> DispatchReport:
        shop = self.shop
        if planned:
            apply_plan(shop.settings, shop.warehouse, shop.ledger, make_plan(shop.settings, shop.warehouse, shop.ledger, now), now)
        config = klaviyo.Config(base_url=self.provider.base_url, lists={"lapsing": "VRgFBd"})
        lists = klaviyo.build(config, Context({"KLAVIYO_API_KEY": "pk_secret"}))
        places = Destinations({}, {"klaviyo": lists, "meta": LocalAudiences(shop.settings.outbox, "meta")})
        with places:
            return dispatch(shop.settings, shop.warehouse, shop.ledger, places, now, renderer=PlainRenderer())

    def requests(self) -> list[str]:
        found = [f"{request.method} {request.path}" for request in self.provider.requests]
        for request in self.provider.requests:
            contracts.validate("klaviyo/klaviyo.openapi.json", request)
        self.provider.requests.clear()
        return found


@pytest.fixture
def days(shop: Shop) -> Iterator[Days]:
    with LocalProvider(answer) as provider:
        yield Days(shop, provider)


def test_from_entry_to_exit(days: Days) -> None:
    days.shop.customer("ann")
    days.shop.consent("ann", "ads", AS_OF - timedelta(days=1), granted=False)
    days.shop.member("ann", platform="klaviyo")
    days.shop.member("ann", platform="meta")
    report = days.run(AS_OF)
    assert days.requests() == [f"POST {JOBS}"]
    # Whether ads may be shown to her says nothing of the list: email's consent does.
    assert (report.total("unknown"), dict(report.outcomes["ads:meta"])) == (1, {"skipped": 1})
    report = days.run(AS_OF + timedelta(hours=1), planned=False)
    assert dict(report.outcomes[lane_of("klaviyo")]) == {"accepted": 1}
    assert days.requests() == [f"GET {JOBS}/job1"]
    days.shop.leave("ann")
    report = days.run(AS_OF + timedelta(days=1))
    assert dict(report.outcomes["lists:klaviyo"]) == {"accepted": 1}
    assert days.requests() == ["POST /api/profile-import", "DELETE /api/lists/VRgFBd/relationships/profiles"]
    assert days.run(AS_OF + timedelta(days=2)).claimed == 0
    assert "ann@example.com" not in str(days.shop.ledger.rows("audience_changes"))


def test_who_takes_email_consent_back_is_not_added(days: Days) -> None:
    days.shop.customer("ann")
    days.shop.member("ann", platform="klaviyo")
    days.shop.consent("ann", "email", AS_OF, granted=False)
    assert dict(days.run(AS_OF).outcomes["lists:klaviyo"]) == {"skipped": 1}
    assert days.requests() == []


def test_who_is_suppressed_for_email_is_not_added(days: Days) -> None:
    days.shop.customer("ann")
    days.shop.member("ann", platform="klaviyo")
    row = {"suppression_id": "s", "operation": "add", "customer_id": "ann", "channel": "email", "starts_at": AS_OF, "recorded_at": AS_OF}
    days.shop.ledger.record("suppressions", [row])
    assert dict(days.run(AS_OF).outcomes["lists:klaviyo"]) == {"skipped": 1}
    assert days.requests() == []
