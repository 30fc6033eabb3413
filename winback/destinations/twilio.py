"""SMS through Twilio. One message a request; Twilio takes no idempotency key, so a lost answer is looked up, never repeated.

Facts and error codes: https://www.twilio.com/docs/messaging/api/message-resource and https://www.twilio.com/docs/api/errors (2026-07).
"""

from __future__ import annotations

import re
import unicodedata
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from winback.destinations.base import Capabilities, Channel, Message, Outcome, Result
from winback.destinations.config import Context, EnvName, HttpConfig, WebAddress
from winback.destinations.http import Answer, HttpClient, Meaning, code_of
from winback.errors import BadConfig, InDoubt, RejectItem

CAPABILITIES = Capabilities(
    channels=frozenset({Channel.SMS}), batch_size=1, rate_per_second=100.0, concurrency=8, can_ask=True, ask_after=300.0
)

LONGEST_BODY = 1600
LOOK_BACK = timedelta(days=7)
CLOCKS_DIFFER = timedelta(minutes=5)
"""How far Twilio's clock and ours may be apart."""
PAGE_SIZE = 100

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_LINK = re.compile(r"https?://\S+")
_GSM7 = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM7_EXTENDED = frozenset("\f^{}\\[~]|€")

# What Twilio's own codes mean here; codes not listed follow the status.
_REJECTED = {
    21211: "not a valid number",
    21212: "sender not valid for this number",
    21214: "number not reachable",
    21217: "not a valid number",
    21408: "sending to this region is not enabled",
    21610: "opted out at the provider",
    21612: "number not reachable from this sender",
    21614: "not a mobile number",
    21617: "text too long",
    21635: "a landline",
    30004: "blocked",
    30005: "unknown handset",
    30006: "a landline, or unreachable carrier",
    30007: "filtered by the carrier",
}
_STOPPED = {
    20003: "credentials refused",
    20005: "account not active",
    20404: "account or messaging service not found",
    21601: "sender cannot send SMS",
    21603: "no sender given",
    21606: "sender does not belong to the account",
    21608: "trial account: only verified numbers",
    21659: "sender is no number of Twilio",
    21660: "sender belongs to another account",
    21703: "messaging service has no sender",
    21704: "messaging service has no sender",
    30034: "sender not registered (A2P 10DLC)",
}
_RETRIED = {14107: "throttled", 20429: "throttled", 21611: "the sender's queue is full", 30001: "the account's queue is full"}
_FAILED = frozenset({"failed", "undelivered", "canceled"})


class Config(HttpConfig):
    """Keys of `destinations: twilio:`. One of `messaging_service_sid` and `from_number`."""

    base_url: WebAddress = "https://api.twilio.com"
    account_sid_env: EnvName = "TWILIO_ACCOUNT_SID"
    auth_token_env: EnvName = "TWILIO_AUTH_TOKEN"  # noqa: S105 - the name of a variable
    api_key_sid_env: EnvName | None = None
    messaging_service_sid: Annotated[str, Field(pattern=r"^MG[0-9a-fA-F]{32}$")] | None = None
    from_number: Annotated[str, Field(pattern=r"^(\+[1-9][0-9]{6,14}|[0-9]{3,8}|[A-Za-z0-9 ]{1,11})$")] | None = None
    status_callback: WebAddress | None = None
    max_segments: int = Field(6, ge=1, le=10)
    validity_seconds: int = Field(14_400, ge=6, le=36_000)

    @model_validator(mode="after")
    def _one_sender(self) -> Self:
        if (self.messaging_service_sid is None) == (self.from_number is None):
            raise ValueError("exactly one of messaging_service_sid and from_number is allowed")
        return self


