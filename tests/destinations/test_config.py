"""destinations.yml: cases/config/ is its specification; an invalid file begins with the errors it must give (`*` for any text)."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from winback.destinations.base import Channel
from winback.destinations.config import Context, Sender, load_destinations
from winback.errors import BadConfig

CASES = Path(__file__).parent / "cases" / "config"
PROJECT = Path(__file__).resolve().parents[2]


def project_with(case: Path, folder: Path) -> Path:
    shutil.copy(case, folder / "destinations.yml")
    return folder


@pytest.mark.parametrize("case", sorted((CASES / "valid").glob("*.yml")), ids=lambda case: case.stem)
def test_valid(case: Path, tmp_path: Path) -> None:
    load_destinations(project_with(case, tmp_path))


@pytest.mark.parametrize("case", sorted((CASES / "invalid").glob("*.yml")), ids=lambda case: case.stem)
def test_invalid(case: Path, tmp_path: Path) -> None:
    expected = [line.removeprefix("# ") for line in case.read_text().splitlines() if line.startswith("# ")]
    with pytest.raises(BadConfig) as problem:
        load_destinations(project_with(case, tmp_path))
    told = str(problem.value).splitlines()
    assert len(told) == len(expected), told
    for line, pattern in zip(told, expected, strict=True):
        assert re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), line), line
    assert "this-is-secret" not in str(problem.value)


def test_the_project_ships_with_everything_on_the_outbox() -> None:
    config = load_destinations(PROJECT)
    assert config.file.is_file()
    assert not [channel for channel in Channel if config.is_live(channel)]
    assert config.live_names() == []


def test_no_file_means_everything_on_the_outbox(tmp_path: Path) -> None:
    assert load_destinations(tmp_path).live_names() == []


def test_live_destinations_are_built_with_secrets_from_the_environment_only(tmp_path: Path) -> None:
    config = load_destinations(project_with(CASES / "valid" / "all_channels_live.yml", tmp_path))
    assert config.live_names() == ["sendgrid", "twilio", "webhook"]
    assert config.names(Channel.EMAIL) == ("sendgrid",)
    assert config.names(Channel.ADS) == ()
    context = Context({"MAIL_KEY": "this-is-secret"}, Sender("shop@example.com"))
    assert "this-is-secret" not in repr(context)
    destination = config.build("sendgrid", context)
    assert destination.name == "sendgrid"
    destination.close()
    with pytest.raises(BadConfig, match="TWILIO_ACCOUNT_SID is not set"):
        config.build("twilio", context)
    with pytest.raises(BadConfig, match="smtp is not configured"):
        config.build("smtp", context)
