"""Which sources are open: those whose secrets the environment holds, under the names that `listen:` of destinations.yml gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from winback.destinations.config import FILE_NAME, ListenConfig
from winback.errors import BadConfig
from winback.inbox.incoming import Source

SHORTEST_SECRET = 16


@dataclass(frozen=True, slots=True)
class Opened:
    """Sources that are open, and for the others why they are closed. `public_url` has no slash at its end; None where it is not set."""

    sources: tuple[Source, ...]
    closed: Mapping[str, str]
    public_url: str | None


def called_address(value: str) -> str:
    """The address under which the world reaches the receiver, without a slash at its end.

    Raises
    ------
    BadConfig
        It is no address that a provider could call.
    """
    try:
        parts = urlsplit(value.strip())
        is_usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    is_local = is_usable and parts.hostname in {"localhost", "127.0.0.1", "::1"}
    if (
        not is_usable
        or parts.scheme not in ({"http", "https"} if is_local else {"https"})
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        raise BadConfig(
            "WINBACK_PUBLIC_URL holds no usable address (not shown: it may hold a password); allowed: https://host or https://host/path, "
            "without user, ? and # (http:// only for localhost)"
        )
    return value.strip().rstrip("/")


def open_sources(config: ListenConfig, environment: Mapping[str, str], *, public_url: str | None, group_id: int | None = None) -> Opened:
    """The sources whose secrets are there. `public_url`: where the world reaches us; `group_id`: our unsubscribe group at SendGrid.

    Raises
    ------
    BadConfig
        A secret is there and cannot be used: it is not shown.
    """
    from winback.destinations.webhook import shared_secret
    from winback.inbox.signatures import EcdsaKey
    from winback.inbox.sources.onesignal import OneSignalEvents
    from winback.inbox.sources.sendgrid import SendGridEvents
    from winback.inbox.sources.twilio import TwilioEvents
    from winback.inbox.sources.webhook import WebhookEvents

    url = called_address(public_url) if public_url else None
    sources: list[Source] = []
    closed: dict[str, str] = {}

    def secret(name: str, variable: str) -> str:
        value = environment.get(variable, "").strip()
        if not value:
            closed[name] = f"{variable} is not set"
        return value

    if key := secret("sendgrid", config.sendgrid.public_key_env):
        try:
            sources.append(SendGridEvents(EcdsaKey(key), group_id, config.sendgrid.tolerance_seconds))
        except ValueError as problem:
            raise BadConfig(
                f"{FILE_NAME}: listen.sendgrid.public_key_env: {config.sendgrid.public_key_env} holds no verification key: {problem}. "
                "Allowed: the key that SendGrid shows under Mail Settings, Event Webhook, Signature Verification"
            ) from None
    if token := secret("twilio", config.twilio.auth_token_env):
        if url is None:
            closed["twilio"] = "WINBACK_PUBLIC_URL is not set, and Twilio signs the address that it calls"
        else:
            sources.append(TwilioEvents(token, url))
    if value := secret("onesignal", config.onesignal.secret_env):
        if len(value) < SHORTEST_SECRET:
            raise BadConfig(_too_short("onesignal", config.onesignal.secret_env, len(value)))
        sources.append(OneSignalEvents(value, config.onesignal.header.lower()))
    if value := secret("webhook", config.webhook.secret_env):
        sources.append(WebhookEvents(shared_secret(value, f"{FILE_NAME}: listen.webhook.secret_env: {config.webhook.secret_env}")))
    return Opened(tuple(sources), closed, url)


def _too_short(name: str, variable: str, length: int) -> str:
    return (
        f"{FILE_NAME}: listen.{name}.secret_env: {variable} holds a secret of {length} characters; at least {SHORTEST_SECRET} are allowed"
    )
