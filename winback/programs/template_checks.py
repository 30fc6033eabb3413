"""Checking messages before anything is sent: every file there, every variable, filter and tag known, nothing empty shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from liquid import BoundTemplate
from liquid.exceptions import LiquidError, TemplateNotFoundError, UndefinedError, UnknownFilterError

from winback.programs import variables
from winback.programs.problems import Problem, near_miss, one_of
from winback.programs.schema import Brand, Program
from winback.programs.sms import sms_segments
from winback.programs.source import Source, read_text
from winback.programs.surroundings import Surroundings
from winback.programs.templates import (
    HEADERS,
    LAYOUT_FILE,
    MAIN_FILE,
    MESSAGE_FILE,
    NEEDED_HEADERS,
    SNIPPET_FILE,
    MessageSet,
    MessageText,
    message_folder,
    take_apart,
    visible_files,
)
from winback.programs.text_part import html_findings
from winback.programs.variables import LAYOUT_VARIABLES, VARIABLES, Links, Variable

_SAMPLE_BRAND = Brand.model_validate(
    {
        "name": "Sample",
        "shop_url": "https://shop.example.com",
        "sender": {"name": "Sample", "email": "hello@example.com"},
        "postal_address": "1 Sample Street",
        "unsubscribe": {"url": "https://shop.example.com/u", "mailto": "leave@example.com"},
    }
)
_SAMPLE_LINKS = Links("https://shop.example.com", "https://shop.example.com/u?m=0", "https://shop.example.com/p?m=0")
_REQUIRED_IN_LAYOUT = {
    "content": "the message itself",
    "brand.postal_address": "the law wants the sender's address in every email",
    "links.unsubscribe": "the law wants a way to leave in every email",
}
_LONGEST_SMS = 2
_LONGEST_SUBJECT = 70


def collect_templates(program: Program, around: Surroundings) -> dict[str, str]:
    """Everything that the program's messages are made of, by name: what a version stores. Unreadable files are left out."""
    texts: dict[str, str] = {}
    for path in visible_files(around.templates):
        if LAYOUT_FILE.fullmatch(path.name):
            texts[path.name] = read_text(path, "")[0]
    for path in visible_files(around.templates / "snippets"):
        if SNIPPET_FILE.fullmatch(path.name):
            texts[f"snippets/{path.name}"] = read_text(path, "")[0]
    for step in program.steps:
        content = step.send or step.task
        folder = message_folder(around.templates, program.name, content) if content else None
        for path in visible_files(folder) if folder else []:
            if MESSAGE_FILE.fullmatch(path.name):
                texts[f"{content}/{path.name}"] = read_text(path, "")[0]
    return texts


def _values(row: Mapping[str, Any], program: Program | None, brand: Brand, offer: variables.IssuedOffer | None) -> dict[str, Any]:
    return {
        "customer": variables.customer_values(row),
        "brand": variables.brand_values(brand),
        "offer": variables.offer_values(offer),
        "program": {"name": program.name if program else "sample"},
        "links": variables.link_values(_SAMPLE_LINKS),
        "language": brand.language,
    }


def _without_empty(values: dict[str, Any]) -> dict[str, Any]:
    """The sample of someone of whom we know nothing: what may be empty is not there."""
    customer = {key: value for key, value in values["customer"].items() if key == "extras" or not variables.is_optional(f"customer.{key}")}
    return {**values, "customer": customer}


