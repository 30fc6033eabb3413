"""Where DuckDB has too little memory or disk, people are told which setting to change, not which SQL to type."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path

import duckdb
import pytest

from benchmarks.generate import generate
from winback.dbt_command import run_dbt
from winback.errors import BadConfig, BadInput, WinbackError
from winback.home import prepare_home
from winback.landing import land
from winback.ledger import open_ledger
from winback.settings import Settings, load_settings
from winback.warehouse import ended_by_the_system, more_room, open_warehouse

TOO_LITTLE = "12MB"
AS_OF = datetime(2026, 1, 5)
SORTED = "create table sorted as select i, md5(cast(i as varchar)) as text from range(2000000) as numbers(i) order by text"


def test_a_query_that_needs_more_memory_names_the_setting(tmp_path: Path) -> None:
    with (
        pytest.raises(BadConfig, match=r"WINBACK_MEMORY_LIMIT \(memory_limit; found: 12MB\) allows, .* used.* WINBACK_THREADS"),
        open_warehouse(Settings(home=tmp_path, memory_limit=TOO_LITTLE)) as warehouse,
    ):
        warehouse.execute(SORTED)


def test_a_full_disk_names_its_folder_and_the_settings(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, memory_limit="64MB")
    with (
        pytest.raises(BadConfig, match=r"disk is full.*WINBACK_HOME.*WINBACK_MEMORY_LIMIT \(memory_limit; found: 64MB\)"),
        open_warehouse(settings) as warehouse,
    ):
        warehouse.execute(f"set max_temp_directory_size = '1MB'; {SORTED}")


def test_java_without_memory_names_the_setting(tmp_path: Path) -> None:
    said = more_room("java.lang.OutOfMemoryError: Java heap space\n\tat java.base", Settings(home=tmp_path, memory_limit="1GB"))

    assert said is not None
    assert "WINBACK_MEMORY_LIMIT (memory_limit; found: 1GB)" in said


def test_a_killed_day_names_the_setting(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"], check=False)

    said = ended_by_the_system(killed.returncode, Settings(home=tmp_path, memory_limit="6GB"))
    assert said is not None
    assert "WINBACK_MEMORY_LIMIT (memory_limit; found: 6GB)" in said
    assert ended_by_the_system(1, Settings(home=tmp_path)) is None


def test_other_errors_stay_as_they_are(tmp_path: Path) -> None:
    assert more_room("Catalog Error: no such table", Settings(home=tmp_path)) is None
    with pytest.raises(duckdb.CatalogException), open_warehouse(Settings(home=tmp_path)) as warehouse:
        warehouse.execute("from nowhere")


def test_a_file_is_not_blamed_for_too_little_memory(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with duckdb.connect() as connection:
        rows = "select i as customer_id, repeat(md5(cast(i as varchar)), 40) as email from range(100000) as numbers(i)"
        connection.execute(f"copy ({rows}) to '{data}/customers.csv'")
    settings = Settings(home=tmp_path / "home", data=data, memory_limit=TOO_LITTLE)
    with pytest.raises(BadConfig) as told, open_ledger(settings) as ledger, open_warehouse(settings) as warehouse:
        land(settings, warehouse, ledger, now=AS_OF)

    assert not isinstance(told.value, BadInput)
    assert "WINBACK_MEMORY_LIMIT" in str(told.value)


@pytest.mark.parametrize("found", ["4 gigs", "256", "80%", "-1GB"])
def test_a_limit_that_is_none_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: str) -> None:
    monkeypatch.setenv("WINBACK_MEMORY_LIMIT", found)

    with pytest.raises(BadConfig, match=f"memory_limit: found '{found}'.*WINBACK_MEMORY_LIMIT"):
        load_settings(tmp_path)


@pytest.mark.slow
def test_a_build_that_needs_more_memory_names_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster import Failure  # noqa: TID251

    prepare_home(tmp_path / "home")
    settings = generate(30_000, tmp_path / "home").model_copy(update={"memory_limit": "30MB"})
    monkeypatch.setenv("WINBACK_HOME", str(settings.root))
    from dagster_dbt import DagsterDbtTranslator  # noqa: TID251

    from dagster_project.dbt_build import build, read_manifest
    from dagster_project.failures import told_plainly

    with pytest.raises(WinbackError) as command:
        run_dbt(settings, AS_OF, ["--quiet", "build", "--select", "+customers", "--exclude-resource-type", "unit_test"])
    with pytest.raises(Failure) as failure, told_plainly():
        list(build(settings, AS_OF, read_manifest(settings), DagsterDbtTranslator()))

    for told in (failure.value.description or "", str(command.value)):
        assert "WINBACK_MEMORY_LIMIT (memory_limit; found: 30MB)" in told
        assert "SET memory_limit" not in told


@pytest.mark.slow
def test_what_a_customer_needs_spills_where_customers_are_many(tmp_path: Path) -> None:
    prepare_home(tmp_path / "home")
    settings = generate(100, tmp_path / "home").model_copy(update={"memory_limit": "100MB"})
    with open_warehouse(settings) as warehouse:
        warehouse.execute("create schema intermediate")
        warehouse.execute(
            """
            create table intermediate.int_orders__order_days as
            with days as (
                select 'c' || i // 10 as customer_id, date '2025-12-31' - 40 * (i % 10)::integer - (hash(i) % 40)::integer as ordered_on
                from range(4000000) as numbers(i)
            )
            select customer_id, ordered_on, lag(ordered_on) over (partition by customer_id order by ordered_on) as previous_ordered_on,
                ordered_on::timestamp as first_ordered_at, ordered_on::timestamp as last_ordered_at, 1 as order_count,
                1::decimal(18, 4) as net_value
            from days
            """
        )

    run_dbt(settings, AS_OF, ["--quiet", "run", "--select", "int_customers__rhythm_measured"])

    with open_warehouse(settings) as warehouse:
        found = warehouse.execute("select count(*), min(order_day_count) from intermediate.int_customers__rhythm_measured").fetchall()
        assert found == [(400_000, 10)]
