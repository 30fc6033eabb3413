"""A file as rows in DuckDB: whatever the format, the table or view `landing_source` with `_row_number` and the columns of the file."""

from __future__ import annotations

import codecs
import gzip
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from winback.errors import BadInput
from winback.landing import csv_records
from winback.landing.mapping import TextFormat

SOURCE = "landing_source"
_CHUNK = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """What was read. `columns` are unique without regard to case. `damaged`: (row number, reason) of rows that are not in the table."""

    columns: list[str]
    rows: int
    damaged: list[tuple[int, str]] = field(default_factory=list)
    is_json: bool = False


def read(connection: duckdb.DuckDBPyConnection, path: Path, shown: str, text: TextFormat, workspace: Path) -> Source:
    """Read one file into `landing_source`; empty text is null.

    Raises
    ------
    BadInput
        The file as a whole cannot be read: names it, what is wrong and what was expected.
    """
    forget(connection)
    name = path.name.lower()
    extension = name.removesuffix(".gz").rpartition(".")[2]
    try:
        if extension == "parquet":
            return _read_parquet(connection, path, shown)
        plain = _decompressed(path, workspace) if name.endswith(".gz") else path
        if extension in ("json", "jsonl", "ndjson"):
            return _read_json(connection, plain, shown, text, workspace)
        return _read_csv(connection, plain, shown, text, workspace, tabs=extension == "tsv")
    except (OSError, EOFError, zlib.error) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise BadInput(f"{shown}: cannot be read ({reason}). Expected a whole {extension} file; export it again.") from None


def forget(connection: duckdb.DuckDBPyConnection) -> None:
    """Drop `landing_source`."""
    for kind, _ in connection.execute(
        "select 'table', table_name from duckdb_tables() where table_name = $1 union all select 'view', view_name from duckdb_views() "
        "where view_name = $1",
        [SOURCE],
    ).fetchall():
        connection.execute(f"drop {kind} {SOURCE}")


def _read_parquet(connection: duckdb.DuckDBPyConnection, path: Path, shown: str) -> Source:
    relation = f"read_parquet({literal(path)}, file_row_number = true, binary_as_string = true)"
    try:
        described = connection.execute(f"describe select * from {relation}").fetchall()
        names = [row[0] for row in described if row[0] != "file_row_number"]
        columns = _unique(names)
        listed = ", ".join(f"{identifier(old)} as {identifier(new)}" for old, new in zip(names, columns, strict=True))
        connection.execute(
            f"create temporary view {SOURCE} as select file_row_number + 1 as _row_number{', ' + listed if listed else ''} from {relation}"
        )
        return Source(columns, _count(connection))
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as problem:
        raise BadInput(f"{shown}: is not a Parquet file that can be read ({_first_line(problem)}). Export it again.") from None


def _read_csv(connection: duckdb.DuckDBPyConnection, path: Path, shown: str, text: TextFormat, workspace: Path, *, tabs: bool) -> Source:
    utf8, repaired = _as_utf8(path, text, workspace)
    delimiter = "\t" if tabs else None if text.delimiter == "auto" else text.delimiter
    try:
        records = csv_records.split_csv(utf8, workspace / "records.csv", delimiter=delimiter, repaired=repaired)
    except csv_records.NoHeader:
        found = "is empty" if path.stat().st_size == 0 else "has no readable first line"
        raise BadInput(
            f"{shown}: {found}. Expected a CSV file whose first line names the columns, in UTF-8 or with `encoding` in the mapping."
        ) from None
    columns = _unique(records.header)
    _load_records(connection, records, columns, records.delimiter, '"', shown)
    return Source(columns, records.good, records.damaged)


def _read_json(connection: duckdb.DuckDBPyConnection, path: Path, shown: str, text: TextFormat, workspace: Path) -> Source:
    utf8, repaired = _as_utf8(path, text, workspace)
    with utf8.open("rb") as beginning:
        first = beginning.read(4096).removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    damaged: list[tuple[int, str]] = []
    extension = shown.lower().removesuffix(".gz").rpartition(".")[2]
    if first == b"[":
        try:
            connection.execute(
                "create or replace temporary table landing_json as select row_number() over () as _row_number, json from "
                f"read_json_objects({literal(utf8)}, format = 'array', maximum_object_size = {csv_records.LONGEST_RECORD})"
            )
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as problem:
            raise BadInput(f"{shown}: is not a JSON array that can be read ({_first_line(problem)}). Export it again.") from None
    elif first == b"{" or (not first and extension != "json"):
        records = csv_records.split_lines(utf8, workspace / "records.json", repaired=repaired)
        damaged = records.damaged
        _load_records(connection, records, ["json"], "\x01", "", shown)
        connection.execute(f"create or replace temporary table landing_json as select _row_number, json from {SOURCE}")
    else:
        raise BadInput(f"{shown}: is not JSON. Expected an array of objects, or one object per line.")
    forget(connection)
    # In a `case`, since `and` may look at the type of what is no JSON.
    fine = "coalesce(case when json_valid(json) then json_type(json) = 'OBJECT' end, false)"
    if repaired:
        fine += " and not contains(json::varchar, chr(65533))"
    connection.execute("alter table landing_json add column fine boolean")
    connection.execute(f"update landing_json set fine = {fine}")
    bad = connection.execute("select _row_number from landing_json where not fine order by 1").fetchall()
    damaged += [(row[0], "is not a JSON object in the encoding of the file") for row in bad]
    [(total,)] = connection.execute("select count(*) from landing_json").fetchall()
    if total == len(bad) > 0:
        raise BadInput(f"{shown}: holds no JSON object that can be read. Expected an array of objects, or one object per line.")
    keys = [
        row[0]
        for row in connection.execute(
            "select key, min(position) from (select unnest(json_keys(json)) as key, generate_subscripts(json_keys(json), 1) as position "
            "from landing_json where fine) group by key order by 2, 1"
        ).fetchall()
    ]
    columns = _unique(keys)
    # Pointers reach keys of any spelling; paths would take a dot or a quote in them for syntax.
    listed = "".join(
        f", nullif(json ->> {literal('/' + key.replace('~', '~0').replace('/', '~1'))}, '') as {identifier(column)}"
        for key, column in zip(keys, columns, strict=True)
    )
    connection.execute(f"create temporary table {SOURCE} as select _row_number{listed}, json as _json from landing_json where fine")
    connection.execute("drop table landing_json")
    return Source(columns, total - len(bad), sorted(damaged), is_json=True)


