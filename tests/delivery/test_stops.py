"""What a person stops is stopped between days too, also where a check keeps the day from running."""

from __future__ import annotations

import shutil
from datetime import timedelta

import duckdb
import pytest
from structlog.testing import capture_logs

from tests.delivery.conftest import SCHEMA, Shop
from tests.programs.conftest import MakeProject, project
from winback.clock import utc_now
from winback.day import dispatch_due
from winback.ledger import open_ledger
from winback.settings import PROJECT_ROOT, Settings

__all__ = ["project"]

FILE = "name: lapsing\ndescription: x\naudience: lapsed\nstatus: {}\nsteps:\n  - {{day: 0, send: hello, channels: [email, sms]}}\n"


@pytest.fixture
def settings(project: MakeProject) -> Settings:
    made = project({"lapsing.yml": FILE.format("live")})
    shutil.copy(PROJECT_ROOT / "dbt_project" / "dbt_project.yml", made.dbt_project)
    made.warehouse.parent.mkdir(parents=True)
    with duckdb.connect(str(made.warehouse)) as warehouse, open_ledger(made) as ledger:
        warehouse.execute(SCHEMA)
        shop = Shop(made, warehouse, ledger)
        shop.program()
        shop.customer("ann")
        shop.message("ann", expires_at=utc_now() + timedelta(days=9))
    return made


@pytest.mark.parametrize("word", ["paused", "retired"])
def test_a_pause_in_the_file_holds_from_the_next_dispatch_on(settings: Settings, project: MakeProject, word: str) -> None:
    project({"lapsing.yml": FILE.format(word)})
    report = dispatch_due(settings, utc_now(), None)
    assert (sum(report.outcomes.values()), report.waiting) == (0, {"paused": 1})
    with open_ledger(settings) as ledger:
        assert ledger.statuses() == {"lapsing": "paused"}
        assert [row["act"] for row in ledger.rows("audit_trail")] == ["program_status_changed"]


def test_files_that_cannot_be_read_hold_nothing_up(settings: Settings, project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    # The message cannot be made, and how soon it is tried again is drawn by chance.
    monkeypatch.setattr("winback.day._LINGER", timedelta(0))
    project({"lapsing.yml": "status: paused"})
    with capture_logs() as logs:
        report = dispatch_due(settings, utc_now(), None)
    assert (sum(report.outcomes.values()), "paused" in report.waiting) == (1, False)
    assert [entry["event"] for entry in logs if entry["event"].startswith("program")] == ["programs_not_read"]
