"""Where Dagster keeps runs, events and schedules: SQLite files in the home, or a PostgreSQL database that several machines share.

Dagster opens and closes a connection for each of the thousand events of a day, asks each time which tables there are, and commits each of
them in two files: that costs more than the day's SQL. Here connections are kept open, a table that was seen once is taken to be there, and
what a step hands over at its end is committed together.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa
from dagster import DagsterEventType
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy.pool import StaticPool

from winback.settings import load_settings

if TYPE_CHECKING:
    from dagster import EventLogEntry
    from dagster_postgres import DagsterPostgresStorage

_BUSY_SECONDS = 30
_RENEW_CONNECTIONS_AFTER_SECONDS = 1800
_CONNECTIONS_AT_MOST = 5
# What a step hands over comes in a burst: the derivation's are five hundred. A step that takes its time between two holds nobody up longer.
_BURST_SECONDS = 0.5
_HANDED_OVER = frozenset(
    {
        DagsterEventType.STEP_OUTPUT,
        DagsterEventType.HANDLED_OUTPUT,
        DagsterEventType.ASSET_MATERIALIZATION,
        DagsterEventType.ASSET_OBSERVATION,
        DagsterEventType.ASSET_CHECK_EVALUATION,
    }
)


class KeptOpenEventLog(SqliteEventLogStorage):
    """The event log with one connection per database file, kept until `dispose`."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._connections: dict[str, sa.Connection] = {}
        self._tables_seen: set[str] = set()
        self._burst: list[sa.RootTransaction] = []
        self._end_of_burst: threading.Timer | None = None
        super().__init__(base_dir, inst_data)
        # A batch is one transaction, and its events ask for a connection again within it.
        self._db_lock = threading.RLock()  # type: ignore[assignment]

    @contextmanager
    def _connect(self, shard: str) -> Iterator[sa.Connection]:
        with self._db_lock:
            connection = self._connection(shard)
            if connection.in_transaction():
                yield connection
            else:
                with connection.begin():
                    yield connection

    def _connection(self, shard: str) -> sa.Connection:
        address = self.conn_string_for_shard(shard)
        if address not in self._connections:
            engine = sa.create_engine(address, poolclass=StaticPool, connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False})
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            # Events outlive a killed process; of a machine that loses power they may lose the last second, which decides nothing.
            sa.event.listen(engine, "connect", lambda opened, _: opened.execute("pragma synchronous = normal").close())
            self._connections[address] = engine.connect()
        return self._connections[address]

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event; what a step hands over is committed with the next event that is something else, or half a second later.

        Whoever reads through this sees it at once. A process killed within that time leaves a run that has failed without it.
        """
        with self._db_lock:
            if event.dagster_event is not None and event.dagster_event.event_type in _HANDED_OVER:
                self._join_burst(INDEX_SHARD_NAME, event.run_id)
                super().store_event(event)
            else:
                try:
                    super().store_event(event)
                finally:
                    self._commit_burst()

    def _join_burst(self, *shards: str) -> None:
        if not self._burst:
            self._end_of_burst = threading.Timer(_BURST_SECONDS, self._commit_burst)
            self._end_of_burst.daemon = True
            self._end_of_burst.start()
        for shard in shards:
            connection = self._connection(shard)
            if not connection.in_transaction():
                self._burst.append(connection.begin())

    def _commit_burst(self) -> None:
        with self._db_lock:
            if self._end_of_burst is not None:
                self._end_of_burst.cancel()
                self._end_of_burst = None
            while self._burst:
                self._burst.pop().commit()

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        with self._db_lock, ExitStack() as transactions:
            # Or a batch that fails would take the burst with it.
            self._commit_burst()
            for shard in {INDEX_SHARD_NAME, *(event.run_id for event in events)}:
                transactions.enter_context(self._connect(shard))
            super().store_event_batch(events)

    def has_table(self, table_name: str) -> bool:
        if table_name not in self._tables_seen and super().has_table(table_name):
            self._tables_seen.add(table_name)
        return table_name in self._tables_seen

    def dispose(self) -> None:
        self._commit_burst()
        for connection in self._connections.values():
            connection.close()
            connection.engine.dispose()
        self._connections.clear()
        super().dispose()


class KeptOpenStorage(DagsterSqliteStorage):
    """Runs, events and schedules in SQLite files below `base_dir`, where Dagster's own storage would put them.

    With `WINBACK_DAGSTER_URL` they are in that PostgreSQL database instead. Dagster's own file need not change, and holds no password.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        self._event_log_storage = KeptOpenEventLog(str(Path(base_dir) / "history" / "runs") + "/")

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Any) -> Self | DagsterPostgresStorage:  # type: ignore[override]
        url = load_settings().dagster_storage_url()
        return _on_postgres(url, inst_data) if url else cls.from_local(inst_data=inst_data, **config_value)


def _on_postgres(url: str, inst_data: ConfigurableClassData) -> DagsterPostgresStorage:
    from dagster_postgres import DagsterPostgresStorage

    # SQLAlchemy 2.1 would take psycopg 3, whose connections dagster-postgres closes by accident (`set_pg_statement_timeout`, 0.29).
    storage = DagsterPostgresStorage(url.replace("postgresql://", "postgresql+psycopg2://", 1), inst_data=inst_data)
    # Dagster keeps connections to PostgreSQL only in its web server; a run has more to write than that has to read.
    for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
        part.optimize_for_webserver(
            statement_timeout=0, pool_recycle=_RENEW_CONNECTIONS_AFTER_SECONDS, max_overflow=_CONNECTIONS_AT_MOST - 1
        )
    return storage
