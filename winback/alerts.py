"""Telling people: a line in the log, and a message to a Slack-compatible webhook where one is set."""

from __future__ import annotations

import os

import structlog

from winback.settings import Settings

WEBHOOK_VARIABLE = "WINBACK_ALERT_WEBHOOK"
_log = structlog.get_logger("winback.alerts")


def run_failed(settings: Settings, *, job: str, run_id: str, message: str) -> None:
    """Say that a run failed. `message` is an error of ours or of Dagster: ids and counts, never an address."""
    _log.error("run_failed", job=job, run_id=run_id, home=str(settings.root), reason=message)
    address = os.environ.get(WEBHOOK_VARIABLE)
    if address:
        import requests

        text = f":red_circle: Winback: job {job} failed (run {run_id}). {message}"
        try:
            requests.post(address, json={"text": text}, timeout=10).raise_for_status()
        except requests.RequestException as problem:
            # The address holds a secret, and the exception quotes the address.
            _log.error("alert_not_delivered", channel="webhook", kind=type(problem).__name__)
