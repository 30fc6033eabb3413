"""Run the checks over the warehouse: one Great Expectations suite per raw table, through SQL, on the connection that is already open."""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Any

import duckdb

from winback.clock import utc_now
from winback.errors import BadInput
from winback.quality.limits import Limits, load_limits
from winback.quality.results import CheckResult
from winback.quality.suites import CHECKS, SAMPLES, Check, Moment
from winback.settings import Settings
from winback.warehouse import open_warehouse

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, ExecutionContext
    from sqlalchemy.engine.interfaces import DBAPICursor

SAMPLE_SIZE = 10

Passes = dict[tuple[object, ...], int]
"""What has passed: (what was landed, check, its rule) -> rows looked at. For a process that validates day after day."""


def validate(
    settings: Settings,
    as_of: datetime,
    *,
    connection: duckdb.DuckDBPyConnection | None = None,
    now: datetime | None = None,
    limits: Limits | None = None,
    passes: Passes | None = None,
) -> list[CheckResult]:
    """Check the raw tables: some 40 expectations in a second or two, most of it the import of Great Expectations.

    Parameters
    ----------
    as_of
        Instant that the run reasons about: freshness looks only at orders before it.
    connection
        The warehouse, where it is open already; the checks run on cursors of it and see what is committed. Default: opened here.
    now
        Instant after which a timestamp is in the future, whatever the day that is being replayed. Default: the present.
    limits
        Default: those of `sources/checks.yml`.
    passes
        What passed before, in this process, and is added to. A check that passed is not asked again while nothing has been landed since
        and its rule is the same: a rule that looks at `as_of` (freshness) is another one every day.

    Returns
    -------
    list of CheckResult
        One per check, in the order of `CHECKS`; `require_passed` stops the day on the blocking ones.

    Raises
    ------
    BadConfig
        `sources/checks.yml` is wrong.
    BadInput
        A raw table is missing: nothing has been landed.
    Busy
        Another process has the warehouse open.
    """
    if limits is None:
        limits = load_limits(settings, {check.name for check in CHECKS})
    moment = Moment(as_of=as_of, now=now or utc_now())
    with nullcontext(connection) if connection else open_warehouse(settings) as warehouse:
        _require_tables(warehouse, {check.table for check in CHECKS})
        asked = [check for check in CHECKS if limits.levels.get(check.name) != "off"]
        keys = _keys(warehouse, asked, limits, moment) if passes is not None else {}
        known = passes or {}
        counts = {check.name: (known[keys[check.name]], 0) for check in asked if keys.get(check.name) in known}
        counts |= _count_unexpected(warehouse, [check for check in asked if check.name not in counts], limits, moment)
        if passes is not None:
            passes.update({keys[name]: checked for name, (checked, unexpected) in counts.items() if unexpected == 0})
        return [_result(warehouse, check, limits, moment, *counts[check.name]) if check.name in counts else _off(check) for check in CHECKS]


def _keys(connection: duckdb.DuckDBPyConnection, checks: list[Check], limits: Limits, moment: Moment) -> dict[str, tuple[object, ...]]:
    """Under which name a pass is remembered. What is not in the future now is not later either: `now` is left out of the rules."""
    landed = connection.execute("select count(*), max(landed_at), sum(rows_landed) from raw.landed_files").fetchall()[0]
    timeless = Moment(as_of=moment.as_of, now=datetime(1970, 1, 1))
    return {check.name: (*landed, check.name, check.rule(limits, timeless)) for check in checks}


def _require_tables(connection: duckdb.DuckDBPyConnection, tables: set[str]) -> None:
    found = {
        name for (name,) in connection.execute("select table_name from information_schema.tables where table_schema = 'raw'").fetchall()
    }
    missing = sorted(tables - found)
    if missing:
        raise BadInput(f"The warehouse has no raw.{missing[0]}: nothing has been landed. Run `winback run`, or the landing assets, first.")


def _off(check: Check) -> CheckResult:
    return CheckResult(
        name=check.name,
        table=check.table,
        passed=True,
        blocking=False,
        checked_count=0,
        unexpected_count=0,
        observed="switched off in sources/checks.yml",
        sample_keys=(),
        description=check.description,
        damage=check.damage,
    )


def _result(
    connection: duckdb.DuckDBPyConnection, check: Check, limits: Limits, moment: Moment, checked: int, unexpected: int
) -> CheckResult:
    level = limits.levels.get(check.name, check.severity)
    tolerated = check.tolerated(limits) if check.tolerated and check.name not in limits.levels else 0.0
    percent = 100.0 * unexpected / checked if checked else 100.0
    observed = f"{checked:,} rows"
    samples: tuple[str, ...] = ()
    if unexpected:
        observed = f"{unexpected:,} of {checked:,} rows ({percent:.1f}%)"
        if check.observed:
            observed = connection.execute(check.observed(moment)).fetchall()[0][0]
        samples = _sample_keys(connection, check, limits, moment)
    return CheckResult(
        name=check.name,
        table=check.table,
        passed=unexpected == 0,
        blocking=unexpected > 0 and level == "blocking" and percent > tolerated,
        checked_count=checked,
        unexpected_count=unexpected,
        observed=observed,
        sample_keys=samples,
        description=check.description,
        damage=check.damage,
    )


