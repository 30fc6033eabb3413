"""A provider that delivers a stream of webhook events at a pace, and repeats what is not answered with 2xx, as providers do."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

KEY = ec.derive_private_key(20_261_121, ec.SECP256R1())
PUBLIC_KEY = base64.b64encode(KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
RETRY_SECONDS = 0.25
ANSWER_SECONDS = 15.0
_PERSON = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"


@dataclass(frozen=True, slots=True)
class Delivered:
    """One request: when it was due, when its answer came (seconds of one clock), and how often it was tried."""

    due: float
    answered: float
    attempts: int


@dataclass(slots=True)
class Stream:
    """What became of a stream. `late`: requests that were due and not yet sent, at the worst moment."""

    delivered: list[Delivered] = field(default_factory=list)
    late: int = 0


def events(count: int, seed: int) -> Iterator[dict[str, object]]:
    """SendGrid events: mostly deliveries and opens, some clicks, a few bounces, complaints, and people who leave and come back."""
    random = Random(seed)  # noqa: S311 - a repeatable stream, not a secret
    kinds = ["delivered"] * 55 + ["open"] * 30 + ["click"] * 11 + ["bounce", "spamreport", "group_unsubscribe", "group_resubscribe"]
    for number in range(count):
        kind = random.choice(kinds)
        person = random.randrange(max(1, count // 3))
        yield {
            "email": f"person{person}@example.com",
            "timestamp": 1_790_000_000 + number // 100,
            "event": kind,
            "sg_event_id": f"{seed}-{number}",
            "sg_message_id": f"{person:032x}.recvd-canary.0",
            "winback_message_id": f"{person:032x}",
            **({"useragent": _PERSON, "ip": "192.0.2.1"} if kind in ("open", "click") else {}),
            **({"url": f"https://shop.example.com/products/{person % 50}"} if kind == "click" else {}),
            **({"type": "bounce", "status": "5.1.1", "reason": "550 5.1.1 no such user"} if kind == "bounce" else {}),
            **({"asm_group_id": 7} if kind.startswith("group") else {}),
        }


def requests(count: int, batch: int, seed: int) -> Iterator[bytes]:
    """The stream as signed HTTP requests of `batch` events each."""
    stamp = str(int(time.time()))
    waiting: list[dict[str, object]] = []
    for number, event in enumerate(events(count, seed), start=1):
        waiting.append(event)
        if len(waiting) == batch or number == count:
            body = json.dumps(waiting, separators=(",", ":")).encode()
            signature = base64.b64encode(KEY.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))).decode()
            yield (
                "POST /sendgrid/events HTTP/1.1\r\nHost: receiver\r\nContent-Type: application/json\r\n"
                f"X-Twilio-Email-Event-Webhook-Signature: {signature}\r\nX-Twilio-Email-Event-Webhook-Timestamp: {stamp}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            ).encode() + body
            waiting = []


async def deliver(
    port: int,
    stream: Iterator[bytes],
    *,
    requests_per_second: float,
    connections: int = 32,
    progress: Callable[[int], None] = lambda _: None,
) -> Stream:
    """Send every request at its time (0: as fast as the connections allow), each until it is answered with 2xx."""
    result = Stream()
    queue: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue(maxsize=0 if requests_per_second else connections)

    async def clock() -> None:
        start = time.perf_counter()
        for number, request in enumerate(stream):
            due = start + number / requests_per_second if requests_per_second else time.perf_counter()
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            await queue.put((due if requests_per_second else time.perf_counter(), request))
            result.late = max(result.late, queue.qsize())
        for _ in range(connections):
            await queue.put(None)

    async def worker() -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while (item := await queue.get()) is not None:
            due, request = item
            attempts = 0
            while True:
                attempts += 1
                try:
                    if connection is None:
                        connection = await asyncio.open_connection("127.0.0.1", port)
                    async with asyncio.timeout(ANSWER_SECONDS):
                        status = await _exchange(*connection, request)
                    if 200 <= status < 300:
                        break
                except (OSError, EOFError, TimeoutError, ValueError):
                    if connection is not None:
                        connection[1].close()
                    connection = None
                await asyncio.sleep(RETRY_SECONDS)
            result.delivered.append(Delivered(due, time.perf_counter(), attempts))
            progress(len(result.delivered))
        if connection is not None:
            connection[1].close()
            with suppress(OSError):
                await connection[1].wait_closed()

    await asyncio.gather(clock(), *(worker() for _ in range(connections)))
    return result


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    await reader.readexactly(length)
    if b"connection: close" in head.lower():
        raise EOFError
    return status
