"""Bounces and complaints as mail: delivery reports (RFC 3464) and feedback reports (ARF, RFC 5965).

Mail proves nothing about who wrote it. A report counts only if it brings back the Message-ID of a message that we sent, which nobody but
the recipient's side knows. The ledger holds no address to compare with, so the address in a report is a claim: it is silenced by the
dispatcher, and only where it is that of the message's customer.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage, Message
from email.parser import BytesParser
from email.utils import parseaddr, parsedate_to_datetime

from winback.inbox.incoming import Batch
from winback.inbox.recording import MAILBOX, Event, EventType, address_hash, derived_id

LARGEST_MAIL = 1_000_000
"""Bytes. Reports quote at most the message that they are about."""

_OURS = re.compile(r"<?([0-9a-f]{32})@[^>\s]+>?")
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_REPLY_CODE = re.compile(r"\b([245])\d\d\b")
# Full, too long, the system's or the line's trouble, its content or our reputation: nothing of it is the address's fault for good.
_PASSING = re.compile(r"5\.(2\.[234]|[3-7]\.\d{1,3})")
_FEEDBACK: dict[str, EventType] = {
    "abuse": "complained",
    "fraud": "complained",
    "virus": "complained",
    "other": "complained",
    "opt-out": "unsubscribed",
    "opt-out-list": "unsubscribed",
}


def read_mail(content: bytes, received_at: datetime) -> Batch:
    """The events of one mail; `ignored` is 1 where it is no report, or about no message of ours, or says nothing final.

    Never raises: what cannot be read is no report.
    """
    if len(content) > LARGEST_MAIL:
        return Batch(ignored=1)
    try:
        mail = BytesParser(policy=policy.default).parsebytes(content)
        parts = list(_parts(mail))
        kinds = {part.get_content_type(): part for part in reversed(parts)}
        original = _original_id(parts)
        if original is None:
            return Batch(ignored=1)
        if "message/feedback-report" in kinds:
            events = _complaint(mail, kinds["message/feedback-report"], original, received_at)
        elif "message/delivery-status" in kinds:
            events = _bounces(mail, kinds["message/delivery-status"], original, received_at)
        else:
            events = []
    except Exception:  # noqa: BLE001 - one mail that stops the reading keeps every later bounce unread, at every look
        # The standard library's parser stumbles over what spam puts into headers in ways of its own, UnboundLocalError among them.
        # Nothing here touches the ledger or the mailbox: all that can fail is the mail.
        return Batch(ignored=1)
    return Batch(events=events, ignored=0 if events else 1)


def only_of(batch: Batch, known: Collection[str]) -> Batch:
    """The batch without what a report about an unknown message would do: such events are kept, and silence nobody."""
    events = [event if event.message_id in known else _harmless(event) for event in batch.events]
    return Batch(events, batch.aside, batch.ignored)


def _harmless(event: Event) -> Event:
    return replace(event, address_hash=None)


def _parts(mail: Message) -> Iterator[Message]:
    """The parts of a report, not those of the message that it brings back."""
    yield mail
    if mail.get_content_type().startswith("multipart/") and mail.is_multipart():
        for part in mail.iter_parts() if isinstance(mail, EmailMessage) else mail.get_payload():
            yield from _parts(part)  # type: ignore[arg-type]


def _original_id(parts: Sequence[Message]) -> str | None:
    """The id of our message, from the Message-ID of what is brought back, whole or its headers only."""
    for part in parts:
        kind = part.get_content_type()
        if kind == "message/rfc822" and part.is_multipart():
            found = _OURS.fullmatch(_header(part.get_payload(0), "Message-ID"))  # type: ignore[arg-type]
        elif kind in ("text/rfc822-headers", "message/rfc822-headers"):
            headers = BytesParser(policy=policy.default).parsebytes(_bytes(part), headersonly=True)
            found = _OURS.fullmatch(_header(headers, "Message-ID"))
        else:
            continue
        if found:
            return found.group(1)
    return None


def _bytes(part: Message) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else str(part.get_payload()).encode("utf-8", "replace")


def _header(part: Message, name: str) -> str:
    value = part.get(name)
    return str(value).strip() if value is not None else ""


def _blocks(part: Message) -> list[Message]:
    """The groups of fields of a report's middle part, whichever way the parser has read it."""
    payload = part.get_payload()
    if isinstance(payload, list):
        return [block for block in payload if isinstance(block, Message)]
    texts = re.split(rb"\r?\n\r?\n", _bytes(part).strip())
    return [BytesParser(policy=policy.default).parsebytes(text, headersonly=True) for text in texts]


def _bounces(mail: Message, status: Message, original: str, received_at: datetime) -> list[Event]:
    """What the report says of the first recipient of whom it says something final: a message of ours has one."""
    blocks = _blocks(status)
    for block in blocks[1:]:
        address = _header(block, "Original-Recipient") or _header(block, "Final-Recipient")
        hashed = address_hash("email", address.rpartition(";")[2])
        code = _STATUS.search(_header(block, "Status"))
        diagnosis = _REPLY_CODE.search(_header(block, "Diagnostic-Code"))
        kind = _kind(_header(block, "Action").lower(), code.group() if code else "", diagnosis.group(1) if diagnosis else "")
        if kind is None or hashed is None:
            continue
        at = _date(_header(block, "Last-Attempt-Date") or _header(blocks[0], "Arrival-Date") or _header(mail, "Date"), received_at)
        return [
            Event(
                event_id=derived_id(MAILBOX, kind, original, hashed, code.group() if code else ""),
                source=MAILBOX,
                event_type=kind,
                occurred_at=at,
                channel="email",
                message_id=original,
                address_hash=hashed,
                reason=code.group() if code else None,
            )
        ]
    return []


def _kind(action: str, status: str, reply: str) -> EventType | None:
    if action == "delivered":
        return "delivered"
    if action != "failed":
        return None
    if status.startswith("4.") or (not status and reply == "4") or _PASSING.fullmatch(status):
        return "soft_bounced"
    return "bounced"


def _complaint(mail: Message, report: Message, original: str, received_at: datetime) -> list[Event]:
    fields = next(iter(_blocks(report)), None)
    if fields is None:
        return []
    feedback = _header(fields, "Feedback-Type").lower()
    kind = _FEEDBACK.get(feedback)
    if kind is None:
        return []
    address = parseaddr(_header(fields, "Original-Rcpt-To"))[1]
    return [
        Event(
            event_id=derived_id(MAILBOX, kind, original),
            source=MAILBOX,
            event_type=kind,
            occurred_at=_date(_header(fields, "Arrival-Date") or _header(fields, "Received-Date") or _header(mail, "Date"), received_at),
            channel="email",
            message_id=original,
            # Mailbox providers black it out: then the customer of the message is whom it is about.
            address_hash=address_hash("email", address) if "@" in address else None,
            reason=feedback,
        )
    ]


def _date(text: str, otherwise: datetime) -> datetime:
    try:
        at = parsedate_to_datetime(text)
        return at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at
    except (ValueError, TypeError, OverflowError):
        return otherwise
