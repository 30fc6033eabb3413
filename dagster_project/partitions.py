"""The daily partition and the instant that it reasons about."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

import dagster as dg

# Old enough for the histories that are replayed; a partition costs nothing until it is run.
DAYS = dg.DailyPartitionsDefinition(start_date="1990-01-01")

# Every day is a run of its own: its decisions need the ledger as the day before left it.
ONE_DAY_A_RUN = dg.BackfillPolicy.multi_run(max_partitions_per_run=1)

# One run at a time opens the warehouse (DuckDB gives its file to one process).
WAREHOUSE_POOL = "warehouse"


def as_of_day(day: date) -> datetime:
    """`as_of` of partition `day`: the midnight that ends it."""
    return datetime.combine(day + timedelta(days=1), time())


def as_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> datetime:
    """`as_of` of the run's partition, naive UTC."""
    return as_of_day(date.fromisoformat(context.run.tags["dagster/partition"]))
