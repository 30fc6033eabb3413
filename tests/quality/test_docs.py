"""docs/checks.md says what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from winback.quality.limits import Limits, load_limits
from winback.quality.suites import CHECKS, Check
from winback.settings import Settings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "checks.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_each_check_is_listed(check: Check) -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{check.name}` |")]
    assert row.startswith(f"| `{check.name}` | {check.table} | {check.severity}")
    assert check.description in row
    assert check.damage[1:] in row


@pytest.mark.parametrize("name", Limits.model_fields)
def test_each_limit_is_listed_with_its_default(name: str) -> None:
    default = getattr(Limits(), name) or "none"
    assert f"| `{name}` | {default} | {Limits.model_fields[name].description} |" in PAGE


def test_the_example_is_valid(settings: Settings) -> None:
    example = PAGE.split("```yaml\n")[1].split("```")[0]
    (settings.sources_dir / "checks.yml").write_text(example, encoding="utf-8")
    assert load_limits(settings, {check.name for check in CHECKS}).levels == yaml.safe_load(example)["levels"]
