"""docs/performance.md: each benchmark writes its own part of it, between two marks."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

from winback.settings import PROJECT_ROOT

PAGE = PROJECT_ROOT / "docs" / "performance.md"


def write_part(page: Path, name: str, text: str) -> None:
    """Put `text` between the marks `<!-- name -->` and `<!-- end of name -->` of a page.

    Raises
    ------
    SystemExit
        The page has no such marks.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, also_found, after = rest.partition(end)
    if not found or not also_found:
        raise SystemExit(f"{page} has no marks {begin.strip()} and {end}: nothing was written")
    page.write_text(f"{before}{begin}\n{text.strip()}\n\n{end}{after}", encoding="utf-8")


def machine(*packages: str) -> str:
    """What figures were measured on, with the versions of `packages`."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GB of memory, {platform.system()}; "
        f"Python {platform.python_version()}, {versions}"
    )
