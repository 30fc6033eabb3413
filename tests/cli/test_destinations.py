from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.destinations.conformance.mail_server import PASSWORD, USER, Behaviour, MailServer, ca_file
from tests.destinations.conformance.server import Captured, LocalProvider, Reply
from winback.cli.destinations import app
from winback.destinations.config import installed
from winback.settings import PROJECT_ROOT

TOKEN = "a-secret-api-key"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "brand.yml").write_text((PROJECT_ROOT / "programs" / "brand.yml").read_text())
    monkeypatch.setenv("WINBACK_PROJECT", str(tmp_path))
    monkeypatch.setenv("WINBACK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WINBACK_CLOCK", "real")
    monkeypatch.setenv("SMTP_USERNAME", USER)
    monkeypatch.setenv("SMTP_PASSWORD", PASSWORD)
    monkeypatch.setenv("KLAVIYO_KEY", TOKEN)
    return tmp_path


def configure(project: Path, email: str, port: int, klaviyo: str) -> None:
    (project / "destinations.yml").write_text(
        f"""
channels:
  email: {{mode: {email}, destination: smtp}}
destinations:
  smtp:
    {{host: 127.0.0.1, port: {port}, username_env: SMTP_USERNAME, password_env: SMTP_PASSWORD, ca_file: "{ca_file()}", timeout_seconds: 5}}
  klaviyo: {{base_url: "{klaviyo}", api_key_env: KLAVIYO_KEY, lists: {{lapsing: AbCdEf}}}}
"""
    )


@pytest.fixture
def provider() -> Iterator[LocalProvider]:
    def refuse(request: Captured) -> Reply:
        return Reply(401, {"errors": [{"detail": f"no such key {TOKEN}"}]})

    server = LocalProvider(refuse)
    yield server
    server.close()


def run(*arguments: str) -> tuple[int, Any]:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert PASSWORD not in result.output
    assert TOKEN not in result.output
    return result.exit_code, json.loads(result.stdout)


def test_a_destination_that_is_not_live_may_fail(project: Path, provider: LocalProvider) -> None:
    with MailServer() as server:
        configure(project, "live", server.port, provider.base_url)
        code, told = run("check")
    by_name = {one["name"]: one for one in told["destinations"]}
    assert (code, told["ok"], sorted(by_name)) == (0, True, ["klaviyo", "outbox", "smtp"])
    assert (by_name["smtp"]["ok"], by_name["smtp"]["live"]) == (True, ["email"])
    assert by_name["smtp"]["told"].startswith("SMTP: connected with STARTTLS, login accepted")
    assert (by_name["klaviyo"]["ok"], by_name["klaviyo"]["live"]) == (False, [])
    assert by_name["outbox"]["live"] == []


def test_a_live_destination_that_fails_is_exit_code_1(project: Path, provider: LocalProvider) -> None:
    with MailServer(Behaviour(login=False)) as server:
        configure(project, "live", server.port, provider.base_url)
        code, told = run("check")
    assert (code, told["ok"]) == (1, False)
    [smtp] = [one for one in told["destinations"] if one["name"] == "smtp"]
    assert "login refused (535" in smtp["told"]


def test_a_credential_that_is_missing_is_named_by_its_variable(
    project: Path, provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SMTP_PASSWORD")
    configure(project, "live", 25, provider.base_url)
    result = CliRunner().invoke(app, ["check"])
    assert result.exit_code == 1
    assert "smtp.password_env: the environment variable SMTP_PASSWORD is not set" in result.stdout
    assert "fails smtp, live for email" in result.stdout
    assert "To the outbox: sms, push, ads, lists, task." in result.stdout
    assert TOKEN not in result.output


def test_list_says_what_each_can_do_and_asks_nobody(project: Path) -> None:
    code, told = run("list")
    assert code == 0
    assert [one["name"] for one in told] == ["outbox", *installed()]
    [twilio] = [one for one in told if one["name"] == "twilio"]
    assert (twilio["channels"], twilio["after_a_lost_answer"], twilio["ok"]) == (["sms"], "asked", None)
    assert "left and counted" in CliRunner().invoke(app, ["list"], env={"COLUMNS": "200"}).stdout


def test_on_a_simulated_clock_it_says_that_nothing_leaves(project: Path, provider: LocalProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(project, "live", 25, provider.base_url)
    monkeypatch.setenv("WINBACK_CLOCK", "simulated")
    assert "everything goes to the outbox, whatever is live" in CliRunner().invoke(app, ["list"], env={"COLUMNS": "200"}).stdout
