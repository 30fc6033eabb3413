"""Arrows point one way, and nobody pays for what they do not use."""

from __future__ import annotations

import subprocess
import sys

import pytest

from winback.settings import PROJECT_ROOT

HEAVY = ("dagster", "dbt", "great_expectations", "pandas", "alembic", "matplotlib")


def modules_after(statement: str) -> set[str]:
    finished = subprocess.run(
        [sys.executable, "-c", f"{statement}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"],
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT_ROOT,
    )
    return set(finished.stdout.split())


@pytest.mark.parametrize(
    "statement",
    ["import winback.cli", "import winback.day", "import winback.landing", "import winback.programs", "import winback.quality.suites"],
)
def test_importing_winback_loads_nothing_heavy(statement: str) -> None:
    assert not modules_after(statement) & set(HEAVY)


def test_the_command_line_is_light() -> None:
    assert not modules_after("import winback.cli") & {"duckdb", "sqlalchemy", "pyarrow", "requests", "liquid", "rich.table"}


def test_folders_are_named_for_what_they_hold() -> None:
    vague = {"utils", "helpers", "common", "misc"}
    shadowing = {"dagster", "dbt", "requests"}
    for top, banned in (("winback", vague), ("dagster_project", vague), ("tests", vague | shadowing)):
        files = (path.relative_to(PROJECT_ROOT) for path in (PROJECT_ROOT / top).rglob("*.py"))
        found = {part.removesuffix(".py") for path in files if ".venv" not in path.parts for part in path.parts}
        assert not found & banned
