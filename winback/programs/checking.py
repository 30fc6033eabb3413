"""Loading everything in `programs/`: all problems at once, each with file, line, what was found and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import available_timezones

from winback.destinations.config import FILE_NAME
from winback.errors import BadConfig
from winback.programs.history import check_history
from winback.programs.page_texts import check_page_texts
from winback.programs.parsing import parse, parse_rest
from winback.programs.problems import Problem, found, near_miss, one_of
from winback.programs.schema import Brand, Program
from winback.programs.source import Source, read_text, read_yaml
from winback.programs.surroundings import BRAND_FILE, Surroundings, program_files, surroundings
from winback.programs.template_checks import check_messages, check_shared, collect_templates, unused_messages
from winback.programs.versions import Definition
from winback.settings import Settings

if TYPE_CHECKING:
    from winback.ledger import Ledger


@dataclass(frozen=True, slots=True)
class LoadedPrograms:
    """Everything marketing decides, valid. `warnings` keep nothing from running."""

    programs: dict[str, Program]
    brand: Brand
    definitions: dict[str, Definition]
    warnings: list[Problem]


def check(settings: Settings, ledger: Ledger | None = None) -> list[Problem]:
    """Every problem of `programs/`, errors and warnings, in order of file and line.

    With a ledger, also what its history forbids: deleting a program that has enrolled someone, or making a live one a draft.
    """
    return sorted({*_load(settings, ledger)[1], *_without_id(settings)})


def valid_programs(settings: Settings) -> list[Program]:
    """The programs whose files can be read as programs, whatever else is wrong with them."""
    around = surroundings(settings)
    found = (parse(Program, read_yaml(path, around.name(path))) for path in program_files(around.folder))
    return [program for program in found if program is not None]


def _without_id(settings: Settings) -> Iterable[Problem]:
    """Warnings, as the program may run: where its audience or list has no id, only that waits."""
    from winback.destinations.checking import gaps

    around = surroundings(settings)
    for path in program_files(around.folder):
        source = read_yaml(path, around.name(path))
        program = parse(Program, source)
        if program is None or program.status != "live":
            continue
        try:
            missing = gaps(settings, {program.name: program.platforms})
        except BadConfig as problem:
            yield from (Problem(FILE_NAME, 0, "", line, "warning") for line in str(problem).splitlines())
            return
        for gap in missing:
            key = "lists" if gap.platform in program.lists else "ad_audiences"
            yield Problem(source.file, source.line((key,)), key, f"found {found(gap.platform)}, and {gap.message}", "warning")


def load_programs(settings: Settings, ledger: Ledger | None = None) -> LoadedPrograms:
    """Read and check `programs/`.

    Raises
    ------
    BadConfig
        Lists all errors, one per line.
    """
    loaded, problems = _load(settings, ledger)
    if loaded is None:
        raise _bad(problems)
    return loaded


def brand_of(settings: Settings) -> Brand:
    """Read and check brand.yml alone: what sending needs. Programs and their messages come from the ledger then, and may be half edited.

    Raises
    ------
    BadConfig
        Lists all errors of brand.yml, one per line.
    """
    problems: list[Problem] = []
    around = surroundings(settings)
    brand = load_brand(around.folder / BRAND_FILE, around, problems)
    if brand is None:
        raise _bad(problems)
    return brand


def _bad(problems: list[Problem]) -> BadConfig:
    errors = [problem for problem in problems if problem.severity == "error"]
    return BadConfig(
        f"programs/ has {len(errors)} problem{'s' if len(errors) != 1 else ''}:\n" + "\n".join(f"  {problem}" for problem in errors)
    )


def _load(settings: Settings, ledger: Ledger | None) -> tuple[LoadedPrograms | None, list[Problem]]:
    around = surroundings(settings)
    problems: list[Problem] = []
    if not around.folder.is_dir():
        return None, [
            Problem(around.label, 0, "", f"the folder {around.folder} does not exist; it holds one YAML file per program and {BRAND_FILE}")
        ]
    brand = load_brand(around.folder / BRAND_FILE, around, problems)
    sources: dict[str, tuple[Source, Program]] = {}
    definitions: dict[str, Definition] = {}
    for path in program_files(around.folder):
        program, definition, source = load_program(path, around, brand)
        problems.extend(source.problems)
        if program is not None:
            sources[program.name] = (source, program)
            if definition is not None:
                definitions[program.name] = definition
    for name, (source, _) in sources.items():
        problems.extend(_cycle(name, source, {key: program for key, (_, program) in sources.items()}))
    programs = {name: program for name, (_, program) in sources.items()}
    problems.extend(check_shared(around, brand))
    problems.extend(check_page_texts(around))
    if len(programs) == len(around.programs):
        problems.extend(unused_messages(around, programs.values()))
    if ledger is not None:
        problems.extend(check_history(around, sources, ledger))
    problems = sorted(set(problems))
    if brand is None or any(problem.severity == "error" for problem in problems):
        return None, problems
    return LoadedPrograms(programs, brand, definitions, problems), problems


def load_program(path: Path, around: Surroundings, brand: Brand | None) -> tuple[Program | None, Definition | None, Source]:
    """One program's file with its messages; problems are in the returned source."""
    source = read_yaml(path, around.name(path))
    if path.suffix == ".yaml":
        source.problems.append(Problem(source.file, 0, "", f"found a file that ends in .yaml; rename it to {path.stem}.yml"))
    program = parse(Program, source)
    if program is None:
        rest, wrong = parse_rest(Program, source, {"name": path.stem, "audience": "x", "steps": [{"day": 0, "task": "x"}]})
        if rest is not None:
            found_before = len(source.problems)
            source.problems.extend(_check_program(path, rest, source, around))
            check_messages(rest, source, around, brand)
            later = [problem for problem in source.problems[found_before:] if re.split(r"[.\[]", problem.field)[0] not in wrong]
            source.problems[found_before:] = later
        return None, None, source
    source.problems.extend(_check_program(path, program, source, around))
    check_messages(program, source, around, brand)
    definition = Definition.of(program, collect_templates(program, around))
    return program, definition, source


