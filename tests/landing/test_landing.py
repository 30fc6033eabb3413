"""What a drop of files does to the raw tables, and what it does not."""

from __future__ import annotations

import gzip
import json
import os
import random
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.landing.conftest import CUSTOMERS, NOW, ORDERS, RememberedFiles, Shop
from winback.errors import BadConfig, BadInput, StopRun
from winback.landing import land, waiting_files
from winback.ledger import open_ledger
from winback.settings import Settings
from winback.warehouse import open_warehouse


def test_a_first_drop_lands_what_is_in_the_files(shop: Shop) -> None:
    shop.put_needed()
    report = shop.land()
    assert [(file.file, file.status, file.rows_landed, file.rows_quarantined) for file in report.files] == [
        ("customers.csv", "landed", 2, 0),
        ("orders.csv", "landed", 2, 0),
    ]
    assert shop.ask("select order_id, customer_id, ordered_at, status, total, refunded from raw.orders order by 1") == [
        ("O1", "C1", datetime(2025, 1, 5, 10), "paid", 20, 0),
        ("O2", "C2", datetime(2025, 1, 6, 11, 30), "paid", pytest.approx(35.5), 0),
    ]
    assert report.metadata("orders") == {"rows": 2, "files_landed": 1, "rows_landed": 2, "rows_quarantined": 0}


def test_dropping_a_file_again_changes_nothing_under_any_name(shop: Shop) -> None:
    shop.put_needed()
    shop.land()
    before = shop.everything(), shop.ask("from raw.landed_files"), list(shop.ledger.landed)
    shop.put("orders-copy.csv", ORDERS)
    report = shop.land(now=NOW + timedelta(days=1))
    assert {file.status for file in report.files} == {"known"}
    assert (shop.everything(), shop.ask("from raw.landed_files"), list(shop.ledger.landed)) == before


def test_a_corrected_row_replaces_its_predecessor(shop: Shop) -> None:
    shop.put_needed()
    shop.land()
    shop.put("orders-2.csv", "order_id,customer_id,ordered_at,total,status\nO1,C1,2025-01-05,18.00,canceled\nO3,,2025-01-07,5,paid\n")
    shop.land()
    assert shop.ask("select order_id, customer_id, total::double, status from raw.orders order by 1") == [
        ("O1", "C1", 18.0, "cancelled"),
        ("O2", "C2", 35.5, "paid"),
        ("O3", None, 5.0, "paid"),
    ]


def test_within_a_file_the_last_row_of_a_key_holds(shop: Shop) -> None:
    shop.put_needed()
    shop.put("devices.csv", "push_token,customer_id,updated_at,active\nT,C1,2025-01-01,yes\nT,C2,2025-01-02,no\nT,C2,2025-01-02,yes\n")
    report = shop.land()
    assert shop.ask("select customer_id, updated_at, active from raw.devices order by 2") == [
        ("C1", datetime(2025, 1, 1), True),
        ("C2", datetime(2025, 1, 2), True),
    ]
    assert next(file.rows_landed for file in report.files if file.table == "devices") == 3


def test_a_file_edited_in_place_lands_as_a_new_one(shop: Shop) -> None:
    shop.put_needed()
    shop.land()
    shop.put("customers.csv", CUSTOMERS.replace("ana@", "anna@"))
    shop.land()
    assert shop.ask("select email from raw.customers order by 1") == [("anna@example.com",), ("bo@example.com",)]
    assert len(shop.ledger.landed) == 3


def test_a_deleted_warehouse_is_loaded_again_in_the_order_in_which_files_came(shop: Shop) -> None:
    shop.put_needed()
    shop.land()
    # Sorts before orders.csv, and came after it.
    shop.put("orders-0.csv", ORDERS.replace("20.00", "19.00"))
    shop.land(now=NOW + timedelta(days=1))
    before = shop.everything(), shop.ask("from raw.landed_files")
    shop.delete_warehouse()
    report = shop.land(now=NOW + timedelta(days=9))
    assert {file.status for file in report.files} == {"loaded_again"}
    assert (shop.everything(), shop.ask("from raw.landed_files")) == before
    assert shop.ask("select total::double from raw.orders where order_id = 'O1'") == [(19.0,)]


