"""`make test-engines`: every mart equal on DuckDB, PostgreSQL and Spark, on three days of the demo data and of Online Retail II.

Not part of `make test`: it takes Java and the extra `spark`, and many minutes. Prints how long each part took.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from time import monotonic

import pytest
from pydantic import SecretStr

from tests.engines.building import aside, derive_aside
from tests.engines.comparing import differences
from tests.postgres import NoPostgres, cluster
from tests.warehouse.building import load
from tests.warehouse.conftest import test_data
from tests.warehouse.test_online_retail import raw
from winback.engines.spark import Spark
from winback.errors import BadConfig
from winback.settings import Settings, load_settings

__all__ = ["raw", "test_data"]

DAYS = {
    "demo": [datetime(2017, 6, 1), datetime(2017, 12, 1), datetime(2017, 12, 2)],
    "retail": [datetime(2010, 6, 15), datetime(2010, 12, 1), datetime(2011, 6, 1)],
}
ENGINES = ["postgres", "spark"]

# Of 272 seconds of Java for two days, 100 went into translating code that the small queries then ran a few times.
JAVA = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"

# Spark takes itself for dead where the machine stood still for two minutes.
PATIENT = "--conf spark.network.timeout=8h --conf spark.storage.blockManagerHeartbeatTimeoutMs=28800000 pyspark-shell"

# Shown as it comes, not when all has ended.
say = partial(print, flush=True)


@pytest.fixture(scope="module")
def postgres_address() -> Iterator[str]:
    try:
        with cluster() as url:
            yield f"{url}/postgres"
    except NoPostgres as missing:
        pytest.fail(f"make test-engines needs PostgreSQL: {missing}; apt-get install postgresql")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of the demo, decided and recorded: a ledger that knows something."""
    home = tmp_path_factory.mktemp("demo")
    command = [str(Path(sys.executable).parent / "winback"), "run", "--demo", "--date", "2017-11-30", "--days", "2", "--json"]
    subprocess.run(command, env=os.environ | {"WINBACK_HOME": str(home)}, check=True, stdout=subprocess.DEVNULL)
    return home


@pytest.fixture(scope="module")
def retail(raw: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("retail")
    load(home, raw)
    return home


@pytest.fixture(scope="module")
def derived_by_duckdb(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The workbench with the days of a data set, derived once."""

    @cache
    def derived(data: str) -> Path:
        home = shutil.copytree(request.getfixturevalue(data), tmp_path_factory.mktemp("expected") / data)
        return derive_aside(load_settings(home), DAYS[data], say)

    return derived


def settings_for(engine: str, home: Path, request: pytest.FixtureRequest) -> Settings:
    if engine == "postgres":
        address = SecretStr(request.getfixturevalue("postgres_address"))
        return load_settings(home).model_copy(update={"target": engine, "engine_url": address})
    try:
        Spark(home / "spark", None).check()
    except BadConfig as missing:
        pytest.fail(f"make test-engines: {missing}")
    return load_settings(home).model_copy(update={"target": engine})


@pytest.mark.parametrize("data", list(DAYS))
@pytest.mark.parametrize("engine", ENGINES)
def test_every_mart_is_the_same(
    engine: str,
    data: str,
    derived_by_duckdb: Callable[[str], Path],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    say(f"\n{data} on {engine}")
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", JAVA)
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", PATIENT)
    settings = settings_for(engine, shutil.copytree(request.getfixturevalue(data), tmp_path / engine), request)
    expected = derived_by_duckdb(data)
    derived = derive_aside(settings, DAYS[data], say)
    found = []
    for day in DAYS[data]:
        start = monotonic()
        found += differences(expected, derived, aside(day), lambda line, day=day: say(f"{day:%Y-%m-%d}: {line}", end=", "))  # type: ignore[misc]
        say(f"compared in {monotonic() - start:.1f} s")
    assert not found
