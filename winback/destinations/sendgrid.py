"""Email through SendGrid: up to 1,000 recipients a request, each with exactly the content that was rendered for them.

Messages of one step differ in a few places only (name, links, products). What they share is sent once as the request's content; what
differs goes as substitutions into each recipient's personalization. The shared content with the values put back is the rendered
message by construction, and whatever does not fit (too many differences, odd characters) travels in a request of its own.

SendGrid takes no idempotency key: after a lost answer a message is `unknown` until an event with its `winback_message_id` arrives.
Facts: https://www.twilio.com/docs/sendgrid/api-reference/mail-send (2026-07).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from pydantic import Field

from winback.destinations.base import Capabilities, Channel, Message, Outcome, Result
from winback.destinations.config import Context, EnvName, HttpConfig, Sender, WebAddress
from winback.destinations.http import FAILED_WITHIN, Answer, HttpClient, Meaning, Progress, code_of, halved
from winback.destinations.mime import envelope_address, extra_headers, unsubscribe_headers
from winback.errors import BadConfig, RejectItem

CAPABILITIES = Capabilities(channels=frozenset({Channel.EMAIL}), batch_size=1000, concurrency=4, tracks=True)

LARGEST_REQUEST = 20_000_000
"""Bytes; SendGrid takes 30 MB including what it makes of the request."""
LARGEST_SUBSTITUTIONS = 9_000
"""Bytes of a recipient's substitutions. The documentation says 10,000 in the specification and 50,000 in the guide (2026-07)."""
MOST_SUBSTITUTIONS = 400
MOST_TEMPLATES = 8
"""Tries to find what messages of one step share, before the rest is sent one a request."""
SAMPLE = 12
_ITEM_FIELD = re.compile(r"personalizations\.(\d{1,3})(\.|$)")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")
_OF_ALL = frozenset({"from", "reply_to", "asm", "ip_pool_name", "mail_settings", "categories"})
# Headers that SendGrid sets itself: https://www.twilio.com/docs/sendgrid/api-reference/mail-send/errors#headers-errors (2026-07).
_RESERVED_HEADERS = frozenset({"x-sg-id", "x-sg-eid", "received", "dkim-signature", "x-smtpapi"})


class Config(HttpConfig):
    """Keys of `destinations: sendgrid:`."""

    base_url: WebAddress = "https://api.sendgrid.com"
    api_key_env: EnvName = "SENDGRID_API_KEY"
    unsubscribe_group_id: int = Field(ge=1)
    categories: tuple[str, ...] = Field((), max_length=8)
    ip_pool_name: str | None = Field(None, min_length=2, max_length=64)
    sandbox: bool = False


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A message that passed the checks."""

    message: Message
    position: int
    address: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Template:
    """What messages share: `shared[0]`, a value, `shared[1]`, a value, ..., `shared[-1]`."""

    shared: list[str]

    def values(self, content: str) -> list[str] | None:
        """What stands between the shared parts, or None if the content is not built like that. With them it is the very content."""
        first, *middle = self.shared
        if not middle:
            return [] if content == first else None
        last = middle.pop()
        end = len(content) - len(last)
        at = len(first)
        if end <= at or not content.startswith(first) or not content.endswith(last):
            return None
        values = []
        for part in middle:
            found = content.find(part, at + 1, end)
            if found < 0:
                return None
            values.append(content[at:found])
            at = found + len(part)
        # No value may be empty: nothing says that SendGrid replaces a tag by nothing.
        return [*values, content[at:end]] if at < end else None

    def with_tags(self, tags: list[str]) -> str:
        return self.shared[0] + "".join(tag + part for tag, part in zip(tags, self.shared[1:], strict=True))


@dataclass(frozen=True, slots=True)
class _Member:
    """A message in a request: the request's content (text and HTML, the same for all of its members) and what is put into it."""

    prepared: _Prepared
    contents: tuple[str, str]
    values: dict[str, str]


