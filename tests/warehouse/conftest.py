"""Fixtures for tests that derive a warehouse."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real data, which is not part of the repository."""
    folder = Path(os.environ.get("WINBACK_TEST_DATA") or PROJECT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"real data absent: no folder {folder}; set WINBACK_TEST_DATA to it")
    return folder
