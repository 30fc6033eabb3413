"""A home keeps to the data it was made from."""

from __future__ import annotations

from pathlib import Path

import pytest

from winback.errors import BadConfig
from winback.home import home_for_data, prepare_home
from winback.settings import load_settings


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
