"""How status codes, headers and broken connections are read; and that nothing private is in what is raised."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.destinations.conformance.mail_server import _server_context, ca_file
from tests.destinations.conformance.server import Captured, LocalProvider, Reply, closed_port
from winback.destinations.base import Outcome, Result
from winback.destinations.http import Answer, HttpClient, Progress, code_of, halved
from winback.errors import InDoubt, RejectItem, RetryLater, StopRun

PRIVATE = "anna@example.com"
TOKEN = "-".join(["very", "private", "token"])
DATE = "Mon, 02 Mar 2026 10:00:00 GMT"
ACCEPTED = Result(Outcome.ACCEPTED)


def client(base_url: str, **options: Any) -> HttpClient:
    return HttpClient(base_url, provider="Local", credentials={"Authorization": f"Bearer {TOKEN}"}, read_timeout=0.2, **options)


def raised_by(reply: Reply, **options: Any) -> BaseException:
    reading = options.pop("reading", False)
    with LocalProvider(lambda _: reply) as provider:
        http = client(provider.base_url, **options)
        with pytest.raises((RetryLater, RejectItem, StopRun, InDoubt)) as problem:
            http.request("POST", f"/{PRIVATE}", params={"token": TOKEN}, body=PRIVATE.encode(), reading=reading)
        http.close()
    told = "".join(traceback.format_exception(problem.value))
    assert PRIVATE not in told
    assert TOKEN not in told
    return problem.value


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, StopRun), (400, RejectItem), (401, StopRun), (402, StopRun), (403, StopRun), (404, StopRun), (405, StopRun),
        (408, RetryLater), (409, RejectItem), (413, RejectItem), (422, RejectItem), (425, RetryLater), (429, RetryLater),
        (500, RetryLater), (502, InDoubt), (503, RetryLater), (504, InDoubt), (529, RetryLater),
    ],
)  # fmt: skip
def test_status_says_what_to_do_next(status: int, kind: type[BaseException]) -> None:
    assert type(raised_by(Reply(status, PRIVATE, {"Location": "https://example.com/"}))) is kind


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(200, PRIVATE, behaviour="never_answer"), InDoubt),
        (Reply(200, PRIVATE, behaviour="reset_mid_answer"), InDoubt),
        (Reply(429, PRIVATE, behaviour="reset_mid_answer"), RetryLater),
    ],
)
def test_broken_answers(reply: Reply, kind: type[BaseException]) -> None:
    assert type(raised_by(reply)) is kind
    # What only reads cannot have done anything.
    assert type(raised_by(reply, reading=True)) is RetryLater


@pytest.mark.parametrize(
    ("headers", "after"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "Mon, 02 Mar 2026 10:01:30 GMT"}, 90.0),
        ({"Retry-After": "Mon, 02 Mar 2026 09:00:00 GMT"}, 0.0),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "99999999"}, 86_400.0),
        ({"X-RateLimit-Reset": "1772445660"}, 60.0),
        ({"RateLimit-Reset": "12"}, 12.0),
        ({"Retry-After": "7", "RateLimit-Reset": "12"}, 7.0),
        ({}, None),
    ],
)
def test_how_long_to_wait(headers: Mapping[str, str], after: float | None) -> None:
    assert Answer(429, {"Date": DATE, **headers}, b"").retry_after() == after


def test_a_date_without_the_providers_own_clock_says_nothing() -> None:
    assert Answer(429, {"Retry-After": DATE}, b"").retry_after() is None


def test_no_connection_means_not_sent() -> None:
    for address in (f"http://127.0.0.1:{closed_port()}", "http://no-such-host.invalid"):
        with pytest.raises(RetryLater, match="no connection"):
            client(address).request("POST", "/")


def test_an_unusable_credential_stops() -> None:
    http = HttpClient("http://127.0.0.1:9", provider="Local", credentials={"Authorization": "Bearer secret\n"})
    with pytest.raises(StopRun, match="line break") as problem:
        http.request("GET", "/")
    assert "secret" not in str(problem.value)


def test_an_untrusted_certificate_means_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    class Quiet(HTTPServer):
        def handle_error(self, *_: object) -> None:
            pass  # The client that does not trust the certificate hangs up.

    with Quiet(("127.0.0.1", 0), Handler) as server:
        server.socket = _server_context().wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
        thread.start()
        address = f"https://127.0.0.1:{server.server_address[1]}"
        with pytest.raises(RetryLater, match="SSLError"):
            client(address).request("GET", "/")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca_file()))
        trusting = client(address)
        assert trusting.request("GET", "/").status == 204
        trusting.close()
        server.shutdown()
        thread.join()


def test_netrc_redirects_and_cookies_are_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with LocalProvider(lambda _: Reply(200, b"", {"Set-Cookie": "session=1; Path=/"})) as provider:
        http = client(provider.base_url)
        http.request("GET", "/")
        http.request("GET", "/")
        http.close()
    assert [request.headers["authorization"] for request in provider.requests] == [f"Bearer {TOKEN}"] * 2
    assert "cookie" not in provider.requests[1].headers


def test_one_connection_serves_many_requests() -> None:
    with LocalProvider(lambda _: Reply(200, {"ok": True})) as provider:
        http = client(provider.base_url)
        for _ in range(5):
            assert http.request("GET", "/").json() == {"ok": True}
        http.close()
    assert provider.connections == 1


def test_urllib3_keeps_addresses_out_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with LocalProvider(lambda _: Reply(200)) as provider:
        http = client(provider.base_url)
        http.request("GET", "/messages", params={"To": PRIVATE})
        http.close()
    assert "messages" not in caplog.text


def test_malformed_success_is_in_doubt() -> None:
    for body in (b"", b"<html>", b"[1]", b"\xff"):
        with pytest.raises(InDoubt):
            Answer(200, {}, body).json_object()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("invalid_token", "invalid_token"), ("personalizations.0.to", "personalizations.0.to"), (21610, "21610"), (True, ""), (None, ""),
        (PRIVATE, ""), ("+15550100001", ""), ("two words", ""), (15550100001, ""),
    ],
)  # fmt: skip
def test_only_codes_pass_as_codes(value: object, expected: str) -> None:
    assert code_of(value) == expected


def test_halving_finds_the_bad_items_and_sends_every_other_once() -> None:
    sent: list[int] = []

    def send(items: Sequence[int]) -> list[Result]:
        if {3, 4, 60} & set(items):
            raise RejectItem("bad")
        sent.extend(items)
        return [ACCEPTED] * len(items)

    results = halved(range(64), send)
    assert [number for number, result in enumerate(results) if result.outcome is Outcome.REJECTED] == [3, 4, 60]
    assert sorted(sent) == [number for number in range(64) if number not in {3, 4, 60}]


def test_halving_stops_where_nothing_is_known_any_more() -> None:
    def send(items: Sequence[int]) -> list[Result]:
        if len(items) > 2:
            raise RejectItem("too many")
        if items[0] == 2:
            raise InDoubt("no answer")
        return [ACCEPTED] * len(items)

    outcomes = [result.outcome.value for result in halved(range(8), send)]
    assert outcomes == ["accepted"] * 2 + ["unknown"] * 2 + ["deferred"] * 4


def test_progress_raises_only_while_nothing_was_taken() -> None:
    def send(part: Sequence[int]) -> list[Result]:
        if part[0] >= 10:
            raise RetryLater("throttled", 5)
        return [ACCEPTED] * len(part)

    with pytest.raises(RetryLater):
        Progress([[10], [1]], send).results()
    results = Progress([[1, 2], [10, 11], [3]], send).results()
    assert [result.outcome.value for result in results] == ["accepted", "accepted", "deferred", "deferred", "deferred"]
    assert results[-1].retry_after == 5


def test_a_single_refused_batch_is_left_to_the_dispatcher() -> None:
    def send(part: Sequence[int]) -> list[Result]:
        raise RejectItem("bad")

    with pytest.raises(RejectItem):
        Progress([[1, 2]], send).results()
    assert [result.outcome for result in Progress([[1], [2]], send).results()] == [Outcome.REJECTED] * 2


def test_form_and_query_are_encoded() -> None:
    with LocalProvider(lambda _: Reply(200)) as provider:
        http = client(provider.base_url + "/")
        http.request("POST", "/x", form={"To": "+1 &"}, params={"a": "b c"})
        http.close()
    request: Captured = provider.requests[0]
    assert request.form() == {"To": "+1 &"}
    assert request.query == [("a", "b c")]
