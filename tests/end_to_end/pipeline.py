"""The real path of a day, in this process: rows into raw, programs, dbt (parsed once), plan, apply, dispatch to the outbox."""

from __future__ import annotations

import io
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv
from dbt.artifacts.resources.types import NodeType  # noqa: TID251
from dbt.artifacts.schemas.results import NodeStatus  # noqa: TID251  (in process, a day takes a third of the time)
from dbt.cli.main import dbtRunner  # noqa: TID251
from dbt.contracts.graph.manifest import Manifest  # noqa: TID251

from dagster_project.lighter_dbt import lighten_dbt
from winback.day import SendingReport, apply_day, dispatch_due, plan_day
from winback.dbt_command import in_environment
from winback.delivery import ApplyReport
from winback.home import prepare_home
from winback.landing import TABLES, create_raw
from winback.ledger import open_ledger
from winback.programs import sync
from winback.settings import PROJECT_ROOT, Settings
from winback.warehouse import in_transaction, open_warehouse

_QUIET = ("--quiet", "--no-write-json", "--log-level", "none", "--log-level-file", "none", "--no-version-check", "--cache-selected-only")
# What the marts of journeys need, what is sent from besides them, and what explains them.
_JOURNEYS = (
    *("--select", "+path:models/marts/journeys", "int_customers__contacts"),
    *("admission_waterfall", "int_journeys__gates_evaluated", "customer_segments"),
)
_ENTRY_DAY = "macro.winback.is_entry_day"
DECIDED = (
    "marts.journey_admissions",
    "marts.journey_actions",
    "marts.journey_enrolments",
    "marts.journey_followups",
    "marts.ad_audience_members",
    "marts.admission_waterfall",
    "marts.customers",
)
_PARSE_AS_OF = datetime(2000, 1, 1)
_parsed: dict[Path, Manifest] = {}


def make_project(folder: Path, programs: Mapping[str, str] | None = None) -> Path:
    """A project of its own to change: a copy of programs/ with more files (path below programs/ -> text), the same dbt_project."""
    shutil.copytree(PROJECT_ROOT / "programs", folder / "programs")
    (folder / "dbt_project").symlink_to(PROJECT_ROOT / "dbt_project")
    (folder / "sources").symlink_to(PROJECT_ROOT / "sources")
    for name, text in (programs or {}).items():
        path = folder / "programs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def _manifest(settings: Settings) -> Manifest:
    """The parsed project: once for all homes, because only the warehouse's path differs."""
    known = _parsed.get(settings.dbt_project.resolve())
    if known is not None:
        return known
    settings.warehouse.parent.mkdir(parents=True, exist_ok=True)
    with in_environment(settings.dbt_environment(_PARSE_AS_OF)):
        outcome = dbtRunner().invoke([*_QUIET, "parse"])
    assert outcome.success, outcome.exception
    assert isinstance(outcome.result, Manifest)
    return _parsed.setdefault(settings.dbt_project.resolve(), outcome.result)


def _nodes(settings: Settings) -> dict[str, Any]:
    return {node.name: node for node in _manifest(settings).nodes.values() if node.resource_type is NodeType.Model}


def run_dbt(settings: Settings, as_of: datetime, command: str, *arguments: str) -> list[Any]:
    """Run dbt over the settings' warehouse; returns the nodes in the order in which they ran. What failed is the assertion message."""
    manifest = _manifest(settings)
    lighten_dbt()
    with in_environment(settings.dbt_environment(as_of)):
        outcome = dbtRunner(manifest=manifest).invoke([*_QUIET, command, *arguments])
    assert outcome.exception is None, outcome.exception
    every: list[Any] = list(outcome.result)  # type: ignore[arg-type]
    results = [result for result in every if result.node.resource_type is not NodeType.Operation]
    failed = [f"{result.node.name}: {result.message}" for result in results if result.status not in (NodeStatus.Success, NodeStatus.Pass)]
    assert not failed, "\n".join(failed)
    return [result.node for result in results]


@dataclass(frozen=True, slots=True)
class _Statement:
    """What dbt ran for a model, written for one day."""

    name: str
    path: str
    before: str
    sql: str
    written_for: datetime

    def on(self, as_of: datetime) -> str:
        return self.before + self.sql.replace(f"{self.written_for:%Y-%m-%d}", f"{as_of:%Y-%m-%d}")


