"""A published experiment, put in as enrolments, arms and orders, comes out as published.

Kevin Hillstrom's MineThatData E-Mail Analytics Challenge (2008): 64,000 customers, two e-mails and no e-mail, two weeks. Published are
each arm's customers, purchasers and revenue, and for the first e-mail Student's t of spend, 5.3001 with the interval 0.4851384 to
1.0545160; arms of equal size give Welch's the same t. The amounts here are made up to have the published sums and that spread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.measurement.experiments import measured

# Customers, purchasers, revenue in cents, and the standard deviation of spend per customer.
MENS = (21_307, 267, 3_031_169, 17.7544)
WOMENS = (21_387, 189, 2_303_811, 15.0901)
NOBODY = (21_306, 122, 1_390_833, 11.5882)


def people(name: str, arm: tuple[int, int, int, float]) -> dict[str, Sequence[float]]:
    """Customers of an arm with what they spent: half of the purchasers more, half less, so that mean and spread are the arm's."""
    size, purchasers, cents, deviation = arm
    mean = cents / 100 / purchasers
    squares = (size - 1) * deviation**2 + (cents / 100) ** 2 / size
    pairs = purchasers // 2
    spread = math.sqrt((squares - purchasers * mean**2) / (2 * pairs))
    amounts = [round(mean + sign * spread, 2) for sign in (1, -1) for _ in range(pairs)] + [round(mean, 2)] * (purchasers - 2 * pairs)
    amounts[-1] = round(amounts[-1] + cents / 100 - sum(amounts), 2)
    return {f"{name}{number}": [amounts[number]] if number < purchasers else [] for number in range(size)}


def spend(customers: Mapping[str, Sequence[float]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([sum(amounts) for amounts in customers.values()])


@pytest.mark.slow
def test_hillstroms_experiment_comes_out_as_published(tmp_path: Path) -> None:
    mens, womens, nobody = people("m", MENS), people("w", WOMENS), people("n", NOBODY)

    lift = {
        row["program"]: row
        for row in measured(tmp_path, {"mens": {"treatment": mens, "holdout": nobody}, "womens": {"treatment": womens, "holdout": nobody}})
        if row["scope"] == "program"
    }

    for program, treated, percentage, revenue, difference, revenue_difference in (
        ("mens", mens, 1.2531, 1.422617, 0.6805, 0.769827),
        ("womens", womens, 0.8837, 1.077202, 0.3111, 0.424412),
    ):
        row = lift[program]
        assert (row["treatment_enrolled"], row["holdout_enrolled"]) == (len(treated), 21_306)
        assert row["treatment_percentage"] == pytest.approx(percentage, abs=5e-5)
        assert row["holdout_percentage"] == pytest.approx(0.5726, abs=5e-5)
        assert row["treatment_revenue_per_enrolled"] == pytest.approx(revenue, abs=5e-7)
        assert row["holdout_revenue_per_enrolled"] == pytest.approx(0.652789, abs=5e-7)
        assert row["lift_points"] == pytest.approx(difference, abs=1e-4)
        assert row["revenue_difference"] == pytest.approx(revenue_difference, abs=1e-6)
        welch = stats.ttest_ind(spend(treated), spend(nobody), equal_var=False)
        interval = welch.confidence_interval(0.95)
        assert row["revenue_t"] == pytest.approx(welch.statistic, rel=1e-9)
        assert row["revenue_df"] == pytest.approx(welch.df, rel=1e-9)
        assert row["revenue_difference_low"] == pytest.approx(interval.low, rel=1e-7)
        assert row["revenue_difference_high"] == pytest.approx(interval.high, rel=1e-7)
        assert row["lift_low"] > 0
        assert row["incremental_revenue"] == pytest.approx(revenue_difference * len(treated), rel=1e-5)
        assert row["sample_ratio_ok"]
        assert row["is_mature"]

    assert lift["mens"]["revenue_t"] == pytest.approx(5.3001, abs=5e-4)
    assert lift["mens"]["revenue_difference_low"] == pytest.approx(0.4851384, abs=1e-4)
    assert lift["mens"]["revenue_difference_high"] == pytest.approx(1.0545160, abs=1e-4)
