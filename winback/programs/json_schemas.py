"""JSON Schemas of programs, brand and pages for editors: completion, explanations and warnings while typing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from winback.programs.page_texts import PageTexts
from winback.programs.schema import Brand, Program

FILES: dict[str, type[BaseModel]] = {"program.schema.json": Program, "brand.schema.json": Brand, "page.schema.json": PageTexts}


def json_schema(name: str = "program") -> dict[str, Any]:
    """The JSON Schema of `program`, `brand` or `page`, made from the same types that `winback programs check` uses."""
    schema: dict[str, Any] = FILES[f"{name}.schema.json"].model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    if name == "program":
        step = schema["$defs"]["Step"]
        step["oneOf"] = [
            {"required": ["send", "channels"], "properties": {"task": False}},
            {"required": ["task"], "properties": {"send": False, "channels": False}},
        ]
        schema["$defs"]["Offer"]["oneOf"] = [{"required": ["code"]}, {"required": ["codes"]}]
        schema["$defs"]["Cadence"]["anyOf"] = [
            {"properties": {"every": {"const": "daily"}, "on": False}},
            {"required": ["on"], "properties": {"every": {"enum": ["weekly", "biweekly"]}}},
        ]
    return schema


def text(name: str) -> str:
    """The schema as its file holds it."""
    return json.dumps(json_schema(name), indent=2, ensure_ascii=False) + "\n"


def write(folder: Path) -> list[Path]:
    """Write the schemas into `folder`; returns the files that changed."""
    changed = []
    for file in FILES:
        content = text(file.partition(".")[0])
        path = folder / file
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            path.write_text(content, encoding="utf-8")
            changed.append(path)
    return changed
