"""What `winback run` says of its time."""

from __future__ import annotations

from collections import Counter

from dagster_project.days import where_the_time_went


def test_the_stages_and_the_rest_are_the_days() -> None:
    stages = Counter({"land and check": 2.0, "derive": 5.5})

    assert where_the_time_went(4.25, 9.0, stages) == (
        "seconds: start-up 4.2; the days 9.0, of which land and check 2.0, derive 5.5, records of the runs 1.5"
    )
