"""SendGrid's Event Webhook: a JSON array of events, signed with ECDSA over timestamp and body.

Facts: https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event (2026-07).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from winback.inbox.incoming import EPOCH_SECONDS, Batch, Described, Incoming, Malformed, Refused, instant, text_of
from winback.inbox.machines import is_machine
from winback.inbox.recording import Event, EventType, address_hash, derived_id
from winback.inbox.signatures import EcdsaKey, is_timely

TOLERANCE_SECONDS = 90_000
"""25 hours: SendGrid repeats for 24, and whether it signs anew is written nowhere. A replay is a duplicate and changes nothing."""

_SIGNATURE = "X-Twilio-Email-Event-Webhook-Signature"
_TIMESTAMP = "X-Twilio-Email-Event-Webhook-Timestamp"
_TYPES: dict[str, EventType] = {
    "processed": "processed",
    "delivered": "delivered",
    "open": "opened",
    "click": "clicked",
    "bounce": "bounced",
    "dropped": "dropped",
    "spamreport": "complained",
    "unsubscribe": "unsubscribed",
    "group_unsubscribe": "unsubscribed",
    "group_resubscribe": "resubscribed",
}
_DROPPED = {
    "bounced address": "bounced_address",
    "unsubscribed address": "unsubscribed_address",
    "spam reporting address": "complained_address",
    "invalid": "invalid_address",
    "invalid smtpapi header": "invalid_header",
    "spam content": "spam_content",
    "recipient list over package quota": "over_quota",
}
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_OURS = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class SendGridEvents:
    """`group_id`: our unsubscribe group; what people say of other groups is not about us. None: every group is."""

    key: EcdsaKey
    group_id: int | None = None
    tolerance_seconds: float = TOLERANCE_SECONDS

    name = "sendgrid"
    paths: ClassVar[tuple[str, ...]] = ("/sendgrid/events",)
    answer: ClassVar[tuple[str, str]] = ("", "")

    def describe(self, path: str) -> Described:  # noqa: ARG002
        text = {"type": "string"}
        event = {
            "type": "object",
            "required": ["event", "timestamp"],
            "properties": {"event": text, "timestamp": EPOCH_SECONDS, "email": text, "sg_event_id": text, "winback_message_id": text},
        }
        return Described("application/json", {"type": "array", "items": event}, (_SIGNATURE, _TIMESTAMP))

    def verify(self, request: Incoming) -> None:
        signature = request.headers.get(_SIGNATURE.lower(), "")
        timestamp = request.headers.get(_TIMESTAMP.lower(), "")
        if not signature or not timestamp:
            raise Refused(401, "not signed")
        if not self.key.verifies(signature, timestamp, request.body):
            raise Refused(403, "the signature does not fit")
        if not is_timely(timestamp, request.received_at, self.tolerance_seconds):
            raise Refused(403, "the signature is stale")

    def read(self, request: Incoming) -> Batch:
        items = request.json()
        if not isinstance(items, list):
            raise Malformed("the body is no JSON array")
        batch = Batch()
        for item in items:
            try:
                event = self.event(item)
            except Malformed as problem:
                batch.aside.append((problem.reason, json.dumps(item).encode()))
                continue
            if event is None:
                batch.ignored += 1
            else:
                batch.events.append(event)
        if batch.aside and not batch.events and not batch.ignored:
            raise Malformed(batch.aside[0][0])
        return batch

    def event(self, item: Any) -> Event | None:
        """One event of the array; None where it says nothing to us (deferred, another group, a kind that we do not know)."""
        if not isinstance(item, dict) or not isinstance(item.get("event"), str):
            raise Malformed("an event is no object with a text `event`")
        kind = _TYPES.get(item["event"])
        if kind is None:
            return None
        at = instant(item.get("timestamp"))
        if at is None:
            raise Malformed("an event has no usable `timestamp`")
        group = item.get("asm_group_id")
        if item["event"].startswith("group_") and self.group_id is not None and group is not None and text_of(group) != str(self.group_id):
            return None
        email = text_of(item.get("email"), 400)
        hashed = address_hash("email", email)
        ours = text_of(item.get("winback_message_id"))
        kind, reason = _judged(kind, item)
        unique = text_of(item.get("sg_event_id"), 400)
        url = item.get("url")
        return Event(
            event_id=derived_id("sendgrid", unique)
            if unique
            else derived_id("sendgrid", item["event"], item.get("timestamp"), hashed, item.get("sg_message_id"), ours, url),
            source="sendgrid",
            event_type=kind,
            occurred_at=at,
            channel="email",
            message_id=ours if _OURS.fullmatch(ours) else None,
            provider_id=text_of(item.get("sg_message_id")) or None,
            address_hash=hashed,
            is_machine=kind in ("opened", "clicked")
            and (item.get("sg_machine_open") is True or is_machine(text_of(item.get("useragent"), 2000))),
            link=derived_id(url) if kind == "clicked" and isinstance(url, str) else None,
            reason=reason,
        )


def _judged(kind: EventType, item: dict[str, Any]) -> tuple[EventType, str | None]:
    """The type after a look at the details, and a short code; SendGrid's own words quote addresses."""
    status = _STATUS.search(text_of(item.get("status")))
    code = status.group() if status else None
    if kind == "bounced":
        # "blocked": refused for what it was or where it came from, not for whom it was to.
        is_soft = item.get("type") == "blocked" or (code or "").startswith("4.")
        return ("soft_bounced" if is_soft else "bounced"), code or ("blocked" if item.get("type") == "blocked" else None)
    if kind == "dropped":
        return kind, _DROPPED.get(text_of(item.get("reason")).strip().lower(), code)
    if kind in ("unsubscribed", "resubscribed") and isinstance(item.get("asm_group_id"), int):
        return kind, f"group {item['asm_group_id']}"
    return kind, None
