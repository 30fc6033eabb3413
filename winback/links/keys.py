"""The keys that sign links: newest first, the newest signs, all of them verify.

An unsubscribe link must work for years after its message, so a key that ever signed is never thrown away.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from winback.clock import unguessable_token
from winback.errors import BadConfig
from winback.settings import Settings

VARIABLE = "WINBACK_LINK_KEYS"
FILE_NAME = "link_keys"
SHORTEST_KEY = 32

_NAME = re.compile(r"[A-Za-z0-9_-]{1,16}")
_ALLOWED = "allowed: name:base64 of at least 32 random bytes, newest first, separated by commas, e.g. from `openssl rand -base64 32`"
_HEADER = """\
# Signs the links in messages. Newest first: the first line signs, all of them are believed.
# Keep every line for as long as its messages are read, which is years: without it their unsubscribe links stop working.
"""


@dataclass(frozen=True, slots=True)
class Key:
    """One signing key. `name` is public and stands in every link that it signed."""

    name: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Keys, newest first."""

    keys: tuple[Key, ...]

    @property
    def newest(self) -> Key:
        return self.keys[0]

    def named(self, name: str) -> Key | None:
        return next((key for key in self.keys if key.name == name), None)


def link_keys(settings: Settings, environment: Mapping[str, str] | None = None) -> KeyRing:
    """The keys of `WINBACK_LINK_KEYS`; without it, those of the file `link_keys` of the home, which is made (mode 0600) where missing.

    Raises
    ------
    BadConfig
        An entry is no key (what it holds is not shown), or several machines may need the same keys and the variable is not set.
    """
    value = (os.environ if environment is None else environment).get(VARIABLE, "").strip()
    if value:
        return read_keys(value, VARIABLE)
    path = settings.root / FILE_NAME
    if not path.is_file():
        if settings.clock == "real" and not settings.ledger.startswith("sqlite"):
            raise BadConfig(
                f"{VARIABLE} is not set, and this ledger can be used from several machines, which must sign links with the same keys. "
                f"Set it for each of them ({_ALLOWED})."
            )
        _make(path)
    return read_keys(path.read_text(encoding="utf-8"), str(path))


def read_keys(text: str, where: str) -> KeyRing:
    """Keys from text: entries separated by commas or lines; `#` begins a comment line."""
    entries = [
        entry.strip() for line in text.splitlines() if not line.lstrip().startswith("#") for entry in line.split(",") if entry.strip()
    ]
    keys: list[Key] = []
    for number, entry in enumerate(entries, start=1):
        name, colon, encoded = entry.partition(":")
        if not colon or not _NAME.fullmatch(name):
            raise BadConfig(f"{where}: entry {number} has no name (letters, digits, - and _, at most 16) before a colon; {_ALLOWED}.")
        if any(key.name == name for key in keys):
            raise BadConfig(f"{where}: entry {number} has the name {name} again; a key's name is never used twice.")
        secret = _decoded(encoded)
        if secret is None or len(secret) < SHORTEST_KEY:
            found = "no base64" if secret is None else f"{len(secret)} bytes"
            raise BadConfig(f"{where}: entry {number} ({name}) holds {found}; {_ALLOWED}.")
        keys.append(Key(name, secret))
    if not keys:
        raise BadConfig(f"{where} holds no key; {_ALLOWED}.")
    return KeyRing(tuple(keys))


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(
            text.strip().replace("-", "+").replace("_", "/").rstrip("=") + "=" * (-len(text.strip().rstrip("=")) % 4), validate=True
        )
    except (binascii.Error, ValueError):
        return None


def _make(path: Path) -> None:
    """One new key in a file that only its owner reads. Of several processes that try, one wins and all use its key."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{FILE_NAME}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(f"{_HEADER}h{unguessable_token(3)}:{unguessable_token(SHORTEST_KEY)}\n")
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
    finally:
        Path(temporary).unlink()
