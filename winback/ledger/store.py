"""The ledger: the only state, and the only thing that lets anything leave the building."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Self

import duckdb
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, Row, Table, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.types import Date, DateTime, Integer

from winback.errors import BadConfig, Busy
from winback.ledger import audit, presence, tables, warehouse_copy
from winback.settings import Settings
from winback.write_ahead import use_write_ahead_log

BUSY_SECONDS = 30
_CHUNK = 5_000
_SQLITE_EXAMPLE = "sqlite:////srv/winback/ledger.db"
_ALLOWED = f"{_SQLITE_EXAMPLE} or postgresql://user@host/database"
_MIGRATION_LOCK = 7_303_001
_AUDIT_LOCK = 7_303_002
EVENTS_LOCK = 7_303_003
CODES_LOCK = 7_303_004


@dataclass(frozen=True, slots=True)
class _Insert:
    """How rows of one table are put in, fast: one prepared statement on SQLite, one array per column on PostgreSQL."""

    columns: tuple[str, ...]
    adapters: tuple[Callable[[Any], Any] | None, ...]
    statement: str


@lru_cache(maxsize=4096)
def _instant_text(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat(" ", "microseconds")


def _date_text(value: date | None) -> str | None:
    return None if value is None else value.isoformat()


def _insert_for(table: Table, dialect: str) -> _Insert:
    columns = tuple(column.name for column in table.columns if column.name != "seq")
    names = ", ".join(columns)
    if dialect == "sqlite":
        adapters: list[Callable[[Any], Any] | None] = []
        for name in columns:
            kind = table.columns[name].type
            adapters.append(_instant_text if isinstance(kind, DateTime) else _date_text if isinstance(kind, Date) else None)
        marks = ", ".join("?" * len(columns))
        return _Insert(columns, tuple(adapters), f"insert into {table.name} ({names}) values ({marks}) on conflict do nothing")
    arrays = []
    for name in columns:
        kind = table.columns[name].type
        array = (
            "timestamp"
            if isinstance(kind, DateTime)
            else "date"
            if isinstance(kind, Date)
            else "integer"
            if isinstance(kind, Integer)
            else "text"
        )
        arrays.append(f"%s::{array}[]")
    return _Insert(
        columns,
        (None,) * len(columns),
        f"insert into {table.name} ({names}) select * from unnest({', '.join(arrays)}) on conflict do nothing",
    )


class Writer:
    """One transaction that adds rows; made by `Ledger.writing`."""

    def __init__(self, connection: Connection, inserts: Mapping[str, _Insert]) -> None:
        self.connection = connection
        self._inserts = inserts

    def record(self, table: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Add rows (columns left out are null); a row whose key is known is left as it is. Returns how many were new.

        Raises
        ------
        KeyError
            The table, or a column of a row, does not exist.
        """
        insert = self._inserts[table]
        known = frozenset(insert.columns)
        new = 0
        remaining = iter(rows)
        while chunk := list(islice(remaining, _CHUNK)):
            for row in chunk:
                if not row.keys() <= known:
                    raise KeyError(f"{table} has no column {sorted(row.keys() - known)}")
            # Column by column: twice as quick as row by row, and what PostgreSQL takes anyway.
            columns: list[list[Any]] = [
                [row.get(name) for row in chunk] if adapt is None else [adapt(row.get(name)) for row in chunk]
                for name, adapt in zip(insert.columns, insert.adapters, strict=True)
            ]
            values: Any = list(zip(*columns, strict=True)) if self.connection.dialect.name == "sqlite" else tuple(columns)
            new += max(self.connection.exec_driver_sql(insert.statement, values).rowcount, 0)
        return new

    def alone_at(self, lock: int) -> None:
        """Wait until no other transaction holds this lock, and hold it to the end. On SQLite each transaction is alone anyway."""
        if self.connection.dialect.name == "postgresql":
            self.connection.exec_driver_sql(f"select pg_advisory_xact_lock({lock})")

    def audit(self, act: str, *, actor: str, subject: str, details: Mapping[str, Any] | None = None, now: datetime) -> None:
        """Add a row to the audit trail, chained to the last one. `details` holds ids and counts, never an address."""
        self.alone_at(_AUDIT_LOCK)
        trail = tables.audit_trail
        previous = self.connection.execute(sa.select(trail.c.hash).order_by(trail.c.seq.desc()).limit(1)).scalar() or audit.FIRST
        self.record("audit_trail", [audit.entry(previous, act, actor, subject, details or {}, now)])


