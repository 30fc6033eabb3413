"""A mapping: a small YAML file that says which files hold which of our tables, and what their columns are called."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from winback.errors import BadConfig
from winback.landing.contract import TABLES
from winback.programs.problems import found, near_miss, one_of
from winback.programs.source import Source, field_name, read_yaml
from winback.settings import PROJECT_ROOT, Settings, is_path_of_mapping

FORMATS = ("csv", "tsv", "txt", "parquet", "json", "jsonl", "ndjson")


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | dict) else value


def _known_timezone(value: str) -> str:
    from zoneinfo import available_timezones

    if value not in available_timezones():
        raise ValueError(f'found "{value}"; allowed is a name of the IANA time zone database, such as UTC or Europe/London')
    return value


Names = Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)]
Timezone = Annotated[str, AfterValidator(_known_timezone)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class ColumnRule(_Closed):
    """Where a value comes from: the first of several source columns that the file has, a constant, or a DuckDB SQL expression."""

    from_: Names | None = Field(None, alias="from", description="Source columns; the first that the file has is taken")
    value: str | int | float | bool | None = Field(None, description="The same value for every row")
    sql: str | None = Field(None, description='A DuckDB SQL expression over the source columns, "quoted" as the file spells them')
    values: dict[str, str] | None = Field(None, description="Source word (any case): our word")
    otherwise: str | None = Field(None, description="Our word for every source word that `values` does not name")
    format: Names | None = Field(None, description="strptime patterns of a timestamp, or epoch_seconds, epoch_milliseconds")
    timezone: Timezone | None = Field(None, description="Zone of timestamps that name none")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"from": value} if isinstance(value, str | list) else value

    @model_validator(mode="after")
    def _one_origin(self) -> ColumnRule:
        given = [name for name, present in (("from", self.from_), ("value", self.value), ("sql", self.sql)) if present is not None]
        if len(given) != 1:
            raise ValueError(f"found {' and '.join(given) or 'none of them'}; allowed is exactly one of from, value, sql")
        return self


class TextFormat(_Closed):
    """How CSV files are written, where looking at them does not tell."""

    delimiter: Literal["auto", ",", ";", "\t", "|"] = "auto"
    encoding: Literal["utf-8", "latin-1", "windows-1252", "utf-16"] = "utf-8"
    decimal: Literal[".", ","] = "."


class TableSource(_Closed):
    """One kind of file that holds rows of one table."""

    files: Names = Field(description="Patterns of file names, or of paths below the data folder")
    columns: dict[str, ColumnRule] = Field(default_factory=dict, description="Our column: where it comes from")
    where: str | None = Field(None, description="DuckDB SQL: rows for which it does not hold are left out, without a word")
    absent_as_null: list[str] = Field(default_factory=list, description="Source columns that are named here and that some files lack")
    csv: TextFormat | None = None
    timezone: Timezone | None = None

    def matches(self, file: str) -> bool:
        """Whether a path below the data folder is one of these files."""
        path = file.lower().removesuffix(".gz")
        stem, _, extension = path.rpartition(".")
        if extension not in FORMATS:
            return False
        name = path.rpartition("/")[2]
        for pattern in self.files:
            plain = pattern.lower()
            if any(fnmatch.fnmatchcase(text, plain) for text in (path, name, stem, stem.rpartition("/")[2], file.lower())):
                return True
        return False


class Mapping(_Closed):
    """A whole mapping file."""

    description: str = ""
    extends: str | None = Field(None, description="Name of a mapping whose tables hold where this one says nothing")
    notice: Annotated[list[str], BeforeValidator(_as_list)] = Field(default_factory=list, description="Shown wherever figures are shown")
    timezone: Timezone = "UTC"
    csv: TextFormat = TextFormat()
    tables: dict[str, Annotated[list[TableSource], BeforeValidator(_as_list), Field(min_length=1)]] = Field(default_factory=dict)

    def sources(self, file: str) -> dict[str, list[TableSource]]:
        """Tables that a file holds rows of."""
        matched = {table: [source for source in sources if source.matches(file)] for table, sources in self.tables.items()}
        return {table: matched[table] for table in TABLES if matched.get(table)}

    def content_hash(self) -> str:
        """Changes when what would be landed may change."""
        text = json.dumps(self.model_dump(mode="json", exclude={"description", "notice", "extends"}), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_mapping(settings: Settings, name: str | None = None) -> Mapping:
    """Read a mapping by its name in `sources/`, or by its path.

    Raises
    ------
    BadConfig
        Names file, line, field, what was found and what is allowed, for everything that is wrong at once.
    """
    return _load(settings, name or settings.mapping, ())


def _load(settings: Settings, name: str, children: tuple[str, ...]) -> Mapping:
    path = PROJECT_ROOT / name if is_path_of_mapping(name) else settings.sources_dir / f"{name}.yml"
    if not path.exists():
        shipped = sorted(file.stem for file in settings.sources_dir.glob("*.yml"))
        raise BadConfig(f"mapping: found {name}; allowed are {', '.join(shipped)}, or the path of a .yml file{near_miss(name, shipped)}")
    try:
        shown = str(path.resolve().relative_to(settings.project.resolve()))
    except ValueError:
        shown = str(path)
    source = read_yaml(path, shown)
    problems = [str(problem) for problem in source.problems]
    if not problems and not isinstance(source.data, dict):
        problems = [f"{shown}: found {found(source.data)}; a mapping has the fields {', '.join(Mapping.model_fields)}"]
    if problems:
        raise BadConfig("\n".join(problems))
    problems = _unknown_names(source)
    try:
        mapping = Mapping.model_validate(source.data)
    except ValidationError as error:
        raise BadConfig("\n".join([*(_explained(source, problem) for problem in error.errors()), *problems])) from None
    if problems:
        raise BadConfig("\n".join(problems))
    if mapping.extends:
        if mapping.extends in children or mapping.extends == path.stem:
            raise BadConfig(f"{shown}:{source.line(('extends',))}: extends: found {mapping.extends}, which extends this file in turn")
        parent = _load(settings, mapping.extends, (*children, path.stem))
        merged = {field: getattr(mapping, field) for field in mapping.model_fields_set} | {"tables": parent.tables | mapping.tables}
        mapping = parent.model_copy(update=merged)
    return mapping


def _unknown_names(source: Source) -> list[str]:
    """Tables and columns that the contract does not know: a schema of open dictionaries cannot say so."""
    problems = []
    tables = source.data.get("tables")
    for table, sources in tables.items() if isinstance(tables, dict) else ():
        if table not in TABLES:
            problems.append(
                str(
                    source.problem(
                        ("tables", table), f"{found(table)} is not a known table; allowed: {one_of(TABLES)}{near_miss(table, TABLES)}"
                    )
                )
            )
            continue
        for position, one in enumerate(sources if isinstance(sources, list) else [sources]):
            columns = one.get("columns") if isinstance(one, dict) else None
            for column in columns if isinstance(columns, dict) else ():
                if column not in TABLES[table].by_name:
                    place = ("tables", table, *((position,) if isinstance(sources, list) else ()), "columns", column)
                    allowed = TABLES[table].by_name
                    problems.append(
                        str(
                            source.problem(
                                place, f"{found(column)} is not a known column; allowed: {one_of(allowed)}{near_miss(column, allowed)}"
                            )
                        )
                    )
    return problems


def _explained(source: Source, error: Any) -> str:
    place: tuple[str | int, ...] = tuple(part for part in error["loc"] if part != "tagged-union")
    # A single source may stand without its list: pydantic counts it as item 0 of one.
    while place and place not in source.lines and any(isinstance(part, int) for part in place):
        for position, part in enumerate(place):
            if isinstance(part, int) and place[:position] in source.lines and (*place[:position], part) not in source.lines:
                place = place[:position] + place[position + 1 :]
                break
        else:
            break
    kind, value = error["type"], found(error["input"])
    if kind == "extra_forbidden":
        model: type[BaseModel] = Mapping
        if len(place) >= 3 and place[0] == "tables":
            model = ColumnRule if "columns" in place[:-1] else TextFormat if "csv" in place[:-1] else TableSource
        elif place[0] == "csv":
            model = TextFormat
        names = [details.alias or name for name, details in model.model_fields.items()]
        message = f"{found(place[-1])} is not a known field; allowed: {', '.join(names)}{near_miss(place[-1], names)}"
    elif kind == "missing":
        message = "found nothing; it is needed"
    elif kind == "value_error":
        message = re.sub("^Value error, ", "", error["msg"])
    elif kind == "literal_error":
        message = f"found {value}; allowed are {error['ctx']['expected']}"
    else:
        message = f"found {value}; {error['msg'][0].lower()}{error['msg'][1:]}"
    return f"{source.file}:{source.line(place)}: {field_name(place)}: {message}"