def _check_program(path: Path, program: Program, source: Source, around: Surroundings) -> Iterable[Problem]:
    if program.name != path.stem:
        yield source.problem(
            ("name",),
            f"found {found(program.name)} in the file {path.name}; allowed: {path.stem}, or rename the file to {program.name}.yml",
        )
    if around.audiences is not None and program.audience not in around.audiences:
        yield source.problem(
            ("audience",),
            f"found {found(program.audience)}; allowed: {one_of(around.audiences)}{near_miss(program.audience, around.audiences)}",
        )
    lapse = program.lapse_days
    if lapse.at_least is not None and lapse.below is not None and lapse.at_least >= lapse.below:
        yield source.problem(("lapse_days",), f"found at_least {lapse.at_least} and below {lapse.below}: nobody can be in between")
    if program.every != "daily" and program.weekday is None:
        yield source.problem(
            ("cadence",), f"on is missing: a {program.every} program needs its day, e.g. {{every: {program.every}, on: monday}}"
        )
    if program.every == "daily" and program.weekday is not None:
        yield source.problem(("cadence", "on"), "found a day in a daily program; leave it out, or make it weekly")
    yield from _check_offer(program, source, around)
    yield from _check_steps(program, source, around)
    for name, values in (("exit_on", program.exit_on), ("ad_audiences", program.ad_audiences), ("lists", program.lists)):
        yield from _repeats((name,), values, source)
    then = program.on_complete.then
    if then is not None and then not in around.programs:
        others = [other for other in around.programs if other != program.name]
        yield source.problem(("on_complete", "then"), f"found {found(then)}; allowed: {one_of(others)}{near_miss(then, others)}")


def _check_offer(program: Program, source: Source, around: Surroundings) -> Iterable[Problem]:
    offer = program.offer
    if offer is None:
        return
    if (offer.code is None) == (offer.codes is None):
        yield source.problem(
            ("offer",), f"found {'neither code nor codes' if offer.code is None else 'code and codes'}; write one of the two"
        )
    if offer.codes is not None:
        path = around.folder / offer.codes
        if ".." in Path(offer.codes).parts or Path(offer.codes).is_absolute():
            yield source.problem(("offer", "codes"), f"found {found(offer.codes)}; allowed: a file inside programs/")
        elif not path.is_file():
            yield source.problem(("offer", "codes"), f"found {found(offer.codes)}, and there is no such file in {around.label}/")
        else:
            yield from _check_codes(path, around)


def _check_codes(path: Path, around: Surroundings) -> Iterable[Problem]:
    text, problems = read_text(path, around.name(path))
    yield from problems
    if problems:
        return
    seen: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        code = line.strip()
        if not code:
            continue
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", code):
            yield Problem(around.name(path), number, "", f"found {found(code)}; allowed: one code per line, letters, digits, - and _")
        elif code in seen:
            yield Problem(around.name(path), number, "", f"found {found(code)} again; the first is on line {seen[code]}")
        seen.setdefault(code, number)
    if not seen:
        yield Problem(around.name(path), 0, "", "is empty; one code per line is expected")


