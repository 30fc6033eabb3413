"""What the published marts hold: tables, grain, columns, types, units, descriptions."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb


@dataclass(frozen=True)
class ColumnEntry:
    """One column; `unit` is empty where it has none (ids, names, flags)."""

    name: str
    type: str
    unit: str
    description: str


@dataclass(frozen=True)
class MartEntry:
    """One mart; `grain` is the sentence that says what one row is."""

    name: str
    grain: str
    description: str
    columns: tuple[ColumnEntry, ...]


ABOUT_THE_RUN = (
    MartEntry(
        name="published_run",
        grain="One row.",
        description="The run whose figures these are. Every mart beside it is of the same run. One row.",
        columns=(
            ColumnEntry("run_id", "varchar", "", "Id of the run that published"),
            ColumnEntry("as_of", "timestamp", "UTC", "The instant that the run reasoned about: nothing at or after it is counted"),
            ColumnEntry("published_at", "timestamp", "UTC", "When the run published"),
            ColumnEntry("currency", "varchar", "", "ISO 4217 code of all amounts in the marts (currency of brand.yml)"),
        ),
    ),
    MartEntry(
        name="published_notes",
        grain="One row per notice.",
        description="What to say wherever these figures are shown, such as that contact details are invented. One row per notice.",
        columns=(ColumnEntry("note", "varchar", "", "The notice"),),
    ),
)


def describe_marts(connection: duckdb.DuckDBPyConnection, manifest: Path) -> list[MartEntry]:
    """Names and types from the warehouse, words from dbt's manifest.

    A mart without documentation is listed with empty words rather than left out, and so is every mart while there is no manifest.
    """
    documented = _models(manifest)
    tables: dict[str, list[tuple[str, str]]] = {}
    rows = connection.execute("""
        select table_name, column_name, data_type
        from duckdb_columns()
        where database_name = current_database() and schema_name = 'marts'
        order by table_name, column_index
    """).fetchall()
    for table, column, kind in rows:
        tables.setdefault(table, []).append((column, kind.lower()))
    return [_entry(table, columns, documented.get(table, {})) for table, columns in tables.items()]


def as_json(marts: list[MartEntry], notes: list[str]) -> str:
    """The dictionary for machines."""
    return json.dumps({"notes": notes, "marts": [asdict(mart) for mart in marts]}, indent=2, ensure_ascii=False) + "\n"


def as_markdown(marts: list[MartEntry], notes: list[str]) -> str:
    """The dictionary for people."""
    lines = ["# Data dictionary", "", "Timestamps are UTC. Amounts are in the currency of the shop, net of discounts and refunds.", ""]
    for note in notes:
        lines += [f"> **Notice:** {note}", ""]
    lines += [f"- [{mart.name}](#{mart.name}): {mart.grain or 'not documented'}" for mart in marts]
    for mart in marts:
        lines += ["", f"## {mart.name}", ""]
        lines += [mart.description, ""] if mart.description else []
        lines += ["| column | type | unit | meaning |", "|---|---|---|---|"]
        lines += [f"| {column.name} | {column.type} | {column.unit} | {_in_a_cell(column.description)} |" for column in mart.columns]
    return "\n".join(lines) + "\n"


def _models(manifest: Path) -> dict[str, dict[str, Any]]:
    if not manifest.is_file():
        return {}
    nodes = json.loads(manifest.read_text(encoding="utf-8")).get("nodes", {})
    return {node["alias"]: node for node in nodes.values() if node["resource_type"] == "model" and node["schema"] == "marts"}


def _entry(table: str, columns: list[tuple[str, str]], model: dict[str, Any]) -> MartEntry:
    description = " ".join(model.get("description", "").split())
    sentences = [sentence.strip().rstrip(".") + "." for sentence in description.split(". ") if sentence.strip()]
    grain = next((sentence for sentence in reversed(sentences) if sentence.startswith("One row per")), "")
    words = model.get("columns", {})
    return MartEntry(
        name=table,
        grain=grain,
        description=description,
        columns=tuple(
            ColumnEntry(
                name=name,
                type=kind,
                unit=_unit(name, kind, words.get(name, {})),
                description=" ".join(words.get(name, {}).get("description", "").split()),
            )
            for name, kind in columns
        ),
    )


def _unit(name: str, kind: str, documented: dict[str, Any]) -> str:
    """The documented unit (`meta: {unit: ...}`), else what the name says by the conventions of the marts."""
    meta = {**documented.get("config", {}).get("meta", {}), **documented.get("meta", {})}
    if meta.get("unit"):
        return str(meta["unit"])
    if kind.startswith("timestamp"):
        return "UTC"
    if kind == "date":
        return "UTC date"
    if kind in {"varchar", "boolean"}:
        return ""
    parts = name.split("_")
    if "days" in parts or "interval" in parts:
        return "days" if not name.startswith("spend") else "currency"
    if "percentage" in parts or "percent" in parts:
        return "percent"
    if {"value", "spend", "revenue"} & set(parts):
        return "currency"
    if "customers" in parts:
        return "customers"
    return ""


def _in_a_cell(text: str) -> str:
    return text.replace("|", "\\|")
