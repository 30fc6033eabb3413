"""Ad audiences on Google (Customer Match) through the Data Manager API: an order per batch, its outcome asked for later.

Reference: developers.google.com/data-manager/api: devguides/diagnostics, devguides/concepts/understand-errors. A request that Google
finds fault with is refused whole; one that it takes answers with a request id, and the outcome is there after 30 minutes or more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from winback.destinations.base import AudienceChange, AudienceOperation, Capabilities, Channel, Contact, Outcome, Result
from winback.destinations.config import FILE_NAME, Context, EnvName, HttpConfig, WebAddress
from winback.destinations.google_oauth import ServiceAccount, service_account
from winback.destinations.http import Answer, HttpClient, Meaning, code_of
from winback.destinations.identifiers import google_identifiers
from winback.errors import InDoubt, RejectItem, StopRun

SCOPE = "https://www.googleapis.com/auth/datamanager"
MOST_IDENTIFIERS = 10
"""Identifiers that Google takes of one person."""

FIRST_LOOK = 1800.0
"""Seconds after which Google says a request's outcome can be asked for first."""

CAPABILITIES = Capabilities(
    channels=frozenset({Channel.ADS}), batch_size=10_000, rate_per_second=5, concurrency=2, idempotent=True, can_ask=True
)

# An answer about an order is good for this long: its members may be asked about in many small parts.
_FRESH = timedelta(minutes=5)
_ORDERS_KEPT = 1_000
_MEMBER = re.compile(r"(?:audience_members|audienceMembers)\[(\d+)\]")
_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
# google/ads/datamanager/v1/error.proto, and the retry policy of Google's own clients.
_PASSING = frozenset({"INTERNAL", "INTERNAL_ERROR", "UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"})
_STOP = frozenset(
    {
        "ADVERTISER_NOT_ALLOWLISTED_FOR_UPLOADED_DATA",
        "ADVERTISER_TOS_NOT_ACCEPTED",
        "DESTINATION_ACCOUNT_TYPE_MISMATCH",
        "EU_POLITICAL_ADVERTISING_DECLARATION_REQUIRED",
        "FAILED_PRECONDITION",
        "INVALID_DESTINATION",
        "INVALID_USER_LIST_ID",
        "INVALID_USER_LIST_TYPE",
        "LINKED_ACCOUNT_ONLY_ALLOWED_WITH_DATA_PARTNER_LOGIN_ACCOUNT",
        "NOT_ALLOWLISTED",
        "NOT_FOUND",
        "OPERATING_ACCOUNT_LOGIN_ACCOUNT_MISMATCH",
        "PERMISSION_DENIED",
        "TERMS_AND_CONDITIONS_NOT_SIGNED",
        "UNAUTHENTICATED",
        "UNSUPPORTED_LINKED_ACCOUNT_FOR_DATA_PARTNER",
        "UNSUPPORTED_OPERATING_ACCOUNT_FOR_DATA_PARTNER",
    }
)
# Fields that come from destinations.yml: what is wrong with them is wrong with every batch.
_OURS = ("destinations", "consent", "terms_of_service", "termsOfService", "encoding", "login_account", "loginAccount")
_PASSING_REASONS = frozenset({"PROCESSING_ERROR_REASON_INTERNAL_ERROR", "PROCESSING_ERROR_REASON_DESTINATION_TOO_RECENTLY_CREATED"})