@dataclass(frozen=True)
class _Checker:
    """Checks templates against one set of variables and samples."""

    texts: Mapping[str, str]
    files: Mapping[str, str]
    samples: Sequence[Mapping[str, Any]]
    known: Mapping[str, Variable]

    @cached_property
    def strict(self) -> MessageSet:
        return MessageSet(self.texts, strict=True)

    @cached_property
    def lenient(self) -> MessageSet:
        return MessageSet(self.texts)

    def check(self, template_text: str, file: str, first_line: int, label: str, *, html: bool, has_offer: bool) -> Iterator[Problem]:
        """Problems of one piece of Liquid that begins on `first_line` of `file`."""
        engine = self.strict.html if html else self.strict.plain
        try:
            template = engine.from_string(template_text)
            analysis = template.analyze()
        except LiquidError as failure:
            yield self._problem(failure, template_text, file, first_line, label, has_offer)
            return
        bad: list[Problem] = []
        for name, spans in analysis.filters.items():
            for span in spans:
                if name not in engine.filters:
                    message = f'the filter "{name}" does not exist{near_miss(name, engine.filters)}'
                    bad.append(self._at(span.template_name, span.index, template_text, file, first_line, label, message))
        for uses in analysis.globals.values():
            for use in uses:
                message = self._unknown(use.segments)
                if message:
                    bad.append(self._at(use.span.template_name, use.span.index, template_text, file, first_line, label, message))
        if bad:
            yield from sorted(set(bad))
            return
        plain = (self.lenient.html if html else self.lenient.plain).from_string(template_text)
        seen = set()
        for sample in self.samples:
            for candidate, values in ((template, sample), (template, _without_empty(dict(sample))), (plain, _nothing_known(sample))):
                problem = self._rendered(candidate, values, template_text, file, first_line, label, has_offer)
                if problem is not None and problem not in seen:
                    seen.add(problem)
                    yield problem

    def _rendered(
        self, template: BoundTemplate, values: Mapping[str, Any], text: str, file: str, first_line: int, label: str, has_offer: bool
    ) -> Problem | None:
        try:
            template.render(values)
        except LiquidError as failure:
            return self._problem(failure, text, file, first_line, label, has_offer)
        return None

    def _unknown(self, segments: Sequence[object]) -> str:
        if not all(isinstance(segment, str) for segment in segments):
            return "a variable with [ ] cannot be checked; write its name with dots"
        name = ".".join(str(segment) for segment in segments)
        if name in self.known or any(known.startswith(name + ".") for known in self.known) or variables.is_optional(name):
            return ""
        around = name.rpartition(".")[0]
        siblings = [known for known in self.known if known.startswith(around + ".")] if around else []
        guess = near_miss(name, self.known)
        hint = guess or (f"; allowed: {one_of(siblings)}" if siblings else f"; allowed: {one_of(self.known)}")
        return f'the variable "{name}" does not exist{hint}'

    def _problem(self, failure: LiquidError, text: str, file: str, first_line: int, label: str, has_offer: bool) -> Problem:
        token = failure.token
        source = token.source if token is not None else text
        index = max(token.start_index, 0) if token is not None else 0
        name = self._snippet_of(source, text)
        if isinstance(failure, TemplateNotFoundError):
            snippets = sorted({path.removeprefix("snippets/").rpartition(".")[0] for path in self.texts if path.startswith("snippets/")})
            missing = _quoted(str(failure.args[0])) if failure.args else ""
            message = f'the snippet "{missing}" does not exist; allowed: {one_of(snippets)}{near_miss(missing, snippets)}'
        elif isinstance(failure, UndefinedError):
            message = self._shown(_path_at(source, index), has_offer)
        elif isinstance(failure, UnknownFilterError):
            message = str(failure.message)
        else:
            message = f"is not Liquid: {failure.message}".replace("end of expression", "the end of the text")
            unknown_tag = re.search(r"unexpected tag '(\w+)'", str(failure.message))
            if unknown_tag:
                tags = self.strict.html.tags
                message = f'the tag "{unknown_tag[1]}" does not exist{near_miss(unknown_tag[1], tags)}'
        return self._at(name, index, text, file, first_line, label, message)

    def _shown(self, name: str, has_offer: bool) -> str:
        if name.startswith("offer"):
            if not has_offer:
                return f'"{name}" is used, and the program has no offer; add an offer to the program, or write {{% if offer %}} around it'
            return f'"{name}" is used, and the program\'s offer does not name it; add it to the offer, or leave it out'
        example = '"there"' if name.endswith("first_name") else '"..."'
        return f'"{name}" may be empty; write {{{{ {name} | default: {example} }}}}, or {{% if {name} %}} around it'

    def _snippet_of(self, source: str, text: str) -> str:
        if source == text:
            return ""
        for engine in (self.strict.html, self.strict.plain):
            for name, snippet in engine.loader.templates.items():  # type: ignore[attr-defined]
                if snippet == source:
                    return str(name)
        return ""

    def _at(self, snippet: str, index: int, text: str, file: str, first_line: int, label: str, message: str) -> Problem:
        for kind in ("html", "txt"):
            name = f"snippets/{snippet}.{kind}"
            if snippet and name in self.texts:
                return Problem(self.files[name], self.texts[name].count("\n", 0, index) + 1, "", message)
        return Problem(file, first_line + text.count("\n", 0, index), label, message)


def _nothing_known(sample: Mapping[str, Any]) -> dict[str, Any]:
    """The same person as rendering sees them: what is empty is nil."""
    customer = {
        key: ({} if key == "extras" else None if variables.is_optional(f"customer.{key}") else value)
        for key, value in sample["customer"].items()
    }
    return {**sample, "customer": customer}


