"""Requests against the provider's own contract, in-process.

Contracts are read from the folder WINBACK_TEST_CONTRACTS, else from shared/contracts beside the project; without them these checks
are skipped and say so.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from openapi_core import OpenAPI
from openapi_core.datatypes import RequestParameters
from openapi_core.exceptions import OpenAPIError
from werkzeug.datastructures import Headers, ImmutableMultiDict

from tests.destinations.conformance.server import Captured
from tests.destinations.conformance.unwritten import complaints

PROJECT = Path(__file__).resolve().parents[3]


_COMPOSED = ("allOf", "anyOf", "oneOf")
_NO_SCHEMAS = ("example", "examples", "default", "enum")


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
    parts = {part.get("$ref", "").rpartition("/")[2] for part in _parts(document)}
    _strictly({name: schema for name, schema in document.get("components", {}).get("schemas", {}).items() if name not in parts})
    _strictly(document["paths"])
    return OpenAPI.from_dict(document), document["servers"][0]["url"]


def _parts(node: Any) -> Iterator[dict[str, Any]]:
    """The schemas that others are composed of."""
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _parts(value)
    if isinstance(node, dict):
        for word in _COMPOSED:
            yield from (part for part in node.get(word, ()) if isinstance(part, dict))


def _strictly(node: Any) -> None:
    """Read a contract as closed: an object takes the properties that it names and no others.

    The published contracts leave that open, so that a misspelt field would pass where a stricter reader refuses it. Composed schemas
    (allOf and the like) stay as they are: each part would refuse what the others name.
    """
    if isinstance(node, list):
        for value in node:
            _strictly(value)
    if not isinstance(node, dict):
        return
    composed = any(word in node for word in _COMPOSED)
    properties = node.get("properties")
    if isinstance(properties, dict) and node.get("type", "object") == "object" and not composed:
        # A property may itself be called "properties": what lies below is names, not words of JSON Schema.
        for value in properties.values():
            _strictly(value)
        if properties:
            node.setdefault("additionalProperties", False)
    for key, value in node.items():
        if key != "properties" and key not in _COMPOSED and key not in _NO_SCHEMAS:
            _strictly(value)


def validate(contract: str, captured: Captured) -> None:
    """Hold one request against a contract such as `twilio/messages.openapi.json`, and against what the contract leaves out.

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
    found = complaints(contract, captured)
    if found:
        raise BrokenContract("\n".join(found))


def _reasons(problem: BaseException) -> str:
    lines: list[str] = []
    current: BaseException | None = problem
    while current is not None:
        lines.append(f"{type(current).__name__}: {current}")
        for one in getattr(current, "schema_errors", ()):
            lines += [f"  {'/'.join(str(part) for part in one.absolute_path)}: {one.message}"]
        current = current.__cause__
    return "\n".join(lines)
