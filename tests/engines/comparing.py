"""Whether two warehouses hold the same marts: same tables, columns, types and rows; floating point numbers within 1e-9 of each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb

from winback.engines.base import MARTS, READ_BY_PYTHON

FLOATS = ("DOUBLE", "FLOAT")
CLOSE = "abs({a} - {b}) <= greatest(1e-9 * greatest(abs({a}), abs({b})), 1e-12)"
"""Relative; below a thousandth of a billionth, where a difference of large numbers should be 0, absolute."""


def differences(left: Path, right: Path, schema_prefix: str = "", told: Callable[[str], None] = lambda line: None) -> list[str]:
    """A line per relation that differs, of those that an engine gives back; `told` gets what was compared."""
    with duckdb.connect() as connection:
        connection.execute("set global TimeZone = 'UTC'")
        connection.execute(f"attach '{left}' as a (read_only)")
        connection.execute(f"attach '{right}' as b (read_only)")
        marts = connection.execute(
            "select distinct table_name from information_schema.tables where table_catalog = 'a' and table_schema = ? order by 1",
            [f"{schema_prefix}{MARTS}"],
        ).fetchall()
        assert marts, f"no marts in {left}"
        relations = [f"{MARTS}.{name}" for (name,) in marts] + [f"{schema}.{name}" for schema, name in READ_BY_PYTHON]
        compared = [_difference(connection, f"{schema_prefix}{relation}") for relation in relations]
        found = [line for _, line in compared if line]
        told(f"{len(marts)} marts and {len(READ_BY_PYTHON)} other tables of {sum(rows for rows, _ in compared)} rows: {len(found)} differ")
        return found


def _difference(connection: duckdb.DuckDBPyConnection, relation: str) -> tuple[int, str]:
    """Rows, and what differs."""
    try:
        types = [{name: kind for name, kind, *_ in connection.execute(f"describe {side}.{relation}").fetchall()} for side in ("a", "b")]
    except duckdb.CatalogException as missing:
        return 0, f"{relation}: {str(missing).splitlines()[0]}"
    counts = [connection.execute(f"select count(*) from {side}.{relation}").fetchall()[0][0] for side in ("a", "b")]
    if types[0] != types[1]:
        other = {name: (types[0].get(name), types[1].get(name)) for name in {*types[0], *types[1]}}
        return counts[0], f"{relation}: types { ({name: pair for name, pair in other.items() if pair[0] != pair[1]}) }"
    if counts[0] != counts[1]:
        return counts[0], f"{relation}: {counts[0]} and {counts[1]} rows"
    floats = [name for name, kind in types[0].items() if kind in FLOATS]
    exact = [name for name in types[0] if name not in floats]
    order = ", ".join(f'"{name}" nulls last' for name in exact + floats)
    differing = {}
    for name in types[0]:
        same = f'a."{name}" is not distinct from b."{name}"'
        if name in floats:
            close = CLOSE.format(a=f'a."{name}"', b=f'b."{name}"')
            same = f"({same} or coalesce({close}, false))"
        differing[name] = f"count(*) filter (not {same})"
    numbered = [f"select *, row_number() over (order by {order}) as row_number_ from {side}.{relation}" for side in ("a", "b")]
    query = f"select {', '.join(differing.values())} from ({numbered[0]}) as a join ({numbered[1]}) as b using (row_number_)"
    found = dict(zip(differing, connection.execute(query).fetchall()[0], strict=True))
    wrong = {name: count for name, count in found.items() if count}
    return counts[0], f"{relation}: of {counts[0]} rows differ {wrong}" if wrong else ""
