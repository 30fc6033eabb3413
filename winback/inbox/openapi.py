"""The receiver's own OpenAPI document: what each open route takes and answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from winback.inbox.incoming import Source

_TEXT = {"type": "string"}
_ERROR = {
    "description": "Not taken; `error` says why",
    "content": {"application/json": {"schema": {"type": "object", "required": ["error"], "properties": {"error": _TEXT}}}},
}
_COUNTS = {"type": "object", "properties": {name: {"type": "integer", "minimum": 0} for name in ("recorded", "ignored", "put_aside")}}

_OBJECT = {"description": "JSON", "content": {"application/json": {"schema": {"type": "object"}}}}


def document(sources: Sequence[Source]) -> dict[str, Any]:
    """OpenAPI 3.1 for the open sources and the two routes that are always there."""
    paths: dict[str, Any] = {
        "/health": {"get": {"summary": "Is it there, what waits to be written, and does delivery go on", "responses": {"200": _OBJECT}}},
        "/openapi.json": {"get": {"summary": "This document", "responses": {"200": _OBJECT}}},
    }
    for source in sources:
        for path in source.paths:
            paths[path] = {"post": _operation(source, path)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Winback receiver", "version": "1", "description": "Delivery events, signed by those who send them."},
        "paths": paths,
    }


def _operation(source: Source, path: str) -> dict[str, Any]:
    taken = source.describe(path)
    answer = _taken(source.answer[0], _TEXT) if source.answer[0] else _taken("application/json", _COUNTS)
    return {
        "summary": f"Events of {source.name}",
        "parameters": [{"name": name, "in": "header", "required": True, "schema": _TEXT} for name in taken.headers],
        "requestBody": {"required": True, "content": {taken.media_type: {"schema": taken.schema}}},
        "responses": {"200": answer} | dict.fromkeys(("400", "401", "403", "408", "413", "415", "503"), _ERROR),
    }


def _taken(media_type: str, schema: Any) -> dict[str, Any]:
    return {"description": "Recorded, on disk", "content": {media_type: {"schema": schema}}}
