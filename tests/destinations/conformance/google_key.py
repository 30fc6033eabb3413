"""A service account with a key of its own, and the token endpoint that honours it."""

from __future__ import annotations

import json
from functools import cache

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.destinations.conformance.server import Captured, LocalProvider, Reply

TOKEN = "ya29.secret-access-token"


@cache
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def service_account_key(**changes: str) -> str:
    """The JSON that Google gives for a service account."""
    info = {
        "type": "service_account",
        "project_id": "winback-test",
        "private_key_id": "k1",
        "private_key": private_key(),
        "client_email": "sender@winback-test.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    return json.dumps({**info, **changes})


def give_token(captured: Captured) -> Reply:
    assert captured.form()["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    return Reply(200, {"access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer"})


@cache
def token_endpoint() -> LocalProvider:
    """One for all tests of a process: tokens are not what they are about."""
    return LocalProvider(give_token)
