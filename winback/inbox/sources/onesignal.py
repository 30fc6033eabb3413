"""OneSignal Event Streams: a JSON body of our own making (docs/listening.md has the template) with a secret in a header.

Facts: https://documentation.onesignal.com/docs/en/event-streams-data (2026-11). OneSignal signs nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

from winback.inbox.incoming import EPOCH_SECONDS, Batch, Described, Incoming, Malformed, Refused, instant, text_of
from winback.inbox.recording import Event, EventType, address_hash, derived_id
from winback.inbox.signatures import secret_matches

_KINDS: dict[str, EventType] = {
    "push.sent": "processed",
    "push.received": "delivered",
    "push.clicked": "clicked",
    "push.failed": "failed",
    "push.unsubscribed": "unsubscribed",
    "email.sent": "processed",
    "email.received": "delivered",
    "email.opened": "opened",
    "email.clicked": "clicked",
    "email.unsubscribed": "unsubscribed",
    "email.reported_as_spam": "complained",
    "email.bounced": "bounced",
    "email.failed": "failed",
    "email.suppressed": "dropped",
    "sms.sent": "processed",
    "sms.delivered": "delivered",
    "sms.failed": "failed",
    "sms.undelivered": "failed",
}
# What FCM, APNs and browsers answer when the app is gone (OneSignal, push message reports, 2026-11).
_DEAD = re.compile(
    r"not_?registered|unregistered|baddevicetoken|invalid_?registration|device_?token_?not_?for_?topic|expired_?token|\b410\b", re.I
)


@dataclass(frozen=True, slots=True)
class OneSignalEvents:
    """`header` is the name (lower case) of the header that holds the secret."""

    secret: str
    header: str = "authorization"

    name = "onesignal"
    paths: ClassVar[tuple[str, ...]] = ("/onesignal/events",)
    answer: ClassVar[tuple[str, str]] = ("", "")

    def describe(self, path: str) -> Described:  # noqa: ARG002
        properties: dict[str, Any] = {
            name: {"type": "string"} for name in ("event.kind", "event.id", "message.id", "event.subscription_id")
        }
        properties["event.timestamp"] = EPOCH_SECONDS
        required = ["event.kind", "event.id", "event.timestamp"]
        return Described("application/json", {"type": "object", "required": required, "properties": properties}, (self.header,))

    def verify(self, request: Incoming) -> None:
        given = request.headers.get(self.header, "")
        if not given:
            raise Refused(401, "no secret")
        if not secret_matches(self.secret, given.removeprefix("Bearer ")):
            raise Refused(403, "the secret does not fit")

    def read(self, request: Incoming) -> Batch:
        body = request.json()
        if not isinstance(body, dict):
            raise Malformed("the body is no JSON object")
        kind = text_of(_field(body, "event.kind"))
        unique = text_of(_field(body, "event.id"))
        at = instant(_field(body, "event.timestamp")) or instant(_field(body, "event.datetime"))
        if not kind or not unique or at is None:
            raise Malformed("the body lacks event.kind, event.id or event.timestamp")
        event_type = _KINDS.get(kind.removeprefix("message."))
        if event_type is None:
            return Batch(ignored=1)
        channel = kind.removeprefix("message.").partition(".")[0]
        failure = text_of(_field(body, "event.data.failure_reason"), 2000)
        is_dead = channel == "push" and event_type == "failed" and _DEAD.search(failure) is not None
        subscription = text_of(_field(body, "event.subscription_id"))
        ours = text_of(_field(body, "message_id"))
        return Batch(
            [
                Event(
                    event_id=derived_id("onesignal", unique),
                    source="onesignal",
                    event_type="bounced" if is_dead else event_type,
                    occurred_at=at,
                    channel=channel,
                    message_id=ours if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", ours) else None,
                    provider_id=text_of(_field(body, "message.id")) or None,
                    # A push token is a device: what happens to one says nothing about the person's others.
                    address_hash=address_hash("push", subscription) if channel == "push" else None,
                    reason="dead_token" if is_dead else None,
                    customer_id=None if channel == "push" else text_of(_field(body, "event.external_id")) or None,
                )
            ]
        )


def _field(body: dict[str, Any], name: str) -> Any:
    """A field under its dotted name, as OneSignal's own template has it, or nested."""
    if name in body:
        return body[name]
    found: Any = body
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found
