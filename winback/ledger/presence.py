"""Who is at work now: PostgreSQL's advisory locks, which end with the process that holds them, however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import md5

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

_SPACE = 7303
"""The first of a lock's two numbers: other programs' locks in the same database have another."""


def _number(what: str) -> int:
    return int(md5(what.encode(), usedforsecurity=False).hexdigest()[:8], 16) >> 1


@contextmanager
def present(engine: Engine, what: str, *, alone: bool = False) -> Iterator[bool]:
    """Be seen at `what` until the end of the block. `alone`: only if nobody else is; yields False where somebody is.

    Nothing is held where the database is not PostgreSQL.
    """
    if engine.dialect.name != "postgresql":
        yield True
        return
    shared = "" if alone else "_shared"
    lock = f"{shared}({_SPACE}, {_number(what)})"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        taken = bool(connection.exec_driver_sql(f"select pg_try_advisory_lock{lock}").scalar())
        if taken:
            # Not given back to the pool but closed at the end, and the lock with it.
            connection.detach()
        try:
            yield taken
        finally:
            if taken:
                # A server takes a moment to notice that a connection was closed. One that was lost has given it back.
                with suppress(DBAPIError):
                    connection.exec_driver_sql(f"select pg_advisory_unlock{lock}")


def at_work(engine: Engine, what: str) -> int | None:
    """How many are present at `what`; None where the database cannot tell."""
    if engine.dialect.name != "postgresql":
        return None
    with engine.connect() as connection:
        found: int = connection.exec_driver_sql(
            f"""
            select count(*) from pg_locks
            where locktype = 'advisory' and granted and classid = {_SPACE} and objid = {_number(what)} and objsubid = 2
                and database = (select oid from pg_database where datname = current_database())
            """
        ).scalar_one()
        return found
