"""Rows of one file for one table: cast and judged in SQL, then put into the raw table or into quarantine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

import duckdb

from winback.errors import BadConfig, BadInput
from winback.landing.casting import cast
from winback.landing.contract import Table
from winback.landing.mapping import ColumnRule, Mapping, TableSource
from winback.landing.reading import SOURCE, Source, identifier, literal

_CASTABLE = re.compile(r"VARCHAR|BOOLEAN|DATE|DOUBLE|FLOAT|DECIMAL.*|TIMESTAMP.*|U?(?:TINY|SMALL|BIG|HUGE)INT|U?INTEGER")


@dataclass(frozen=True, slots=True)
class FileId:
    """A file as it is written beside its rows."""

    file_id: str
    name: str
    landed_at: datetime


@dataclass(frozen=True, slots=True)
class Judged:
    """A temporary table of cast rows; `_problem` (column, reason) is null for the good ones."""

    table: Table
    name: str
    content: Source


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows of a file: landed + quarantined + left_out (by the mapping's `where`) = all."""

    landed: int = 0
    quarantined: int = 0
    left_out: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.landed + other.landed, self.quarantined + other.quarantined, self.left_out + other.left_out)


def judge(
    connection: duckdb.DuckDBPyConnection, table: Table, source: TableSource, rules: Mapping, content: Source, file: FileId, name: str
) -> Judged:
    """Cast the rows of `landing_source` into the temporary table `name`.

    Raises
    ------
    BadInput
        The file lacks a needed column.
    BadConfig
        An SQL expression of the mapping does not work on the file.
    """
    if content.is_json and not content.rows:
        # An empty array says nothing about its columns.
        columns = ", ".join(column.name for column in table.columns)
        connection.execute(
            f"create or replace temporary table {name} as select {columns}, _row_number, "
            f'null::struct("column" varchar, reason varchar) as _problem from raw.{table.name} limit 0'
        )
        return Judged(table, name, content)
    expressions = _expressions(table, source, content, file)
    present = {column.lower() for column in content.columns}
    absent = "".join(f", null::varchar as {identifier(column)}" for column in source.absent_as_null if column.lower() not in present)
    origin = f"(select *{absent}, timestamp '{file.landed_at}' as _landed_at from {SOURCE})"
    wanted = f"coalesce(({source.where})::boolean, false)" if source.where else "true"
    try:
        types = _types(connection, expressions, origin, wanted)
        for column, found in types.items():
            if not _CASTABLE.fullmatch(found):
                expressions[column], types[column] = f"({expressions[column]})::varchar", "VARCHAR"
        casts = {
            column.name: cast(
                column,
                source.columns.get(column.name),
                types[column.name],
                timezone=_timezone(source.columns.get(column.name), source, rules),
                decimal=(source.csv or rules.csv).decimal,
            )
            for column in table.columns
        }
        values = ", ".join(f'({expression}) as "v_{column}"' for column, expression in expressions.items())
        v_names, t_names = (", ".join(f'"{prefix}_{column}"' for column in casts) for prefix in "vt")
        stripped = ", ".join(f'{one.stripped} as "s_{column}"' for column, one in casts.items())
        texts = ", ".join(f'{one.text} as "t_{column}"' for column, one in casts.items())
        typed = ", ".join(f'{one.typed} as "c_{column}"' for column, one in casts.items())
        final = ", ".join(f"{one.final} as {column}" for column, one in casts.items())
        problems = [
            f"when {one.problem} is not null then {{'column': '{column}', 'reason': {one.problem}}}"
            for column, one in casts.items()
            if one.problem
        ]
        if table.one_of:
            nothing = " and ".join(f'"c_{column}" is null' for column in table.one_of)
            reason = f"is missing, and so is {' and '.join(table.one_of[1:])}"
            problems.append(f"when {nothing} then {{'column': '{table.one_of[0]}', 'reason': '{reason}'}}")
        connection.execute(f"""
            create or replace temporary table {name} as
            with origin as (select _row_number, {wanted} as _wanted, {values} from {origin}),
            stripped as (select _row_number, {v_names}, {stripped} from origin where _wanted),
            texts as (select _row_number, {v_names}, {texts} from stripped),
            typed as (select _row_number, {t_names}, {typed} from texts)
            select {final}, _row_number, case {" ".join(problems)} end as _problem from typed
        """)
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as problem:
        raise _bad_expression(connection, table, source, origin, file, problem) from None
    return Judged(table, name, content)


