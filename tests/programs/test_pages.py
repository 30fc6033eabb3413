"""The words of the pages behind the links."""

from __future__ import annotations

import re

import pytest

from tests.programs.conftest import MakeProject
from winback.programs import check
from winback.programs.page_texts import SHIPPED, _texts, filled, load_page_texts
from winback.settings import PROJECT_ROOT

ENGLISH = (SHIPPED / "en.yml").read_text(encoding="utf-8")


def test_shipped_languages_say_the_same_with_the_same_placeholders() -> None:
    shipped = load_page_texts(PROJECT_ROOT / "programs")
    assert {"en", "de", "fr", "es"} <= set(shipped)
    placeholders = {place: set(re.findall(r"\{\w+\}", text)) for place, text in _texts(shipped["en"])}
    for language, texts in shipped.items():
        for place, text in _texts(texts):
            assert set(re.findall(r"\{\w+\}", text)) == placeholders[place], (language, place)


def test_a_project_adds_a_language_and_changes_words(project: MakeProject) -> None:
    settings = project(
        {"pages/it.yml": ENGLISH.replace("English", "Italiano"), "pages/en.yml": ENGLISH.replace("Welcome back", "Hello again")}
    )
    assert [problem for problem in check(settings) if "pages/" in problem.file] == []
    texts = load_page_texts(settings.programs_dir)
    assert texts["it"].language_name == "Italiano"
    assert texts["en"].returned.title == "Hello again"
    assert texts["de"].language_name == "Deutsch"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("it.yml", ENGLISH.replace("language_name: English\n", ""), "pages/it.yml:7: language_name: is missing; the language in itself"),
        ("it.yml", ENGLISH.replace("{brand} again", "{brnd} again"), "returned.text: found {brnd}; allowed: {brand}, "),
        (
            "it.yml",
            ENGLISH.replace("  undo: Undo\n", "  undoo: Undo\n", 1),
            "left.undoo: is not a known field; allowed here: title, text, undo",
        ),
        ("Italian.yml", ENGLISH, "pages/Italian.yml: is not used; allowed here: a language, e.g. en.yml or pt-br.yml"),
        ("it.yaml", ENGLISH, "pages/it.yaml: is not used"),
    ],
)
def test_problems_are_found_before_a_customer_finds_them(name: str, text: str, expected: str, project: MakeProject) -> None:
    problems = [str(problem) for problem in check(project({f"pages/{name}": text})) if "pages/" in problem.file]
    assert any(expected in problem for problem in problems), problems


def test_only_known_placeholders_are_filled() -> None:
    assert filled("{brand} {days} {x}", brand="A {days}", days=3) == "A {days} 3 {x}"
