"""What the data frame contenders read, and which marts they make: Parquet exports of the raw tables, with the columns that are needed."""

from __future__ import annotations

import shutil
from pathlib import Path

from winback.settings import Settings
from winback.warehouse import open_warehouse

COMPARED = (
    "customers",
    "customer_tier_history",
    "customer_segments",
    "winback_monthly",
    "past_own_cycle",
    "customer_not_active",
    "product_cycle_ended",
    "lapsed_one_to_two_years",
    "customer_lapsed",
    "email_fading",
    "product_unused",
    "tier_drop",
)
"""The marts that pandas and polars make too. Those of journeys and reports are left out: they follow from programs, in far fewer rows."""

# Money as floating point, which favours data frames: pandas would hold decimals as Python objects.
_SELECTS = {
    "customers": "customer_id, email, phone, country, timezone, language, brand, created_at",
    "orders": "order_id, customer_id, ordered_at, status, cast(total as double) as total, cast(refunded as double) as refunded, currency",
    "order_lines": "order_id, product_id",
    "products": "product_id, name, category, launched_at",
    "message_events": "event_id, customer_id, address, channel, event_type, occurred_at, is_machine",
    "activity_events": "customer_id, event_type, occurred_at",
    "consents": "customer_id, channel, changed_at, granted",
    "devices": "push_token, customer_id, active, updated_at",
}


def export_once(settings: Settings) -> Path:
    """The folder of the exports of this home, made if it is not there yet."""
    folder = settings.root / "exports"
    if (folder / "complete").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with open_warehouse(settings, read_only=True) as warehouse:
        for table, columns in _SELECTS.items():
            warehouse.execute(f"copy (select {columns} from raw.{table}) to '{folder / table}.parquet' (format parquet)")
    for seed in ("currency_rates", "product_cycles"):
        shutil.copy(settings.dbt_project / "seeds" / f"{seed}.csv", folder)
    (folder / "complete").touch()
    return folder