def _sample_keys(connection: duckdb.DuckDBPyConnection, check: Check, limits: Limits, moment: Moment) -> tuple[str, ...]:
    unexpected = check.rule(limits, moment).unexpected(f"raw.{check.table}")
    key = SAMPLES[check.table]
    text = " || ' / ' || ".join(f"cast(u.{column} as varchar)" for column in key)
    if check.table == "quarantine":
        query = f"select distinct {text} from ({unexpected}) u order by 1 limit {SAMPLE_SIZE}"
    else:
        # A row without a key is known by the place it came from.
        query = f"""
            select distinct coalesce({text}, 'row ' || u._row_number || ' of ' || coalesce(f.file, u._file_id), '(no key)')
            from ({unexpected}) u left join raw.landed_files f on f.file_id = u._file_id order by 1 limit {SAMPLE_SIZE}"""
    return tuple(key for (key,) in connection.execute(query).fetchall())


def _count_unexpected(
    connection: duckdb.DuckDBPyConnection, checks: list[Check], limits: Limits, moment: Moment
) -> dict[str, tuple[int, int]]:
    """Rows looked at and unexpected rows, per check."""
    if not checks:
        return {}
    tables = {check.table for check in checks}
    sizes = {table: connection.execute(f"select count(*) from raw.{table}").fetchall()[0][0] for table in tables}
    counts = {check.name: (sizes[check.table], 0) for check in checks if sizes[check.table] == 0}
    with _great_expectations(connection) as (gx, source):
        for table in sorted(table for table in tables if sizes[table]):
            suite = gx.ExpectationSuite(name=table)
            for check in checks:
                if check.table == table:
                    kind, arguments = check.rule(limits, moment).expectation()
                    suite.add_expectation(getattr(gx.expectations, kind)(**arguments, meta={"check": check.name}))
            asset = source.add_table_asset(name=table, table_name=table)
            batch = asset.add_batch_definition_whole_table("all").get_batch()
            # BOOLEAN_ONLY counts nothing; COMPLETE would fetch every unexpected row. The counts are enough: keys are sampled by SQL.
            outcome = batch.validate(suite, result_format={"result_format": "BASIC", "partial_unexpected_count": 0})
            for result in outcome.results:
                name = result.expectation_config.meta["check"]
                counts[name] = (sizes[table], _unexpected_count(name, result))
    return counts


def _unexpected_count(name: str, result: Any) -> int:
    problems = [value for value in (result.exception_info or {}).values() if isinstance(value, dict) and value.get("raised_exception")]
    if (result.exception_info or {}).get("raised_exception"):
        problems.append(result.exception_info)
    if problems:
        raise RuntimeError(f"Check {name} could not be evaluated: {problems[0]['exception_message']}")
    if result.success:
        return 0
    count = result.result.get("unexpected_count", result.result.get("observed_value"))
    return int(str(count).split()[0])


@contextmanager
def _great_expectations(connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, Any]]:
    """Great Expectations over cursors of `connection`, silent: no analytics, no progress bars, no Data Docs, no files."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with _without_spark():
        import great_expectations as gx
    from duckdb_sqlalchemy import ConnectionWrapper
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from sqlalchemy import event

    _forget_dialect_at_exit()
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context: Any = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)

    def cursor_in_raw() -> Any:
        cursor = connection.cursor()
        cursor.execute("set schema = 'raw'")
        return ConnectionWrapper(cursor)

    source = context.data_sources.add_sql("warehouse", connection_string="duckdb:///:memory:", kwargs={"creator": cursor_in_raw})
    engine = source.get_execution_engine().engine  # not source.get_engine(): that one only tests the connection
    event.listen(engine, "after_cursor_execute", _keep_rows)
    try:
        yield gx, source
    finally:
        engine.dispose()


@contextmanager
def _without_spark() -> Iterator[None]:
    """Great Expectations loads Spark wherever it is installed; the checks ask DuckDB."""
    absent = "pyspark" not in sys.modules
    if absent:
        sys.modules["pyspark"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if absent:
            del sys.modules["pyspark"]


def _keep_rows(
    _connection: Connection, cursor: DBAPICursor, _statement: str, _parameters: Any, context: ExecutionContext, _many: bool
) -> None:
    """Fetch at once. Great Expectations 1.24 reads rows after it has committed, and DuckDB drops a result when its transaction ends."""
    from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy

    if cursor.description:
        rows = cursor.fetchall()
        context.cursor_fetch_strategy = FullyBufferedCursorFetchStrategy(cursor, initial_buffer=rows)  # type: ignore[attr-defined]


def _forget_dialect_at_exit() -> None:
    """Let go of DuckDB's types at exit.

    Great Expectations keeps SQLAlchemy's dialects alive past the end of the interpreter, and DuckDB 2.0 then prints a page of "nanobind:
    leaked" lines.
    """
    if getattr(_forget_dialect_at_exit, "done", False):
        return
    _forget_dialect_at_exit.done = True  # type: ignore[attr-defined]

    def forget() -> None:
        for name in [name for name in sys.modules if name.split(".")[0] == "duckdb_sqlalchemy"]:
            sys.modules[name].__dict__.clear()

    atexit.register(forget)
