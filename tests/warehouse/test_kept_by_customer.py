"""Thirty days derived one upon the other, customer by customer, give what a derivation of everything gives."""

from __future__ import annotations

import hashlib
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.end_to_end.pipeline import run_dbt
from tests.warehouse.building import was_whole
from tests.warehouse.changing_shop import CUSTOMERS, START, ChangingShop
from winback.ledger import open_ledger
from winback.settings import Settings
from winback.warehouse import open_warehouse

DAYS = 30
MODELS = tuple(word for kind in ("test", "unit_test", "exposure") for word in ("--exclude-resource-type", kind))
KEPT = ("--select", "+config.materialized:kept", *MODELS)
# Whole days as a rule; once an hour within a day, and once three days were missed.
AS_OFS = [START + timedelta(days=day) + timedelta(hours=15 if day == 6 else 0) for day in range(DAYS + 1) if day not in (11, 12, 13)]
WHOLE_DAYS = {AS_OFS[index] for index in (1, 2, 6, 7, 11, 17, 22)}


def _derived(settings: Settings, *schemas: str) -> dict[str, list[tuple[Any, ...]]]:
    """Rows of the derived relations of these schemas, numbers with a fraction to nine digits."""
    with open_warehouse(settings) as warehouse:
        names = warehouse.execute(
            "select schema_name, table_name from duckdb_columns() where database_name = current_database() "
            "and list_contains(?, schema_name) group by all order by all",
            [list(schemas)],
        ).fetchall()
        return {f"{schema}.{name}": _rows(warehouse, f"{schema}.{name}") for schema, name in names if name != "derived_through"}


# Which customers a build took up: none of what was derived.
TAKEN_UP = {"intermediate.int_customers__touched", "intermediate.int_customers__readdressed"}


def _rows(warehouse: duckdb.DuckDBPyConnection, relation: str) -> list[tuple[Any, ...]]:
    columns = ", ".join(
        f"printf('%.9g', {name}) as {name}" if kind == "DOUBLE" else name
        for name, kind, *_ in warehouse.execute(f"describe {relation}").fetchall()
    )
    return warehouse.execute(f"select {columns} from {relation} order by all").fetchall()


def _derived_whole(shop: ChangingShop, as_of: datetime, *arguments: str) -> dict[str, list[tuple[Any, ...]]]:
    """What stays of a derivation from nothing, in a copy of the home.

    At a path of its own each time: dbt keeps a DuckDB file open to the end of the process, and whoever opens that path again is given what
    dbt has open, whatever file stands there by then.
    """
    home = shop.settings.root.with_name(f"whole-{as_of:%Y%m%dT%H}")
    shutil.copytree(shop.settings.root, home)
    settings = shop.settings.model_copy(update={"home": home})
    with open_warehouse(settings) as warehouse:
        for schema in ("intermediate", "marts"):
            warehouse.execute(f"drop schema if exists {schema} cascade")
    nodes = run_dbt(settings, as_of, "build", *arguments)
    assert was_whole(settings)
    passed_on = {f"intermediate.{node.name}" for node in nodes if node.config.materialized == "passed_on"}
    assert passed_on
    return {name: rows for name, rows in _derived(settings, "intermediate", "marts").items() if name not in TAKEN_UP | passed_on}


def _derived_once(folder: Path, seed: int, *arguments: str) -> ChangingShop:
    shop = ChangingShop(folder, seed)
    shop.past()
    shop.land(START)
    run_dbt(shop.settings, START, "build", *arguments)
    assert was_whole(shop.settings)
    return shop


@pytest.mark.slow
def test_thirty_days_customer_by_customer_equal_everything_anew(tmp_path: Path) -> None:
    shop = _derived_once(tmp_path, 20300107, *MODELS)

    touched = []
    for as_of in AS_OFS[1:]:
        shop.one_more_day(as_of)
        shop.land(as_of)
        last = as_of == AS_OFS[-1]
        run_dbt(shop.settings, as_of, "build", *(MODELS if last else KEPT))
        assert not was_whole(shop.settings)
        touched.append(len(_derived(shop.settings, "intermediate")["intermediate.int_customers__touched"]))
        if last or as_of in WHOLE_DAYS:
            whole = _derived_whole(shop, as_of, *(MODELS if last else KEPT))
            found = _derived(shop.settings, "intermediate", "marts")
            different = [name for name, expected in whole.items() if found[name] != expected]
            assert not different, f"{as_of}: {different}"
    # A test in which everybody is taken up each day would prove nothing.
    assert sum(touched) < 0.8 * len(touched) * CUSTOMERS
    assert min(touched) > 0