class SendGrid:
    """Sends through POST /v3/mail/send, always with the unsubscribe group and never past SendGrid's own suppressions."""

    name = "sendgrid"
    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, config: Config, sender: Sender, api_key: str) -> None:
        self._config = config
        self._sender = sender
        self._from = _mailbox(envelope_address(sender.email), sender.name)
        self._client = HttpClient(
            config.base_url,
            provider="SendGrid",
            credentials={"Authorization": f"Bearer {api_key}"},
            headers={"Accept": "application/json"},
            connect_timeout=config.connect_timeout_seconds,
            read_timeout=config.read_timeout_seconds,
            read_error=_read_error,
            # "An error occurred on a SendGrid server" (500) says nothing of the messages of the request, up to 1,000, and a repeat may send
            # them again. 503 is "not available". twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api (2026-11)
            in_doubt=FAILED_WITHIN,
            connections=CAPABILITIES.concurrency,
        )

    def send(self, messages: Sequence[Message], now: datetime) -> list[Result]:  # noqa: ARG002 - sends at once
        results: list[Result | None] = [None] * len(messages)
        prepared: list[_Prepared] = []
        for position, message in enumerate(messages):
            try:
                prepared.append(_prepare(message, position))
            except RejectItem as refusal:
                results[position] = Result(Outcome.REJECTED, refusal.reason)
        parts = [part for group in _groups(prepared) for part in _requests(group)]
        answers = Progress(parts, self._post, halving=True).results()
        for member, result in zip((member for part in parts for member in part), answers, strict=True):
            results[member.prepared.position] = result
        return [result for result in results if result is not None]

    def _post(self, members: Sequence[_Member]) -> list[Result]:
        answer = self._client.request(
            "POST",
            "/v3/mail/send",
            body=self._body(members),
            headers={"Content-Type": "application/json"},
            returned=frozenset({400}),
        )
        if answer.status != 400:
            batch = answer.headers.get("X-Message-Id", "")
            provider_id = batch if _REQUEST_ID.fullmatch(batch) else ""
            return [Result(Outcome.ACCEPTED, provider_id=provider_id)] * len(members)
        named = {index for index in _named_items(answer) if index < len(members)}
        refusal = self._client.refusal(answer)
        if not named or not isinstance(refusal, RejectItem):
            raise refusal
        # Nothing was taken, and SendGrid said because of whom: the others go without them.
        rejected = Result(Outcome.REJECTED, refusal.reason)
        others = [member for index, member in enumerate(members) if index not in named]
        again = iter(halved(others, self._post) if others else [])
        return [rejected if index in named else next(again) for index in range(len(members))]

    def _body(self, members: Sequence[_Member]) -> bytes:
        kinds = zip(("text/plain", "text/html"), members[0].contents, strict=True)
        program = members[0].prepared.message.program
        body: dict[str, Any] = {
            "personalizations": [_personalization(member) for member in members],
            "from": self._from,
            "content": [{"type": kind, "value": content} for kind, content in kinds if content],
            "asm": {"group_id": self._config.unsubscribe_group_id},
            "categories": sorted({*self._config.categories, f"winback-{program}"[:255]}),
        }
        if self._sender.reply_to:
            body["reply_to"] = _mailbox(envelope_address(self._sender.reply_to), "")
        if self._config.ip_pool_name:
            body["ip_pool_name"] = self._config.ip_pool_name
        if self._config.sandbox:
            body["mail_settings"] = {"sandbox_mode": {"enable": True}}
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")

    def resolve(self, messages: Sequence[Message], now: datetime) -> list[Result]:  # noqa: ARG002
        """SendGrid's API cannot be asked; its events resolve unknown messages when they arrive."""
        return [Result(Outcome.UNKNOWN, "SendGrid: waiting for an event of this message")] * len(messages)

    def check(self) -> str:
        """Validates one message in SendGrid's sandbox, which delivers nothing."""
        body = {
            "personalizations": [{"to": [{"email": self._from["email"]}]}],
            "from": self._from,
            "subject": "Winback destination check",
            "content": [{"type": "text/plain", "value": "Sandbox: validated, never delivered."}],
            "asm": {"group_id": self._config.unsubscribe_group_id},
            "mail_settings": {"sandbox_mode": {"enable": True}},
        }
        try:
            self._client.request("POST", "/v3/mail/send", json=body, reading=True)
        except RejectItem as refusal:
            raise BadConfig(f"{refusal.reason}: the sandbox refuses the sender or the unsubscribe group") from None
        mode = "sandbox only: nothing is delivered" if self._config.sandbox else f"unsubscribe group {self._config.unsubscribe_group_id}"
        return f"SendGrid: credentials accepted; email, {CAPABILITIES.batch_size} recipients a request, {mode}"

    def close(self) -> None:
        self._client.close()


