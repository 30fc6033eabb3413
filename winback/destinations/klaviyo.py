"""Profiles, lists and events at Klaviyo: membership of lists by bulk import, tasks as events that start the brand's own flows.

Reference: developers.klaviyo.com (revision 2026-07-15), read as Klaviyo's OpenAPI document. Consent is never changed here: the job that
subscribes profiles would lift the suppressions of people who unsubscribed or complained, so no path of this module reaches it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from winback.destinations.base import (
    AudienceChange,
    AudienceOperation,
    Capabilities,
    Channel,
    Contact,
    Message,
    Outcome,
    Result,
)
from winback.destinations.config import FILE_NAME, Context, EnvName, HttpConfig, WebAddress
from winback.destinations.http import Answer, HttpClient, Meaning, Progress, code_of
from winback.destinations.identifiers import klaviyo_identifiers
from winback.errors import InDoubt, RejectItem, RetryLater, StopRun

# A list takes 1,000 removals a request; 150 requests a minute in the long run. Upserts, sets and unique_id: all may be repeated.
CAPABILITIES = Capabilities(
    channels=frozenset({Channel.LISTS, Channel.TASK}),
    batch_size=1_000,
    rate_per_second=2.5,
    concurrency=2,
    idempotent=True,
    can_ask=True,
    needs_contact=True,
)

FIRST_LOOK = 60.0
"""Seconds after which an import job is worth asking about."""

OPERATIONS = (
    ("POST", re.compile(r"/api/profile-bulk-import-jobs")),
    ("GET", re.compile(r"/api/profile-bulk-import-jobs/[\w-]+(/import-errors)?")),
    ("POST", re.compile(r"/api/profile-import")),
    ("DELETE", re.compile(r"/api/lists/\w+/relationships/profiles")),
    ("POST", re.compile(r"/api/events")),
)
"""Every request that this module may make. None of them changes a consent."""

# An answer about a job is good for this long: its profiles may be asked about in many small parts.
_FRESH = timedelta(seconds=30)
_JOBS_KEPT = 1_000
_PROFILE_AT = re.compile(r"/profiles/data/(\d+)")
_NO_JOB = "winback-check"


ListId = Annotated[str, Field(pattern=r"^[A-Za-z0-9]{4,20}$")]


class Config(HttpConfig):
    """Keys of `klaviyo` in destinations.yml."""

    audience_key: ClassVar[str] = "lists"

    base_url: WebAddress = "https://a.klaviyo.com"
    api_key_env: EnvName = Field(
        "KLAVIYO_API_KEY", description="Environment variable with a private key (scopes profiles, lists: read and write; events: write)"
    )
    revision: str = Field("2026-07-15", pattern=r"^\d{4}-\d{2}-\d{2}$", description="API revision")
    lists: dict[str, ListId] = Field(default_factory=dict, description="Program: id of its list at Klaviyo")
    match_on: Literal["address", "customer_id"] = Field(
        "address",
        description="What tells Klaviyo who somebody is: address (their email address), or customer_id where Klaviyo has it as external_id",
    )
    metric: str = Field(
        "Winback task", min_length=1, max_length=127, description="Name of the event that tasks become; flows start from it"
    )

    def identifiers(self, contact: Contact) -> tuple[tuple[str, str], ...]:
        """Whom a list holds, as these keys ask for it; see `klaviyo_identifiers`."""
        return klaviyo_identifiers(contact, by_customer_id=self.match_on == "customer_id")


def build(config: Config, context: Context) -> Klaviyo:
    return Klaviyo(config, context.secret("klaviyo", "api_key_env", config.api_key_env))


class Klaviyo:
    """Lists (as audiences) and events (as tasks) of one Klaviyo account."""

    name = "klaviyo"
    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, config: Config, api_key: str) -> None:
        self._config = config
        self._jobs: dict[str, tuple[datetime, _Job]] = {}
        self._client = HttpClient(
            config.base_url,
            provider=self.name,
            credentials={"Authorization": f"Klaviyo-API-Key {api_key}"},
            headers={"revision": config.revision, "Accept": "application/vnd.api+json"},
            connect_timeout=config.connect_timeout_seconds,
            read_timeout=config.read_timeout_seconds,
            read_error=_read_error,
            connections=CAPABILITIES.concurrency,
        )

    # Lists

    def identifiers(self, contact: Contact) -> tuple[tuple[str, str], ...]:
        return self._config.identifiers(contact)

    def change(self, changes: Sequence[AudienceChange], now: datetime) -> list[Result]:  # noqa: ARG002
        """Add by an import job, whose outcome `resolve_changes` asks for; remove at once."""
        who = [self._who(change) for change in changes]
        profiles = [one for one in who if not isinstance(one, Result)]
        if not profiles:
            return [one for one in who if isinstance(one, Result)]
        list_id = self._list(changes[0].audience)
        done = iter(self._add(list_id, profiles) if changes[0].operation is AudienceOperation.ADD else self._remove(list_id, profiles))
        return [one if isinstance(one, Result) else next(done) for one in who]

    def resolve_changes(self, changes: Sequence[AudienceChange], provider_ids: Sequence[str], now: datetime) -> list[Result]:
        """Ask each import job once how it ended, however small the parts that are asked about."""
        results = []
        for _, provider_id in zip(changes, provider_ids, strict=True):
            job_id, _, position = provider_id.rpartition("#")
            if not job_id or not position.isdigit():
                results.append(Result(Outcome.UNKNOWN, "klaviyo: no job id was kept"))
                continue
            asked_at, job = self._jobs.get(job_id, (None, None))
            if asked_at is None or job is None or not timedelta(0) <= now - asked_at < _FRESH:
                job = self._job(job_id)
                if len(self._jobs) >= _JOBS_KEPT:
                    self._jobs.clear()
                self._jobs[job_id] = now, job
            results.append(job.result(int(position), provider_id))
        return results

    # Tasks

    def send(self, messages: Sequence[Message], now: datetime) -> list[Result]:
        """One event per task. One request each: of a bulk job, one repeated unique_id refuses all events."""
        return Progress([[message] for message in messages], lambda part: [self._event(part[0], now)]).results()

    def resolve(self, messages: Sequence[Message], now: datetime) -> list[Result]:
        """Repeat: Klaviyo records one event per unique_id."""
        return self.send(messages, now)

    def check(self) -> str:
        """Ask for a job that nobody has: "not found" needs a good key."""
        try:
            self._request("GET", f"/api/profile-bulk-import-jobs/{_NO_JOB}", reading=True)
        except _NotFound:
            pass
        except RejectItem as refusal:
            raise StopRun(refusal.reason) from None
        return f"klaviyo: key accepted; {len(self._config.lists)} lists, tasks as {self._config.metric!r} events; consent is never changed"

    def close(self) -> None:
        self._client.close()

    def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        reading: bool = False,
    ) -> Answer:
        """The only way out of this module; refuses what is not in `OPERATIONS`."""
        if not any(method == allowed and pattern.fullmatch(path) for allowed, pattern in OPERATIONS):
            raise StopRun(f"klaviyo: {method} {path.split('/')[2] if path.count('/') > 1 else path} is no operation that Winback uses")
        headers = {"Content-Type": "application/vnd.api+json"} if body is not None else None
        return self._client.request(method, path, json=body, params=params, headers=headers, reading=reading)

    def _who(self, change: AudienceChange) -> dict[str, str] | Result:
        """Attributes of a profile, or why the person cannot be told to Klaviyo. Email's consent holds here: no phone number goes along."""
        contact = change.contact or Contact(change.customer_id)
        address = {"email": contact.email.strip()} if contact.email else {}
        if self._config.match_on == "customer_id":
            return {"external_id": change.customer_id, **address}
        if not address:
            return Result(Outcome.REJECTED, "klaviyo: no email address to know the person by")
        if klaviyo_identifiers(contact) != change.identifiers:
            # The profile of the new address is another one: to take that out would leave the person in the list.
            return Result(
                Outcome.REJECTED,
                "klaviyo: the email address is not the one of the addition; remove the person by hand, or use match_on: customer_id"
                if change.operation is AudienceOperation.REMOVE
                else "klaviyo: the email address has changed since the plan",
            )
        return address

    def _list(self, audience: str) -> str:
        list_id = self._config.lists.get(audience)
        if list_id is None:
            raise StopRun(f"{FILE_NAME}: klaviyo.lists: no id for the list of {audience}; add it")
        return list_id

    def _add(self, list_id: str, profiles: Sequence[Mapping[str, str]]) -> list[Result]:
        data = {
            "type": "profile-bulk-import-job",
            "attributes": {"profiles": {"data": [{"type": "profile", "attributes": dict(profile)} for profile in profiles]}},
            "relationships": {"lists": {"data": [{"type": "list", "id": list_id}]}},
        }
        try:
            answer = self._request("POST", "/api/profile-bulk-import-jobs", {"data": data}).json_object()
        except InDoubt as doubt:
            return [Result(Outcome.UNKNOWN, doubt.reason)] * len(profiles)
        except _BadProfiles as refusal:
            # Klaviyo takes all or none of a job: the others only need a job of their own.
            other = Result(Outcome.DEFERRED, "klaviyo: refused together with another person's profile", retry_after=0.0)
            bad = Result(Outcome.REJECTED, refusal.reason)
            return [bad if position in refusal.positions else other for position in range(len(profiles))]
        except _NotFound:
            raise _unknown_list() from None
        job_id = (answer.get("data") or {}).get("id")
        if not isinstance(job_id, str) or not job_id:
            return [Result(Outcome.UNKNOWN, "klaviyo: the answer has no job id")] * len(profiles)
        return [
            Result(Outcome.UNKNOWN, "klaviyo: processing", provider_id=f"{job_id}#{position}", retry_after=FIRST_LOOK)
            for position in range(len(profiles))
        ]

    def _remove(self, list_id: str, profiles: Sequence[Mapping[str, str]]) -> list[Result]:
        """Find Klaviyo's ids one by one (its upsert tells them), then remove those found; whoever could not be asked for waits."""
        found: list[Result | str] = []
        for profile in profiles:
            try:
                found.append(self._profile_id(profile))
            except RejectItem as refusal:
                found.append(Result(Outcome.REJECTED, refusal.reason))
            except RetryLater as later:
                if not found:
                    raise
                found += [Result(Outcome.DEFERRED, later.reason, retry_after=later.after)] * (len(profiles) - len(found))
                break
        ids = [one for one in found if isinstance(one, str)]
        removed = self._remove_ids(list_id, ids) if ids else Result(Outcome.ACCEPTED)
        return [removed if isinstance(one, str) else one for one in found]

    def _remove_ids(self, list_id: str, ids: Sequence[str]) -> Result:
        body = {"data": [{"type": "profile", "id": one} for one in ids]}
        try:
            answer = self._request("DELETE", f"/api/lists/{list_id}/relationships/profiles", body)
        except InDoubt as doubt:
            return Result(Outcome.UNKNOWN, doubt.reason)
        except _NotFound:
            raise _unknown_list() from None
        return Result(Outcome.ACCEPTED) if answer.status == 204 else Result(Outcome.UNKNOWN, f"klaviyo: unexpected answer {answer.status}")

    def _profile_id(self, profile: Mapping[str, str]) -> str:
        body = {"data": {"type": "profile", "attributes": dict(profile)}}
        answer = self._request("POST", "/api/profile-import", body, reading=True).json()
        data = answer.get("data") if isinstance(answer, dict) else None
        identifier = data.get("id") if isinstance(data, dict) else None
        if not isinstance(identifier, str) or not identifier:
            raise RetryLater("klaviyo: the answer has no profile id")
        return identifier

    def _job(self, job_id: str) -> _Job:
        body = self._request("GET", f"/api/profile-bulk-import-jobs/{job_id}", reading=True).json()
        data = body.get("data") if isinstance(body, dict) else None
        attributes = data.get("attributes") if isinstance(data, dict) else None
        attributes = attributes if isinstance(attributes, dict) else {}
        job = _Job(str(attributes.get("status")), attributes.get("failed_count") or 0)
        cursor: str | None = None
        while job.failed and job.status in {"complete", "cancelled"}:
            params = {"page[size]": 100, **({"page[cursor]": cursor} if cursor else {})}
            page = self._request("GET", f"/api/profile-bulk-import-jobs/{job_id}/import-errors", params=params, reading=True).json()
            page = page if isinstance(page, dict) else {}
            for row in page.get("data") or []:
                error = row.get("attributes") or {}
                place = _PROFILE_AT.search(str((error.get("source") or {}).get("pointer")))
                if place:
                    job.errors[int(place[1])] = code_of(error.get("code"))
            following = re.search(r"page(?:\[|%5B)cursor(?:\]|%5D)=([^&]+)", str((page.get("links") or {}).get("next") or ""))
            if following is None or following[1] == cursor:
                break
            cursor = following[1]
        return job

    def _event(self, message: Message, now: datetime) -> Result:
        if self._config.match_on != "customer_id":
            raise StopRun(f"klaviyo: tasks name people by customer id; set klaviyo.match_on: customer_id in {FILE_NAME}")
        properties = {
            "program": message.program,
            "program_version": message.program_version,
            "step": message.step_no,
            "content": message.content,
            "title": message.subject,
            **message.data,
            # Klaviyo does not segment by what is below $extra.
            "$extra": {key: text for key, text in (("text", message.text), ("html", message.html)) if text},
        }
        properties = {key: value for key, value in properties.items() if value not in ("", {})}
        data = {
            "type": "event",
            "attributes": {
                "properties": properties,
                "time": now.replace(tzinfo=UTC, microsecond=0).isoformat(),
                "unique_id": message.message_id,
                "metric": {"data": {"type": "metric", "attributes": {"name": self._config.metric}}},
                "profile": {"data": {"type": "profile", "attributes": {"external_id": message.customer_id}}},
            },
        }
        answer = self._request("POST", "/api/events", {"data": data})
        # 202 and nothing else is Klaviyo's answer; a page with status 200 comes from something in between.
        return Result(Outcome.ACCEPTED) if answer.status == 202 else Result(Outcome.UNKNOWN, f"klaviyo: unexpected answer {answer.status}")


