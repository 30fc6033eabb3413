"""The report as Markdown (the Dagster UI, a file) and as one HTML page that asks for nothing from outside.

Each chart stands beside a table of the same figures.
"""

from __future__ import annotations

from html import escape
from string import Template

from winback import charts
from winback.reports.figures import Figures
from winback.reports.layout import Section, Table

_STYLE = """
body { margin: 0 auto; padding: 1.5rem; max-width: 60rem; background: var(--card); }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .3rem; }
p { margin: .3rem 0 .8rem; } figure { margin: .6rem 0 1rem; max-width: 44rem; } figcaption { font-weight: 600; margin-bottom: .5rem; }
.tables { display: flex; flex-wrap: wrap; column-gap: 3rem; align-items: start; } .scroll { margin: .8rem 0; } .why { min-width: 17rem; }
"""

_DRAW = """
const known = JSON.parse(document.getElementById("charts").textContent);
for (const place of document.querySelectorAll("[data-chart]")) charts.mount(place, known[place.dataset.chart]);
"""

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="$policy">
<title>$title</title>
<style>$style</style>
</head>
<body>
$body
<script type="application/json" id="charts">$charts</script>
<script>$script</script>
</body>
</html>
""")


def headline(figures: Figures) -> str:
    """The day in a sentence."""
    sent = sum(row.outcomes.get("accepted", 0) for row in figures.sent_for_day if row.channel != "task")
    return (
        f"Everything before {figures.as_of:%Y-%m-%d %H:%M} UTC is counted. {figures.considered:,} members of live programs' audiences, "
        f"{figures.admitted:,} admitted. Messages accepted so far, of those that this day's run planned: {sent:,}."
    )


def markdown(figures: Figures, sections: list[Section]) -> str:
    """GitHub-flavoured Markdown without HTML: tables, and charts in block characters."""
    lines = [f"# Win-back report for {figures.day:%A, %Y-%m-%d}", ""]
    for note in figures.notes:
        lines += [f"> **Notice:** {note.replace('<', chr(92) + '<')}", ""]
    lines += [headline(figures), ""]
    for section in sections:
        lines += [f"## {section.title}", "", section.text, ""]
        if section.chart:
            lines += [f"**{section.chart.title}**", "", "```text", section.chart.text(), "```", ""]
        for table in section.tables:
            lines += [*_markdown_table(table), ""]
    return "\n".join(lines)


def _markdown_table(table: Table) -> list[str]:
    if not table.rows:
        return [f"No {table.headings[0]}: nothing to show."]
    numeric = _numeric(table)
    return [
        "| " + " | ".join(table.headings) + " |",
        "|" + "|".join("--:" if right else "---" for right in numeric) + "|",
        *("| " + " | ".join(_text(cell).replace("|", "\\|") for cell in row) + " |" for row in table.rows),
    ]


def html(figures: Figures, sections: list[Section]) -> str:
    """One file: styles, figures and the script that draws them inside, no request."""
    title = f"Win-back report for {figures.day:%Y-%m-%d}"
    parts = [f"<h1>{title}</h1>", f'<p class="quiet">{escape(headline(figures))}</p>']
    parts += [f'<p class="notice" role="note"><strong>Notice:</strong> {escape(note)}</p>' for note in figures.notes]
    drawn = {section.chart.name: section.chart.spec for section in sections if section.chart}
    for section in sections:
        emphasised = escape(section.text).split("**")
        text = "".join(f"<strong>{part}</strong>" if position % 2 else part for position, part in enumerate(emphasised))
        parts.append(f"<section><h2>{escape(section.title)}</h2><p>{text}</p>")
        if section.chart:
            caption = escape(section.chart.title)
            parts.append(f'<figure><figcaption>{caption}</figcaption><div class="chart" data-chart="{section.chart.name}"></div></figure>')
        parts += ['<div class="tables">', *(_html_table(table) for table in section.tables), "</div></section>"]
    style, script = charts.look() + _STYLE, charts.script() + _DRAW
    return _PAGE.substitute(
        policy=charts.content_policy([script], [style]),
        title=title,
        style=style,
        body="\n".join(parts),
        charts=charts.embedded(drawn),
        script=script,
    )


def _html_table(table: Table) -> str:
    if not table.rows:
        return f'<p class="quiet">No {escape(table.headings[0])}: nothing to show.</p>'
    right = [
        ' class="number"' if numeric else ' class="why"' if heading == "why" else ""
        for heading, numeric in zip(table.headings, _numeric(table), strict=True)
    ]
    head = "".join(f'<th scope="col"{style}>{escape(heading)}</th>' for heading, style in zip(table.headings, right, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{style}>{escape(_text(cell))}</td>" for cell, style in zip(row, right, strict=True)) + "</tr>"
        for row in table.rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _numeric(table: Table) -> list[bool]:
    return [all(isinstance(cell, int) for cell in column) for column in zip(*table.rows, strict=True)]


def _text(cell: str | int) -> str:
    return f"{cell:,}" if isinstance(cell, int) else cell