class Ledger:
    """An open ledger. Thread-safe; every method is its own transaction unless it belongs to a `Writer`.

    Reading methods return rows as dictionaries (`rows`) or SQLAlchemy rows (`read`). Nothing updates or deletes.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.dialect = engine.dialect.name
        self._inserts = {table.name: _insert_for(table, self.dialect) for table in tables.metadata.sorted_tables}
        # SQLite takes one writer at a time: threads of this process queue here, other processes on SQLite's own lock.
        self._one_writer = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """One transaction: committed (and on disk) when the block ends, undone when it raises.

        Raises
        ------
        Busy
            Another process has held SQLite's write lock for 30 seconds.
        """
        try:
            if self.dialect == "sqlite":
                with self._one_writer, self.engine.connect().execution_options(ledger_write=True) as connection, connection.begin():
                    yield Writer(connection, self._inserts)
            else:
                with self.engine.begin() as connection:
                    yield Writer(connection, self._inserts)
        except OperationalError as problem:
            raise _busy_or(problem) from None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A consistent view of all tables (repeatable read)."""
        options = {} if self.dialect == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        with self.engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection

    def record(self, table: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Add rows to one table in a transaction of its own; see `Writer.record`."""
        with self.writing() as writer:
            return writer.record(table, rows)

    def audit(self, act: str, *, actor: str, subject: str, details: Mapping[str, Any] | None = None, now: datetime) -> None:
        """Add a row to the audit trail in a transaction of its own; see `Writer.audit`."""
        with self.writing() as writer:
            writer.audit(act, actor=actor, subject=subject, details=details, now=now)

    def read(self, statement: sa.Select[Any]) -> Sequence[Row[Any]]:
        """All rows of a select over `winback.ledger.tables`."""
        with self.reading() as connection:
            return connection.execute(statement).all()

    def rows(self, table: str, **equal: object) -> list[dict[str, Any]]:
        """Rows of a (small) table in order of `seq`, where each named column equals the value given."""
        source = tables.metadata.tables[table]
        statement = sa.select(source).where(*(source.c[name] == value for name, value in equal.items())).order_by(source.c.seq)
        return [dict(row._mapping) for row in self.read(statement)]  # noqa: SLF001  (SQLAlchemy's public name)

    def latest_versions(self) -> dict[str, dict[str, Any]]:
        """The newest row of program_versions for each program."""
        newest: dict[str, dict[str, Any]] = {}
        for row in self.rows("program_versions"):
            if row["program"] not in newest or row["version"] > newest[row["program"]]["version"]:
                newest[row["program"]] = row
        return newest

    def statuses(self) -> dict[str, str]:
        """The newest status of each program."""
        ordered = sorted(self.rows("program_statuses"), key=lambda row: (row["effective_at"], row["seq"]))
        return {row["program"]: row["status"] for row in ordered}

    def latest_policy(self) -> dict[str, Any] | None:
        """The newest row of policy_versions."""
        rows = self.rows("policy_versions")
        return max(rows, key=lambda row: row["version"]) if rows else None

    def approved_versions(self) -> set[tuple[str, int]]:
        """(program, version) pairs that a person approved."""
        return {(row["program"], row["version"]) for row in self.rows("approvals")}

    def landed_file_ids(self) -> set[str]:
        """Content hashes of the files that were landed."""
        return {row[0] for row in self.read(sa.select(tables.landed_files.c.file_id).distinct())}

    def last_applied(self) -> datetime | None:
        """The latest as_of whose plan was applied."""
        with self.reading() as connection:
            latest: datetime | None = connection.execute(sa.select(sa.func.max(tables.applied_plans.c.as_of))).scalar()
            return latest

    def verify(self) -> list[str]:
        """Check the hash chain of the audit trail; an empty list when it is whole."""
        trail = tables.audit_trail
        with self.reading() as connection:
            result = connection.execution_options(yield_per=10_000).execute(sa.select(trail).order_by(trail.c.seq))
            return audit.broken_links(result.mappings())  # type: ignore[arg-type]

    def copy_to_warehouse(self, connection: duckdb.DuckDBPyConnection, only: Mapping[str, str] | None = None) -> dict[str, int]:
        """Bring schema `ledger` of the warehouse up to date; returns new rows per table. See `winback.ledger.warehouse_copy`."""
        return warehouse_copy.copy(self.engine, connection, only)

    def present(self, what: str, *, alone: bool = False) -> AbstractContextManager[bool]:
        """Be seen at work by all who have this ledger open. See `winback.ledger.presence`."""
        return presence.present(self.engine, what, alone=alone)

    def at_work(self, what: str) -> int | None:
        """How many are present at `what`; None on SQLite, which cannot tell."""
        return presence.at_work(self.engine, what)


def open_ledger(settings: Settings) -> Ledger:
    """Open the ledger of `settings.ledger`, making or migrating its tables where needed.

    Raises
    ------
    BadConfig
        The URL cannot be used, or the ledger was made by a newer Winback.
    Busy
        Another process is migrating it and does not finish.
    """
    return open_ledger_at(settings.ledger)


def open_ledger_at(address: str) -> Ledger:
    """`open_ledger` for a SQLAlchemy URL: `sqlite:///` and an absolute path, or `postgresql://user@host/database`."""
    try:
        url = make_url(address)
    except ArgumentError:
        raise BadConfig(f"WINBACK_LEDGER_URL is not a database URL. Allowed: {_ALLOWED}.") from None
    backend = url.get_backend_name()
    if backend == "sqlite":
        engine = _sqlite_engine(url)
    elif backend in ("postgresql", "postgres"):
        engine = sa.create_engine(url.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
    else:
        raise BadConfig(f"WINBACK_LEDGER_URL names {backend!r}. Allowed: {_ALLOWED}.")
    try:
        if _version(engine) != tables.SCHEMA_VERSION:
            _migrate(engine)
    except OperationalError as problem:
        engine.dispose()
        busy = _busy_or(problem)
        if busy is not problem:
            raise busy from None
        shown = url.render_as_string(hide_password=True)
        raise BadConfig(f"The ledger at {shown} cannot be opened: {str(problem.orig).strip().splitlines()[0]}") from None
    except BaseException:
        engine.dispose()
        raise
    return Ledger(engine)


def _sqlite_engine(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise BadConfig(f"WINBACK_LEDGER_URL names no file. The ledger is the only state: give one, as in {_SQLITE_EXAMPLE}.")
    if not Path(url.database).is_absolute():
        raise BadConfig(
            f"WINBACK_LEDGER_URL names the relative path {url.database}, which is another file in every folder. "
            f"Give the absolute path, with four slashes, as in {_SQLITE_EXAMPLE}."
        )
    database = Path(url.database)
    database.parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        # Transactions are begun below, explicitly: the driver's own rules would begin a read that later turns into a write.
        connection.isolation_level = None
        use_write_ahead_log(connection, database)
        # A claim must be on disk before its message leaves: NORMAL survives a killed process but may lose commits in a power cut.
        # fullfsync makes macOS flush the drive's cache too; elsewhere it does nothing.
        connection.execute("pragma synchronous = full")
        connection.execute("pragma fullfsync = on")
        connection.execute("pragma cache_size = -65536")
        # Ids are hashes: every commit touches pages all over the file. Moving them from the log to the file in large lots (64 MB)
        # writes each page once instead of every other commit.
        connection.execute("pragma wal_autocheckpoint = 16384")
        connection.execute("pragma temp_store = memory")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("ledger_write", False)
        connection.exec_driver_sql("begin immediate" if writes else "begin")

    return engine


def _version(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return _version_in(connection)


def _version_in(connection: Connection) -> str | None:
    if connection.dialect.name == "sqlite":
        exists = connection.exec_driver_sql("select 1 from sqlite_master where type = 'table' and name = 'alembic_version'").scalar()
    else:
        exists = connection.exec_driver_sql("select to_regclass('alembic_version')").scalar()
    version: str | None = connection.exec_driver_sql("select version_num from alembic_version").scalar() if exists else None
    return version


def _migrate(engine: Engine) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    with engine.connect().execution_options(ledger_write=True) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"select pg_advisory_xact_lock({_MIGRATION_LOCK})")
        found = _version_in(connection)
        if found is not None and found not in known:
            raise BadConfig(
                f"The ledger is at schema version {found}; this Winback knows versions up to {tables.SCHEMA_VERSION}. "
                "Install the Winback that made it, or a newer one."
            )
        if found != tables.SCHEMA_VERSION:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _busy_or(problem: OperationalError) -> Exception:
    if "locked" in str(problem.orig) or "busy" in str(problem.orig):
        return Busy(
            f"The ledger has been held by another process for {BUSY_SECONDS} seconds. Nothing was changed; try again when it has finished."
        )
    return problem