def _check_steps(program: Program, source: Source, around: Surroundings) -> Iterable[Problem]:
    previous = 0
    for position, step in enumerate(program.steps):
        place = ("steps", position)
        if (step.send is None) == (step.task is None):
            yield source.problem(place, f"found {'neither send nor task' if step.send is None else 'send and task'}; write one of the two")
        elif step.send is not None and step.channels is None:
            yield source.problem(place, "channels is missing: a message needs its channels in order of preference, e.g. [email, push, sms]")
        elif step.task is not None and step.channels is not None:
            yield source.problem((*place, "channels"), "found channels in a task; leave them out: a task goes to the CRM")
        if step.day < previous:
            yield source.problem(
                (*place, "day"), f"found {step.day} after a step on day {previous}; put the steps in the order of their days"
            )
        previous = max(previous, step.day)
        yield from _repeats((*place, "channels"), step.channels or [], source)
        for condition in ("only_if", "unless"):
            segment = getattr(step, condition)
            if segment is not None and around.segments is not None and segment not in around.segments:
                yield source.problem(
                    (*place, condition), f"found {found(segment)}; allowed: {one_of(around.segments)}{near_miss(segment, around.segments)}"
                )
        if step.only_if is not None and step.only_if == step.unless:
            yield source.problem((*place, "unless"), f"found {found(step.unless)} in only_if and unless: nobody would get this step")


def _repeats(place: tuple[str | int, ...], values: Iterable[str], source: Source) -> Iterable[Problem]:
    seen = set()
    for position, value in enumerate(values):
        if value in seen:
            yield source.problem((*place, position), f"found {found(value)} twice")
        seen.add(value)


def _cycle(name: str, source: Source, programs: Mapping[str, Program]) -> Iterable[Problem]:
    path = [name]
    while (following := programs[path[-1]].on_complete.then) in programs and following is not None:
        path.append(following)
        if following == name:
            yield source.problem(("on_complete", "then"), f"goes round in a circle: {' -> '.join(path)}")
            return
        if path.count(following) > 1:
            return


def load_brand(path: Path, around: Surroundings, problems: list[Problem]) -> Brand | None:
    """The brand, or None with the reasons added to `problems`."""
    if not path.exists():
        problems.append(Problem(around.name(path), 0, "", "is missing; it holds the shop's name, colours, sender and postal address"))
        return None
    source = read_yaml(path, around.name(path))
    brand = parse(Brand, source)
    if brand is not None:
        zones = available_timezones()
        if brand.sending.timezone not in zones:
            source.problems.append(
                source.problem(
                    ("sending", "timezone"),
                    f"found {found(brand.sending.timezone)}; allowed: IANA names such as Europe/Paris"
                    + near_miss(brand.sending.timezone, zones),
                )
            )
        quiet = brand.sending.quiet_hours
        if quiet.from_ == quiet.to:
            source.problems.append(
                source.problem(("sending", "quiet_hours"), f"found from {quiet.from_} to {quiet.to}: every hour would be quiet")
            )
        elif _is_quiet(brand.sending.local_hour, quiet.from_, quiet.to):
            source.problems.append(
                source.problem(
                    ("sending", "local_hour"),
                    f"found {brand.sending.local_hour}, inside the quiet hours from {quiet.from_} to {quiet.to}; choose an hour outside",
                )
            )
        readable = contrast(brand.colours.accent, brand.colours.accent_text)
        if readable < 4.5:
            place = ("colours", "accent_text")
            message = (
                f"{brand.colours.accent_text} on {brand.colours.accent} is hard to read (contrast {readable:.1f}; 4.5 or more is readable)"
            )
            source.problems.append(Problem(source.file, source.line(place), "colours.accent_text", message, "warning"))
    problems.extend(source.problems)
    return None if any(problem.severity == "error" for problem in source.problems) else brand


def _is_quiet(hour: int, start: int, end: int) -> bool:
    return start <= hour < end if start < end else hour >= start or hour < end


def contrast(first: str, second: str) -> float:
    """Contrast of two #rrggbb colours, 1 to 21 (WCAG 2.2, relative luminance)."""

    def luminance(colour: str) -> float:
        shares = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
        red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    lighter, darker = sorted((luminance(first), luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)
