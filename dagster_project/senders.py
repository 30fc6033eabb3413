"""Runs that help a dispatch to send, on whatever worker takes them. Loaded by itself, this is a code location that does nothing else."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
from dagster._core.origin import JobPythonOrigin
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator

from dagster_project.failures import told_plainly
from winback.day import help_to_send
from winback.settings import Settings, load_settings


class Slices(dg.Config):
    """Which slices: of the hand-out in `folder`, from number `first` on."""

    folder: str
    first: int


@dg.op(description="Slices of what is due were sent that no other run was at. None is no fault: the others were quicker.")
def send_slices(context: dg.OpExecutionContext, config: Slices) -> None:
    with told_plainly():
        sent = help_to_send(load_settings(), Path(config.folder), config.first)
    context.add_output_metadata({"slices": sent})


@dg.job(
    executor_def=dg.in_process_executor,
    # Who asked for help sends what a helper leaves.
    tags={"dagster/max_retries": "0"},
    description="Started by `sent` where WINBACK_DISPATCH_SHARDS is more than 1.",
)
def help_send() -> None:
    send_slices()


@dg.definitions
def defs() -> dg.Definitions:
    return dg.Definitions(jobs=[help_send])


def helpers(run: dg.DagsterRun, instance: dg.DagsterInstance, settings: Settings) -> Callable[[Path, int], None] | None:
    """What puts helping runs into the queue; None where this run did not come out of one: nobody would take them."""
    origin, code = run.remote_job_origin, run.job_code_origin
    coordinator = instance.run_coordinator
    if origin is None or code is None or not isinstance(coordinator, QueuedRunCoordinator):
        return None
    names = [name.strip() for name in settings.dispatch_locations.split(",") if name.strip()] or [origin.location_name]

    def ask(folder: Path, slices: int) -> None:
        for number in range(1, slices):
            config = {"ops": {send_slices.name: {"config": {"folder": str(folder), "first": number}}}}
            at = RegisteredCodeLocationOrigin(names[(number - 1) % len(names)])
            help_wanted = instance.create_run_for_job(
                help_send,
                run_config=config,
                tags=help_send.tags,
                remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(at, origin.repository_origin.repository_name), help_send.name),
                job_code_origin=JobPythonOrigin(help_send.name, code.repository_origin),
            )
            # The queue needs no workspace: the daemon, which launches, has its own.
            coordinator.submit_run(SubmitRunContext(help_wanted, workspace=None))  # type: ignore[arg-type]

    return ask
