"""Reading a YAML file into plain values while remembering the line of each.

A narrower YAML than PyYAML's: keys are always text (`on:` is the word "on", not true), only `true` and `false` are booleans, `22:00`
and dates are text, no anchors, no tags, no second document, no key twice. It is what editors with a YAML 1.2 schema understand, and
what people who do not know YAML expect.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from winback.programs.problems import Problem

Place = tuple[str | int, ...]

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_NUMBER = re.compile(r"[-+]?([0-9][0-9_]*\.[0-9]*|\.[0-9]+|[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+)")


@dataclass
class Source:
    """One file read: its values and, by path of keys, the line of each."""

    file: str
    data: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, place: Place) -> int:
        """The line of a value, or of the nearest thing around it that the file has."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def problem(self, place: Place, message: str) -> Problem:
        return Problem(self.file, self.line(place), field_name(place), message)


def field_name(place: Place) -> str:
    """`steps[2].send`: items of lists count from 1, as people do."""
    name = ""
    for part in place:
        name += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if name else part
    return name


def read_text(path: Path, file: str) -> tuple[str, list[Problem]]:
    """The text of a file, or the problem that kept it from being read."""
    try:
        content = path.read_bytes()
    except OSError as problem:
        return "", [Problem(file, 0, "", f"cannot be read: {problem.strerror}")]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content[: problem.start].count(b"\n") + 1
        return "", [
            Problem(
                file, line, "", f"found the byte 0x{content[problem.start]:02x}, which is not UTF-8; save the file with the encoding UTF-8"
            )
        ]
    return text.replace("\r\n", "\n"), []


def read_yaml(path: Path, file: str) -> Source:
    """Read one YAML file. Whatever cannot be understood is in `problems`; `data` is then None or what could be read."""
    source = Source(file)
    text, source.problems = read_text(path, file)
    if source.problems:
        return source
    for number, line in enumerate(text.splitlines(), start=1):
        if "\t" in line[: len(line) - len(line.lstrip())]:
            source.problems.append(Problem(file, number, "", "found a tab before the text; indent with spaces"))
    if source.problems:
        return source
    try:
        documents = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
        aliases = [token for token in yaml.scan(text, Loader=yaml.SafeLoader) if isinstance(token, yaml.AliasToken | yaml.AnchorToken)]
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        message = f"is not YAML: {problem.problem or problem.context}".replace("'<stream end>'", "the end of the file")
        if problem.problem == "mapping values are not allowed here":
            message += "; a text with a colon needs quotation marks around it"
        source.problems.append(Problem(file, mark.line + 1 if mark else 0, "", message))
        return source
    except yaml.YAMLError as problem:
        source.problems.append(Problem(file, 0, "", f"is not YAML: {str(problem).splitlines()[0]}"))
        return source
    if aliases:
        source.problems.append(
            Problem(
                file,
                aliases[0].start_mark.line + 1,
                "",
                "found an anchor or alias (& or *); write the value out, or put quotation marks around it",
            )
        )
        return source
    if not documents:
        source.problems.append(Problem(file, 0, "", "is empty"))
        return source
    if len(documents) > 1:
        source.problems.append(Problem(file, documents[1].start_mark.line + 1, "", 'found a second document ("---"); one file holds one'))
        return source
    source.data = _value(documents[0], (), source)
    return source


def _value(node: yaml.Node, place: Place, source: Source) -> Any:
    source.lines.setdefault(place, node.start_mark.line + 1)
    if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.startswith("tag:yaml.org,2002:python"):
        source.problems.append(source.problem(place, f"found the tag {node.tag.replace('tag:yaml.org,2002:', '!!')}; write a plain value"))
        return None
    if isinstance(node, yaml.MappingNode):
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                source.problems.append(Problem(source.file, line, field_name(place), "found a field name that is not a word"))
                continue
            key = key_node.value
            if key in values:
                first = source.lines[(*place, key)]
                source.problems.append(Problem(source.file, line, field_name((*place, key)), f"stands twice; the first is on line {first}"))
                continue
            source.lines[(*place, key)] = line
            values[key] = _value(value_node, (*place, key), source)
        return values
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*place, position), source) for position, item in enumerate(node.value)]
    return _scalar(node)


def _scalar(node: yaml.Node) -> Any:
    text = str(node.value)
    if getattr(node, "style", None) is not None:
        return text
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    return text
