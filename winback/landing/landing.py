"""Landing: new files of the data folder become rows of the raw tables, whole file by whole file.

Where files have to be read anew into tables that hold their rows already, the old rows stand until all of them are in.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from collections.abc import Mapping as Dictionary
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

import duckdb

from winback.errors import BadInput, StopRun
from winback.landing.contract import TABLES, create_raw
from winback.landing.files import content_hash, data_folder, list_files, remember_seen, states
from winback.landing.mapping import Mapping, TableSource, load_mapping
from winback.landing.reading import Source, forget, read
from winback.landing.rows import Counts, FileId, Judged, judge, store
from winback.progress import tell
from winback.settings import Settings
from winback.warehouse import in_transaction


class LandedFilesLedger(Protocol):
    """What landing needs of the ledger."""

    def rows(self, table: str, **equal: object) -> list[dict[str, Any]]: ...
    def record(self, table: str, rows: Iterable[Dictionary[str, Any]]) -> int: ...


@dataclass(frozen=True, slots=True)
class FileReport:
    """One file and table. `left_out` rows are those that the mapping's `where` did not want; a known file has its first figures."""

    file: str
    table: str
    status: Literal["landed", "known", "loaded_again"]
    rows_landed: int
    rows_quarantined: int
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class LandingReport:
    """What a landing did. `ignored` are files that no pattern of the mapping names; `rows` are the sizes of the raw tables afterwards."""

    files: list[FileReport]
    ignored: list[str]
    notes: list[str]
    rows: dict[str, int] = field(default_factory=dict)

    def metadata(self, table: str) -> dict[str, int | str]:
        """Figures of one raw table (or `quarantine`) as plain values."""
        if table == "quarantine":
            told: dict[str, int | str] = {
                "rows": self.rows.get(table, 0),
                "new_rows": sum(file.rows_quarantined for file in self.files if file.status == "landed"),
            }
            return told | ({"files_that_no_pattern_names": ", ".join(self.ignored[:20])} if self.ignored else {})
        landed = [file for file in self.files if file.table == table and file.status != "known"]
        return {
            "rows": self.rows.get(table, 0),
            "files_landed": len(landed),
            "rows_landed": sum(file.rows_landed for file in landed),
            "rows_quarantined": sum(file.rows_quarantined for file in landed),
        }


@dataclass(frozen=True, slots=True)
class _Job:
    path: Path
    file: FileId
    sources: dict[str, list[TableSource]]
    again: bool


_REPLACED = (*TABLES, "quarantine", "landed_files", "changed_keys")
_OLD = "replaced_"
"""Prefix of the raw tables that a reading of all files replaces, while it goes on. Of names only: rows are not moved."""


def land(
    settings: Settings,
    connection: duckdb.DuckDBPyConnection,
    ledger: LandedFilesLedger,
    *,
    now: datetime,
    data: Path | None = None,
    mapping: str | None = None,
) -> LandingReport:
    """Bring new files into schema `raw`, each in one transaction, and remember them in the ledger by content.

    `data` and `mapping` default to the settings'. Files that the ledger knows and the warehouse lacks (it was deleted, or the mapping was
    edited) are loaded again first, in the order in which they first came.

    Raises
    ------
    BadConfig
        The mapping or the folder's setting is wrong, or an SQL expression of the mapping does not work on a file.
    BadInput
        Files that cannot be used as a whole, or no file of a needed table. All other files have been landed by then; where all files
        were to be read anew and one failed, the raw tables are as they were before.
    StopRun
        A file that has to be loaded again is no longer in the folder.
    """
    folder = data_folder(settings, data)
    rules = load_mapping(settings, mapping)
    seen = states(folder, rules)
    hashes: dict[str, str] = {}
    problems: list[str] = []
    for name in seen:
        try:
            hashes[name] = content_hash(folder / name)
        except BadInput as problem:
            problems.append(str(problem))
    _put_back(connection)
    create_raw(connection)
    jobs = _load_again(connection, ledger, rules, folder, hashes)
    known = _landed(connection)
    coming = {(job.file.file_id, table) for job in jobs for table in job.sources}
    reports = []
    for name, file_id in hashes.items():
        new = {}
        for table, sources in rules.sources(name).items():
            if before := known.get((file_id, table)):
                reports.append(FileReport(name, table, "known", before["rows_landed"], before["rows_quarantined"]))
            elif (file_id, table) not in coming:
                new[table] = sources
                coming.add((file_id, table))
        if new:
            jobs.append(_Job(folder / name, FileId(file_id, name, now), new, again=False))

    if any("customers" in job.sources for job in jobs):
        connection.execute("create or replace temporary table landing_timezones as select distinct name from pg_timezone_names()")
    reports += _land_again(connection, ledger, rules, [job for job in jobs if job.again], problems)
    reports += _land_files(connection, ledger, rules, [job for job in jobs if not job.again], problems)
    remember_seen(settings, seen)
    connection.execute("delete from raw.source_notes")
    for note in rules.notice:
        connection.execute("insert into raw.source_notes values (?)", [note])
    names = list_files(folder)
    problems += _missing_tables(connection, rules, folder, names, failed=bool(problems))
    if problems:
        raise BadInput("\n".join(problems))
    rows = {name: int(connection.execute(f"select count(*) from raw.{name}").fetchall()[0][0]) for name in (*TABLES, "quarantine")}
    return LandingReport(reports, [name for name in names if name not in seen], list(rules.notice), rows)


