"""The pages say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from winback.settings import PROJECT_ROOT, Settings

PAGES = sorted([PROJECT_ROOT / "README.md", *(PROJECT_ROOT / "docs").rglob("*.md")])


def settings_table() -> str:
    rows = ["| variable | default | what it does |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.default
        shown = "" if default in (None, "") else f"`{default.name if name == 'project' else default}`"
        if name == "project":
            shown = "the checkout"
        rows.append(f"| `WINBACK_{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(rows)


def test_settings_page_lists_every_setting_as_it_is() -> None:
    page = (PROJECT_ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert settings_table() in page, f"docs/settings.md should hold:\n{settings_table()}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT_ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def test_readme_names_only_commands_that_make_has() -> None:
    makefile = (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)", (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")))
    assert named <= targets


def test_decisions_name_the_test_that_holds_them() -> None:
    for record in sorted((PROJECT_ROOT / "docs" / "decisions").glob("*.md")):
        held_by = re.findall(r"^Held by: (.+)$", record.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert held_by, f"{record.name} has no line `Held by:`"
        for path in re.findall(r"`([^`]+)`", held_by[0]):
            assert (PROJECT_ROOT / path).exists(), f"{record.name} is held by {path}, which is not there"
