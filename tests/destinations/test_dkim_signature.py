"""DKIM: what is signed here, dkimpy's own verifier accepts, and nothing that was changed."""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime
from functools import cache

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.destinations.conformance.suite import NOW, messages
from winback.destinations.base import Channel
from winback.destinations.config import Sender
from winback.destinations.dkim_signature import Signer
from winback.destinations.mime import build_mime


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, form: str = "PKCS8", password: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, getattr(serialization.PrivateFormat, form), encryption)


def _verified(content: bytes) -> bool:
    public = _key().public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    record = b"v=DKIM1; k=rsa; p=" + b64encode(public)
    return bool(dkim.verify(content, dnsfunc=lambda name, timeout=5: record))


@cache
def _signer(form: str = "PKCS8") -> Signer:
    return Signer(_pem(_key(), form), "example.com", "winback")


def _signed(content: bytes, *, form: str = "PKCS8") -> bytes:
    return _signer(form).header(content, NOW) + content


@settings(deadline=None)
@given(text=st.text(), subject=st.text(), name=st.text(max_size=60))
def test_whatever_is_written_verifies(text: str, subject: str, name: str) -> None:
    message = messages(Channel.EMAIL, ["anna@example.com"], text=f"Hello\n{text}", subject=subject, to_name=name)[0]

    assert _verified(_signed(build_mime(message, Sender("shop@example.com", "Zoë's Shop", "help@example.com"), NOW)))


@pytest.mark.parametrize("body", [b"", b"\r\n", b"\r\n\r\n\r\n", b"a line  \t with   spaces \t\r\n\r\n", b"no line end", b".\r\n..\r\n"])
def test_odd_bodies_verify(body: bytes) -> None:
    assert _verified(_signed(b"From: shop@example.com\r\nSubject: x\r\n\r\n" + body))


@pytest.mark.parametrize(
    ("found", "changed"),
    [
        (b"Subject: a", b"Subject: b"),
        (b"body", b"Body"),
        (b"From: shop", b"From: thief"),
        (b"\r\n\r\nbody", b"\r\nFrom: thief@example.com\r\n\r\nbody"),
        (b" t=", b" t=1"),
    ],
)
def test_nothing_that_was_changed_verifies(found: bytes, changed: bytes) -> None:
    signed = _signed(b"From: shop@example.com\r\nSubject: a\r\n\r\nbody\r\n")
    assert found in signed

    assert _verified(signed)
    assert not _verified(signed.replace(found, changed))


def test_spaces_that_a_relay_changes_do_no_harm() -> None:
    signed = _signed(b"From: shop@example.com\r\nSubject: two  words\r\n\r\nbody \r\n")

    assert _verified(signed.replace(b"two  words", b"two\r\n words").replace(b"body \r\n", b"body\r\n\r\n"))


def test_the_header_says_who_signed_when_and_what() -> None:
    line = _signer().header(b"From: a@example.com\r\nTo: b@example.com\r\n\r\nx\r\n", datetime(2026, 3, 2))

    assert line.startswith(b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n d=example.com; s=winback; t=1772409600;\r\n")
    assert b"\r\n h=from : from : to;\r\n" in line
    assert max(map(len, line.split(b"\r\n"))) <= 78


def test_either_form_of_key_is_taken() -> None:
    assert _verified(_signed(b"From: shop@example.com\r\n\r\nbody\r\n", form="TraditionalOpenSSL"))


@pytest.mark.parametrize(
    "pem",
    [
        b"nonsense",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        _pem(ec.generate_private_key(ec.SECP256R1())),
        _pem(_key(), password=b"secret"),
    ],
    ids=["nonsense", "empty", "no RSA key", "with a password"],
)
def test_other_keys_are_refused(pem: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (the words are cryptography's)
        Signer(pem, "example.com", "winback")
