"""The one place where status codes and network errors become what the caller does next.

A request ends in one of five ways: an `Answer` (2xx), `RetryLater` (nothing was taken; later it may be), `RejectItem` (this will never
be taken), `StopRun` (credentials or addresses are refused) or `InDoubt` (it was sent, and nobody knows what became of it).
Nothing raised here holds an address, a token, a body or a URL: providers quote all of them in their messages.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import ssl
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, TypeVar

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import default_headers, get_environ_proxies

from winback.destinations.base import Outcome, Result
from winback.errors import InDoubt, RejectItem, RetryLater, StopRun

# At DEBUG urllib3 logs every path with its query: account ids, and phone numbers where a provider is asked about one.
logging.getLogger("urllib3").setLevel(logging.WARNING)

LONGEST_WAIT = 86_400.0
"""Seconds. A provider that asks for more has given a date in another unit."""

FAILED_WITHIN = frozenset(range(500, 600)) - {503}
"""Status codes of a provider that promises nothing of a request that failed within it; with 503 it says that it is not working at all."""

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.\-\[\]]{0,79}|[0-9]{1,9}")

Item = TypeVar("Item")


class Meaning(StrEnum):
    """What a refusal means. A destination's own error codes are read into one of these by its `ErrorReader`."""

    RETRY = "retry"
    REJECT = "reject"
    STOP = "stop"
    IN_DOUBT = "in_doubt"


@dataclass(frozen=True, slots=True)
class Answer:
    """A provider's answer, whole. `headers` are case-insensitive."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON, or None where it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object.

        Raises
        ------
        InDoubt
            It is none: the provider took the request, and what it did is not known.
        """
        value = self.json()
        if not isinstance(value, dict):
            raise InDoubt(f"answer {self.status} is not a JSON object")
        return value

    def retry_after(self) -> float | None:
        """Seconds to wait that the provider names (Retry-After, or a rate limit's reset header), or None.

        Dates are compared with the answer's own Date header, so that neither clock needs to be right.
        """
        raw = self.headers.get("Retry-After", "").strip()
        if raw:
            seconds = _number(raw)
            return _bounded(self._until(raw) if seconds is None else seconds)
        for header in ("X-RateLimit-Reset", "X-Rate-Limit-Reset", "RateLimit-Reset"):
            reset = _number(self.headers.get(header, "").strip())
            if reset is not None:
                # An instant in epoch seconds (SendGrid, OneSignal) or a number of seconds (Klaviyo).
                return _bounded(self._seconds_to_epoch(reset) if reset > 1e9 else reset)
        return None

    def _until(self, date: str) -> float | None:
        instant = _http_date(date)
        return None if instant is None else self._seconds_to_epoch(instant.timestamp())

    def _seconds_to_epoch(self, epoch: float) -> float | None:
        answered = _http_date(self.headers.get("Date", ""))
        return None if answered is None else epoch - answered.timestamp()


ErrorReader = Callable[[Answer], tuple[Meaning, str] | None]
"""Reads a provider's own error codes: what a refusal means and a reason without personal data; None leaves it to the status code."""


