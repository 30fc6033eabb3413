"""Every mart of a small shop that has everything is the same on PostgreSQL as on DuckDB. The whole demo: `make test-engines`."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest

from tests.engines.building import derive_with
from tests.engines.comparing import differences
from tests.engines.histories import AS_OF, world_with_everything
from winback.settings import Settings

pytestmark = pytest.mark.slow


def test_postgres_derives_what_duckdb_derives(postgres_url: str, tmp_path: Path) -> None:
    world = world_with_everything(tmp_path / "world", tmp_path / "parsed")
    # Copies: dbt of the world's days still has its file open in this process.
    ours, theirs = (shutil.copytree(world.home, tmp_path / name) for name in ("duckdb", "postgres"))
    warehouse = derive_with(Settings(home=ours), AS_OF)
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        for mart in ("journey_actions", "campaign_report", "order_attribution", "deliverability_daily", "ad_audience_members"):
            assert connection.table(f"marts.{mart}").fetchall(), f"{mart} is empty: the comparison would say nothing of it"
    assert not differences(warehouse, derive_with(Settings(home=theirs, target="postgres", engine_url=postgres_url), AS_OF))
