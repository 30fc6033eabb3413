"""A throw-away PostgreSQL cluster for tests: made, started and removed on a free port of 127.0.0.1."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
import pytest

_numbers = count(1)


def _programs() -> Path | None:
    """The folder of initdb and pg_ctl."""
    found = shutil.which("initdb")
    candidates = [Path(found).resolve().parent] if found else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in candidates if (folder / "initdb").exists() and (folder / "pg_ctl").exists()), None)


def _unprivileged_user() -> str | None:
    """Who runs the server: PostgreSQL refuses root. None: nobody needs to be asked."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    return None


class NoPostgres(Exception):
    """PostgreSQL is not installed, or cannot be run by this user."""


@contextmanager
def cluster(*, durable: bool = False, options: Mapping[str, str] | None = None) -> Iterator[str]:
    """`postgresql://...` of a running cluster, without a database name. `durable`: commits are on disk, as in production.

    `options` are settings of the server.

    Raises
    ------
    NoPostgres
        It cannot be had here.
    """
    programs = _programs()
    if programs is None:
        raise NoPostgres("PostgreSQL is not installed (initdb and pg_ctl)")
    user = _unprivileged_user()
    if os.geteuid() == 0 and user is None:
        raise NoPostgres("PostgreSQL does not run as root, and there is no user postgres or nobody")
    folder = Path(tempfile.mkdtemp(prefix="winback-postgres-"))
    if user is not None:
        shutil.chown(folder, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(*command: str) -> None:
        subprocess.run(command, check=True, cwd=folder, user=user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    data = str(folder / "data")
    run(str(programs / "initdb"), "-D", data, "-U", "winback", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
    given = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": str(folder),
        "fsync": "on" if durable else "off",
        **(options or {}),
    }
    told = " ".join([f"-p {port}", *(f"-c {name}={value}" for name, value in given.items())])
    run(str(programs / "pg_ctl"), "-D", data, "-w", "-l", str(folder / "log"), "-o", told, "start")
    try:
        yield f"postgresql://winback@127.0.0.1:{port}"
    finally:
        run(str(programs / "pg_ctl"), "-D", data, "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """`cluster` for all tests of a process."""
    try:
        with cluster() as url:
            yield url
    except NoPostgres as missing:
        pytest.skip(f"{missing}: the same tests ran on SQLite")


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """`postgresql://...` of an empty database."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as connection:
        connection.execute(f"create database {name}")
    return f"{postgres_server}/{name}"
