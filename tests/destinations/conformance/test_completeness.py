"""Every module of winback/destinations is a destination with a conformance entry, a test and a docs page, or a named support module."""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from tests.destinations.conformance.suite import Conformance
from winback.destinations import PLATFORMS
from winback.destinations.base import Capabilities
from winback.destinations.config import SUPPORT_MODULES, DestinationConfig, capabilities, installed

PROJECT = Path(__file__).resolve().parents[3]


def test_support_modules_are_no_destinations() -> None:
    present = {path.stem for path in (PROJECT / "winback" / "destinations").glob("*.py")}
    hidden = [name for name in present & SUPPORT_MODULES if hasattr(importlib.import_module(f"winback.destinations.{name}"), "build")]
    assert hidden in ([], ["local"])


def row(name: str) -> str:
    """The destination's row of the table in docs/destinations.md."""
    can = capabilities(name)
    repeat = "repeated: the provider takes it once" if can.idempotent else "asked" if can.can_ask else "left and counted"
    channels = ", ".join(sorted(channel.value for channel in can.channels))
    return f"| [{name}](destinations/{name}.md) | {channels} | {can.batch_size:,} | {repeat} |"


def test_the_table_of_destinations_says_what_they_can() -> None:
    page = (PROJECT / "docs" / "destinations.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in page if line.startswith("| [")] == [row(name) for name in installed()]


@pytest.mark.parametrize("name", sorted(PLATFORMS.values()))
def test_the_example_of_a_page_names_a_program(name: str) -> None:
    """Ids are looked up by the name of the program: an example with any other key teaches one that never matches."""
    text = (PROJECT / "docs" / "destinations" / f"{name}.md").read_text(encoding="utf-8")
    [example] = [block for block in re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL) if "\ndestinations:" in block]
    keys = yaml.safe_load(example)["destinations"][name]
    assert set(keys.get("audiences") or keys["lists"]) <= {path.stem for path in (PROJECT / "programs").glob("*.yml")}


@pytest.mark.parametrize("name", installed())
def test_destination_is_complete(name: str) -> None:
    module = importlib.import_module(f"winback.destinations.{name}")
    assert issubclass(module.Config, DestinationConfig)
    assert isinstance(module.CAPABILITIES, Capabilities)
    assert callable(module.build)

    page = PROJECT / "docs" / "destinations" / f"{name}.md"
    assert page.is_file(), f"write docs/destinations/{name}.md"
    text = page.read_text(encoding="utf-8")
    missing = [key for key in module.Config.model_fields if f"`{key}`" not in text]
    assert not missing, f"docs/destinations/{name}.md does not explain {missing}"

    test = PROJECT / "tests" / "destinations" / f"test_{name}.py"
    assert test.is_file(), f"write tests/destinations/test_{name}.py"
    specification = importlib.util.spec_from_file_location(f"conformance_of_{name}", test)
    assert specification is not None
    assert specification.loader is not None
    loaded = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(loaded)
    entries = [value for value in vars(loaded).values() if isinstance(value, type) and issubclass(value, Conformance)]
    assert [entry for entry in entries if entry is not Conformance], f"tests/destinations/test_{name}.py has no conformance entry"
