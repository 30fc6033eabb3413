"""What a mapping may say, and what it is told when it says something else."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from tests.landing.conftest import CUSTOMERS, Shop
from winback.errors import BadConfig
from winback.landing import load_mapping
from winback.settings import PROJECT_ROOT, Settings

SHIPPED = sorted(path.stem for path in (PROJECT_ROOT / "sources").glob("*.yml"))


def own(shop: Shop, text: str) -> str:
    path = shop.settings.root / "own.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_mappings_are_valid(name: str) -> None:
    assert {"customers", "orders"} <= load_mapping(Settings(), name).tables.keys()


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("tabels: {}", 1, r"tabels: \"tabels\" is not a known field; allowed: description, extends, .*; did you mean \"tables\"\?"),
        (
            "tables:\n  order:\n    files: x",
            2,
            r"tables.order: \"order\" is not a known table; allowed: customers, orders, .*did you mean \"orders\"\?",
        ),
        (
            "tables:\n  orders:\n    file: x",
            3,
            r"tables.orders.file: \"file\" is not a known field; allowed: files, .*did you mean \"files\"\?",
        ),
        ("tables:\n  orders:\n    columns: {}", 2, r"tables.orders.files: found nothing; it is needed"),
        (
            "tables:\n  orders:\n    files: x\n    columns:\n      totl: Total",
            5,
            r"tables.orders.columns.totl: \"totl\" is not a known column; allowed: .*\"total\"",
        ),
        (
            "tables:\n  orders:\n    files: x\n    columns:\n      total: {from: a, sql: b}",
            5,
            "total: found from and sql; allowed is exactly one of from, value, sql",
        ),
        (
            "tables:\n  orders:\n    files: x\n    columns:\n      total: {form: a}",
            5,
            r"total.form: \"form\" is not a known field; allowed: from, value",
        ),
        ("timezone: Paris", 1, 'timezone: found "Paris"; allowed is a name of the IANA time zone database'),
        ("csv: {decimal: comma}", 1, "csv.decimal: found \"comma\"; allowed are '.' or ','"),
        ("tables: [", 1, "is not YAML"),
        ("extends: shopfy", 1, r'mapping: found shopfy; allowed are .*; did you mean "shopify"\?'),
    ],
)
def test_a_wrong_mapping_is_told_where_and_what(shop: Shop, text: str, line: int, message: str) -> None:
    path = own(shop, text)
    where = "" if message.startswith("mapping:") else rf"own\.yml:{line}: "
    with pytest.raises(BadConfig, match=f"{where}.*{message}"):
        load_mapping(shop.settings, path)


def test_an_unknown_mapping_names_those_there_are(shop: Shop) -> None:
    with pytest.raises(BadConfig, match=r"found shopfy; allowed are demo, shopify, standard, or the path of a \.yml file"):
        load_mapping(shop.settings, "shopfy")


def test_every_way_to_fill_a_column(shop: Shop) -> None:
    mapping = own(
        shop,
        """