class Twilio:
    """Sends `Message.text` to the E.164 number `Message.to`."""

    name = "twilio"
    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, config: Config, account_sid: str, user: str, password: str) -> None:
        self._config = config
        self._account = f"/2010-04-01/Accounts/{account_sid}"
        basic = b64encode(f"{user}:{password}".encode()).decode()
        self._client = HttpClient(
            config.base_url,
            provider="Twilio",
            credentials={"Authorization": f"Basic {basic}"},
            headers={"Accept": "application/json"},
            connect_timeout=config.connect_timeout_seconds,
            read_timeout=config.read_timeout_seconds,
            read_error=_read_error,
            # Twilio's own guide says not to repeat after anything but 429; asking afterwards costs one request.
            in_doubt=frozenset({500, 502, 503, 504}),
            connections=CAPABILITIES.concurrency,
        )

    def send(self, messages: Sequence[Message], now: datetime) -> list[Result]:  # noqa: ARG002 - sends at once
        return [self._send(message) for message in messages]

    def _send(self, message: Message) -> Result:
        problem = self._unsendable(message)
        if problem:
            return Result(Outcome.REJECTED, problem)
        form = {"To": message.to, "Body": message.text, "ValidityPeriod": str(self._config.validity_seconds)}
        if self._config.messaging_service_sid:
            form["MessagingServiceSid"] = self._config.messaging_service_sid
        else:
            form["From"] = self._config.from_number or ""
        if self._config.status_callback:
            # Comes back with every status, also where this answer is lost and no message SID is ever known.
            separator = "&" if "?" in self._config.status_callback else "?"
            form["StatusCallback"] = f"{self._config.status_callback}{separator}message_id={message.message_id}"
        try:
            answer = self._client.request("POST", f"{self._account}/Messages.json", form=form).json_object()
            sid = _sid(answer)
            if not sid:
                raise InDoubt("Twilio: an answer without a message id")
        except RejectItem as refusal:
            return Result(Outcome.REJECTED, refusal.reason)
        except InDoubt as doubt:
            return Result(Outcome.UNKNOWN, doubt.reason)
        if answer.get("status") in _FAILED:
            return Result(Outcome.REJECTED, _failure(answer), sid)
        return Result(Outcome.ACCEPTED, provider_id=sid)

    def _unsendable(self, message: Message) -> str:
        if not _E164.fullmatch(message.to):
            return "the number is not in E.164 form"
        if not message.text.strip():
            return "the text is empty"
        if len(message.text) > LONGEST_BODY:
            return f"the text has {len(message.text)} characters; Twilio takes {LONGEST_BODY}"
        encoding, count = segments(message.text)
        if count > self._config.max_segments:
            return f"the text needs {count} {encoding} segments; max_segments is {self._config.max_segments}"
        return ""

    def resolve(self, messages: Sequence[Message], now: datetime) -> list[Result]:
        """Look for each message among those to its number of the last week, by its text.

        Found: accepted (or rejected, if it failed since). Not found: deferred, as it was never taken. But the text is rendered anew and
        may have been another, as may the number: where anything else went to the number since the first attempt, or where the number is
        not the one of each attempt, it stays unknown. Ask no sooner than `capabilities.ask_after` after the attempt. Where two messages of
        a week have the same text, the later counts as found: better a message less than one twice.

        Raises
        ------
        RetryLater, StopRun
            As `send`.
        """
        return [self._resolve(message, now) for message in messages]

    def _resolve(self, message: Message, now: datetime) -> Result:
        # No filter by DateSent: a message that is still queued has no such date.
        path = f"{self._account}/Messages.json"
        params: dict[str, Any] | None = {"To": message.to, "PageSize": PAGE_SIZE}
        wanted = _folded(message.text)
        tried = message.first_tried_at - CLOCKS_DIFFER if message.first_tried_at else now - LOOK_BACK
        begin = min(tried, now - LOOK_BACK)
        something_else = False
        while True:
            try:
                page = self._client.request("GET", path, params=params, reading=True).json_object()
                outbound = [entry for entry in page["messages"] if entry.get("direction") != "inbound"]
            except (InDoubt, KeyError, TypeError, AttributeError):
                return Result(Outcome.UNKNOWN, "Twilio: the list of messages could not be read")
            except RejectItem as refusal:
                return Result(Outcome.UNKNOWN, refusal.reason)
            recent = [entry for entry in outbound if _created(entry, now) > begin]
            found = next((entry for entry in recent if _folded(str(entry.get("body"))) == wanted), None)
            if found is not None:
                failed = found.get("status") in _FAILED
                return Result(Outcome.REJECTED if failed else Outcome.ACCEPTED, _failure(found) if failed else "", _sid(found))
            something_else = something_else or any(_created(entry, now) > tried for entry in recent)
            next_page = page.get("next_page_uri")
            # The newest come first: a page that ends before the window is the last of interest.
            if len(recent) < len(outbound) or not isinstance(next_page, str) or not next_page.startswith("/"):
                if message.is_readdressed:
                    return Result(Outcome.UNKNOWN, "Twilio: not among the messages taken for this number, and it was tried at another")
                if something_else:
                    return Result(Outcome.UNKNOWN, "Twilio: since the attempt another text was taken for this number, which may be it")
                return Result(Outcome.DEFERRED, "Twilio: not among the messages taken")
            path, params = next_page, None

    def check(self) -> str:
        self._client.request("GET", f"{self._account}/Messages.json", params={"PageSize": 1}, reading=True)
        sender = "a messaging service" if self._config.messaging_service_sid else "one sender"
        callback = "status callbacks" if self._config.status_callback else "no status callbacks"
        return f"Twilio: credentials accepted; SMS one a request through {sender}, up to {self._config.max_segments} segments, {callback}"

    def close(self) -> None:
        self._client.close()