class HttpClient:
    """One provider's HTTP endpoint: kept-open connections, time-outs, no redirects, no cookies, no retries.

    `credentials` are headers, or a function that gives them at each request (OAuth tokens). `read_error` reads the provider's own
    error codes. `in_doubt` are the status codes after which the provider may nevertheless have acted; by default those of a gateway
    that lost its upstream.  Safe for use by several threads.
    """

    def __init__(
        self,
        base_url: str,
        *,
        provider: str,
        credentials: Callable[[], Mapping[str, str]] | Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        connect_timeout: float = 5.0,
        read_timeout: float = 30.0,
        read_error: ErrorReader | None = None,
        in_doubt: frozenset[int] = frozenset({502, 504}),
        connections: int = 8,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.provider = provider
        self._timeout = (connect_timeout, read_timeout)
        self._read_error = read_error
        self._in_doubt = in_doubt
        self._credentials = credentials
        self._headers = {**default_headers(), "User-Agent": "winback", **(headers or {})}
        # Proxies and certificate bundles of the environment, read once: a session would read them again for every request.
        self._proxies = get_environ_proxies(self.base_url)
        self._verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        # No session around it: redirects, cookies and ~/.netrc are what a session adds, and none of them is wanted here.
        self._adapter = HTTPAdapter(pool_connections=1, pool_maxsize=connections, max_retries=0)

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        form: Mapping[str, Any] | list[tuple[str, Any]] | None = None,
        body: bytes | None = None,
        files: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        reading: bool = False,
        returned: frozenset[int] = frozenset(),
    ) -> Answer:
        """Send one request. `path` is appended to the base URL; `reading`: nothing changes at the provider, so nothing can be in doubt.

        Answers with a status of `returned` come back like successes: the caller reads more out of them than what a refusal means.

        Raises
        ------
        RetryLater
            Nothing was taken: not connected, throttled, or the provider says that it failed.
        RejectItem
            The provider refuses what was sent.
        StopRun
            Credentials, rights or addresses are refused.
        InDoubt
            Sent, but no (whole) answer came.
        """
        failure: Exception | None = None
        answer: Answer | None = None
        try:
            prepared = requests.PreparedRequest()
            prepared.prepare(
                method,
                self.base_url + path,
                headers={**self._headers, **(headers or {}), **self._authorisation()},
                files=files,
                data=body if body is not None else form,
                params=params,
                json=json,
            )
            response = self._adapter.send(prepared, stream=True, timeout=self._timeout, verify=self._verify, proxies=self._proxies)
            try:
                content = response.content
            except requests.RequestException:
                if response.ok:
                    raise
                content = b""  # The refusal is known by its status, whatever became of its text.
            finally:
                response.close()
            answer = Answer(response.status_code, response.headers, content)
        except requests.RequestException as problem:
            failure = self._network_failure(problem)
        except ValueError:
            # From the standard library, before anything is sent; its text quotes the header.
            failure = RejectItem(f"{self.provider}: cannot be written as an HTTP request")
        # Raised out here, so that no traceback can show the original: its text holds the URL.
        if failure is not None:
            if reading and isinstance(failure, InDoubt):
                raise RetryLater(failure.reason)
            raise failure
        assert answer is not None  # noqa: S101 - for the type checker: either an answer or a failure
        if 200 <= answer.status < 300 or answer.status in returned:
            return answer
        refusal = self.refusal(answer)
        if reading and isinstance(refusal, InDoubt):
            raise RetryLater(refusal.reason)
        raise refusal

    def refusal(self, answer: Answer) -> RetryLater | RejectItem | StopRun | InDoubt:
        """What an answer that is not a success means. Also for providers that put errors into answers with status 200."""
        read = self._read_error(answer) if self._read_error is not None else None
        meaning, reason = read if read is not None else self._by_status(answer.status)
        text = f"{self.provider}: {reason}"
        if meaning is Meaning.RETRY:
            return RetryLater(text, answer.retry_after())
        if meaning is Meaning.REJECT:
            return RejectItem(text)
        if meaning is Meaning.STOP:
            return StopRun(text)
        return InDoubt(text)

    def close(self) -> None:
        self._adapter.close()

    def _authorisation(self) -> Mapping[str, str]:
        headers = self._credentials() if callable(self._credentials) else self._credentials
        if not all(value.isascii() and value.isprintable() for value in headers.values()):
            raise StopRun("a credential holds characters that no header may hold (a line break at its end?)")
        return headers

    def _by_status(self, status: int) -> tuple[Meaning, str]:
        if status in self._in_doubt:
            return Meaning.IN_DOUBT, f"failed with status {status}; it may have acted all the same"
        if status == 429:
            return Meaning.RETRY, "throttled (429)"
        if status in {408, 425} or status >= 500:
            return Meaning.RETRY, f"failed with status {status}"
        if status in {401, 403}:
            return Meaning.STOP, f"credentials or rights refused ({status}); check the environment variables named in destinations.yml"
        if status == 402:
            return Meaning.STOP, "payment required (402); check the account"
        if 300 <= status < 400 or status in {404, 405}:
            return Meaning.STOP, f"address not found there ({status}); check base_url and the ids in destinations.yml"
        if status == 413:
            return Meaning.REJECT, "too large (413)"
        return Meaning.REJECT, f"refused with status {status}"

    def _network_failure(self, problem: requests.RequestException) -> RetryLater | RejectItem | StopRun | InDoubt:
        if isinstance(problem, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema | requests.exceptions.MissingSchema):
            return StopRun(f"{self.provider}: base_url in destinations.yml is no usable URL")
        if isinstance(problem, requests.ConnectionError) and _never_connected(problem):
            return RetryLater(f"{self.provider}: no connection ({type(problem).__name__})")
        if isinstance(problem, requests.Timeout):
            return InDoubt(f"{self.provider}: sent, no answer within {self._timeout[1]:g} s")
        return InDoubt(f"{self.provider}: sent, and the connection broke before the whole answer came")


