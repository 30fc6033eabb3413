"""What could not be read, kept for a person to look at: `<home>/inbox/refused/`, bounded, and gone by itself after a while.

Only what a provider has signed comes here, so nobody else can fill it. It holds what the provider sent, addresses included: files are
readable by their owner only.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

MOST_FILES = 200
MOST_BYTES = 50_000_000
LARGEST = 1_000_000
KEPT = timedelta(days=30)


class RefusedFolder:
    """Keeps at most `MOST_FILES` things of at most `LARGEST` bytes each, together at most `MOST_BYTES`, for `KEPT`. Full means full."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, source: str, reason: str, content: bytes, now: datetime) -> bool:
        """Keep one thing, once however often it comes; False where there is no room, or nothing can be written."""
        try:
            return self._keep(source, reason, content, now)
        except OSError:
            return False

    def _keep(self, source: str, reason: str, content: bytes, now: datetime) -> bool:
        name = f"{source}-{sha256(content).hexdigest()[:32]}.txt"
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._tidy(now)
        target = self._folder / name
        if target.exists():
            return True
        files = [path.stat().st_size for path in self._folder.glob("*.txt")]
        head = f"{now:%Y-%m-%d %H:%M:%S} UTC, {source}: {reason}; {len(content)} bytes\n\n".encode()
        if len(files) >= MOST_FILES or sum(files) + min(len(content), LARGEST) > MOST_BYTES:
            return False
        with suppress(FileExistsError):
            handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(head + content[:LARGEST])
        return True

    def _tidy(self, now: datetime) -> None:
        for path in self._folder.glob("*.txt"):
            with suppress(FileNotFoundError):
                written = datetime.fromtimestamp(path.stat().st_mtime, UTC).replace(tzinfo=None)
                if now - written > KEPT:
                    path.unlink()
