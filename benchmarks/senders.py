"""One way of handing over, in this process, so that its time and memory can be measured from outside. Prints what it found as JSON.

python -m benchmarks.senders CONTENDER DESTINATION SIZE HTTP_PORT SMTP_PORT

`count` things took `seconds` and `cpu` seconds of this process's own time; imports, data and warming up are not counted.
"""

from __future__ import annotations

import json
import smtplib
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import local
from typing import Any, ClassVar

from benchmarks.activation import AS_OF, NOON, PROGRAM, Day, day
from benchmarks.provider import Provider
from winback.delivery import apply_plan, dispatch, make_plan
from winback.delivery.queue import Item, claim
from winback.delivery.rendering import ProgramRenderer
from winback.destinations import Destinations, fcm, google_data_manager, meta, sendgrid, smtp, tiktok, twilio, webhook
from winback.destinations.base import AudienceChange, AudienceOperation, Capabilities, Channel, Contact, Message, Outcome, Result
from winback.destinations.config import Context, Sender
from winback.destinations.mime import build_mime
from winback.ledger import open_ledger_at

SENDER = Sender("shop@example.com", "The Shop", "help@example.com")

ANSWERS = {
    "/token": '{"access_token": "token", "expires_in": 3600, "token_type": "Bearer"}',
    "/v1/projects/": '{"name": "projects/benchmark/messages/0:1500415314455276%31bd1c9631bd1c96"}',
    "/2010-04-01/": '{"sid": "SM00000000000000000000000000000001", "status": "queued", "error_code": null}',
    "/v1/audienceMembers": '{"requestId": "request-1"}',
    "/dmp/custom_audience/file/": '{"code": 0, "message": "OK", "request_id": "r", "data": {"file_path": "audience.csv"}}',
    "/dmp/custom_audience/update/": '{"code": 0, "message": "OK", "request_id": "r", "data": {}}',
    "/meta/": '{"audience_id": "1", "session_id": "1", "num_received": 10000, "num_invalid_entries": 0, "invalid_entry_samples": {}}',
    "/": "{}",
}
"""What the provider of the benchmark answers, by the beginning of the path."""


def _pem() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def _context(**secrets: str) -> Context:
    return Context(secrets, SENDER)


def _google_context(variable: str) -> Context:
    account = {"project_id": "benchmark", "private_key": _pem(), "client_email": "benchmark@example.com"}
    return _context(**{variable: json.dumps({**account, "token_uri": "https://oauth2.googleapis.com/token"})})


def build(name: str, at: Provider) -> Any:
    """The destination of this name as destinations.yml would open it, but at the benchmark's provider and without a limit of its rate."""
    url = at.base_url
    audiences = {PROGRAM: "1"}
    made: Any
    if name == "fcm":
        made = fcm.build(fcm.Config(base_url=url, token_url=f"{url}/token"), _google_context("FCM_SERVICE_ACCOUNT"))
    elif name == "twilio":
        secrets = {"TWILIO_ACCOUNT_SID": f"AC{'0' * 32}", "TWILIO_AUTH_TOKEN": "token"}
        made = twilio.build(twilio.Config(base_url=url, from_number="+15550100000"), _context(**secrets))
    elif name == "webhook":
        made = webhook.build(webhook.Config(base_url=f"{url}/hook"), _context(WEBHOOK_SECRET="a secret of the benchmark"))  # noqa: S106
    elif name == "sendgrid":
        made = sendgrid.build(sendgrid.Config(base_url=url, unsubscribe_group_id=1), _context(SENDGRID_API_KEY="key"))
    elif name in ("smtp", "smtp_dkim"):
        keys = {"dkim_domain": "example.com", "dkim_selector": "winback", "dkim_key_env": "DKIM_KEY"} if name == "smtp_dkim" else {}
        made = smtp.build(smtp.Config(host="127.0.0.1", port=at.smtp, security="none", **keys), _context(DKIM_KEY=_pem()))
    elif name == "meta":
        made = meta.build(meta.Config(base_url=f"{url}/meta", audiences=audiences), _context(META_ACCESS_TOKEN="token"))  # noqa: S106
    elif name == "google_data_manager":
        config = google_data_manager.Config(
            base_url=url,
            token_url=f"{url}/token",
            account={"id": "1"},
            audiences=audiences,
            ad_user_data="granted",
            ad_personalization="granted",
            customer_match_terms_accepted=True,
        )
        made = google_data_manager.build(config, _google_context("GOOGLE_SERVICE_ACCOUNT"))
    else:
        made = tiktok.build(
            tiktok.Config(base_url=url, advertiser_id="1", audiences=audiences),
            _context(TIKTOK_ACCESS_TOKEN="token"),  # noqa: S106
        )
    made.capabilities = replace(made.capabilities, rate_per_second=None)
    return made