def test_a_remembered_file_that_is_gone_stops_the_run_only_when_it_is_needed(shop: Shop) -> None:
    shop.put_needed()
    shop.land()
    (shop.data / "orders.csv").unlink()
    shop.land()
    shop.delete_warehouse()
    with pytest.raises(StopRun, match=r"orders\.csv: landed before, needed again because the warehouse was deleted"):
        shop.land()


def test_an_edited_mapping_reads_all_files_again(shop: Shop, tmp_path: Path) -> None:
    shop.put_needed()
    mapping = tmp_path / "own.yml"
    mapping.write_text("extends: standard\n")
    shop.land(str(mapping))
    mapping.write_text("extends: standard\ntables:\n  orders:\n    files: orders*\n    columns: {currency: {value: gbp}}\n")
    shop.land(str(mapping))
    assert shop.ask("select distinct currency from raw.orders") == [("GBP",)]
    report = shop.land(str(mapping))
    assert {file.status for file in report.files} == {"known"}


@pytest.mark.parametrize(
    ("broken", "error"),
    [("columns: {order_id: {from: absent}}", BadInput), ('columns: {total: {sql: "no_such_column"}}', BadConfig)],
    ids=["a_file_that_no_longer_fits", "an_expression_that_does_not_work"],
)
def test_rows_stand_until_an_edited_mapping_has_read_all_files(shop: Shop, tmp_path: Path, broken: str, error: type[Exception]) -> None:
    shop.put_needed()
    mapping = tmp_path / "own.yml"
    mapping.write_text("extends: standard\n")
    shop.land(str(mapping))
    before = shop.everything()
    mapping.write_text(f"extends: standard\ntables:\n  orders:\n    files: orders*\n    {broken}\n")
    with pytest.raises(error):
        shop.land(str(mapping))
    assert shop.everything() == before
    mapping.write_text("extends: standard\ntables:\n  orders:\n    files: orders*\n    columns: {currency: {value: gbp}}\n")
    report = shop.land(str(mapping))
    assert {file.status for file in report.files} == {"loaded_again"}
    assert shop.ask("select count(*), min(currency) from raw.orders") == [(2, "GBP")]


class _Killed(RememberedFiles):
    """Ends the process when the first file is in the warehouse."""

    def record(self, table: str, rows: Iterable[Mapping[str, Any]]) -> int:
        os._exit(9)


def _land_and_be_killed(settings: Settings, landed: list[dict[str, Any]], mapping: str) -> None:
    with open_warehouse(settings) as connection:
        land(settings, connection, _Killed(landed), now=NOW, mapping=mapping)


def test_rows_stand_when_the_process_is_killed_while_it_reads_all_files_again(shop: Shop, tmp_path: Path) -> None:
    shop.put_needed()
    mapping = tmp_path / "own.yml"
    mapping.write_text("extends: standard\n")
    with open_warehouse(shop.settings) as connection:
        land(shop.settings, connection, shop.ledger, now=NOW, mapping=str(mapping))
    mapping.write_text("extends: standard\ntimezone: Europe/Berlin\n")
    killed = get_context("spawn").Process(target=_land_and_be_killed, args=(shop.settings, shop.ledger.landed, str(mapping)))
    killed.start()
    killed.join()
    assert killed.exitcode == 9
    mapping.write_text("extends: standard\n")
    with open_warehouse(shop.settings) as connection:
        report = land(shop.settings, connection, shop.ledger, now=NOW, mapping=str(mapping))
        assert {file.status for file in report.files} == {"known"}
        assert connection.execute("select count(*), min(ordered_at) from raw.orders").fetchall() == [(2, datetime(2025, 1, 5, 10))]


def test_a_crash_between_warehouse_and_ledger_is_mended(shop: Shop) -> None:
    shop.put_needed()
    shop.land()
    before = shop.everything()
    shop.ledger.landed.pop()
    assert {file.status for file in shop.land().files} == {"known"}
    assert [row["file"] for row in shop.ledger.landed] == ["customers.csv", "orders.csv"]
    shop.ledger = RememberedFiles()
    shop.land()
    assert shop.everything() == before
    assert [row["file"] for row in shop.ledger.landed] == ["customers.csv", "orders.csv"]


