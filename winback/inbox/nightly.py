"""Everything that is fetched rather than received: the providers' lists, and mail."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime

from winback.destinations.config import Context, load_destinations
from winback.errors import RetryLater
from winback.inbox.mail import read_mails
from winback.inbox.pull import Pulled, pull
from winback.ledger import open_ledger
from winback.settings import Settings
from winback.warehouse import open_warehouse


def pull_everything(settings: Settings, now: datetime, *, mail: bool = True, environment: Mapping[str, str] | None = None) -> list[Pulled]:
    """Fetch every list that destinations.yml configures; one result each. Nothing on the simulated clock, which talks to nobody.

    Raises
    ------
    BadConfig
        destinations.yml is wrong, or a credential is not in the environment.
    Busy
        Another process has the ledger, or the warehouse (asked for our own phone numbers), for too long.
    """
    if settings.clock == "simulated":
        return []
    config = load_destinations(settings.project)
    secrets = os.environ if environment is None else environment
    with open_ledger(settings) as ledger:
        results = pull(ledger, config, Context(secrets), now, phone_hashes=lambda: _phone_hashes(settings))
        if mail and config.listen.mailbox is not None:
            try:
                read = read_mails(ledger, config.listen.mailbox, secrets, settings.project, lambda: now)
                results.append(Pulled("mailbox", read.mails, read.events))
            except RetryLater as problem:
                results.append(Pulled("mailbox", problem=problem.reason))
    return results


def _phone_hashes(settings: Settings) -> frozenset[str]:
    """Hashes of the phone numbers that the warehouse knows; none before its first day."""
    if not settings.warehouse.exists():
        return frozenset()
    with open_warehouse(settings) as connection:
        tables = connection.execute("select 1 from duckdb_tables() where table_name = 'int_customers__contacts'").fetchall()
        if not tables:
            return frozenset()
        rows = connection.execute(
            "select distinct sha256(phone) from intermediate.int_customers__contacts where phone is not null"
        ).fetchall()
    return frozenset(row[0] for row in rows)
