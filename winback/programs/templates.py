"""Messages: the files of `programs/templates/`, compiled and rendered with Liquid.

`templates/<program>/<message>/` (or `templates/shared/<message>/`) holds `email.html`, `sms.txt`, `push.txt`, `task.txt`, each also as
`email.de.html` for a language. `layout.html` and `layout.txt` go around every email; `snippets/` holds what messages share.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from liquid import BoundTemplate, CachingDictLoader, Environment, Undefined
from liquid.exceptions import FilterArgumentError, UndefinedError
from liquid.filter import with_context
from liquid.undefined import is_undefined

from winback.programs.text_part import html_to_text, tidy
from winback.programs.variables import one_line

MESSAGE_FILE = re.compile(r"(?P<channel>email|sms|push|task)(\.(?P<language>[a-z]{2,3}(-[a-z0-9]{2,8})*))?\.(?P<kind>html|txt)")
LAYOUT_FILE = re.compile(r"layout(\.(?P<language>[a-z]{2,3}(-[a-z0-9]{2,8})*))?\.(?P<kind>html|txt)")
SNIPPET_FILE = re.compile(r"(?P<name>[a-z][a-z0-9_]*)\.(?P<kind>html|txt)")

HEADERS = {"email": ("subject", "preheader"), "push": ("title",), "sms": (), "task": ("title",)}
"""Fields at the top of a message's file, between two lines of `---`."""
NEEDED_HEADERS = {"email": ("subject",), "push": ("title",), "sms": (), "task": ()}
MAIN_FILE = {"email": "email.html", "sms": "sms.txt", "push": "push.txt", "task": "task.txt"}


@dataclass(frozen=True, slots=True)
class Rendered:
    """One message as one customer gets it. `title` is for push and tasks; `language` is that of the text, not of the customer."""

    subject: str = ""
    preheader: str = ""
    text: str = ""
    html: str = ""
    title: str = ""
    language: str = ""


@dataclass(slots=True)
class MessageText:
    """A message's file, taken apart: fields at the top (with their lines) and the rest, which begins on line `body_line`."""

    headers: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    body: str = ""
    body_line: int = 1
    findings: list[tuple[int, str]] = field(default_factory=list)


def take_apart(text: str) -> MessageText:
    """Read the fields between two lines of `---` at the top of a file; values are Liquid, not YAML."""
    message = MessageText()
    lines = text.split("\n")
    if not lines or lines[0].strip() != "---":
        message.body = text
        return message
    for number, line in enumerate(lines[1:], start=2):
        if line.strip() == "---":
            message.body = "\n".join(lines[number:])
            message.body_line = number + 1
            return message
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, value = line.partition(":")
        if not colon or not re.fullmatch(r"[a-z_]+", name.strip()):
            message.findings.append(
                (number, f'found "{line.strip()[:60]}"; a line such as "subject: ..." is expected, or --- to end the fields')
            )
            continue
        if name.strip() in message.headers:
            message.findings.append((number, f"{name.strip()} stands twice"))
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" and value[0] not in value[1:-1]:
            value = value[1:-1]
        message.headers[name.strip()] = value
        message.lines[name.strip()] = number
    message.findings.append((1, 'found "---" that opens the fields and none that closes them'))
    return message


@with_context
def _date(value: object, style: object = "long", *, context: Any) -> str:
    """A date in the message's language (`short`, `medium`, `long`, `full`), or by a pattern such as "%d.%m."."""
    if is_undefined(value) or value is None:
        return str(value) if is_undefined(value) else ""
    if not isinstance(value, date):
        raise FilterArgumentError(f"date expects a date, found {_quoted(value)}", token=None)
    if isinstance(style, str) and "%" in style:
        return value.strftime(str(style))
    if style not in ("short", "medium", "long", "full"):
        raise FilterArgumentError(f'date knows short, medium, long, full and patterns such as "%d.%m.", found {_quoted(style)}', token=None)
    return _spelt_out(value.date() if isinstance(value, datetime) else value, str(style), _locale(str(context.resolve("language"))))


def _quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


