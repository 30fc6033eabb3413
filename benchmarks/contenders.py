"""One derivation of a day in this process, so that its time and memory can be measured from outside. Prints what it knows as JSON.

python -m benchmarks.contenders NAME HOME AS_OF
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Collection
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.exports import COMPARED, export_once
from winback.settings import Settings

FLOOR = Path(__file__).with_name("floor.sql")
_MADE = re.compile(r"^create (?:or replace )?(?:temp )?(?:table|macro) ([a-z_.]+)", re.MULTILINE)


def _made_for(statements: list[str], marts: Collection[str]) -> set[str]:
    """The tables and macros of the hand-written script that some marts need, by the names that stand in each statement."""
    texts = {made.group(1): statement for statement in statements if (made := _MADE.search(statement))}
    needed: set[str] = set()
    waiting = [f"floor.{mart}" for mart in marts]
    while waiting:
        name = waiting.pop()
        needed.add(name)
        waiting += [other for other in texts if other not in needed and re.search(rf"\b{re.escape(other)}\b", texts[name])]
    return needed


def floor(settings: Settings, as_of: datetime, marts: Collection[str] = ()) -> dict[str, Any]:
    """Run the hand-written script: every mart into schema `floor`, or those named."""
    import duckdb

    from winback.warehouse import open_warehouse

    nodes: dict[str, float] = {}
    statements = [statement.query for statement in duckdb.extract_statements(FLOOR.read_text(encoding="utf-8"))]
    needed = _made_for(statements, marts)
    with open_warehouse(settings) as warehouse:
        warehouse.execute("set variable as_of = $as_of", {"as_of": as_of})
        warehouse.execute("set variable seeds = $seeds", {"seeds": str(settings.dbt_project / "seeds")})
        for statement in statements:
            made = _MADE.search(statement)
            if made and needed and made.group(1) not in needed:
                continue
            began = time.monotonic()
            warehouse.execute(statement)
            if made:
                nodes[made.group(1)] = time.monotonic() - began
    return {"fixed": 0.0, "nodes": nodes}


def floor_of_compared(settings: Settings, as_of: datetime) -> dict[str, Any]:
    """The hand-written script cut down to the marts that data frames make too."""
    return floor(settings, as_of, COMPARED)


def parse(settings: Settings, as_of: datetime) -> dict[str, Any]:
    """Let dbt read its project, and leave what it read for the next to find."""
    os.environ.update(settings.dbt_environment(as_of))
    from dbt.cli.main import dbtRunner

    parsed = dbtRunner().invoke(["--quiet", "parse"])
    if not parsed.success:
        raise SystemExit(f"dbt cannot parse: {parsed.exception}")
    return {"manifest": parsed.result}


def models(settings: Settings, as_of: datetime, *, with_tests: bool = False, marts: Collection[str] = ()) -> dict[str, Any]:
    """Run dbt as a daily run does: spared what nobody needs, parsed in this process, then one `build` of seeds and models, and data tests
    where asked. With `marts` only of these and what they are made of.

    dbt reuses its parse of an earlier day, as a daily run does; `fixed` is what was over before the first model began.
    """
    from dagster_project.lighter_dbt import collect_garbage_rarely, lighten_dbt

    began = time.monotonic()
    lighten_dbt()
    manifest = parse(settings, as_of)["manifest"]
    collect_garbage_rarely()
    fixed = time.monotonic() - began
    from dbt.cli.main import dbtRunner

    limits = ["--exclude-resource-type", "unit_test"] + ([] if with_tests else ["--exclude-resource-type", "test"])
    if marts:
        limits += ["--select", *(f"+{mart}" for mart in marts)]
    built = dbtRunner(manifest=manifest).invoke(["--quiet", "--no-version-check", "--no-write-json", "build", *limits])
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


def models_of_compared(settings: Settings, as_of: datetime) -> dict[str, Any]:
    """`models` of the marts that data frames make too."""
    return models(settings, as_of, marts=COMPARED)


def prepare(settings: Settings, as_of: datetime) -> dict[str, Any]:  # noqa: ARG001  (the interface's)
    """Drop everything that was derived."""
    from winback.warehouse import open_warehouse

    with open_warehouse(settings) as warehouse:
        for schema in ("floor", "seeds", "staging", "intermediate", "marts"):
            warehouse.execute(f"drop schema if exists {schema} cascade")
        warehouse.execute("checkpoint")
    return {}


def export(settings: Settings, as_of: datetime) -> dict[str, Any]:  # noqa: ARG001  (the interface's)
    """Write the exports that data frames read, once."""
    return {"folder": str(export_once(settings))}


def late(settings: Settings, as_of: datetime) -> dict[str, Any]:
    """Land what came late or was corrected, for the day `as_of`."""
    from benchmarks.late import land_late

    return land_late(settings, as_of)


def hand_over(settings: Settings, as_of: datetime) -> dict[str, Any]:  # noqa: ARG001  (the interface's)
    """Bring the tables that dbt reads to the engine of the settings."""
    from winback.engines import open_engine
    from winback.warehouse import open_warehouse

    with open_warehouse(settings) as workbench:
        return {"rows": sum(open_engine(settings).hand_over(workbench).values())}


CONTENDERS: dict[str, Callable[[Settings, datetime], dict[str, Any]]] = {
    "parse": parse,
    "floor": floor,
    "models": models,
    "models_and_tests": models_and_tests,
    "floor_of_compared": floor_of_compared,
    "models_of_compared": models_of_compared,
    "prepare": prepare,
    "export": export,
    "late": late,
    "hand_over": hand_over,
}


if __name__ == "__main__":
    name, home, as_of_text = sys.argv[1:]
    told = CONTENDERS[name](Settings(home=Path(home)), datetime.fromisoformat(as_of_text))
    print(json.dumps({key: value for key, value in told.items() if key != "manifest"}))
