"""The examples specify the program file: valid ones load, invalid ones end with the messages that they must cause."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs.conftest import EXAMPLES, MakeProject
from winback.errors import BadConfig
from winback.programs import check, load_programs

VALID = sorted((EXAMPLES / "valid").glob("*.yml"))
INVALID = sorted((EXAMPLES / "invalid").glob("*.yml"))
MARK = b"# expected: "


def _problems(project: MakeProject, name: str, content: str | bytes) -> list[str]:
    problems = check(project({name: content}))
    return [str(problem).removeprefix("programs/") for problem in problems if problem.severity == "error"]


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_valid_example(path: Path, project: MakeProject) -> None:
    settings = project({path.name: path.read_bytes()})
    assert [str(problem) for problem in check(settings) if problem.severity == "error"] == []
    assert list(load_programs(settings).programs) == [path.stem]


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_invalid_example(path: Path, project: MakeProject) -> None:
    content = path.read_bytes()
    expected = [line.removeprefix(MARK).decode() for line in content.splitlines() if line.startswith(MARK)]
    assert expected, "an invalid example ends with lines '# expected: file:line: message'"
    assert _problems(project, path.name, content) == expected


def test_an_empty_file(project: MakeProject) -> None:
    assert _problems(project, "nothing.yml", "") == ["nothing.yml: is empty"]


def test_the_ending_yaml(project: MakeProject) -> None:
    content = (EXAMPLES / "valid" / "smallest.yml").read_text()
    assert _problems(project, "smallest.yaml", content) == ["smallest.yaml: found a file that ends in .yaml; rename it to smallest.yml"]


def test_a_circle_of_three(project: MakeProject) -> None:
    def program(name: str, then: str) -> str:
        return f"name: {name}\naudience: lapsed\nsteps:\n  - {{day: 0, send: hello, channels: [email]}}\non_complete: {{then: {then}}}\n"

    settings = project({"a.yml": program("a", "b"), "b.yml": program("b", "c"), "c.yml": program("c", "a"), "d.yml": program("d", "a")})
    assert [str(problem).removeprefix("programs/") for problem in check(settings) if problem.severity == "error"] == [
        "a.yml:5: on_complete.then: goes round in a circle: a -> b -> c -> a",
        "b.yml:5: on_complete.then: goes round in a circle: b -> c -> a -> b",
        "c.yml:5: on_complete.then: goes round in a circle: c -> a -> b -> c",
    ]


def test_problems_of_all_files_come_at_once(project: MakeProject) -> None:
    names = ("unknown_field.yml", "wrong_status.yml", "tab.yml")
    settings = project({name: (EXAMPLES / "invalid" / name).read_bytes() for name in names})
    with pytest.raises(BadConfig) as raised:
        load_programs(settings)
    message = str(raised.value)
    assert message.startswith("programs/ has 3 problems:\n")
    assert all(f"programs/{name}:" in message for name in names)


def test_segments_are_read_from_their_one_file(project: MakeProject) -> None:
    from winback.programs.surroundings import segment_names

    assert segment_names(project().dbt_project) == ["customer", "high_value"]


def test_without_models_nothing_is_known_to_be_wrong(project: MakeProject) -> None:
    settings = project({"p.yml": "name: p\naudience: anything\nsteps:\n  - {day: 0, send: hello, channels: [email], only_if: whoever}\n"})
    (settings.dbt_project / "models").rename(settings.project / "away")
    assert [problem for problem in check(settings) if problem.severity == "error"] == []
