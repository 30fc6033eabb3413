"""The data folder: which files are there, what they hold by content, and which have not been seen yet."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from winback.errors import BadConfig, BadInput
from winback.landing.mapping import Mapping, load_mapping
from winback.settings import Settings

_SEEN = "landing-seen.json"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Files that the last landing has not seen in their present state. `fingerprint` names that set of files."""

    files: list[str]
    fingerprint: str
    explanation: str


def data_folder(settings: Settings, data: Path | None = None) -> Path:
    """The folder to land.

    Raises
    ------
    BadConfig
        None is set, or it is not there.
    """
    folder = data or settings.data
    if folder is None:
        raise BadConfig(
            "WINBACK_DATA: no folder of source files is set. Give --data with the folder of your files, or run the demo with --demo."
        )
    if not folder.is_dir():
        raise BadConfig(f"WINBACK_DATA: found {folder}, which is not a folder. Give the folder that holds your files.")
    return folder


def list_files(folder: Path) -> list[str]:
    """Paths below the folder, hidden ones left out, in the order in which they are landed."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith((".", "_", "~$")) for part in path.relative_to(folder).parts)
    )


def content_hash(path: Path) -> str:
    """The identity of a file: its content, not its name or date.

    Raises
    ------
    BadInput
        The file cannot be opened.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as source:
            while block := source.read(1 << 20):
                digest.update(block)
    except OSError as problem:
        raise BadInput(f"{path.name}: cannot be opened ({problem.strerror}). Make it readable, or take it out of the folder.") from None
    return digest.hexdigest()


def waiting_files(settings: Settings) -> Waiting:
    """Files that are new or have changed since the last landing, by size and date: cheap enough to ask every minute.

    Only says what is worth a run; landing itself goes by content.
    """
    try:
        folder = data_folder(settings)
        mapping = load_mapping(settings)
    except BadConfig as problem:
        return Waiting([], "", str(problem))
    present = states(folder, mapping)
    seen = _read_seen(settings)
    files = [file for file, state in present.items() if seen.get(file) != state]
    if not files:
        return Waiting([], "", f"no new file in {folder}")
    told = json.dumps([[file, present[file]] for file in files])
    return Waiting(files, hashlib.sha256(told.encode()).hexdigest()[:16], f"{len(files)} new or changed files in {folder}")


def states(folder: Path, mapping: Mapping) -> dict[str, list[int]]:
    """Size and date of each file that the mapping names."""
    found = {}
    for file in list_files(folder):
        if mapping.sources(file):
            details = (folder / file).stat()
            found[file] = [details.st_size, details.st_mtime_ns]
    return found


def remember_seen(settings: Settings, seen: dict[str, list[int]]) -> None:
    """Note what a landing has looked at. Losing the note costs a landing that finds nothing new."""
    settings.root.mkdir(parents=True, exist_ok=True)
    (settings.root / _SEEN).write_text(json.dumps(seen), encoding="utf-8")


def _read_seen(settings: Settings) -> dict[str, list[int]]:
    try:
        seen = json.loads((settings.root / _SEEN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return seen if isinstance(seen, dict) else {}
