"""Cutting text into records, against Python's own csv reader, however the blocks fall."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winback.landing import csv_records

_value = st.text(st.sampled_from('ab,"\n;é \t'), max_size=6)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    rows=st.lists(st.lists(_value, min_size=3, max_size=3), max_size=12),
    block=st.integers(1, 60),
    line_end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_whole_records_come_through_whatever_the_size_of_a_block(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], block: int, line_end: str, quoting: int
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=line_end, quoting=quoting).writerows([["x", "y", "z"], *rows])  # type: ignore[arg-type]
    folder = tmp_path_factory.mktemp("records")
    (folder / "in").write_bytes(text.getvalue().encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_records, "BLOCK", block)
        records = csv_records.split_csv(folder / "in", folder / "out", delimiter=None, repaired=False)
    assert records.header == ["x", "y", "z"]
    assert records.damaged == []
    assert list(csv.reader(io.StringIO((folder / "out").read_text(encoding="utf-8"), newline=""))) == rows
    first_lines = [2 + sum(value.count("\n") for row in rows[:number] for value in row) + number for number in range(len(rows))]
    assert records.line_numbers().tolist() == first_lines


def test_an_unclosed_quote_does_not_wait_for_the_end_of_a_large_file(tmp_path: Path) -> None:
    lines = ["x,y,z", '1,"2,3', *["4,5,6"] * 900_000, '7,"8\n8",9']
    (tmp_path / "in").write_text("\n".join(lines), encoding="utf-8")
    records = csv_records.split_csv(tmp_path / "in", tmp_path / "out", delimiter=None, repaired=False)
    assert records.good == 900_001
    assert [line for line, _ in records.damaged] == [2]
