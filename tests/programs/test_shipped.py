"""What ships in programs/: valid, complete, in the words of docs/programs.md."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from winback.programs import LoadedPrograms, check, links_for, load_programs, render
from winback.programs.json_schemas import FILES, text
from winback.programs.reference import PAGE, with_reference
from winback.programs.source import read_yaml
from winback.programs.variables import sample_offer, sample_row
from winback.settings import PROJECT_ROOT, Settings

PROGRAMS = (
    "customer_lapsed",
    "cycle_coupon",
    "dormant_reactivation",
    "email_fading",
    "lapsed_one_to_two_years",
    "lapsing_repeat_buyers",
    "product_unused",
    "tier_drop",
)
BLOCK = re.compile(r"```(\w+) (programs/[\w./]+)\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def loaded() -> LoadedPrograms:
    return load_programs(Settings(project=PROJECT_ROOT))


def test_all_eight_are_live_and_without_a_warning(loaded: LoadedPrograms) -> None:
    assert tuple(sorted(loaded.programs)) == PROGRAMS
    assert {program.status for program in loaded.programs.values()} == {"live"}
    assert check(Settings(project=PROJECT_ROOT)) == []


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tables: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links.append(dict(attrs).get("href") or "")
        if tag == "table":
            self.tables.append(dict(attrs).get("role"))


@pytest.mark.parametrize("row", [sample_row(), {}, {"engagement_tier": "inactive", "order_count": 1}], ids=["known", "unknown", "inactive"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_every_message_reads_well(name: str, row: dict[str, Any], loaded: LoadedPrograms) -> None:
    definition, brand = loaded.definitions[name], loaded.brand
    links = links_for(brand, "m1")
    for step in definition.program.steps:
        for channel in step.channels or ["task"]:
            message = render(definition, step.send or step.task or "", channel, row, brand, links, sample_offer(definition.program.offer))
            shown = f"{message.subject}\n{message.preheader}\n{message.title}\n{message.text}"
            assert message.text
            assert not re.search(r"\{\{|\{%|None|  |nil| ,|\(\)", shown), shown
            if channel != "email":
                continue
            assert message.subject
            assert message.preheader
            page = _Links()
            page.feed(message.html)
            assert {links.unsubscribe, links.preferences, links.shop} <= set(page.links)
            assert set(page.tables) == {"presentation"}
            assert '<html lang="en"' in message.html
            assert message.html.index(message.preheader.replace("&", "&amp;").replace("'", "&#39;")) < message.html.index("<table")
            assert len(message.html) < 100_000, "mail programs cut messages at 102 kB"
            for part in (message.html, message.text):
                assert brand.postal_address.strip() in part
                assert links.unsubscribe in part


@pytest.mark.parametrize("file", FILES)
def test_schemas_are_those_of_the_types(file: str) -> None:
    stored = (PROJECT_ROOT / "programs" / file).read_text(encoding="utf-8")
    assert stored == text(file.partition(".")[0]), "run: winback programs schema --write"


@pytest.mark.parametrize("path", sorted((PROJECT_ROOT / "programs").glob("*.yml")), ids=lambda path: path.stem)
def test_editors_agree_with_the_check(path: Path) -> None:
    content = path.read_text(encoding="utf-8")
    schema = "brand" if path.stem == "brand" else "program"
    assert content.startswith(f"# yaml-language-server: $schema={schema}.schema.json\n")
    jsonschema.validate(read_yaml(path, path.name).data, json.loads((path.parent / f"{schema}.schema.json").read_text()))


@pytest.mark.parametrize(
    "wrong",
    [
        {"prority": 1},
        {"status": "alive"},
        {"cadence": "weekly"},
        {"cadence": {"every": "weekly"}},
        {"steps": []},
        {"steps": [{"day": 0}]},
        {"steps": [{"day": 0, "send": "m"}]},
        {"steps": [{"day": 0, "task": "m", "channels": ["email"]}]},
        {"offer": {"code": "A", "codes": "b"}},
        {"holdout_percent": 101},
    ],
    ids=str,
)
def test_editors_refuse_what_the_check_refuses(wrong: dict[str, Any]) -> None:
    from winback.programs import json_schema

    valid = {"name": "p", "audience": "a", "steps": [{"day": 0, "send": "m", "channels": ["email"]}]}
    jsonschema.validate(valid, json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**valid, **wrong}, json_schema())


def test_the_reference_in_the_docs_is_that_of_the_types() -> None:
    page = (PROJECT_ROOT / PAGE).read_text(encoding="utf-8")
    assert with_reference(page) == page, "run: winback programs schema --write"


def test_the_docs_can_be_followed(tmp_path: Path) -> None:
    """Every block that names a file is put into that file, as a marketer would, and the check finds nothing."""
    shutil.copytree(PROJECT_ROOT / "programs", tmp_path / "programs")
    shutil.copytree(PROJECT_ROOT / "dbt_project" / "models", tmp_path / "dbt_project" / "models")
    blocks = BLOCK.findall((PROJECT_ROOT / PAGE).read_text(encoding="utf-8"))
    assert len(blocks) >= 5
    for language, name, content in blocks:
        path = tmp_path / name
        if language == "yaml":
            block = tmp_path / "block.yml"
            block.write_text(content)
            # JSON is YAML: what matters is what the fields say.
            content = json.dumps(read_yaml(path, name).data | read_yaml(block, name).data)
        assert path.exists()
        path.write_text(content)
    assert [str(problem) for problem in check(Settings(project=tmp_path)) if problem.severity == "error"] == []