def segments(text: str) -> tuple[str, int]:
    """Encoding ("GSM-7" or "UCS-2") and number of segments of a text: 160/153 septets or 70/67 UTF-16 units each."""
    if all(character in _GSM7 or character in _GSM7_EXTENDED for character in text):
        return "GSM-7", _packed([2 if character in _GSM7_EXTENDED else 1 for character in text], 160, 153)
    return "UCS-2", _packed([2 if ord(character) > 0xFFFF else 1 for character in text], 70, 67)


def _packed(sizes: list[int], alone: int, joined: int) -> int:
    """Segments that characters of these sizes fill; none is split over two segments."""
    if sum(sizes) <= alone:
        return 1
    count, room = 1, joined
    for size in sizes:
        if size > room:
            count, room = count + 1, joined
        room -= size
    return count


def _folded(text: str) -> str:
    """What stays the same when a messaging service shortens links or replaces characters by GSM-7 ones."""
    plain = unicodedata.normalize("NFKD", _LINK.sub("", text))
    return "".join(character for character in plain if character.isascii() and character.isalnum()).lower()


def _created(entry: dict[str, Any], now: datetime) -> datetime:
    """Naive UTC; a message without a readable date counts as of now."""
    try:
        created = parsedate_to_datetime(str(entry.get("date_created")))
    except ValueError:
        return now
    return created.astimezone(UTC).replace(tzinfo=None) if created.tzinfo else created


def build(config: Config, context: Context) -> Twilio:
    account_sid = context.secret("twilio", "account_sid_env", config.account_sid_env)
    if not re.fullmatch(r"AC[0-9a-fA-F]{32}", account_sid):
        raise BadConfig(
            f"destinations.yml: twilio.account_sid_env: {config.account_sid_env} does not hold an account SID (AC and 32 hex digits)"
        )
    user = context.secret("twilio", "api_key_sid_env", config.api_key_sid_env) if config.api_key_sid_env else account_sid
    return Twilio(config, account_sid, user, context.secret("twilio", "auth_token_env", config.auth_token_env))


def _read_error(answer: Answer) -> tuple[Meaning, str] | None:
    body = answer.json()
    code = body.get("code") if isinstance(body, dict) else None
    if not isinstance(code, int):
        return None
    for codes, meaning in ((_REJECTED, Meaning.REJECT), (_STOPPED, Meaning.STOP), (_RETRIED, Meaning.RETRY)):
        if code in codes:
            return meaning, f"{codes[code]} ({code})"
    if answer.status == 400:
        return Meaning.REJECT, f"refused ({code})"
    return None


def _failure(entry: dict[str, Any]) -> str:
    code = entry.get("error_code")
    words = _REJECTED.get(code, "not delivered") if isinstance(code, int) else "not delivered"
    return f"Twilio: {words}" + (f" ({code_of(code)})" if code_of(code) else "")


def _sid(entry: dict[str, Any]) -> str:
    sid = entry.get("sid")
    return sid if isinstance(sid, str) and re.fullmatch(r"(SM|MM)[0-9a-fA-F]{32}", sid) else ""