@pytest.mark.slow
def test_an_event_leaves_the_holder_of_its_address_when_its_message_is_known(tmp_path: Path) -> None:
    shop = ChangingShop(tmp_path, seed=11)
    shop.past()
    holder, sent_to = "c1", "c2"
    shop.customers[holder]["email"], shop.customers[sent_to]["email"] = "holder@example.com", "other@example.com"
    shop.put(START, "customers", list(shop.customers.values()))
    event = {"event_id": "d", "source": "test", "event_type": "clicked", "message_id": "later", "channel": "email", "is_machine": 0}
    event |= {"address_hash": hashlib.sha256(b"holder@example.com").hexdigest(), "link": "shop"}
    with open_ledger(shop.settings) as ledger:
        ledger.record("delivery_events", [event | {"occurred_at": START - timedelta(hours=2), "recorded_at": START - timedelta(hours=1)}])
    shop.land(START)
    run_dbt(shop.settings, START, "build", *KEPT)

    # Two days on, so that neither the event nor its holder is new in the build that hears of the message.
    for as_of in (START + timedelta(days=1), START + timedelta(days=2)):
        run_dbt(shop.settings, as_of, "build", *KEPT)
    message = {"message_id": "later", "enrolment_id": "e", "step_no": 1, "customer_id": sent_to, "program": "tier_drop", "version": 1}
    message |= {"kind": "send", "channel": "email", "content": "hello", "not_before": START, "expires_at": START, "as_of": START}
    with open_ledger(shop.settings) as ledger:
        ledger.record("messages", [message | {"recorded_at": START + timedelta(days=2, hours=1)}])
    as_of = START + timedelta(days=3)
    shop.land(as_of)
    run_dbt(shop.settings, as_of, "build", *KEPT)
    assert not was_whole(shop.settings)

    found = _derived(shop.settings, "intermediate", "marts")
    assert [name for name, expected in _derived_whole(shop, as_of, *KEPT).items() if found[name] != expected] == []


@pytest.mark.slow
def test_what_is_not_surely_a_continuation_is_derived_anew(tmp_path: Path) -> None:
    shop = ChangingShop(tmp_path, seed=7)
    shop.past()
    shop.land(START)
    day = timedelta(days=1)

    def build(as_of: datetime, *arguments: str) -> bool:
        run_dbt(shop.settings, as_of, "build", *arguments, *KEPT)
        return was_whole(shop.settings)

    assert build(START)
    assert not build(START)
    assert build(START, "--full-refresh")
    assert not build(START + day)
    # Back in time, and further ahead than the rows of customers are worth keeping.
    assert build(START)
    assert build(START + 20 * day)
    # A build that did not come to its end, as when it was killed or a test stopped it.
    run_dbt(shop.settings, START + 20 * day, "build", "--select", "+int_orders__order_days", *MODELS)
    assert build(START + 20 * day)
    # Other rules.
    assert build(START + 20 * day, "--vars", "{tier_at_risk_from_days: 30}")
    assert not build(START + 20 * day, "--vars", "{tier_at_risk_from_days: 30}")
    assert build(START + 20 * day)
    # Files that were landed before are others than they were.
    with open_warehouse(shop.settings) as warehouse:
        warehouse.execute("update raw.landed_files set mapping_hash = 'edited' where position = 1")
    assert build(START + 20 * day)
    # A table of which nothing was known before.
    with open_warehouse(shop.settings) as warehouse:
        warehouse.execute("insert into raw.changed_keys select file_id, position + 1, 'devices', 'everybody', null from raw.landed_files")
    assert build(START + 20 * day)
    # Rows of which no file is told, as other tools may write them: nothing says which of them are new.
    with open_warehouse(shop.settings) as warehouse:
        warehouse.execute("delete from raw.landed_files; delete from raw.changed_keys")
    assert build(START + 20 * day)
    assert build(START + 20 * day)


@pytest.mark.slow
def test_a_model_is_not_built_of_what_another_build_passed_on(tmp_path: Path) -> None:
    shop = _derived_once(tmp_path, 11, *KEPT)
    before = _derived(shop.settings, "intermediate")["intermediate.int_customers__profiled"]

    with pytest.raises(AssertionError, match=r"Nothing was built. Select it too: --select \+int_customers__profiled"):
        run_dbt(shop.settings, START, "build", "--select", "int_customers__profiled", *MODELS)

    assert _derived(shop.settings, "intermediate")["intermediate.int_customers__profiled"] == before
    run_dbt(shop.settings, START, "build", "--select", "+int_customers__profiled", *MODELS)
    assert _derived(shop.settings, "intermediate")["intermediate.int_customers__profiled"] == before
