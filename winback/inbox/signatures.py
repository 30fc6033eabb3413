"""Who sent it: the providers' signature schemes. Everything compared is compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

AHEAD_SECONDS = 300
"""How far a sender's clock may be ahead."""


def is_timely(timestamp: str, now: datetime, tolerance: float) -> bool:
    """Whether a signed epoch timestamp is at most `tolerance` seconds old, and not from the future."""
    if not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 12:
        return False
    age = now.replace(tzinfo=UTC).timestamp() - int(timestamp)
    return -AHEAD_SECONDS <= age <= tolerance


class EcdsaKey:
    """SendGrid's verification key (Settings, Mail Settings, Signed Event Webhook): base64 of a P-256 public key.

    Raises
    ------
    ValueError
        It is no such key.
    """

    def __init__(self, key: str) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        text = "".join(line for line in key.split("\n") if "-----" not in line)
        try:
            loaded = load_der_public_key(base64.b64decode(text, validate=False))
        except (ValueError, binascii.Error):
            raise ValueError("it is no public key in base64") from None
        if not isinstance(loaded, ec.EllipticCurvePublicKey) or not isinstance(loaded.curve, ec.SECP256R1):
            raise ValueError("it is no P-256 key")
        self._key: Any = loaded
        self._algorithm = _ecdsa()

    def verifies(self, signature: str, timestamp: str, body: bytes) -> bool:
        """Whether the base64 DER signature is over timestamp and body."""
        from cryptography.exceptions import InvalidSignature

        try:
            decoded = base64.b64decode(signature, validate=True)
            self._key.verify(decoded, timestamp.encode() + body, self._algorithm)
        except (InvalidSignature, ValueError):
            return False
        # Base64 has several spellings of the same bytes where it is padded.
        return base64.b64encode(decoded).decode() == signature


def _ecdsa() -> Any:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.ECDSA(hashes.SHA256())


def twilio_signature(secret: str, url: str, parameters: Iterable[tuple[str, str]], algorithm: str = "sha1") -> str:
    """Base64 of the HMAC over the URL and each parameter's name and value, sorted, repetitions of a pair left out."""
    text = url + "".join(name + value for name, value in sorted(set(parameters)))
    return base64.b64encode(hmac.digest(secret.encode(), text.encode("utf-8", "surrogatepass"), algorithm)).decode()


def twilio_verifies(
    secret: str, signature: str, url: str, parameters: Sequence[tuple[str, str]], body: bytes, algorithm: str = "sha1"
) -> bool:
    """Whether Twilio signed it: the URL with or without the port. The URL names the hash of a body that is no form."""
    named = parse_qs(urlsplit(url).query).get("bodySHA256")
    if named and not parameters and not hmac.compare_digest(sha256(body).hexdigest().encode(), named[0].encode("utf-8", "replace")):
        return False
    found = False
    for candidate in _with_and_without_port(url):
        expected = twilio_signature(secret, candidate, parameters, algorithm)
        found |= hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))
    return found


def _with_and_without_port(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    bare = host if parts.port is None else host.rpartition(":")[0]
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return urlunsplit(parts._replace(netloc=bare)), urlunsplit(parts._replace(netloc=f"{bare}:{port}"))


def secret_matches(secret: str, given: str) -> bool:
    """Whether a header holds the secret itself."""
    return hmac.compare_digest(secret.encode(), given.encode("utf-8", "replace"))
