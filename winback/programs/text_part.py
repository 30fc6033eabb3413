"""Plain text made from the HTML of a message, before any customer's data is in it.

The conversion works on the template and leaves Liquid as it stands, so it is done once per version and nothing of a customer is ever
parsed as HTML.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

_LIQUID = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_MARK = re.compile("\ue000(\\d+)\ue001")
_BLOCKS = {"p", "div", "table", "tr", "ul", "ol", "h1", "h2", "h3", "h4", "blockquote", "section", "hr"}
_SILENT = {"style", "script", "head", "title"}
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_MAY_STAY_OPEN = {"p", "li", "td", "th", "tr", "tbody", "thead", "option"}


class _Writer(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.findings: list[tuple[int, str]] = []
        self._silent = 0
        self._links: list[tuple[str, int]] = []
        self._open: list[tuple[str, int]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        line = self.getpos()[0]
        if tag == "script":
            self.findings.append((line, "found <script>; mail programs remove it"))
        if tag == "img" and "alt" not in values:
            self.findings.append((line, 'found <img> without alt; say what it shows, or alt="" for decoration'))
        if tag not in _VOID:
            self._open.append((tag, line))
        if tag in _SILENT:
            self._silent += 1
        elif tag == "br":
            self.pieces.append("\n")
        elif tag == "li":
            self.pieces.append("\n- ")
        elif tag in _BLOCKS:
            self.pieces.append("\n\n")
        elif tag == "a":
            self._links.append((values.get("href", ""), len(self.pieces)))

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            return
        names = [name for name, _ in self._open]
        if tag not in names:
            self.findings.append((self.getpos()[0], f"found </{tag}> without <{tag}> before it"))
            return
        while self._open:
            name, line = self._open.pop()
            if name == tag:
                break
            if name not in _MAY_STAY_OPEN:
                self.findings.append((line, f"found <{name}> without </{name}>"))
        if tag in _SILENT:
            self._silent -= 1
        elif tag == "a" and self._links:
            target, start = self._links.pop()
            label = " ".join("".join(self.pieces[start:]).split())
            if target and target != label and not target.startswith(("mailto:", "tel:", "#")):
                self.pieces.append(f": {target}" if label else target)
        elif tag in _BLOCKS:
            self.pieces.append("\n\n")

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        try:
            return super().parse_marked_section(i, report)
        except AssertionError:
            # Python's parser stops at "<![" with an unknown word after it; browsers take it for a comment.
            self.findings.append((self.getpos()[0], 'found "<![" that begins nothing known'))
            return i + 3

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.pieces.append(re.sub(r"\s+", " ", data))

    def close(self) -> None:
        super().close()
        self.findings.extend((line, f"found <{name}> without </{name}>") for name, line in self._open if name not in _MAY_STAY_OPEN)


def _read(html: str) -> tuple[_Writer, list[str]]:
    liquid: list[str] = []

    def mark(match: re.Match[str]) -> str:
        liquid.append(match[0])
        # As many line breaks as were there: line numbers of findings stay true.
        return f"\ue000{len(liquid) - 1}\ue001" + "\n" * match[0].count("\n")

    writer = _Writer()
    writer.feed(_LIQUID.sub(mark, html))
    writer.close()
    return writer, liquid


def html_to_text(html: str) -> str:
    """The template of the plain-text part of an HTML template."""
    writer, liquid = _read(html)
    text = _MARK.sub(lambda match: liquid[int(match[1])], "".join(writer.pieces))
    return tidy(text)


def html_findings(html: str) -> list[tuple[int, str]]:
    """(line, what is wrong) of the HTML of a template: tags left open, pictures without words, scripts."""
    return sorted(_read(html)[0].findings)


_EDGES = re.compile(r"[ \t]*\n[ \t]*")
_GAPS = re.compile(r"\n{3,}")
_SPACES = re.compile(r"[ \t]{2,}")


def tidy(text: str) -> str:
    """No spaces at line ends, at most one empty line in a row."""
    return _GAPS.sub("\n\n", _EDGES.sub("\n", _SPACES.sub(" ", text))).strip()
