"""SQLite's write-ahead log, also where several processes open a new file at once."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path


def use_write_ahead_log(connection: sqlite3.Connection, file: Path) -> None:
    """Readers and one writer at once.

    SQLite does not wait while it changes the journal of a new file, whatever timeout it was given: the second of two processes would be
    refused. So they wait here, by a lock on the folder.
    """
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        connection.execute("pragma journal_mode = wal")
    finally:
        os.close(folder)
