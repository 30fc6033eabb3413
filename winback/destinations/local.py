"""The outbox: a destination like any other that writes files instead of calling a provider.

    email/<date>/<message id>.eml         sms/<date>.jsonl    push/<date>.jsonl    task/<date>.jsonl
    ads/<platform>/<audience>/<date>-<add|remove>.csv         change id, identifier type, hash

Writing a message twice leaves one: an index (index.db) knows what was taken and where it stands. Lines that were written and not
noted in the index (the process died in between) are cut off before the next ones are added, and so are never there twice.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import threading
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from winback.destinations.base import AudienceChange, Capabilities, Channel, Contact, Message, Outcome, Result
from winback.destinations.config import Sender
from winback.destinations.faults import Faults
from winback.destinations.identifiers import IDENTIFIERS
from winback.destinations.mime import build_mime
from winback.errors import RejectItem
from winback.write_ahead import use_write_ahead_log

CAPABILITIES = Capabilities(channels=frozenset(Channel), batch_size=500, idempotent=True, can_ask=True)

_NO_SENDER = Sender("winback@example.com", "Winback")
_SAFE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,120}")
_BUSY_SECONDS = 30


class _Index:
    """What the outbox holds: name -> file. One transaction per batch, which is also the lock between processes."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = threading.Lock()
        self._database = sqlite3.connect(folder / "index.db", timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        use_write_ahead_log(self._database, folder / "index.db")
        # Files are not flushed to disk either: the outbox survives a killed process, not a power cut. The ledger does.
        self._database.execute("pragma synchronous = off")
        self._database.execute("create table if not exists taken (name text primary key, file text not null) without rowid")
        self._database.execute("create table if not exists ends (file text primary key, bytes integer not null) without rowid")
        with self.transaction():
            for file, end in self._database.execute("select file, bytes from ends").fetchall():
                path = folder / file
                if path.exists() and path.stat().st_size > end:
                    os.truncate(path, end)

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._lock:
            self._database.execute("begin immediate")
            try:
                yield
            except BaseException:
                self._database.execute("rollback")
                raise
            self._database.execute("commit")

    def file_of(self, name: str) -> str | None:
        row = self._database.execute("select file from taken where name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def take(self, name: str, file: str) -> None:
        self._database.execute("insert into taken values (?, ?)", (name, file))

    def begin(self, file: str) -> None:
        """Note a file before the first lines are added to it, in a transaction of its own: what is not confirmed can then be cut off."""
        self._database.execute("insert or ignore into ends values (?, 0)", (file,))

    def append(self, file: str, text: str) -> None:
        """Add whole lines to a file of the outbox; part of the transaction, as it is cut off again where that fails."""
        path = self._folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        row = self._database.execute("select bytes from ends where file = ?", (file,)).fetchone()
        with path.open("ab") as stream:
            stream.truncate(row[0] if row else 0)
            stream.write(text.encode())
            end = stream.seek(0, 2)
        self._database.execute("insert or replace into ends values (?, ?)", (file, end))


class LocalOutbox:
    """Takes messages of every channel. `faults` makes it misbehave on demand; see `winback.destinations.faults`."""

    name = "outbox"
    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, folder: Path, *, sender: Sender | None = None, faults: Faults | None = None) -> None:
        self._folder = folder
        self._sender = sender or _NO_SENDER
        self._faults = faults or Faults()
        self._index = _Index(folder)

    def send(self, messages: Sequence[Message], now: datetime) -> list[Result]:
        self._faults.before(len(messages))
        emails: dict[str, bytes] = {}
        refused: dict[str, Result] = {}
        # What is here already is answered as it was the first time, whatever would be said of it now.
        here = self._held(messages)
        arriving = [message for message in messages if message.message_id not in here]
        for message in arriving:
            refusal = self._faults.refusal()
            if refusal is None and message.channel is Channel.EMAIL:
                try:
                    emails[message.message_id] = build_mime(message, self._sender, now)
                except RejectItem as problem:
                    refusal = Result(Outcome.REJECTED, problem.reason)
            elif refusal is None and not message.to:
                refusal = Result(Outcome.REJECTED, "no address")
            if refusal is not None:
                refused[message.message_id] = refusal
        self._write([message for message in arriving if message.message_id not in refused], emails, now)
        return self._faults.after([refused.get(message.message_id) or _accepted(message.message_id) for message in messages])

    def _write(self, messages: Sequence[Message], emails: dict[str, bytes], now: datetime) -> None:
        lines: dict[str, list[str]] = {}
        # Places are noted, for good, before anything is written: whatever dies below, a repeated message is there once, whatever the day.
        with self._index.transaction():
            for channel in {message.channel for message in messages} - {Channel.EMAIL}:
                self._index.begin(f"{channel}/{now:%Y-%m-%d}.jsonl")
            for message in messages:
                if message.channel is Channel.EMAIL and self._index.file_of(message.message_id) is None:
                    self._index.take(message.message_id, f"email/{now:%Y-%m-%d}/{message.message_id}.eml")
        with self._index.transaction():
            for message in messages:
                file = self._index.file_of(message.message_id)
                if message.channel is Channel.EMAIL:
                    self._write_email(str(file), emails[message.message_id])
                elif file is None:
                    file = f"{message.channel}/{now:%Y-%m-%d}.jsonl"
                    self._index.take(message.message_id, file)
                    lines.setdefault(file, []).append(_line(message, now))
            for file, added in lines.items():
                self._index.append(file, "".join(added))

    def _write_email(self, file: str, content: bytes) -> None:
        path = self._folder / file
        temporary = path.with_suffix(".part")
        try:
            temporary.write_bytes(content)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content)
        temporary.replace(path)

    def resolve(self, messages: Sequence[Message], now: datetime) -> list[Result]:  # noqa: ARG002
        """Accepted where the outbox holds the message, else deferred: it never arrived."""
        here = self._held(messages)
        return [
            _accepted(message.message_id) if message.message_id in here else Result(Outcome.DEFERRED, "not in the outbox")
            for message in messages
        ]

    def _held(self, messages: Sequence[Message]) -> Set[str]:
        with self._index.transaction():
            files = {message.message_id: self._index.file_of(message.message_id) for message in messages}
        return {message_id for message_id, file in files.items() if file is not None and (self._folder / file).exists()}

    def check(self) -> str:
        return f"outbox: writes files to {self._folder}; nothing leaves this machine"

    def close(self) -> None:
        self._index.close()


