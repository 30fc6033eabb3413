"""What programs may refer to: audiences, segments, templates and each other."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from winback.settings import Settings

BRAND_FILE = "brand.yml"


@dataclass(frozen=True)
class Surroundings:
    """What a program may refer to. None for what is not there to be asked, which is then not checked."""

    folder: Path
    audiences: list[str] | None
    segments: list[str] | None
    label: str = "programs"
    programs: list[str] = field(default_factory=list)

    @cached_property
    def templates(self) -> Path:
        return self.folder / "templates"

    def name(self, path: Path) -> str:
        """A file as problems name it: relative to the project."""
        return f"{self.label}/{path.relative_to(self.folder).as_posix()}"


def surroundings(settings: Settings) -> Surroundings:
    return Surroundings(
        folder=settings.programs_dir,
        audiences=settings.audiences() or None,
        segments=segment_names(settings.dbt_project),
        programs=[path.stem for path in program_files(settings.programs_dir)],
    )


_SEGMENT = re.compile(r"\bas\s+\"?([a-z_][a-z0-9_]*)\"?\s*,?\s*(--.*)?$", re.IGNORECASE)


def segment_names(dbt_project: Path) -> list[str] | None:
    """Segments: one `<condition> as <segment>` per line in the final select of int_customers__segmented.sql; None without that file."""
    files = sorted((dbt_project / "models").rglob("int_customers__segmented.sql"))
    if not files:
        return None
    lines = files[0].read_text(encoding="utf-8").splitlines()
    selects = [number for number, line in enumerate(lines) if re.match(r"\s*select\b", line, re.IGNORECASE)]
    names = []
    for line in lines[selects[-1] + 1 :] if selects else []:
        if re.match(r"\s*from\b", line, re.IGNORECASE):
            break
        match = _SEGMENT.search(line)
        if match and not line.lstrip().startswith("--"):
            names.append(match[1])
    return names


def program_files(folder: Path) -> list[Path]:
    """The YAML files of programs, brand.yml apart."""
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if path.suffix in (".yml", ".yaml") and path.name != BRAND_FILE and not path.name.startswith(".")
    )
