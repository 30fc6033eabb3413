"""Access tokens of a Google service account (OAuth 2.0 JWT bearer grant), for FCM and the Data Manager API.

google-auth signs; the exchange itself goes through our client, because google-auth's own sleeps and retries.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import Any

from google.auth import crypt
from google.auth import jwt as google_jwt

from winback.clock import utc_now
from winback.destinations.config import FILE_NAME, Context
from winback.destinations.http import Answer, HttpClient, Meaning, code_of
from winback.errors import BadConfig, RejectItem, RetryLater, StopRun

_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIFETIME = 3600
# A token is renewed while it is still good for this many seconds: a request that started with it must not outlive it.
_MARGIN = 300


class ServiceAccount:
    """Gives the `Authorization` header; fetches a token when there is none or it soon runs out. Safe for use by several threads."""

    def __init__(self, info: Mapping[str, Any], *, provider: str, scope: str, token_url: str | None = None, timeout: float = 30.0) -> None:
        self.project = str(info.get("project_id", ""))
        self._email = str(info["client_email"])
        self._signer = crypt.RSASigner.from_service_account_info(info)  # type: ignore[no-untyped-call]
        self._audience = str(info.get("token_uri") or "https://oauth2.googleapis.com/token")
        self._scope = scope
        self._provider = provider
        self._client = HttpClient(
            token_url or self._audience, provider=f"{provider} sign-in", credentials={}, read_timeout=timeout, read_error=_read_error
        )
        self._lock = threading.Lock()
        self._token = ""
        self._good_until = 0.0

    def headers(self) -> dict[str, str]:
        """The header of a request.

        Raises
        ------
        StopRun
            The key is refused (deleted, disabled, a wrong clock).
        RetryLater
            The token endpoint does not answer.
        """
        with self._lock:
            if time.monotonic() >= self._good_until:
                self._fetch()
            return {"Authorization": f"Bearer {self._token}"}

    def forget(self) -> None:
        """Drop the token: the API refused it although its time is not up (revoked, or rights have changed)."""
        with self._lock:
            self._good_until = 0.0

    def close(self) -> None:
        self._client.close()

    def _fetch(self) -> None:
        issued = int(utc_now().replace(tzinfo=UTC).timestamp())
        claims = {"iss": self._email, "scope": self._scope, "aud": self._audience, "iat": issued, "exp": issued + _LIFETIME}
        assertion = google_jwt.encode(self._signer, claims)  # type: ignore[no-untyped-call]
        started = time.monotonic()
        try:
            answer = self._client.request("POST", "", form={"grant_type": _GRANT, "assertion": assertion.decode()}, reading=True)
        except RejectItem as refusal:
            raise StopRun(refusal.reason) from None
        body = answer.json()
        token = body.get("access_token") if isinstance(body, dict) else None
        if not isinstance(token, str) or not token:
            raise RetryLater(f"{self._provider} sign-in: the answer holds no token")
        lifetime = body.get("expires_in")
        self._token = token
        self._good_until = started + max((lifetime if isinstance(lifetime, int) else _LIFETIME) - _MARGIN, 0)


def service_account(
    context: Context, *, destination: str, variable: str, scope: str, token_url: str | None, timeout: float
) -> ServiceAccount:
    """The service account whose key an environment variable holds, as JSON text or as the path of the JSON file.

    Raises
    ------
    BadConfig
        The variable is not set, or holds no service account key.
    """
    value = context.secret(destination, "service_account_env", variable)
    where = f"{FILE_NAME}: {destination}.service_account_env: {variable}"
    if not value.startswith("{"):
        try:
            value = Path(value).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise BadConfig(f"{where} holds neither JSON nor the path of a readable file; set it to a service account key") from None
    try:
        info = json.loads(value)
        return ServiceAccount(info, provider=destination, scope=scope, token_url=token_url, timeout=timeout)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadConfig(
            f"{where} holds no service account key; allowed: the JSON that Google gives for one (client_email, private_key, project_id)"
        ) from None


def _read_error(answer: Answer) -> tuple[Meaning, str] | None:
    body = answer.json()
    error = code_of(body.get("error")) if isinstance(body, dict) else ""
    if 400 <= answer.status < 500 and answer.status not in {408, 425, 429}:
        return Meaning.STOP, f"the service account is refused ({error or answer.status}); check the key and the machine's clock"
    return None
