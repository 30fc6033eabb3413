"""plan, apply and send: the only assets through which anything leaves the building."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from dagster_project.defs.raw import RAW_TABLES
from dagster_project.failures import told_plainly
from dagster_project.partitions import DAYS, ONE_DAY_A_RUN, WAREHOUSE_POOL, as_of
from dagster_project.senders import helpers
from winback.alerts import Watched
from winback.clock import utc_now
from winback.day import apply_day, apply_metadata, dispatch_due, plan_day, plan_metadata
from winback.settings import load_settings
from winback.watching import LANES, lane_check

# Between days nothing else holds sending back when what came in could not be landed: a purchase or a refusal may be in it.
_LANDED = [dg.AssetKey(["raw", table]) for table in RAW_TABLES]
_DECIDED = [dg.AssetKey(["marts", name]) for name in ("journey_admissions", "journey_actions", "journey_followups", "ad_audience_members")]


def _check_name(lane: str) -> str:
    return lane.replace(":", "_")


def _check_results(watched: Watched) -> list[dg.AssetCheckResult]:
    checks = {_check_name(lane): lane_check(lane, watched.lanes, watched.conditions) for lane in LANES}
    return [
        dg.AssetCheckResult(
            check_name=name,
            passed=check.passed,
            severity=dg.AssetCheckSeverity.ERROR if check.is_error else dg.AssetCheckSeverity.WARN,
            metadata=check.numbers,
        )
        for name, check in checks.items()
    ]


@dg.asset(
    group_name="activation",
    deps=_DECIDED,
    partitions_def=DAYS,
    backfill_policy=ONE_DAY_A_RUN,
    pool=WAREHOUSE_POOL,
    description="What would be done today, as a diff against the ledger with a content hash: entries, messages, ad-audience changes.",
)
def plan(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
    with told_plainly():
        drawn = plan_day(load_settings(), as_of(context))
    folder = dg.MetadataValue.path(str(drawn.folder))
    return dg.MaterializeResult(metadata={"plan_hash": drawn.content_hash, "folder": folder, **plan_metadata(drawn)})


@dg.asset(
    group_name="activation",
    deps=[plan],
    partitions_def=DAYS,
    backfill_policy=ONE_DAY_A_RUN,
    pool=WAREHOUSE_POOL,
    description="Exactly the plan, of live and approved programs: enrolled and queued, each thing once. Running it again does nothing.",
    retry_policy=dg.RetryPolicy(max_retries=2, delay=30),
)
def applied(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
    with told_plainly():
        report = apply_day(load_settings(), as_of(context), utc_now(), run_id=context.run.run_id)
    return dg.MaterializeResult(metadata=apply_metadata(report))


@dg.asset(
    group_name="activation",
    deps=[applied, *_LANDED],
    pool=WAREHOUSE_POOL,
    description="What was due was claimed, checked once more against consent, suppression and purchases, sent, and its outcome recorded.",
    check_specs=[
        dg.AssetCheckSpec(
            _check_name(lane),
            asset="sent",
            description=f"Does {lane} leave? Its destination works, rejects are few, and nothing is in doubt.",
        )
        for lane in LANES
    ],
)
def sent(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
    settings = load_settings()
    instant = as_of(context) if "dagster/partition" in context.run.tags else None
    with told_plainly():
        report = dispatch_due(settings, utc_now(), as_of=instant, ask_for_help=helpers(context.run, context.instance, settings))
    yield dg.MaterializeResult(metadata=report.metadata(), check_results=_check_results(report.watched))
