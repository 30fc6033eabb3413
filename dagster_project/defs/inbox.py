"""pulled: what webhooks may have missed, fetched every night before the day is derived."""

from typing import Any

import dagster as dg

from dagster_project.failures import told_plainly
from dagster_project.partitions import WAREHOUSE_POOL
from winback.clock import utc_now
from winback.settings import load_settings


@dg.asset(
    group_name="inbox",
    pool=WAREHOUSE_POOL,
    description="SendGrid's suppressions, Twilio's deactivated numbers, bounces that came as mail: recorded in the ledger, each once.",
    retry_policy=dg.RetryPolicy(max_retries=3, delay=60, backoff=dg.Backoff.EXPONENTIAL),
)
def pulled() -> dg.MaterializeResult[Any]:
    from winback.inbox.nightly import pull_everything

    with told_plainly():
        results = pull_everything(load_settings(), utc_now())
    problems = {one.name: one.problem for one in results if one.problem}
    if problems:
        raise dg.Failure(description="; ".join(f"{name}: {problem}" for name, problem in problems.items()))
    return dg.MaterializeResult(metadata={one.name: f"{one.entries:,} entries, {one.new:,} new" for one in results})


nightly_pull = dg.define_asset_job(
    "nightly_pull", selection=dg.AssetSelection.assets(pulled), description="Fetch what webhooks may have missed."
)
nightly_pull_schedule = dg.ScheduleDefinition(
    name="nightly_pull_schedule",
    job=nightly_pull,
    cron_schedule="45 23 * * *",
    execution_timezone="UTC",
    description="Every day at 23:45 UTC, before the day.",
)
