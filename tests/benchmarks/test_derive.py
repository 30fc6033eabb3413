"""The benchmark of derivation: late rows are landed, and the page says what was measured. How fast anything is, is no test's business."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from time import monotonic, sleep
from xml.etree import ElementTree as ET

import pytest

from benchmarks.derive import CONTENDERS, SIZES
from benchmarks.derive_page import chart, report
from benchmarks.generate import FIRST_DAY, generate
from benchmarks.late import land_late
from benchmarks.measuring import cpu_of_server
from benchmarks.results import Result, Results, keep, kept
from winback.warehouse import open_warehouse

MILLION = 1_000_000


def _result(
    contender: str, size: int, wall: float, *, day: str = "full", peak: float = 1_000.0, limit: str = "4GB", failed: str = ""
) -> Result:
    told = {"nodes": {"slow_table": wall / 2, "quick_table": 0.1}, "tests": 65, "fixed": 0.0}
    return Result(contender, size, day, limit, 2, wall, wall, peak, told, failed, "2026-03-02", "abc", "this one")


def test_late_rows_tell_whose_data_they_change(tmp_path: Path) -> None:
    settings = generate(30_000, tmp_path, first_day=FIRST_DAY, as_of=FIRST_DAY + timedelta(days=60))

    first, second = (land_late(settings, FIRST_DAY + timedelta(days=61))["rows"] for _ in range(2))

    with open_warehouse(settings, read_only=True) as warehouse:
        changed = Counter(
            dict(warehouse.execute("select table_name, count(*) from raw.changed_keys where key is not null group by 1").fetchall())
        )
        everybody = warehouse.execute(
            "select count(distinct table_name), max(position) from raw.changed_keys where kind = 'everybody'"
        ).fetchall()
        [(late,)] = warehouse.execute(
            "select count(*) from raw.orders where order_id like 'late%' and ordered_at < '2023-03-02'"
        ).fetchall()
        [(bad,)] = warehouse.execute("select count(*) from raw.quarantine").fetchall()
    assert everybody == [(8, 8)]
    assert (
        set(first) == set(second) == set(changed) == {"customers", "orders", "order_lines", "message_events", "activity_events", "consents"}
    )
    assert min(changed.values()) > 0
    assert late > 0
    assert bad == 0


def test_results_are_kept_by_machine_and_told_as_medians(tmp_path: Path) -> None:
    path = tmp_path / "bench" / "results.jsonl"
    for wall in (30.0, 10.0, 12.0):
        keep(path, _result("floor", MILLION, wall))
    keep(path, Result(**{**_as_dictionary(_result("floor", MILLION, 1.0)), "machine": "another one"}))

    results = kept(path, "this one")

    middle = results.middle("floor", MILLION, memory_limit="4GB")
    assert middle is not None
    assert (middle.runs, middle.wall, middle.told["nodes"]["slow_table"]) == (3, 12.0, 6.0)
    assert results.middle("floor", MILLION, "next", memory_limit="4GB") is None
    assert kept(tmp_path / "none.jsonl", "this one").all == []


def test_of_several_revisions_the_last_one_counts() -> None:
    older = Result(**{**_as_dictionary(_result("floor", MILLION, 50.0)), "revision": "0000000"})  # type: ignore[arg-type]

    middle = Results([older, _result("floor", MILLION, 10.0), _result("floor", MILLION, 20.0)]).middle("floor", MILLION, memory_limit="4GB")

    assert middle is not None
    assert (middle.runs, middle.wall) == (2, 15.0)


def test_a_next_day_that_failed_is_shown() -> None:
    results = [_result("models", MILLION, 100), _result("models", MILLION, 0, day="next", failed="ended with 1\nOut of Memory Error: no")]

    assert "| 1,000,000 | dbt, models | | Out of Memory Error: no |" in report(Results(results), "2 cores")


def _as_dictionary(result: Result) -> dict[str, object]:
    return {name: getattr(result, name) for name in Result.__slots__}


MEASURED = Results(
    [
        _result("floor", MILLION, 100),
        _result("floor", 5 * MILLION, 500),
        _result("models", MILLION, 180, peak=3_000),
        _result("models", 5 * MILLION, 900, peak=4_000),
        _result("models", 5 * MILLION, 180, day="next"),
        _result("models", 5 * MILLION, 0, limit="256MB", failed="ended with 1\ndbt build failed: Out of Memory Error: could not allocate"),
        _result("models_of_compared", MILLION, 80, peak=3_000),
        _result("pandas", MILLION, 240, peak=6_000),
        _result("polars", MILLION, 72),
        _result("postgres", MILLION, 1_000),
        _result("models", MILLION, 90, day="next"),
        _result("postgres", MILLION, 270, day="next"),
    ]
)


def test_the_page_says_which_targets_were_met() -> None:
    page = report(MEASURED, "2 cores")

    rows = {row.split(" | ")[0].removeprefix("| "): row for row in page.splitlines() if row.startswith("| ")}
    assert rows["full build, 1 M customers: dbt's models to hand-written SQL, time"].endswith("| ≤ 2 | 1.80 | yes |")
    assert rows["full build, 5 M customers: the same"].endswith("| ≤ 1.5 | 1.80 | **no** |")
    assert rows["full build, dbt's models: exponent of growth from 1 M to 5 M"].endswith("| ≤ 1.1 | 1.00 | yes |")
    assert rows["one more day, 5 M customers: dbt's models to their full build, time"].endswith("| ≤ 0.25 | 0.20 | yes |")
    assert rows["1 M customers: pandas to dbt's models, memory"].endswith("| ≥ 2.5 | 2.00 | **no** |")
    assert rows["1 M customers: polars to dbt's models, time"].endswith("| 0.90 | yes |")
    assert rows["full build, 5 M customers, memory limit of 2GB: peak memory in GB"].endswith("| not measured | |")
    assert "| 5,000,000 | 256MB | | | | dbt build failed: Out of Memory Error: could not allocate |" in page
    assert "| 1,000,000 | PostgreSQL, one more day | 1 | 270.0 s | 3.00 |" in page
    assert "at 5,000,000 customers" in page


def test_the_page_can_be_written_before_anything_is_measured() -> None:
    assert "not measured" in report(Results([]), "2 cores")
    ET.fromstring(chart(Results([])))  # noqa: S314  (our own)


def test_the_chart_names_every_line_and_keeps_names_apart() -> None:
    picture = ET.fromstring(chart(MEASURED))  # noqa: S314  (our own)

    texts = [element for element in picture.iter("{http://www.w3.org/2000/svg}text") if not element.get("class")]
    places = sorted((float(element.get("x", 0)) > 460, float(element.get("y", 0))) for element in texts)
    assert {element.text for element in texts} >= {"hand-written SQL", "dbt", "one more day", "dbt, PostgreSQL", "pandas", "polars"}
    assert all(lower[1] - upper[1] >= 14 for upper, lower in pairwise(places) if upper[0] == lower[0])


@pytest.mark.parametrize("size", SIZES)
def test_what_is_too_large_for_this_machine_is_left_out_unless_it_is_asked_for(size: int) -> None:
    names = {name for name, one in CONTENDERS.items() if size <= one.most}

    assert {"floor", "models", "models_and_tests", "compared"} <= names
    assert ("pandas" in names) == (size <= MILLION)


def test_a_server_is_charged_for_its_children_also_when_they_have_ended() -> None:
    burn = [sys.executable, "-c", "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"]
    before = cpu_of_server(os.getpid())
    if before is None:
        pytest.skip("this system does not tell")
    subprocess.run(burn, check=True)
    with subprocess.Popen([*burn[:2], f"{burn[2]}\ninput()"], stdin=subprocess.PIPE) as running:
        deadline = monotonic() + 30
        while (spent := (cpu_of_server(os.getpid()) or 0) - before) < 0.6 and monotonic() < deadline:
            sleep(0.05)
        running.kill()
    assert spent >= 0.6