def test_it_works_on_the_real_ledger_and_a_warehouse_file(shop: Shop) -> None:
    shop.put_needed()
    with open_ledger(shop.settings) as ledger:
        with open_warehouse(shop.settings) as connection:
            land(shop.settings, connection, ledger, now=NOW)
        shop.settings.warehouse.unlink()
        with open_warehouse(shop.settings) as connection:
            report = land(shop.settings, connection, ledger, now=NOW + timedelta(days=1))
            assert {file.status for file in report.files} == {"loaded_again"}
            assert connection.execute("select count(*), max(landed_at) from raw.landed_files").fetchall() == [(2, NOW)]
        assert list(shop.settings.warehouse.parent.glob("landing-*")) == []


def test_files_that_are_waiting_are_told_until_they_are_landed(shop: Shop) -> None:
    shop.put_needed()
    shop.put("notes.md", "nothing of ours")
    waiting = waiting_files(shop.settings)
    assert waiting.files == ["customers.csv", "orders.csv"]
    assert waiting_files(shop.settings).fingerprint == waiting.fingerprint
    assert shop.land().ignored == ["notes.md"]
    assert waiting_files(shop.settings).files == []
    shop.put("orders-2.csv", ORDERS.replace("O1", "O9"))
    assert waiting_files(shop.settings).files == ["orders-2.csv"]
    assert waiting_files(shop.settings).fingerprint != waiting.fingerprint


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("customers.csv", CUSTOMERS.encode()),
        ("customers.csv", b"\xef\xbb\xbf" + CUSTOMERS.replace("\n", "\r\n").encode()),
        ("customers.csv", CUSTOMERS.encode("utf-16")),
        ("customers.csv", CUSTOMERS.replace(",", ";").encode()),
        ("customers.csv", ("sep=;\r\n" + CUSTOMERS.replace(",", ";").replace("\n", "\r\n")).encode()),
        ("customers.csv", CUSTOMERS.replace("\n", "\r").encode()),
        ("customers.csv", CUSTOMERS.replace("\n", "\n\n").encode().rstrip()),
        ("customers.csv", CUSTOMERS.replace("customer_id,email", '"Customer ID", E-Mail ').encode()),
        ("customers.csv.gz", gzip.compress(CUSTOMERS.encode(), mtime=0)),
        ("CUSTOMERS_2025.TSV", CUSTOMERS.replace(",", "\t").encode()),
        ("customers/part-0.csv", CUSTOMERS.encode()),
        ("customers.jsonl", b'{"customer_id": "C1", "email": "ana@example.com"}\n\n{"email": "bo@example.com", "customer_id": "C2"}'),
        (
            "customers.json",
            b'\xef\xbb\xbf [{"customer_id": "C1", "email": "ana@example.com"},\n {"email": "bo@example.com", "customer_id": "C2"}]',
        ),
        (
            "customers.json.gz",
            gzip.compress(
                b'[{"customer_id": "C1", "email": "ana@example.com"}, {"email": "bo@example.com", "customer_id": "C2"}]', mtime=0
            ),
        ),
    ],
)
def test_files_come_in_many_spellings(shop: Shop, name: str, content: bytes) -> None:
    shop.put_needed()
    (shop.data / "customers.csv").unlink()
    shop.put(name, content)
    shop.land()
    assert shop.ask("select customer_id, email, extras from raw.customers order by 1") == [
        ("C1", "ana@example.com", None),
        ("C2", "bo@example.com", None),
    ]
    assert shop.quarantine() == []


def test_parquet_brings_its_own_types(shop: Shop) -> None:
    shop.put("customers.csv", CUSTOMERS)
    shop.connection.execute(
        f"""copy (
            select
                1::double as "Order ID",
                17850.0::double as customer_id,
                timestamptz '2025-01-05 10:00:00+02' as ordered_at,
                12.5::float as total
            union all select 2, null, timestamptz '2025-01-06 00:00:00+00', 'nan'::float
        ) to '{shop.data / "orders.parquet"}' (format parquet)"""
    )
    shop.land()
    assert shop.ask("select order_id, customer_id, ordered_at, total::double from raw.orders") == [
        ("1", "17850", datetime(2025, 1, 5, 8), 12.5)
    ]
    assert shop.quarantine() == [("orders.parquet", 2, "total", "is missing")]


