"""Signed tokens: `<key's name>.<base64url of message id and proof>`, 44 characters and the key's name.

The proof is HMAC-SHA256 of purpose, key's name, message id and what else the link says, cut to 128 bits. Nothing is encrypted: a message
id is a hash that means something to the ledger alone.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Literal

from winback.links.keys import Key, KeyRing

Purpose = Literal["unsubscribe", "preferences", "open", "click"]

_ID = 16
_PROOF = 16
_LENGTH = 43
_LONGEST = 16 + 1 + _LENGTH


def sign(key: Key, purpose: Purpose, message_id: str, said: str = "") -> str:
    """A token for one message (its id: 32 hex digits) and one purpose; it also vouches for `said`, which the link carries beside it.

    Raises
    ------
    ValueError
        The message id is not 32 hex digits.
    """
    identity = bytes.fromhex(message_id)
    if len(identity) != _ID:
        raise ValueError("a message id has 32 hex digits")
    return f"{key.name}.{urlsafe_b64encode(identity + _proof(key, purpose, identity, said))[:_LENGTH].decode('ascii')}"


def message_of(keys: KeyRing, purpose: Purpose, token: str, said: str = "") -> str | None:
    """The id of the message that a token was signed for; None for one that none of the keys signed for this purpose and `said`."""
    if len(token) > _LONGEST or not token.isascii():
        return None
    name, _, encoded = token.partition(".")
    key = keys.named(name)
    if key is None or len(encoded) != _LENGTH:
        return None
    try:
        content = urlsafe_b64decode(encoded + "=")
    except ValueError:
        return None
    # base64 leaves two bits over and ignores odd characters: only the one spelling that we write counts.
    if len(content) != _ID + _PROOF or urlsafe_b64encode(content)[:_LENGTH].decode("ascii") != encoded:
        return None
    identity, proof = content[:_ID], content[_ID:]
    return identity.hex() if hmac.compare_digest(proof, _proof(key, purpose, identity, said)) else None


def _proof(key: Key, purpose: Purpose, identity: bytes, said: str) -> bytes:
    signed = b"\0".join((purpose.encode(), key.name.encode(), identity.hex().encode(), said.encode("utf-8", "replace")))
    return hmac.digest(key.secret, signed, "sha256")[:_PROOF]
