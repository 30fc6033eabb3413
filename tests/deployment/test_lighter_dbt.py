"""dbt with what it is spared does what dbt does."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dbt.adapters.events.types import SQLQuery  # noqa: TID251
from dbt.events.types import MainReportVersion  # noqa: TID251
from dbt_common.events import event_manager_client
from dbt_common.events.event_manager import EventManager
from dbt_common.events.functions import fire_event

from dagster_project import lighter_dbt
from winback.settings import PROJECT_ROOT


def test_made_for_these_versions() -> None:
    """Another version may have other functions behind the same names: read lighter_dbt.py beside it, then change this line."""
    found = {name: importlib.metadata.version(name).rsplit(".", 1)[0] for name in ("dbt-core", "dbt-duckdb")}

    assert found == {"dbt-core": "1.11", "dbt-duckdb": "1.11"}


@pytest.mark.slow
def test_days_are_the_same_with_and_without(tmp_path: Path) -> None:
    told = {}
    for how in ("plain", "lightened"):
        (tmp_path / how).mkdir()
        command = [sys.executable, "-m", "tests.deployment.built_days", str(tmp_path / how), how]
        finished = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stderr
        told[how] = (tmp_path / how / "told.json").read_text(encoding="utf-8")

    assert "unique_stg_ledger__suppressions_suppression_id" in told["plain"], "a test had to fail"
    assert "stg_ledger__frequency_limits (models/" in told["plain"], "a model had to fail"
    assert told["lightened"] == told["plain"]


@pytest.mark.parametrize(
    ("raw", "made", "holds"),
    [
        ("{{ as_of() }}", ["'2017-11-30 00:00:00'", "'2017-12-01 00:00:00'"], True),
        ("{{ as_of_date() }}", ["'2017-11-30'", "'2017-12-01'"], True),
        ("select 1", ["select 1", "select 1"], True),
        # Of another day than as_of, computed by the template; and a literal that is only by chance today's.
        ("{{ as_of() - 1 }}", ["'2017-11-29'", "'2017-11-30'"], False),
        ("'2017-11-30'", ["'2017-11-30'", "'2017-11-30'"], False),
        ("{{ env_var('X') }}", ["1", "1"], False),
        ("{{ run_query('select 1') }}", ["1", "1"], False),
    ],
)
def test_a_statement_is_known_when_another_day_made_the_same_of_it(
    raw: str, made: list[str], holds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = SimpleNamespace(raw_code=raw, extra_ctes=[], depends_on=SimpleNamespace(macros=list(lighter_dbt.DAY_MACROS)))
    macro = SimpleNamespace(macro_sql="cast('{{ env_var(\"WINBACK_AS_OF\") }}' as timestamp)", depends_on=SimpleNamespace(macros=[]))
    manifest: Any = SimpleNamespace(macros=dict.fromkeys(lighter_dbt.DAY_MACROS, macro))
    for day, text in zip(("2017-11-30", "2017-12-01"), made, strict=True):
        monkeypatch.setenv("WINBACK_AS_OF", f"{day} 00:00:00")
        assert lighter_dbt.remembered(node) is None
        lighter_dbt.remember(node, manifest, text)

    monkeypatch.setenv("WINBACK_AS_OF", "2017-12-31 00:00:00")
    expected = made[0].replace("2017-11-30", "2017-12-31") if holds else None
    assert lighter_dbt.remembered(node) == expected


def test_nobody_is_told_of_dbts_debug_events_and_everybody_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_manager_client, "_EVENT_MANAGER", EventManager())
    heard: list[Any] = []

    lighter_dbt.tell_nobody_of_debug_events()
    event_manager_client.add_callback_to_manager(lambda message: heard.append(message.info.name))
    fire_event(SQLQuery(conn_name="one", sql="select 1"))
    fire_event(MainReportVersion(version="1", log_version=3))

    assert heard == ["MainReportVersion"]
