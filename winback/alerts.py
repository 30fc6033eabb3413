"""Telling people, once, when something begins to go wrong and when it is over: in the log, to a Slack-compatible webhook, by email.

What has been told stands in the ledger: of two processes that see the same, one tells it; what could not be delivered is tried again
after the next dispatch. Nothing here fails a run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import md5
from typing import Any
from urllib.parse import unquote, urlsplit

import duckdb
import sqlalchemy as sa
import structlog

from winback.clock import utc_now
from winback.errors import InDoubt, RejectItem, RetryLater, WinbackError
from winback.ledger import Ledger
from winback.ledger.tables import alerts
from winback.settings import Settings
from winback.watching import Condition, Figures, Lane, Waiting, judge, lanes_of, last_outcome, read_figures, read_ledger_figures

WEBHOOK_VARIABLE = "WINBACK_ALERT_WEBHOOK"
EMAIL_VARIABLE = "WINBACK_ALERT_EMAIL_TO"
SMTP_VARIABLE = "WINBACK_ALERT_SMTP_URL"
OPEN, CLOSED = "open", "closed"
_TIMEOUT_SECONDS = 10
_MARKS = {"error": ":red_circle:", "warning": ":warning:", "over": ":large_green_circle:"}
_log = structlog.get_logger("winback.alerts")


class NotDelivered(Exception):
    """An alert could not be handed over. The reason holds no address and no secret."""


@dataclass(frozen=True, slots=True)
class Watched:
    """How delivery stands after a dispatch: what it did per lane and destination, the conditions that hold now, and what waits."""

    lanes: tuple[Lane, ...] = ()
    conditions: tuple[Condition, ...] = ()
    waiting: Waiting = field(default_factory=Waiting)


def watch(
    settings: Settings,
    ledger: Ledger,
    warehouse: duckdb.DuckDBPyConnection,
    *,
    after: int,
    stopped: Mapping[str, str],
    now: datetime,
    environment: Mapping[str, str] | None = None,
) -> Watched:
    """Judge a dispatch (outcomes after number `after` of the ledger) and tell what has changed.

    `stopped`: destinations that it gave up, with the reason. `environment` holds the addresses to tell (default: this process's).
    """
    figures = read_figures(settings, ledger, warehouse, after=after, stopped=stopped, now=now)
    return _judged(settings, ledger, figures, now, environment)


def watch_from_outside(settings: Settings, ledger: Ledger, now: datetime, *, environment: Mapping[str, str] | None = None) -> Watched:
    """The same without a dispatch, from the ledger alone: what a process can tell that lives when no dispatch does."""
    figures = read_ledger_figures(settings, ledger, after=last_outcome(ledger), stopped={}, now=now)
    # What is due is no dispatch's fault as long as none has come: if none comes, `waiting` tells it.
    return _judged(settings, ledger, replace(figures, overdue=0), now, environment)


def _judged(settings: Settings, ledger: Ledger, figures: Figures, now: datetime, environment: Mapping[str, str] | None) -> Watched:
    known = {key: row for key, row in _latest(ledger).items() if row["state"] == OPEN}
    verdicts = judge(
        figures, known.keys(), minimum_tried=settings.alert_minimum_tried, rejected_share=settings.alert_rejected_share
    )  # fmt: skip
    tell_changes(settings, ledger, verdicts, now, environment)
    held = {key: Condition(key, row["message"], lanes_of(key, figures.in_use)) for key, row in known.items() if key not in verdicts}
    held |= {key: verdict for key, verdict in verdicts.items() if verdict is not None}
    return Watched(figures.lanes, tuple(held[key] for key in sorted(held)), figures.waiting or Waiting())


def tell_changes(
    settings: Settings,
    ledger: Ledger,
    verdicts: Mapping[str, Condition | None],
    now: datetime,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Record which conditions have begun or ended, and tell each change once; tell again what could not be delivered before."""
    channels = _Channels(settings, os.environ if environment is None else environment)
    latest = _latest(ledger)
    for key in sorted({*verdicts, *latest}):
        last = latest.get(key)
        state = last["state"] if last else CLOSED
        wanted = state if key not in verdicts else CLOSED if verdicts[key] is None else OPEN
        if wanted != state:
            verdict = verdicts[key]
            message = verdict.text if verdict is not None else last["message"] if last else ""
            _tell(ledger, key, last, wanted, message, channels, channels.names, now)
        elif last is not None and last["undelivered"]:
            again = [name for name in last["undelivered"].split(",") if name in channels.names]
            _tell(ledger, key, last, state, last["message"], channels, again, now)


def run_failed(settings: Settings, *, job: str, run_id: str, message: str, environment: Mapping[str, str] | None = None) -> None:
    """Say that a run failed. `message` is an error of ours or of Dagster: ids and counts, never an address."""
    _log.error("run_failed", job=job, run_id=run_id, home=str(settings.root), reason=message)
    channels = _Channels(settings, os.environ if environment is None else environment)
    for name in channels.names:
        channels.send(name, _MARKS["error"], f"job {job} failed", f"Run {run_id}. {message}")


def _tell(
    ledger: Ledger,
    key: str,
    last: Mapping[str, Any] | None,
    state: str,
    message: str,
    channels: _Channels,
    names: list[str],
    now: datetime,
) -> None:
    turn = last["turn"] + 1 if last else 1
    row = {"condition": key, "turn": turn, "state": state, "message": message, "recorded_at": now}
    if ledger.record("alerts", [row]) == 0:
        return  # Another process saw it first, and tells it.
    if state == OPEN:
        _log.warning("alert_open", condition=key, reason=message)
        mark, title, text = _MARKS[Condition(key, message).severity], message, ""
    else:
        _log.info("alert_over", condition=key)
        since = f" It was told {last['recorded_at']:%Y-%m-%d %H:%M} UTC." if last else ""
        mark, title, text = _MARKS["over"], f"over: {key.replace('_', ' ').replace(':', ' ')}", f"Before: {message}.{since}"
    failed = [name for name in names if not channels.send(name, mark, title, text)]
    if failed:
        ledger.record("alerts", [{**row, "turn": turn + 1, "undelivered": ",".join(failed)}])


def _latest(ledger: Ledger) -> dict[str, dict[str, Any]]:
    """The newest row of each condition."""
    last = sa.select(alerts.c.condition, sa.func.max(alerts.c.turn).label("turn")).group_by(alerts.c.condition).subquery()
    rows = ledger.read(sa.select(alerts).join(last, (alerts.c.condition == last.c.condition) & (alerts.c.turn == last.c.turn)))
    return {row.condition: dict(row._mapping) for row in rows}  # noqa: SLF001  (SQLAlchemy's public name)


class _Channels:
    """Where alerts go, as far as the environment names places."""

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        self._settings = settings
        self._environment = environment
        self._ways: dict[str, Callable[[str, str, str], None]] = {}
        if environment.get(WEBHOOK_VARIABLE):
            self._ways["webhook"] = self._webhook
        if environment.get(EMAIL_VARIABLE):
            self._ways["email"] = self._email

    @property
    def names(self) -> list[str]:
        return list(self._ways)

    def send(self, name: str, mark: str, title: str, text: str) -> bool:
        """Whether it was handed over; where not, the log says why."""
        try:
            self._ways[name](mark, title, text)
        except NotDelivered as problem:
            _log.error("alert_not_delivered", channel=name, reason=str(problem))
            return False
        return True

    def _webhook(self, mark: str, title: str, text: str) -> None:
        import requests

        content = {"text": f"{mark} Winback ({self._settings.root.name}): {title}{'. ' + text if text else ''}"}
        try:
            requests.post(self._environment[WEBHOOK_VARIABLE], json=content, timeout=_TIMEOUT_SECONDS).raise_for_status()
        except requests.HTTPError as problem:
            raise NotDelivered(f"the webhook answered {problem.response.status_code}") from None
        except requests.RequestException as problem:
            # The address holds a secret, and the exception quotes the address.
            raise NotDelivered(type(problem).__name__) from None

    def _email(self, _mark: str, title: str, text: str) -> None:
        from winback.destinations.base import Channel, Message, Outcome

        recipients = [address.strip() for address in self._environment[EMAIL_VARIABLE].split(",") if address.strip()]
        subject = f"[Winback] {title}"
        body = f"{title}\n\n{text}\n\nHome: {self._settings.root}\n"
        now = utc_now()
        try:
            server = self._mail_server(recipients[0] if recipients else "")
            messages = [
                Message(
                    message_id=md5(f"{address}|{subject}|{now.isoformat()}".encode(), usedforsecurity=False).hexdigest(),
                    channel=Channel.EMAIL, customer_id="", to=address, program="", program_version=0, step_no=0, content="alert",
                    subject=subject, text=body,
                )
                for address in recipients
            ]  # fmt: skip
            try:
                results = server.send(messages, now)
            finally:
                server.close()
        except (RetryLater, RejectItem, InDoubt) as problem:
            raise NotDelivered(problem.reason) from None
        except WinbackError as problem:
            raise NotDelivered(str(problem)) from None
        refused = [result.reason for result in results if result.outcome is not Outcome.ACCEPTED]
        if refused or not results:
            raise NotDelivered(refused[0] if refused else f"{EMAIL_VARIABLE} names nobody")

    def _mail_server(self, fallback_sender: str) -> Any:
        from winback.destinations import context_for
        from winback.destinations.config import Context, Sender, load_destinations

        try:
            context = context_for(self._settings, environment=self._environment)
        except WinbackError:
            context = Context(self._environment)  # A broken brand.yml may be what is to be told.
        if context.sender is None:
            context = Context(self._environment, Sender(fallback_sender, "Winback"))
        if self._environment.get(SMTP_VARIABLE):
            return _server_of_url(self._environment[SMTP_VARIABLE], context)
        config = load_destinations(self._settings.project)
        if "smtp" not in config.configs:
            raise NotDelivered(f"set {SMTP_VARIABLE}, or configure smtp in {config.file.name}: {EMAIL_VARIABLE} needs a mail server")
        return config.build("smtp", context)


def _server_of_url(url: str, context: Any) -> Any:
    """smtp://user:password@host:587 (STARTTLS), smtps://user:password@host:465, or smtp://localhost:25 in clear."""
    from dataclasses import replace

    from winback.destinations import smtp

    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        secure = parts.scheme == "smtps"
        is_local = host in ("localhost", "127.0.0.1", "::1") and not parts.username
        if parts.scheme not in ("smtp", "smtps") or not host:
            raise ValueError
        login = {"username_env": "ALERT_USER", "password_env": "ALERT_PASSWORD"} if parts.username else {}
        config = smtp.Config.model_validate(
            {
                "host": host,
                "port": port or (465 if secure else 25 if is_local else 587),
                "security": "tls" if secure else "none" if is_local else "starttls",
                "timeout_seconds": _TIMEOUT_SECONDS,
                **login,
            }
        )
    except ValueError:
        raise NotDelivered(
            f"{SMTP_VARIABLE} cannot be used; allowed: smtp://user:password@host:587, smtps://..., smtp://localhost:25"
        ) from None
    secrets = {"ALERT_USER": unquote(parts.username or ""), "ALERT_PASSWORD": unquote(parts.password or "")}
    return smtp.build(config, replace(context, environment=secrets))
