"""Requests against the provider's own contract, in-process.

Contracts are read from the folder WINBACK_TEST_CONTRACTS, else from shared/contracts beside the project; without them these checks
are skipped and say so.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from openapi_core import OpenAPI
from openapi_core.datatypes import RequestParameters
from openapi_core.exceptions import OpenAPIError
from werkzeug.datastructures import Headers, ImmutableMultiDict

from tests.destinations.conformance.server import Captured

PROJECT = Path(__file__).resolve().parents[3]


class BrokenContract(AssertionError):
    """A request that the provider's contract refuses."""


class _Request:
    """A captured request in the shape that openapi-core reads."""

    def __init__(self, captured: Captured, host: str) -> None:
        self.host_url = host
        self.path = captured.path
        self.method = captured.method.lower()
        self.body = captured.body or None
        self.content_type = captured.headers.get("content-type", "")
        self.parameters = RequestParameters(
            query=ImmutableMultiDict(captured.query), header=Headers(dict(captured.headers)), cookie=ImmutableMultiDict(), path={}
        )


def folder() -> Path:
    """The contracts, or a skip that says where they were looked for."""
    given = os.environ.get("WINBACK_TEST_CONTRACTS")
    place = Path(given) if given else PROJECT.parent / "shared" / "contracts"
    if not place.is_dir():
        pytest.skip(f"no provider contracts: neither WINBACK_TEST_CONTRACTS nor {place.name}/ beside the project is there")
    return place


@cache
def _contract(file: Path) -> tuple[OpenAPI, str]:
    document = json.loads(file.read_text(encoding="utf-8"))
    return OpenAPI.from_dict(document), document["servers"][0]["url"]


def validate(contract: str, captured: Captured) -> None:
    """Hold one request against a contract such as `twilio/messages.openapi.json`.

    Raises
    ------
    BrokenContract
        With the validator's reasons.
    """
    api, server = _contract(folder() / contract)
    parts = urlsplit(server)
    request = _Request(captured, f"{parts.scheme}://{parts.netloc}")
    if parts.path and not request.path.startswith(parts.path):
        request.path = parts.path + request.path
    try:
        api.validate_request(request)
    except OpenAPIError as problem:
        raise BrokenContract(_reasons(problem)) from None


def _reasons(problem: BaseException) -> str:
    lines: list[str] = []
    current: BaseException | None = problem
    while current is not None:
        lines.append(f"{type(current).__name__}: {current}")
        for one in getattr(current, "schema_errors", ()):
            lines += [f"  {'/'.join(str(part) for part in one.absolute_path)}: {one.message}"]
        current = current.__cause__
    return "\n".join(lines)
