"""Ad audiences on TikTok: customer files, uploaded and then appended to or removed from a custom audience.

Reference: business-api.tiktok.com/portal/docs (custom audience by file), read as TikTok's SDK documents. HTTP is 200 even for errors:
`code` in the body decides. Changes show after 24 to 48 hours, and TikTok refuses them while the audience would have under 1,000 members.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import Field

from winback.destinations.base import (
    AUDIENCE_TOO_SMALL,
    AudienceChange,
    AudienceOperation,
    Capabilities,
    Channel,
    Contact,
    Outcome,
    Result,
)
from winback.destinations.config import FILE_NAME, Context, EnvName, HttpConfig, WebAddress
from winback.destinations.http import Answer, HttpClient, Meaning
from winback.destinations.identifiers import tiktok_identifiers
from winback.errors import InDoubt, RejectItem, RetryLater, StopRun

# 50,000 people with two hashes each are 7 MB; a file may have 50. The rate is ours.
CAPABILITIES = Capabilities(
    channels=frozenset({Channel.ADS}), batch_size=50_000, rate_per_second=5, concurrency=1, idempotent=True, minimum_audience=1_000
)

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "MULTIPLE_TYPES": ("EMAIL_SHA256", "PHONE_SHA256"),
    "EMAIL_SHA256": ("EMAIL_SHA256",),
    "PHONE_SHA256": ("PHONE_SHA256",),
}
# Column names of ads.tiktok.com/help "supported IDs and formats for a Customer File" (2025-09).
_HEADINGS = {"EMAIL_SHA256": "Email_SHA256", "PHONE_SHA256": "Phone_SHA256"}

_TOO_SMALL = re.compile(r"1,?000|too small|minimum (audience )?size", re.IGNORECASE)


class Config(HttpConfig):
    """Keys of `tiktok` in destinations.yml."""

    base_url: WebAddress = "https://business-api.tiktok.com/open_api/v1.3"
    access_token_env: EnvName = Field("TIKTOK_ACCESS_TOKEN", description="Environment variable with a long-lived access token")
    advertiser_id: str = Field(pattern=r"^\d+$", description="Advertiser account that the audiences belong to")
    audiences: dict[str, str] = Field(
        default_factory=dict, description="Program: id of its audience at TikTok; others are looked up by name"
    )
    create_missing: bool = Field(False, description="Create an audience that has no id here and no namesake at TikTok")
    calculate_type: Literal["MULTIPLE_TYPES", "EMAIL_SHA256", "PHONE_SHA256"] = Field(
        "MULTIPLE_TYPES", description="What the files hold; an existing audience keeps the type it was created with"
    )
    phone_with_plus: bool = Field(False, description="Hash phone numbers with their +; TikTok's pages contradict each other")
    email_drop_tag: bool = Field(False, description="Drop +tag of email addresses before hashing, as an older TikTok page says")
    email_drop_dots: bool = Field(False, description="Drop dots of the part before @ before hashing, as an older TikTok page says")
    retention_days: int | None = Field(
        None, ge=1, le=365, description="Expiry of created audiences; default: 365 days after the last change"
    )

    def identifiers(self, contact: Contact) -> tuple[tuple[str, str], ...]:
        """Hashed identifiers of one person, as these keys ask for them."""
        pairs = tiktok_identifiers(contact, plus=self.phone_with_plus, drop_tag=self.email_drop_tag, drop_dots=self.email_drop_dots)
        return tuple(pair for pair in pairs if pair[0] in COLUMNS[self.calculate_type])


def build(config: Config, context: Context) -> TikTok:
    return TikTok(config, context.secret("tiktok", "access_token_env", config.access_token_env))


class TikTok:
    """Customer file audiences of one advertiser account."""

    name = "tiktok"
    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, config: Config, access_token: str) -> None:
        self._config = config
        self._ids = dict(config.audiences)
        self._client = HttpClient(
            config.base_url,
            provider=self.name,
            credentials={"Access-Token": access_token},
            connect_timeout=config.connect_timeout_seconds,
            read_timeout=config.read_timeout_seconds,
            read_error=_read_error,
            connections=1,
        )

    def identifiers(self, contact: Contact) -> tuple[tuple[str, str], ...]:
        return self._config.identifiers(contact)

    def change(self, changes: Sequence[AudienceChange], now: datetime) -> list[Result]:  # noqa: ARG002
        columns = COLUMNS[self._config.calculate_type]
        usable = [change for change in changes if any(kind in columns for kind, _ in change.identifiers)]
        result = self._change(usable) if usable else Result(Outcome.ACCEPTED)
        unusable = Result(Outcome.REJECTED, f"tiktok: no identifier of {self._config.calculate_type}")
        return [result if any(kind in columns for kind, _ in change.identifiers) else unusable for change in changes]

    def check(self) -> str:
        """Read one row of the list of audiences."""
        self._call("GET", "/dmp/custom_audience/list/", params={**self._advertiser(), "page": 1, "page_size": 1}, reading=True)
        return (
            f"tiktok: token accepted; {len(self._config.audiences)} audiences by id, up to {CAPABILITIES.batch_size:,} people per file, "
            f"{CAPABILITIES.minimum_audience:,} at least in an audience"
        )

    def close(self) -> None:
        self._client.close()

    def _change(self, changes: Sequence[AudienceChange]) -> Result:
        adding = changes[0].operation is AudienceOperation.ADD
        name = changes[0].audience
        audience = self._audience(name)
        if audience is None and not (adding and self._config.create_missing):
            raise StopRun(f"tiktok: no audience named {name}; add its id to tiktok.audiences in {FILE_NAME}, or set create_missing")
        if audience is None and len(changes) < CAPABILITIES.minimum_audience:
            return Result(Outcome.DEFERRED, AUDIENCE_TOO_SMALL)
        try:
            path = self._upload(customer_file(changes, COLUMNS[self._config.calculate_type]))
            answer = self._create(name, path) if audience is None else self._update(audience, path, "APPEND" if adding else "REMOVE")
        except InDoubt as doubt:
            return Result(Outcome.UNKNOWN, doubt.reason)
        except _TooSmall:
            return Result(Outcome.DEFERRED, AUDIENCE_TOO_SMALL)
        return Result(Outcome.ACCEPTED, provider_id=str(answer.get("request_id") or ""))

    def _upload(self, content: bytes) -> str:
        """Put a file where `file_path` finds it; no audience changes by that, so it may be repeated."""
        signature = hashlib.md5(content, usedforsecurity=False).hexdigest()
        fields = {
            "advertiser_id": (None, self._config.advertiser_id),
            "calculate_type": (None, self._config.calculate_type),
            "file_signature": (None, signature),
            "file": (f"{signature}.csv", content, "text/csv"),
        }
        data = self._call("POST", "/dmp/custom_audience/file/upload/", files=fields, reading=True).get("data")
        path = data.get("file_path") if isinstance(data, dict) else None
        if not isinstance(path, str) or not path:
            raise RetryLater("tiktok: the answer to the upload has no file path")
        return path

    def _create(self, name: str, path: str) -> Mapping[str, Any]:
        body = {
            **self._advertiser(),
            "custom_audience_name": name[:128],
            "calculate_type": self._config.calculate_type,
            "file_paths": [path],
        }
        if self._config.retention_days is not None:
            body["retention_in_days"] = self._config.retention_days
        answer = self._call("POST", "/dmp/custom_audience/create/", json=body)
        data = answer.get("data")
        identifier = data.get("custom_audience_id") if isinstance(data, dict) else None
        if isinstance(identifier, str) and identifier:
            self._ids[name] = identifier
        return answer

    def _update(self, audience: str, path: str, action: str) -> Mapping[str, Any]:
        body = {**self._advertiser(), "custom_audience_id": audience, "file_paths": [path], "action": action}
        return self._call("POST", "/dmp/custom_audience/update/", json=body)

    def _audience(self, name: str) -> str | None:
        """The id of an audience: from destinations.yml, or of the namesake at TikTok; None where there is none."""
        page = 1
        while name not in self._ids:
            params = {**self._advertiser(), "page": page, "page_size": 100}
            data = self._call("GET", "/dmp/custom_audience/list/", params=params, reading=True).get("data")
            if not isinstance(data, dict) or not isinstance(data.get("list"), list):
                raise RetryLater("tiktok: the answer has no list of audiences")
            for row in data["list"]:
                identifier = row.get("audience_id") or row.get("custom_audience_id")
                title = row.get("name") or row.get("custom_audience_name")
                if title == name[:128] and identifier:
                    self._ids[name] = str(identifier)
            pages = (data.get("page_info") or {}).get("total_page")
            if page >= (pages if isinstance(pages, int) else 1):
                break
            page += 1
        return self._ids.get(name)

    def _advertiser(self) -> dict[str, Any]:
        return {"advertiser_id": self._config.advertiser_id}

    def _call(self, method: str, path: str, *, reading: bool = False, **arguments: Any) -> dict[str, Any]:
        """One request whose body says `code` 0. `reading`: no audience changes by it, so nothing can be in doubt."""
        answer = self._client.request(method, path, reading=reading, **arguments)
        try:
            body = answer.json_object()
        except InDoubt as doubt:
            if reading:
                raise RetryLater(f"tiktok: {doubt.reason}") from None
            raise
        if body.get("code"):
            raise self._client.refusal(answer)
        return body


def customer_file(changes: Sequence[AudienceChange], columns: Sequence[str]) -> bytes:
    """A CSV file with a heading and one person per line; a hash that somebody has not is left empty."""
    rows = [dict(change.identifiers) for change in changes]
    lines = [",".join(_HEADINGS[column] for column in columns), *(",".join(row.get(column, "") for column in columns) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


class _TooSmall(RejectItem):
    pass


def _read_error(answer: Answer) -> tuple[Meaning, str] | None:
    """Codes of TikTok's appendix "return codes"."""
    body = answer.json()
    code = body.get("code") if isinstance(body, dict) else None
    if not isinstance(code, int) or code == 0:
        return None
    if code == 40100:
        return Meaning.RETRY, "throttled (40100)"
    if code >= 50_000:
        return Meaning.RETRY, f"failed ({code})"
    if code == 40001 or 40_101 <= code < 40_200:
        return Meaning.STOP, f"token or rights refused ({code})"
    if code == 40007:
        return Meaning.STOP, f"audience or advertiser not found ({code}); check {FILE_NAME}"
    if code == 40002 and _TOO_SMALL.search(json.dumps(body.get("message"))):
        raise _TooSmall("tiktok: audience too small")
    return Meaning.REJECT, f"refused ({code})"