def test_more_columns_of_customers_are_kept(shop: Shop) -> None:
    shop.put_needed()
    shop.put("customers.csv", 'customer_id,Loyalty tier,Note\nC1,gold,"said ""hi"""\nC2,,\n')
    shop.land()
    [(kept,), (nothing,)] = shop.ask("select extras from raw.customers order by customer_id")
    assert json.loads(kept) == {"Loyalty tier": "gold", "Note": 'said "hi"'}
    assert nothing is None


BAD_ORDERS: list[tuple[str | bytes, str | None, str]] = [
    ("O,C1,2024-13-01,1", "ordered_at", "is not a timestamp like 2024-12-31 23:59:59"),
    ("O,C1,infinity,1", "ordered_at", "is not a timestamp like 2024-12-31 23:59:59"),
    ("O,C1,01/02/2025,1", "ordered_at", "is not a timestamp like 2024-12-31 23:59:59"),
    ("O,C1,2024-12-01 10:00 Paris,1", "ordered_at", "is not a timestamp like 2024-12-31 23:59:59"),
    ("O,C1,,1", "ordered_at", "is missing"),
    ("O,C1,2024-12-01,-1", "total", "is negative"),
    ("O,C1,2024-12-01,", "total", "is missing"),
    ("O,C1,2024-12-01,12 euros", "total", "is not a number, or too large"),
    ('O,C1,2024-12-01,"12,50"', "total", "is not a number, or too large"),
    ("O,C1,2024-12-01,99999999999999999999", "total", "is not a number, or too large"),
    (",C1,2024-12-01,1", "order_id", "is missing"),
    ("NULL,C1,2024-12-01,1", "order_id", "is missing"),
    ("O,C1,2024-12-01", None, "has 3 values, expected 4"),
    ("O,C1,2024-12-01,1,,", None, "has 6 values, expected 4"),
    ('O,"C1,2024-12-01,1', None, "a quote is opened and not closed, or stands in the middle of a value"),
    ('O,C"1",2024-12-01,1', None, "a quote stands in the middle of a value"),
    (b"O,C\xe9,2024-12-01,1", None, "holds a byte that is not text in the encoding of the file"),
    (b"O,C\x00,2024-12-01,1", None, "holds a zero byte"),
]


@pytest.mark.parametrize(("row", "column", "reason"), BAD_ORDERS)
def test_a_bad_row_costs_itself_only(shop: Shop, row: str | bytes, column: str | None, reason: str) -> None:
    shop.put("customers.csv", CUSTOMERS)
    bad = row if isinstance(row, bytes) else row.encode()
    shop.put("orders.csv", ORDERS.encode() + bad + b'\n"O3",C1,"2025-01-07T08:00:00Z",7\nO4,"C1 ""x""\nand more",2025-01-08,8\n')
    report = shop.land()
    assert shop.quarantine() == [("orders.csv", 4, column, reason)]
    assert shop.ask("select order_id, _row_number from raw.orders order by 1") == [("O1", 2), ("O2", 3), ("O3", 5), ("O4", 6)]
    assert shop.ask("select customer_id from raw.orders where order_id = 'O4'") == [('C1 "x"\nand more',)]
    assert [(file.rows_landed, file.rows_quarantined) for file in report.files if file.table == "orders"] == [(4, 1)]


def test_all_bad_rows_together(shop: Shop) -> None:
    shop.put("customers.csv", CUSTOMERS)
    rows = [row if isinstance(row, bytes) else row.encode() for row, _, _ in BAD_ORDERS]
    shop.put("orders.csv", ORDERS.encode() + b"\n".join(rows) + b"\n")
    shop.land()
    assert [(line, column, reason) for _, line, column, reason in shop.quarantine()] == [
        (number, column, reason) for number, (_, column, reason) in enumerate(BAD_ORDERS, start=4)
    ]
    assert shop.ask("select count(*) from raw.orders") == [(2,)]


