"""The macros of statistics give what scipy gives, within the errors that they state."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import duckdb
import jinja2
import numpy as np
import pyarrow as pa
import pytest
import yaml
from scipy import stats

from winback.settings import Settings

PROJECT = Settings().dbt_project


@pytest.fixture(scope="module")
def macros() -> Any:
    """The macros themselves, rendered as dbt renders them."""
    variables = yaml.safe_load((PROJECT / "dbt_project.yml").read_text(encoding="utf-8"))["vars"]["winback"]
    environment = jinja2.Environment(extensions=["jinja2.ext.do"], undefined=jinja2.StrictUndefined)  # noqa: S701  (SQL, not HTML)
    environment.globals["var"] = variables.__getitem__
    return environment.from_string((PROJECT / "macros" / "statistics.sql").read_text(encoding="utf-8")).module


def computed(expression: str, **columns: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The expression over the given columns, row by row; null becomes nan."""
    values = {name: np.asarray(column, dtype=float) for name, column in columns.items()}
    values["position"] = np.arange(len(next(iter(values.values()))))
    with duckdb.connect() as connection:
        connection.register("given", pa.table(values))
        found = connection.execute(f"select {expression} as found from given order by position").fetchnumpy()["found"]
    return np.asarray(np.ma.filled(np.ma.asarray(found, dtype=float), np.nan))


def test_t_quantiles_from_one_to_a_million_degrees_of_freedom(macros: Any) -> None:
    df = np.concatenate([np.linspace(1, 60, 5_901), np.logspace(1, 6, 5_000)])

    found = computed(macros.t_quantile("df"), df=df)

    assert np.max(np.abs(found / stats.t.ppf(0.975, df) - 1)) < 2e-9


def test_p_values_of_any_size(macros: Any) -> None:
    z = np.concatenate([np.linspace(-8, 8, 3_001), np.linspace(8, 36, 500)])

    found = computed(macros.two_sided_p_value("z"), z=z)

    assert np.max(np.abs(found / (2 * stats.norm.sf(np.abs(z))) - 1)) < 1e-8
    assert computed(macros.two_sided_p_value("z"), z=[1e6])[0] < 1e-200
    assert np.isnan(computed(macros.two_sided_p_value("nullif(z, 0)"), z=[0])[0]), "least() passes over a null"


def test_wilson_bounds(macros: Any) -> None:
    cases = [(0, 10), (1, 10), (10, 10), (81, 263), (15, 148), (0, 1), (1, 29), (578, 64_000)]
    x, n = np.array(cases).T

    low, high = (computed(macros.wilson_bound("x", "n", sign), x=x, n=n) for sign in (-1, 1))

    for position, (successes, trials) in enumerate(cases):
        expected = stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
        assert low[position] == pytest.approx(expected.low, abs=1e-12)
        assert high[position] == pytest.approx(expected.high, abs=1e-12)


def test_sample_variance_of_one_is_unknown_and_of_equal_values_zero(macros: Any) -> None:
    found = computed(macros.sample_variance("n", "total", "squares"), n=[1, 3, 4], total=[5, 0.3, 10], squares=[25, 0.03, 30])

    assert np.isnan(found[0])
    assert found[1] == pytest.approx(0, abs=1e-15)
    assert found[2] == pytest.approx(5 / 3)


def test_always_valid_widths_follow_the_normal_mixture(macros: Any) -> None:
    """Inverting the mixture's likelihood ratio by hand: it reaches 1 / 0.05 exactly at the half width."""
    planned = SimpleNamespace(**yaml.safe_load((PROJECT / "dbt_project.yml").read_text(encoding="utf-8"))["vars"]["winback"])
    mixing = (-2 * np.log(0.05) + np.log(-2 * np.log(0.05) + 1)) / planned.always_valid_planned_customers
    n, variance = np.array([50.0, 5_000.0, 400_000.0]), np.array([0.01, 0.0004, 1e-6])

    width = computed(macros.always_valid_half_width("variance", "n"), variance=variance, n=n)

    prior = mixing * variance * n
    ratio = np.sqrt(variance / (variance + prior)) * np.exp(width**2 * prior / (2 * variance * (variance + prior)))
    assert ratio == pytest.approx(1 / 0.05, rel=1e-5)


def test_newcombes_own_examples(macros: Any) -> None:
    """R. G. Newcombe, Statistics in Medicine 17 (1998), table II, method 10."""
    cases = [(56, 70, 48, 80, 0.0524, 0.3339), (9, 10, 3, 10, 0.1705, 0.8090), (10, 10, 0, 20, 0.6791, 1.0), (10, 10, 0, 10, 0.6075, 1.0)]
    x1, n1, x0, n0, _, _ = (np.array(column, dtype=float) for column in zip(*cases, strict=True))
    low1, high1 = (computed(macros.wilson_bound("x", "n", sign), x=x1, n=n1) for sign in (-1, 1))
    low0, high0 = (computed(macros.wilson_bound("x", "n", sign), x=x0, n=n0) for sign in (-1, 1))
    p1, p0 = x1 / n1, x0 / n0

    low = p1 - p0 - np.sqrt((p1 - low1) ** 2 + (high0 - p0) ** 2)
    high = p1 - p0 + np.sqrt((high1 - p1) ** 2 + (p0 - low0) ** 2)

    for position, case in enumerate(cases):
        assert low[position] == pytest.approx(case[4], abs=5e-5)
        assert high[position] == pytest.approx(case[5], abs=5e-5)
