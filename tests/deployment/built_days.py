"""Five days derived as a daily run derives them: `python -m tests.deployment.built_days <folder> plain|lightened` writes `told.json`.

Two days show what is the same every day, and what is known from then on is run without dbt's templates: on the fifth day a data test fails,
and a model. A process of its own, because what lightens dbt stays for the process.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg  # noqa: TID251
from dagster_dbt import DagsterDbtTranslator  # noqa: TID251

from dagster_project import dbt_build, lighter_dbt
from tests.end_to_end.newcomer import LAST_ORDER_ON, write_data
from winback.home import prepare_home
from winback.landing import land
from winback.ledger import open_ledger
from winback.programs import sync
from winback.settings import PROJECT_ROOT, Settings
from winback.warehouse import open_warehouse


def main(folder: Path, how: str) -> None:
    if how == "plain":
        lighter_dbt.SPARED.clear()
    home = folder / "home"
    prepare_home(home, data=write_data(folder / "data"), clock="simulated")
    settings = Settings(project=PROJECT_ROOT, home=home, data=folder / "data", clock="simulated")
    manifest, translator = dbt_build.read_manifest(settings), DagsterDbtTranslator()
    told: list[Any] = []
    for offset in (1, 2, 3, 4, 5):
        if offset == 5:
            told += _rows(settings)
        as_of = datetime.combine(LAST_ORDER_ON + timedelta(days=offset), datetime.min.time())
        with open_ledger(settings) as ledger, open_warehouse(settings) as connection:
            land(settings, connection, ledger, now=as_of)
            sync(settings, ledger, connection, as_of=as_of, now=settings.acting_at(as_of, as_of))
            ledger.copy_to_warehouse(connection)
            if offset == 5:
                connection.execute("alter table ledger.frequency_limits rename column max_messages to more")
                connection.execute("insert into ledger.suppressions by name select 'twice' as suppression_id from range(2)")
        try:
            told += sorted(_told(event) for event in dbt_build.build(settings, as_of, manifest, translator))
        except dg.Failure as failure:
            told.append(sorted((failure.description or "").splitlines()))
    (folder / "told.json").write_text(json.dumps(told, indent=1, default=str).replace(str(home), "HOME"), encoding="utf-8")


def _rows(settings: Settings) -> list[list[str]]:
    """What every table and view holds."""
    with open_warehouse(settings) as connection:
        relations = connection.execute("""
            select table_schema || '.' || table_name from information_schema.tables
            where table_schema in ('seeds', 'staging', 'intermediate', 'marts') order by 1
        """).fetchall()
        return [
            [relation, connection.execute(f"select cast(bit_xor(hash(r)) as varchar) from {relation} r").fetchall()[0][0]]
            for (relation,) in relations
        ]


def _told(event: dg.MaterializeResult[Any] | dg.AssetCheckResult) -> list[str]:
    metadata = {key: getattr(value, "value", value) for key, value in (event.metadata or {}).items() if key != "seconds"}
    passed = [str(event.passed), event.severity.value] if isinstance(event, dg.AssetCheckResult) else []
    name = [event.check_name or ""] if isinstance(event, dg.AssetCheckResult) else []
    return [str(event.asset_key), *name, *passed, json.dumps(metadata, sort_keys=True)]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