class Progress:
    """Runs several requests for one call of the dispatcher, keeping what earlier ones achieved when a later one fails.

    `send` gets one part and returns one result per item. The first failure of the provider as a whole ends the call: raised while
    nothing is decided yet; afterwards the rest is `deferred`, so that no accepted item is ever reported as not taken. The items of a
    request without an answer are `unknown`, and nothing is sent after it.  A part that is refused as a whole without saying which item
    is bad: with `halving` its halves are sent, down to the bad item (no retry: a refused part took nothing); without, a single part's
    refusal is raised, which leaves the halving to the dispatcher.
    """

    def __init__(self, parts: Sequence[Sequence[Item]], send: Callable[[Any], list[Result]], *, halving: bool = False) -> None:
        self._waiting: deque[Sequence[Any]] = deque(parts)
        self._send = send
        self._halving = halving
        self._is_single = len(parts) == 1

    def results(self) -> list[Result]:
        """One result per item, in the order of the parts."""
        results: list[Result] = []
        while self._waiting:
            part = self._waiting.popleft()
            try:
                results += self._send(part)
            except RejectItem as refusal:
                if len(part) > 1 and self._halving:
                    self._waiting.extendleft([part[len(part) // 2 :], part[: len(part) // 2]])
                elif len(part) > 1 and self._is_single:
                    raise
                else:
                    results += [Result(Outcome.REJECTED, refusal.reason)] * len(part)
            except InDoubt as doubt:
                results += [Result(Outcome.UNKNOWN, doubt.reason)] * len(part)
                return results + self._deferred("not sent: an earlier request of this batch got no answer")
            except (RetryLater, StopRun) as problem:
                if not results:
                    raise
                self._waiting.appendleft(part)
                after = problem.after if isinstance(problem, RetryLater) else None
                return results + self._deferred(str(problem), after)
        return results

    def _deferred(self, reason: str, after: float | None = None) -> list[Result]:
        return [Result(Outcome.DEFERRED, reason, retry_after=after)] * sum(map(len, self._waiting))


def halved(items: Sequence[Item], send: Callable[[Sequence[Item]], list[Result]]) -> list[Result]:
    """Send one batch, and where it is refused as a whole its halves; see `Progress`."""
    return Progress([items], send, halving=True).results()


def code_of(value: object) -> str:
    """A provider's error code or field name if that is all it can be; '' for anything that could hold personal data."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return text if _CODE.fullmatch(text) else ""


def _never_connected(problem: requests.ConnectionError) -> bool:
    """Whether the failure certainly came before the first byte of the request."""
    if isinstance(problem, requests.exceptions.ProxyError | requests.ConnectTimeout):
        return True
    cause: BaseException | None = problem.args[0] if problem.args and isinstance(problem.args[0], BaseException) else None
    reason = getattr(cause, "reason", cause)
    if isinstance(problem, requests.exceptions.SSLError):
        inner = reason.args[0] if isinstance(reason, BaseException) and reason.args else reason
        return isinstance(inner, ssl.SSLCertVerificationError) or "HANDSHAKE" in str(inner) or "WRONG_VERSION" in str(inner)
    return isinstance(reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _http_date(text: str) -> datetime | None:
    try:
        value = parsedate_to_datetime(text)
    except ValueError:
        return None
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


def _bounded(seconds: float | None) -> float | None:
    return None if seconds is None else min(max(seconds, 0.0), LONGEST_WAIT)