def _landed(connection: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], dict[str, Any]]:
    """Rows of raw.landed_files by file and table, in their order."""
    cursor = connection.execute("from raw.landed_files order by position")
    columns = [column[0] for column in cursor.description or []]
    rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    return {(row["file_id"], row["table_name"]): row for row in rows}


def _load_again(
    connection: duckdb.DuckDBPyConnection, ledger: LandedFilesLedger, rules: Mapping, folder: Path, hashes: dict[str, str]
) -> list[_Job]:
    """Make ledger and warehouse agree; returns the files that the ledger knows and the warehouse has to load, in their order."""
    remembered = sorted(ledger.rows("landed_files"), key=lambda row: row["position"])
    loaded = list(_landed(connection).values())
    expected, have = _in_order(remembered), _in_order(loaded)
    common = min(len(expected), len(have))
    edited = any(row["mapping_hash"] != rules.content_hash() for row in loaded)
    if edited or expected[:common] != have[:common]:
        again = list(dict.fromkeys(expected + have))
        reason = "the mapping was edited" if edited else "the warehouse and the ledger do not remember the same files"
    else:
        # The process ended after the warehouse had a file and before the ledger knew.
        recorded = set(expected)
        ledger.record("landed_files", [_ledger_row(row) for row in loaded if (row["file_id"], row["file"]) not in recorded])
        again = expected[common:]
        reason = "the warehouse was deleted"
    names = {file_id: name for name, file_id in reversed(hashes.items())}
    gone = sorted(file for file_id, file in again if file_id not in names)
    if gone:
        raise StopRun(
            f"{folder}: {', '.join(gone)}: landed before, needed again because {reason}, and not in the folder any more as it was then. "
            "Put it back as it was and start again; nothing is derived or sent from a part of what was known."
        )
    if again != expected[common:]:
        _set_aside(connection)
        create_raw(connection)
    first_landed = {(row["file_id"], row["file"]): row["landed_at"] for row in loaded}
    first_landed |= {(row["file_id"], row["file"]): row["recorded_at"] for row in remembered}
    jobs = []
    for file_id, file in again:
        sources = rules.sources(file) or rules.sources(names[file_id])
        if sources:
            jobs.append(_Job(folder / names[file_id], FileId(file_id, file, first_landed[file_id, file]), sources, again=True))
    return jobs


def _in_order(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row["file_id"], row["file"]) for row in rows))


def _ledger_row(row: Dictionary[str, Any]) -> dict[str, Any]:
    names = ("file_id", "file", "table_name", "rows_landed", "rows_quarantined", "position")
    return {name: row[name] for name in names} | {"recorded_at": row["landed_at"]}


def _land_again(
    connection: duckdb.DuckDBPyConnection, ledger: LandedFilesLedger, rules: Mapping, jobs: list[_Job], problems: list[str]
) -> list[FileReport]:
    """`_land_files` of what was landed before; all or nothing where it replaces rows: a part of what is known must not be sent upon."""
    before = len(problems)
    try:
        reports = _land_files(connection, ledger, rules, jobs, problems)
        if len(problems) > before and _set_aside_tables(connection):
            raise BadInput("\n".join(problems))
    except BaseException:
        _put_back(connection)
        raise
    _together(connection, [f"drop table raw.{_OLD}{name}" for name in _set_aside_tables(connection)])
    return reports


def _land_files(
    connection: duckdb.DuckDBPyConnection, ledger: LandedFilesLedger, rules: Mapping, jobs: list[_Job], problems: list[str]
) -> list[FileReport]:
    """Land file after file; what is wrong with one that cannot be used goes to `problems`."""
    reports = []
    for position, job in enumerate(jobs, start=1):
        tell(f"landing {job.file.name} ({position} of {len(jobs)})")
        try:
            reports += _land_file(connection, ledger, rules, job)
        except BadInput as problem:
            problems.append(str(problem))
    return reports


