"""Build a warehouse from rows in a test, with the tables that landing, the ledger and the programs would have written.

`build(...)` is the whole way; `load` and `derive` are its halves, for tests that derive several days from the same rows.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import duckdb
import pyarrow as pa

from winback.settings import Settings
from winback.warehouse import open_warehouse

Rows: TypeAlias = pa.Table | Sequence[Mapping[str, Any]]

_RAW_ORIGIN = "_file_id varchar, _row_number bigint"
_RECORDED = "recorded_at timestamp"
_PROGRAM = "program varchar, version integer, is_draft boolean"

# The columns of every table outside dbt, as the parts that write them create them.
TABLES: dict[str, dict[str, str]] = {
    "raw": {
        "customers": "customer_id varchar, email varchar, phone varchar, first_name varchar, last_name varchar, country varchar, "
        "timezone varchar, language varchar, brand varchar, created_at timestamp, extras varchar, " + _RAW_ORIGIN,
        "orders": "order_id varchar, customer_id varchar, ordered_at timestamp, status varchar, total decimal(18,4), "
        "refunded decimal(18,4), currency varchar, coupon_code varchar, sales_channel varchar, " + _RAW_ORIGIN,
        "order_lines": "order_id varchar, line_no integer, product_id varchar, quantity decimal(18,3), unit_price decimal(18,4), "
        + _RAW_ORIGIN,
        "products": "product_id varchar, name varchar, category varchar, price decimal(18,4), launched_at timestamp, url varchar, "
        "image_url varchar, " + _RAW_ORIGIN,
        "message_events": "event_id varchar, customer_id varchar, address varchar, channel varchar, event_type varchar, "
        "occurred_at timestamp, campaign varchar, is_machine boolean, " + _RAW_ORIGIN,
        "activity_events": "event_id varchar, customer_id varchar, event_type varchar, occurred_at timestamp, " + _RAW_ORIGIN,
        "consents": "customer_id varchar, channel varchar, changed_at timestamp, granted boolean, source varchar, " + _RAW_ORIGIN,
        "devices": "push_token varchar, customer_id varchar, platform varchar, active boolean, updated_at timestamp, " + _RAW_ORIGIN,
        "quarantine": "file_id varchar, file varchar, table_name varchar, row_number bigint, column_name varchar, reason varchar, "
        "landed_at timestamp",
        "landed_files": "file_id varchar, file varchar, table_name varchar, rows_landed bigint, rows_quarantined bigint, "
        "landed_at timestamp, position integer, mapping_hash varchar",
        "changed_keys": "_file_id varchar, position bigint, table_name varchar, kind varchar, key varchar",
        "source_notes": "note varchar",
    },
    "ledger": {
        "program_versions": "program varchar, version integer, content_hash varchar, definition varchar, effective_at timestamp, "
        + _RECORDED,
        "program_statuses": "program varchar, status varchar, effective_at timestamp, " + _RECORDED,
        "policy_versions": "version integer, content_hash varchar, definition varchar, effective_at timestamp, " + _RECORDED,
        "approvals": "program varchar, version integer, approved_by varchar, " + _RECORDED,
        "enrolments": "enrolment_id varchar, program varchar, version integer, customer_id varchar, anchor_at timestamp, arm varchar, "
        "reason varchar, enrolled_at timestamp, as_of timestamp, " + _RECORDED,
        "steps": "step_id varchar, enrolment_id varchar, step_no integer, decision varchar, reason varchar, channel varchar, "
        "content varchar, message_id varchar, due_on date, as_of timestamp, " + _RECORDED,
        "messages": "message_id varchar, enrolment_id varchar, step_no integer, customer_id varchar, program varchar, version integer, "
        "kind varchar, channel varchar, content varchar, offer_code varchar, not_before timestamp, expires_at timestamp, "
        "as_of timestamp, " + _RECORDED,
        "claims": "item_id varchar, attempt integer, worker varchar, lease_until timestamp, " + _RECORDED,
        "outcomes": "item_id varchar, attempt integer, outcome varchar, reason varchar, provider_id varchar, retry_at timestamp, "
        "destination varchar, " + _RECORDED,
        "audience_changes": "change_id varchar, platform varchar, audience varchar, program varchar, customer_id varchar, "
        "operation varchar, identifiers varchar, reason varchar, as_of timestamp, " + _RECORDED,
        "suppressions": "suppression_id varchar, operation varchar, customer_id varchar, address_hash varchar, channel varchar, "
        "reason varchar, starts_at timestamp, ends_at timestamp, source varchar, " + _RECORDED,
        "tags": "tag_id varchar, operation varchar, customer_id varchar, tag varchar, enrolment_id varchar, " + _RECORDED,
        "frequency_limits": "limit_id varchar, operation varchar, customer_id varchar, channel varchar, max_messages integer, "
        "window_days integer, enrolment_id varchar, " + _RECORDED,
        "offer_codes": "program varchar, code varchar, enrolment_id varchar, " + _RECORDED,
        "landed_files": "file_id varchar, file varchar, table_name varchar, rows_landed bigint, rows_quarantined bigint, "
        "position integer, " + _RECORDED,
        "delivery_events": "event_id varchar, source varchar, event_type varchar, message_id varchar, provider_id varchar, "
        "channel varchar, address_hash varchar, occurred_at timestamp, is_machine integer, link varchar, reason varchar, " + _RECORDED,
        "applied_plans": "as_of timestamp, plan_hash varchar, counts varchar, run_id varchar, " + _RECORDED,
        "audit_trail": "act varchar, actor varchar, subject varchar, details varchar, previous_hash varchar, hash varchar, " + _RECORDED,
    },
    "programs": {
        "versions": _PROGRAM + ", effective_at timestamp, description varchar, audience varchar, lapse_days_at_least integer, "
        "lapse_days_below integer, program_group varchar, priority integer, cadence varchar, weekday integer, "
        "exclude_purchased_within_days integer, exclude_engaged_within_days integer, reentry_after_days integer, max_entries integer, "
        "max_per_day integer, holdout_percent double, holdout_below varchar, exit_on_purchase boolean, exit_on_engagement boolean, "
        "offer_code varchar, offer_percent double, offer_expires_after_days integer, offer_pool boolean, complete_tag varchar, "
        "complete_suppress_days integer, complete_after_days integer, complete_then varchar, complete_limit_channel varchar, "
        "complete_limit_messages integer, complete_limit_days integer, measure_window_days integer, attribution_hours integer, "
        "step_count integer",
        "statuses": "program varchar, status varchar, effective_at timestamp, is_draft boolean",
        "steps": _PROGRAM + ", step_no integer, day integer, kind varchar, content varchar, only_if varchar, unless varchar",
        "step_channels": _PROGRAM + ", step_no integer, position integer, channel varchar",
        "ad_platforms": _PROGRAM + ", platform varchar, channel varchar",
        "sending_policies": "version integer, is_draft boolean, effective_at timestamp, channel varchar, max_messages integer, "
        "window_days integer, patience_days integer",
    },
}


def load(
    home: Path,
    raw: Mapping[str, Rows] | None = None,
    *,
    programs: Mapping[str, Rows] | None = None,
    ledger: Mapping[str, Rows] | None = None,
) -> Path:
    """Create every table that dbt reads, filled with the given rows, in a new warehouse under `home`; return the file's path.

    Rows may leave columns out (null), and may hold text where a timestamp or decimal is meant. `_file_id`, `_row_number` and `seq`
    are filled in. A table or column that does not exist is an error: a typing mistake must not make a test pass.
    """
    path = Settings(home=home).warehouse
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as connection:
        connection.execute("set global TimeZone = 'UTC'")
        for schema, given in (("raw", raw or {}), ("ledger", ledger or {}), ("programs", programs or {})):
            unknown = set(given) - set(TABLES[schema])
            assert not unknown, f"no such table in {schema}: {sorted(unknown)}"
            connection.execute(f"create schema if not exists {schema}")
            for name, columns in TABLES[schema].items():
                sequence = "seq bigint, " if schema == "ledger" else ""
                connection.execute(f"create table {schema}.{name} ({sequence}{columns})")
                if name in given:
                    insert(connection, schema, name, given[name])
    return path


def insert(connection: duckdb.DuckDBPyConnection, schema: str, name: str, rows: Rows) -> None:
    """Add rows to a table that `load` has made. Landing would tell dbt of raw rows; here dbt is told to derive everything anew."""
    if schema == "raw":
        connection.execute("drop table if exists intermediate.derived_through")
    table = rows if isinstance(rows, pa.Table) else _as_table(rows)
    if table.num_rows == 0:
        return
    connection.register("given_rows", table)
    present = {row[0] for row in connection.execute(f"describe {schema}.{name}").fetchall()}
    unknown = set(table.column_names) - present
    assert not unknown, f"no such column in {schema}.{name}: {sorted(unknown)}"
    numbering = ""
    if schema == "raw" and "_row_number" in present - set(table.column_names):
        numbering = ", 'test' as _file_id, row_number() over () as _row_number"
    elif schema == "ledger" and "seq" not in table.column_names:
        numbering = ", row_number() over () as seq"
    connection.execute(f"insert into {schema}.{name} by name select *{numbering} from given_rows")
    connection.unregister("given_rows")


def _as_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    names = list(dict.fromkeys(key for row in rows for key in row))
    return pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})


def derive(home: Path, as_of: datetime, *, select: str | None = None, command: str = "build", arguments: Sequence[str] = ()) -> Path:
    """Run dbt over the warehouse of `home` as of `as_of`; return the warehouse's path.

    `select` is dbt's node selection (several, separated by spaces); `command` is `build` (with data tests and unit tests) or `run`.
    dbt's output becomes the assertion message where it fails.
    """
    settings = Settings(home=home)
    selection = ["--select", *select.split()] if select else []
    finished = subprocess.run(
        [str(Path(sys.executable).parent / "dbt"), "--quiet", command, *selection, *arguments],
        env=os.environ | settings.dbt_environment(as_of),
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, f"dbt {command} failed:\n{finished.stdout[-8000:]}\n{finished.stderr[-2000:]}"
    return settings.warehouse


def build(
    home: Path,
    raw: Mapping[str, Rows] | None = None,
    *,
    as_of: datetime,
    programs: Mapping[str, Rows] | None = None,
    ledger: Mapping[str, Rows] | None = None,
    select: str | None = None,
    command: str = "build",
) -> Path:
    """`load` and `derive` in one; return the path of the warehouse."""
    load(home, raw, programs=programs, ledger=ledger)
    return derive(home, as_of, select=select, command=command)


def was_whole(settings: Settings) -> bool:
    """Whether the last derivation, which came to its end, was of everything."""
    with open_warehouse(settings) as warehouse:
        [(is_whole, is_finished)] = warehouse.execute("select is_whole, is_finished from intermediate.derived_through").fetchall()
    assert is_finished
    return bool(is_whole)
