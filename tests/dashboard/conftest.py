"""An invented year of measurement marts, published as a run publishes them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from winback.publishing import publish
from winback.settings import Settings
from winback.warehouse import open_warehouse

AS_OF = datetime(2025, 7, 1)
NOTE = "Contacts <and> consents are invented (seed 7)"
WORLD = (Path(__file__).parent / "world.sql").read_text(encoding="utf-8")


def publish_world(home: Path, change: str = "", run_id: str = "run-1") -> Settings:
    """The invented world, after the statements of `change`, in the published place of a home."""
    settings = Settings(home=home)
    with open_warehouse(settings) as warehouse:
        warehouse.execute("create schema raw; create table raw.source_notes (note varchar)")
        warehouse.execute("insert into raw.source_notes values (?)", [NOTE])
        warehouse.execute(WORLD)
        warehouse.execute(change or "select 1")
        publish(settings, warehouse, run_id, AS_OF, now=AS_OF)
    return settings


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Published once; tests read only."""
    return publish_world(tmp_path_factory.mktemp("home"))