def build(config: Config, context: Context) -> SendGrid:
    sender = context.require_sender("sendgrid")
    try:
        envelope_address(sender.email)
    except RejectItem:
        raise BadConfig("sendgrid: sender.email in brand.yml is no usable email address") from None
    return SendGrid(config, sender, context.secret("sendgrid", "api_key_env", config.api_key_env))


def _prepare(message: Message, position: int) -> _Prepared:
    if not message.subject.strip():
        raise RejectItem("the message has no subject")
    if not message.text.strip() and not message.html.strip():
        raise RejectItem("the message has no content")
    headers = extra_headers(message)
    if any(name.lower() in _RESERVED_HEADERS for name in headers):
        raise RejectItem("a header of the message is not allowed")
    headers.update(unsubscribe_headers(message))
    return _Prepared(message, position, envelope_address(message.to), headers)


def _groups(prepared: list[_Prepared]) -> list[list[_Prepared]]:
    """Messages that may share a request: same step, as many lines and tags. SendGrid refuses an address given twice in one request."""
    groups: dict[tuple[Any, ...], list[_Prepared]] = {}
    seen: dict[tuple[Any, ...], int] = {}
    for one in prepared:
        message = one.message
        shape = (message.program, message.program_version, message.step_no, message.content, *map(_pieces, _parts(message)))
        same_address = (*shape, one.address.lower())
        repetition = seen[same_address] = seen.get(same_address, -1) + 1
        groups.setdefault((*shape, repetition), []).append(one)
    return list(groups.values())


def _parts(message: Message) -> tuple[str, str]:
    """Text and HTML; '' for a part that is blank and not sent."""
    return message.text if message.text.strip() else "", message.html if message.html.strip() else ""


def _pieces(content: str) -> tuple[int, int]:
    return content.count("\n"), content.count(">")


