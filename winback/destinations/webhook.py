"""Tasks for people (a personal call) as signed JSON to any system: a CRM, a help desk, an automation tool.

    POST <url>                            {"type": "task", "id": ..., "customer_id": ..., "program": ..., "text": ..., ...}
    Webhook-Id: <message id>              the same at every attempt: the receiver takes each id once
    Webhook-Timestamp: <epoch seconds>    the receiver refuses what is older than five minutes
    Webhook-Signature: v1,<base64>        HMAC-SHA256 of "<id>.<timestamp>.<body>" under the shared secret

The form is that of https://www.standardwebhooks.com, for which libraries exist in most languages.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import ClassVar

from winback.clock import utc_now
from winback.destinations.base import Capabilities, Channel, Message, Outcome, Result
from winback.destinations.config import Context, EnvName, HttpConfig
from winback.destinations.http import Answer, HttpClient, Meaning, Progress
from winback.errors import BadConfig

CAPABILITIES = Capabilities(channels=frozenset({Channel.TASK}), batch_size=20, concurrency=2, idempotent=True)

SHORTEST_SECRET = 16


class Config(HttpConfig):
    """Keys of `destinations: webhook:`. `base_url` is the whole address."""

    secret_env: EnvName = "WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
    bearer_token_env: EnvName | None = None


class Webhook:
    """Posts one signed request per task. The receiver's 2xx means accepted; it knows repeated ids."""

    name = "webhook"
    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, config: Config, secret: bytes, token: str | None) -> None:
        self._secret = secret
        self._client = HttpClient(
            config.base_url,
            provider="Webhook",
            credentials={"Authorization": f"Bearer {token}"} if token else {},
            connect_timeout=config.connect_timeout_seconds,
            read_timeout=config.read_timeout_seconds,
            read_error=_read_error,
            connections=CAPABILITIES.concurrency,
        )

    def send(self, messages: Sequence[Message], now: datetime) -> list[Result]:
        return Progress([[message] for message in messages], lambda part: [self._post(part[0], now)]).results()

    def _post(self, message: Message, now: datetime) -> Result:
        self._signed_post(message.message_id, _task(message), now)
        return Result(Outcome.ACCEPTED)

    def _signed_post(self, identity: str, body: dict[str, object], now: datetime) -> Answer:
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        timestamp = int(now.replace(tzinfo=UTC).timestamp())
        headers = {
            "Content-Type": "application/json",
            "Webhook-Id": identity,
            "Webhook-Timestamp": str(timestamp),
            "Webhook-Signature": signature(self._secret, identity, timestamp, content),
        }
        # 409: a receiver's way to say that it has this id already.
        return self._client.request("POST", "", body=content, headers=headers, returned=frozenset({409}))

    def resolve(self, messages: Sequence[Message], now: datetime) -> list[Result]:
        """A receiver cannot be asked, but takes each id once: repeating finds out."""
        return self.send(messages, now)

    def check(self) -> str:
        """Posts a signed `{"type": "ping"}`, which a receiver answers with 2xx and otherwise ignores."""
        self._signed_post("ping", {"type": "ping"}, utc_now())
        return "Webhook: signature accepted; tasks, one signed request each"

    def close(self) -> None:
        self._client.close()


def signature(secret: bytes, identity: str, timestamp: int, body: bytes) -> str:
    """`v1,` and the base64 of HMAC-SHA256 over "<id>.<timestamp>.<body>"."""
    digest = hmac.digest(secret, f"{identity}.{timestamp}.".encode() + body, "sha256")
    return "v1," + base64.b64encode(digest).decode()


def shared_secret(value: str, where: str) -> bytes:
    """The secret of this scheme as bytes. `where` names the setting in errors.

    Raises
    ------
    BadConfig
        It is too short, or says that it is base64 and is not.
    """
    try:
        # "whsec_" and base64 is how libraries for this form write secrets; anything else is taken as it stands.
        secret = base64.b64decode(value.removeprefix("whsec_"), validate=True) if value.startswith("whsec_") else value.encode()
    except binascii.Error:
        raise BadConfig(f"{where} begins with whsec_ but what follows is not base64") from None
    if len(secret) < SHORTEST_SECRET:
        raise BadConfig(f"{where} holds a secret of {len(secret)} bytes; at least {SHORTEST_SECRET} are allowed")
    return secret


def build(config: Config, context: Context) -> Webhook:
    value = context.secret("webhook", "secret_env", config.secret_env)
    secret = shared_secret(value, f"destinations.yml: webhook.secret_env: {config.secret_env}")
    token = context.secret("webhook", "bearer_token_env", config.bearer_token_env) if config.bearer_token_env else None
    return Webhook(config, secret, token)


def _task(message: Message) -> dict[str, object]:
    return {
        "type": "task",
        "id": message.message_id,
        "customer_id": message.customer_id,
        "program": message.program,
        "program_version": message.program_version,
        "step": message.step_no,
        "content": message.content,
        "title": message.subject,
        "text": message.text,
        "language": message.language,
        "data": dict(message.data),
    }


def _read_error(answer: Answer) -> tuple[Meaning, str] | None:
    return (Meaning.STOP, "receiver is gone (410); take it out of destinations.yml") if answer.status == 410 else None
