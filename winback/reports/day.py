"""Make and save the report of a day."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from winback.charts import Chart
from winback.reports.documents import html, markdown
from winback.reports.figures import Figures, gather
from winback.reports.layout import sections
from winback.settings import Settings

if TYPE_CHECKING:
    from winback.ledger import Ledger


@dataclass(frozen=True)
class Report:
    """One day in several forms, all of the same figures.

    Attributes
    ----------
    markdown : str
        With the charts in block characters; the Dagster UI shows it.
    numbers : dict
        Single numbers under stable names, for plotting over days.
    """

    figures: Figures
    markdown: str
    html: str
    charts: list[Chart]
    numbers: dict[str, int | float]
    markdown_path: Path
    html_path: Path


def day_report(settings: Settings, connection: duckdb.DuckDBPyConnection, ledger: Ledger, as_of: datetime) -> Report:
    """Report the day that ends at `as_of`; saved as `reports/<as_of date>.md`, `.html` and `.json`, replacing an earlier one.

    Raises
    ------
    BadInput
        The marts are missing, or of another day.
    """
    figures = gather(settings, connection, ledger, as_of)
    content = sections(figures)
    stem = settings.reports / f"{as_of:%Y-%m-%d}"
    report = Report(
        figures=figures,
        markdown=markdown(figures, content),
        html=html(figures, content),
        charts=[section.chart for section in content if section.chart],
        numbers=figures.numbers(),
        markdown_path=stem.with_suffix(".md"),
        html_path=stem.with_suffix(".html"),
    )
    settings.reports.mkdir(parents=True, exist_ok=True)
    _write(report.markdown_path, report.markdown)
    _write(report.html_path, report.html)
    _write(stem.with_suffix(".json"), figures.model_dump_json(indent=2) + "\n")
    return report


def _write(path: Path, text: str) -> None:
    """In one step: somebody may be reading the file of an earlier run of the day."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(text, encoding="utf-8")
    new.replace(path)
