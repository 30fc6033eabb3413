"""`make test-engines`: every mart equal on DuckDB, PostgreSQL and Spark, on three days of the demo data and of Online Retail II.

Not part of `make test`: it takes Java and the extra `spark`, and many minutes. Prints how long each part took.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.engines.building import derive_with
from tests.engines.comparing import differences
from tests.postgres import NoPostgres, cluster
from tests.warehouse.building import load
from tests.warehouse.conftest import test_data
from tests.warehouse.test_online_retail import raw
from winback.engines.spark import Spark
from winback.errors import BadConfig
from winback.settings import Settings, load_settings

__all__ = ["raw", "test_data"]

DEMO_DAYS = [datetime(2017, 6, 1), datetime(2017, 12, 1), datetime(2017, 12, 2)]
RETAIL_DAYS = [datetime(2010, 6, 15), datetime(2010, 12, 1), datetime(2011, 6, 1)]
ENGINES = ["postgres", "spark"]


@pytest.fixture(scope="session")
def postgres_address() -> Iterator[str]:
    try:
        with cluster() as url:
            yield f"{url}/postgres"
    except NoPostgres as missing:
        pytest.fail(f"make test-engines needs PostgreSQL: {missing}; apt-get install postgresql")


@pytest.fixture(scope="session")
def demo_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of the demo, decided and recorded: a ledger that knows something."""
    home = tmp_path_factory.mktemp("demo")
    command = [str(Path(sys.executable).parent / "winback"), "run", "--demo", "--date", "2017-11-30", "--days", "2", "--json"]
    subprocess.run(command, env=os.environ | {"WINBACK_HOME": str(home)}, check=True, stdout=subprocess.DEVNULL)
    return home


@pytest.fixture(scope="session")
def retail_home(raw: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("retail")
    load(home, raw)
    return home


def settings_for(engine: str, home: Path, request: pytest.FixtureRequest) -> Settings:
    if engine == "postgres":
        address = SecretStr(request.getfixturevalue("postgres_address"))
        return load_settings(home).model_copy(update={"target": engine, "engine_url": address})
    try:
        Spark(home / "spark", None).check()
    except BadConfig as missing:
        pytest.fail(f"make test-engines: {missing}")
    return load_settings(home).model_copy(update={"target": engine})


@pytest.mark.parametrize(("data", "as_of"), [("demo_home", day) for day in DEMO_DAYS] + [("retail_home", day) for day in RETAIL_DAYS])
@pytest.mark.parametrize("engine", ENGINES)
def test_every_mart_is_the_same(engine: str, data: str, as_of: datetime, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    home: Path = request.getfixturevalue(data)
    settings = settings_for(engine, shutil.copytree(home, tmp_path / engine), request)
    told: list[str] = []
    expected = derive_with(load_settings(shutil.copytree(home, tmp_path / "duckdb")), as_of, told.append)
    found = differences(expected, derive_with(settings, as_of, told.append))
    print("", *told, sep="\n")  # noqa: T201  (the measured times are what people look for)
    assert not found
