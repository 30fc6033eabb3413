"""An id that destinations.yml lacks, or a credential that is not set, is named with its line before a day runs into it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from winback.cli.destinations import app
from winback.programs import check
from winback.settings import Settings

PROJECT = Path(__file__).parents[2]
LIVE = """channels:
  ads: {mode: live, destinations: [meta]}
  lists: {mode: live, destinations: [klaviyo]}
destinations:
  meta:
    audiences:
      other: "1"
  klaviyo:
    lists:
      lapsing_repeat_buyers: VRgFBd
"""
MISSING = "destinations.yml:6: destinations.meta.audiences: no id for the program lapsing_repeat_buyers, which uses meta; add it"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(PROJECT / "programs", tmp_path / "programs")
    shutil.copytree(PROJECT / "dbt_project", tmp_path / "dbt_project", ignore=shutil.ignore_patterns("target", "logs"))
    (tmp_path / "destinations.yml").write_text(LIVE)
    monkeypatch.setenv("WINBACK_PROJECT", str(tmp_path))
    monkeypatch.setenv("WINBACK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WINBACK_CLOCK", "real")
    return tmp_path


def warnings(project: Path) -> list[str]:
    problems = check(Settings(home=project / "home", project=project))
    assert not [problem for problem in problems if problem.severity == "error"]
    return [str(problem) for problem in problems if "destinations" in problem.message or problem.file == "destinations.yml"]


def test_programs_check_names_the_ids_that_are_missing(project: Path) -> None:
    [first, second] = warnings(project)
    assert first.startswith("programs/lapsed_one_to_two_years.yml:")
    assert second.startswith("programs/lapsing_repeat_buyers.yml:")
    assert second.endswith(f'warning: ad_audiences: found "meta", and {MISSING}')


def test_what_goes_to_the_outbox_needs_no_id(project: Path) -> None:
    (project / "destinations.yml").write_text(LIVE.replace("live", "outbox"))
    assert warnings(project) == []


def test_a_destinations_file_that_is_wrong_is_named(project: Path) -> None:
    (project / "destinations.yml").write_text(LIVE.replace("audiences:", "audience:"))
    assert "destinations.yml:6: destinations.meta.audience: unknown key" in "\n".join(warnings(project))


def test_destinations_check_names_ids_and_variables_with_their_lines(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("META_ACCESS_TOKEN", raising=False)
    monkeypatch.delenv("KLAVIYO_API_KEY", raising=False)
    result = CliRunner().invoke(app, ["check"])
    assert result.exit_code == 1
    assert f"missing {MISSING}" in result.stdout
    assert "destinations.yml:5: meta.access_token_env: the environment variable META_ACCESS_TOKEN is not set" in result.stdout
    told = json.loads(CliRunner().invoke(app, ["check", "--json"]).stdout)
    assert (told["ok"], MISSING in told["missing"]) == (False, True)
