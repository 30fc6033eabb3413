"""Time over size as an SVG picture, both axes logarithmic: a slope of one means twice the rows, twice the time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 460, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 132, 40, 44
_LABEL = 15

# Legible on white and on black; each line has its name at its end, so nobody has to tell colours apart.
_COLOURS = ("#8a8f98", "#2f81f7", "#8957e5", "#d29922", "#db61a2")
_STYLE = """text { font: 12px system-ui, sans-serif; fill: #24292f } .soft { fill: #57606a } .title { font-weight: 600; font-size: 13px }
.grid { stroke: #d0d7de; stroke-width: 1 } .line { fill: none; stroke-width: 2 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .soft { fill: #9da7b3 } .grid { stroke: #30363d } }"""


@dataclass(frozen=True, slots=True)
class Panel:
    """One diagram. `lines` are points (customers, seconds) by name; a name ending in `*` is drawn dashed."""

    title: str
    lines: Mapping[str, Sequence[tuple[int, float]]]


def picture(panels: Sequence[Panel]) -> str:
    """The panels beside each other, on the same axes."""
    points = [point for panel in panels for line in panel.lines.values() for point in line]
    sizes = sorted({size for size, _ in points})
    if not sizes:
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}"><text x="20" y="40">nothing measured</text></svg>\n'
        )
    seconds = _steps(min(value for _, value in points), max(value for _, value in points))
    parts = [_panel(panel, sizes, seconds, number * WIDTH) for number, panel in enumerate(panels)]
    wide = WIDTH * len(panels)
    told = "; ".join(f"{name}: " + ", ".join(f"{x:,} {y:.0f} s" for x, y in line) for panel in panels for name, line in panel.lines.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {HEIGHT}" width="{wide}" height="{HEIGHT}" role="img">\n'
        f"<title>{escape(told)}</title>\n<style>{_STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _steps(low: float, high: float) -> list[float]:
    """Round numbers from below the lowest to above the highest."""
    found = [factor * 10.0**power for power in range(-2, 7) for factor in (1, 2, 5)]
    first = max(index for index, step in enumerate(found) if step <= low)
    last = min(index for index, step in enumerate(found) if step >= high)
    return found[first : max(last, first + 1) + 1]


def _panel(panel: Panel, sizes: Sequence[int], seconds: Sequence[float], shift: int) -> str:
    low, high = math.log(sizes[0]), math.log(sizes[-1]) if len(sizes) > 1 else math.log(sizes[0]) + 1
    bottom, top = math.log(seconds[0]), math.log(seconds[-1])

    def x(size: float) -> float:
        return shift + _LEFT + (math.log(size) - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return HEIGHT - _BOTTOM - (math.log(value) - bottom) / (top - bottom) * (HEIGHT - _TOP - _BOTTOM)

    parts = [_text(shift + _LEFT, 20, panel.title, "title")]
    for step in seconds:
        parts.append(f'<line class="grid" x1="{x(sizes[0]):.1f}" x2="{x(sizes[-1]):.1f}" y1="{y(step):.1f}" y2="{y(step):.1f}"/>')
        parts.append(_text(shift + _LEFT - 8, y(step) + 4, f"{step:g} s", "soft", "end"))
    parts += [_text(x(size), HEIGHT - _BOTTOM + 20, _short(size), "soft", "middle") for size in sizes]
    parts.append(_text((x(sizes[0]) + x(sizes[-1])) / 2, HEIGHT - 6, "customers", "soft", "middle"))
    ends = {name: (x(line[-1][0]), y(line[-1][1])) for name, line in panel.lines.items() if line}
    heights = _apart({name: height for name, (_, height) in ends.items()})
    for (name, line), colour in zip(panel.lines.items(), _COLOURS, strict=False):
        if not line:
            continue
        dashed = ' stroke-dasharray="5 4"' if name.endswith("*") else ""
        along = " ".join(f"{x(size):.1f},{y(value):.1f}" for size, value in line)
        parts.append(f'<polyline class="line" stroke="{colour}"{dashed} points="{along}"/>')
        parts += [f'<circle cx="{x(size):.1f}" cy="{y(value):.1f}" r="3" fill="{colour}"/>' for size, value in line]
        parts.append(_text(ends[name][0] + 8, heights[name] + 4, name.rstrip("*"), "", "start"))
    return "\n".join(parts)


def _short(size: int) -> str:
    return f"{size / 1e6:g} M" if size >= 1e6 else f"{size / 1e3:g} k"


def _apart(heights: Mapping[str, float]) -> dict[str, float]:
    """Labels far enough from each other to be read, in their order; the whole moves up where it would leave the picture."""
    placed: dict[str, float] = {}
    lowest = -math.inf
    for name, height in sorted(heights.items(), key=lambda item: item[1]):
        lowest = placed[name] = max(height, lowest + _LABEL)
    too_far = max(0.0, lowest - (HEIGHT - _BOTTOM))
    return {name: height - too_far for name, height in placed.items()}


def _text(x: float, y: float, text: str, style: str = "", anchor: str = "start") -> str:
    kind = f' class="{style}"' if style else ""
    return f'<text{kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