class _Job:
    """What is known of an import job: its status, how many profiles failed, and which."""

    def __init__(self, status: str, failed: int) -> None:
        self.status = status
        self.failed = failed
        self.errors: dict[int, str] = {}

    def result(self, position: int, provider_id: str) -> Result:
        if position in self.errors:
            return Result(Outcome.REJECTED, f"klaviyo: this profile was refused ({self.errors[position] or 'no code'})")
        if self.status == "cancelled":
            return Result(Outcome.DEFERRED, "klaviyo: the import job was cancelled")
        if self.status != "complete":
            return Result(Outcome.UNKNOWN, "klaviyo: processing", provider_id=provider_id, retry_after=FIRST_LOOK)
        if self.failed > len(self.errors):
            return Result(Outcome.UNKNOWN, f"klaviyo: {self.failed} profiles of the job failed, and it is not said which")
        return Result(Outcome.ACCEPTED, provider_id=provider_id)


class _NotFound(RejectItem):
    pass


class _BadProfiles(RejectItem):
    """A job refused because of some of its profiles."""

    def __init__(self, reason: str, positions: frozenset[int]) -> None:
        super().__init__(reason)
        self.positions = positions


def _unknown_list() -> StopRun:
    return StopRun(f"klaviyo: list not found; check klaviyo.lists in {FILE_NAME}")


def _read_error(answer: Answer) -> tuple[Meaning, str] | None:
    body = answer.json()
    errors = [one for one in (body.get("errors") or [] if isinstance(body, dict) else []) if isinstance(one, dict)]
    codes = sorted({code for one in errors if (code := code_of(one.get("code")))})
    if answer.status == 404:
        raise _NotFound(f"klaviyo: not found ({', '.join(codes) or 404})")
    if answer.status not in {400, 409, 422}:
        return None
    pointers = [str(one["source"].get("pointer")) for one in errors if isinstance(one.get("source"), dict)]
    positions = frozenset(int(found[1]) for pointer in pointers if (found := _PROFILE_AT.search(pointer)))
    reason = f"refused ({', '.join(codes) or answer.status})"
    if positions:
        raise _BadProfiles(f"klaviyo: this profile is {reason}", positions)
    return Meaning.REJECT, reason
