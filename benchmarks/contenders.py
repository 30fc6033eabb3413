"""One derivation of a day in this process, so that its time and memory can be measured from outside. Prints what it knows as JSON.

python -m benchmarks.contenders parse|floor|models|models_and_tests HOME AS_OF
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from winback.settings import Settings

FLOOR = Path(__file__).with_name("floor.sql")


def floor(settings: Settings, as_of: datetime) -> dict[str, Any]:
    """Run the hand-written script: every mart into schema `floor`."""
    import duckdb

    from winback.warehouse import open_warehouse

    nodes: dict[str, float] = {}
    with open_warehouse(settings) as warehouse:
        warehouse.execute("set variable as_of = $as_of", {"as_of": as_of})
        warehouse.execute("set variable seeds = $seeds", {"seeds": str(settings.dbt_project / "seeds")})
        for statement in duckdb.extract_statements(FLOOR.read_text(encoding="utf-8")):
            began = time.monotonic()
            warehouse.execute(statement)
            words = statement.query.split(" as")[0].split()
            nodes[words[-1]] = nodes.get(words[-1], 0) + time.monotonic() - began
    return {"fixed": 0.0, "nodes": nodes}


def parse(settings: Settings, as_of: datetime) -> dict[str, Any]:
    """Let dbt read its project, and leave what it read for the next to find."""
    os.environ.update(settings.dbt_environment(as_of))
    from dbt.cli.main import dbtRunner

    parsed = dbtRunner().invoke(["--quiet", "parse"])
    if not parsed.success:
        raise SystemExit(f"dbt cannot parse: {parsed.exception}")
    return {"manifest": parsed.result}


def models(settings: Settings, as_of: datetime, *, with_tests: bool = False) -> dict[str, Any]:
    """Run dbt as a daily run does: parsed in this process, then one `build` of seeds and models, and data tests where asked.

    dbt reuses its parse of an earlier day, as a daily run does; `fixed` is what was over before the first model began.
    """
    began = time.monotonic()
    manifest = parse(settings, as_of)["manifest"]
    fixed = time.monotonic() - began
    from dbt.cli.main import dbtRunner

    left_out = ["--exclude-resource-type", "unit_test"] + ([] if with_tests else ["--exclude-resource-type", "test"])
    built = dbtRunner(manifest=manifest).invoke(["--quiet", "--no-version-check", "--no-write-json", "build", *left_out])
    results: list[Any] = list(built.result) if built.result else []  # type: ignore[arg-type]
    failed = [f"{result.node.name}: {result.message}" for result in results if result.status in ("error", "fail", "skipped")]
    if failed or built.exception:
        raise SystemExit(f"dbt build failed: {built.exception or failed}")
    tests = [result.execution_time for result in results if result.node.resource_type == "test"]
    nodes = {result.node.name: result.execution_time for result in results if result.node.resource_type != "test"}
    return {"fixed": fixed, "nodes": nodes, "tests": len(tests), "seconds_of_tests": sum(tests)}


def models_and_tests(settings: Settings, as_of: datetime) -> dict[str, Any]:
    """`models` with the data tests, which is what a daily run does."""
    return models(settings, as_of, with_tests=True)


CONTENDERS: dict[str, Callable[[Settings, datetime], dict[str, Any]]] = {
    "parse": parse,
    "floor": floor,
    "models": models,
    "models_and_tests": models_and_tests,
}


if __name__ == "__main__":
    name, home, as_of_text = sys.argv[1:]
    told = CONTENDERS[name](Settings(home=Path(home)), datetime.fromisoformat(as_of_text))
    print(json.dumps({key: value for key, value in told.items() if key != "manifest"}))