CHANNELS = {"fcm": "push", "twilio": "sms", "webhook": "task", "sendgrid": "email", "smtp": "email", "smtp_dkim": "email"}
BARE_BATCH = {"sendgrid": 1_000, "meta": 10_000, "google_data_manager": 10_000, "tiktok": 10_000}


class Watch:
    """Wall and CPU seconds of a block."""

    def __enter__(self) -> Watch:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu

    def found(self, count: int, **more: Any) -> dict[str, Any]:
        return {"count": count, "seconds": self.wall, "cpu": self.cpu, **more}


class AtOnce:
    """A destination in this process that takes everything, and counts how long it had it in hand."""

    name = "at_once"
    capabilities: ClassVar[Capabilities] = Capabilities(frozenset(Channel), batch_size=1_000, concurrency=2, idempotent=True)

    def __init__(self, *, keep: bool = False) -> None:
        self.kept: list[Message] = []
        self._keep = keep

    def send(self, messages: Sequence[Message], now: object) -> list[Result]:  # noqa: ARG002
        if self._keep:
            self.kept += messages
        return [Result(Outcome.ACCEPTED)] * len(messages)

    def change(self, changes: Sequence[AudienceChange], now: object) -> list[Result]:  # noqa: ARG002
        return [Result(Outcome.ACCEPTED)] * len(changes)

    def close(self) -> None:
        pass


class Rendering:
    """Times the renderer of every day: `cpu` seconds so far."""

    def __init__(self) -> None:
        self.cpu = 0.0
        render = ProgramRenderer.render

        def timed(renderer: ProgramRenderer, item: Item) -> Message:
            began = time.thread_time()
            made = render(renderer, item)
            self.cpu += time.thread_time() - began
            return made

        ProgramRenderer.render = timed  # type: ignore[method-assign]


@contextmanager
def _queued(size: int, channel: str) -> Iterator[Day]:
    """A day whose messages are queued in the ledger."""
    with tempfile.TemporaryDirectory(prefix="winback-bench-") as folder, day(Path(folder), size, channel) as made:
        plan = make_plan(made.settings, made.warehouse, made.ledger, AS_OF)
        apply_plan(made.settings, made.warehouse, made.ledger, plan, NOON)
        yield made


def _everywhere(destination: Any) -> Destinations:
    return Destinations(dict.fromkeys((Channel.EMAIL, Channel.SMS, Channel.PUSH, Channel.TASK), destination), {"meta": destination})


def _rendered(size: int, channel: str) -> list[Message]:
    with _queued(size, channel) as made:
        keeper = AtOnce(keep=True)
        dispatch(made.settings, made.warehouse, made.ledger, _everywhere(keeper), NOON)
    return keeper.kept


def dispatched(name: str, size: int, at: Provider) -> dict[str, Any]:
    """The dispatcher as in every run: what is due, claims, rendering, requests, outcomes."""
    with _queued(size, CHANNELS[name]) as made:
        destination = build(name, at)
        destinations = _everywhere(destination)
        with Watch() as watch:
            report = dispatch(made.settings, made.warehouse, made.ledger, destinations, NOON)
        destination.close()
    _all_accepted(report.total("accepted"), size)
    return watch.found(size)


