"""`winback mf query` answers what SQL over the marts says."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.measurement.experiments import measured, rows


@pytest.mark.slow
def test_metrics_equal_sql(tmp_path: Path) -> None:
    people = {f"t{number}": [10.0 + number] if number % 3 == 0 else [] for number in range(30)}
    controls = {f"h{number}": [5.0] if number % 5 == 0 else [] for number in range(20)}
    measured(
        tmp_path,
        {"one": {"treatment": people, "holdout": controls}, "two": {"treatment": controls, "holdout": people}},
        again={"one": ["t0", "t1", "h0"]},
    )
    answer = tmp_path / "answer.csv"
    asked = [
        "--metrics",
        "journeys,win_back_percentage,revenue,lift_points,revenue_lift",
        "--group-by",
        "journey__program,journey__country",
    ]

    finished = subprocess.run(
        [
            sys.executable,
            "-c",
            "from winback.cli import main; main()",
            "mf",
            "--as-of",
            "2030-03-01",
            "query",
            *asked,
            "--csv",
            str(answer),
        ],
        env=os.environ | {"WINBACK_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-4000:]
    with answer.open(encoding="utf-8") as file:
        found = {row["journey__program"]: row for row in csv.DictReader(file)}
    expected = rows(
        tmp_path / "warehouse" / "winback.duckdb",
        """
        select lift.program, lift.lift_points, lift.revenue_difference, lift.treatment_percentage, report.started, report.revenue
        from marts.campaign_lift as lift
        join (select program, count(*) as started, sum(revenue) as revenue from marts.fct_enrolments group by program) as report
            on lift.program = report.program
        where lift.scope = 'program'
        """,
    )
    assert set(found) == {"one", "two"}
    for row in expected:
        answered = found[row["program"]]
        assert answered["journey__country"] == "(none)"
        assert int(float(answered["journeys"])) == row["started"]
        for metric, figure in (
            ("revenue", "revenue"),
            ("win_back_percentage", "treatment_percentage"),
            ("lift_points", "lift_points"),
            ("revenue_lift", "revenue_difference"),
        ):
            assert float(answered[metric]) == pytest.approx(float(row[figure]), rel=1e-9), metric
