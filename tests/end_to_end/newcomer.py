"""What a newcomer has: a small folder of CSV files, a home, and the `winback` command in processes of its own."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from winback.settings import PROJECT_ROOT

LAST_ORDER_ON = date(2025, 3, 10)
LAPSED = [f"lapsed{number:02d}" for number in range(16)]
"""Bought once, ten weeks ago."""

NEARLY = [f"nearly{number:02d}" for number in range(16)]
"""Bought once, seven weeks ago."""

RECENT = [f"recent{number:02d}" for number in range(8)]
PEOPLE = [*LAPSED, *NEARLY, *RECENT]
_BOUGHT_DAYS_BEFORE = {"lapsed": 68, "nearly": 49, "recent": 0}


def email(person: str) -> str:
    return f"{person}.private@example.com"


def phone(person: str) -> str:
    return f"+1555010{PEOPLE.index(person) + 1000}"


def token(person: str) -> str:
    return f"token-of-{person}-e3b0c44298fc1c14"


PRIVATE = [secret for person in PEOPLE for secret in (email(person), phone(person), token(person))]


def write_data(folder: Path, **replaced: list[dict[str, object]]) -> Path:
    """Files of all that a shop has; `replaced` tables have other rows, or no file where they have none."""
    folder.mkdir()
    bought = {person: LAST_ORDER_ON - timedelta(days=_BOUGHT_DAYS_BEFORE[person[:6]]) for person in PEOPLE}
    consents: list[dict[str, object]] = [
        {"customer_id": person, "channel": "email", "changed_at": bought[person], "granted": "true"} for person in PEOPLE
    ]
    people: list[dict[str, object]] = [
        {"customer_id": person, "email": email(person), "phone": phone(person), "first_name": "Ann", "created_at": "2024-06-01"}
        for person in PEOPLE
    ]
    # A row that cannot be read, with an address in it.
    people.append({"customer_id": "", "email": email(RECENT[0]), "phone": phone(RECENT[0]), "first_name": "Bo", "created_at": "soon"})
    tables: dict[str, list[dict[str, object]]] = {
        "customers": people,
        "orders": [
            {"order_id": f"o-{person}", "customer_id": person, "ordered_at": f"{day} 10:00", "status": "paid", "total": "50.00"}
            for person, day in bought.items()
        ],
        "consents": consents,
        "devices": [
            {"push_token": token(person), "customer_id": person, "platform": "ios", "active": "true", "updated_at": "2024-06-01"}
            for person in PEOPLE
        ],
    }
    for name, rows in (tables | replaced).items():
        if rows:
            with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
    return folder


@dataclass(frozen=True, slots=True)
class Shell:
    """Runs `winback` on one home. What a command says must never hold a traceback."""

    home: Path
    project: Path = PROJECT_ROOT
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, fails_with: int | None = None, project: Path | None = None) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("WINBACK_", "DAGSTER_", "DBT_"))}
        finished = subprocess.run(
            [sys.executable, "-c", "from winback.cli import main; main()", *arguments],
            env=inherited
            | {"WINBACK_HOME": str(self.home), "WINBACK_PROJECT": str(project or self.project), "COLUMNS": "200", "NO_COLOR": "1"}
            | self.environment,
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        told = f"winback {' '.join(arguments)} ended with {finished.returncode}\n{finished.stdout}\n{finished.stderr}"
        assert finished.returncode == (fails_with or 0), told
        assert "Traceback" not in finished.stdout + finished.stderr, told
        return finished


def private_in(folder: Path, *, except_in: tuple[str, ...] = ()) -> list[str]:
    """Files below a folder in which an address, phone or token of the people stands, but for those in the folders named."""
    found = []
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if path.is_file() and place.parts[0] not in except_in:
            content = path.read_bytes()
            found += [f"{place}: {secret}" for secret in PRIVATE if secret.encode() in content][:3]
    return found


def changed_project(folder: Path, *changes: tuple[str, str, str]) -> Path:
    """A project with a copy of programs/ in which (file, text, other text) was changed."""
    shutil.copytree(PROJECT_ROOT / "programs", folder / "programs")
    for name in ("dbt_project", "sources"):
        (folder / name).symlink_to(PROJECT_ROOT / name)
    for file, old, new in changes:
        path = folder / "programs" / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{file} does not say {old!r} any more"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return folder