class LocalAudiences:
    """Takes changes of the ad audiences of one platform as files of hashed identifiers."""

    capabilities: ClassVar[Capabilities] = Capabilities(channels=frozenset({Channel.ADS}), batch_size=10_000, idempotent=True)

    def __init__(self, folder: Path, platform: str, *, faults: Faults | None = None) -> None:
        self.name = f"outbox_{platform}"
        self._platform = platform
        self._folder = folder
        self._faults = faults or Faults()
        self._index = _Index(folder)

    def identifiers(self, contact: Contact) -> tuple[tuple[str, str], ...]:
        return IDENTIFIERS[self._platform](contact)

    def change(self, changes: Sequence[AudienceChange], now: datetime) -> list[Result]:
        self._faults.before(len(changes))
        results = [self._judged(change) for change in changes]
        lines: dict[str, list[str]] = {}
        files = [f"ads/{self._platform}/{change.audience}/{now:%Y-%m-%d}-{change.operation}.csv" for change in changes]
        with self._index.transaction():
            for file in {file for file, result in zip(files, results, strict=True) if result.outcome is Outcome.ACCEPTED}:
                self._index.begin(file)
        with self._index.transaction():
            for change, file, result in zip(changes, files, results, strict=True):
                if result.outcome is not Outcome.ACCEPTED or self._index.file_of(change.change_id) is not None:
                    continue
                self._index.take(change.change_id, file)
                lines.setdefault(file, []).extend(f"{change.change_id},{kind},{value}\n" for kind, value in change.identifiers)
            for file, added in lines.items():
                self._index.append(file, "".join(added))
        return self._faults.after(results)

    def _judged(self, change: AudienceChange) -> Result:
        if self._index.file_of(change.change_id) is None:
            if refusal := self._faults.refusal():
                return refusal
            if not _SAFE_NAME.fullmatch(change.audience):
                return Result(Outcome.REJECTED, "the audience's name cannot be a folder")
            if not change.identifiers:
                return Result(Outcome.REJECTED, "no identifiers")
        return _accepted(change.change_id)

    def check(self) -> str:
        return (
            f"outbox: writes audience changes for {self._platform} to {self._folder / 'ads' / self._platform}; nothing leaves this machine"
        )

    def close(self) -> None:
        self._index.close()


def _accepted(item_id: str) -> Result:
    return Result(Outcome.ACCEPTED, provider_id=item_id)


def _line(message: Message, now: datetime) -> str:
    content = {
        "message_id": message.message_id,
        "sent_at": now.isoformat(" ", "seconds"),
        "channel": message.channel,
        "customer_id": message.customer_id,
        "to": message.to,
        "program": message.program,
        "program_version": message.program_version,
        "step_no": message.step_no,
        "content": message.content,
        "title": message.subject,
        "text": message.text,
        **({"data": dict(message.data)} if message.data else {}),
    }
    return json.dumps(content, ensure_ascii=False) + "\n"
