"""Ad audiences on Meta (Facebook, Instagram): Custom Audiences of customer files, changed in sessions of up to 10,000 people.

Reference: developers.facebook.com/docs/marketing-api: audiences/guides/custom-audiences (2026-04-28), reference/custom-audience/users.
A change shows in an audience within 24 hours. Removing is a DELETE with a body.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from pydantic import Field

from winback.destinations.base import AudienceChange, AudienceOperation, Capabilities, Channel, Contact, Outcome, Result
from winback.destinations.config import FILE_NAME, Context, EnvName, HttpConfig, WebAddress
from winback.destinations.http import Answer, HttpClient, Meaning
from winback.destinations.identifiers import meta_identifiers
from winback.errors import InDoubt, RetryLater, StopRun

# Sets: adding twice is adding once. The rate is ours: Meta's limit grows with the ad account's use and is told in headers.
CAPABILITIES = Capabilities(channels=frozenset({Channel.ADS}), batch_size=10_000, rate_per_second=5, concurrency=2, idempotent=True)

SCHEMA = ("EXTERN_ID", "EMAIL", "PHONE", "FN", "LN", "COUNTRY")
"""Columns that are sent, in this order, as far as anybody in the batch has them."""

_VALUE = re.compile(r"[0-9a-f]{64}|[0-9a-f]{32}")
# developers.facebook.com/docs/graph-api/guides/error-handling; the audience codes as RudderStack's connector has found them.
_THROTTLED = frozenset({4, 17, 32, 613, *range(80_000, 80_015)})
_PASSING = frozenset({1, 2, 341, 368, 5000})
_STOP: Mapping[int, str] = {
    10: "the app lacks a permission",
    # Subcode of 100, for an id that is wrong and for one that the token may not see: Meta does not tell them apart.
    33: f"the audience is not there, or not for this token; check meta.audiences in {FILE_NAME}",
    102: "the session is not valid",
    104: "appsecret_proof is wrong or missing",
    190: "the access token is not valid",
    294: "the access token lacks ads_management",
    803: f"the audience is not there; check meta.audiences in {FILE_NAME}",
    2655: "the terms of Custom Audiences are not accepted in Business Manager",
    1487301: "the audience is not shared with this ad account",
    1487366: "the audience has been deleted",
    1713230: "the audience is blocked; appeal in Audience Manager",
}


class Config(HttpConfig):
    """Keys of `meta` in destinations.yml."""

    audience_key: ClassVar[str] = "audiences"

    base_url: WebAddress = "https://graph.facebook.com/v24.0"
    access_token_env: EnvName = Field("META_ACCESS_TOKEN", description="Environment variable with a system user's token (ads_management)")
    app_secret_env: EnvName | None = Field(
        None, description="Environment variable with the app secret; signs every request (appsecret_proof), as apps can demand"
    )
    audiences: dict[str, str] = Field(min_length=1, description="Program: id of its audience at Meta")
    send_names: bool = Field(True, description="Also send hashed names and country of people with an email address or a phone number")
    send_customer_id: bool = Field(False, description="Also send the customer id, in clear, as EXTERN_ID")

    def identifiers(self, contact: Contact) -> tuple[tuple[str, str], ...]:
        """Hashed identifiers of one person, as these keys ask for them."""
        return meta_identifiers(contact, names=self.send_names, external_id=self.send_customer_id)


def build(config: Config, context: Context) -> Meta:
    secret = context.secret("meta", "app_secret_env", config.app_secret_env) if config.app_secret_env else None
    return Meta(config, context.secret("meta", "access_token_env", config.access_token_env), secret)


class Meta:
    """Custom Audiences of one ad account."""

    name = "meta"
    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, config: Config, access_token: str, app_secret: str | None) -> None:
        self._config = config
        self._params = {"appsecret_proof": appsecret_proof(app_secret, access_token)} if app_secret else None
        self._client = HttpClient(
            config.base_url,
            provider=self.name,
            credentials={"Authorization": f"Bearer {access_token}"},
            connect_timeout=config.connect_timeout_seconds,
            read_timeout=config.read_timeout_seconds,
            read_error=_read_error,
            connections=CAPABILITIES.concurrency,
        )

    def identifiers(self, contact: Contact) -> tuple[tuple[str, str], ...]:
        return self._config.identifiers(contact)

    def change(self, changes: Sequence[AudienceChange], now: datetime) -> list[Result]:
        usable = [change for change in changes if change.identifiers]
        results = iter(self._change(usable, now) if usable else [])
        return [next(results) if change.identifiers else Result(Outcome.REJECTED, "meta: no identifier") for change in changes]

    def check(self) -> str:
        """Read one of the audiences."""
        audience = next(iter(self._config.audiences.values()))
        self._client.request("GET", f"/{audience}", params=self._params, reading=True)
        return f"meta: token accepted; {len(self._config.audiences)} audiences, up to {CAPABILITIES.batch_size:,} people per request"

    def close(self) -> None:
        self._client.close()

    def _change(self, changes: Sequence[AudienceChange], now: datetime) -> list[Result]:
        audience = self._config.audiences.get(changes[0].audience)
        if audience is None:
            raise StopRun(f"{FILE_NAME}: meta.audiences: no id for the audience {changes[0].audience}; add it")
        method = "POST" if changes[0].operation is AudienceOperation.ADD else "DELETE"
        body = users_request(changes, now)
        try:
            answer = self._client.request(method, f"/{audience}/users", json=body, params=self._params).json_object()
        except InDoubt as doubt:
            return [Result(Outcome.UNKNOWN, doubt.reason)] * len(changes)
        return read_users_answer(answer, changes, str(body["session"]["session_id"]))


def users_request(changes: Sequence[AudienceChange], now: datetime) -> dict[str, Any]:
    """The body of a users request: one session of one batch. A person without a value in a column has "" there."""
    present = {kind for change in changes for kind, _ in change.identifiers}
    schema = [kind for kind in SCHEMA if kind in present]
    # A batch that is handed over again later is a new session: a session that has had its last batch takes no more.
    digest = hashlib.sha256(f"{now.isoformat()}|{changes[0].change_id}|{changes[-1].change_id}|{len(changes)}".encode()).digest()
    return {
        "payload": {"schema": schema, "data": [[*map(dict(change.identifiers).get, schema, [""] * len(schema))] for change in changes]},
        "session": {
            "session_id": int.from_bytes(digest[:6], "big") + 1,
            "batch_seq": 1,
            "last_batch_flag": True,
            "estimated_num_total": len(changes),
        },
    }


def read_users_answer(answer: Mapping[str, Any], changes: Sequence[AudienceChange], session: str) -> list[Result]:
    """One result per change. Status 200 may be a partial failure: `num_invalid_entries` counts, `invalid_entry_samples` shows some.

    People whom a sample names are rejected. Where more entries are bad than the samples name, nobody knows whose: everybody else of the
    batch is then unknown, since "added" could be wrong and "not added" would leave somebody in the audience for good.
    """
    received, invalid = answer.get("num_received"), answer.get("num_invalid_entries")
    if not isinstance(received, int) or not isinstance(invalid, int):
        return [Result(Outcome.UNKNOWN, "meta: the answer does not say how many entries it took")] * len(changes)
    accepted = Result(Outcome.ACCEPTED, provider_id=session)
    lost = max(len(changes) - received - invalid, 0)
    if not invalid and not lost:
        return [accepted] * len(changes)
    refused = Result(Outcome.REJECTED, "meta: this entry is not valid", provider_id=session)
    if invalid >= len(changes):
        return [refused] * len(changes)
    samples = json.dumps(answer.get("invalid_entry_samples"), ensure_ascii=False)
    named = frozenset(_VALUE.findall(samples))
    bad = [bool(named) and any(value in named for kind, value in change.identifiers if kind in {"EMAIL", "PHONE"}) for change in changes]
    unnamed = invalid - sum(bad) + lost
    rest = accepted
    if unnamed > 0:
        rest = Result(Outcome.UNKNOWN, f"meta: {unnamed} of {len(changes)} entries were not taken, and it is not said which")
    return [refused if one else rest for one in bad]


def appsecret_proof(app_secret: str, access_token: str) -> str:
    """HMAC-SHA256 of the token under the app secret, in hex (developers.facebook.com/docs/graph-api/guides/secure-requests)."""
    return hmac.new(app_secret.encode(), access_token.encode(), hashlib.sha256).hexdigest()


def _read_error(answer: Answer) -> tuple[Meaning, str] | None:
    body = answer.json()
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("code"), int):
        return None
    code, subcode = error["code"], error.get("error_subcode")
    shown = f"error {code}" + (f"/{subcode}" if isinstance(subcode, int) else "")
    if code in _THROTTLED:
        raise RetryLater(f"meta: throttled ({shown})", answer.retry_after() or minutes_to_regain_access(answer) * 60 or None)
    stop = _STOP.get(subcode) if isinstance(subcode, int) else None
    stop = stop or _STOP.get(code) or ("the access token lacks a permission" if 200 <= code < 300 else None)
    if stop:
        return Meaning.STOP, f"{stop} ({shown})"
    if code in _PASSING or error.get("is_transient") is True:
        return Meaning.RETRY, f"passing failure ({shown})"
    return Meaning.REJECT, f"refused ({shown})"


def minutes_to_regain_access(answer: Answer) -> float:
    """Longest `estimated_time_to_regain_access` of the usage headers, in minutes; 0 where none is named."""
    longest = 0.0
    for header in ("X-Business-Use-Case-Usage", "X-Ad-Account-Usage", "X-App-Usage"):
        try:
            usage = json.loads(answer.headers.get(header, "{}"))
        except ValueError:
            continue
        rows = [usage, *(row for rows in usage.values() if isinstance(rows, list) for row in rows)] if isinstance(usage, dict) else []
        for row in rows:
            minutes = row.get("estimated_time_to_regain_access") if isinstance(row, dict) else None
            if isinstance(minutes, int | float):
                longest = max(longest, float(minutes))
    return longest
