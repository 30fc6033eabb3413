"""The files and the mapping that docs/bring-your-own-data.md shows do what it says."""

from __future__ import annotations

import re
from datetime import datetime

from tests.landing.conftest import Shop
from winback.landing import TABLES
from winback.landing.mapping import ColumnRule, Mapping, TableSource
from winback.settings import PROJECT_ROOT

PAGE = (PROJECT_ROOT / "docs" / "bring-your-own-data.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"```\w+ (\S+)\n(.*?)```", PAGE, re.DOTALL))


def test_the_smallest_folder_works(shop: Shop) -> None:
    for name in ("customers.csv", "orders.csv", "consents.csv"):
        shop.put(name, BLOCKS[name])
    shop.land()
    assert shop.quarantine() == []
    assert shop.ask("select order_id, customer_id, ordered_at from raw.orders order by 1") == [
        ("O1", "C1", datetime(2025, 1, 5, 10)),
        ("O2", "C1", datetime(2025, 2, 3, 17, 30)),
        ("O3", None, datetime(2025, 2, 4)),
    ]


def test_the_mapping_of_the_page_reads_the_file_of_the_page(shop: Shop) -> None:
    mapping = shop.put("../mine.yml", BLOCKS["mine.yml"])
    shop.put("customers.csv", BLOCKS["customers.csv"])
    shop.put("sales-2025.csv", BLOCKS["sales-2025.csv"])
    shop.land(str(mapping))
    assert shop.quarantine() == []
    assert shop.ask("select order_id, customer_id, ordered_at, total::double, status, currency from raw.orders order by 1") == [
        ("1", "C1", datetime(2025, 7, 1, 10), 1234.5, "paid", "EUR"),
        ("2", "C1", datetime(2025, 7, 2, 7, 15), 12.0, "cancelled", "EUR"),
    ]


def test_the_table_of_the_page_is_the_contract() -> None:
    for table in TABLES.values():
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| {table.name} |"))
        needed, optional = row.split("|")[2:4]
        words = re.findall(r"\w+", needed)
        assert {column.name for column in table.columns if column.needed} | set(table.one_of) == set(words) - {"or"}
        for column in table.columns:
            if not column.needed and column.name not in (*table.one_of, "extras"):
                assert re.search(rf"\b{column.name}\b", optional), f"{table.name}.{column.name}"


def test_every_field_of_a_mapping_is_explained() -> None:
    reference = PAGE[PAGE.index("| field |") :]
    for model in (Mapping, TableSource, ColumnRule):
        for name, field in model.model_fields.items():
            assert f"`{field.alias or name}`" in reference or name in ("description", "tables", "columns"), name
