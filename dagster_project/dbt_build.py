"""dbt in this process: parsed once, built once a day, its results handed on as Dagster events."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator
from dagster_dbt.asset_utils import get_asset_check_key_for_test

from dagster_project.lighter_dbt import collect_garbage_rarely, lighten_dbt
from winback.dbt_command import in_environment
from winback.engines import open_engine
from winback.progress import tell
from winback.settings import Settings
from winback.warehouse import more_room, open_warehouse

if TYPE_CHECKING:
    import duckdb
    from dbt.contracts.graph.manifest import Manifest

_PARSE_AS_OF = datetime(2000, 1, 1)
_parsed: dict[Path, Manifest] = {}


def _newest_source(dbt_project: Path) -> float:
    return max(
        path.stat().st_mtime
        for folder in ("models", "macros", "seeds", "tests", "dbt_project.yml", "profiles.yml")
        for path in ([dbt_project / folder] if (dbt_project / folder).is_file() else (dbt_project / folder).rglob("*"))
        if path.is_file()
    )


def manifest_path(settings: Settings) -> Path:
    """The project's manifest, parsed anew where a dbt file is newer than it."""
    environment = settings.dbt_environment(_PARSE_AS_OF)
    path = settings.manifest
    audiences = path.with_name("audiences.txt")
    fresh = (
        path.exists()
        and path.stat().st_mtime >= _newest_source(settings.dbt_project)
        and audiences.exists()
        and audiences.read_text(encoding="utf-8") == environment["WINBACK_AUDIENCES"]
    )
    if not fresh:
        _parse(settings)
        audiences.write_text(environment["WINBACK_AUDIENCES"], encoding="utf-8")
    return path


def _parse(settings: Settings) -> Manifest:
    from dbt.cli.main import dbtRunner

    settings.warehouse.parent.mkdir(parents=True, exist_ok=True)
    with in_environment(settings.dbt_environment(_PARSE_AS_OF)):
        outcome = dbtRunner().invoke(["--quiet", "parse"])
    if not outcome.success:
        raise dg.Failure(f"dbt cannot parse {settings.dbt_project}: {outcome.exception}")
    manifest: Manifest = outcome.result  # type: ignore[assignment]
    _parsed[settings.root] = manifest
    return manifest


def _row_counts(workbench: duckdb.DuckDBPyConnection, relations: Iterable[str]) -> dict[str, int]:
    """Rows by `schema.name`."""
    union = "\nunion all\n".join(f"select '{relation}', count(*) from {relation}" for relation in relations)
    return dict(workbench.execute(union).fetchall()) if union else {}


def _is_counted(node: Any) -> bool:
    """Tables, and what people read. To count a view between would be to derive it once more: the gates of everybody, for a number."""
    return node.config.materialized in ("table", "kept", "seed") or node.fqn[1] == "marts"


def _relation(node: Any) -> str:
    return f"{node.schema}.{node.alias}"


def what_failed(problem: str | None, settings: Settings) -> str:
    """What went wrong with a node, without the hundreds of Java's lines that follow it on Spark."""
    words = re.split(r"\s*\n\s*at [\w.$/]+\(", problem or "", maxsplit=1)[0]
    return more_room(words, settings) or words


def build(
    settings: Settings,
    as_of: datetime,
    manifest: Mapping[str, Any],
    translator: DagsterDbtTranslator,
    *,
    full_refresh: bool = False,
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    """One `dbt build` as of an instant: models, seeds and data tests, in this process, on the engine of the settings.

    `full_refresh` derives everything anew, also what is kept from build to build; the result is the same.

    Yields a materialization per model (with its row count: tables and marts) and a check result per data test; raises `dg.Failure`
    naming each node that failed, after everything that did succeed has been handed on.
    """
    from dbt.cli.main import dbtRunner

    done = 0

    def show(event: Any) -> None:
        nonlocal done
        if event.info.name in ("LogModelResult", "LogSeedResult", "LogTestResult"):
            done += 1
            tell(f"deriving: {done} models and tests done")

    lighten_dbt()
    parsed = _parsed.get(settings.root)
    if parsed is None:
        parsed = _parse(settings)
        collect_garbage_rarely()
    engine = open_engine(settings)
    engine.check()
    here = engine.name == "duckdb"
    if not here:
        with open_warehouse(settings) as workbench:
            engine.hand_over(workbench)
    with in_environment(settings.dbt_environment(as_of)):
        outcome = dbtRunner(manifest=parsed, callbacks=[show]).invoke(
            [
                "--quiet",
                "--log-level-file",
                "none",
                "--no-version-check",
                "--no-write-json",
                "build",
                "--exclude-resource-type",
                "unit_test",
                *(["--full-refresh"] if full_refresh else []),
            ]
        )
    if outcome.exception is not None:
        said = what_failed(str(outcome.exception), settings)
        raise dg.Failure(f"dbt build stopped: {said}") from outcome.exception
    results = list(outcome.result)  # type: ignore[arg-type]
    built = [result for result in results if result.node.resource_type in ("model", "seed") and result.status == "success"]
    with open_warehouse(settings) as workbench:
        # After a failure the workbench keeps what the last whole build gave it.
        taken = engine.take_back(workbench) if all(result.status not in ("error", "fail") for result in results) else {}
        row_counts = _row_counts(workbench, [_relation(result.node) for result in built if _is_counted(result.node)]) if here else taken
    failures: list[str] = []
    for result in results:
        node = result.node
        if node.resource_type in ("model", "seed"):
            if result.status == "success":
                metadata: dict[str, Any] = {"seconds": round(result.execution_time, 3)}
                if _relation(node) in row_counts:
                    metadata["dagster/row_count"] = row_counts[_relation(node)]
                yield dg.MaterializeResult(asset_key=translator.get_asset_spec(manifest, node.unique_id, None).key, metadata=metadata)
            elif result.status == "error":
                failures.append(f"{node.name} ({node.original_file_path}): {what_failed(result.message, settings)}")
        elif node.resource_type == "test":
            passed = result.status in ("pass", "warn")
            key = get_asset_check_key_for_test(manifest, translator, node.unique_id, None)
            if key is not None and result.status != "skipped":
                yield dg.AssetCheckResult(
                    passed=result.status == "pass",
                    asset_key=key.asset_key,
                    check_name=key.name,
                    severity=dg.AssetCheckSeverity.WARN if result.status == "warn" else dg.AssetCheckSeverity.ERROR,
                    metadata={"failing_rows": result.failures or 0, "seconds": round(result.execution_time, 3)},
                )
            if not passed and result.status != "skipped":
                failures.append(
                    f"test {node.name} ({node.original_file_path}): {result.failures} failing rows; {what_failed(result.message, settings)}"
                )
    if failures:
        raise dg.Failure("dbt build failed; nothing was planned or sent:\n" + "\n".join(failures))


def read_manifest(settings: Settings) -> dict[str, Any]:
    """The manifest as dagster-dbt reads it."""
    manifest: dict[str, Any] = json.loads(manifest_path(settings).read_text(encoding="utf-8"))
    return manifest
