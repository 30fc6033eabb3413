"""Pages name only commands, options and links that there are."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import typer.main

from winback.cli import app
from winback.settings import PROJECT_ROOT

PAGES = ("docs/deliverability.md", "docs/delivery.md", "docs/destinations.md", "docs/listening.md", "docs/operating.md")


def commands(page: str) -> list[str]:
    text = (PROJECT_ROOT / page).read_text(encoding="utf-8")
    return [found.split("#")[0].strip() for found in re.findall(r"(?:^|`)(winback [a-z][^`\n]*)", text, flags=re.MULTILINE)]


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_their_options_exist(page: str) -> None:
    found = commands(page)
    assert found
    for line in found:
        command: Any = typer.main.get_command(app)
        for word in shlex.split(line)[1:]:
            inner = getattr(command, "commands", {})
            if word in inner:
                command = inner[word]
            elif word.startswith("--"):
                options = {option for parameter in command.params for option in parameter.opts}
                assert word in options or command.ignore_unknown_options, f"{page}: {line}: no option {word}"
            else:
                assert not inner or command.invoke_without_command, f"{page}: {line}: no command {word}"


@pytest.mark.parametrize("page", ["docs/settings.md", *PAGES])
def test_anchors_are_headings(page: str) -> None:
    text = (PROJECT_ROOT / page).read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)]+)\)", text):
        other = (PROJECT_ROOT / page).parent / target if target else PROJECT_ROOT / page
        headings = re.findall(r"^#+ (.+)$", other.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert anchor in {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}, f"{page}: #{anchor}"
