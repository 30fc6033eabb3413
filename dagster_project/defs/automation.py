"""When it runs: daily at 00:00 UTC, hourly for what has become due, at once when a file arrives."""

import dagster as dg

from dagster_project.partitions import DAYS
from winback.alerts import run_failed
from winback.landing import waiting_files
from winback.settings import load_settings

daily = dg.define_asset_job(
    "daily",
    # What is pulled from providers has a schedule of its own: their bad day is no reason for a bad day here.
    selection=dg.AssetSelection.all() - dg.AssetSelection.groups("inbox"),
    partitions_def=DAYS,
    description="One day: land, check, sync, derive, plan, apply, send, publish, report. Programs enter people on their own weekday.",
    tags={"dagster/max_retries": "1"},
)
hourly = dg.define_asset_job(
    "hourly",
    # The checks on raw data judge a day; between days there is none.
    selection=dg.AssetSelection.assets(["sent"]) | dg.AssetSelection.groups("landing").without_checks(),
    description="Between days: take in new files, send what has become due at people's local hour.",
)
daily_schedule = dg.build_schedule_from_partitioned_job(
    daily, name="daily_schedule", hour_of_day=0, minute_of_hour=0, description="Every day at 00:00 UTC, for the day that just ended."
)
hourly_schedule = dg.ScheduleDefinition(
    name="hourly_schedule", job=hourly, cron_schedule="30 * * * *", execution_timezone="UTC", description="Every hour at half past."
)


@dg.sensor(
    name="new_files", job=hourly, minimum_interval_seconds=60, description="New or changed files in the data folder are landed at once."
)
def new_files() -> dg.RunRequest | dg.SkipReason:
    waiting = waiting_files(load_settings())
    if not waiting.files:
        return dg.SkipReason(waiting.explanation)
    return dg.RunRequest(run_key=waiting.fingerprint)


@dg.run_failure_sensor(name="on_run_failure", description="A failed run is written to the log and to the alert channels, once.")
def on_run_failure(context: dg.RunFailureSensorContext) -> None:
    run_failed(
        load_settings(), job=context.dagster_run.job_name, run_id=context.dagster_run.run_id, message=context.failure_event.message or ""
    )