@lru_cache(maxsize=4096)
def _spelt_out(day: date, style: str, locale: str) -> str:
    from babel.dates import format_date

    return format_date(day, style, locale=locale)


@with_context
def _money(value: object, *, context: Any) -> str:
    """An amount in the brand's currency, as the message's language writes it."""
    if is_undefined(value) or value is None:
        return str(value) if is_undefined(value) else ""
    from babel.numbers import format_currency

    if not isinstance(value, int | float):
        raise FilterArgumentError(f"money expects a number, found {_quoted(value)}", token=None)
    return format_currency(value, str(context.resolve("brand")["currency"]), locale=_locale(str(context.resolve("language"))))


@lru_cache(maxsize=256)
def _locale(language: str) -> str:
    from babel import Locale, UnknownLocaleError

    # "en" alone means American dates and a month first; a mail for the whole world puts the day first.
    if language == "en":
        return "en_GB"
    try:
        return str(Locale.parse(language.replace("-", "_")))
    except (UnknownLocaleError, ValueError):
        return "en_GB"


class MustNotShow(Undefined):
    """What an empty or unknown variable is while a template is checked: it may be asked for, and defaulted, but not shown."""

    force_liquid_default = True

    def __str__(self) -> str:
        raise UndefinedError("is shown although it may be empty", token=self.token)

    def __bool__(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return other is None or other is False or isinstance(other, Undefined)

    def __hash__(self) -> int:
        return hash(self.name)


def environment(snippets: Mapping[str, str], *, html: bool, strict: bool) -> Environment:
    """Liquid with our filters. `strict` is for checks: showing what may be empty is an error."""
    liquid = Environment(
        loader=CachingDictLoader(dict(snippets)), autoescape=html, undefined=MustNotShow if strict else Undefined, strict_filters=True
    )
    liquid.add_filter("date", _date)
    liquid.add_filter("money", _money)
    return liquid


@dataclass(frozen=True, slots=True)
class _Message:
    """One message in one channel and language, compiled."""

    language: str
    headers: Mapping[str, BoundTemplate]
    text: BoundTemplate
    html: BoundTemplate | None = None
    html_layout: BoundTemplate | None = None
    text_layout: BoundTemplate | None = None


class MessageSet:
    """The templates of one version of a program, compiled on first use and then shared.

    `texts` maps names (`layout.html`, `snippets/button.html`, `offer/email.html`) to what the files hold. `constants` (by name, such
    as `brand.name`) are written into them at once: a layout shows a dozen colours, and looking each up per message takes half the time.
    """

    def __init__(self, texts: Mapping[str, str], *, constants: Mapping[str, str] | None = None, strict: bool = False) -> None:
        if constants:
            texts = {name: _with_constants(text, constants, html=name.endswith(".html")) for name, text in texts.items()}
        self.texts = texts
        html_snippets: dict[str, str] = {}
        text_snippets: dict[str, str] = {}
        for name, text in texts.items():
            match = SNIPPET_FILE.fullmatch(name.removeprefix("snippets/")) if name.startswith("snippets/") else None
            if match and match["kind"] == "html":
                html_snippets[match["name"]] = text
                text_snippets.setdefault(match["name"], html_to_text(text))
            elif match:
                text_snippets[match["name"]] = text
                html_snippets.setdefault(match["name"], text)
        self.html = environment(html_snippets, html=True, strict=strict)
        self.plain = environment(text_snippets, html=False, strict=strict)
        self._compiled: dict[tuple[str, str, str], _Message] = {}

    def languages(self, content: str, channel: str) -> list[str]:
        """Languages that a message is written in; an empty string is the brand's."""
        found = set()
        for name in self.texts:
            folder, _, file = name.rpartition("/")
            match = MESSAGE_FILE.fullmatch(file)
            if folder == content and match and match["channel"] == channel:
                found.add(match["language"] or "")
        return sorted(found)

    def _file(self, stem: str, language: str, kind: str) -> str | None:
        for variant in variants(language):
            name = f"{stem}{'.' + variant if variant else ''}.{kind}"
            if name in self.texts:
                return name
        return None

    def message(self, content: str, channel: str, language: str) -> _Message | None:
        """The message in the language nearest to the one asked for, or None where there is none."""
        key = (content, channel, language)
        if key not in self._compiled:
            compiled = self._compile(content, channel, language)
            if compiled is None:
                return None
            self._compiled[key] = compiled
        return self._compiled[key]

    def _compile(self, content: str, channel: str, language: str) -> _Message | None:
        name = self._file(f"{content}/{channel}", language, MAIN_FILE[channel].rpartition(".")[2])
        if name is None:
            return None
        match = MESSAGE_FILE.fullmatch(name.rpartition("/")[2])
        own = (match["language"] if match else None) or ""
        parts = take_apart(self.texts[name])
        headers = {key: self.plain.from_string(value) for key, value in parts.headers.items()}
        if channel != "email":
            return _Message(own, headers, self.plain.from_string(parts.body))
        text_name = f"{content}/email{'.' + own if own else ''}.txt"
        plain = take_apart(self.texts[text_name]).body if text_name in self.texts else html_to_text(parts.body)
        html_layout, text_layout = self._file("layout", own, "html"), self._file("layout", own, "txt")
        return _Message(
            own,
            headers,
            self.plain.from_string(plain),
            self.html.from_string(parts.body),
            self.html.from_string(self.texts[html_layout]) if html_layout else None,
            self.plain.from_string(self.texts[text_layout]) if text_layout else None,
        )

    def render(self, content: str, channel: str, language: str, brand_language: str, values: Mapping[str, Any]) -> Rendered | None:
        """Render a message; None where there is no such message."""
        message = self.message(content, channel, language)
        if message is None:
            return None
        context = {**values, "language": message.language or brand_language}
        headers = {key: one_line(template.render(context)) for key, template in message.headers.items()}
        text = tidy(message.text.render(context))
        if channel != "email":
            return Rendered(text=text, title=headers.get("title", ""), language=context["language"])
        context |= {"subject": headers.get("subject", ""), "preheader": headers.get("preheader", "")}
        html = message.html.render(context) if message.html else ""
        if message.html_layout:
            html = message.html_layout.render({**context, "content": _safe(html)})
        if message.text_layout:
            text = tidy(message.text_layout.render({**context, "content": text}))
        return Rendered(context["subject"], context["preheader"], text, html, "", context["language"])


_PLAIN_OUTPUT = re.compile(r"\{\{ *([a-z_]+(?:\.[a-z_]+)+) *\}\}")


def _with_constants(text: str, constants: Mapping[str, str], *, html: bool) -> str:
    fields, fence, body = ("", "", text)
    if html and text.startswith("---\n"):
        # The fields at the top are plain text even in an HTML file.
        fields, fence, body = text.partition("\n---\n")
        fields = _PLAIN_OUTPUT.sub(lambda match: constants.get(match[1], match[0]), fields)

    def constant(match: re.Match[str]) -> str:
        value = constants.get(match[1])
        return match[0] if value is None else _escaped(value) if html else value

    return fields + fence + _PLAIN_OUTPUT.sub(constant, body)


def _escaped(text: str) -> str:
    from markupsafe import escape

    return str(escape(text))


def _safe(html: str) -> str:
    from markupsafe import Markup

    # Already escaped where it was rendered: escaping it again would show tags as text.
    return Markup(html)  # noqa: S704


def variants(language: str) -> Iterator[str]:
    """`de-at`, `de`, and the brand's (empty): from near to far."""
    parts = language.lower().replace("_", "-").split("-") if language else []
    while parts:
        yield "-".join(parts)
        parts.pop()
    yield ""


def message_folder(templates: Path, program: str, content: str) -> Path | None:
    """Where a program's message lives: its own folder first, then `shared`."""
    for owner in (program, "shared"):
        if (templates / owner / content).is_dir():
            return templates / owner / content
    return None


def visible_files(folder: Path) -> list[Path]:
    """Files of a folder without those that editors and systems leave behind."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".") and not path.name.endswith("~"))