def store(connection: duckdb.DuckDBPyConnection, judged: Judged, file: FileId, position: int) -> Counts:
    """Put good rows into the raw table, where they replace rows of the same key, and the others into quarantine.

    A row that says what is stored already leaves the stored one as it is. `raw.changed_keys` gets, under the file's `position`, whose data
    came or changed: the customer of the new row and of the one it replaces.
    """
    table, name, damaged = judged.table, judged.name, judged.content.damaged
    keys = ", ".join(table.key)
    [(kept, bad)] = connection.execute(f"select count(*), count(_problem) from {name}").fetchall()
    [(distinct,)] = connection.execute(f"select count(*) from (select distinct {keys} from {name} where _problem is null)").fetchall()
    if distinct < kept - bad:
        # Of rows with one key the last of the file holds.
        connection.execute(
            f"delete from {name} where rowid in (select rowid from {name} where _problem is null "
            f"qualify row_number() over (partition by {keys} order by _row_number desc) > 1)"
        )
    place = [file.file_id, file.name, table.name]
    [(filled,)] = connection.execute(f"select exists (from raw.{table.name})").fetchall()
    if filled:
        _make_way(connection, table, name, file, position)
    elif distinct:
        connection.execute("insert into raw.changed_keys values (?, ?, ?, 'everybody', null)", [file.file_id, position, table.name])
    columns = ", ".join(column.name for column in table.columns)
    connection.execute(
        f"insert into raw.{table.name} by name "
        f"select {columns}, {literal(file.file_id)} as _file_id, _row_number from {name} where _problem is null"
    )
    if bad:
        connection.execute(
            "insert into raw.quarantine select ?, ?, ?, _row_number, _problem.column, _problem.reason, ? "
            f"from {name} where _problem is not null",
            [*place, file.landed_at],
        )
    if damaged:
        import pyarrow as pa

        numbers, reasons = zip(*damaged, strict=True)
        connection.register("landing_damaged", pa.table({"line": pa.array(numbers, pa.int64()), "reason": pa.array(reasons, pa.string())}))
        connection.execute(
            "insert into raw.quarantine select ?, ?, ?, line, null, reason, ? from landing_damaged", [*place, file.landed_at]
        )
        connection.unregister("landing_damaged")
    connection.execute(f"drop table {name}")
    return Counts(kept - bad, bad + len(damaged), judged.content.rows - kept)


def _make_way(connection: duckdb.DuckDBPyConnection, table: Table, name: str, file: FileId, position: int) -> None:
    """Take out of `name` what the raw table holds just so, and out of the raw table what `name` replaces; tell whose data that changes."""
    columns = [column.name for column in table.columns if column.name not in table.key]
    same_key = " and ".join(f"stored.{key} = arriving.{key}" for key in table.key)
    equal = " and ".join(f"stored.{column} is not distinct from arriving.{column}" for column in columns)
    # By the key first: mostly no row is met, and the other columns of the raw table need not be read.
    connection.execute(f"""
        create or replace temporary table landing_met as
        select stored.rowid as stored_row, arriving.rowid as arriving_row
        from raw.{table.name} as stored join {name} as arriving on {same_key}
        where arriving._problem is null
    """)
    connection.execute(f"""
        create or replace temporary table landing_compared as
        select stored_row, arriving_row, {_concerns(table, "stored")}, {equal} as equal
        from landing_met
        join raw.{table.name} as stored on stored.rowid = stored_row
        join {name} as arriving on arriving.rowid = arriving_row
    """)
    connection.execute(f"delete from {name} where rowid in (select arriving_row from landing_compared where equal)")
    connection.execute(f"delete from raw.{table.name} where rowid in (select stored_row from landing_compared where not equal)")
    # Another source of the same file may have told of it.
    connection.execute(f"""
        insert into raw.changed_keys
        with changed as (
            select kind, key from landing_compared where not equal
            union all
            select {_concerns(table, "arriving")} from {name} as arriving where _problem is null
        ),
        told as (select kind, key from raw.changed_keys where position = {position})
        select {literal(file.file_id)}, {position}, {literal(table.name)}, kind, key
        from (select kind, key from changed where key is not null except select kind, key from told)
        where not exists (from told where kind = 'everybody')
    """)
    connection.execute("drop table landing_met")
    connection.execute("drop table landing_compared")