def test_rows_of_json_that_are_no_objects_are_quarantined_by_line(shop: Shop) -> None:
    shop.put_needed()
    shop.put(
        "activity_events.jsonl",
        b'{"event_id": "1", "customer_id": "C1", "event_type": "visit", "occurred_at": "2025-01-01T00:00:00+01:00"}\n'
        b'{"event_id": "2", \n[1]\n{"event_id": "3", "customer_id": "C\xff", "event_type": "visit", "occurred_at": "2025-01-01"}\n'
        b'{"event_id": "4", "customer_id": "C1", "event_type": "dance", "occurred_at": "2025-01-01"}\n',
    )
    shop.land()
    assert shop.ask("select event_id, occurred_at, _row_number from raw.activity_events") == [("1", datetime(2024, 12, 31, 23), 1)]
    assert [(line, column) for _, line, column, _ in shop.quarantine()] == [(2, None), (3, None), (4, None), (5, "event_type")]


def test_what_is_no_error_becomes_null_or_the_default(shop: Shop) -> None:
    shop.put_needed()
    shop.put("customers.csv", "customer_id,country,timezone,language\nC1,uk,Europe/London,EN\nC2,Atlantis,Mars/North,\n")
    shop.put(
        "message_events.csv",
        "id,email,channel,event,timestamp,is_machine\n1,ana@example.com,E-Mail,Open,2025-01-01,\n2,,email,open,2025-01-01,yes\n",
    )
    shop.land()
    assert shop.ask("select country, timezone, language from raw.customers order by customer_id") == [
        ("GB", "Europe/London", "en"),
        (None, None, None),
    ]
    assert shop.ask("select event_id, customer_id, address, channel, event_type, is_machine from raw.message_events") == [
        ("1", None, "ana@example.com", "email", "opened", False)
    ]
    assert shop.quarantine() == [("message_events.csv", 3, "customer_id", "is missing, and so is address")]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("orders.parquet", b"PAR1 not really", "is not a Parquet file that can be read"),
        ("orders.csv", b"", r"is empty\. Expected a CSV file"),
        ("orders.csv", b"\x00\x01\x02\x03" * 100, "has no readable first line"),
        ("orders.csv", bytes(range(1, 256)) * 20, "needs order_id"),
        (
            "orders.csv",
            b"order_id,customer_id,total\n",
            r'needs ordered_at \(as "ordered_at" or "order_date" or "created_at"\); found "order_id", ',
        ),
        ("orders.json", b"hello", "is not JSON"),
        ("orders.json", b"[{", "is not a JSON array that can be read"),
        ("orders.jsonl", b"{]\n{]\n", "holds no JSON object that can be read"),
        ("orders.csv.gz", b"not gzip", "cannot be read"),
        ("orders.csv.gz", gzip.compress(ORDERS.encode(), mtime=0)[:-12], "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_the_others_are_landed(shop: Shop, name: str, content: bytes, expected: str) -> None:
    shop.put("customers.csv", CUSTOMERS)
    shop.put("zz/orders.csv", ORDERS)
    shop.put(name, content)
    with pytest.raises(BadInput, match=f"^{name}: .*{expected}"):
        shop.land()
    assert shop.ask("select count(*) from raw.orders") == [(2,)]
    assert shop.ask("select count(*) from raw.customers") == [(2,)]
    (shop.data / name).unlink()
    assert {file.status for file in shop.land().files} == {"known"}


def test_a_needed_table_without_a_file_is_named(shop: Shop) -> None:
    shop.put("customers.csv", CUSTOMERS)
    shop.put("order.xlsx", b"PK")
    with pytest.raises(
        BadInput, match=r"no file of the needed table orders: found customers\.csv, order\.xlsx; expected orders\* or orders/\*"
    ):
        shop.land()


def test_header_only_files_are_empty_tables(shop: Shop) -> None:
    shop.put("customers.csv", "customer_id\n")
    shop.put("orders.csv", "order_id,customer_id,ordered_at,total")
    shop.put("products.json", "[]")
    shop.put("devices.json", "[]")
    shop.put("consents.jsonl", "")
    report = shop.land()
    assert {(file.table, file.rows_landed) for file in report.files} == {
        (table, 0) for table in ("customers", "orders", "products", "devices", "consents")
    }
    assert {file.status for file in shop.land().files} == {"known"}


def test_a_folder_that_is_not_there(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="is not a folder"):
        land(shop.settings, shop.connection, shop.ledger, now=NOW, data=tmp_path / "nowhere")


def _orders(ids: list[int]) -> list[str]:
    return [f"O{number},C{number % 5},2025-01-{number % 28 + 1:02d} 10:00:00,{number}.50" for number in ids]


@settings(max_examples=6, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_the_order_of_rows_and_files_of_a_first_drop_does_not_matter(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    chance = random.Random(seed)
    rows = _orders(list(range(40)))
    one = Shop(tmp_path_factory.mktemp("one"))
    one.put("customers.csv", CUSTOMERS)
    one.put("orders.csv", "\n".join(["order_id,customer_id,ordered_at,total", *rows]))
    one.land()
    other = Shop(tmp_path_factory.mktemp("other"))
    other.put("customers.csv", CUSTOMERS)
    shuffled = rows + chance.choices(rows, k=10)
    chance.shuffle(shuffled)
    cut = chance.randrange(len(shuffled))
    other.put(
        f"orders-{chance.random()}.csv", "\n".join(["total,ordered_at,customer_id,order_id", *(_reversed(row) for row in shuffled[:cut])])
    )
    other.put(f"orders-{chance.random()}.csv", "\n".join(["order_id,customer_id,ordered_at,total", *shuffled[cut:]]))
    other.land()
    assert one.everything() == other.everything()


def _reversed(row: str) -> str:
    return ",".join(reversed(row.split(",")))


_junk = st.one_of(
    st.binary(max_size=40),
    st.text(st.sampled_from('a1,"\n\r; \té\x00'), max_size=30).map(str.encode),
    st.sampled_from([b'O9,"C1,2025-01-01,1', b"O8,C1,2025-01-01", b"\xff\xfe", b'"', b"", b",,,", b"\r"]),
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(_junk, max_size=6), st.integers(0, 5))
def test_no_bytes_break_landing_and_good_rows_are_never_lost(
    tmp_path_factory: pytest.TempPathFactory, junk: list[bytes], place: int
) -> None:
    """A quote in the junk may open a value that a later quote closes: then what lies between is one record, as CSV has it."""
    shop = Shop(tmp_path_factory.mktemp("fuzz"))
    shop.put("customers.csv", CUSTOMERS)
    good = [row.encode() for row in _orders(list(range(100, 106)))]
    lines = [b"order_id,customer_id,ordered_at,total", *good[:place], *junk, *good[place:]]
    shop.put("orders.csv", b"\n".join(lines))
    report = shop.land()
    found = {row[0].encode() for row in shop.ask("select order_id from raw.orders")}
    assert {row.split(b",")[0] for row in good} <= found
    [orders] = [file for file in report.files if file.table == "orders"]
    assert orders.rows_quarantined == shop.ask("select count(*) from raw.quarantine")[0][0]
    shop.connection.close()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.binary(max_size=300), st.sampled_from(["orders.csv", "orders.json", "orders.jsonl", "orders.parquet", "orders.csv.gz"]))
def test_any_file_is_landed_or_named(tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str) -> None:
    assume(content.strip() or name != "orders.jsonl")
    shop = Shop(tmp_path_factory.mktemp("bytes"))
    shop.put("customers.csv", CUSTOMERS)
    shop.put(name, content)
    with pytest.raises(BadInput, match="orders"):
        shop.land()
    assert shop.ask("select count(*) from raw.customers") == [(2,)]
    shop.connection.close()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.lists(st.text(max_size=8), min_size=4, max_size=4), max_size=8))
def test_landed_and_quarantined_rows_are_all_rows(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    import csv
    import io

    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([["order_id", "customer_id", "ordered_at", "total"], *rows])
    shop = Shop(tmp_path_factory.mktemp("rows"))
    shop.put("customers.csv", CUSTOMERS)
    shop.put("orders.csv", text.getvalue().encode("utf-8", errors="surrogatepass"))
    report = shop.land()
    [orders] = [file for file in report.files if file.table == "orders"]
    assert orders.rows_landed + orders.rows_quarantined == len(rows)
    shop.connection.close()
