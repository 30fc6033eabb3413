"""What Dagster loads, and one day through it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.end_to_end.newcomer import LAPSED, LAST_ORDER_ON, PEOPLE, write_data
from winback.home import prepare_home

if TYPE_CHECKING:
    import dagster as dg  # noqa: TID251

pytestmark = pytest.mark.slow

OPENS_THE_WAREHOUSE = {"land", "check", "sync", "derive", "plan", "applied", "sent", "published", "report"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with data, named in the environment: the definitions read their settings when they are loaded."""
    folder = tmp_path_factory.mktemp("dagster_home")
    prepare_home(folder / "home", data=write_data(folder / "data"), clock="simulated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WINBACK_HOME", str(folder / "home"))
        patch.setenv("DAGSTER_HOME", str(folder / "home" / "dagster"))
        for name in ("WINBACK_DATA", "WINBACK_CLOCK", "WINBACK_PROJECT"):
            patch.delenv(name, raising=False)
        yield folder / "home"


@pytest.fixture(scope="module")
def definitions(home: Path) -> dg.Definitions:
    from dagster_project.definitions import defs

    return defs()


@pytest.fixture(scope="module")
def models(definitions: dg.Definitions) -> dict[str, dict[str, Any]]:
    """name -> node of dbt's manifest, of every model."""
    from dagster_project.dbt_build import read_manifest
    from winback.settings import load_settings

    nodes = read_manifest(load_settings())["nodes"].values()
    return {node["name"]: node for node in nodes if node["resource_type"] == "model"}


def test_every_model_is_an_asset_that_says_what_it_is(definitions: dg.Definitions, models: dict[str, dict[str, Any]]) -> None:
    specs = {spec.key.path[-1]: spec for spec in definitions.resolve_all_asset_specs()}

    assert models.keys() <= specs.keys()
    assert [name for name in models if not (specs[name].description or "").strip()] == []
    assert [name for name, spec in specs.items() if not spec.group_name or not spec.description] == []


def test_what_holds_touched_customers_alone_is_read_by_models_of_them_alone(models: dict[str, dict[str, Any]]) -> None:
    kinds = {node["unique_id"]: node["config"]["materialized"] for node in models.values()}
    readers = {
        (parent, node["name"]): kinds[node["unique_id"]]
        for node in models.values()
        for parent in node["depends_on"]["nodes"]
        if kinds.get(parent) == "passed_on"
    }

    assert readers
    assert {edge: kind for edge, kind in readers.items() if kind not in ("kept", "passed_on")} == {}


def test_jobs_run_when_they_should(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()

    schedules = {found.name: (found.cron_schedule, found.execution_timezone, found.job.name) for found in repository.schedule_defs}
    assert schedules == {
        "nightly_pull_schedule": ("45 23 * * *", "UTC", "nightly_pull"),
        "daily_schedule": ("0 0 * * *", "UTC", "daily"),
        "hourly_schedule": ("30 * * * *", "UTC", "hourly"),
    }
    assert {sensor.name for sensor in repository.sensor_defs} == {"new_files", "on_run_failure"}
    daily = {key.path[-1] for key in definitions.resolve_job_def("daily").asset_layer.executable_asset_keys}
    hourly = {key.path[-1] for key in definitions.resolve_job_def("hourly").asset_layer.executable_asset_keys}
    assert {"orders", "journey_actions", "plan", "applied", "sent", "published", "report", "dashboard"} <= daily
    assert {"orders", "sent"} <= hourly
    assert not {"plan", "applied", "journey_actions"} & hourly
    steps = {node.name for node in definitions.resolve_job_def("hourly").nodes}
    assert steps == {"land", "sent"}, "a check on raw data needs the day that it judges"


def test_one_at_a_time_opens_the_warehouse(definitions: dg.Definitions) -> None:
    pools = {node.name: node.definition.pool for node in definitions.resolve_job_def("daily").nodes}  # type: ignore[attr-defined]

    assert pools == dict.fromkeys(OPENS_THE_WAREHOUSE, "warehouse") | {"dashboard": None}, "the dashboard reads what is published"


def test_blocking_checks_block(definitions: dg.Definitions) -> None:
    from winback.quality.suites import CHECKS

    graph = definitions.resolve_asset_graph()
    specs = {key.name: graph.get_check_spec(key) for key in graph.asset_check_keys if key.asset_key.path[0] == "raw"}

    assert specs.keys() == {check.name for check in CHECKS}
    assert [name for name, spec in specs.items() if not spec.blocking] == []
    checked = {key.asset_key for key in graph.asset_check_keys if key.asset_key.path[0] == "raw"}
    held = [key for key in graph.executable_asset_keys if key.path[0] in ("programs", "ledger")]
    assert held
    assert [key for key in held if not checked <= graph.get(key).parent_keys] == [], "a stopped day records no new program version"


def test_a_day_leaves_the_row_count_of_every_table_and_mart(
    definitions: dg.Definitions, models: dict[str, dict[str, Any]], home: Path
) -> None:
    import dagster as dg  # noqa: TID251

    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        result = definitions.resolve_job_def("daily").execute_in_process(
            partition_key=LAST_ORDER_ON.isoformat(),
            instance=instance,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        events = [entry.dagster_event for entry in instance.all_logs(result.run_id) if entry.dagster_event]
    materialized: dict[str, dict[str, Any]] = {
        event.asset_key.path[-1]: {key: value.value for key, value in event.materialization.metadata.items()}
        for event in events
        if event.is_step_materialization and event.asset_key
    }
    checks = result.get_asset_check_evaluations()

    assert result.success
    counts = {name: materialized.get(name, {}).get("dagster/row_count") for name in models}
    stored = {name for name, node in models.items() if node["config"]["materialized"] not in ("view", "passed_on")}
    marts = {name for name, node in models.items() if node["fqn"][1] == "marts"}
    assert {name for name in models if counts[name] is not None} == stored | marts
    assert counts["customers"] == len(PEOPLE)
    assert materialized["applied"]["enrolled"] >= len(LAPSED)
    assert materialized["plan"]["plan_hash"]
    assert {evaluation.asset_key.path[0] for evaluation in checks} >= {"raw", "marts"}
    failed = [
        evaluation.check_name for evaluation in checks if not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.ERROR
    ]
    assert failed == []
