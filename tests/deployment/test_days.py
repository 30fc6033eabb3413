"""What `winback run` says of its time, and what dbt is spared."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from dbt.adapters.events.types import SQLQuery  # noqa: TID251
from dbt.events.types import MainReportVersion  # noqa: TID251
from dbt_common.events import event_manager_client
from dbt_common.events.event_manager import EventManager
from dbt_common.events.functions import fire_event

from dagster_project.days import where_the_time_went
from dagster_project.dbt_build import lighten_dbt


def test_the_stages_and_the_rest_are_the_days() -> None:
    stages = Counter({"land and check": 2.0, "derive": 5.5})

    assert where_the_time_went(4.25, 9.0, stages) == (
        "seconds: start-up 4.2; the days 9.0, of which land and check 2.0, derive 5.5, records of the runs 1.5"
    )


def test_nobody_is_told_of_dbts_debug_events_and_everybody_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_manager_client, "_EVENT_MANAGER", EventManager())
    heard: list[Any] = []

    lighten_dbt()
    event_manager_client.add_callback_to_manager(lambda message: heard.append(message.info.name))
    fire_event(SQLQuery(conn_name="one", sql="select 1"))
    fire_event(MainReportVersion(version="1", log_version=3))

    assert heard == ["MainReportVersion"]