class Pipeline:
    """One home and its days. `seconds` sums up what each step took: (wall, CPU)."""

    def __init__(self, project: Path, home: Path, **settings: Any) -> None:
        self.settings = Settings(project=project, home=home, clock="simulated", **settings)
        self.seconds: dict[str, list[float]] = {}
        prepare_home(home)
        self.create_raw()
        self._statements: list[_Statement] = []
        # Models that ask for the weekday say another thing on each of the fourteen days of two weeks.
        self._of_weekday: dict[int, dict[str, _Statement]] = {}

    def on_home(self, home: Path) -> Pipeline:
        """Another home of the same project: what dbt wrote for this one serves there too."""
        other = copy(self)
        other.settings = Settings(**self.settings.model_dump() | {"home": home})
        other.seconds = {}
        return other

    def create_raw(self) -> None:
        with open_ledger(self.settings) as ledger, open_warehouse(self.settings) as connection:
            create_raw(connection)
            ledger.copy_to_warehouse(connection)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        spent = self.seconds.setdefault(step, [0.0, 0.0])
        spent[0] += time.perf_counter() - wall
        spent[1] += time.process_time() - cpu

    def land(self, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Put rows into raw as landing does: a row replaces its predecessor by key."""
        with self.timed("land"), open_warehouse(self.settings) as connection:
            for table, given in rows.items():
                names = [name for name in TABLES[table].by_name if any(name in row for row in given)]
                key = ", ".join(TABLES[table].key)
                connection.register("arriving", pa.table({name: pa.array([row.get(name) for row in given]) for name in names}))
                # Of two rows with one key in one delivery, the later holds.
                numbered = "select *, row_number() over () as _row_number, 'file' as _file_id from arriving"
                latest = f"select * from ({numbered}) qualify row_number() over (partition by {key} order by _row_number desc) = 1"
                connection.execute(f"delete from raw.{table} where ({key}) in (select ({key}) from arriving)")
                connection.execute(f"insert into raw.{table} by name {latest}")
                connection.unregister("arriving")

    def sync(self, as_of: datetime) -> None:
        with self.timed("sync"), open_ledger(self.settings) as ledger, open_warehouse(self.settings) as connection:
            sync(self.settings, ledger, connection, as_of=as_of, now=self.settings.acting_at(as_of, as_of))
            ledger.copy_to_warehouse(connection)

    def seed(self, as_of: datetime) -> None:
        run_dbt(self.settings, as_of, "seed")

    def derive(self, as_of: datetime) -> None:
        """The models that journeys need, as tables and views; no data tests, no reports."""
        if not self._statements:
            self.seed(as_of)
        with self.timed("derive with dbt"):
            # Whole, because `land` here says nothing of whose data changed.
            nodes = run_dbt(self.settings, as_of, "run", "--full-refresh", *_JOURNEYS)
            self._statements = [self._ran(node, as_of) for node in nodes]
            asked = {node.name for node in nodes if _ENTRY_DAY in node.depends_on.macros}
            self._of_weekday[as_of.toordinal() % 14] = {ran.name: ran for ran in self._statements if ran.name in asked}

    def derive_again(self, as_of: datetime) -> None:
        """The same as `derive`, in a sixth of the time: the statements that dbt wrote for an earlier day, with this day's date.

        `exports` of a day that was derived both ways must be equal; that is for the caller to see to.
        """
        fortnight = as_of.toordinal() % 14
        if fortnight not in self._of_weekday:
            with self.timed("derive with dbt"):
                named = [name for name, node in _nodes(self.settings).items() if _ENTRY_DAY in node.depends_on.macros]
                nodes = run_dbt(self.settings, as_of, "run", "--select", *named)
                self._of_weekday[fortnight] = {node.name: self._ran(node, as_of) for node in nodes}
        with self.timed("derive"), open_warehouse(self.settings) as connection, in_transaction(connection):
            for statement in self._statements:
                connection.execute(self._of_weekday[fortnight].get(statement.name, statement).on(as_of))

    def _ran(self, node: Any, as_of: datetime) -> _Statement:
        path = Path(self.settings.dbt_environment(as_of)["DBT_TARGET_PATH"]) / "run" / "winback" / node.original_file_path
        kind = "view" if "view" in (node.config.materialized, node.config.get("whole")) else "table"
        before = f"create schema if not exists {node.schema}; drop {kind} if exists {node.relation_name};"
        sql = path.read_text(encoding="utf-8").replace(f"{node.name}__dbt_tmp", node.name)
        return _Statement(node.name, node.original_file_path, before, sql, as_of)

    def exports(self) -> dict[str, bytes]:
        """The marts of journeys as CSV, sorted by all columns."""
        with open_warehouse(self.settings) as connection:
            return {table: _csv(connection, f"select * from {table} order by all") for table in DECIDED}

    def copy_ledger(self) -> None:
        """What is left of `sync` on a day on which no file of programs/ has changed."""
        with self.timed("sync"), open_ledger(self.settings) as ledger, open_warehouse(self.settings) as connection:
            ledger.copy_to_warehouse(connection)

    def plan(self, as_of: datetime) -> None:
        with self.timed("plan"):
            plan_day(self.settings, as_of)

    def act(self, as_of: datetime, *, faults: str = "") -> tuple[ApplyReport, SendingReport]:
        """Plan, apply, and send over the hours of the day; `faults` are those of the outbox."""
        self.plan(as_of)
        with self.timed("apply"):
            applied = apply_day(self.settings, as_of, as_of, "run")
        with self.timed("dispatch"):
            sent = dispatch_due(self.settings.model_copy(update={"outbox_faults": faults}), as_of, as_of)
        return applied, sent

    def run(self, as_of: datetime) -> tuple[ApplyReport, SendingReport]:
        self.sync(as_of)
        self.derive(as_of)
        return self.act(as_of)

    def ledger_rows(self, table: str) -> list[dict[str, Any]]:
        with open_ledger(self.settings) as ledger:
            return ledger.rows(table)

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        with open_warehouse(self.settings) as connection:
            return rows(connection, query, *parameters)

    def costs(self, days: int) -> str:
        """What a day cost, by step, for people who want it quicker."""
        total = Counter({step: wall for step, (wall, _) in self.seconds.items()})
        lines = [f"{step:>10} {wall / days:6.3f} s a day, CPU {self.seconds[step][1] / days:6.3f}" for step, wall in total.most_common()]
        return "\n".join(lines)


def _csv(connection: duckdb.DuckDBPyConnection, query: str) -> bytes:
    sink = io.BytesIO()
    pyarrow.csv.write_csv(connection.sql(query).to_arrow_table(), sink)
    return sink.getvalue()


def rows(connection: duckdb.DuckDBPyConnection, query: str, *parameters: Any) -> list[dict[str, Any]]:
    found = connection.execute(query, parameters)
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