def _load_records(
    connection: duckdb.DuckDBPyConnection, records: csv_records.Records, columns: list[str], delimiter: str, quote: str, shown: str
) -> None:
    listed = ", ".join(f"{identifier(column)} varchar" for column in columns)
    connection.execute(f"create temporary table {SOURCE} (_row_number bigint, {listed})")
    if not records.good:
        return
    types = ", ".join(f"{literal(column)}: 'varchar'" for column in columns)
    relation = (
        f"read_csv({literal(records.clean)}, auto_detect = false, header = false, columns = {{{types}}}, delim = {literal(delimiter)}, "
        f"quote = {literal(quote)}, escape = {literal(quote)}, new_line = '\\n', nullstr = '', "
        f"max_line_size = {2 * csv_records.LONGEST_RECORD})"
    )
    lines = records.line_numbers()
    regular = int(lines[-1]) - int(lines[0]) + 1 == len(lines)
    try:
        # Table rowids follow the order of the file.
        connection.execute(f"create or replace temporary table landing_records as from {relation}")
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as problem:
        raise BadInput(f"{shown}: cannot be split into rows ({_first_line(problem)}). Export it again.") from None
    read = connection.execute("select count(*) from landing_records").fetchall()[0][0]
    if read != records.good:
        raise BadInput(f"{shown}: {records.good} rows were found, {read} could be split into columns. Export it again.")
    if regular:
        connection.execute(f"insert into {SOURCE} select rowid + {int(lines[0])}, * from landing_records")
    else:
        import numpy as np
        import pyarrow as pa

        connection.register("landing_lines", pa.table({"position": np.arange(len(lines)), "line": lines}))
        connection.execute(
            f"insert into {SOURCE} select landing_lines.line, records.* from landing_records as records "
            "inner join landing_lines on records.rowid = landing_lines.position"
        )
        connection.unregister("landing_lines")
    connection.execute("drop table landing_records")


def _decompressed(path: Path, workspace: Path) -> Path:
    plain = workspace / "decompressed"
    with gzip.open(path, "rb") as source, plain.open("wb") as target:
        shutil.copyfileobj(source, target, _CHUNK)
    return plain


def _as_utf8(path: Path, text: TextFormat, workspace: Path) -> tuple[Path, bool]:
    """The file, or a copy of it in UTF-8, and whether bytes that were no text had to be replaced by U+FFFD."""
    with path.open("rb") as source:
        beginning = source.read(_CHUNK)
    encoding = {"utf-8": "utf-8", "latin-1": "latin-1", "windows-1252": "cp1252", "utf-16": "utf-16"}[text.encoding]
    if beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif beginning.startswith(codecs.BOM_UTF8):
        encoding = "utf-8"
    old_mac = b"\r" in beginning and b"\n" not in beginning
    if encoding == "utf-8" and not old_mac and _decodes(path):
        return path, False
    repaired = False

    def replace(error: UnicodeDecodeError) -> tuple[str, int]:
        nonlocal repaired
        repaired = True
        return "\ufffd", error.end

    codecs.register_error("winback-replace", replace)  # type: ignore[arg-type]
    copy = workspace / "utf8"
    _transcode(path, copy, encoding, (lambda part: part.replace("\r", "\n")) if old_mac else None)
    return copy, repaired


def _decodes(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with path.open("rb") as source:
            while block := source.read(_CHUNK):
                decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _transcode(source: Path, target: Path, encoding: str, change: Callable[[str], str] | None) -> None:
    decoder = codecs.getincrementaldecoder(encoding)("winback-replace")
    with source.open("rb") as reading, target.open("w", encoding="utf-8", newline="") as writing:
        while True:
            block = reading.read(_CHUNK)
            part = decoder.decode(block, final=not block)
            writing.write(change(part) if change else part)
            if not block:
                return


def _unique(names: list[str]) -> list[str]:
    """Names as they are; one that stands twice (in any case) gets a number, one that is empty its position."""
    seen: set[str] = {"_row_number", "_json", "_landed_at"}
    unique = []
    for position, name in enumerate(names, start=1):
        base = candidate = name or f"column_{position}"
        number = 2
        while candidate.lower() in seen:
            candidate = f"{base}_{number}"
            number += 1
        seen.add(candidate.lower())
        unique.append(candidate)
    return unique


def _count(connection: duckdb.DuckDBPyConnection) -> int:
    return int(connection.execute(f"select count(*) from {SOURCE}").fetchall()[0][0])


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _first_line(problem: Exception) -> str:
    return str(problem).splitlines()[0][:200]
