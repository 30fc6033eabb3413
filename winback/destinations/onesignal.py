"""Push through OneSignal: one request per person, made repeatable by an idempotency key that OneSignal keeps for 30 days.

Reference: documentation.onesignal.com/reference/create-message (read as OneSignal's OpenAPI document).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal
from uuid import UUID, uuid5

from pydantic import Field

from winback.destinations.base import DEAD_TOKEN, Capabilities, Channel, Message, Outcome, Result
from winback.destinations.config import FILE_NAME, Context, EnvName, HttpConfig, WebAddress
from winback.destinations.http import Answer, HttpClient, Meaning
from winback.errors import InDoubt, RejectItem, StopRun

# 150 a second is the limit of the free plan; paid plans have 6,000, and 429 answers tell.
CAPABILITIES = Capabilities(channels=frozenset({Channel.PUSH}), batch_size=1, rate_per_second=150, concurrency=16, idempotent=True)

LARGEST_DATA = 2048
"""Bytes of `data` that every platform behind OneSignal takes."""

# Changing this would send again what was sent in the last 30 days.
_NAMESPACE = UUID("9d0f3a5e-3c55-5f0b-8d2f-5a3c6f1e7b21")
_NOBODY = UUID(int=0)
# What is wrong with the app is wrong with every message: "app_id not found", "Incorrect app_id format (not a valid UUID)".
_WRONG_APP = re.compile(r"(incorrect )?app_id\b", re.IGNORECASE)
_NAMED = ("invalid_player_ids", "invalid_subscription_ids", "invalid_external_user_ids")


class Config(HttpConfig):
    """Keys of `onesignal` in destinations.yml."""

    base_url: WebAddress = "https://api.onesignal.com"
    app_id: UUID = Field(description="OneSignal app id (Keys & IDs)")
    api_key_env: EnvName = Field("ONESIGNAL_API_KEY", description="Environment variable with the app's REST API key")
    # OneSignal's OpenAPI document and its own client libraries say Bearer, its pages say Key (2026-11).
    authorization_scheme: Literal["Bearer", "Key", "Basic"] = Field(
        "Bearer", description="Word before the key; Basic for keys made before 2024-11"
    )
    target: Literal["subscription", "external_id"] = Field(
        "subscription",
        description="subscription: push tokens in the data are subscription ids; external_id: customers are known by customer id",
    )
    ttl_hours: int = Field(72, ge=1, le=672, description="How long a message waits for a device that is offline")


def build(config: Config, context: Context) -> OneSignal:
    return OneSignal(config, context.secret("onesignal", "api_key_env", config.api_key_env))


class OneSignal:
    """Push messages through a OneSignal app."""

    name = "onesignal"
    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, config: Config, api_key: str) -> None:
        self._config = config
        self._client = HttpClient(
            config.base_url,
            provider=self.name,
            credentials={"Authorization": f"{config.authorization_scheme} {api_key}"},
            connect_timeout=config.connect_timeout_seconds,
            read_timeout=config.read_timeout_seconds,
            read_error=_read_error,
            connections=CAPABILITIES.concurrency,
        )

    def send(self, messages: Sequence[Message], now: datetime) -> list[Result]:  # noqa: ARG002
        return [self._send(message) for message in messages]

    def resolve(self, messages: Sequence[Message], now: datetime) -> list[Result]:
        """Repeat: the idempotency key makes OneSignal answer with the first result."""
        return self.send(messages, now)

    def check(self) -> str:
        """Ask for a notification that nobody has: "not found" needs a good key."""
        try:
            self._client.request("GET", f"/notifications/{_NOBODY}", params={"app_id": str(self._config.app_id)}, reading=True)
        except _NotFound:
            pass
        except RejectItem as refusal:
            raise StopRun(f"{refusal.reason}; check app_id") from None
        return f"onesignal: key accepted; push by {self._config.target}, one person per request, repeatable for 30 days"

    def close(self) -> None:
        self._client.close()

    def _send(self, message: Message) -> Result:
        try:
            body = self._client.request("POST", "/notifications", json=self.payload(message)).json_object()
        except _NotFound:
            raise StopRun("onesignal: address not found there (404); check base_url and app_id in destinations.yml") from None
        except RejectItem as refusal:
            return Result(Outcome.REJECTED, refusal.reason)
        except InDoubt as doubt:
            return Result(Outcome.UNKNOWN, doubt.reason)
        identifier, errors = body.get("id"), body.get("errors")
        if isinstance(errors, dict) and self._names(errors, message):
            return Result(
                Outcome.REJECTED, DEAD_TOKEN if self._config.target == "subscription" else "onesignal: nobody has this external id"
            )
        if isinstance(identifier, str) and identifier:
            return Result(Outcome.ACCEPTED, provider_id=identifier)
        if errors:
            # Status 200 and an empty id: nothing was sent ("All included players are not subscribed").
            return Result(Outcome.REJECTED, "onesignal: nothing was sent; the person has no subscribed device")
        return Result(Outcome.UNKNOWN, "onesignal: the answer has neither an id nor errors")

    def payload(self, message: Message) -> dict[str, Any]:
        """The body of a create request.

        Raises
        ------
        RejectItem
            OneSignal could not take it: no addressee, no text, too large.
        """
        addressee = message.to if self._config.target == "subscription" else message.customer_id
        if not addressee:
            raise RejectItem("onesignal: no push token")
        if not message.text:
            raise RejectItem("onesignal: a push message needs a text")
        data = {**{key: value for key, value in message.data.items() if value}, "message_id": message.message_id}
        size = len(json.dumps(data, ensure_ascii=False).encode())
        if size > LARGEST_DATA:
            raise RejectItem(f"onesignal: data has {size} bytes; {LARGEST_DATA} are allowed")
        body: dict[str, Any] = {
            "app_id": str(self._config.app_id),
            "idempotency_key": str(uuid5(_NAMESPACE, message.message_id)),
            # OneSignal demands "en" and shows it to everybody without a translation: it holds the message, whichever its language.
            "contents": {"en": message.text},
            "data": data,
            "name": f"{message.program} {message.step_no}"[:128],
            "ttl": self._config.ttl_hours * 3600,
        }
        if message.subject:
            body["headings"] = {"en": message.subject}
        if self._config.target == "subscription":
            body["include_subscription_ids"] = [addressee]
        else:
            body |= {"include_aliases": {"external_id": [addressee]}, "target_channel": "push"}
        return body

    def _names(self, errors: dict[str, Any], message: Message) -> bool:
        listed = [one for key in _NAMED for one in errors.get(key) or []]
        aliases = errors.get("invalid_aliases")
        if isinstance(aliases, dict):
            listed += aliases.get("external_id") or []
        return (message.to if self._config.target == "subscription" else message.customer_id) in listed


class _NotFound(RejectItem):
    pass


def _read_error(answer: Answer) -> tuple[Meaning, str] | None:
    if answer.status == 404:
        raise _NotFound("onesignal: not found (404)")
    body = answer.json()
    errors = body.get("errors") if isinstance(body, dict) else None
    if any(_WRONG_APP.match(error) for error in (errors if isinstance(errors, list) else []) if isinstance(error, str)):
        return Meaning.STOP, f"the app is not there; check app_id in {FILE_NAME}"
    return None