def destination_alone(name: str, size: int, at: Provider) -> dict[str, Any]:
    """`send` of one destination with messages that are rendered already."""
    messages = _rendered(size, CHANNELS[name])
    destination = build(name, at)
    results, watch = _in_threads(
        lambda part: destination.send(part, NOON),
        _parts(messages, destination.capabilities.batch_size),
        destination.capabilities.concurrency,
    )
    destination.close()
    _all_accepted(sum(result.outcome is Outcome.ACCEPTED for part in results for result in part), size)
    return watch.found(size)


def _contacts(size: int) -> list[Contact]:
    """Made-up people as the warehouse holds them."""
    first, last = ("Ada", "Grace", "Katherine", "Zoë"), ("Byron", "Hopper", "Johnson", "Lamarr", "Somerville")
    return [
        Contact(f"customer-{i}", f"firstname.lastname{i}@example.com", f"+1555{1_000_000 + i}", first[i % 4], last[i % 5], "US")
        for i in range(size)
    ]


def _change(contact: Contact, destination: Any) -> AudienceChange:
    return AudienceChange(contact.customer_id, PROGRAM, contact.customer_id, AudienceOperation.ADD, destination.identifiers(contact))


def audience(name: str, size: int, at: Provider) -> dict[str, Any]:
    """People into an ad audience: normalised, hashed and handed over. `count` is of identifiers."""
    people = _contacts(size)
    destination = build(name, at)

    def hand_over(part: Sequence[Contact]) -> int:
        changes = [_change(contact, destination) for contact in part]
        results = destination.change(changes, NOON)
        # Google says later how it ended; until then an order is unknown with its id.
        _all_accepted(sum(result.outcome is Outcome.ACCEPTED or bool(result.provider_id) for result in results), len(part))
        return sum(len(change.identifiers) for change in changes)

    counts, watch = _in_threads(hand_over, _parts(people, destination.capabilities.batch_size), destination.capabilities.concurrency)
    destination.close()
    return watch.found(sum(counts), people=size)