class Account(BaseModel):
    """One account at Google."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["GOOGLE_ADS", "DISPLAY_VIDEO_PARTNER", "DISPLAY_VIDEO_ADVERTISER", "DATA_PARTNER", "GOOGLE_AD_MANAGER_AUDIENCE_LINK"] = (
        "GOOGLE_ADS"
    )
    id: str = Field(pattern=r"^\d+$", description="Digits without dashes")

    def body(self) -> dict[str, str]:
        return {"accountType": self.type, "accountId": self.id}

    def path(self) -> str:
        return f"accountTypes/{self.type}/accounts/{self.id}"


Consent = Literal["granted", "denied", "unspecified"]


class Config(HttpConfig):
    """Keys of `google_data_manager` in destinations.yml."""

    audience_key: ClassVar[str] = "audiences"

    base_url: WebAddress = "https://datamanager.googleapis.com"
    service_account_env: EnvName = Field(
        "GOOGLE_SERVICE_ACCOUNT", description="Environment variable with the service account key: its JSON, or the path of the JSON file"
    )
    token_url: WebAddress | None = Field(None, description="OAuth token endpoint; default: the key's token_uri")
    account: Account = Field(description="Account that the audiences belong to: {type: GOOGLE_ADS, id: digits}")
    login_account: Account | None = Field(None, description="Manager account that the service account has access to, where it is another")
    linked_account: Account | None = Field(None, description="Data partner's link to the account")
    audiences: dict[str, str] = Field(min_length=1, description="Program: id of its user list at Google")
    ad_user_data: Consent = Field(description="Consent of the people in the audiences to sending their data to Google for ads")
    ad_personalization: Consent = Field(description="Consent of the people in the audiences to personalised ads")
    customer_match_terms_accepted: Literal[True] = Field(
        description="true: you have accepted Google's Customer Match terms; told in each request"
    )


def build(config: Config, context: Context) -> GoogleDataManager:
    account = service_account(
        context,
        destination="google_data_manager",
        variable=config.service_account_env,
        scope=SCOPE,
        token_url=config.token_url,
        timeout=config.read_timeout_seconds,
    )
    return GoogleDataManager(config, account)


class GoogleDataManager:
    """User lists (Customer Match) of one account."""

    name = "google_data_manager"
    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, config: Config, account: ServiceAccount) -> None:
        self._config = config
        self._account = account
        self._orders: dict[str, tuple[datetime, Mapping[str, Any] | None]] = {}
        self._client = HttpClient(
            config.base_url,
            provider=self.name,
            credentials=account.headers,
            connect_timeout=config.connect_timeout_seconds,
            read_timeout=config.read_timeout_seconds,
            read_error=self._read_error,
            connections=CAPABILITIES.concurrency,
        )

    def identifiers(self, contact: Contact) -> tuple[tuple[str, str], ...]:
        return google_identifiers(contact)

    def change(self, changes: Sequence[AudienceChange], now: datetime) -> list[Result]:  # noqa: ARG002
        """Place the order. Taken means `unknown` with a provider id: `resolve_changes` says how it ended."""
        usable = [change for change in changes if 0 < len(change.identifiers) <= MOST_IDENTIFIERS]
        results = iter(self._change(usable) if usable else [])
        unusable = Result(Outcome.REJECTED, f"google_data_manager: 1 to {MOST_IDENTIFIERS} identifiers are allowed")
        return [next(results) if 0 < len(change.identifiers) <= MOST_IDENTIFIERS else unusable for change in changes]

    def resolve_changes(self, changes: Sequence[AudienceChange], provider_ids: Sequence[str], now: datetime) -> list[Result]:
        """Ask each order once how it ended, however small the parts that are asked about."""
        results = []
        for _, provider_id in zip(changes, provider_ids, strict=True):
            request_id, _, position = provider_id.rpartition("#")
            if not request_id or not position.isdigit():
                results.append(Result(Outcome.UNKNOWN, "google_data_manager: no request id was kept"))
                continue
            status = self._status(request_id, now)
            if status is None:
                # Without the id, because asking again would not tell more: it is ordered again, and in a set a second time is no harm.
                results.append(Result(Outcome.UNKNOWN, "google_data_manager: this request is not known any more"))
                continue
            results.append(read_status(status, int(position), provider_id))
        return results

    def check(self) -> str:
        """Read one of the user lists."""
        headers = {"login-account": self._config.login_account.path()} if self._config.login_account else None
        audience = next(iter(self._config.audiences.values()))
        self._client.request("GET", f"/v1/{self._config.account.path()}/userLists/{audience}", headers=headers, reading=True)
        return (
            f"google_data_manager: signed in; {len(self._config.audiences)} audiences, "
            f"up to {CAPABILITIES.batch_size:,} people per request, outcomes after 30 minutes or more"
        )

    def close(self) -> None:
        self._client.close()
        self._account.close()

    def _status(self, request_id: str, now: datetime) -> Mapping[str, Any] | None:
        """What Google says of a request; None where it does not know it, which says nothing about any other."""
        asked_at, answer = self._orders.get(request_id, (None, {}))
        if asked_at is None or not timedelta(0) <= now - asked_at < _FRESH:
            params = {"requestId": request_id}
            told = self._client.request("GET", "/v1/requestStatus:retrieve", params=params, reading=True, returned=frozenset({400, 404}))
            found = told.json()
            answer = found if isinstance(found, dict) else {}
            if told.status in {400, 404}:
                error = answer.get("error")
                if not isinstance(error, dict) or error.get("status") not in {"NOT_FOUND", "INVALID_ARGUMENT"}:
                    raise self._client.refusal(told)
                answer = None
            if len(self._orders) >= _ORDERS_KEPT:
                self._orders.clear()
            self._orders[request_id] = now, answer
        return answer

    def request_body(self, changes: Sequence[AudienceChange]) -> dict[str, Any]:
        """The body of an ingest or remove request; consent and terms belong to ingest only.

        Raises
        ------
        StopRun
            The audience has no user list id in destinations.yml.
        """
        config = self._config
        audience = config.audiences.get(changes[0].audience)
        if audience is None:
            raise StopRun(f"{FILE_NAME}: google_data_manager.audiences: no id for the audience {changes[0].audience}; add it")
        destination: dict[str, Any] = {"operatingAccount": config.account.body(), "productDestinationId": audience}
        if config.login_account:
            destination["loginAccount"] = config.login_account.body()
        if config.linked_account:
            destination["linkedAccount"] = config.linked_account.body()
        body: dict[str, Any] = {
            "destinations": [destination],
            "audienceMembers": [{"userData": {"userIdentifiers": [{kind: value} for kind, value in one.identifiers]}} for one in changes],
            "encoding": "HEX",
        }
        if changes[0].operation is AudienceOperation.ADD:
            answers = {"adUserData": config.ad_user_data, "adPersonalization": config.ad_personalization}
            consent = {key: f"CONSENT_{value.upper()}" for key, value in answers.items() if value != "unspecified"}
            if consent:
                body["consent"] = consent
            body["termsOfService"] = {"customerMatchTermsOfServiceStatus": "ACCEPTED"}
        return body

    def _change(self, changes: Sequence[AudienceChange]) -> list[Result]:
        verb = "ingest" if changes[0].operation is AudienceOperation.ADD else "remove"
        try:
            answer = self._client.request("POST", f"/v1/audienceMembers:{verb}", json=self.request_body(changes)).json_object()
        except InDoubt as doubt:
            return [Result(Outcome.UNKNOWN, doubt.reason)] * len(changes)
        except _BadMembers as refusal:
            # Nothing of the request was processed: the others only need a request of their own.
            other = Result(Outcome.DEFERRED, "google_data_manager: refused together with another person's entry", retry_after=0.0)
            bad = Result(Outcome.REJECTED, refusal.reason)
            return [bad if position in refusal.positions else other for position in range(len(changes))]
        request_id = answer.get("requestId")
        if not isinstance(request_id, str) or not request_id:
            return [Result(Outcome.UNKNOWN, "google_data_manager: the answer has no request id")] * len(changes)
        return [
            Result(Outcome.UNKNOWN, "google_data_manager: processing", provider_id=f"{request_id}#{position}", retry_after=FIRST_LOOK)
            for position in range(len(changes))
        ]

    def _read_error(self, answer: Answer) -> tuple[Meaning, str] | None:
        body = answer.json()
        error = body.get("error") if isinstance(body, dict) else None
        if not isinstance(error, dict):
            return None
        if answer.status == 401:
            self._account.forget()
        details = [part for part in error.get("details") or [] if isinstance(part, dict)]
        violations = [
            one
            for part in details
            if part.get("@type") == _BAD_REQUEST
            for one in part.get("fieldViolations") or []
            if isinstance(one, dict) and isinstance(one.get("field"), str)
        ]
        status = code_of(error.get("status"))
        reasons = [code_of(part.get("reason")) for part in details if part.get("@type") == _ERROR_INFO]
        reasons += [code_of(one.get("reason")) for one in violations]
        reason = next((one for one in reasons if one), status)
        if status in _PASSING or reason in _PASSING:
            return Meaning.RETRY, f"passing failure ({reason})"
        if {status, *reasons} & _STOP:
            return Meaning.STOP, f"refused ({reason}); check the account, its terms and the service account's access"
        positions = {int(found[1]) for one in violations if (found := _MEMBER.search(one["field"]))}
        if positions:
            raise _BadMembers(f"google_data_manager: this entry is refused ({reason})", frozenset(positions))
        if any(one["field"].startswith(_OURS) for one in violations):
            return Meaning.STOP, f"refused ({reason}): check google_data_manager in {FILE_NAME}"
        return (Meaning.REJECT, f"refused ({reason})") if status == "INVALID_ARGUMENT" else None


class _BadMembers(RejectItem):
    """A request refused because of some of its members."""

    def __init__(self, reason: str, positions: frozenset[int]) -> None:
        super().__init__(reason)
        self.positions = positions


def read_status(answer: Mapping[str, Any], position: int, provider_id: str) -> Result:
    """What became of one member of a request, by its position in it.

    Where Google counts failures without naming members, a member is neither accepted nor rejected: it stays unknown, and without the
    provider id, because asking again would not tell more.
    """
    entries = answer.get("requestStatusPerDestination")
    entry = entries[0] if isinstance(entries, list) and entries and isinstance(entries[0], dict) else {}
    status = entry.get("requestStatus")
    errors = [one for one in (entry.get("errorInfo") or {}).get("errorCounts") or [] if isinstance(one, dict)]
    reasons = [code_of(one.get("reason")).removeprefix("PROCESSING_ERROR_REASON_") for one in errors]
    shown = f" ({', '.join(one for one in reasons if one)})" if any(reasons) else ""
    own = [one for one in errors if position in (one.get("recordIndices") or [])]
    if status == "SUCCESS":
        return Result(Outcome.ACCEPTED, provider_id=provider_id)
    if status == "FAILED" or (status == "PARTIAL_SUCCESS" and own):
        codes = {one.get("reason") for one in own or errors}
        if codes and codes <= _PASSING_REASONS:
            return Result(Outcome.DEFERRED, f"google_data_manager: failed while processing{shown}")
        named = [code_of(one.get("reason")).removeprefix("PROCESSING_ERROR_REASON_") for one in own]
        return Result(Outcome.REJECTED, f"google_data_manager: refused while processing{f' ({named[0]})' if named else shown}")
    if status == "PARTIAL_SUCCESS":
        if errors and all(one.get("recordIndices") for one in errors):
            return Result(Outcome.ACCEPTED, provider_id=provider_id)
        return Result(Outcome.UNKNOWN, f"google_data_manager: some entries of the request were refused, and it is not said which{shown}")
    return Result(Outcome.UNKNOWN, "google_data_manager: processing", provider_id=provider_id, retry_after=FIRST_LOOK)
