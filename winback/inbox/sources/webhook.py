"""Events from any system as signed JSON: the form in which Winback itself signs tasks (https://www.standardwebhooks.com).

POST /webhook/events                  {"events": [{"id": ..., "type": "delivered", "channel": "email", "occurred_at": ..., ...}]}
Webhook-Id: <id of the request>       the same at every attempt
Webhook-Timestamp: <epoch seconds>    at most five minutes old
Webhook-Signature: v1,<base64>        HMAC-SHA256 of "<id>.<timestamp>.<body>" under the shared secret; several, apart by spaces
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from winback.destinations.webhook import signature
from winback.inbox.incoming import Batch, Described, Incoming, Malformed, Refused, instant
from winback.inbox.machines import is_machine
from winback.inbox.recording import Event, EventType, address_hash, derived_id
from winback.inbox.signatures import is_timely, secret_matches

TOLERANCE_SECONDS = 300
MOST_EVENTS = 10_000


class Item(BaseModel):
    """One event of the body."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1, max_length=200, description="The sender's own id of the event: repeated ids count once")
    type: EventType
    channel: Literal["email", "sms", "push"]
    occurred_at: str = Field(max_length=40, description="ISO 8601, or epoch seconds in digits")
    message_id: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]{1,64}$", description="The id that Winback gave the message")
    customer_id: str | None = Field(None, min_length=1, max_length=200)
    address: str | None = Field(
        None, min_length=1, max_length=400, description="Email address, E.164 number or push token; kept as a hash only"
    )
    provider_id: str | None = Field(None, max_length=200)
    user_agent: str | None = Field(None, max_length=2000, description="Judged and thrown away")
    is_machine: bool = False
    link: str | None = Field(None, max_length=2000, description="The URL or the name of the link that was clicked; kept as a hash")
    reason: str | None = Field(None, pattern=r"^[A-Za-z0-9._ -]{1,60}$", description="A short code such as 5.1.1")


@dataclass(frozen=True, slots=True)
class WebhookEvents:
    """`secret` is the shared secret, decoded."""

    secret: bytes

    name = "webhook"
    paths: ClassVar[tuple[str, ...]] = ("/webhook/events",)
    answer: ClassVar[tuple[str, str]] = ("", "")

    def describe(self, path: str) -> Described:  # noqa: ARG002
        events = {"type": "array", "minItems": 1, "maxItems": MOST_EVENTS, "items": Item.model_json_schema()}
        schema = {"type": "object", "required": ["events"], "properties": {"events": events}}
        return Described("application/json", schema, ("Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"))

    def verify(self, request: Incoming) -> None:
        identity = request.headers.get("webhook-id", "")
        timestamp = request.headers.get("webhook-timestamp", "")
        signatures = request.headers.get("webhook-signature", "").split()
        if not identity or not timestamp or not signatures:
            raise Refused(401, "not signed")
        if not is_timely(timestamp, request.received_at, TOLERANCE_SECONDS):
            raise Refused(403, "the signature is stale")
        expected = signature(self.secret, identity, int(timestamp), request.body)
        # Several while a secret is being changed.
        if timestamp != str(int(timestamp)) or not any(secret_matches(expected, one) for one in signatures[:5]):
            raise Refused(403, "the signature does not fit")

    def read(self, request: Incoming) -> Batch:
        body = request.json()
        if isinstance(body, dict) and body.get("type") == "ping":
            return Batch(ignored=1)
        items = body.get("events") if isinstance(body, dict) else None
        if not isinstance(items, list) or not 1 <= len(items) <= MOST_EVENTS:
            raise Malformed(f"the body is no object with 1 to {MOST_EVENTS:,} `events`")
        batch = Batch()
        for item in items:
            try:
                batch.events.append(_event(item))
            except Malformed as problem:
                batch.aside.append((problem.reason, json.dumps(item).encode()))
        if not batch.events:
            raise Malformed(batch.aside[0][0])
        return batch


def _event(raw: Any) -> Event:
    try:
        item = Item.model_validate(raw)
    except ValidationError as problem:
        where = ".".join(str(part) for part in problem.errors(include_input=False)[0]["loc"])
        # A key that we do not know may be anything.
        shown = where if where in Item.model_fields else "an unknown key" if where else "it"
        raise Malformed(f"an event is not as described: {shown}") from None
    at = instant(item.occurred_at)
    if at is None:
        raise Malformed("an event is not as described: occurred_at")
    return Event(
        event_id=derived_id("webhook", item.id),
        source="webhook",
        event_type=item.type,
        occurred_at=at,
        channel=item.channel,
        message_id=item.message_id,
        provider_id=item.provider_id,
        address_hash=address_hash(item.channel, item.address) if item.address else None,
        is_machine=item.is_machine or is_machine(item.user_agent),
        link=derived_id(item.link) if item.link else None,
        reason=item.reason,
        customer_id=item.customer_id,
    )
