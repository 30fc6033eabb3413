"""publish and report: what BI tools and people read."""

from typing import Any

import dagster as dg

from dagster_project.defs.activation import sent
from dagster_project.failures import told_plainly
from dagster_project.partitions import DAYS, ONE_DAY_A_RUN, WAREHOUSE_POOL, as_of
from winback.ledger import open_ledger
from winback.settings import load_settings
from winback.warehouse import open_warehouse


@dg.asset(
    group_name="outputs",
    deps=[sent],
    partitions_def=DAYS,
    backfill_policy=ONE_DAY_A_RUN,
    pool=WAREHOUSE_POOL,
    description="The marts as Parquet and as one DuckDB file, swapped atomically: safe to hold open while the next run works.",
    retry_policy=dg.RetryPolicy(max_retries=2, delay=10),
)
def published(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
    from winback.publishing import publish

    settings = load_settings()
    with told_plainly(), open_warehouse(settings) as connection:
        report = publish(settings, connection, run_id=context.run.run_id, as_of=as_of(context))
    return dg.MaterializeResult(metadata=report.metadata())


@dg.asset(
    group_name="outputs",
    deps=[sent],
    partitions_def=DAYS,
    backfill_policy=ONE_DAY_A_RUN,
    pool=WAREHOUSE_POOL,
    description="The day for people: tiers, audiences, the admission waterfall, what was sent, what was won back.",
)
def report(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
    from winback.reports import day_report

    settings = load_settings()
    with told_plainly(), open_ledger(settings) as ledger, open_warehouse(settings) as connection:
        day = day_report(settings, connection, ledger, as_of(context))
    return dg.MaterializeResult(
        metadata={"report": dg.MetadataValue.md(day.markdown), "file": dg.MetadataValue.path(str(day.html_path)), **day.numbers}
    )


@dg.asset(
    group_name="outputs",
    deps=[published],
    partitions_def=DAYS,
    backfill_policy=ONE_DAY_A_RUN,
    description="What was really won back: one HTML file over the published marts that opens anywhere. `winback dashboard` shows it.",
)
def dashboard(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
    from winback.dashboard import write_dashboard

    with told_plainly():
        made = write_dashboard(load_settings(), as_of(context))
    return dg.MaterializeResult(metadata={"file": dg.MetadataValue.path(str(made.path)), "bytes": made.size, **made.rows})
