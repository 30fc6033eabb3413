"""`winback watch` and the receiver's /health say that nobody sends, while the schedule that should say it is dead."""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from tests.delivery.conftest import AS_OF, NOON, Shop
from winback.cli import app
from winback.clock import utc_now
from winback.errors import BadInput
from winback.inbox.app import Inbox
from winback.inbox.refused import RefusedFolder
from winback.inbox.standing import Standing
from winback.inbox.writer import GroupWriter


@pytest.fixture
def real(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("WINBACK_CLOCK", "real")
    return shop


def applied(shop: Shop, as_of: datetime) -> None:
    shop.ledger.record("applied_plans", [{"as_of": as_of, "plan_hash": "h", "counts": "{}", "run_id": "r", "recorded_at": as_of}])


def test_a_home_that_works_is_well(real: Shop) -> None:
    applied(real, utc_now() - timedelta(hours=20))
    told = CliRunner().invoke(app, ["watch"])
    assert (told.exit_code, told.stdout) == (0, "due and not tried: 0 messages, 0 audience changes; last day applied: 20 hours ago\n")


def test_a_dead_schedule_is_a_problem(real: Shop) -> None:
    applied(real, utc_now() - timedelta(days=3))
    real.message("ann", expires_at=utc_now() + timedelta(days=1))
    told = CliRunner().invoke(app, ["watch"])
    assert told.exit_code == 1
    assert "error: The last day that was applied ended 3.0 days ago" in told.stdout
    assert "error: 1 item is due for more than 3 hours" in told.stdout
    machine = json.loads(CliRunner().invoke(app, ["watch", "--json"]).stdout)
    assert (machine["ok"], machine["messages"], machine["changes"], machine["late"]) == (False, 1, 0, 1)
    assert [one["key"] for one in machine["conditions"]] == ["day_missing", "not_tried"]
    assert [(row["condition"], row["state"]) for row in real.ledger.rows("alerts")] == [("day_missing", "open"), ("not_tried", "open")]


def test_on_the_simulated_clock_nothing_is_late(shop: Shop) -> None:
    applied(shop, AS_OF)
    told = CliRunner().invoke(app, ["watch"])
    assert (told.exit_code, told.stdout) == (0, "A home on a simulated clock has nothing that could be late.\n")
    nothing = {"ok": True, "conditions": [], "messages": 0, "changes": 0, "late": 0, "since_last_day": None}
    assert json.loads(CliRunner().invoke(app, ["watch", "--json"]).stdout) == nothing


def test_a_home_that_has_not_run_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINBACK_HOME", str(tmp_path / "nowhere"))
    told = CliRunner().invoke(app, ["watch"])
    assert isinstance(told.exception, BadInput)
    assert not (tmp_path / "nowhere").exists()


def test_health_shows_it_to_whoever_looks(shop: Shop, tmp_path: Path) -> None:
    hours = [0]

    def clock() -> datetime:
        return NOON + timedelta(hours=hours[0])

    writer = GroupWriter(shop.ledger, clock)
    inbox = Inbox((), writer, RefusedFolder(tmp_path / "refused"), clock, standing=Standing(shop.ledger, clock))
    applied(shop, AS_OF)
    own = {"status": "ok", "open": [], "waiting": 0}
    with TestClient(inbox.app(), base_url="http://receiver") as client:
        well = {"delivery": "ok", "last_day": "2017-12-01T00:00:00", "due": {"messages": 0, "audience_changes": 0}, "late": 0}
        assert client.get("/health").json() == own | well
        shop.message("ann")
        assert client.get("/health").json() == own | well, "as of half a minute ago"
        hours[0] = 1
        late = {**well, "delivery": "late", "due": {"messages": 1, "audience_changes": 0}, "late": 1}
        answer = client.get("/health")
        assert (answer.status_code, answer.json()) == (200, own | late)
        with sqlite3.connect(shop.settings.root / "ledger.db") as broken:
            broken.execute("drop table messages")
        hours[0] = 2
        assert client.get("/health").json() == own | {"delivery": "unknown"}, "the receiver lives all the same"
    writer.close()
