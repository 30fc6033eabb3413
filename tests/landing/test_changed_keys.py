"""Whose data a landed file changed, and what a file that says nothing new leaves as it is."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.landing.conftest import NOW, ORDERS, Shop
from winback.landing import TABLES

EVERYBODY = ("everybody", None)


def changed(shop: Shop, table: str) -> list[tuple[Any, ...]]:
    """Keys of the last file that was landed into a table."""
    return shop.ask(f"""
        select kind, key from raw.changed_keys
        where position = (select max(position) from raw.landed_files where table_name = '{table}') and table_name = '{table}'
        order by all
    """)


def origins(shop: Shop, table: str) -> list[tuple[Any, ...]]:
    """Files that the rows of a table are from, by key."""
    keys = ", ".join(TABLES[table].key)
    return shop.ask(f"""
        select {keys}, file, _row_number
        from raw.{table} left join (select distinct file_id, file from raw.landed_files) on file_id = _file_id order by all
    """)


def raw(shop: Shop) -> dict[str, list[tuple[Any, ...]]]:
    """All of schema raw, with the places that rows are from."""
    return {table: shop.ask(f"from raw.{table} order by all") for table in (*TABLES, "quarantine", "landed_files", "changed_keys")}


def test_a_first_file_changes_everybody_and_an_empty_one_nobody(shop: Shop) -> None:
    shop.put_needed()
    shop.put("products.csv", "product_id,name\n")
    shop.land()
    assert shop.ask("select table_name, kind, key from raw.changed_keys order by all") == [
        ("customers", "everybody", None),
        ("orders", "everybody", None),
    ]
    shop.put("products-2.csv", "product_id,name\nP1,Tea\n")
    shop.land()
    assert changed(shop, "products") == [EVERYBODY]


def test_every_kind_of_row_says_whose_it_is(shop: Shop) -> None:
    shop.put_needed()
    first = {
        "order_lines": "order_id,line_no,product_id\nO9,1,P1\n",
        "products": "product_id,name\nP9,Milk\n",
        "message_events": "event_id,customer_id,address,channel,event_type,occurred_at\nM9,C9,,email,opened,2025-01-01\n",
        "activity_events": "event_id,customer_id,event_type,occurred_at\nA9,C9,visit,2025-01-01\n",
        "consents": "customer_id,channel,changed_at,granted\nC9,email,2025-01-01,yes\n",
        "devices": "push_token,customer_id,updated_at\nT9,C9,2025-01-01\n",
    }
    for table, text in first.items():
        shop.put(f"{table}.csv", text)
    shop.land()
    second = {
        "customers": "customer_id,email\nC3,cy@example.com\n",
        "orders": "order_id,customer_id,ordered_at,total\nO3,C1,2025-02-01,5\nO4,C1,2025-02-02,5\nO5,,2025-02-02,5\n",
        "order_lines": "order_id,line_no,product_id\nO1,1,P1\nO1,2,P2\n",
        "products": "product_id,name\nP1,Tea\n",
        "message_events": "event_id,customer_id,address,channel,event_type,occurred_at\n"
        "M1,C1,ana@example.com,email,opened,2025-01-01\nM2,,Bo@Example.com ,email,opened,2025-01-01\n",
        "activity_events": "event_id,customer_id,event_type,occurred_at\nA1,C2,visit,2025-01-01\n",
        "consents": "customer_id,channel,changed_at,granted\nC2,email,2025-01-01,yes\n",
        "devices": "push_token,customer_id,updated_at\nT1,C2,2025-01-01\n",
    }
    for table, text in second.items():
        shop.put(f"{table}-2.csv", text)
    shop.land()
    assert {table: changed(shop, table) for table in second} == {
        "customers": [("customer", "C3")],
        "orders": [("customer", "C1")],
        "order_lines": [("order", "O1")],
        "products": [("product", "P1")],
        "message_events": [("address", "Bo@Example.com"), ("customer", "C1")],
        "activity_events": [("customer", "C2")],
        "consents": [("customer", "C2")],
        "devices": [("customer", "C2")],
    }
    assert shop.ask("""
        select count(*) from raw.changed_keys as changed
        anti join raw.landed_files as files
            on files.position = changed.position and files.file_id = changed._file_id and files.table_name = changed.table_name
    """) == [(0,)]


def test_rows_that_say_what_is_known_stay_and_change_nobody(shop: Shop) -> None:
    columns = "customer_id,email,created_at,Loyalty tier"
    shop.put("customers.csv", f"{columns}\nC1,ana@example.com,2024-01-01 10:00:00.123456,gold\nC2,,,\n")
    shop.put("orders.csv", ORDERS)
    shop.land()
    # Written otherwise, and the same.
    shop.put("customers-2.csv", f"{columns}\nC2,,,\nC1,ana@example.com,2024-01-01T11:00:00.123456+01:00,gold\nC3,,,\n")
    shop.put("orders-2.csv", "total,order_id,customer_id,ordered_at,status\n35.5000,O2,C2,2025-01-06T11:30,PAID\n")
    report = shop.land()
    assert [(file.rows_landed, file.rows_quarantined) for file in report.files if file.status == "landed"] == [(3, 0), (1, 0)]
    assert shop.ask("select rows_landed from raw.landed_files order by position") == [(2,), (2,), (3,), (1,)]
    assert changed(shop, "customers") == [("customer", "C3")]
    assert changed(shop, "orders") == []
    assert origins(shop, "customers") == [("C1", "customers.csv", 2), ("C2", "customers.csv", 3), ("C3", "customers-2.csv", 4)]
    assert origins(shop, "orders") == [("O1", "orders.csv", 2), ("O2", "orders.csv", 3)]


@pytest.mark.parametrize(
    "row",
    ["C1,,DE,2024-01-01,gold", "C1,ana@example.com,DE,2024-01-01,", "C1,ana@example.com,DE,2024-01-01 00:00:00.000001,gold"],
    ids=["a value less", "more columns", "a microsecond"],
)
def test_any_difference_in_a_row_counts(shop: Shop, row: str) -> None:
    columns = "customer_id,email,country,created_at,tier"
    shop.put("customers.csv", f"{columns}\nC1,ana@example.com,DE,2024-01-01,gold\nC2,,,,\n")
    shop.put("orders.csv", ORDERS)
    shop.land()
    shop.put("customers-2.csv", f"{columns}\n{row}\nC2,,,,\n")
    shop.land()
    assert changed(shop, "customers") == [("customer", "C1")]
    shop.put("customers-3.csv", f"{columns}\nC1,ana@example.com,DE,2024-01-01,gold\n")
    shop.land()
    assert changed(shop, "customers") == [("customer", "C1")]
    assert shop.ask("select email, country, extras from raw.customers where customer_id = 'C1'") == [
        ("ana@example.com", "DE", '{"tier":"gold"}')
    ]


def test_a_row_that_moves_from_one_customer_to_another_concerns_both(shop: Shop) -> None:
    shop.put_needed()
    shop.put(
        "message_events.csv", "event_id,customer_id,address,channel,event_type,occurred_at\nM1,,a@example.com,email,opened,2025-01-01\n"
    )
    shop.land()
    shop.put("orders-2.csv", "order_id,customer_id,ordered_at,total\nO1,C7,2025-01-05 10:00:00,20.00\n")
    shop.put(
        "message_events-2.csv", "event_id,customer_id,address,channel,event_type,occurred_at\nM1,C8,a@example.com,email,opened,2025-01-01\n"
    )
    shop.land()
    assert changed(shop, "orders") == [("customer", "C1"), ("customer", "C7")]
    assert changed(shop, "message_events") == [("address", "a@example.com"), ("customer", "C8")]
    shop.put("orders-3.csv", "order_id,customer_id,ordered_at,total\nO1,,2025-01-05 10:00:00,20.00\n")
    shop.land()
    assert changed(shop, "orders") == [("customer", "C7")]


def test_within_a_file_the_last_row_is_compared(shop: Shop) -> None:
    shop.put_needed()
    shop.land()
    there_and_back = "O1,C9,2025-01-05 10:00:00,1.00\n" + ORDERS.splitlines()[1]
    shop.put(
        "orders-2.csv", f"{ORDERS.splitlines()[0]}\n{there_and_back}\nO2,C2,2025-01-06 11:30:00,35.50\nO2,C3,2025-01-06 11:30:00,35.50\n"
    )
    shop.land()
    assert changed(shop, "orders") == [("customer", "C2"), ("customer", "C3")]
    assert origins(shop, "orders") == [("O1", "orders.csv", 2), ("O2", "orders-2.csv", 5)]


def test_several_sources_of_one_file_tell_each_key_once(shop: Shop, tmp_path: Path) -> None:
    mapping = tmp_path / "own.yml"
    mapping.write_text("""
