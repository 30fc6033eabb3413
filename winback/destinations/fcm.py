"""Push through Firebase Cloud Messaging, HTTP v1: one request per device, no idempotency key, no delivery callback.

Reference: firebase.google.com/docs/reference/fcm/rest/v1/projects.messages (revision 2026-10-23) and .../ErrorCode.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal

from pydantic import Field

from winback.destinations.base import DEAD_TOKEN, Capabilities, Channel, Message, Outcome, Result
from winback.destinations.config import Context, EnvName, HttpConfig, WebAddress
from winback.destinations.google_oauth import ServiceAccount, service_account
from winback.destinations.http import FAILED_WITHIN, Answer, HttpClient, Meaning, code_of
from winback.errors import BadConfig, InDoubt, RejectItem

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
LARGEST_PAYLOAD = 4096
"""Bytes of notification and data together that FCM takes for one device."""

# The default quota is 600,000 messages a minute.
CAPABILITIES = Capabilities(channels=frozenset({Channel.PUSH}), batch_size=1, rate_per_second=10_000, concurrency=32)

_RESERVED = re.compile(r"from|message_type|(google|gcm)\..*")
_NOT_IN_LABEL = re.compile(r"[^A-Za-z0-9_.~%-]")
_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
_ERRORS: Mapping[str, tuple[Meaning, str]] = {
    "UNREGISTERED": (Meaning.REJECT, DEAD_TOKEN),
    "SENDER_ID_MISMATCH": (Meaning.REJECT, "SENDER_ID_MISMATCH: the device belongs to another Firebase project"),
    "THIRD_PARTY_AUTH_ERROR": (Meaning.REJECT, "THIRD_PARTY_AUTH_ERROR: the APNs or web push key in the Firebase console is refused"),
    "QUOTA_EXCEEDED": (Meaning.RETRY, "QUOTA_EXCEEDED"),
    "UNAVAILABLE": (Meaning.RETRY, "UNAVAILABLE"),
    # "An unknown internal error": Google's own clients repeat it, but nothing says that the device has not got the message.
    "INTERNAL": (Meaning.IN_DOUBT, "INTERNAL; it may have been sent all the same"),
}


class Config(HttpConfig):
    """Keys of `fcm` in destinations.yml."""

    base_url: WebAddress = "https://fcm.googleapis.com"
    service_account_env: EnvName = Field(
        "FCM_SERVICE_ACCOUNT", description="Environment variable with the service account key: its JSON, or the path of the JSON file"
    )
    project: str | None = Field(None, pattern=r"^[a-z][a-z0-9-]{4,29}$", description="Firebase project; default: the key's project_id")
    token_url: WebAddress | None = Field(None, description="OAuth token endpoint; default: the key's token_uri")
    target: Literal["token", "fid"] = Field(
        "token",
        description="What push tokens in the data are: registration tokens (accept FIDs too, deprecated) or Firebase installation ids",
    )
    ttl_hours: int = Field(72, ge=1, le=672, description="How long FCM keeps a message for a device that is offline")
    validate_only: bool = Field(False, description="FCM checks each message and delivers none (dry run)")


def build(config: Config, context: Context) -> Fcm:
    account = service_account(
        context,
        destination="fcm",
        variable=config.service_account_env,
        scope=SCOPE,
        token_url=config.token_url,
        timeout=config.read_timeout_seconds,
    )
    return Fcm(config, account)


class Fcm:
    """Push messages to Android, iOS and web through Firebase."""

    name = "fcm"
    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, config: Config, account: ServiceAccount) -> None:
        self._config = config
        self._account = account
        project = config.project or account.project
        if not project:
            raise BadConfig("destinations.yml: fcm.project: missing, and the service account key names no project_id; set it")
        self._path = f"/v1/projects/{project}/messages:send"
        self._client = HttpClient(
            config.base_url,
            provider=self.name,
            credentials=account.headers,
            connect_timeout=config.connect_timeout_seconds,
            read_timeout=config.read_timeout_seconds,
            read_error=self._read_error,
            in_doubt=FAILED_WITHIN,
            connections=CAPABILITIES.concurrency,
        )

    def send(self, messages: Sequence[Message], now: datetime) -> list[Result]:
        return [self._send(message, now) for message in messages]

    def resolve(self, messages: Sequence[Message], now: datetime) -> list[Result]:  # noqa: ARG002
        """FCM cannot be asked: what is unknown stays so."""
        return [Result(Outcome.UNKNOWN, "FCM cannot be asked what became of a message")] * len(messages)

    def check(self) -> str:
        """Let FCM validate a message to a topic that nobody has, without delivering it."""
        probe = {"topic": "winback-check", "notification": {"title": "winback", "body": "check"}}
        self._client.request("POST", self._path, json={"message": probe, "validateOnly": True}, reading=True)
        dry = ", validating only" if self._config.validate_only else ""
        return f"fcm: signed in; push to {self._path.split('/')[3]} by {self._config.target}, one device per request{dry}"

    def close(self) -> None:
        self._client.close()
        self._account.close()

    def _send(self, message: Message, now: datetime) -> Result:
        try:
            body = {"message": self.payload(message, now), "validateOnly": self._config.validate_only}
            answer = self._client.request("POST", self._path, json=body).json_object()
        except RejectItem as refusal:
            return Result(Outcome.REJECTED, DEAD_TOKEN if refusal.reason == f"{self.name}: {DEAD_TOKEN}" else refusal.reason)
        except InDoubt as doubt:
            return Result(Outcome.UNKNOWN, doubt.reason)
        name = answer.get("name")
        if not isinstance(name, str) or not name:
            return Result(Outcome.UNKNOWN, "fcm: the answer names no message")
        return Result(Outcome.ACCEPTED, provider_id=name)

    def payload(self, message: Message, now: datetime) -> dict[str, Any]:
        """The `message` of a send request.

        Raises
        ------
        RejectItem
            FCM could not take it: no token, a reserved data key, too large.
        """
        if not message.to:
            raise RejectItem("fcm: no push token")
        data = {**{key: value for key, value in message.data.items() if value}, "message_id": message.message_id}
        reserved = sorted(key for key in data if _RESERVED.fullmatch(key))
        if reserved:
            raise RejectItem(f"fcm: data key {reserved[0]!r} is reserved")
        notification = {key: value for key, value in (("title", message.subject), ("body", message.text)) if value}
        if not notification:
            raise RejectItem("fcm: a push message needs a title or a text")
        size = sum(len(key.encode()) + len(value.encode()) for part in (data, notification) for key, value in part.items())
        if size > LARGEST_PAYLOAD:
            raise RejectItem(f"fcm: notification and data have {size} bytes; {LARGEST_PAYLOAD} are allowed")
        ttl = timedelta(hours=self._config.ttl_hours)
        seconds = int(ttl.total_seconds())
        expires = int((now.replace(tzinfo=UTC) + ttl).timestamp())
        return {
            self._config.target: message.to,
            "notification": notification,
            "data": data,
            "android": {"ttl": f"{seconds}s"},
            "apns": {"headers": {"apns-expiration": str(expires)}},
            "webpush": {"headers": {"TTL": str(seconds)}},
            "fcmOptions": {"analyticsLabel": _NOT_IN_LABEL.sub("_", f"{message.program}.{message.step_no}")[:50]},
        }

    def _read_error(self, answer: Answer) -> tuple[Meaning, str] | None:
        body = answer.json()
        error = body.get("error") if isinstance(body, dict) else None
        if not isinstance(error, dict):
            return None
        details = [part for part in error.get("details") or [] if isinstance(part, dict)]
        code = next((code_of(part.get("errorCode")) for part in details if part.get("@type") == _FCM_ERROR), "")
        if code in _ERRORS:
            return _ERRORS[code]
        fields = [
            code_of(violation.get("field"))
            for part in details
            if part.get("@type") == _BAD_REQUEST
            for violation in part.get("fieldViolations") or []
            if isinstance(violation, dict)
        ]
        if fields and fields[0] not in {"message.token", "message.fid"}:
            return Meaning.REJECT, f"INVALID_ARGUMENT: the message is malformed at {fields[0] or 'an unnamed field'}"
        if code == "INVALID_ARGUMENT" or fields:
            return Meaning.REJECT, "INVALID_ARGUMENT: the push token is malformed"
        if answer.status == 401:
            self._account.forget()
        return None
