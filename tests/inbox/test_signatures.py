"""The providers' own vectors pass; nothing that was changed afterwards does."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from urllib.parse import parse_qsl

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.inbox import signing
from winback.inbox.incoming import Incoming, Refused, Source
from winback.inbox.signatures import EcdsaKey, is_timely, twilio_signature, twilio_verifies

# sendgrid-python 6.12.5, test/unit/test_eventwebhook.py (MIT)
SENDGRID_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="
)
SENDGRID_OTHER_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqTxd43gyp8IOEto2LdIfjRQrIbsd4SXZkLW6jDutdhXSJCWHw8REntlo7aNDthvj+y7GjUuFDb/R1NGe1OPzpA=="
)
SENDGRID_SIGNATURE = "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM="
SENDGRID_OTHER_SIGNATURE = "MEUCIQCtIHJeH93Y+qpYeWrySphQgpNGNr/U+UyUlBkU6n7RAwIgJTz2C+8a8xonZGi6BpSzoQsbVRamr2nlxFDWYNH3j/0="
SENDGRID_TIMESTAMP = "1600112502"
SENDGRID_EVENT = {
    "email": "hello@world.com",
    "event": "dropped",
    "reason": "Bounced Address",
    "sg_event_id": "ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",
    "sg_message_id": "LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",
    "smtp-id": "<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>",
    "timestamp": 1600112492,
}
SENDGRID_BODY = (json.dumps([SENDGRID_EVENT], sort_keys=True, separators=(",", ":")) + "\r\n").encode()


def test_sendgrids_vector() -> None:
    assert EcdsaKey(SENDGRID_KEY).verifies(SENDGRID_SIGNATURE, SENDGRID_TIMESTAMP, SENDGRID_BODY)
    pem = f"-----BEGIN PUBLIC KEY-----\n{SENDGRID_KEY[:64]}\n{SENDGRID_KEY[64:]}\n-----END PUBLIC KEY-----\n"
    assert EcdsaKey(pem).verifies(SENDGRID_SIGNATURE, SENDGRID_TIMESTAMP, SENDGRID_BODY)


@pytest.mark.parametrize(
    ("key", "signature", "timestamp", "body"),
    [
        (SENDGRID_OTHER_KEY, SENDGRID_SIGNATURE, SENDGRID_TIMESTAMP, SENDGRID_BODY),
        (SENDGRID_KEY, SENDGRID_OTHER_SIGNATURE, SENDGRID_TIMESTAMP, SENDGRID_BODY),
        (SENDGRID_KEY, SENDGRID_SIGNATURE, "timestamp", SENDGRID_BODY),
        (SENDGRID_KEY, SENDGRID_SIGNATURE, SENDGRID_TIMESTAMP, b"payload"),
        (SENDGRID_KEY, SENDGRID_SIGNATURE, SENDGRID_TIMESTAMP, SENDGRID_BODY.rstrip()),
        (SENDGRID_KEY, "no base64!", SENDGRID_TIMESTAMP, SENDGRID_BODY),
        (SENDGRID_KEY, "", SENDGRID_TIMESTAMP, SENDGRID_BODY),
    ],
)
def test_sendgrids_bad_vectors(key: str, signature: str, timestamp: str, body: bytes) -> None:
    assert not EcdsaKey(key).verifies(signature, timestamp, body)


@pytest.mark.parametrize("key", ["", "nothing", SENDGRID_KEY[:40], "TUlHZk1BMEc="])
def test_a_key_that_is_none(key: str) -> None:
    with pytest.raises(ValueError, match="it is no"):
        EcdsaKey(key)


# twilio-python 9.13.0, tests/unit/test_request_validator.py (MIT)
TWILIO_URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
TWILIO_FORM = [
    ("CallSid", "CA1234567890ABCDE"),
    ("Digits", "1234"),
    ("From", "+14158675309"),
    ("To", "+18005551212"),
    ("Caller", "+14158675309"),
]
TWILIO_REPEATED = [("Sid", "CA123"), ("SidAccount", "AC123"), ("Digits", "5678"), ("Digits", "1234"), ("Digits", "1234")]
TWILIO_JSON = b'{"property": "value", "boolean": true}'
TWILIO_JSON_URL = TWILIO_URL + "&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"


@pytest.mark.parametrize(
    ("url", "form", "body", "signature"),
    [
        (TWILIO_URL, TWILIO_FORM, b"", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        (TWILIO_URL, TWILIO_REPEATED, b"", "IK+Dwps556ElfBT0I3Rgjkr1wJU="),
        (TWILIO_URL.replace(".com", ".com:1234"), TWILIO_FORM, b"", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        (TWILIO_URL.replace(".com", ".com:1234").replace("https", "http"), TWILIO_FORM, b"", "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="),
        (TWILIO_URL, TWILIO_FORM, b"", "kvajT1Ptam85bY51eRf/AJRuM3w="),
        (TWILIO_URL.replace("https", "http"), TWILIO_FORM, b"", "0ZXoZLH/DfblKGATFgpif+LLRf4="),
        (TWILIO_JSON_URL, [], TWILIO_JSON, "a9nBmqA0ju/hNViExpshrM61xv4="),
    ],
)
def test_twilios_vectors(url: str, form: list[tuple[str, str]], body: bytes, signature: str) -> None:
    assert twilio_verifies("12345", signature, url, form, body)
    assert not twilio_verifies("12346", signature, url, form, body)
    assert not twilio_verifies("12345", signature, url, [*form, ("Body", "x")], body)
    assert not twilio_verifies("12345", signature, url.replace("foo", "fox"), form, body)
    assert not twilio_verifies("12345", signature.swapcase(), url, form, body)


def test_a_json_body_is_held_by_its_hash() -> None:
    assert not twilio_verifies("12345", "a9nBmqA0ju/hNViExpshrM61xv4=", TWILIO_JSON_URL, [], TWILIO_JSON + b" ")


NOW = datetime(2026, 11, 21, 12)
FORM = {"MessageSid": "SM" + "a" * 32, "MessageStatus": "delivered", "To": "+15550100001"}
ITEM = {"id": "e1", "type": "delivered", "channel": "email", "occurred_at": "2026-11-21T11:59:00Z"}


def source(name: str, environment: dict[str, str] | None = None) -> Source:
    return next(one for one in signing.opened(environment) if one.name == name)


def signed(name: str) -> Incoming:
    """A request of each provider that passes."""
    if name == "twilio":
        body, headers = signing.twilio("/twilio/status", FORM, "message_id=m1")
        path, query = "/twilio/status", "message_id=m1"
    else:
        body = signing.as_json({"events": [ITEM]} if name == "webhook" else [{"event": "open", "timestamp": 1, "email": "a@example.com"}])
        headers = signing.webhook(body, NOW) if name == "webhook" else signing.sendgrid(body, NOW)
        path, query = f"/{name}/events", ""
    return Incoming(path, query, {key.lower(): value for key, value in headers.items()}, body, NOW)


SIGNED = ["sendgrid", "twilio", "webhook"]


@pytest.mark.parametrize("name", SIGNED)
def test_a_signed_request_passes(name: str) -> None:
    source(name).verify(signed(name))


def changed(request: Incoming, **values: object) -> Incoming:
    fields = {name: getattr(request, name) for name in ("path", "query", "headers", "body", "received_at")}
    return Incoming(**(fields | values))  # type: ignore[arg-type]


def meaning(body: bytes) -> object:
    """What Twilio signs of a form: a change of the spelling alone, or of where a name ends, is none."""
    try:
        return "".join(name + value for name, value in sorted(set(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True))))
    except (UnicodeDecodeError, ValueError):
        return body


@settings(max_examples=200, deadline=None)
@given(name=st.sampled_from(SIGNED), place=st.integers(0, 10_000), byte=st.integers(0, 255), how=st.sampled_from(["set", "insert", "cut"]))
def test_a_mutated_body_never_passes(name: str, place: int, byte: int, how: str) -> None:
    request = signed(name)
    at = place % len(request.body)
    middle = {"set": bytes([byte]) + request.body[at + 1 :], "insert": bytes([byte]) + request.body[at:], "cut": b""}[how]
    body = request.body[:at] + middle
    assume(body != request.body)
    assume(name != "twilio" or meaning(body) != meaning(request.body))
    with pytest.raises(Refused):
        source(name).verify(changed(request, body=body))


@settings(max_examples=100, deadline=None)
@given(name=st.sampled_from(["sendgrid", "webhook"]), seconds=st.integers(-(10**7), 10**7).filter(bool))
def test_a_mutated_timestamp_never_passes(name: str, seconds: int) -> None:
    request = signed(name)
    key = next(key for key in request.headers if key.endswith("timestamp"))
    with pytest.raises(Refused):
        source(name).verify(changed(request, headers={**request.headers, key: signing.epoch(NOW + timedelta(seconds=seconds))}))


@settings(max_examples=100, deadline=None)
@given(name=st.sampled_from(SIGNED), place=st.integers(0, 200), letter=st.characters(codec="latin-1"))
def test_a_mutated_signature_never_passes(name: str, place: int, letter: str) -> None:
    request = signed(name)
    key = next(key for key in request.headers if key.endswith("signature"))
    value = request.headers[key]
    at = place % len(value)
    mutated = value[:at] + letter + value[at + 1 :]
    assume(mutated.split() != value.split())
    with pytest.raises(Refused):
        source(name).verify(changed(request, headers={**request.headers, key: mutated}))


@pytest.mark.parametrize("name", SIGNED)
def test_another_key_refuses(name: str) -> None:
    others = signing.ENVIRONMENT | {
        "SENDGRID_WEBHOOK_PUBLIC_KEY": SENDGRID_OTHER_KEY,
        "TWILIO_AUTH_TOKEN": "x" * 32,
        "LISTEN_WEBHOOK_SECRET": "x" * 32,
    }
    with pytest.raises(Refused) as refusal:
        source(name, others).verify(signed(name))
    assert refusal.value.status == 403


@pytest.mark.parametrize("name", [*SIGNED, "onesignal"])
def test_no_signature_is_401(name: str) -> None:
    with pytest.raises(Refused) as refusal:
        source(name).verify(Incoming(f"/{name}/events", "", {}, b"[]", NOW))
    assert refusal.value.status == 401


@pytest.mark.parametrize(("name", "seconds"), [("sendgrid", 90_001), ("webhook", 301), ("sendgrid", -301), ("webhook", -301)])
def test_stale_and_premature_signatures_are_refused(name: str, seconds: int) -> None:
    request = signed(name)
    source(name).verify(changed(request, received_at=NOW + timedelta(seconds=seconds - (1 if seconds > 0 else -1))))
    with pytest.raises(Refused, match="stale"):
        source(name).verify(changed(request, received_at=NOW + timedelta(seconds=seconds)))


@pytest.mark.parametrize("timestamp", ["", "x", "-1", "1e3", "١٢٣", "9" * 13, "1.5", " 1"])
def test_what_is_no_timestamp(timestamp: str) -> None:
    assert not is_timely(timestamp, NOW, 1e12)


def test_twilio_signs_the_public_address_whatever_a_proxy_calls_it() -> None:
    request = signed("twilio")
    for address in ("https://hooks.example.com:443/winback", "https://hooks.example.com/winback/"):
        source("twilio", signing.ENVIRONMENT | {"WINBACK_PUBLIC_URL": address}).verify(request)
    for address in ("https://other.example.com/winback", "https://hooks.example.com"):
        with pytest.raises(Refused):
            source("twilio", signing.ENVIRONMENT | {"WINBACK_PUBLIC_URL": address}).verify(request)


def test_twilios_newer_signatures_are_hmac_sha256() -> None:
    body, _ = signing.twilio("/twilio/status", FORM)
    url = signing.PUBLIC_URL + "/twilio/status"
    newer = twilio_signature(signing.TWILIO_TOKEN, url, FORM.items(), "sha256")
    settings_header = "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"
    request = Incoming(
        "/twilio/status", "", {"x-twilio-signature": newer, "x-twilio-webhooks-signature-settings": settings_header}, body, NOW
    )
    source("twilio").verify(request)
    with pytest.raises(Refused):
        source("twilio").verify(changed(request, headers={"x-twilio-signature": newer}))


def test_a_webhook_secret_is_changed_with_two_signatures_for_a_while() -> None:
    request = signed("webhook")
    both = "v1,AAAA " + request.headers["webhook-signature"]
    source("webhook").verify(changed(request, headers={**request.headers, "webhook-signature": both}))
