"""A provider in a process of its own: takes messages over HTTP, misbehaves, dies, and writes down what reached it."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

from winback.destinations.base import Outcome, Result
from winback.destinations.faults import Faults
from winback.errors import InDoubt, RetryLater

LATE = 1.0
"""Seconds; longer than the dispatcher waits for an answer."""


class Provider:
    """`keyed`: takes each id once, whoever repeats it. Otherwise everything that arrives is delivered, as often as it arrives.

    provider.log has a line for each id received, taken (delivered) and answered (an answer that can be understood was begun).
    """

    def __init__(self, home: Path, *, keyed: bool, rates: dict[str, float], seed: int) -> None:
        log = home / "provider.log"
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        lines = log.read_text(encoding="ascii").splitlines()
        self._known = {line.partition(" ")[2] for line in lines if line.startswith("taken")} if keyed else None
        self._rates = dict(rates)
        self._late = self._rates.pop("late", 0.0)
        self._random = Random(seed)
        self._faults = Faults({name: rate for name, rate in self._rates.items() if name != "die"}, seed=seed)
        self._one_at_a_time = threading.Lock()

    def take(self, ids: list[str]) -> tuple[list[Result], float]:
        """The answer, and how many seconds to wait before giving it."""
        with self._one_at_a_time:
            self._note("received", ids)
            self._faults.before(len(ids))
            results = [self._faults.refusal() or Result(Outcome.ACCEPTED) for _ in ids]
            taken = [one for one, result in zip(ids, results, strict=True) if result.outcome is Outcome.ACCEPTED]
            if self._known is not None:
                taken = [one for one in taken if one not in self._known]
                self._known.update(taken)
            if self._random.random() < self._rates.get("die", 0.0):
                # Before or after it has taken them: nobody outside can tell.
                if self._random.random() < 0.5:
                    self._note("taken", taken)
                os.kill(os.getpid(), signal.SIGKILL)
            self._note("taken", taken)
            answers = self._faults.after(results)
            wait = LATE * 1.5 if self._random.random() < self._late else 0.002 * self._random.random()
            if len(answers) == len(ids) and wait < LATE:
                self._note("answered", ids)
            return answers, wait

    def answered(self, ids: list[str]) -> None:
        with self._one_at_a_time:
            self._note("answered", ids)

    def _note(self, what: str, ids: list[str]) -> None:
        os.write(self._log, "".join(f"{what} {one}\n" for one in ids).encode())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An answer leaves in one piece: in two, each would wait for the other side's delayed acknowledgement.
    wbufsize = -1
    provider: Provider

    def do_POST(self) -> None:
        ids = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            results, wait = self.provider.take(ids)
        except RetryLater as later:
            self.provider.answered(ids)
            self._answer(500 if later.after is None else 429, None, {} if later.after is None else {"Retry-After": str(later.after)})
        except InDoubt:
            self.close_connection = True
        else:
            time.sleep(wait)
            self._answer(200, [result.outcome.value for result in results], {})

    def _answer(self, status: int, body: Any, headers: dict[str, str]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(content)
            self.wfile.flush()
        except ConnectionError:
            self.close_connection = True

    def log_message(self, *_: object) -> None: ...


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A killed dispatcher breaks its connections; that is what this is for."""


def main(orders: dict[str, Any]) -> None:
    """Serve on a port of 127.0.0.1 until killed; says so once it listens."""
    provider = Provider(Path(orders["home"]), keyed=orders["keyed"], rates=orders["rates"], seed=orders["seed"])
    server = _Server(("127.0.0.1", orders["port"]), type("Handler", (_Handler,), {"provider": provider}))
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
