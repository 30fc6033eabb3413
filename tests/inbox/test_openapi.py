"""The receiver's own document, fuzzed: whatever is posted, signed or not, never an error of ours, and only answers that it names."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.inbox import signing
from winback.clock import utc_now
from winback.inbox.app import Inbox
from winback.inbox.refused import RefusedFolder
from winback.inbox.writer import GroupWriter
from winback.ledger import open_ledger_at

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


OPERATIONS = [
    ("GET", "/health"),
    ("POST", "/sendgrid/events"),
    ("POST", "/twilio/status"),
    ("POST", "/twilio/inbound"),
    ("POST", "/onesignal/events"),
    ("POST", "/webhook/events"),
]


@pytest.fixture(scope="module")
def app() -> Iterator[Starlette]:
    with tempfile.TemporaryDirectory() as folder, open_ledger_at(f"sqlite:///{folder}/ledger.db") as ledger:
        writer = GroupWriter(ledger, utc_now)
        inbox = Inbox(signing.opened(), writer, RefusedFolder(Path(folder) / "refused"), utc_now)
        yield inbox.app()
        writer.close()


@pytest.fixture(scope="module")
def described(app: Starlette) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", app)


@pytest.fixture(scope="module")
def client(app: Starlette) -> TestClient:
    return TestClient(app)


def test_every_operation_is_fuzzed(described: Any) -> None:
    # Schemathesis leaves out where the document itself lies.
    found = [operation.ok() for operation in described.get_all_operations()]
    assert sorted((operation.method.upper(), operation.path) for operation in found) == sorted(OPERATIONS)


@pytest.mark.parametrize("is_signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_no_errors_of_ours(described: Any, client: TestClient, method: str, path: str, mode: GenerationMode, is_signed: bool) -> None:
    if method == "GET" and mode is GenerationMode.NEGATIVE:
        pytest.skip("takes nothing that could be wrong")

    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=described[path][method].as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        if not is_signed or method == "GET":
            case.validate_response(case.call(), checks=CHECKS)
            return
        body = _body(case)
        # Sent by our own client: Schemathesis likes to leave out headers that a route asks for.
        answer = client.post(path, content=body, headers=_signed(path, body))
        # What is no form cannot be signed as one.
        assert answer.status_code in ((200, 400, 403) if path.startswith("/twilio") else (200, 400))

    check()


def _body(case: Any) -> bytes:
    prepared = case.as_transport_kwargs()
    if prepared.get("json") is not None:
        return signing.as_json(prepared["json"])
    data = prepared.get("data") or b""
    if isinstance(data, dict):
        return urlencode(data, doseq=True).encode()
    return data if isinstance(data, bytes) else str(data).encode()


def _signed(path: str, body: bytes) -> dict[str, str]:
    now = utc_now()
    if path.startswith("/sendgrid"):
        return signing.sendgrid(body, now)
    if path.startswith("/webhook"):
        return signing.webhook(body, now)
    if path.startswith("/twilio"):
        return signing.twilio(path, dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True)))[1]
    return signing.onesignal()
