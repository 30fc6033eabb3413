"""Copy the marts out of the warehouse and switch readers over to them, all at once.

What stands in `published/` at any instant is the work of one run: a DuckDB file that is replaced as a whole, and `parquet`, a link to the
folder of one version. A reader who has the old file open goes on reading the old run until it opens again.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from winback.clock import utc_now
from winback.errors import BadInput, StopRun
from winback.publishing.dictionary import ABOUT_THE_RUN, MartEntry, as_json, as_markdown, describe_marts
from winback.settings import Settings
from winback.warehouse import in_transaction, source_notes

# The oldest DuckDB that can open the file. Created with DuckDB 2's own format, BI tools of last year could not.
STORAGE_VERSION = "v1.0.0"

# Who has followed the link to a version can finish reading while this many newer ones arrive.
VERSIONS_KEPT = 5

# The file of a version that readers lock.
_HELD_BY = "run.json"

# Exact names, because `reachable_email` or `last_email_engaged_at` say nothing about who somebody is.
PERSONAL_COLUMNS = frozenset(
    {
        "address",
        "birthday",
        "date_of_birth",
        "email",
        "email_address",
        "extras",
        "first_name",
        "full_name",
        "identifiers",
        "ip_address",
        "last_name",
        "mobile",
        "phone",
        "phone_number",
        "postal_address",
        "push_token",
        "token",
    }
)


@dataclass(frozen=True)
class PublishReport:
    """What was published: rows per mart, and where readers find it."""

    run_id: str
    as_of: datetime
    published_at: datetime
    rows: dict[str, int]
    duckdb: Path
    parquet: Path
    dictionary: Path

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "run_id": self.run_id,
            "as_of": self.as_of.isoformat(sep=" "),
            "published_at": self.published_at.isoformat(sep=" "),
            "rows": self.rows,
            "duckdb": str(self.duckdb),
            "parquet": str(self.parquet),
            "dictionary": str(self.dictionary),
        }

    def metadata(self) -> dict[str, str | int]:
        """Flat, for the Dagster UI, where the row counts can be plotted over days."""
        flat = {name: value for name, value in self.as_dict().items() if name != "rows"}
        return flat | {f"rows of {mart}": count for mart, count in self.rows.items()}


def publish(
    settings: Settings, connection: duckdb.DuckDBPyConnection, run_id: str, as_of: datetime, *, now: datetime | None = None
) -> PublishReport:
    """Publish schema `marts` of the open warehouse, and nothing else of it.

    Parameters
    ----------
    run_id
        Written into every form of the marts (`published_run`, the Parquet metadata, `run.json`), so that a reader can tell runs apart.
    now
        Written as `published_at`. Default: the present.

    Raises
    ------
    BadInput
        There are no marts yet.
    StopRun
        A mart has a column that names personal data. The marts published before stay.
    BadConfig
        brand.yml, which names the currency of all amounts, cannot be read.
    """
    from winback.programs import brand_of

    published_at = now or utc_now()
    settings.published.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(settings.published)
    work = settings.published / f".publishing-{os.getpid()}"
    work.mkdir()
    cursor = connection.cursor()
    try:
        cursor.execute("set TimeZone = 'UTC'")
        marts = describe_marts(cursor, settings.manifest)
        _require_publishable(marts)
        run = {"run_id": run_id, "as_of": f"{as_of:%Y-%m-%d %H:%M:%S}", "published_at": f"{published_at:%Y-%m-%d %H:%M:%S.%f}"}
        run["currency"] = brand_of(settings).currency
        notes = source_notes(cursor)
        rows = _copy(cursor, marts, run, notes, work)
        version = work / "version"
        (version / "data_dictionary.json").write_text(as_json([*ABOUT_THE_RUN, *marts], notes), encoding="utf-8")
        (version / "data_dictionary.md").write_text(as_markdown([*ABOUT_THE_RUN, *marts], notes), encoding="utf-8")
        (version / "run.json").write_text(json.dumps(run | {"rows": rows, "notes": notes}, indent=2) + "\n", encoding="utf-8")
        _switch(settings.published, work, f"{as_of:%Y-%m-%d}-{published_at:%Y%m%dT%H%M%S%f}")
    finally:
        cursor.close()
        shutil.rmtree(work, ignore_errors=True)
    return PublishReport(
        run_id=run_id,
        as_of=as_of,
        published_at=published_at,
        rows=rows,
        duckdb=settings.published / "winback.duckdb",
        parquet=settings.published / "parquet",
        dictionary=settings.published / "data_dictionary.md",
    )


@contextmanager
def one_version(settings: Settings) -> Iterator[Path]:
    """The folder of the Parquet files of one run, held until the end of the block however many runs publish meanwhile.

    Raises
    ------
    BadInput
        Nothing has been published.
    """
    while True:
        folder = (settings.published / "parquet").resolve()
        try:
            held = (folder / _HELD_BY).open("rb")
        except FileNotFoundError:
            if folder == (settings.published / "parquet").resolve():
                raise BadInput(f"{folder}: nothing has been published yet. Run a day first: `winback run`.") from None
            continue
        with held:
            fcntl.flock(held, fcntl.LOCK_SH)
            # Between the link and the lock the version may have gone: then there is a newer one.
            if (folder / _HELD_BY).exists():
                yield folder
                return


def _require_publishable(marts: list[MartEntry]) -> None:
    if not marts:
        raise BadInput("The warehouse has no marts to publish: nothing has been derived. Run a day first: `winback run`.")
    personal = [f"{mart.name}.{column.name}" for mart in marts for column in mart.columns if column.name.lower() in PERSONAL_COLUMNS]
    if personal:
        raise StopRun(
            f"Marts are published to everybody who reads figures, and {', '.join(personal)} would show who somebody is. "
            "Remove the column from the mart, or keep the model out of models/marts/. "
            "Nothing was published; the marts of the run before stay."
        )


def _copy(cursor: duckdb.DuckDBPyConnection, marts: list[MartEntry], run: dict[str, str], notes: list[str], work: Path) -> dict[str, int]:
    """All marts as of one transaction, into `work/winback.duckdb` and `work/version/*.parquet`. Rows per mart."""
    version = work / "version"
    version.mkdir()
    rows: dict[str, int] = {}
    cursor.execute(f"attach {_text(work / 'winback.duckdb')} as published (storage_version '{STORAGE_VERSION}')")
    try:
        with in_transaction(cursor):
            cursor.execute("create schema published.marts")
            cursor.execute(
                "create table published.marts.published_run as "
                "select ? as run_id, ?::timestamp as as_of, ?::timestamp as published_at, ? as currency",
                [run["run_id"], run["as_of"], run["published_at"], run["currency"]],
            )
            cursor.execute("create table published.marts.published_notes (note varchar)")
            for note in notes:
                cursor.execute("insert into published.marts.published_notes values (?)", [note])
            for table in ("published_run", "published_notes"):
                _write_parquet(cursor, table, run, version)
            for mart in marts:
                table = f'published.marts."{mart.name}"'
                [(rows[mart.name],)] = cursor.execute(f'create table {table} as select * from marts."{mart.name}"').fetchall()
                comments = [f"comment on table {table} is {_text(mart.description)}"]
                for column in mart.columns:
                    words = column.description + (f" ({column.unit})" if column.unit and column.unit not in column.description else "")
                    comments.append(f'comment on column {table}."{column.name}" is {_text(words)}')
                cursor.execute(";".join(comments))
                _write_parquet(cursor, mart.name, run, version)
    finally:
        # Detaching writes everything into the one file: no write-ahead log stays beside it.
        cursor.execute("detach published")
    return rows


def _write_parquet(cursor: duckdb.DuckDBPyConnection, mart: str, run: dict[str, str], folder: Path) -> None:
    metadata = ", ".join(f"{key}: {_text(value)}" for key, value in run.items())
    options = f"format parquet, compression zstd, kv_metadata {{{metadata}}}"
    cursor.execute(f'copy published.marts."{mart}" to {_text(folder / f"{mart}.parquet")} ({options})')


def _switch(published: Path, work: Path, name: str) -> None:
    versions = published / "versions"
    versions.mkdir(exist_ok=True)
    target = versions / name
    shutil.rmtree(target, ignore_errors=True)
    (work / "version").rename(target)
    (work / "winback.duckdb").replace(published / "winback.duckdb")
    _point(published / "parquet", target, work)
    for file in ("data_dictionary.md", "data_dictionary.json", "run.json"):
        shutil.copyfile(target / file, work / file)
        (work / file).replace(published / file)
    for old in sorted((path for path in versions.iterdir() if path != target), key=lambda path: path.stat().st_mtime_ns)[
        : 1 - VERSIONS_KEPT
    ]:
        _remove_unless_read(old)


def _remove_unless_read(version: Path) -> None:
    """Whoever holds a version (`one_version`) keeps it; it goes with a later publication."""
    try:
        with (version / _HELD_BY).open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(version, ignore_errors=True)
    except BlockingIOError:
        return
    except FileNotFoundError:
        shutil.rmtree(version, ignore_errors=True)


def _point(link: Path, target: Path, work: Path) -> None:
    """Make `link` lead to `target` in one step."""
    new = work / "parquet"
    try:
        new.symlink_to(Path("versions") / target.name)
    except OSError:
        # No symbolic links here (some network shares): a plain folder, whose files are replaced one by one.
        link.mkdir(exist_ok=True)
        for file in target.iterdir():
            shutil.copyfile(file, work / file.name)
            (work / file.name).replace(link / file.name)
    else:
        new.replace(link)


def _remove_leftovers(published: Path) -> None:
    """What a publication that died on the way has left. The warehouse has one writer, so there is no other at work."""
    for leftover in published.glob(".publishing-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _text(value: str | Path) -> str:
    return "'" + str(value).replace("'", "''") + "'"
