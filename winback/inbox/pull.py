"""The nightly pull: what SendGrid and Twilio know of dead and unwilling addresses, for what webhooks have missed.

Every list is asked from where its last complete pull ended (less a day, as nothing is lost by asking twice). How far it came stands in
the audit trail, list by list; a pull that is killed begins its list again, and what it had recorded counts once. What a webhook has
already told of the same address and day is not recorded a second time.

Facts: https://www.twilio.com/docs/sendgrid/api-reference/bounces-api and .../sms/deactivated-phone-numbers (2026-07).
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa

from winback.destinations.config import Context, DestinationsConfig
from winback.destinations.http import HttpClient
from winback.errors import InDoubt, RejectItem, RetryLater, StopRun
from winback.inbox.incoming import instant, text_of
from winback.inbox.recording import Event, EventType, address_hash, derived_id, record_events
from winback.ledger import Ledger
from winback.ledger.tables import audit_trail, delivery_events
from winback.progress import tell

ACT = "pulled"
OVERLAP = timedelta(days=1)
PAGE = 500
TWILIO_DAYS = 30
"""How far back the first pull of deactivated numbers goes."""

DEACTIVATED = "deactivated"
_BEGINNING = datetime(1970, 1, 1)
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_LISTS: dict[str, EventType] = {
    "bounces": "bounced",
    "invalid_emails": "bounced",
    "spam_reports": "complained",
    "unsubscribes": "unsubscribed",
    "blocks": "soft_bounced",
}


@dataclass(frozen=True, slots=True)
class Pulled:
    """One list: entries that the provider named, and those that were news. `problem` says why it could not be read to its end."""

    name: str
    entries: int = 0
    new: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Entry:
    address: str
    at: datetime
    reason: str | None = None


def pull(
    ledger: Ledger, config: DestinationsConfig, context: Context, now: datetime, *, phone_hashes: Callable[[], Collection[str]]
) -> list[Pulled]:
    """Pull every list of the providers that destinations.yml configures; one result each. A list that fails does not stop the others.

    Parameters
    ----------
    phone_hashes
        Hashes of the phone numbers that we know; asked only where Twilio is configured. Its lists name all deactivated numbers of the
        United States: those of strangers are not kept.

    Raises
    ------
    BadConfig
        A credential is not in the environment.
    Busy
        Another process has held the ledger for too long.
    """
    results: list[Pulled] = []
    if "sendgrid" in config.configs:
        results += _sendgrid(ledger, config.configs["sendgrid"], context, now)
    if "twilio" in config.configs:
        results += _twilio(ledger, config.configs["twilio"], context, now, phone_hashes())
    return results


def _sendgrid(ledger: Ledger, config: Any, context: Context, now: datetime) -> Iterator[Pulled]:
    client = HttpClient(
        config.base_url,
        provider="SendGrid",
        credentials={"Authorization": f"Bearer {context.secret('sendgrid', 'api_key_env', config.api_key_env)}"},
        headers={"Accept": "application/json"},
        connect_timeout=config.connect_timeout_seconds,
        read_timeout=config.read_timeout_seconds,
    )
    try:
        for name, kind in _LISTS.items():
            since = _since(ledger, f"sendgrid/{name}")
            yield _pulled(ledger, f"sendgrid/{name}", kind, "email", _pages(client, name, since, now), now)
        group = _group(client, config.unsubscribe_group_id)
        yield _pulled(ledger, "sendgrid/group", "unsubscribed", "email", group, now)
    finally:
        client.close()


def _pages(client: HttpClient, name: str, since: datetime, now: datetime) -> Iterator[list[_Entry]]:
    """A list from `since` on, page by page."""
    window = {"start_time": _epoch(since), "end_time": _epoch(now)}
    offset = 0
    while True:
        params = window | {"limit": PAGE, "offset": offset}
        found = client.request("GET", f"/v3/suppression/{name}", params=params, reading=True).json()
        if not isinstance(found, list):
            raise RetryLater("the answer is no list")
        yield [entry for item in found if (entry := _entry(item, "created"))]
        if len(found) < PAGE:
            return
        offset += len(found)


def _group(client: HttpClient, group_id: int) -> Iterator[list[_Entry]]:
    """Who has left our unsubscribe group. This list is not paged and knows no window."""
    found = client.request("GET", "/v3/asm/suppressions", reading=True).json()
    if not isinstance(found, list):
        raise RetryLater("the answer is no list")
    yield [entry for item in found if isinstance(item, dict) and item.get("group_id") == group_id and (entry := _entry(item, "created_at"))]


def _entry(item: Any, key: str) -> _Entry | None:
    at = instant(item.get(key)) if isinstance(item, dict) else None
    address = text_of(item.get("email"), 400) if at else ""
    if at is None or "@" not in address:
        return None
    status = _STATUS.search(text_of(item.get("status")) or text_of(item.get("reason"), 1000))
    return _Entry(address, at, status.group() if status else None)


def _twilio(ledger: Ledger, config: Any, context: Context, now: datetime, phone_hashes: Collection[str]) -> Iterator[Pulled]:
    account = context.secret("twilio", "account_sid_env", config.account_sid_env)
    user = context.secret("twilio", "api_key_sid_env", config.api_key_sid_env) if config.api_key_sid_env else account
    basic = b64encode(f"{user}:{context.secret('twilio', 'auth_token_env', config.auth_token_env)}".encode()).decode()
    # The messages' API has a host of its own; anything else (a test, a proxy) serves both.
    base = config.base_url.replace("https://api.twilio.com", "https://messaging.twilio.com")
    client = HttpClient(base, provider="Twilio", credentials={"Authorization": f"Basic {basic}"}, headers={"Accept": "application/json"})
    try:
        first = max(_since(ledger, "twilio/deactivations"), now - timedelta(days=TWILIO_DAYS)).date()
        # A day's list is there once the day is over.
        for days in range((now.date() - first).days):
            day = first + timedelta(days=days)
            until = datetime(day.year, day.month, day.day) + OVERLAP
            result = _pulled(ledger, "twilio/deactivations", "bounced", "sms", _deactivated(client, day, phone_hashes), now, until=until)
            yield result
            if result.problem:
                # A later day's success would say that this one was read.
                return
    finally:
        client.close()


def _deactivated(client: HttpClient, day: date, phone_hashes: Collection[str]) -> Iterator[list[_Entry]]:
    """The numbers of one day that are ours."""
    answer = client.request("GET", "/v1/Deactivations", params={"Date": day.isoformat()}, reading=True, returned=frozenset({307}))
    place = answer.json()
    address = answer.headers.get("Location") or (place.get("redirect_to") if isinstance(place, dict) else None)
    if not isinstance(address, str) or not address.startswith(("https://", "http://127.0.0.1")):
        raise RetryLater("Twilio: the list's address is missing")
    parts = urlsplit(address)
    # Signed by itself: our credentials are not for the storage behind it.
    storage = HttpClient(f"{parts.scheme}://{parts.netloc}", provider="Twilio's storage", credentials={})
    try:
        content = storage.request("GET", address.removeprefix(f"{parts.scheme}://{parts.netloc}"), reading=True).body.decode(
            "ascii", "replace"
        )
    finally:
        storage.close()
    at = datetime(day.year, day.month, day.day)
    numbers = (_american(line) for line in content.splitlines())
    yield [_Entry(number, at, DEACTIVATED) for number in numbers if number and address_hash("sms", number) in phone_hashes]


def _american(line: str) -> str | None:
    """A line of the list as E.164; the files have been seen with and without the country code."""
    digits = re.sub(r"\D", "", line)
    if len(digits) == 10:
        return f"+1{digits}"
    return f"+{digits}" if len(digits) == 11 and digits.startswith("1") else None


def _pulled(
    ledger: Ledger,
    name: str,
    kind: EventType,
    channel: str,
    pages: Iterator[Sequence[_Entry]],
    now: datetime,
    *,
    until: datetime | None = None,
) -> Pulled:
    """Record a list page by page; how far it came is noted once it was read to its end."""
    tell(f"pulling {name}")
    entries = new = 0
    try:
        for page in pages:
            entries += len(page)
            new += _record(ledger, name, kind, channel, page, now)
    except (RetryLater, RejectItem, InDoubt) as problem:
        return Pulled(name, entries, new, problem.reason)
    except StopRun as problem:
        return Pulled(name, entries, new, str(problem))
    details = {"until": (until or now).isoformat(" "), "entries": entries, "new": new}
    ledger.audit(ACT, actor="winback", subject=name, details=details, now=now)
    return Pulled(name, entries, new)


def _record(ledger: Ledger, name: str, kind: EventType, channel: str, page: Sequence[_Entry], now: datetime) -> int:
    events = [
        Event(
            event_id=derived_id("pull", name, hashed, entry.at),
            source="pull",
            event_type=kind,
            occurred_at=entry.at,
            channel=channel,
            address_hash=hashed,
            reason=entry.reason,
        )
        for entry in page
        if (hashed := address_hash(channel, entry.address))
    ]
    told = _told(ledger, kind, channel, events)
    return record_events(ledger, [event for event in events if not _is_told(event, told)], now).events if events else 0


def _told(ledger: Ledger, kind: EventType, channel: str, events: Sequence[Event]) -> Mapping[str, list[datetime]]:
    """When other sources have said the same of an address since these events began. Whoever says it later says it a second time."""
    if not events:
        return {}
    table = delivery_events
    since = min(event.occurred_at for event in events) - OVERLAP
    wanted = {event.address_hash for event in events}
    query = sa.select(table.c.address_hash, table.c.occurred_at).where(
        table.c.event_type == kind, table.c.channel == channel, table.c.source != "pull", table.c.recorded_at >= since
    )
    told: dict[str, list[datetime]] = {}
    for row in ledger.read(query):
        if row.address_hash in wanted:
            told.setdefault(row.address_hash, []).append(row.occurred_at)
    return told


def _is_told(event: Event, told: Mapping[str, list[datetime]]) -> bool:
    return any(abs(at - event.occurred_at) <= OVERLAP for at in told.get(event.address_hash or "", ()))


def _since(ledger: Ledger, name: str) -> datetime:
    """Where the next pull of a list begins: a day before the last complete one ended; with the beginning if there was none."""
    trail = audit_trail
    query = sa.select(trail.c.details).where(trail.c.act == ACT, trail.c.subject == name).order_by(trail.c.seq.desc()).limit(1)
    rows = ledger.read(query)
    return datetime.fromisoformat(json.loads(rows[0][0])["until"]) - OVERLAP if rows else _BEGINNING


def _epoch(at: datetime) -> int:
    return int(at.replace(tzinfo=UTC).timestamp())
