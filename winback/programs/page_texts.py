"""The words of the pages behind the links in messages: one file a language, `programs/pages/<language>.yml`.

A project's own file goes before the one that ships with Winback, so that a shop can change the words and add languages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from winback.errors import BadConfig
from winback.programs.parsing import parse
from winback.programs.problems import Problem, near_miss, one_of
from winback.programs.schema import Part
from winback.programs.source import read_yaml
from winback.programs.surroundings import Surroundings
from winback.settings import PROJECT_ROOT

FOLDER = "pages"
SHIPPED = PROJECT_ROOT / "programs" / FOLDER
LANGUAGE_FILE = re.compile(r"(?P<language>[a-z]{2,3}(-[a-z0-9]{2,8})*)\.yml")
PLACEHOLDERS = ("brand", "no_more", "messages", "days")

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")

Text = Annotated[str, Field(min_length=1, max_length=500)]


class Channels(Part):
    """One text for each channel."""

    email: Text = Field(description="For email")
    sms: Text = Field(description="For text messages")
    push: Text = Field(description="For notifications of an app")


class Leaving(Part):
    """The page behind the unsubscribe link, before it is confirmed."""

    title: Text = Field(description="The question")
    text: Text = Field(description="What the button does: {brand}, {no_more}")
    button: Text = Field(description="The button")
    instead: Text = Field(description="Link to the page of choices")


class Left(Part):
    """After unsubscribing."""

    title: Text = Field(description="What happened")
    text: Text = Field(description="What that means: {brand}, {no_more}")
    undo: Text = Field(description="The button that takes it back")


class Returned(Part):
    """After taking an unsubscription back."""

    title: Text = Field(description="What happened")
    text: Text = Field(description="What that means: {brand}")


class Choosing(Part):
    """The page of choices."""

    title: Text = Field(description="The heading")
    intro: Text = Field(description="One line below it: {brand}")
    channels: Text = Field(description="Heading of the channels")
    silenced: Text = Field(description="Beside a channel that stays off, since the address does not work or messages were reported as spam")
    frequency: Text = Field(description="Heading of how often emails come")
    usual: Text = Field(description="No limit")
    weekly: Text = Field(description="At most one a week")
    monthly: Text = Field(description="At most one a month")
    limited: Text = Field(description="Another limit: {messages}, {days}")
    save: Text = Field(description="The button")
    stay_or_go: Text = Field(description="Heading of the two quick answers")
    stay: Text = Field(description="The button that keeps everything as it is")
    go: Text = Field(description="The button that ends everything")


class Saved(Part):
    """After saving choices."""

    title: Text = Field(description="What happened")
    text: Text = Field(description="Before the list of what the customer now gets: {brand}")
    nothing: Text = Field(description="Where the customer now gets nothing: {brand}")
    undo: Text = Field(description="The button that takes it back")
    again: Text = Field(description="Link to the page of choices")


class Stayed(Part):
    """After the button to stay."""

    title: Text = Field(description="What happened")
    text: Text = Field(description="What that means: {brand}")


class Problems(Part):
    """Where a link does not work."""

    title: Text = Field(description="The heading")
    text: Text = Field(description="What may be wrong with the link, and what to do")
    write: Text = Field(description="Before the address to write to instead: {brand}")
    busy_title: Text = Field(description="The heading where nothing could be saved just now")
    busy_text: Text = Field(description="That the same button works in a minute")


class PageTexts(Part):
    """The words of the pages behind the links in messages, in one language. {brand} is the shop's name."""

    language_name: Text = Field(description="The language in itself, e.g. Deutsch")
    channels: Channels = Field(description="What the channels are called")
    no_more: Channels = Field(description='Put in for {no_more} in "The shop will send you ...", e.g. no more emails')
    leaving: Leaving = Field(description="The page behind the unsubscribe link")
    left: Left = Field(description="After unsubscribing")
    returned: Returned = Field(description="After taking it back")
    choosing: Choosing = Field(description="The page of choices")
    saved: Saved = Field(description="After saving choices")
    stayed: Stayed = Field(description="After the button to stay")
    problem: Problems = Field(description="Where a link does not work")
    to_shop: Text = Field(description="Link to the shop: {brand}")


def load_page_texts(programs: Path) -> dict[str, PageTexts]:
    """The words of every language that there is a file for, by language; `programs` is the project's folder of that name.

    Raises
    ------
    BadConfig
        Lists all errors of the files, one per line.
    """
    found: dict[str, PageTexts] = {}
    problems: list[Problem] = []
    for folder in (SHIPPED, programs / FOLDER):
        for path in _files(folder):
            texts, wrong = _read(path, f"{programs.name}/{FOLDER}/{path.name}")
            problems.extend(wrong)
            if texts is not None:
                found[path.stem] = texts
    if problems:
        raise BadConfig("\n".join(str(problem) for problem in sorted(set(problems))))
    return found


def check_page_texts(around: Surroundings) -> Iterator[Problem]:
    """Problems of the project's own files."""
    folder = around.folder / FOLDER
    for path in _files(folder):
        if not LANGUAGE_FILE.fullmatch(path.name):
            yield Problem(around.name(path), 0, "", "is not used; allowed here: a language, e.g. en.yml or pt-br.yml")
        else:
            yield from _read(path, around.name(path))[1]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.y*ml") if not path.name.startswith(".")) if folder.is_dir() else []


def _read(path: Path, name: str) -> tuple[PageTexts | None, list[Problem]]:
    source = read_yaml(path, name)
    texts = parse(PageTexts, source)
    if texts is not None:
        for place, text in _texts(texts):
            for placeholder in _PLACEHOLDER.findall(text):
                if placeholder not in PLACEHOLDERS:
                    allowed = [f"{{{one}}}" for one in PLACEHOLDERS]
                    source.problems.append(
                        source.problem(
                            place, f"found {{{placeholder}}}; allowed: {one_of(allowed)}{near_miss(f'{{{placeholder}}}', allowed)}"
                        )
                    )
    return (None if source.problems else texts), source.problems


def _texts(part: BaseModel, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    for name in type(part).model_fields:
        value: Any = getattr(part, name)
        if isinstance(value, BaseModel):
            yield from _texts(value, (*place, name))
        else:
            yield (*place, name), value


def filled(text: str, **values: object) -> str:
    """A text with its placeholders replaced."""
    return _PLACEHOLDER.sub(lambda match: str(values.get(match[1], match[0])), text)