def bare(name: str, size: int, at: Provider) -> dict[str, Any]:
    """The same client in a plain loop: the very bytes that the destination sends, ready made, as often and at the same concurrency."""
    import requests

    wire, concurrency, per_request = _wire(name, at)
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=concurrency))

    def send(_: object) -> int:
        status = 0
        for method, path, headers, body in wire:
            response = session.request(method, at.base_url + path, data=body, headers=headers, timeout=(5, 30))
            _ = response.content
            status = response.status_code
        return status

    calls = max(1, size // per_request)
    statuses, watch = _in_threads(send, range(calls), concurrency)
    _all_accepted(sum(status == 200 for status in statuses), calls)
    return watch.found(calls * per_request)


def _wire(name: str, at: Provider) -> tuple[list[tuple[str, str, dict[str, str], bytes]], int, int]:
    """The requests of one call of a destination as they go over the wire, its concurrency, and the items (identifiers) in them."""
    from tests.destinations.conformance.server import Captured, LocalProvider, Reply

    def answer(captured: Captured) -> Reply:
        return Reply(200, json.loads(next(text for beginning, text in ANSWERS.items() if captured.path.startswith(beginning))))

    with LocalProvider(answer) as local_provider:
        port = int(local_provider.base_url.rpartition(":")[2])
        destination = build(name, Provider(port, at.smtp))
        if name in CHANNELS:
            batch = _rendered(BARE_BATCH.get(name, 1), CHANNELS[name])
            destination.send(batch, NOON)
            count = len(batch)
        else:
            changes = [_change(contact, destination) for contact in _contacts(BARE_BATCH[name])]
            destination.change(changes, NOON)
            count = sum(len(change.identifiers) for change in changes)
        destination.close()
    own = {"host", "content-length", "connection"}
    wire = [
        (one.method, one.path, {key: value for key, value in one.headers.items() if key.lower() not in own}, one.body)
        for one in local_provider.requests
        if one.path != "/token"
    ]
    return wire, destination.capabilities.concurrency, count


def bare_smtp(_: str, size: int, at: Provider) -> dict[str, Any]:
    """smtplib over kept-open connections with messages that are ready made."""
    content = build_mime(_rendered(1, "email")[0], SENDER, NOON)
    mine = local()

    def connection() -> smtplib.SMTP:
        if not hasattr(mine, "smtp"):
            mine.smtp = smtplib.SMTP("127.0.0.1", at.smtp)
            mine.smtp.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        found: smtplib.SMTP = mine.smtp
        return found

    _, watch = _in_threads(lambda _: connection().sendmail("shop@example.com", ["a@example.com"], content), range(size), 4)
    return watch.found(size)


def ledger(url: str, size: int, _: Provider) -> dict[str, Any]:
    """Claims and outcomes of `size` items in lots of a thousand, each lot committed to disk. `url` '' is a new SQLite file."""
    items = [Item(f"{number:032x}"[::-1], 0, "fresh", "", "send", "", None, {}) for number in range(size)]
    claiming = recording = 0.0
    with (
        tempfile.TemporaryDirectory(prefix="winback-bench-") as folder,
        open_ledger_at(url or f"sqlite:///{folder}/ledger.db") as book,
        Watch() as watch,
    ):
        for part in _parts(items, 1_000):
            began = time.perf_counter()
            won, _left = claim(book, part, "benchmark", NOON, timedelta(minutes=15), repeatable=frozenset(), destination="benchmark")
            claimed = time.perf_counter()
            book.record("outcomes", [_accepted(item) for item in won])
            claiming, recording = claiming + claimed - began, recording + time.perf_counter() - claimed
    return watch.found(size, claiming=claiming, recording=recording)


def _accepted(item: Item) -> dict[str, Any]:
    return {
        "item_id": item.item_id,
        "attempt": 1,
        "outcome": "accepted",
        "reason": None,
        "provider_id": "",
        "retry_at": None,
        "destination": "benchmark",
        "recorded_at": NOON,
    }


def activation(_: str, size: int, __: Provider) -> dict[str, Any]:
    """Plan, apply and dispatch `size` actions, half of them pushes and half additions to an ad audience; seconds by phase."""
    customers = size // 2
    phases: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="winback-bench-") as folder:
        with day(Path(folder), customers, "push", with_ads=True, memory_limit="256MB") as made:
            rendering = Rendering()
            with Watch() as planning:
                plan = make_plan(made.settings, made.warehouse, made.ledger, AS_OF)
            with Watch() as applying:
                apply_plan(made.settings, made.warehouse, made.ledger, plan, NOON)
            with Watch() as dispatching:
                report = dispatch(made.settings, made.warehouse, made.ledger, _everywhere(AtOnce()), NOON)
        _all_accepted(report.total("accepted"), 2 * customers)
    for name, watch in (("plan", planning), ("apply", applying), ("dispatch", dispatching)):
        phases[name] = [watch.wall, watch.cpu]
    with Watch() as hashing:
        for contact in _contacts(customers):
            meta.meta_identifiers(contact)
    phases["hash"] = [hashing.wall, hashing.cpu]
    phases["render"] = [rendering.cpu, rendering.cpu]
    total = [planning.wall + applying.wall + dispatching.wall, planning.cpu + applying.cpu + dispatching.cpu]
    return {"count": 2 * customers, "seconds": total[0], "cpu": total[1], "phases": phases}


def _parts(things: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [things[start : start + size] for start in range(0, len(things), size)]


def _in_threads(do: Callable[[Any], Any], things: Iterable[Any], concurrency: int) -> tuple[list[Any], Watch]:
    with ThreadPoolExecutor(concurrency) as pool, Watch() as watch:
        results = list(pool.map(do, things))
    return results, watch


def _all_accepted(accepted: int, size: int) -> None:
    if accepted != size:
        raise SystemExit(f"{accepted} of {size} were accepted: what was measured is not what it says")


Contender = Callable[[str, int, Provider], dict[str, Any]]
CONTENDERS: dict[str, Contender] = {
    "bare": bare,
    "bare_smtp": bare_smtp,
    "dispatched": dispatched,
    "destination": destination_alone,
    "audience": audience,
    "ledger": ledger,
    "activation": activation,
}


def main(arguments: Sequence[str]) -> None:
    contender, name, size, http, smtp_port = arguments
    print(json.dumps(CONTENDERS[contender](name, int(size), Provider(int(http), int(smtp_port)))))


if __name__ == "__main__":
    main(sys.argv[1:])
