"""The dashboard as one file: figures, styles and script inside, nothing asked from outside."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from winback import charts
from winback.dashboard.figures import Figures, Table, gather, open_published
from winback.errors import BadInput
from winback.settings import Settings

_PAGE = Path(__file__).parent / "page"


@dataclass(frozen=True)
class Dashboard:
    """The file of one day. `size` in bytes; `rows` that it carries, per table."""

    path: Path
    run_id: str
    as_of: datetime
    size: int
    rows: dict[str, int]


def write_dashboard(settings: Settings, as_of: datetime | None = None) -> Dashboard:
    """Make the dashboard of what is published, as `dashboards/<as_of date>.html`, replacing an earlier one of the day.

    Parameters
    ----------
    as_of
        The day that must be the published one; default: whichever is.

    Raises
    ------
    BadInput
        Nothing has been published, or another day, or by a version of winback without these marts.
    """
    with open_published(settings) as connection:
        figures = gather(connection)
    if as_of is not None and figures.as_of != as_of:
        day = as_of - timedelta(days=1)
        raise BadInput(
            f"The published marts are of {figures.as_of:%Y-%m-%d %H:%M}, not of {as_of:%Y-%m-%d %H:%M}. "
            f"Run that day: `winback run --date {day:%Y-%m-%d}`."
        )
    settings.dashboards.mkdir(parents=True, exist_ok=True)
    path = settings.dashboards / f"{figures.as_of:%Y-%m-%d}.html"
    new = path.with_name(f".{path.name}.{os.getpid()}")
    # In one step: somebody may be reading the file of an earlier run of the day.
    new.write_text(page(figures), encoding="utf-8")
    size = new.stat().st_size
    new.replace(path)
    return Dashboard(path, figures.run_id, figures.as_of, size, {name: len(table) for name, table in figures.tables.items()})


def page(figures: Figures) -> str:
    """The HTML of one dashboard."""
    style = charts.look() + (_PAGE / "dashboard.css").read_text(encoding="utf-8")
    script = charts.script() + (_PAGE / "dashboard.js").read_text(encoding="utf-8")
    return Template((_PAGE / "dashboard.html").read_text(encoding="utf-8")).substitute(
        policy=charts.content_policy([script], [style]),
        title=f"Win-back dashboard, {figures.as_of:%Y-%m-%d}",
        notices="".join(f'<p class="notice" role="note"><strong>Notice:</strong> {escape(note)}</p>' for note in figures.notes),
        style=style,
        script=script,
        data=charts.embedded(_data(figures)),
    )


def _data(figures: Figures) -> dict[str, Any]:
    return {
        "run": figures.run_id,
        "asOf": f"{figures.as_of:%Y-%m-%d}",
        "published": f"{figures.published_at:%Y-%m-%d %H:%M}",
        "currency": figures.currency,
        "datesJoined": figures.dates_joined,
        "exactHours": figures.exact_hours,
        "longestHours": figures.longest_hours,
        "tables": {name: _packed(table) for name, table in figures.tables.items()},
    }


def _packed(table: Table) -> dict[str, Any]:
    """Columns; a text that repeats is a number into its column's words."""
    packed: dict[str, Any] = {}
    for name, values in table.columns.items():
        words = list(dict.fromkeys(values)) if any(isinstance(value, str) for value in values) else values
        if len(words) < len(values):
            places = {word: place for place, word in enumerate(words)}
            packed[name] = {"words": words, "at": [places[value] for value in values]}
        else:
            packed[name] = values
    return packed
