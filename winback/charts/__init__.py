"""Charts as plain objects, and the one script that draws them.

`draw.js` turns a chart into SVG in the reader's browser, with a text alternative, a table and CSV; `look.css` colours it for light, dark
and print. The day's report and the dashboard embed both. Where no script runs (Markdown), `Chart.text` writes bars of block characters.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

Unit = Literal["count", "percent", "points", "money", "gain", "number"]

_BAR = 32
_EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True)
class Row:
    """One bar or column: its values are stacked. `is_pale` marks what can still change; None is drawn as nothing and told as a dash."""

    label: str
    values: tuple[float | None, ...]
    style: str = ""
    is_pale: bool = False


@dataclass(frozen=True)
class Chart:
    """Bars (across) or columns (upright). `series` names the stacked values."""

    name: str
    title: str
    kind: Literal["bars", "columns"]
    rows: tuple[Row, ...]
    unit: Unit = "count"
    series: tuple[str, ...] = ()

    @property
    def spec(self) -> dict[str, Any]:
        """What `draw.js` takes."""
        return {
            "kind": self.kind,
            "title": self.title,
            "unit": self.unit,
            "series": [{"name": name, "style": f"s{number}"} for number, name in enumerate(self.series)],
            "rows": [{"label": row.label, "values": row.values, "style": row.style, "pale": row.is_pale} for row in self.rows],
        }

    def text(self) -> str:
        """The chart in block characters, for a font of one width. Stacked values are drawn as their sum and told one by one."""
        sums = [sum(value or 0 for value in row.values) for row in self.rows]
        largest = max(sums, default=0) or 1
        wide = max((len(row.label) for row in self.rows), default=0)
        lines = [f"{'':{wide}}  {' + '.join(self.series)}"] if self.series else []
        for row, total in zip(self.rows, sums, strict=True):
            told = " + ".join(self._told(value) for value in row.values) + (" (immature)" if row.is_pale else "")
            lines.append(f"{row.label:{wide}}  {_blocks(total / largest):{_BAR}}  {told}".rstrip())
        return "\n".join(lines) or "nothing"

    def _told(self, value: float | None) -> str:
        if value is None:
            return "–"
        return f"{value:.1f}%" if self.unit == "percent" else f"{value:,.0f}"


def bars(
    name: str, title: str, rows: Sequence[tuple[str, Sequence[float]]], *, series: Sequence[str] = (), styles: Sequence[str] = ()
) -> Chart:
    """One bar per label; several values of a row are stacked and `series` names them. `styles`: a colour for each row instead."""
    chosen = [Row(label, tuple(values), styles[number] if styles else "") for number, (label, values) in enumerate(rows)]
    return Chart(name, title, "bars", tuple(chosen), series=tuple(series))


def columns(name: str, title: str, points: Sequence[tuple[str, float | None, bool]], *, unit: Unit = "count") -> Chart:
    """One column per point (label, value, certain); an uncertain value is drawn pale, a missing one is left out."""
    return Chart(name, title, "columns", tuple(Row(label, (value,), is_pale=not certain) for label, value, certain in points), unit=unit)


@cache
def script() -> str:
    """The script that draws: defines `charts`."""
    return (Path(__file__).parent / "draw.js").read_text(encoding="utf-8")


@cache
def look() -> str:
    """The style sheet of every page with charts."""
    return (Path(__file__).parent / "look.css").read_text(encoding="utf-8")


def content_policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    """The content security policy of a page that holds exactly these scripts and style sheets and may ask for nothing."""
    allowed = f"script-src {_hashes(scripts)}; style-src {_hashes(styles)}; img-src data:"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def embedded(data: Any) -> str:
    """JSON that may stand inside a script element of a page."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _hashes(texts: Sequence[str]) -> str:
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in texts) or "'none'"


def _blocks(share: float) -> str:
    eighths = round(share * _BAR * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