def _path_at(source: str, index: int) -> str:
    match = re.match(r"[A-Za-z_][\w.-]*", source[index:])
    return match[0].rstrip(".-") if match else "a variable"


def _quoted(text: str) -> str:
    return text.strip().strip("'\"")


def _known(extra: Iterable[Variable] = ()) -> dict[str, Variable]:
    return {variable.name: variable for variable in (*VARIABLES, *extra)}


def _file_names(texts: Iterable[str], program: Program, around: Surroundings) -> dict[str, str]:
    names = {}
    for name in texts:
        folder, _, file = name.rpartition("/")
        if folder in ("", "snippets"):
            names[name] = around.name(around.templates / name)
        else:
            owner = message_folder(around.templates, program.name, folder)
            names[name] = around.name(owner / file) if owner else name
    return names


def check_messages(program: Program, source: Source, around: Surroundings, brand: Brand | None) -> None:
    """Add to `source.problems` what is wrong with the program's messages."""
    texts = collect_templates(program, around)
    row, offer = variables.sample_row(), variables.sample_offer(program.offer)
    checker = _Checker(texts, _file_names(texts, program, around), [_values(row, program, brand or _SAMPLE_BRAND, offer)], _known())
    done: set[str] = set()
    for position, step in enumerate(program.steps):
        content = step.send or step.task
        if content is None:
            continue
        folder = message_folder(around.templates, program.name, content)
        place = ("steps", position, "send" if step.send else "task")
        if folder is None:
            if step.task is not None:
                continue
            known = _messages(around, program.name)
            source.problems.append(
                source.problem(
                    place,
                    f'found "{content}", and there is no folder {around.label}/templates/{program.name}/{content}'
                    + near_miss(content, known),
                )
            )
            continue
        present = {path.name for path in visible_files(folder)}
        source.problems.extend(
            source.problem((*place[:2], "channels"), f"found {channel}, and there is no {around.name(folder)}/{MAIN_FILE[channel]}")
            for channel in step.channels or []
            if MAIN_FILE[channel] not in present
        )
        if content in done:
            continue
        done.add(content)
        for name in sorted(present):
            path = folder / name
            if not MESSAGE_FILE.fullmatch(name) or _main_or_text(name) is None:
                allowed = [*MAIN_FILE.values(), "email.txt"]
                message = f"is no file of a message; allowed: {one_of(allowed)}, and with a language such as email.de.html"
                message += near_miss(name, allowed)
                source.problems.append(Problem(around.name(path), 0, "", message))
                continue
            problems = read_text(path, around.name(path))[1]
            source.problems.extend(problems or _check_file(name, texts[f"{content}/{name}"], around.name(path), checker, program))


def _main_or_text(name: str) -> str | None:
    match = MESSAGE_FILE.fullmatch(name)
    if match is None:
        return None
    plain = f"{match['channel']}.{match['kind']}"
    return plain if plain in (*MAIN_FILE.values(), "email.txt") else None


def _messages(around: Surroundings, program: str) -> list[str]:
    folders = [around.templates / program, around.templates / "shared"]
    return sorted(path.name for folder in folders if folder.is_dir() for path in folder.iterdir() if path.is_dir())


def _check_file(name: str, text: str, file: str, checker: _Checker, program: Program) -> Iterator[Problem]:
    match = MESSAGE_FILE.fullmatch(name)
    if match is None:
        return
    channel, html = match["channel"], match["kind"] == "html"
    parts = take_apart(text)
    yield from (Problem(file, line, "", message) for line, message in parts.findings)
    if parts.findings:
        return
    yield from _check_headers(parts, file, channel, needed=name != _text_of_email(name))
    problems: list[Problem] = []
    for key, value in parts.headers.items():
        if key in HEADERS[channel]:
            problems.extend(checker.check(value, file, parts.lines[key], key, html=False, has_offer=program.offer is not None))
    problems.extend(checker.check(parts.body, file, parts.body_line, "", html=html, has_offer=program.offer is not None))
    yield from problems
    if not parts.body.strip():
        yield Problem(file, parts.body_line, "", "has no text")
    if html:
        yield from (Problem(file, parts.body_line + line - 1, "", message) for line, message in html_findings(parts.body))
    if not problems:
        yield from _advice(channel, match["language"] or "", file, parts, checker)


def _text_of_email(name: str) -> str:
    return name if name.startswith("email") and name.endswith(".txt") else ""


