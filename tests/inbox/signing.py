"""Requests as each provider signs them, with keys made for the tests."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import urlencode

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from winback.destinations.config import ListenConfig
from winback.destinations.webhook import signature
from winback.inbox.config import open_sources
from winback.inbox.incoming import Source
from winback.inbox.signatures import twilio_signature

PUBLIC_URL = "https://hooks.example.com/winback"
TWILIO_TOKEN = "12345678901234567890123456789012"
ONESIGNAL_SECRET = "a-secret-of-some-length"
WEBHOOK_SECRET = "another-secret-of-some-length"


def opened(environment: Mapping[str, str] | None = None, group_id: int | None = None) -> tuple[Source, ...]:
    """The sources that are open with an environment; by default all of them."""
    environment = ENVIRONMENT if environment is None else environment
    return open_sources(ListenConfig(), environment, public_url=environment.get("WINBACK_PUBLIC_URL"), group_id=group_id).sources


@cache
def sendgrid_key() -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(20_261_121, ec.SECP256R1())


def sendgrid_public_key() -> str:
    return base64.b64encode(sendgrid_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


ENVIRONMENT = {
    "WINBACK_PUBLIC_URL": PUBLIC_URL,
    "SENDGRID_WEBHOOK_PUBLIC_KEY": sendgrid_public_key(),
    "TWILIO_AUTH_TOKEN": TWILIO_TOKEN,
    "ONESIGNAL_WEBHOOK_SECRET": ONESIGNAL_SECRET,
    "LISTEN_WEBHOOK_SECRET": WEBHOOK_SECRET,
}


def epoch(now: datetime) -> str:
    return str(int(now.replace(tzinfo=UTC).timestamp()))


def sendgrid(body: bytes, now: datetime) -> dict[str, str]:
    """Headers."""
    signed = sendgrid_key().sign(epoch(now).encode() + body, ec.ECDSA(hashes.SHA256()))
    return {
        "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signed).decode(),
        "X-Twilio-Email-Event-Webhook-Timestamp": epoch(now),
        "Content-Type": "application/json",
    }


def twilio(path: str, form: Mapping[str, str], query: str = "") -> tuple[bytes, dict[str, str]]:
    """Body and headers."""
    url = PUBLIC_URL + path + (f"?{query}" if query else "")
    headers = {
        "X-Twilio-Signature": twilio_signature(TWILIO_TOKEN, url, form.items()),
        "Content-Type": "application/x-www-form-urlencoded",
    }
    return urlencode(form).encode(), headers


def onesignal() -> dict[str, str]:
    return {"Authorization": ONESIGNAL_SECRET, "Content-Type": "application/json"}


def webhook(body: bytes, now: datetime, identity: str = "r1") -> dict[str, str]:
    """Headers."""
    return {
        "Webhook-Id": identity,
        "Webhook-Timestamp": epoch(now),
        "Webhook-Signature": signature(WEBHOOK_SECRET.encode(), identity, int(epoch(now)), body),
        "Content-Type": "application/json",
    }


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()
