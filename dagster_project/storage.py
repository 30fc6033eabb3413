"""Dagster's own SQLite storage, with its event log's connections kept open.

Dagster opens and closes a database engine for each of the thousand events of a day, which costs more than the day's SQL (5 ms an event
instead of 13, and most of the waiting). Where many people or workers share one instance, PostgreSQL takes its place: docs/deployment.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy.pool import StaticPool

_BUSY_SECONDS = 30


class KeptOpenEventLog(SqliteEventLogStorage):
    """The event log with one connection per database file, kept until `dispose`."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: dict[str, sa.Engine] = {}
        super().__init__(base_dir, inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[sa.Connection]:
        with self._db_lock:
            address = self.conn_string_for_shard(shard)
            engine = self._engines.get(address)
            if engine is None:
                engine = sa.create_engine(
                    address, poolclass=StaticPool, connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False}
                )
                self._engines[address] = engine
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def dispose(self) -> None:
        for engine in self._engines.values():
            engine.dispose()
        self._engines.clear()
        super().dispose()


class KeptOpenStorage(DagsterSqliteStorage):
    """Runs, events and schedules in SQLite files below `base_dir`, where Dagster's own storage would put them."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        self._event_log_storage = KeptOpenEventLog(str(Path(base_dir) / "history" / "runs") + "/")

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Any) -> Self:
        return cls.from_local(inst_data=inst_data, **config_value)
