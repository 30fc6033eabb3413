"""Several days in a row in one process: `python -m dagster_project.days 2017-11-30 15`. One Dagster run a day, dbt parsed once."""

from __future__ import annotations

import gc
import sys
import time
from collections import Counter
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Console

from winback.errors import WinbackError
from winback.progress import listening

if TYPE_CHECKING:
    import dagster as dg

_STARTED = time.monotonic()
_STAGES = {
    "land": "land and check", "check": "land and check", "sync": "land and check", "derive": "derive", "plan": "plan and apply",
    "applied": "plan and apply", "sent": "send", "published": "publish and report", "report": "publish and report",
    "dashboard": "publish and report",
}  # fmt: skip
_QUIET: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
_FULL_REFRESH = "--full-refresh"


def _what_happened(result: dg.ExecuteInProcessResult) -> str:
    """The day in a line, from the metadata of what was applied and sent."""
    numbers: dict[str, Any] = {}
    for event in result.all_events:
        if event.is_step_materialization and event.asset_key is not None and event.asset_key.path[-1] in ("applied", "sent"):
            numbers |= {key: value.value for key, value in event.materialization.metadata.items()}
    told = [f"{numbers[key]:,} {words}" for key, words in (("enrolled", "entered"), ("accepted", "sent")) if key in numbers]
    note = f" ({numbers['note']})" if numbers.get("note") else ""
    return ", ".join(told) + note


def _seconds_by_stage(result: dg.ExecuteInProcessResult) -> Counter[str]:
    seconds: Counter[str] = Counter()
    for event in result.all_events:
        if event.is_step_success and event.step_key is not None:
            seconds[_STAGES.get(event.step_key, event.step_key)] += event.step_success_data.duration_ms / 1000  # type: ignore[assignment]
    return seconds


def where_the_time_went(start_up: float, days: float, stages: Counter[str]) -> str:
    """One line, in seconds: before the first day, and the days with their stages; the rest is what Dagster does around them."""
    rest = max(0.0, days - stages.total())
    told = ", ".join(f"{name} {seconds:.1f}" for name, seconds in [*stages.items(), ("records of the runs", rest)])
    return f"seconds: start-up {start_up:.1f}; the days {days:.1f}, of which {told}"


def _why_it_failed(result: dg.ExecuteInProcessResult) -> list[str]:
    import dagster as dg

    reasons: list[str] = []
    for event in result.all_events:
        if event.is_step_failure:
            told = event.step_failure_data.user_failure_data
            error = event.step_failure_data.error
            while error is not None and error.cause is not None:
                error = error.cause
            why = told.description if told and told.description else error.message.strip() if error else "failed"
            reasons.append(f"{event.step_key}: {why}")
    for evaluation in result.get_asset_check_evaluations():
        if not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.ERROR:
            observed = {key: value.value for key, value in evaluation.metadata.items()}
            reasons.append(f"check {evaluation.check_name} on {evaluation.asset_key.to_user_string()}: {observed}")
    return reasons


def main(first: date, days: int, *, full_refresh: bool = False) -> int:
    config = _QUIET | {"ops": {"derive": {"config": {"full_refresh": full_refresh}}}}
    console = Console(stderr=True)
    stages: Counter[str] = Counter()
    with console.status("loading") as status:
        # What is imported stays: looking for garbage in it is a fifth of the time that importing takes.
        gc.disable()
        import dagster as dg

        from dagster_project.definitions import defs
        from dagster_project.lighter_dbt import collect_garbage_rarely
        from winback.settings import load_settings
        from winback.warehouse import warehouse_kept_open

        collect_garbage_rarely()
        job = defs().resolve_job_def("daily")
        with (
            dg.DagsterInstance.get() as instance,
            warehouse_kept_open(load_settings()),
            listening(lambda step: status.update(f"{day}  {step}")),
        ):
            first_began = time.monotonic()
            for day in (first + timedelta(days=offset) for offset in range(days)):
                status.update(f"{day}")
                began = time.monotonic()
                result = job.execute_in_process(partition_key=day.isoformat(), instance=instance, run_config=config, raise_on_error=False)
                if not result.success:
                    console.print(f"[bold red]{day}  stopped; nothing more was done[/]")
                    for reason in _why_it_failed(result):
                        console.print("  " + reason, markup=False, highlight=False)
                    return 1
                console.print(f"{day}  {_what_happened(result)}  [dim]{time.monotonic() - began:.1f} s[/]", highlight=False)
                stages += _seconds_by_stage(result)
            told = where_the_time_went(first_began - _STARTED, time.monotonic() - first_began, stages)
            console.print(f"[dim]{told}[/]", highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(date.fromisoformat(sys.argv[1]), int(sys.argv[2]), full_refresh=_FULL_REFRESH in sys.argv[3:]))
    except WinbackError as problem:
        Console(stderr=True).print(str(problem), style="bold red", markup=False)
        sys.exit(1)