def _requests(group: list[_Prepared]) -> list[list[_Member]]:
    """The members of each request for one group: as few requests as its differences and SendGrid's limits allow."""
    requests: list[list[_Member]] = []
    waiting = group
    for _ in range(MOST_TEMPLATES):
        if not waiting:
            break
        # What differs among some messages spread over the group mostly tells what differs at all; the others go another round.
        sample = waiting[:: max(1, len(waiting) // SAMPLE)]
        texts, htmls = zip(*(_parts(one.message) for one in sample), strict=True)
        text, html = _template(texts, "\n"), _template(htmls, ">")
        members: list[_Prepared] = []
        values: list[tuple[list[str], list[str]]] = []
        others: list[_Prepared] = []
        for one in waiting:
            own_text, own_html = _parts(one.message)
            found = (text.values(own_text), html.values(own_html))
            if found[0] is None or found[1] is None:
                others.append(one)
            else:
                members.append(one)
                values.append((found[0], found[1]))
        if not members:  # The first of the sample has an empty value.
            requests.append(_alone(others.pop(0)))
        requests += _shared(members, values, text, html)
        waiting = others
    return requests + [_alone(one) for one in waiting]


def _template(contents: Sequence[str], separator: str) -> _Template:
    """What contents with equally many separators share, cut at these. A tag never holds ">": no tag is cut."""
    pieces = [content.split(separator) for content in contents]
    width = len(pieces[0])
    differs = [False] * width
    for other in pieces[1:]:
        differs = [known or mine != theirs for known, mine, theirs in zip(differs, pieces[0], other, strict=True)]
    shared, current = [], ""
    for place, piece in enumerate(pieces[0]):
        if not differs[place]:
            current += piece
        elif place == 0 or not differs[place - 1]:  # Neighbouring differences make one value.
            shared.append(current)
            current = ""
        if place < width - 1 and not (differs[place] and differs[place + 1]):
            current += separator
    return _Template([*shared, current])


def _shared(members: list[_Prepared], values: list[tuple[list[str], list[str]]], text: _Template, html: _Template) -> list[list[_Member]]:
    """Requests for messages of one template, within SendGrid's limits."""
    places = len(text.shared) + len(html.shared) - 2
    prefix = _unused_prefix(members, values, text, html)
    if len(members) < 2 or places > MOST_SUBSTITUTIONS or prefix is None:
        return [_alone(one) for one in members]
    text_tags = [f"{prefix}t{place}-" for place in range(len(text.shared) - 1)]
    html_tags = [f"{prefix}h{place}-" for place in range(len(html.shared) - 1)]
    tags = text_tags + html_tags
    tag_bytes = sum(map(len, tags))
    contents = (text.with_tags(text_tags), html.with_tags(html_tags))
    requests: list[list[_Member]] = []
    batch: list[_Member] = []
    size = room = LARGEST_REQUEST - 2 * sum(map(_bytes, contents))
    for one, (text_values, html_values) in zip(members, values, strict=True):
        own = [*text_values, *html_values]
        weight = tag_bytes + _bytes("".join(own))
        if weight > LARGEST_SUBSTITUTIONS:
            requests.append(_alone(one))
            continue
        size -= 2 * weight + 2_000
        if batch and size < 0:
            requests.append(batch)
            batch, size = [], room
        batch.append(_Member(one, contents, dict(zip(tags, own, strict=True))))
    return [*requests, batch] if batch else requests


def _alone(one: _Prepared) -> list[_Member]:
    return [_Member(one, _parts(one.message), {})]


def _unused_prefix(members: list[_Prepared], values: list[tuple[list[str], list[str]]], text: _Template, html: _Template) -> str | None:
    """A prefix for tags that occurs nowhere in what is sent, so that SendGrid replaces our tags and nothing else."""
    everything = [*text.shared, *html.shared]
    for one, (text_values, html_values) in zip(members, values, strict=True):
        everything += [one.message.subject, *one.headers.values(), *text_values, *html_values]
    joined = "\0".join(everything)
    return next((prefix for prefix in ("-wb", "-wbx", "-wbq7", "-wbz93k") if prefix not in joined), None)


def _personalization(member: _Member) -> dict[str, Any]:
    message = member.prepared.message
    result: dict[str, Any] = {
        "to": [_mailbox(member.prepared.address, message.to_name)],
        "subject": message.subject,
        # Comes back with every event. SendGrid stores these in clear for long: an id of ours, nothing of the person.
        "custom_args": {"winback_message_id": message.message_id},
    }
    if member.prepared.headers:
        result["headers"] = member.prepared.headers
    if member.values:
        result["substitutions"] = member.values
    return result


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _mailbox(address: str, name: str) -> dict[str, str]:
    shown = " ".join(name.split())
    return {"email": address, "name": shown} if shown else {"email": address}


def _fields(answer: Answer) -> list[str]:
    """What a refusal complains about, such as `personalizations.3.to`; its messages may quote addresses and are left alone."""
    body = answer.json()
    errors = body.get("errors") if isinstance(body, dict) else None
    return [code_of(error.get("field")) for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []


def _named_items(answer: Answer) -> set[int]:
    return {int(match.group(1)) for match in map(_ITEM_FIELD.match, _fields(answer)) if match}


def _read_error(answer: Answer) -> tuple[Meaning, str] | None:
    if answer.status != 400:
        return None
    fields = sorted({field for field in _fields(answer) if field})
    reason = f"refused (400{': ' + ', '.join(fields)[:200] if fields else ''})"
    # These are the same for every message: rejecting people for them would lose all of them.
    if any(field.split(".")[0] in _OF_ALL for field in fields):
        return Meaning.STOP, reason + "; check the sender in brand.yml and the keys in destinations.yml"
    return Meaning.REJECT, reason
