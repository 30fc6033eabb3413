"""Cutting a text file into records before DuckDB reads it, so that a damaged record costs itself and nothing else.

numpy looks at blocks of bytes: a physical line with an even number of quotes stands alone; one with an odd number opens a value that goes
over several lines, if joining it with the next such line gives a record as it should be, and is damaged otherwise. Python's own loop only
sees lines of that kind.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 32 * 1024 * 1024
LONGEST_RECORD = 4 * 1024 * 1024
_LF, _CR, _QUOTE, _NUL = 10, 13, 34, 0
_REPLACEMENT = "\ufffd".encode()

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass
class Records:
    """What a file holds, in physical order.

    `lines[i]` is the line (from 1) on which good record i begins. `damaged` are (line, reason). `clean` is a file with the good records
    only, one value of LF between them and no header.
    """

    header: list[str]
    delimiter: str
    clean: Path
    lines: list[Array] = field(default_factory=list)
    damaged: list[tuple[int, str]] = field(default_factory=list)
    good: int = 0

    def line_numbers(self) -> Array:
        return np.concatenate(self.lines) if self.lines else np.empty(0, dtype=np.int64)


class NoHeader(Exception):
    """The file has no first line to take column names from."""


def split_csv(path: Path, clean: Path, *, delimiter: str | None, repaired: bool) -> Records:
    """Cut a UTF-8 CSV file into records and write the good ones to `clean`.

    `repaired`: bytes that were no UTF-8 stand as U+FFFD in `path`; records that hold one are damaged.

    Raises
    ------
    NoHeader
    """
    start, first_line, header, found_delimiter = _header(path, delimiter)
    records = Records(header, found_delimiter, clean)
    splitter = _Splitter(len(header), ord(found_delimiter), repaired)
    _run(path, start, first_line, splitter, records)
    return records


def split_lines(path: Path, clean: Path, *, repaired: bool) -> Records:
    """Cut a UTF-8 file of one JSON object per line."""
    records = Records([], "", clean)
    _run(path, 0, 1, _Splitter(1, None, repaired), records)
    return records


def _run(path: Path, start: int, first_line: int, splitter: _Splitter, records: Records) -> None:
    with path.open("rb") as source, records.clean.open("wb") as clean:
        source.seek(start)
        rest = b""
        line = first_line
        while True:
            block = source.read(BLOCK)
            data = rest + block
            if not data:
                break
            used, line = splitter.split(data, line, not block, records, clean)
            rest = data[used:]
            if not block:
                break


class _Splitter:
    def __init__(self, width: int, delimiter: int | None, repaired: bool) -> None:
        self.width = width
        self.delimiter = delimiter
        self.repaired = repaired
        if delimiter is not None:
            mark = re.escape(bytes([delimiter]))
            value = rb'(?:"(?:[^"]|"")*+"|[^"\r\n' + mark + rb"]*+)"
            self.joined = re.compile(value + rb"(?:" + mark + value + rb"){" + str(width - 1).encode() + rb"}", re.DOTALL)

    def split(self, data: bytes, first_line: int, last: bool, records: Records, clean: io.BufferedWriter) -> tuple[int, int]:
        """Deal with the whole records at the beginning of `data`; returns the bytes they took and the line after them."""
        octets = np.frombuffer(data, dtype=np.uint8)
        breaks = np.flatnonzero(octets == _LF)
        if last and (not len(breaks) or breaks[-1] != len(data) - 1):
            breaks = np.append(breaks, len(data))
        elif not len(breaks):
            if len(data) <= LONGEST_RECORD + BLOCK:
                return 0, first_line
            breaks = np.array([len(data) - 1])
        octets = octets[: int(breaks[-1]) + 1]
        starts = np.concatenate(([0], breaks[:-1] + 1))
        ends = breaks - ((breaks > starts) & (octets[np.maximum(breaks - 1, 0)] == _CR))
        count = len(starts)
        reasons: dict[int, str] = {}
        inside = np.zeros(count, dtype=bool)
        joined = np.zeros(count, dtype=bool)
        stops = ends.copy()

        if self.delimiter is not None:
            quotes = np.flatnonzero(octets == _QUOTE)
            before = np.searchsorted(quotes, starts)
            per_line = np.searchsorted(quotes, breaks) - before
            odd = np.flatnonzero(per_line & 1).tolist()
            position = 0
            while position < len(odd):
                opening = odd[position]
                closing = odd[position + 1] if position + 1 < len(odd) else None
                begin = int(starts[opening])
                if closing is None and not last and len(data) - begin <= LONGEST_RECORD:
                    count = opening
                    break
                if (
                    closing is not None
                    and ends[closing] - begin <= LONGEST_RECORD
                    and self.joined.fullmatch(data, begin, int(ends[closing]))
                ):
                    inside[opening + 1 : closing + 1] = True
                    joined[opening] = True
                    stops[opening] = ends[closing]
                    position += 2
                    continue
                reasons[opening] = "a quote is opened and not closed, or stands in the middle of a value"
                position += 1
            self._check_widths(octets, starts, ends, quotes, before, joined | inside, reasons)

        self._check_bytes(octets, breaks, inside, reasons)
        for number in np.flatnonzero(ends - starts > LONGEST_RECORD).tolist():
            reasons[number] = "is longer than 4 MB"
        kept = ~inside[:count]
        kept &= (stops - starts)[:count] > 0
        damaged = np.zeros(count, dtype=bool)
        for number, reason in sorted(reasons.items()):
            if number < count and kept[number]:
                damaged[number] = True
                records.damaged.append((first_line + number, reason))
        good = np.flatnonzero(kept & ~damaged)
        records.lines.append(good + first_line)
        records.good += len(good)
        # A record of several lines ends with the last of them.
        for piece in _runs(data, starts, np.where(joined, stops, breaks), good):
            clean.write(piece)
        used = int(starts[count]) if count < len(starts) else min(int(breaks[-1]) + 1, len(data))
        return used, first_line + count

    def _check_widths(
        self,
        octets: Array,
        starts: Array,
        ends: Array,
        quotes: Array,
        before: Array,
        settled: Array,
        reasons: dict[int, str],
    ) -> None:
        """Count the values of lines that stand alone; delimiters between quotes do not count."""
        delimiters = np.flatnonzero(octets == self.delimiter)
        line_of = np.searchsorted(starts, delimiters, side="right") - 1
        if len(quotes):
            between = (np.searchsorted(quotes, delimiters) - before[line_of]) & 1
            line_of = line_of[between == 0]
        widths = np.bincount(line_of, minlength=len(starts)) + 1
        for number in np.flatnonzero((widths != self.width) & ~settled & (ends > starts)).tolist():
            reasons.setdefault(number, f"has {widths[number]} values, expected {self.width}")
        if not len(quotes):
            return
        line_of = np.searchsorted(starts, quotes, side="right") - 1
        opening = ((np.arange(len(quotes)) - before[line_of]) & 1) == 0
        previous = octets[np.maximum(quotes - 1, 0)]
        following = octets[np.minimum(quotes + 1, len(octets) - 1)]
        fine = np.where(
            opening,
            (quotes == starts[line_of]) | (previous == self.delimiter) | (previous == _QUOTE),
            (quotes + 1 >= ends[line_of]) | (following == self.delimiter) | (following == _QUOTE),
        )
        for number in np.unique(line_of[~fine]).tolist():
            if not settled[number]:
                reasons.setdefault(number, "a quote stands in the middle of a value")

    def _check_bytes(self, octets: Array, breaks: Array, inside: Array, reasons: dict[int, str]) -> None:
        """Find bytes that no text holds, and the marks left where the file was not UTF-8."""
        problems = [(np.flatnonzero(octets == _NUL), "holds a zero byte")]
        if self.delimiter is None:
            control = np.flatnonzero((octets < 32) & (octets != _LF) & (octets != _CR) & (octets != 9))
            problems.append((control, "holds a control character"))
        if self.repaired:
            first = np.flatnonzero(octets[:-2] == _REPLACEMENT[0]) if len(octets) > 2 else np.empty(0, dtype=np.int64)
            marks = first[(octets[first + 1] == _REPLACEMENT[1]) & (octets[first + 2] == _REPLACEMENT[2])]
            problems.append((marks, "holds a byte that is not text in the encoding of the file"))
        for places, reason in problems:
            for number in np.unique(np.searchsorted(breaks, places)).tolist():
                while inside[number]:
                    number -= 1
                reasons.setdefault(number, reason)


def _runs(data: bytes, starts: Array, stops: Array, good: Array) -> Iterator[bytes]:
    """The good records, neighbours in one piece, with LF alone at the end of each."""
    if not len(good):
        return
    has_cr = b"\r" in data
    cuts = np.flatnonzero(np.diff(good) != 1)
    first = good[np.concatenate(([0], cuts + 1))]
    final = good[np.concatenate((cuts, [len(good) - 1]))]
    for begin, end in zip(starts[first].tolist(), stops[final].tolist(), strict=True):
        piece = data[begin:end]
        if has_cr:
            piece = piece.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b" ")
        yield piece
        yield b"\n"


def _header(path: Path, delimiter: str | None) -> tuple[int, int, list[str], str]:
    """Where the records begin (byte and line), the names of the columns and the delimiter."""
    with path.open("rb") as source:
        beginning = source.read(LONGEST_RECORD)
    offset = 3 if beginning.startswith(b"\xef\xbb\xbf") else 0
    line = 1
    while True:
        end = beginning.find(b"\n", offset)
        end = len(beginning) if end < 0 else end
        text = beginning[offset:end].rstrip(b"\r")
        if text.strip() or end >= len(beginning):
            # Spreadsheet programs write "sep=;" above the header.
            instruction = re.fullmatch(rb'"?sep=(.)"?', text, re.IGNORECASE)
            if not instruction:
                break
            delimiter = delimiter or instruction[1].decode("latin-1")
        offset, line = min(end + 1, len(beginning)), line + 1
        if offset >= len(beginning):
            break
    # A name in quotes may go over several lines.
    first_line = line
    while beginning[offset:end].count(b'"') % 2 and end < len(beginning):
        following = beginning.find(b"\n", end + 1)
        end = len(beginning) if following < 0 else following
        line += 1
        if line - first_line > 20:
            raise NoHeader
    text = beginning[offset:end].rstrip(b"\r")
    if not text.strip() or b"\x00" in text:
        raise NoHeader
    decoded = text.decode("utf-8", errors="replace")
    if delimiter is None:
        bare = re.sub(r'"[^"]*"', "", decoded)
        delimiter = max(",;\t|", key=bare.count)
    try:
        names = next(csv.reader(io.StringIO(decoded), delimiter=delimiter))
    except csv.Error:
        raise NoHeader from None
    return min(end + 1, len(beginning)), line + 1, [" ".join(name.split()) for name in names], delimiter
