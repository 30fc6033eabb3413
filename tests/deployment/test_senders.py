"""Runs that help to send: where they go, and what a location loads that does nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg  # noqa: TID251
import pytest
from dagster._core.code_pointer import ModuleCodePointer  # noqa: TID251
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin  # noqa: TID251
from dagster._core.remote_origin import (  # noqa: TID251
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)

from dagster_project.senders import help_send, helpers
from winback.day import dispatch_due
from winback.errors import BadConfig
from winback.home import prepare_home
from winback.settings import PROJECT_ROOT, Settings

ORIGIN = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("winback"), "__repository__"), "hourly")
CODE = JobPythonOrigin("hourly", RepositoryPythonOrigin("python", ModuleCodePointer("dagster_project.definitions", "defs"), None, None, {}))


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    prepare_home(tmp_path)
    monkeypatch.setenv("WINBACK_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    monkeypatch.delenv("WINBACK_DAGSTER_URL", raising=False)
    with dg.DagsterInstance.from_config(str(tmp_path / "dagster")) as opened:
        yield opened


def _asked(instance: dg.DagsterInstance, locations: str) -> list[tuple[str, str, int]]:
    """(location, job, first slice) of each run in the queue."""
    run = dg.DagsterRun(job_name="hourly", run_id=str(uuid4()), remote_job_origin=ORIGIN, job_code_origin=CODE)
    ask = helpers(run, instance, Settings(dispatch_locations=locations))
    assert ask is not None
    ask(Path("/hand-out"), 4)
    found = []
    for queued in instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED])):
        assert queued.remote_job_origin
        assert queued.job_code_origin == JobPythonOrigin("help_send", CODE.repository_origin)
        ops: Any = queued.run_config["ops"]
        config = ops["send_slices"]["config"]
        assert config["folder"] == "/hand-out"
        found.append((queued.remote_job_origin.location_name, queued.job_name, config["first"]))
    return sorted(found, key=lambda one: one[2])


def test_helping_runs_go_to_the_locations_that_are_named_in_turn(instance: dg.DagsterInstance) -> None:
    asked = _asked(instance, "sender-0, sender-1")

    assert asked == [("sender-0", "help_send", 1), ("sender-1", "help_send", 2), ("sender-0", "help_send", 3)]


def test_without_names_they_go_where_the_day_runs(instance: dg.DagsterInstance) -> None:
    assert {location for location, _, _ in _asked(instance, "")} == {"winback"}


def test_a_run_that_came_out_of_no_queue_asks_nobody(instance: dg.DagsterInstance) -> None:
    run = dg.DagsterRun(job_name="hourly", run_id=str(uuid4()))

    assert helpers(run, instance, Settings()) is None


def test_helping_with_what_is_over_is_no_fault(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    config = {"ops": {"send_slices": {"config": {"folder": str(tmp_path / "gone"), "first": 1}}}}

    result = help_send.execute_in_process(run_config=config, instance=instance)

    assert result.success


def test_a_sender_loads_neither_dbt_nor_the_warehouse() -> None:
    told = "import sys, dagster_project.senders as one; one.defs().get_repository_def().get_job('help_send'); print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, cwd=PROJECT_ROOT)

    assert not {"dbt", "dagster_dbt", "great_expectations"} & {name.partition(".")[0] for name in found.stdout.split()}


def test_several_senders_need_a_ledger_that_several_can_write(tmp_path: Path) -> None:
    from winback.clock import utc_now

    with pytest.raises(BadConfig, match="WINBACK_DISPATCH_SHARDS is 3, and the ledger is a SQLite file"):
        dispatch_due(Settings(home=tmp_path, dispatch_shards=3), utc_now(), None)
