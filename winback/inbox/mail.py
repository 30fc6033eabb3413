"""Reads a folder or an IMAP mailbox of bounces and complaints. A mail is marked as read only after its events are on disk.

Killed in between, it reads the mail again: the events have the same ids and count once.
"""

from __future__ import annotations

import imaplib
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from winback.destinations.config import FILE_NAME, MailboxListening
from winback.errors import BadConfig, RetryLater
from winback.inbox.incoming import Batch
from winback.inbox.recording import record_in
from winback.inbox.sources.mailbox import LARGEST_MAIL, only_of, read_mail
from winback.ledger import Ledger
from winback.ledger.tables import messages

BATCH = 50
READ_FOLDER = "read"


@dataclass(frozen=True, slots=True)
class MailReport:
    """Mails read, new events in them, and mails that were no report about a message of ours."""

    mails: int = 0
    events: int = 0
    ignored: int = 0


class _Place(Protocol):
    """Where mails lie: `unread` gives a handle and the content of each, `mark_read` is told what has been recorded."""

    def unread(self) -> Iterator[tuple[str, bytes]]: ...

    def mark_read(self, handles: Sequence[str]) -> None: ...


def read_mails(
    ledger: Ledger, config: MailboxListening, environment: Mapping[str, str], root: Path, clock: Callable[[], datetime]
) -> MailReport:
    """Read what is unread and record it.

    Parameters
    ----------
    root
        What a relative `folder` is relative to.

    Raises
    ------
    BadConfig
        The folder is not there, or the mailbox does not accept the user or has no such folder.
    RetryLater
        The mail server or the folder cannot be used now, or it broke off. What had been recorded stays.
    Busy
        Another process has held the ledger for too long.
    """
    mails = events = ignored = 0
    with _place(config, environment, root) as place:
        waiting: list[tuple[str, Batch]] = []
        for handle, content in place.unread():
            waiting.append((handle, read_mail(content, clock())))
            if len(waiting) == BATCH:
                events += _record(ledger, place, waiting, clock)
                ignored += sum(batch.ignored for _, batch in waiting)
                mails += len(waiting)
                waiting = []
        if waiting:
            events += _record(ledger, place, waiting, clock)
            ignored += sum(batch.ignored for _, batch in waiting)
            mails += len(waiting)
    return MailReport(mails, events, ignored)


def _record(ledger: Ledger, place: _Place, waiting: Sequence[tuple[str, Batch]], clock: Callable[[], datetime]) -> int:
    ids = {event.message_id for _, batch in waiting for event in batch.events if event.message_id}
    known = (
        {row[0] for row in ledger.read(sa.select(messages.c.message_id).where(messages.c.message_id.in_(sorted(ids))))} if ids else set()
    )
    found = [event for _, batch in waiting for event in only_of(batch, known).events]
    new = 0
    if found:
        with ledger.writing() as writer:
            # Asked for once the ledger is ours: nothing is recorded as of an instant that a reader has already passed.
            new = record_in(writer, found, clock()).events
    place.mark_read([handle for handle, _ in waiting])
    return new


@contextmanager
def _place(config: MailboxListening, environment: Mapping[str, str], root: Path) -> Iterator[_Place]:
    if config.folder is not None:
        folder = root / config.folder
        if not folder.is_dir():
            raise BadConfig(f"{FILE_NAME}: listen.mailbox.folder: {folder} is no folder")
        try:
            yield _Folder(folder)
        except OSError as problem:
            raise RetryLater(f"the folder of mails cannot be read or written ({type(problem).__name__})") from None
        return
    user, password = (environment.get(name, "").strip() for name in (config.username_env, config.password_env))
    if not user or not password:
        missing = config.password_env if user else config.username_env
        raise BadConfig(f"{FILE_NAME}: listen.mailbox: the environment variable {missing} is not set")
    try:
        connection = _connected(config)
        try:
            yield _Imap(connection, config, user, password)
        finally:
            with suppress(imaplib.IMAP4.error, OSError):
                connection.logout()
    except imaplib.IMAP4.abort:
        raise RetryLater("the mail server broke off") from None
    except imaplib.IMAP4.error:
        raise RetryLater("the mail server refused a command") from None
    except (OSError, ssl.SSLError, EOFError) as problem:
        raise RetryLater(f"the mail server cannot be reached ({type(problem).__name__})") from None


class _Folder:
    """A maildir (new mails move to cur/ as read), or a folder of .eml files (read ones move to read/)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._is_maildir = (folder / "new").is_dir()

    def unread(self) -> Iterator[tuple[str, bytes]]:
        files = (self._folder / "new").iterdir() if self._is_maildir else self._folder.glob("*.eml")
        for path in sorted(path for path in files if path.is_file() and not path.name.startswith(".")):
            with suppress(FileNotFoundError), path.open("rb") as file:
                yield path.name, file.read(LARGEST_MAIL + 1)

    def mark_read(self, handles: Sequence[str]) -> None:
        source = self._folder / "new" if self._is_maildir else self._folder
        target = self._folder / ("cur" if self._is_maildir else READ_FOLDER)
        target.mkdir(exist_ok=True)
        for name in handles:
            with suppress(FileNotFoundError):
                (source / name).replace(target / (f"{name.partition(':')[0]}:2,S" if self._is_maildir else name))


class _Imap:
    """An IMAP mailbox; read mails are marked \\Seen."""

    def __init__(self, connection: imaplib.IMAP4, config: MailboxListening, user: str, password: str) -> None:
        self._connection = connection
        try:
            connection.login(user, password)
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error:
            raise BadConfig(
                f"{FILE_NAME}: listen.mailbox: the mail server refuses the user; check {config.username_env} and {config.password_env}"
            ) from None
        if connection.select(f'"{config.mailbox}"')[0] != "OK":
            raise BadConfig(f"{FILE_NAME}: listen.mailbox.mailbox: the mail server has no mailbox {config.mailbox!r}")

    def unread(self) -> Iterator[tuple[str, bytes]]:
        _, found = self._connection.uid("search", "UNSEEN")
        for uid in (found[0] or b"").decode().split():
            # PEEK: fetching alone must not mark it. A mail that is too large comes cut, and is no report then.
            _, answer = self._connection.uid("fetch", uid, f"(BODY.PEEK[]<0.{LARGEST_MAIL + 1}>)")
            content = next((part[1] for part in answer if isinstance(part, tuple)), None)
            if isinstance(content, bytes):
                yield uid, content

    def mark_read(self, handles: Sequence[str]) -> None:
        self._connection.uid("store", ",".join(handles), "+FLAGS.SILENT", "(\\Seen)")


def _connected(config: MailboxListening) -> imaplib.IMAP4:
    host = config.host or ""
    if config.security == "none":
        return imaplib.IMAP4(host, config.port, timeout=30)
    trusted = ssl.create_default_context(cafile=str(config.ca_file) if config.ca_file else None)
    if config.security == "tls":
        return imaplib.IMAP4_SSL(host, config.port, ssl_context=trusted, timeout=30)
    connection = imaplib.IMAP4(host, config.port, timeout=30)
    connection.starttls(ssl_context=trusted)
    return connection
