"""The nightly pull against providers on the loopback: the contract is kept, nothing counts twice, and a failure is resumed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.destinations.conformance.contracts import BrokenContract, validate
from tests.destinations.conformance.server import Captured, LocalProvider, Reply
from tests.inbox.test_recording import event, holding
from winback.destinations import sendgrid, twilio
from winback.destinations.config import ChannelsConfig, Context, DestinationsConfig
from winback.errors import BadConfig
from winback.inbox.pull import Pulled, pull
from winback.inbox.recording import address_hash, record_events
from winback.ledger import Ledger, open_ledger_at

NOW = datetime(2026, 11, 21, 2)
SECRETS = {"SENDGRID_API_KEY": "SG.key", "TWILIO_ACCOUNT_SID": "AC" + "0" * 32, "TWILIO_AUTH_TOKEN": "token"}
OURS, THEIRS = "+12025550101", "+12025550199"
GROUP = 7


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with open_ledger_at(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


class Providers:
    """SendGrid and Twilio with what they know. `fails`: paths that answer 500."""

    def __init__(self) -> None:
        self.lists: dict[str, list[dict[str, Any]]] = {}
        self.group: list[dict[str, Any]] = []
        self.numbers: dict[str, str] = {}
        self.fails: set[str] = set()
        self.server = LocalProvider(self._answer)

    def _answer(self, request: Captured) -> Reply:
        query = dict(request.query)
        if request.path in self.fails or query.get("Date") in self.fails:
            return Reply(500)
        if request.path == "/v1/Deactivations":
            address = f"{self.server.base_url}/storage/{query['Date']}.txt?signature=x"
            return Reply(307, {"redirect_to": address}, {"Location": address})
        if request.path.startswith("/storage/"):
            assert "authorization" not in request.headers
            return Reply(
                200, self.numbers.get(request.path.removeprefix("/storage/").removesuffix(".txt"), ""), {"Content-Type": "text/plain"}
            )
        if request.path == "/v3/asm/suppressions":
            return Reply(200, self.group)
        start, end, offset, limit = (int(query[name]) for name in ("start_time", "end_time", "offset", "limit"))
        found = [item for item in self.lists.get(request.path.rpartition("/")[2], []) if start <= item["created"] <= end]
        return Reply(200, found[offset : offset + limit])

    def asked(self, part: str) -> list[Captured]:
        return [request for request in self.server.requests if part in request.path]


@pytest.fixture
def providers() -> Iterator[Providers]:
    opened = Providers()
    yield opened
    opened.server.close()


def configured(providers: Providers, *names: str) -> DestinationsConfig:
    base = providers.server.base_url
    configs = {
        "sendgrid": sendgrid.Config(base_url=base, unsubscribe_group_id=GROUP),
        "twilio": twilio.Config(base_url=base, from_number="+15550100009"),
    }
    return DestinationsConfig(Path("destinations.yml"), ChannelsConfig(), {name: configs[name] for name in names})


def pulled(ledger: Ledger, providers: Providers, *names: str, now: datetime = NOW) -> dict[str, Pulled]:
    known = {address_hash("sms", OURS)}
    results = pull(ledger, configured(providers, *names), Context(SECRETS), now, phone_hashes=lambda: known)  # type: ignore[arg-type, return-value]
    return {one.name: one for one in results}


def entry(email: str, at: datetime, **more: Any) -> dict[str, Any]:
    return {"created": int(at.replace(tzinfo=UTC).timestamp()), "email": email, **more}


YESTERDAY = NOW - timedelta(hours=20)


def fill(providers: Providers) -> None:
    providers.lists = {
        "bounces": [entry("b@example.com", YESTERDAY, reason="550 5.1.1 no such user", status="5.1.1")],
        "invalid_emails": [entry("i@example.com", YESTERDAY, reason="Mail domain unknown")],
        "spam_reports": [entry("s@example.com", YESTERDAY, ip="192.0.2.1")],
        "unsubscribes": [entry("u@example.com", YESTERDAY)],
        "blocks": [entry("k@example.com", YESTERDAY, reason="throttled", status="4.0.0")],
    }
    stamp = int(YESTERDAY.replace(tzinfo=UTC).timestamp())
    providers.group = [
        {"email": f"g{group}@example.com", "group_id": group, "group_name": "x", "created_at": stamp} for group in (GROUP, GROUP + 1)
    ]


def hashed(name: str) -> str:
    found = address_hash("email", f"{name}@example.com")
    assert found is not None
    return found


def test_what_sendgrid_knows_silences(ledger: Ledger, providers: Providers) -> None:
    fill(providers)
    results = pulled(ledger, providers, "sendgrid")
    assert {name: (one.entries, one.new, one.problem) for name, one in results.items()} == {
        f"sendgrid/{name}": (1, 1, "") for name in ("bounces", "invalid_emails", "spam_reports", "unsubscribes", "blocks", "group")
    }
    assert holding(ledger) == {
        (None, hashed("b"), "email", "bounced"),
        (None, hashed("i"), "email", "bounced"),
        (None, hashed("s"), "email", "complained"),
        (None, hashed("u"), "email", "unsubscribed"),
        (None, hashed(f"g{GROUP}"), "email", "unsubscribed"),
    }
    assert {row["reason"] for row in ledger.rows("delivery_events")} == {"5.1.1", "4.0.0", None}


def test_every_request_keeps_the_providers_contract(ledger: Ledger, providers: Providers) -> None:
    fill(providers)
    pulled(ledger, providers, "sendgrid", "twilio")
    for request in providers.server.requests:
        if request.path.startswith("/v3"):
            validate("sendgrid/tsg_suppressions_v3.json", request)
        elif request.path.startswith("/v1"):
            validate("twilio/deactivations.openapi.json", request)
    broken = Captured("GET", "/v3/suppression/bounces?limit=501", {"accept": "application/json", "authorization": "Bearer x"}, b"")
    with pytest.raises(BrokenContract):
        validate("sendgrid/tsg_suppressions_v3.json", broken)


def test_a_second_pull_asks_from_where_the_first_ended_and_finds_nothing_new(ledger: Ledger, providers: Providers) -> None:
    fill(providers)
    pulled(ledger, providers, "sendgrid")
    again = pulled(ledger, providers, "sendgrid", now=NOW + timedelta(hours=1))
    assert [one.new for one in again.values()] == [0] * 6
    starts = [int(dict(request.query)["start_time"]) for request in providers.asked("/bounces")]
    assert starts == [0, int((NOW - timedelta(days=1)).replace(tzinfo=UTC).timestamp())]


def test_long_lists_come_in_pages(ledger: Ledger, providers: Providers) -> None:
    providers.lists = {"bounces": [entry(f"b{number}@example.com", YESTERDAY) for number in range(1000)]}
    assert pulled(ledger, providers, "sendgrid")["sendgrid/bounces"].new == 1000
    assert [dict(request.query)["offset"] for request in providers.asked("/bounces")] == ["0", "500", "1000"]


def test_what_a_webhook_has_told_is_not_told_again(ledger: Ledger, providers: Providers) -> None:
    providers.lists = {"bounces": [entry("ada@example.com", YESTERDAY)], "spam_reports": [entry("ada@example.com", YESTERDAY)]}
    told = event("bounced", event_id="w", occurred_at=YESTERDAY - timedelta(minutes=1))
    record_events(ledger, [told], YESTERDAY)
    results = pulled(ledger, providers, "sendgrid")
    assert (results["sendgrid/bounces"].new, results["sendgrid/spam_reports"].new) == (0, 1)


def test_a_return_after_the_pulled_wish_holds(ledger: Ledger, providers: Providers) -> None:
    fill(providers)
    record_events(ledger, [event("resubscribed", address=hashed("u"), occurred_at=YESTERDAY + timedelta(hours=1))], NOW)
    pulled(ledger, providers, "sendgrid")
    assert (None, hashed("u"), "email", "unsubscribed") not in holding(ledger)


def test_a_list_that_fails_stops_no_other_and_is_asked_again_from_where_it_was(ledger: Ledger, providers: Providers) -> None:
    fill(providers)
    providers.fails = {"/v3/suppression/bounces"}
    results = pulled(ledger, providers, "sendgrid")
    assert results["sendgrid/bounces"].problem == "SendGrid: failed with status 500"
    assert results["sendgrid/group"].new == 1
    providers.fails = set()
    assert pulled(ledger, providers, "sendgrid", now=NOW + timedelta(days=1))["sendgrid/bounces"].new == 1


def test_of_twilios_numbers_only_ours_are_kept(ledger: Ledger, providers: Providers) -> None:
    providers.numbers = {"2026-11-20": f"{OURS[2:]}\n{THEIRS}\n\nnot a number\n"}
    pulled(ledger, providers, "twilio")
    assert holding(ledger) == {(None, address_hash("sms", OURS), "sms", "bounced")}
    assert [row["reason"] for row in ledger.rows("delivery_events")] == ["deactivated"]
    days = [dict(request.query)["Date"] for request in providers.asked("/Deactivations")]
    assert (len(days), days[0], days[-1]) == (30, "2026-10-22", "2026-11-20")


def test_a_day_of_twilios_that_fails_is_asked_again(ledger: Ledger, providers: Providers) -> None:
    providers.numbers = {"2026-11-19": OURS}
    providers.fails = {"2026-11-19"}
    pulled(ledger, providers, "twilio")
    assert dict(providers.asked("/Deactivations")[-1].query)["Date"] == "2026-11-19"
    providers.fails = set()
    pulled(ledger, providers, "twilio", now=NOW + timedelta(hours=1))
    assert len(holding(ledger)) == 1


def test_how_far_it_came_is_in_the_audit_trail(ledger: Ledger, providers: Providers) -> None:
    fill(providers)
    pulled(ledger, providers, "sendgrid")
    rows = {row["subject"]: json.loads(row["details"]) for row in ledger.rows("audit_trail")}
    assert rows["sendgrid/bounces"] == {"until": "2026-11-21 02:00:00", "entries": 1, "new": 1}
    assert ledger.verify() == []


def test_nothing_configured_nothing_pulled(ledger: Ledger, providers: Providers) -> None:
    assert pulled(ledger, providers) == {}
    with pytest.raises(BadConfig, match="SENDGRID_API_KEY is not set"):
        pull(ledger, configured(providers, "sendgrid"), Context({}), NOW, phone_hashes=frozenset)