def _check_headers(parts: MessageText, file: str, channel: str, *, needed: bool) -> Iterator[Problem]:
    allowed = HEADERS[channel] if needed else ()
    for key in parts.headers:
        if key not in allowed:
            expected = one_of(allowed) if allowed else "none (they stand in email.html)" if channel == "email" else "none"
            yield Problem(file, parts.lines[key], key, f"is not a known field; allowed here: {expected}{near_miss(key, allowed)}")
    for key in NEEDED_HEADERS[channel] if needed else ():
        if not parts.headers.get(key):
            yield Problem(
                file, parts.lines.get(key, 1), key, f"is missing; begin the file with a line ---, a line {key}: ..., and a line ---"
            )


def _advice(channel: str, language: str, file: str, parts: MessageText, checker: _Checker) -> Iterator[Problem]:
    """Warnings about lengths, on a message as a customer would get it."""
    sample = checker.samples[0]
    engine = checker.lenient.plain
    if channel == "sms":
        text = engine.from_string(parts.body).render(sample).strip()
        count, foreign = sms_segments(text)
        if count > _LONGEST_SMS or (foreign and count > 1):
            because = f' ("{foreign}" makes each of them short: 70 characters instead of 160)' if foreign else ""
            yield Problem(file, parts.body_line, "", f"becomes {count} SMS of {len(text)} characters in all{because}", "warning")
    if channel == "email" and "subject" in parts.headers:
        subject = engine.from_string(parts.headers["subject"]).render({**sample, "language": language or sample["language"]})
        if len(subject) > _LONGEST_SUBJECT:
            yield Problem(file, parts.lines["subject"], "subject", f"is {len(subject)} characters long; phones show about 40", "warning")


def check_shared(around: Surroundings, brand: Brand | None) -> Iterator[Problem]:
    """Problems of the layouts and snippets, which every email goes through."""
    folder = around.templates
    texts: dict[str, str] = {}
    for path in [*visible_files(folder), *visible_files(folder / "snippets")]:
        name = path.relative_to(folder).as_posix()
        text, problems = read_text(path, around.name(path))
        yield from problems
        pattern = SNIPPET_FILE if name.startswith("snippets/") else LAYOUT_FILE
        if not pattern.fullmatch(path.name):
            yield Problem(
                around.name(path),
                0,
                "",
                "is not used; allowed here: "
                + ("names such as button.html" if pattern is SNIPPET_FILE else "layout.html, layout.txt, layout.de.html"),
            )
        elif not problems:
            texts[name] = text
    names = {name: around.name(folder / name) for name in texts}
    sample = _values(variables.sample_row(), None, brand or _SAMPLE_BRAND, None) | {"content": "", "subject": "Sample", "preheader": ""}
    checker = _Checker(texts, names, [sample], _known(LAYOUT_VARIABLES))
    for name, text in texts.items():
        if name.startswith("snippets/"):
            continue
        html = name.endswith(".html")
        yield from checker.check(text, names[name], 1, "", html=html, has_offer=False)
        used = set(re.findall(r"[a-z_]+(?:\.[a-z_]+)*", " ".join(re.findall(r"\{\{.*?\}\}|\{%.*?%\}", text, re.DOTALL))))
        for needed, why in _REQUIRED_IN_LAYOUT.items():
            if needed not in used:
                yield Problem(names[name], 0, "", f"{{{{ {needed} }}}} is missing: {why}")
        if html:
            yield from (Problem(names[name], line, "", message) for line, message in html_findings(text))
    for needed_file in ("layout.html", "layout.txt"):
        if needed_file not in texts and not (folder / needed_file).exists():
            yield Problem(
                around.name(folder / needed_file),
                0,
                "",
                "is missing; it goes around every email, with the postal address and the unsubscribe link",
            )


def unused_messages(around: Surroundings, programs: Iterable[Program]) -> Iterator[Problem]:
    """A warning for each folder of a message that no step sends: most often a name spelt differently."""
    used = set()
    for program in programs:
        for step in program.steps:
            content = step.send or step.task
            if content:
                used.add(message_folder(around.templates, program.name, content))
    if not around.templates.is_dir():
        return
    for owner in sorted(path for path in around.templates.iterdir() if path.is_dir() and path.name != "snippets"):
        for folder in sorted(path for path in owner.iterdir() if path.is_dir()):
            if folder not in used:
                yield Problem(around.name(folder), 0, "", "is a message that no program sends", "warning")
