"""land, check and sync: what other systems and the ledger know, brought into the warehouse."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from dagster_project.failures import told_plainly
from dagster_project.partitions import WAREHOUSE_POOL, as_of
from winback.clock import utc_now
from winback.ledger import open_ledger
from winback.programs import sync
from winback.quality.suites import CHECKS
from winback.settings import load_settings
from winback.warehouse import open_warehouse

RAW_TABLES = {
    "customers": "People as the shop knows them. One row per customer_id.",
    "orders": "Orders of any status. One row per order_id.",
    "order_lines": "What was in an order. One row per order_id and line_no.",
    "products": "What is sold. One row per product_id.",
    "message_events": "Messages sent and what people (or machines) did with them. One row per event_id.",
    "activity_events": "Visits, logins and actions. One row per event_id.",
    "consents": "What people allowed or withdrew. One row per customer_id, channel and changed_at.",
    "devices": "Push tokens. One row per push_token and updated_at.",
}
LEDGER_TABLES = [
    "program_versions",
    "program_statuses",
    "policy_versions",
    "approvals",
    "enrolments",
    "steps",
    "messages",
    "claims",
    "outcomes",
    "audience_changes",
    "suppressions",
    "tags",
    "frequency_limits",
    "offer_codes",
    "applied_plans",
    "delivery_events",
    "audit_trail",
]
# Several days in one process: what passed is not asked again until something has been landed.
_PASSES: dict[tuple[object, ...], int] = {}
# A day that a check stops records nothing of what programs say, but for what they stop: see `winback.programs.record_stops`.
_CHECKED = [dg.AssetKey(["raw", table]) for table in sorted({check.table for check in CHECKS})]
PROGRAM_TABLES = ("versions", "statuses", "steps", "step_channels", "ad_platforms", "sending_policies")


@dg.multi_asset(
    name="land",
    specs=[dg.AssetSpec(["raw", table], group_name="landing", description=text) for table, text in RAW_TABLES.items()]
    + [
        dg.AssetSpec(
            ["raw", "quarantine"],
            group_name="landing",
            description="Rows that could not be read, with file, row and reason. One row per problem.",
        ),
        dg.AssetSpec(
            ["raw", "changed_keys"],
            group_name="landing",
            description="Whose data a landed file changed: what a day derives anew. One row per file, table and key.",
        ),
    ],
    pool=WAREHOUSE_POOL,
    retry_policy=dg.RetryPolicy(max_retries=2, delay=30, backoff=dg.Backoff.EXPONENTIAL),
)
def landed() -> Iterator[dg.MaterializeResult[Any]]:
    from winback.landing import land

    settings = load_settings()
    with told_plainly(), open_ledger(settings) as ledger, open_warehouse(settings) as connection:
        report = land(settings, connection, ledger, now=utc_now())
        for table in (*RAW_TABLES, "quarantine"):
            yield dg.MaterializeResult(asset_key=["raw", table], metadata=report.metadata(table))
        yield dg.MaterializeResult(asset_key=["raw", "changed_keys"])


@dg.multi_asset_check(
    name="check",
    specs=[dg.AssetCheckSpec(check.name, asset=["raw", check.table], description=check.description, blocking=True) for check in CHECKS],
    pool=WAREHOUSE_POOL,
)
def checked(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
    from winback.quality import validate

    with told_plainly():
        results = validate(load_settings(), as_of(context), passes=_PASSES)
    for result in results:
        yield dg.AssetCheckResult(
            asset_key=["raw", result.table],
            check_name=result.name,
            passed=result.passed,
            severity=dg.AssetCheckSeverity.ERROR if result.blocking else dg.AssetCheckSeverity.WARN,
            metadata={"observed": result.observed, "unexpected": result.unexpected_count, "sample_keys": list(result.sample_keys)},
        )


@dg.multi_asset(
    name="sync",
    specs=[
        dg.AssetSpec(
            ["programs", table],
            deps=_CHECKED,
            group_name="sync",
            description="Programs and sending policy, flattened from their versions.",
        )
        for table in PROGRAM_TABLES
    ]
    + [
        dg.AssetSpec(
            ["ledger", table],
            deps=_CHECKED,
            group_name="sync",
            description=f"Copy of the ledger's {table}: what we did, appended only.",
        )
        for table in LEDGER_TABLES
    ],
    pool=WAREHOUSE_POOL,
    retry_policy=dg.RetryPolicy(max_retries=2, delay=10),
)
def synced(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
    settings = load_settings()
    instant = as_of(context)
    with told_plainly(), open_ledger(settings) as ledger, open_warehouse(settings) as connection:
        sync(settings, ledger, connection, as_of=instant, now=settings.acting_at(instant, utc_now()))
        copied = ledger.copy_to_warehouse(connection)
    for table in PROGRAM_TABLES:
        yield dg.MaterializeResult(asset_key=["programs", table])
    for table in LEDGER_TABLES:
        yield dg.MaterializeResult(asset_key=["ledger", table], metadata={"new_rows": copied.get(table, 0)})