extends: standard
tables:
  consents:
    - files: signups*
      columns: {channel: {value: email}, granted: email_ok, changed_at: at}
    - files: signups*
      columns: {channel: {value: sms}, granted: sms_ok, changed_at: at}
    - files: signups*
      columns: {channel: {value: sms}, granted: push_ok, changed_at: at}
""")
    shop.put_needed()
    shop.put("signups.csv", "customer_id,at,email_ok,sms_ok,push_ok\nC1,2025-01-01,yes,no,no\n")
    shop.land(str(mapping))
    assert changed(shop, "consents") == [EVERYBODY]
    # The second source adds a row, which the third replaces.
    shop.put("signups-2.csv", "customer_id,at,email_ok,sms_ok,push_ok\nC1,2025-01-01,no,no,no\nC2,2025-01-02,yes,no,yes\n")
    report = shop.land(str(mapping))
    assert changed(shop, "consents") == [("customer", "C1"), ("customer", "C2")]
    assert [file.rows_landed for file in report.files if file.file == "signups-2.csv"] == [6]
    assert shop.ask("select customer_id, channel, granted from raw.consents order by all") == [
        ("C1", "email", False),
        ("C1", "sms", False),
        ("C2", "email", True),
        ("C2", "sms", True),
    ]


def test_what_is_loaded_again_tells_the_same(shop: Shop, tmp_path: Path) -> None:
    mapping = tmp_path / "own.yml"
    mapping.write_text("extends: standard\n")
    shop.put_needed()
    shop.land(str(mapping))
    shop.put("orders-2.csv", ORDERS.replace("35.50", "30.00"))
    shop.land(str(mapping), now=NOW + timedelta(days=1))
    before = raw(shop)
    assert changed(shop, "orders") == [("customer", "C2")]
    shop.delete_warehouse()
    shop.land(str(mapping))
    assert raw(shop) == before
    mapping.write_text("extends: standard\ntables:\n  orders:\n    files: orders*\n    columns: {total: {value: 7}}\n")
    shop.land(str(mapping))
    assert shop.ask("select table_name, kind, key from raw.changed_keys order by position") == [
        ("customers", *EVERYBODY),
        ("orders", *EVERYBODY),
    ]


def test_a_landing_that_ends_midway_tells_nothing(shop: Shop) -> None:
    shop.put_needed()
    shop.land()
    before = shop.everything(), shop.ask("from raw.changed_keys order by all")
    shop.put("orders-2.csv", ORDERS.replace("35.50", "30.00"))
    # The last statement of the file's transaction then fails.
    shop.connection.execute("alter table raw.landed_files add column unknown varchar")
    with pytest.raises(duckdb.Error, match="landed_files"):
        shop.land()
    assert (shop.everything(), shop.ask("from raw.changed_keys order by all")) == before
    shop.connection.execute("alter table raw.landed_files drop column unknown")
    shop.land()
    assert changed(shop, "orders") == [("customer", "C2")]


_ids, _people, _words = st.sampled_from("123"), st.sampled_from(["C1", "C2", "C3", ""]), st.sampled_from(["x", "y", ""])
_files = st.one_of(
    st.tuples(st.just("orders"), st.lists(st.tuples(_ids, _people, st.sampled_from(["1", "1.0000", "2"]), _words), max_size=5)),
    st.tuples(st.just("customers"), st.lists(st.tuples(st.sampled_from(["C1", "C2"]), _words, _words, _words), max_size=4)),
    st.tuples(
        st.just("message_events"),
        st.lists(st.tuples(_ids, _people, _words, _words).filter(lambda row: bool(row[1] or row[2])), max_size=5),
    ),
)
_COLUMNS = {
    "orders": ("order_id", "customer_id", "total", "coupon_code"),
    "customers": ("customer_id", "email", "brand", "Extra"),
    "message_events": ("event_id", "customer_id", "address", "campaign"),
}
_REST = {
    "orders": (",ordered_at", ",2025-01-01"),
    "customers": ("", ""),
    "message_events": (",channel,event_type,occurred_at", ",sms,sent,2025-01-01"),
}


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.lists(_files, min_size=2, max_size=5))
def test_the_last_row_of_a_key_holds_and_whoever_changed_is_told(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[str, list[tuple[str, str, str, str]]]]
) -> None:
    shop = Shop(tmp_path_factory.mktemp("sequence"))
    shop.put("customers.csv", "customer_id\n")
    shop.put("orders.csv", "order_id,customer_id,ordered_at,total\n")
    shop.land()
    expected: dict[str, dict[str, tuple[str, ...]]] = {table: {} for table in _COLUMNS}
    concerned: list[set[tuple[str, str | None]]] = []
    for number, (table, rows) in enumerate(files):
        header, rest = _REST[table]
        # A column of its own makes every file another one.
        text = [",".join((*_COLUMNS[table], f"nothing_{number}")) + header, *(",".join((*row, "")) + rest for row in rows)]
        shop.put(f"{number}/{table}.csv", "\n".join(text) + "\n")
        before, after = expected[table], expected[table] | {row[0]: _said(table, row) for row in rows}
        concerned.append({EVERYBODY} if after and not before else _concerned(table, before, after))
        expected[table] = after
    shop.land()
    assert {table: _stored(shop, table) for table in expected} == {table: sorted(rows.values()) for table, rows in expected.items()}
    told = shop.ask("select position, kind, key from raw.changed_keys order by all")
    assert told == sorted(((position, *key) for position, keys in enumerate(concerned, start=3) for key in keys), key=str)
    found = raw(shop)
    shop.delete_warehouse()
    shop.land()
    assert raw(shop) == found
    shop.connection.close()


def _said(table: str, row: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{float(value):.4f}" if table == "orders" and place == 2 else value for place, value in enumerate(row))


def _stored(shop: Shop, table: str) -> list[tuple[str, ...]]:
    columns = [f"coalesce({name}::varchar, '')" if name != "Extra" else "coalesce(extras ->> '$.Extra', '')" for name in _COLUMNS[table]]
    return sorted(shop.ask(f"select {', '.join(columns)} from raw.{table}"))


def _concerned(table: str, before: dict[str, tuple[str, ...]], after: dict[str, tuple[str, ...]]) -> set[tuple[str, str | None]]:
    differing = [rows[key] for key in after if before.get(key) != after[key] for rows in (before, after) if key in rows]
    if table == "customers":
        return {("customer", row[0]) for row in differing}
    if table == "orders":
        return {("customer", row[1]) for row in differing if row[1]}
    return {("customer", row[1]) if row[1] else ("address", row[2]) for row in differing}
