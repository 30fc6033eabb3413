"""A home keeps to the data it was made from."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from winback.errors import BadConfig
from winback.home import home_for_data, prepare_home
from winback.settings import PROJECT_ROOT, load_settings


def test_a_home_remembers_what_it_was_made_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WINBACK_CLOCK", raising=False)
    prepare_home(tmp_path / "home", data=tmp_path / "data", clock="simulated")
    settings = load_settings(tmp_path / "home")
    assert settings.data == tmp_path / "data"
    assert settings.clock == "simulated"


def test_the_environment_goes_before_what_a_home_remembers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_home(tmp_path, clock="simulated")
    monkeypatch.setenv("WINBACK_CLOCK", "real")
    assert load_settings(tmp_path).clock == "real"


def test_a_home_refuses_other_data(tmp_path: Path) -> None:
    prepare_home(tmp_path / "home", data=tmp_path / "one")
    with pytest.raises(BadConfig, match=r"was made from .*one, now asked for .*two"):
        prepare_home(tmp_path / "home", data=tmp_path / "two")


def test_a_home_that_is_prepared_again_keeps_what_people_edited(tmp_path: Path) -> None:
    prepare_home(tmp_path)
    (tmp_path / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    prepare_home(tmp_path)
    assert (tmp_path / "dagster" / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n"


def test_a_clock_that_a_person_set_outlives_the_next_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WINBACK_CLOCK", raising=False)
    prepare_home(tmp_path, data=tmp_path / "data", clock="simulated")
    (tmp_path / "winback.yml").write_text(f"data: {tmp_path / 'data'}\nclock: real  # live since March\n")
    prepare_home(tmp_path, data=tmp_path / "data", clock="simulated")
    assert load_settings(tmp_path).clock == "real"


def test_a_file_of_which_nothing_changes_stays_as_it_is(tmp_path: Path) -> None:
    written = f"# ask Ada before changing this\ndata: {tmp_path / 'data'}\nthreads: 4\nmapping: shopify\n"
    (tmp_path / "winback.yml").write_text(written)
    prepare_home(tmp_path, data=tmp_path / "data", mapping="shopify")
    assert (tmp_path / "winback.yml").read_text() == written
    prepare_home(tmp_path, mapping="standard")
    assert (load_settings(tmp_path).mapping, load_settings(tmp_path).threads) == ("standard", 4)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["winback.yml"]


@pytest.mark.parametrize("broken", ["clock: [real\n", "- clock\n", "clock\n"])
def test_a_file_that_is_no_settings_is_named(tmp_path: Path, broken: str) -> None:
    (tmp_path / "winback.yml").write_text(broken)
    for read in (load_settings, prepare_home):
        with pytest.raises(BadConfig, match=r"winback\.yml.*clock: real"):
            read(tmp_path)
    assert (tmp_path / "winback.yml").read_text() == broken


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("engine_url", "postgresql://user:hunter2@host/warehouse"),
        ("dagster_url", "postgresql://user:hunter2@host/dagster"),
        ("ledger_url", "postgresql://user:hunter2@host/ledger"),
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_shown(tmp_path: Path, field: str, value: str) -> None:
    (tmp_path / "winback.yml").write_text(f"{field}: {value}\n")
    for read in (load_settings, prepare_home):
        with pytest.raises(BadConfig, match=rf"winback\.yml: {field}: .*WINBACK_{field.upper()}") as refused:
            read(tmp_path)
        assert "hunter2" not in str(refused.value)


def test_relative_paths_are_those_of_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("PROJECT", "DATA", "ENGINE_STORAGE", "DISPATCH_STORAGE"):
        monkeypatch.setenv(f"WINBACK_{name}", f"var/{name.lower()}")
    monkeypatch.setenv("WINBACK_MAPPING", "mine/shop.yml")
    settings = load_settings(Path("var/some-home"))
    found = (settings.project, settings.data, settings.engine_storage, settings.dispatch_storage)
    assert found == tuple(PROJECT_ROOT / "var" / name for name in ("project", "data", "engine_storage", "dispatch_storage"))
    assert (settings.home, settings.mapping) == (PROJECT_ROOT / "var/some-home", str(PROJECT_ROOT / "mine/shop.yml"))


def test_an_address_with_a_password_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINBACK_PUBLIC_URL", "https://ada:hunter2@mail.example.com")
    with pytest.raises(BadConfig, match=r"public_url: .*not shown.*https://mail\.example\.com.*WINBACK_PUBLIC_URL") as refused:
        load_settings(tmp_path)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(("name", "value", "example"), [("PUBLIC_URL", "mail", "https://mail.example.com"), ("MEMORY_LIMIT", "4", "4GB")])
def test_a_wrong_form_is_told_by_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, example: str) -> None:
    monkeypatch.setenv(f"WINBACK_{name}", value)
    with pytest.raises(BadConfig, match=rf"found '{value}'; allowed is .*{re.escape(example)}") as refused:
        load_settings(tmp_path)
    assert "pattern" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("WINBACK_APROVAL", "WINBACK_APPROVAL"), ("WINBACK_CLOK", "WINBACK_CLOCK"), ("WINBACK_LINK_KEY", "WINBACK_LINK_KEYS")],
)
def test_a_variable_that_nearly_is_a_setting_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, meant: str) -> None:
    monkeypatch.setenv(name, "required")
    with pytest.raises(BadConfig, match=rf"{name}: .*did you mean {meant}\?"):
        load_settings(tmp_path)


def test_variables_of_other_programs_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name in use here (dbt, tests, benchmarks, deploy files) and what Kubernetes sets for a service of this name."""
    named = {"WINBACK_SERVICE_HOST", "WINBACK_PORT", "WINBACK_PORT_4000_TCP_ADDR", "WINBACK_SMTP_PASSWORD"}
    folders = ("winback", "dagster_project", "dbt_project", "benchmarks", "deploy", "docs", "tests")
    for path in (file for folder in folders for file in (PROJECT_ROOT / folder).rglob("*") if file != Path(__file__)):
        if path.suffix in (".py", ".sql", ".yml", ".yaml", ".md", ".sh"):
            named |= set(re.findall(r"\bWINBACK_[A-Z_]*[A-Z]\b", path.read_text(encoding="utf-8", errors="replace")))
    settings = {f"WINBACK_{name.upper()}" for name in type(load_settings(tmp_path)).model_fields}
    for name in named - settings - set(os.environ):
        monkeypatch.setenv(name, "x")
    load_settings(tmp_path)


def test_an_unknown_or_wrong_setting_is_named_with_what_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "winback.yml").write_text("clok: real\n")
    with pytest.raises(BadConfig, match=r"winback\.yml: unknown setting 'clok'; allowed: .*clock"):
        load_settings(tmp_path)
    (tmp_path / "winback.yml").write_text("clock: fast\n")
    monkeypatch.delenv("WINBACK_CLOCK", raising=False)
    with pytest.raises(BadConfig, match=r"clock: found 'fast'; .*'real' or 'simulated'.*WINBACK_CLOCK"):
        load_settings(tmp_path)


def test_a_project_of_ones_own_finds_the_home_that_its_run_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINBACK_PROJECT", str(tmp_path))
    monkeypatch.setenv("WINBACK_HOME", "var/spring-shop")
    assert load_settings().root == home_for_data(tmp_path / "spring shop")


def test_homes_of_two_folders_differ(tmp_path: Path) -> None:
    assert home_for_data(tmp_path / "spring shop").name == "spring-shop"
    assert home_for_data(tmp_path / "a") != home_for_data(tmp_path / "b")
