from __future__ import annotations

import re

from winback.engines.base import DERIVED_SCHEMAS, MARTS, READ_BY_PYTHON
from winback.settings import PROJECT_ROOT

MODELS = PROJECT_ROOT / "dbt_project" / "models"


def test_every_relation_outside_the_marts_that_python_names_is_taken_back() -> None:
    """Another would be found on DuckDB, where dbt builds in the workbench itself, and be missing or old with every other engine."""
    schemas = {path.stem: schema for schema in ("staging", "intermediate") for path in (MODELS / schema).rglob("*.sql")}
    schemas |= {path.stem: "seeds" for path in (PROJECT_ROOT / "dbt_project" / "seeds").glob("*.csv")}
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("winback", "dagster_project")
        for path in (PROJECT_ROOT / folder).rglob("*.py")
        if path != PROJECT_ROOT / "winback" / "engines" / "base.py"
    )
    # A name of one word is a relation where its schema stands before it.
    read = {
        (schema, name)
        for name, schema in schemas.items()
        if re.search(rf"\b{name}\b(?!\.sql)" if "__" in name else rf"\b{schema}\.{name}\b", code)
    }
    assert read == set(READ_BY_PYTHON)


def test_schemas_that_dbt_makes_are_known() -> None:
    configured = re.findall(r"\+schema: (\w+)", (PROJECT_ROOT / "dbt_project" / "dbt_project.yml").read_text(encoding="utf-8"))
    assert sorted(configured) == sorted(DERIVED_SCHEMAS)
    assert MARTS in DERIVED_SCHEMAS
