"""In Dagster, asset `sent` waits for what comes in, and has a check per channel and ad platform; none of them stops the run."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import dagster as dg  # noqa: TID251  (what Dagster makes of the asset)
import duckdb
import pytest

from dagster_project.defs.activation import sent
from dagster_project.defs.raw import landed
from tests.delivery.conftest import SCHEMA
from winback.clock import utc_now
from winback.ledger import open_ledger
from winback.settings import load_settings
from winback.watching import LANES


def test_each_channel_and_platform_is_a_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINBACK_HOME", str(tmp_path))
    monkeypatch.setenv("WINBACK_CLOCK", "real")
    monkeypatch.setenv("WINBACK_OUTBOX_FAULTS", "stop=1")
    settings = load_settings()
    now = utc_now()
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    settings.warehouse.parent.mkdir(parents=True)
    with duckdb.connect(str(settings.warehouse)) as connection:
        connection.execute(SCHEMA)
    with open_ledger(settings) as ledger:
        entry = {"enrolment_id": "e", "program": "lapsing", "version": 1, "customer_id": "ann", "as_of": day, "recorded_at": now}
        ledger.record("enrolments", [{**entry, "anchor_at": day, "arm": "treatment", "enrolled_at": day}])
        due = {"message_id": "a" * 32, "step_no": 1, "kind": "task", "channel": "task", "content": "personal_call"}
        ledger.record("messages", [{**entry, **due, "not_before": day, "expires_at": now + timedelta(days=3)}])
        definition = (
            '{"program": {"name": "lapsing", "audience": "lapsed", "steps": [{"day": 0, "task": "personal_call"}]}, "templates": {}}'
        )
        version = {"program": "lapsing", "version": 1, "content_hash": "x", "definition": definition}
        ledger.record("program_versions", [{**version, "effective_at": day, "recorded_at": now}])

    result = dg.materialize([sent], raise_on_error=False)
    assert result.success, "a check that fails stops nothing"
    checks = {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}
    assert sorted(checks) == sorted(lane.replace(":", "_") for lane in LANES)
    assert not any(evaluation.blocking for evaluation in checks.values())
    task = checks["task"]
    assert (task.passed, task.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert {name: task.metadata[name].value for name in ("sent", "rejected", "deferred", "unknown", "skipped")} == {
        "sent": 0, "rejected": 0, "deferred": 1, "unknown": 0, "skipped": 0,
    }  # fmt: skip
    assert task.metadata["conditions"].value == ["outbox was given up: outbox: credentials are refused (a fault on demand)"]
    assert checks["ads_meta"].passed


def test_nothing_is_sent_where_what_came_in_could_not_be_landed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINBACK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WINBACK_DATA", str(tmp_path))
    (tmp_path / "orders.parquet").write_text("cut off\n")

    result = dg.materialize([landed, sent], raise_on_error=False)

    assert not result.success
    assert {event.step_key for event in result.all_events if event.is_step_start} == {"land"}
