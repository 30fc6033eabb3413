"""Every mart is the same on PostgreSQL as on DuckDB: of a small shop that has everything, and of one whose past changes.

The whole demo: `make test-engines`.
"""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import duckdb
import psycopg
import pytest
from pydantic import SecretStr

from tests.engines.building import derive_with
from tests.engines.comparing import differences
from tests.engines.histories import AS_OF, world_with_everything
from tests.warehouse.changing_shop import START, ChangingShop
from winback.engines.base import DERIVED_SCHEMAS
from winback.scratch import program_draft_derived
from winback.settings import Settings
from winback.warehouse import open_warehouse

pytestmark = pytest.mark.slow


def not_analyzed(connection: psycopg.Connection) -> list[str]:
    """Derived tables of which PostgreSQL does not know how many rows they have: it would plan with one row, in nested loops."""
    found = connection.execute(
        "select oid::regclass::text, reltuples from pg_class "
        "where relkind = 'r' and relname <> 'derived_through' and relnamespace::regnamespace::text = any (%s)",
        [[schema for schema in DERIVED_SCHEMAS if schema != "seeds"]],
    ).fetchall()
    rows = {table: connection.execute(f"select count(*) from {table}").fetchall()[0][0] for table, _ in found}
    return [f"{table}: {known:.0f} instead of {rows[table]} rows" for table, known in found if known != rows[table]]


def test_postgres_derives_what_duckdb_derives(postgres_url: str, tmp_path: Path) -> None:
    world = world_with_everything(tmp_path / "world", tmp_path / "parsed")
    # Copies: dbt of the world's days still has its file open in this process.
    ours, theirs = (shutil.copytree(world.home, tmp_path / name) for name in ("duckdb", "postgres"))
    warehouse = derive_with(Settings(home=ours), AS_OF)
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        for mart in ("journey_actions", "campaign_report", "order_attribution", "deliverability_daily", "ad_audience_members"):
            assert connection.table(f"marts.{mart}").fetchall(), f"{mart} is empty: the comparison would say nothing of it"
    settings = Settings(home=theirs, target="postgres", engine_url=SecretStr(postgres_url))
    # Here after the day before, whose tables are kept; in DuckDB all at once. They are where files have been landed.
    with open_warehouse(settings) as workbench:
        landed = "insert into raw.landed_files (file_id, file, table_name, position, mapping_hash) values ('1', 'a.csv', 'orders', 1, 'm')"
        workbench.execute(landed)
    derive_with(settings, AS_OF - timedelta(days=1))
    assert not differences(warehouse, derive_with(settings, AS_OF))
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("select is_whole, is_finished from intermediate.derived_through").fetchall() == [(False, True)]
        assert not not_analyzed(connection)
    # What is derived aside is derived there, from what the build before has left, and gone afterwards.
    with program_draft_derived(settings, "plain", AS_OF) as workbench:
        assert workbench.table("preview_marts.journey_admissions").fetchall()
    with psycopg.connect(postgres_url) as connection:
        assert not connection.execute("select nspname from pg_namespace where starts_with(nspname, 'preview_')").fetchall()
    with open_warehouse(settings) as workbench:
        assert not workbench.execute("select 1 from duckdb_schemas() where starts_with(schema_name, 'preview_')").fetchall()


def test_postgres_keeps_by_customer_what_duckdb_derives_anew(postgres_url: str, tmp_path: Path) -> None:
    shop = ChangingShop(tmp_path, seed=20300108)
    shop.past()
    shop.land(START)
    settings = shop.settings.model_copy(update={"target": "postgres", "engine_url": SecretStr(postgres_url)})
    derive_with(settings, START)
    as_ofs = [START + timedelta(days=day) for day in (1, 2, 3)]
    for as_of in as_ofs:
        shop.one_more_day(as_of)
        shop.land(as_of)
        workbench = derive_with(settings, as_of)
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("select is_whole, is_finished from intermediate.derived_through").fetchall() == [(False, True)]

    anew = Settings(home=shutil.copytree(shop.settings.root, tmp_path / "anew"))
    assert not differences(derive_with(anew, as_ofs[-1]), workbench)
