"""The report as Markdown (the Dagster UI, a file) and as one HTML page that asks for nothing from outside."""

from __future__ import annotations

from html import escape

from winback.reports.figures import Figures
from winback.reports.layout import Section, Table

# Light and dark, phone and desk; the content policy forbids what the page does not do anyway: scripts and requests.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --paper: #fff; --ink: #1f2933; --quiet: #52606d; --line: #d9e0e8; --notice: #fff6e5; --edge: #c2620e;
  --s0: #0f766e; --s1: #c2620e; --s2: #64748b; --s3: #b4bfcc; --faint: #eef1f5; }}
@media (prefers-color-scheme: dark) {{ :root {{ --paper: #14181d; --ink: #e6eaef; --quiet: #a3b0bf; --line: #333c47; --notice: #33270f;
  --edge: #f0a35c; --s0: #2dd4bf; --s1: #f0a35c; --s2: #94a3b8; --s3: #566474; --faint: #20262d; }} }}
body {{ font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; color: var(--ink); background: var(--paper);
  margin: 0 auto; padding: 1.5rem; max-width: 60rem; }}
h1 {{ font-size: 1.6rem; margin: 0 0 .2rem; }} h2 {{ font-size: 1.15rem; margin: 2.2rem 0 .3rem; }}
p {{ margin: .3rem 0 .8rem; }} .quiet {{ color: var(--quiet); fill: var(--quiet); }}
.notice {{ background: var(--notice); border-left: 4px solid var(--edge); padding: .6rem .9rem; margin: 1rem 0; }}
.chart {{ width: 100%; min-width: 460px; max-width: 640px; height: auto; display: block; }}
figure {{ margin: .6rem 0; }} figcaption {{ font-weight: 600; margin-bottom: .3rem; }}
.tables {{ display: flex; flex-wrap: wrap; column-gap: 3rem; align-items: start; }}
.chart text {{ font-size: 13px; fill: var(--ink); }} .chart .axis {{ stroke: var(--quiet); }}
.s0 {{ fill: var(--s0); }} .s1 {{ fill: var(--s1); }} .s2 {{ fill: var(--s2); }} .s3 {{ fill: var(--s3); }} .faint {{ fill: var(--faint); }}
.scroll {{ overflow-x: auto; margin: .8rem 0; max-width: 100%; }} .why {{ min-width: 17rem; }}
table {{ border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; padding: .28rem .9rem .28rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }}
th {{ color: var(--quiet); font-weight: 600; }} .number {{ text-align: right; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def headline(figures: Figures) -> str:
    """The day in a sentence."""
    sent = sum(row.outcomes.get("accepted", 0) for row in figures.sent_for_day if row.channel != "task")
    return (
        f"Everything before {figures.as_of:%Y-%m-%d %H:%M} UTC is counted. {figures.considered:,} members of live programs' audiences, "
        f"{figures.admitted:,} admitted. Messages accepted so far, of those that this day's run planned: {sent:,}."
    )


def markdown(figures: Figures, sections: list[Section]) -> str:
    """GitHub-flavoured Markdown without HTML: tables, and charts as images inside the text."""
    lines = [f"# Win-back report for {figures.day:%A, %Y-%m-%d}", ""]
    for note in figures.notes:
        lines += [f"> **Notice:** {note.replace('<', chr(92) + '<')}", ""]
    lines += [headline(figures), ""]
    for section in sections:
        lines += [f"## {section.title}", "", section.text, ""]
        if section.chart:
            lines += [f"**{section.chart.title}**", "", section.chart.markdown(), ""]
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
    """One file: styles and charts inside, no script, no request."""
    title = f"Win-back report for {figures.day:%Y-%m-%d}"
    parts = [f"<h1>{title}</h1>", f'<p class="quiet">{escape(headline(figures))}</p>']
    parts += [f'<p class="notice" role="note"><strong>Notice:</strong> {escape(note)}</p>' for note in figures.notes]
    for section in sections:
        emphasised = escape(section.text).split("**")
        text = "".join(f"<strong>{part}</strong>" if position % 2 else part for position, part in enumerate(emphasised))
        parts.append(f"<section><h2>{escape(section.title)}</h2><p>{text}</p>")
        if section.chart:
            caption = escape(section.chart.title)
            parts.append(f'<figure><figcaption>{caption}</figcaption><div class="scroll">{section.chart.inline()}</div></figure>')
        parts += ['<div class="tables">', *(_html_table(table) for table in section.tables), "</div></section>"]
    return _PAGE.format(title=title, body="\n".join(parts))


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
