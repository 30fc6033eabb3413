"""The conformance suite of destinations.

A destination's test subclasses `Conformance`, gives an `Entry` and so says what must come of every situation of cases/. An outcome is
written as the results of the items ("accepted, rejected, accepted") or as what is raised: "retry later", "retry later after 7",
"stop", "batch refused".  Whatever happens, every request must keep to the provider's contract, and no address, token or text may
show in a reason, an error or a log, nor in what a dispatch records. The provider quotes what it was sent in whatever it answers.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, ClassVar
from urllib.parse import parse_qsl, quote, urlencode

import pytest
import yaml

from tests.delivery.conftest import NOON, Shop, identity
from tests.destinations.conformance import contracts
from tests.destinations.conformance.server import Captured, LocalProvider, Reply, closed_port
from winback.alerts import watch
from winback.day import SendingReport
from winback.delivery import dispatch
from winback.delivery.queue import Item
from winback.destinations import PLATFORMS, Destinations
from winback.destinations.base import AudienceChange, AudienceOperation, Channel, Message, Result
from winback.errors import InDoubt, RejectItem, RetryLater, StopRun, WinbackError
from winback.ledger.tables import metadata
from winback.watching import LANES, lane_check

NOW = datetime(2026, 3, 2, 10, 0, 0)
TIMEOUT = 30.0
"""Seconds that a destination under test waits for an answer. Long, so that a busy machine does not look like a silent provider."""
IMPATIENT = 0.2
"""The same before a provider that never answers."""

CASES = Path(__file__).parent / "cases"
NOT_APPLICABLE = "not applicable: one item a request"


@dataclass(frozen=True, slots=True)
class Situation:
    """One file of cases/: `items` are handed over, the provider does `reply` ("provider" = as this provider words it)."""

    name: str
    items: int
    reply: Mapping[str, Any]


def situations() -> list[Situation]:
    found = []
    for file in sorted(CASES.glob("*.yml")):
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        found.append(Situation(file.stem, content["items"], content["reply"]))
    return found


def messages(channel: Channel, to: Sequence[str], **changes: Any) -> list[Message]:
    """One message per address, with contents that are easy to look for in logs."""
    return [
        dataclasses.replace(
            Message(
                message_id=f"{position:032x}",
                channel=channel,
                customer_id=f"customer-{position}",
                to=address,
                program="long-silent",
                program_version=3,
                step_no=1,
                content="we-miss-you",
                subject=f"Secretsubject{position} for you",
                text=f"Secrettext{position} in plain",
                html=f"<html><body><p>Secrettext{position} in colour</p></body></html>",
                unsubscribe_url=f"https://example.com/u/Secretlink{position}",
                unsubscribe_mailto=f"unsubscribe+Secretlink{position}@example.com",
            ),
            **changes,
        )
        for position, address in enumerate(to, start=1)
    ]


def changes(identifiers: Sequence[tuple[tuple[str, str], ...]], audience: str = "long-silent") -> list[AudienceChange]:
    """One addition to an ad audience per set of identifiers."""
    return [
        AudienceChange(f"{position:032x}", audience, f"customer-{position}", AudienceOperation.ADD, one)
        for position, one in enumerate(identifiers, start=1)
    ]


Answering = Reply | Callable[[Captured], Reply]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a destination brings to the suite.

    `build(base_url)` opens it with `TIMEOUT` as its read time-out; `items` are at least three; `secrets` are credential values.
    `success` answers a request as the provider does when all is well; `replies` holds how the provider words `bad_item`,
    `partial_batch`, `expired_credentials` and whichever other situation it words in its own way.  `faulty` tells which requests a
    situation befalls (all, unless there are preparatory ones). `contract` is a file under the contracts folder, None where the
    provider publishes none. `breakages` has for each operation ("POST /v3/mail/send") a change that makes the request invalid.
    """

    build: Callable[[str], Any]
    items: Sequence[Any]
    success: Answering
    replies: Mapping[str, Answering]
    expected: Mapping[str, str]
    secrets: Sequence[str]
    contract: str | None
    operation: Callable[[Captured], str] = lambda captured: f"{captured.method} {captured.path}"
    breakages: Mapping[str, Callable[[Captured], Captured]] = field(default_factory=dict)
    faulty: Callable[[Captured], bool] = lambda _: True
    private: Sequence[str] = ()


class Conformance:
    """Subclass as `class Test...(Conformance)` and set `entry`."""

    entry: ClassVar[Entry]

    @pytest.mark.parametrize("situation", situations(), ids=lambda situation: situation.name)
    def test_situation(self, situation: Situation, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        assert situation.name in self.entry.expected, f"say what must come of {situation.name}"
        expected = self.entry.expected[situation.name]
        observed, told, requests = self.play(situation)
        if expected == NOT_APPLICABLE:
            assert self.batch_size() == 1
            return
        assert observed == expected
        self.nothing_private(told + caplog.text)
        if self.entry.contract is not None:
            for captured in requests:
                contracts.validate(self.entry.contract, captured)

    def test_every_situation_is_stated(self) -> None:
        assert set(self.entry.expected) == {situation.name for situation in situations()}

    def test_nothing_private_is_recorded(self, shop: Shop, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
        """Dispatched under one situation after the other, then asked about: ledger, report, checks, alerts, logs and errors."""
        caplog.set_level(logging.DEBUG)
        report, told, claimed = SendingReport(), [], 0
        renderer = Renderer()
        # Last what makes an address unusable: nobody would be written to after it.
        ordered = sorted(situations(), key=lambda one: one.name == "bad_item")
        for number, situation in enumerate([*ordered, ordered[0]]):
            with self.opened_in(situation) as (destination, _):
                if number < len(ordered):
                    self.queue(shop, destination, situation, number, renderer)
                places = Destinations(dict.fromkeys(Channel, destination), dict.fromkeys(PLATFORMS, destination))
                # Seconds apart, and in the end so late that everything is tried again, or asked about.
                now = NOON + (timedelta(seconds=number) if number < len(ordered) else timedelta(hours=11))
                done = dispatch(shop.settings, shop.warehouse, shop.ledger, places, now, renderer=renderer, chance=Random(7))
                report.add(done)
                claimed += done.claimed
                told.append(self.complaint_of_check(destination))
        watched = watch(shop.settings, shop.ledger, shop.warehouse, after=0, stopped=report.stopped, now=NOON, environment={})
        told += [repr(report), json.dumps(report.metadata()), repr(watched)]
        told += [repr(lane_check(lane, watched.lanes, watched.conditions)) for lane in LANES]
        for table in metadata.tables:
            rows = shop.ledger.rows(table)
            # Hashes of whom an audience holds are what its members are removed by.
            told += [repr({key: value for key, value in row.items() if key != "identifiers"}) for row in rows]
        assert claimed >= len(situations()), "hardly anything was handed over"
        assert sum(map(len, report.reasons.values())) >= 5, "hardly anything went wrong"
        self.nothing_private("\n".join(told) + caplog.text + "".join(capfd.readouterr()))

    def queue(self, shop: Shop, destination: Any, situation: Situation, number: int, renderer: Renderer) -> None:
        """Customers with the items' addresses, and in the ledger what is due to them."""
        for position, item in enumerate(self.items(situation)):
            person = f"{situation.name}-{position}"
            if isinstance(item, Message):
                shop.customer(person, email=item.to, phone=item.to, push_token=item.to, first_name="Secretname")
                renderer.messages[shop.message(person, item.channel, step_no=number + 1)] = item
                continue
            contact = {} if item.contact is None else {"email": item.contact.email, "phone": item.contact.phone}
            shop.customer(person, first_name="Secretname", **contact)
            platform = next(platform for platform, name in PLATFORMS.items() if name == destination.name)
            change = {
                "change_id": identity(platform, person),
                "platform": platform,
                "audience": item.audience,
                "program": "lapsing",
                "customer_id": person,
                "operation": item.operation.value,
                "identifiers": json.dumps(item.identifiers),
                "as_of": NOON - timedelta(hours=12),
                "recorded_at": NOON,
            }
            shop.ledger.record("audience_changes", [change])

    @staticmethod
    def complaint_of_check(destination: Any) -> str:
        try:
            said: str = destination.check()
        except (WinbackError, RetryLater, RejectItem, InDoubt) as problem:
            return _all_of(problem)
        return said

    def test_check_says_what_it_can_do(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        with LocalProvider(self._answering(self.entry.success)) as provider:
            destination = self.entry.build(provider.base_url)
            line = destination.check()
            destination.close()
        assert line
        assert "\n" not in line
        assert not [secret for secret in self.entry.secrets if secret in line + caplog.text]
        if self.entry.contract is not None:
            for captured in provider.requests:
                contracts.validate(self.entry.contract, captured)

    def test_check_stops_at_refused_credentials(self) -> None:
        with LocalProvider(self._answering(self.entry.replies["expired_credentials"])) as provider:
            destination = self.entry.build(provider.base_url)
            with pytest.raises(StopRun):
                destination.check()
            destination.close()

    def test_contract_refuses_what_is_broken(self) -> None:
        """Without this a contract whose schema silently validates nothing would pass for one that was kept."""
        if self.entry.contract is None:
            return
        assert self.entry.breakages, "give a breakage for every operation"
        for operation, breakage in self.entry.breakages.items():
            captured = next((one for one in self.captured() if self.entry.operation(one) == operation), None)
            assert captured is not None, f"{operation} is never requested"
            contracts.validate(self.entry.contract, captured)
            with pytest.raises(contracts.BrokenContract):
                contracts.validate(self.entry.contract, breakage(captured))

    def test_every_operation_has_a_breakage(self) -> None:
        if self.entry.contract is not None:
            assert {self.entry.operation(one) for one in self.captured()} == set(self.entry.breakages)

    def play(self, situation: Situation) -> tuple[str, str, list[Captured]]:
        """Hand the situation's items over: the outcome, everything that was said, and the requests."""
        with self.opened_in(situation) as (destination, requests):
            observed, told = self.hand_over(destination, self.items(situation))
        return observed, told, requests

    # What follows is the HTTP way into a situation; a destination with another protocol overrides it.

    @contextmanager
    def opened_in(self, situation: Situation) -> Iterator[tuple[Any, list[Captured]]]:
        """The destination before a provider in this situation, and the requests that arrive there."""
        if situation.reply["behaviour"] == "connection_refused":
            destination = self.entry.build(f"http://127.0.0.1:{closed_port()}")
            yield destination, []
            destination.close()
            return
        with LocalProvider(self._in_situation(situation)) as provider:
            destination = self.entry.build(provider.base_url)
            if situation.reply["behaviour"] == "never_answer":
                destination._client._timeout = (TIMEOUT, IMPATIENT)
            yield destination, provider.requests
            destination.close()

    def items(self, situation: Situation) -> Sequence[Any]:
        return self.entry.items[: min(situation.items, self.batch_size())]

    def batch_size(self) -> int:
        destination = self.entry.build(f"http://127.0.0.1:{closed_port()}")
        size: int = destination.capabilities.batch_size
        destination.close()
        return size

    def hand_over(self, destination: Any, items: Sequence[Any]) -> tuple[str, str]:
        send = destination.change if isinstance(items[0], AudienceChange) else destination.send
        try:
            results: list[Result] = send(items, NOW)
        except RetryLater as later:
            return "retry later" + ("" if later.after is None else f" after {later.after:g}"), later.reason + _all_of(later)
        except RejectItem as refused:
            return "batch refused", refused.reason + _all_of(refused)
        except StopRun as stop:
            return "stop", _all_of(stop)
        except InDoubt as doubt:
            pytest.fail(f"InDoubt must become `unknown` results: {doubt}")
        assert len(results) == len(items), "one result per item"
        return ", ".join(result.outcome.value for result in results), " ".join(repr(result) for result in results)

    def nothing_private(self, told: str) -> None:
        private = [*self.entry.secrets, *self.entry.private, "Secrettext", "Secretsubject", "Secretlink", "Secretname"]
        for item in self.entry.items:
            private += [item.to] if isinstance(item, Message) else [value for _, value in item.identifiers]
        private += [quote(value) for value in private] + [value.removeprefix("+") for value in private]
        assert not [value for value in private if value in told]

    def captured(self) -> list[Captured]:
        """The requests of a call and a check in which all is well; override to add those of other methods."""
        with LocalProvider(self._answering(self.entry.success)) as provider:
            destination = self.entry.build(provider.base_url)
            self.hand_over(destination, self.entry.items[: destination.capabilities.batch_size])
            self.more_requests(destination)
            destination.close()
        return provider.requests

    def more_requests(self, destination: Any) -> None:
        """Override to make the requests of `resolve` and the like."""

    def _in_situation(self, situation: Situation) -> Callable[[Captured], Reply]:
        happy = self._answering(self.entry.success)
        own = self.entry.replies.get(situation.name)

        def answer(captured: Captured) -> Reply:
            if not self.entry.faulty(captured):
                return happy(captured)
            reply = self._answering(own)(captured) if own is not None else happy(captured)
            generic = {key: value for key, value in situation.reply.items() if key in {"status", "body", "headers"}}
            if own is None and "body" in generic:
                reply = dataclasses.replace(reply, **{**generic, "body": _quoting(generic["body"], captured)})
            behaviour = situation.reply["behaviour"]
            return dataclasses.replace(reply, behaviour=behaviour) if own is None else reply

        return answer

    @staticmethod
    def _answering(given: Answering) -> Callable[[Captured], Reply]:
        return given if callable(given) else lambda _: given


@dataclass(frozen=True, slots=True)
class Renderer:
    """Gives each message of the ledger (by its id) the contents of an item of the suite."""

    messages: dict[str, Message] = field(default_factory=dict)

    def render(self, item: Item) -> Message:
        return dataclasses.replace(self.messages[item.item_id], message_id=item.item_id, customer_id=item.row["customer_id"])


def _all_of(problem: BaseException) -> str:
    """An error as Dagster and Python show it: with what it came from."""
    return repr(problem) + "".join(traceback.format_exception(problem))


def _quoting(body: str, captured: Captured) -> str:
    """The body of an answer that quotes the request: providers' own words do."""
    quoted = f"{captured.target} {captured.body.decode('latin-1')} {' '.join(captured.headers.values())}"
    return json.dumps({"message": quoted, "detail": quoted}) if body == "{}" else body + quoted


def with_json(change: Callable[[Any], Any]) -> Callable[[Captured], Captured]:
    """A breakage: the request with its JSON body changed in place."""

    def breakage(captured: Captured) -> Captured:
        body = captured.json()
        change(body)
        return dataclasses.replace(captured, body=json.dumps(body).encode())

    return breakage


def with_form(change: Callable[[dict[str, str]], Any]) -> Callable[[Captured], Captured]:
    """A breakage: the request with its form fields changed in place."""

    def breakage(captured: Captured) -> Captured:
        fields = captured.form()
        change(fields)
        return dataclasses.replace(captured, body=urlencode(fields).encode())

    return breakage


def with_query(change: Callable[[dict[str, str]], Any]) -> Callable[[Captured], Captured]:
    """A breakage: the request with its query changed in place."""

    def breakage(captured: Captured) -> Captured:
        path, _, query = captured.target.partition("?")
        fields = dict(parse_qsl(query, keep_blank_values=True))
        change(fields)
        return dataclasses.replace(captured, target=f"{path}?{urlencode(fields)}")

    return breakage


def without_header(name: str) -> Callable[[Captured], Captured]:
    """A breakage: the request without a header (lower case)."""
    return lambda captured: dataclasses.replace(captured, headers={key: value for key, value in captured.headers.items() if key != name})
