"""A warehouse with two small marts beside what must never be published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from winback.settings import Settings
from winback.warehouse import open_warehouse


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def warehouse(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    manifest = settings.manifest
    manifest.parent.mkdir(parents=True)
    manifest.write_text(
        json.dumps(
            {
                "nodes": {
                    "model.winback.customers": {
                        "resource_type": "model",
                        "schema": "marts",
                        "alias": "customers",
                        "description": "Who\nthey are and how they shop.\n\nOne row per customer.",
                        "columns": {
                            "customer_id": {"description": "Key | of the shop"},
                            "lifetime_value": {"description": "Net value of all purchases", "config": {"meta": {"unit": "GBP"}}},
                        },
                    },
                    "model.winback.stg": {
                        "resource_type": "model",
                        "schema": "staging",
                        "alias": "flows",
                        "description": "no",
                        "columns": {},
                    },
                }
            }
        ),
        encoding="utf-8",
    )
    with open_warehouse(settings) as connection:
        connection.execute("""
            create schema raw; create schema marts; create schema intermediate;
            create table raw.source_notes as select 'Contact details are invented (seed 7)' as note;
            create table intermediate.contacts as select 'c1' as customer_id, 'ada@example.com' as email;
            create table marts.customers as
                select 'c' || i as customer_id, i % 50 as days_since_last_order, (i * 1.5)::decimal(18,4) as lifetime_value,
                    true as reachable_email, timestamp '2017-01-01' as last_ordered_at, 0 as publication
                from range(1000) t(i);
            create table marts.flows as select 'active' as tier, 0.5::double as win_back_percentage, 0 as publication from range(10);
        """)
        yield connection