notice: Prices are in pence
timezone: Europe/London
csv: {decimal: ",", encoding: windows-1252}
tables:
  customers: {files: people.*, columns: {customer_id: Nr}}
  orders:
    files: verk\u00e4ufe*
    where: '"Art" <> ''test'''
    absent_as_null: [Rabatt]
    columns:
      order_id: {sql: '''A'' || "Nr"'}
      customer_id: [Kunde, Kundennummer]
      ordered_at: {from: Datum, format: ["%d.%m.%Y %H:%M", "%d.%m.%Y"]}
      status: {from: Stand, values: {bezahlt: paid, STORNO: cancelled}, otherwise: other}
      total: Summe
      coupon_code: {sql: '"Rabatt"'}
      currency: {value: eur}
""",
    )
    shop.put("people.csv", "Nr;Name\n7;J\u00f6rg\n".encode("cp1252"))
    shop.put(
        "verk\u00e4ufe.csv",
        "Nr;Kundennummer;Datum;Stand;Summe;Art\n"
        "1;7;01.07.2024 12:00;Bezahlt;1.234,50;x\n2;7;01.01.2024;storno;3,5;x\n3;7;1.1.2024;offen;12.50;x\n4;7;01.01.2024;x;1;test\n",
    )
    report = shop.land(mapping)
    assert shop.ask(
        "select order_id, customer_id, ordered_at, status, total::double, coupon_code, currency from raw.orders order by 1"
    ) == [
        ("A1", "7", datetime(2024, 7, 1, 11), "paid", 1234.5, None, "EUR"),
        ("A2", "7", datetime(2024, 1, 1), "cancelled", 3.5, None, "EUR"),
    ]
    assert shop.quarantine() == [("verk\u00e4ufe.csv", 4, "total", "is not a number, or too large")]
    assert [(file.rows_landed, file.rows_quarantined, file.left_out) for file in report.files if file.table == "orders"] == [(2, 1, 1)]
    assert shop.ask("select extras from raw.customers") == [('{"Name":"J\u00f6rg"}',)]
    assert shop.ask("from raw.source_notes") == [("Prices are in pence",)]
    assert report.notes == ["Prices are in pence"]


def test_objects_in_json_are_reached_with_a_dot(shop: Shop) -> None:
    mapping = own(
        shop,
        "extends: standard\ntables:\n  orders:\n    files: orders*\n    columns:\n"
        "      customer_id: customer.id\n      ordered_at: {from: placed, format: epoch_seconds}\n"
        "      total: {sql: price_cents::int / 100}\n",
    )
    shop.put("customers.csv", CUSTOMERS)
    shop.put("orders.json", '[{"order_id": 5, "customer": {"id": "C1"}, "placed": 1714557492, "price_cents": 1250}]')
    shop.land(mapping)
    assert shop.ask("select order_id, customer_id, ordered_at, total::double from raw.orders") == [
        ("5", "C1", datetime(2024, 5, 1, 9, 58, 12), 12.5)
    ]


def test_an_expression_that_does_not_work_is_shown(shop: Shop) -> None:
    mapping = own(shop, "extends: standard\ntables:\n  orders:\n    files: orders*\n    columns: {total: {sql: '\"Totl\" * 2'}}\n")
    shop.put_needed()
    with pytest.raises(
        BadConfig, match=r"tables\.orders\.columns\.total\.sql: found '\"Totl\" \* 2', which does not work on orders\.csv: .*Totl"
    ):
        shop.land(mapping)


@pytest.mark.parametrize(
    ("spelling", "moment"),
    [
        ("2024-05-01 09:58:12 -0400", datetime(2024, 5, 1, 13, 58, 12)),
        ("2024-05-01T09:58:12.5Z", datetime(2024, 5, 1, 9, 58, 12, 500000)),
        ("2024-05-01T09:58:12+05:30", datetime(2024, 5, 1, 4, 28, 12)),
        ("2024-05-01 09:58:12-04", datetime(2024, 5, 1, 13, 58, 12)),
        ("2024-05-01 09:58:12 UTC", datetime(2024, 5, 1, 9, 58, 12)),
        ("2024-05-01 09:58", datetime(2024, 5, 1, 8, 58)),
        ("2024-05-01", datetime(2024, 4, 30, 23)),
        ("2024-01-01 00:00:00", datetime(2024, 1, 1)),
        # The wall clock of the night in October that has two half past ones.
        ("2024-10-27 01:30:00 +0100", datetime(2024, 10, 27, 0, 30)),
    ],
)
def test_an_offset_goes_before_the_zone_of_the_mapping(shop: Shop, spelling: str, moment: datetime) -> None:
    mapping = own(shop, "extends: standard\ntimezone: Europe/London\n")
    shop.put_needed()
    shop.put("orders.csv", f"order_id,customer_id,ordered_at,total\nO1,C1,{spelling},1\n")
    shop.land(mapping)
    assert shop.ask("select ordered_at from raw.orders") == [(moment,)]
    assert shop.quarantine() == []


def test_only_named_files_are_read(shop: Shop, tmp_path: Path) -> None:
    mapping = load_mapping(shop.settings, "standard")
    assert list(mapping.sources("orders_2024.csv")) == ["orders"]
    assert list(mapping.sources("order_lines.parquet")) == ["order_lines"]
    assert list(mapping.sources("2024/Orders.CSV.gz")) == ["orders"]
    assert list(mapping.sources("orders.xlsx")) == []
    assert list(mapping.sources("preorders.csv")) == []
