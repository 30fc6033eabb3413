from __future__ import annotations

from pathlib import Path

import pytest

from tests.journeys.world import World


@pytest.fixture(scope="session")
def parsed_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home for which dbt parses the project: once, because only the warehouse's path differs afterwards."""
    home = tmp_path_factory.mktemp("parsed")
    (home / "warehouse").mkdir()
    return home


@pytest.fixture
def world(tmp_path: Path, parsed_home: Path) -> World:
    return World(tmp_path, parsed_home)