def _set_aside(connection: duckdb.DuckDBPyConnection) -> None:
    """Give the raw tables other names, until others stand in their place."""
    _together(connection, [f"alter table raw.{name} rename to {_OLD}{name}" for name in _REPLACED])


def _put_back(connection: duckdb.DuckDBPyConnection) -> None:
    """Undo `_set_aside`, also that of a process which ended before its files were all read."""
    aside = _set_aside_tables(connection)
    drops = [f"drop table if exists raw.{name}" for name in aside]
    _together(connection, drops + [f"alter table raw.{_OLD}{name} rename to {name}" for name in aside])


def _together(connection: duckdb.DuckDBPyConnection, statements: list[str]) -> None:
    """All of them or none."""
    with in_transaction(connection):
        for statement in statements:
            connection.execute(statement)


def _set_aside_tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    found = connection.execute(
        "select table_name from duckdb_tables() where database_name = current_database() and schema_name = 'raw' "
        "and starts_with(table_name, ?)",
        [_OLD],
    ).fetchall()
    return [row[0].removeprefix(_OLD) for row in found]


def _land_file(connection: duckdb.DuckDBPyConnection, ledger: LandedFilesLedger, rules: Mapping, job: _Job) -> list[FileReport]:
    judged: list[Judged] = []
    workspace = Path(tempfile.mkdtemp(prefix="landing-", dir=_roomy_folder(connection)))
    try:
        content: Source | None = None
        read_as = None
        for table, source in ((table, source) for table, sources in job.sources.items() for source in sources):
            text = source.csv or rules.csv
            if content is None or read_as != text:
                content, read_as = read(connection, job.path, job.file.name, text, workspace), text
            judged.append(judge(connection, TABLES[table], source, rules, content, job.file, f"landing_typed_{len(judged)}"))
    finally:
        forget(connection)
        shutil.rmtree(workspace, ignore_errors=True)
    rows = []
    with in_transaction(connection):
        [(position,)] = connection.execute("select coalesce(max(position), 0) from raw.landed_files").fetchall()
        counts = dict.fromkeys(job.sources, Counts())
        numbers = {table: number for number, table in enumerate(counts, start=position + 1)}
        for one in judged:
            counts[one.table.name] += store(connection, one, job.file, numbers[one.table.name])
        for table, count in counts.items():
            row = {
                "file_id": job.file.file_id,
                "file": job.file.name,
                "table_name": table,
                "rows_landed": count.landed,
                "rows_quarantined": count.quarantined,
                "landed_at": job.file.landed_at,
                "position": numbers[table],
            }
            connection.execute("insert into raw.landed_files values (?, ?, ?, ?, ?, ?, ?, ?)", [*row.values(), rules.content_hash()])
            rows.append(_ledger_row(row))
    ledger.record("landed_files", rows)
    status: Literal["landed", "loaded_again"] = "loaded_again" if job.again else "landed"
    return [FileReport(job.file.name, table, status, count.landed, count.quarantined, count.left_out) for table, count in counts.items()]


def _roomy_folder(connection: duckdb.DuckDBPyConnection) -> Path | None:
    """Beside the warehouse, where there is room for a copy of a large file; the system's temporary folder for a warehouse in memory."""
    [(path,)] = connection.execute("select path from duckdb_databases() where database_name = current_database()").fetchall()
    return Path(path).parent if path else None


def _missing_tables(connection: duckdb.DuckDBPyConnection, rules: Mapping, folder: Path, names: list[str], *, failed: bool) -> list[str]:
    """Needed tables of which nothing was ever landed; one whose only file failed has been told of already."""
    landed = {row[0] for row in connection.execute("select distinct table_name from raw.landed_files").fetchall()}
    problems = []
    for table in TABLES.values():
        if not table.needed or table.name in landed or (failed and any(table.name in rules.sources(name) for name in names)):
            continue
        patterns = sorted({pattern for source in rules.tables.get(table.name, []) for pattern in source.files})
        present = f"found {', '.join(names[:10])}{' and more' if len(names) > 10 else ''}" if names else "the folder is empty"
        problems.append(
            f"{folder}: no file of the needed table {table.name}: {present}; "
            f"expected {' or '.join(patterns) or 'a source of it in the mapping'} as .csv, .tsv, .parquet, .json or .jsonl (also .gz)."
        )
    return problems
