"""A small project to try programs in: `project(...)` makes one on disk, with two audiences and two segments."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from winback.ledger import Ledger, open_ledger_at
from winback.settings import Settings

EXAMPLES = Path(__file__).parent / "examples"
AUDIENCES = ("faded", "lapsed")
SEGMENTS = """
select 1 as not_a_segment from {{ ref('elsewhere') }}
)

select
    customer_id,
    order_count > 0 as customer,  -- anyone who bought
    cast(lifetime_value as {{ type_double() }}) >= high_value_from as high_value
from customers as c
"""

MakeProject = Callable[..., Settings]


@pytest.fixture
def project(tmp_path: Path) -> MakeProject:
    """`project({"name.yml": text, ...})` writes files under programs/ (bytes or text) and returns the settings of that project."""

    def make(files: dict[str, str | bytes] | None = None, *, folder: str = "project") -> Settings:
        root = tmp_path / folder
        if not root.exists():
            shutil.copytree(EXAMPLES / "surroundings", root)
            models = root / "dbt_project" / "models"
            for name in AUDIENCES:
                path = models / "marts" / "audiences" / f"{name}.sql"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("select 1\n")
            segmented = models / "intermediate" / "customers" / "int_customers__segmented.sql"
            segmented.parent.mkdir(parents=True)
            segmented.write_text(SEGMENTS)
        for name, content in (files or {}).items():
            path = root / "programs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return Settings(project=root, home=tmp_path / "home")

    return make


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with open_ledger_at(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened
