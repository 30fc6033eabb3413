"""The conformance suite of destinations.

A destination's test subclasses `Conformance`, gives an `Entry` and so says what must come of every situation of cases/. An outcome is
written as the results of the items ("accepted, rejected, accepted") or as what is raised: "retry later", "retry later after 7",
"stop", "batch refused".  Whatever happens, every request must keep to the provider's contract, and no address, token or text may
show in a reason, an error or a log.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode

import pytest
import yaml

from tests.destinations.conformance import contracts
from tests.destinations.conformance.server import Captured, LocalProvider, Reply, closed_port
from winback.destinations.base import AudienceChange, AudienceOperation, Channel, Message, Result
from winback.errors import InDoubt, RejectItem, RetryLater, StopRun

NOW = datetime(2026, 3, 2, 10, 0, 0)
TIMEOUT = 0.2
"""Seconds that a destination under test waits for an answer."""

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

    # What follows is the HTTP way of playing a situation; a destination with another protocol overrides `play`.

    def play(self, situation: Situation) -> tuple[str, str, list[Captured]]:
        """Hand the situation's items over: the outcome, everything that was said, and the requests."""
        items = self.items(situation)
        if situation.reply["behaviour"] == "connection_refused":
            destination = self.entry.build(f"http://127.0.0.1:{closed_port()}")
            observed, told = self.hand_over(destination, items)
            destination.close()
            return observed, told, []
        with LocalProvider(self._in_situation(situation)) as provider:
            destination = self.entry.build(provider.base_url)
            observed, told = self.hand_over(destination, items)
            destination.close()
        return observed, told, provider.requests

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
            return "retry later" + ("" if later.after is None else f" after {later.after:g}"), repr(later) + later.reason
        except RejectItem as refused:
            return "batch refused", repr(refused) + refused.reason
        except StopRun as stop:
            return "stop", repr(stop)
        except InDoubt as doubt:
            pytest.fail(f"InDoubt must become `unknown` results: {doubt}")
        assert len(results) == len(items), "one result per item"
        return ", ".join(result.outcome.value for result in results), " ".join(repr(result) for result in results)

    def nothing_private(self, told: str) -> None:
        private = [*self.entry.secrets, *self.entry.private, "Secrettext", "Secretsubject", "Secretlink"]
        for item in self.entry.items:
            private += [item.to] if isinstance(item, Message) else [value for _, value in item.identifiers]
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
            if own is None and generic:
                reply = dataclasses.replace(reply, **generic)
            behaviour = situation.reply["behaviour"]
            return dataclasses.replace(reply, behaviour=behaviour) if own is None else reply

        return answer

    @staticmethod
    def _answering(given: Answering) -> Callable[[Captured], Reply]:
        return given if callable(given) else lambda _: given


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
