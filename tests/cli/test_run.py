"""`winback run` says where messages go before it sends any."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

import pytest
from typer.testing import CliRunner

from winback.cli import app
from winback.cli.run import where_it_goes
from winback.errors import BadConfig
from winback.settings import PROJECT_ROOT, Settings, load_settings

ALL_LIVE = PROJECT_ROOT / "tests" / "destinations" / "cases" / "config" / "valid" / "all_channels_live.yml"
LIVE = "Live: email (sendgrid), sms (twilio), task (webhook). The rest goes to the outbox."


@pytest.mark.parametrize(("clock", "said"), [("real", LIVE), ("simulated", "Everything goes to the outbox.")])
def test_what_is_live_is_said(tmp_path: Path, clock: Literal["real", "simulated"], said: str) -> None:
    shutil.copy(ALL_LIVE, tmp_path / "destinations.yml")
    assert where_it_goes(Settings(project=tmp_path, home=tmp_path, clock=clock)) == said


def test_without_destinations_everything_goes_to_the_outbox(tmp_path: Path) -> None:
    assert where_it_goes(Settings(project=tmp_path, home=tmp_path, clock="real")) == "Everything goes to the outbox."


def test_a_mapping_that_is_typed_is_meant_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "own.yml").write_text("tables: {ordrs: {files: orders.csv}}\n")
    monkeypatch.setenv("WINBACK_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(app, ["run", "--data", "data", "--mapping", "own.yml"])
    assert isinstance(told.exception, BadConfig)
    assert "ordrs" in str(told.exception)
    assert load_settings(tmp_path / "home").mapping == str(tmp_path / "own.yml")
