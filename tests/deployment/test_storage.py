"""Where Dagster keeps its runs and events, and that nothing else than the address decides it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg  # noqa: TID251
import pytest
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage  # noqa: TID251
from dagster_postgres import PostgresEventLogStorage

from dagster_project.storage import KeptOpenEventLog
from tests.postgres import postgres_server, postgres_url
from winback.errors import BadConfig
from winback.home import prepare_home
from winback.settings import load_settings

__all__ = ["postgres_server", "postgres_url"]


@dg.asset(check_specs=[dg.AssetCheckSpec("holds", asset="thing")], pool="warehouse")
def thing() -> dg.MaterializeResult:  # type: ignore[type-arg]
    return dg.MaterializeResult(metadata={"rows": 3}, check_results=[dg.AssetCheckResult(passed=True, check_name="holds")])


def _instance(home: Path) -> dg.DagsterInstance:
    return dg.DagsterInstance.from_config(str(home / "dagster"))


def _recorded(instance: dg.DagsterInstance, run_id: str) -> tuple[str, int, str]:
    """Status of the run, rows that its asset said it has, status of its check."""
    run = instance.get_run_by_id(run_id)
    assert run is not None
    event = instance.get_latest_materialization_event(dg.AssetKey("thing"))
    assert event is not None
    assert event.asset_materialization is not None
    rows = event.asset_materialization.metadata["rows"].value
    [check] = instance.event_log_storage.get_asset_check_execution_history(dg.AssetCheckKey(dg.AssetKey("thing"), "holds"), limit=9)
    return run.status.value, int(str(rows)), check.status.value


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    prepare_home(tmp_path)
    monkeypatch.setenv("WINBACK_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "500")
    monkeypatch.delenv("WINBACK_DAGSTER_URL", raising=False)
    return tmp_path


def test_runs_are_recorded_in_the_home(home: Path) -> None:
    with _instance(home) as instance:
        run_id = dg.materialize([thing], instance=instance).run_id
    with _instance(home) as instance:
        assert isinstance(instance.event_log_storage, KeptOpenEventLog)
        assert _recorded(instance, run_id) == ("SUCCESS", 3, "SUCCEEDED")


def test_an_address_moves_them_to_postgresql_without_another_file(home: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (home / "dagster" / "dagster.yaml").read_text(encoding="utf-8")
    monkeypatch.setenv("WINBACK_DAGSTER_URL", postgres_url)

    with _instance(home) as instance:
        assert isinstance(instance.event_log_storage, PostgresEventLogStorage)
        run_id = dg.materialize([thing], instance=instance).run_id
    with _instance(home) as instance:
        instance.upgrade()
        assert _recorded(instance, run_id) == ("SUCCESS", 3, "SUCCEEDED")
    assert (home / "dagster" / "dagster.yaml").read_text(encoding="utf-8") == before
    assert list((home / "dagster").rglob("*.db")) == []
    written = [path for path in home.rglob("*") if path.is_file() and postgres_url.encode() in path.read_bytes()]
    assert written == [], "the address may hold a password"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://winback:hunter2@db/dagster",
        "postgresql://winback:hunter2@db",
        "postgresql://winback:hunter@2@db/dagster",
        "mysql://winback:hunter2@db/dagster",
    ],
)
def test_an_address_of_another_form_is_refused_and_not_shown(home: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINBACK_DAGSTER_URL", url)

    with pytest.raises(BadConfig, match=r"WINBACK_DAGSTER_URL .* postgresql://user:password@host:port/database") as refused:
        load_settings().dagster_storage_url()
    assert "hunter" not in str(refused.value)


@contextmanager
def _interrupted_at(number: int, store: Callable[..., None]) -> Iterator[Callable[..., None]]:
    stored = 0

    def stops(self: SqliteEventLogStorage, event: dg.EventLogEntry) -> None:
        nonlocal stored
        stored += 1
        if stored == number:
            raise KeyboardInterrupt
        store(self, event)

    yield stops


def test_what_a_step_hands_over_is_committed_soon_though_nothing_follows(home: Path) -> None:
    with _instance(home) as instance:
        run_id = dg.materialize([thing], instance=instance).run_id
        [event] = [entry for entry in instance.all_logs(run_id) if entry.dagster_event and entry.dagster_event.is_step_materialization]
        known = len(instance.all_logs(run_id))
        instance.event_log_storage.store_event(event)
        assert len(instance.all_logs(run_id)) == known + 1, "who has stored it sees it at once"
        until_committed: threading.Timer = getattr(instance.event_log_storage, "_end_of_burst")  # noqa: B009  (private)
        until_committed.join()
        with _instance(home) as other:
            assert len(other.all_logs(run_id)) == known + 1
            assert len(other.fetch_materializations(dg.AssetKey("thing"), limit=9).records) == 2


def test_a_batch_that_is_interrupted_leaves_nothing_half_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _instance(home) as instance:
        run_id = dg.materialize([thing], instance=instance).run_id
        log = instance.event_log_storage
        events = [entry for entry in instance.all_logs(run_id) if entry.dagster_event and entry.dagster_event.is_step_materialization]
        known = len(instance.all_logs(run_id))
        with _interrupted_at(2, SqliteEventLogStorage.store_event) as stops:
            monkeypatch.setattr(SqliteEventLogStorage, "store_event", stops)
            with pytest.raises(KeyboardInterrupt):
                log.store_event_batch(events * 3)
        monkeypatch.undo()
        assert len(instance.all_logs(run_id)) == known
        assert len(instance.fetch_materializations(dg.AssetKey("thing"), limit=9).records) == 1
