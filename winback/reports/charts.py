"""Charts as SVG, drawn by hand: small, sharp at any size, and nothing to import.

Bodies carry classes instead of colours, so that the HTML page can colour them for light and dark; `standalone` gives a body its own
colours on white, for places that show an image (the Dagster UI).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 640
_ROW = 26
_LABEL = 190
_VALUE = 86

# Four series at most: told apart by lightness too, for readers who see no colour.
_COLOURS = """
text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #1f2933; }
.s0 { fill: #0f766e; } .s1 { fill: #c2620e; } .s2 { fill: #64748b; } .s3 { fill: #b4bfcc; }
.faint { fill: #e5e9ef; } .axis { stroke: #94a3b8; } .quiet { fill: #52606d; }
""".strip()


@dataclass(frozen=True)
class Chart:
    """A picture with the sentence that says the same. `body` is SVG without colours."""

    name: str
    title: str
    description: str
    body: str
    height: int

    def inline(self) -> str:
        """SVG for a page that brings the colours."""
        return (
            f'<svg class="chart" role="img" viewBox="0 0 {WIDTH} {self.height}" aria-label="{escape(self.description)}">'
            f"<title>{escape(self.title)}</title>{self.body}</svg>"
        )

    def standalone(self) -> str:
        """SVG as a file of its own, on white."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{self.height}" viewBox="0 0 {WIDTH} {self.height}">'
            f'<title>{escape(self.title)}</title><style>{_COLOURS}</style><rect width="100%" height="100%" fill="#fff"/>{self.body}</svg>'
        )

    def markdown(self) -> str:
        """An image that Markdown shows without fetching anything."""
        encoded = base64.b64encode(self.standalone().encode()).decode()
        alternative = self.description.replace("[", "(").replace("]", ")")
        return f"![{alternative}](data:image/svg+xml;base64,{encoded})"


def bars(
    name: str,
    title: str,
    rows: Sequence[tuple[str, Sequence[float]]],
    *,
    series: Sequence[str] = (),
    styles: Sequence[str] = ("s0", "s1", "s2", "s3"),
    show: Callable[[float], str] = "{:,.0f}".format,
) -> Chart:
    """Horizontal bars, one row per label; several values of a row are stacked and `series` names them."""
    legend = 24 if series else 0
    height = legend + _ROW * max(len(rows), 1) + 8
    largest = max((sum(values) for _, values in rows), default=0) or 1
    room = WIDTH - _LABEL - _VALUE
    parts = [_legend(series, styles)] if series else []
    for position, (label, values) in enumerate(rows):
        top = legend + position * _ROW + 4
        parts.append(f'<text x="{_LABEL - 8}" y="{top + 14}" text-anchor="end">{escape(_short(label))}</text>')
        parts.append(f'<rect class="faint" x="{_LABEL}" y="{top}" width="{room}" height="18" rx="2"/>')
        left = float(_LABEL)
        for value, style in zip(values, styles, strict=False):
            width = room * value / largest
            if width > 0:
                parts.append(f'<rect class="{style}" x="{left:.1f}" y="{top}" width="{max(width, 1):.1f}" height="18" rx="2"/>')
            left += width
        parts.append(f'<text x="{_LABEL + room + 8}" y="{top + 14}">{escape(show(sum(values)))}</text>')
    told = "; ".join(f"{label} {' + '.join(show(value) for value in values)}" for label, values in rows) or "nothing"
    order = f" ({', '.join(series)})" if series else ""
    return Chart(name, title, f"{title}{order}: {told}", "".join(parts), height)


def columns(name: str, title: str, points: Sequence[tuple[str, float | None, bool]], *, show: Callable[[float], str]) -> Chart:
    """One column per point (label, value, certain); an uncertain value is drawn pale, a missing one is left out."""
    height, base, top = 210, 170, 24
    largest = max((value for _, value, _ in points if value is not None), default=0) or 1
    step = (WIDTH - 20) / max(len(points), 1)
    parts = [f'<line class="axis" x1="10" x2="{WIDTH - 10}" y1="{base}" y2="{base}"/>']
    for position, (label, value, certain) in enumerate(points):
        centre = 10 + step * (position + 0.5)
        parts.append(f'<text class="quiet" x="{centre:.1f}" y="{base + 18}" text-anchor="middle">{escape(label)}</text>')
        if value is None:
            continue
        tall = (base - top) * value / largest
        style = "s0" if certain else "s3"
        width = min(step * 0.7, 44)
        place = f'x="{centre - width / 2:.1f}" y="{base - tall:.1f}" width="{width:.1f}" height="{max(tall, 1):.1f}"'
        parts.append(f'<rect class="{style}" {place} rx="2"/>')
        parts.append(f'<text x="{centre:.1f}" y="{base - tall - 6:.1f}" text-anchor="middle">{escape(show(value))}</text>')
    if any(not certain for _, _, certain in points):
        parts.append(f'<rect class="s3" x="10" y="{height - 14}" width="12" height="12" rx="2"/>')
        parts.append(f'<text class="quiet" x="28" y="{height - 4}">not over yet</text>')
    told = "; ".join(
        f"{label} {'none' if value is None else show(value)}{'' if certain else ' (immature)'}" for label, value, certain in points
    )
    return Chart(name, title, f"{title}: {told or 'nothing'}", "".join(parts), height)


def _legend(series: Sequence[str], styles: Sequence[str]) -> str:
    parts, left = [], float(_LABEL)
    for label, style in zip(series, styles, strict=False):
        parts.append(f'<rect class="{style}" x="{left:.0f}" y="3" width="12" height="12" rx="2"/>')
        parts.append(f'<text class="quiet" x="{left + 18:.0f}" y="14">{escape(label)}</text>')
        left += 34 + 7.5 * len(label)
    return "".join(parts)


def _short(label: str, length: int = 27) -> str:
    return label if len(label) <= length else label[: length - 1] + "…"
