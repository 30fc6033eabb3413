"""A day on which many customers are due a message, and where asked an ad audience too: what delivery finds after dbt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb

from tests.delivery.conftest import SCHEMA
from winback.ledger import Ledger, open_ledger
from winback.programs.sync import sync
from winback.settings import Settings
from winback.warehouse import open_warehouse

AS_OF = datetime(2026, 1, 5)
NOON = AS_OF + timedelta(hours=12)
"""When everything is due: after the hour of sending, and outside quiet hours."""

PROGRAM = "lapsing_repeat_buyers"
_CONTENTS = {"email": "we_miss_you", "push": "we_miss_you", "sms": "we_miss_you", "task": "personal_call"}
_SQL = Path(__file__).with_suffix(".sql")


@dataclass(frozen=True, slots=True)
class Day:
    """An open warehouse and ledger in `settings.home`; nothing is planned yet."""

    settings: Settings
    warehouse: duckdb.DuckDBPyConnection
    ledger: Ledger


@contextmanager
def day(home: Path, customers: int, channel: str, *, with_ads: bool = False, memory_limit: str = "1GB") -> Iterator[Day]:
    """A day on which `customers` customers are each due a message of a shipped program on `channel`, and with ads a Meta audience."""
    settings = Settings(home=home, clock="simulated", memory_limit=memory_limit)
    with open_warehouse(settings) as warehouse, open_ledger(settings) as ledger:
        warehouse.execute(SCHEMA)
        sync(settings, ledger, warehouse, AS_OF - timedelta(days=1), AS_OF - timedelta(days=1))
        version = ledger.latest_versions()[PROGRAM]["version"]
        for name, value in {
            "customers": customers,
            "channel": channel,
            "content": _CONTENTS[channel],
            "program": PROGRAM,
            "version": version,
            "as_of": AS_OF,
            "with_ads": with_ads,
        }.items():
            warehouse.execute(f"set variable {name} = $value", {"value": value})
        warehouse.execute(_SQL.read_text(encoding="utf-8"))
        warehouse.execute("checkpoint")
        yield Day(settings, warehouse, ledger)