def _concerns(table: Table, relation: str) -> str:
    cases = " ".join(f"when {relation}.{column} is not null then {literal(kind)}" for kind, column in table.concerns)
    return f"case {cases} end as kind, coalesce({', '.join(f'{relation}.{column}' for _, column in table.concerns)}) as key"


def _types(connection: duckdb.DuckDBPyConnection, expressions: dict[str, str], origin: str, wanted: str) -> dict[str, str]:
    values = ", ".join(f'({expression}) as "{column}"' for column, expression in expressions.items())
    described = connection.execute(f"describe select {values}, {wanted} as _wanted from {origin}").fetchall()
    # By position: an alias that equals a column but for capitals comes back as the column is written.
    return {column: row[1] for column, row in zip(expressions, described, strict=False)}


def _timezone(rule: ColumnRule | None, source: TableSource, rules: Mapping) -> str:
    return (rule.timezone if rule else None) or source.timezone or rules.timezone


def _expressions(table: Table, source: TableSource, content: Source, file: FileId) -> dict[str, str]:
    """SQL of the source value of each column of the table."""
    by_spelling: dict[str, str] = {}
    for name in content.columns:
        by_spelling.setdefault(_spelling(name), name)
    expressions: dict[str, str] = {}
    used: set[str] = set()
    lacking = []
    for column in table.columns:
        rule = source.columns.get(column.name)
        if rule and rule.sql is not None:
            expressions[column.name] = rule.sql
        elif rule and rule.value is not None:
            expressions[column.name] = literal(rule.value) if isinstance(rule.value, str) else str(rule.value).lower()
        elif column.kind != "json" or rule:
            wanted = rule.from_ if rule and rule.from_ else [column.name]
            exact = [name for name in wanted if name in content.columns or name in source.absent_as_null]
            alike = [by_spelling[_spelling(name)] for name in wanted if _spelling(name) in by_spelling]
            nested = [pointer for name in wanted if (pointer := _nested(name, content))]
            used.update((exact or alike)[:1])
            expressions[column.name] = [*map(identifier, exact + alike), *nested, "null::varchar"][0]
            if column.needed and not (exact or alike or nested):
                lacking.append(f"{column.name} (as {_shown(wanted, ' or ')})")
    if table.one_of and all(expressions[name] == "null::varchar" for name in table.one_of):
        lacking.append(" or ".join(table.one_of))
    if lacking:
        shown = _shown(content.columns[:40], ", ") or "no column"
        raise BadInput(
            f"{file.name}: table {table.name} needs {'; '.join(lacking)}; found {shown}. "
            "Rename the columns in the file, or say in the mapping what they are called."
        )
    for column in table.columns:
        if column.name not in expressions:
            expressions[column.name] = _as_json(sorted(name for name in content.columns if name not in used))
    return {column.name: expressions[column.name] for column in table.columns}


def _nested(name: str, content: Source) -> str | None:
    """`customer.email` reaches into an object of a JSON file."""
    parts = name.split(".")
    if not content.is_json or len(parts) < 2 or parts[0] not in content.columns:
        return None
    return f"_json ->> {literal('/' + '/'.join(part.replace('~', '~0').replace('/', '~1') for part in parts))}"


def _as_json(columns: list[str]) -> str:
    if not columns:
        return "null::varchar"
    entries = ", ".join(f"{{'k': {literal(name)}, 'v': {identifier(name)}::varchar}}" for name in columns)
    filled = f"list_filter([{entries}], lambda entry: entry.v is not null)"
    return f"case when len({filled}) > 0 then to_json(map_from_entries({filled}))::varchar end"


def _bad_expression(
    connection: duckdb.DuckDBPyConnection, table: Table, source: TableSource, origin: str, file: FileId, problem: duckdb.Error
) -> BadConfig:
    """Find out which expression of the mapping it was."""
    tried = {f"columns.{name}.sql": rule.sql for name, rule in source.columns.items() if rule.sql}
    if source.where:
        tried["where"] = source.where
    for place, expression in tried.items():
        try:
            connection.execute(f"select count(x) from (select ({expression}) as x from {origin})").fetchall()
        except duckdb.Error as found:
            problem, where = found, f"{place}: found {expression.strip()!r}, which"
            break
    else:
        where = "the columns as mapped: this"
    what = re.sub(r"\s+", " ", str(problem).split("LINE ")[0]).strip()[:300]
    return BadConfig(f"mapping: tables.{table.name}.{where} does not work on {file.name}: {what}")


def _shown(names: list[str], between: str) -> str:
    return between.join(f'"{name}"' for name in names)


def _spelling(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())
