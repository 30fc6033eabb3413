from __future__ import annotations

import json
from datetime import datetime

import pytest
from typer.testing import CliRunner

from tests.programs.conftest import MakeProject
from winback.cli.programs import app
from winback.errors import BadConfig, BadInput
from winback.ledger import open_ledger
from winback.settings import Settings

PROGRAM = """name: p
description: Those who faded
audience: lapsed
lapse_days: {at_least: 30, below: 90}
status: live
steps:
  - {day: 0, send: hello, channels: [email, sms]}
  - {day: 3, task: personal_call, only_if: high_value}
"""
run = CliRunner()


@pytest.fixture
def here(project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings = project({"p.yml": PROGRAM})
    monkeypatch.setenv("WINBACK_PROJECT", str(settings.project))
    monkeypatch.setenv("WINBACK_HOME", str(settings.home))
    return settings


def test_check_says_that_all_is_well(here: Settings) -> None:
    result = run.invoke(app, ["check"])
    assert (result.exit_code, "1 program checked: 0 errors, 1 warning." in result.output) == (0, True)
    assert not (here.root / "ledger.db").exists(), "looking at programs makes no state"


def test_check_fails_with_the_place_of_each_problem(here: Settings) -> None:
    (here.programs_dir / "p.yml").write_text(PROGRAM.replace("status: live", "status: alive"))
    result = run.invoke(app, ["check"])
    assert result.exit_code == 1
    assert "error programs/p.yml:5\n" in result.output
    assert 'status: found "alive"; allowed: draft, live, paused, retired; did you mean "live"?' in result.output
    found = json.loads(run.invoke(app, ["check", "--json"]).stdout)
    assert (found["ok"], found["errors"]) == (False, 1)
    assert found["problems"][-1]["line"] == 5


def test_list(here: Settings) -> None:
    [row] = json.loads(run.invoke(app, ["list", "--json"]).stdout)
    assert (row["name"], row["lapse_days"], row["days"], row["channels"], row["version"]) == (
        "p",
        "30 to 89",
        [0, 3],
        ["email", "sms", "task"],
        "not run yet",
    )
    assert "lapsed" in run.invoke(app, ["list"], env={"COLUMNS": "200"}).stdout


def test_show(here: Settings) -> None:
    shown = json.loads(run.invoke(app, ["show", "p", "--json"]).stdout)
    assert [(row["day"], row["channel"], row["says"]) for row in shown["timeline"]] == [
        (0, "email", "Hello"),
        (0, "sms", "Hello from Example Shop"),
        (3, "task", "Personal call"),
    ]
    output = run.invoke(app, ["show", "p"], env={"COLUMNS": "200"}).stdout
    assert "only high_value" in output
    assert "winback preview p" in output


def test_an_unknown_program(here: Settings) -> None:
    result = run.invoke(app, ["show", "q"])
    assert isinstance(result.exception, BadConfig)
    assert str(result.exception) == 'there is no program "q"; allowed: p'


def test_schema(here: Settings) -> None:
    assert json.loads(run.invoke(app, ["schema"]).stdout)["title"] == "Winback program"
    assert json.loads(run.invoke(app, ["schema", "brand"]).stdout)["title"] == "Winback brand"
    assert run.invoke(app, ["schema", "shop"]).exit_code == 2
    assert run.invoke(app, ["schema", "--write"]).exit_code == 0
    assert (here.programs_dir / "program.schema.json").exists()


def test_approve_and_the_change_after_it(here: Settings) -> None:
    result = run.invoke(app, ["approve", "p", "--by", "ada", "--json"])
    assert json.loads(result.stdout) == {"program": "p", "version": 1, "approved_by": "ada"}
    with open_ledger(here) as ledger:
        assert ledger.approved_versions() == {("p", 1)}
    (here.programs_dir / "p.yml").write_text(PROGRAM.replace("below: 90", "below: 80"))
    [row] = json.loads(run.invoke(app, ["list", "--json"]).stdout)
    assert row["version"] == "1, changed since"


def test_a_pause_of_email_is_listed_and_a_person_ends_it(here: Settings) -> None:
    resume = ["resume", "p", "--by", "mia", "--reason", "the list was cleaned"]
    refused = run.invoke(app, resume)
    assert isinstance(refused.exception, BadInput)
    with open_ledger(here) as ledger:
        ledger.audit("pause_email", actor="winback", subject="p", now=datetime(2030, 1, 2, 10))
    [row] = json.loads(run.invoke(app, ["list", "--json"]).stdout)
    assert row["email_paused_at"] == "2030-01-02 10:00:00"
    assert "live, email paused" in run.invoke(app, ["list"], env={"COLUMNS": "200"}).stdout
    told = run.invoke(app, resume)
    assert (told.exit_code, "Resumed the email of p, paused since 2030-01-02 10:00 UTC." in told.output) == (0, True)
    [row] = json.loads(run.invoke(app, ["list", "--json"]).stdout)
    assert row["email_paused_at"] is None
    with open_ledger(here) as ledger:
        act = ledger.rows("audit_trail", act="resume_email")[0]
    assert (act["actor"], act["subject"]) == ("mia", "p")
