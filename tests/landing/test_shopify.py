"""Shopify's exports: their traps in fixtures of our own, and the expected reading of the real layouts."""

from __future__ import annotations

import json
import os
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest

from tests.landing.conftest import Shop
from winback.settings import PROJECT_ROOT

FORMATS = Path(os.environ.get("WINBACK_TEST_DATA", PROJECT_ROOT.parent / "shared" / "data")) / "formats"
real_data = pytest.mark.skipif(
    not (FORMATS / "shopify_csv").is_dir(), reason=f"no Shopify files in {FORMATS}; set WINBACK_TEST_DATA to the data folder"
)

ORDERS = '''\
Name,Email,Financial Status,Accepts Marketing,Currency,Total,Discount Code,Created at,Lineitem quantity,Lineitem name,Lineitem price,\
Lineitem sku,Notes,Cancelled at,Refunded Amount,Source,Phone
#1,Ana@Example.com,paid,yes,USD,30.00,HI5,2024-05-31 23:30:00 -0400,2,"Tee, ""S""",10.00,TEE,"left at door,
ring twice",,0.00,web,'+15550100001
#1,ana@example.com,,,,,,,1,Mug,10.00,,,,,,
#2,,paid,no,USD,5.00,,2024-11-03 01:30:00 -0400,1,Mug,5.00,MUG,,,0.00,pos,'+1 555 010 0002
#3,,voided,no,USD,5.00,,2024-11-03 01:30:00 -0500,1,Mug,5.00,MUG,,2024-11-03 02:00:00 -0500,0.00,pos,
#4,ana@example.com,refunded,no,USD,7.00,,2024-12-01 10:00:00 +0000,1,Mug,7.00,MUG,,,,web,
'''
CUSTOMERS = """\
Customer ID,First Name,Last Name,Email,Accepts Email Marketing,Default Address Address1,Default Address Country Code,Phone,\
Accepts SMS Marketing,Tags
'1,Ana,Example,ANA@example.com,yes,1 Main St,US,'+15550100001,no,vip
'2,,,,no,,,'+15550100002,yes,
'3,Cy,Ng,,no,,,,no,
"""


def test_orders_of_several_lines_offsets_and_cancellations(shop: Shop) -> None:
    shop.put("customers_export.csv", CUSTOMERS)
    shop.put("orders_export_1.csv", "\ufeff" + ORDERS.replace("\n", "\r\n"))
    shop.land("shopify")
    assert shop.quarantine() == []
    assert shop.ask("select order_id, customer_id, ordered_at, status, total::int, refunded::int from raw.orders order by 1") == [
        ("#1", "ana@example.com", datetime(2024, 6, 1, 3, 30), "paid", 30, 0),
        ("#2", "+15550100002", datetime(2024, 11, 3, 5, 30), "paid", 5, 0),
        ("#3", None, datetime(2024, 11, 3, 6, 30), "cancelled", 5, 0),
        ("#4", "ana@example.com", datetime(2024, 12, 1, 10), "refunded", 7, 7),
    ]
    assert shop.ask("select order_id, line_no, product_id, quantity::int from raw.order_lines where order_id = '#1' order by 2") == [
        ("#1", 1, "TEE", 2),
        ("#1", 2, "Mug", 1),
    ]
    assert shop.ask("select product_id, name, price::int from raw.products order by 1") == [
        ("MUG", "Mug", 7),
        ("Mug", "Mug", 10),
        ("TEE", 'Tee, "S"', 10),
    ]


def test_customers_are_known_by_email_then_phone_then_id(shop: Shop) -> None:
    shop.put("customers_export.csv", CUSTOMERS)
    shop.put("orders_export.csv", ORDERS)
    shop.land("shopify")
    assert shop.ask("select customer_id, phone, country from raw.customers order by 1") == [
        ("+15550100002", "+15550100002", None),
        ("3", None, None),
        ("ana@example.com", "+15550100001", "US"),
    ]
    [(extras,)] = shop.ask("select extras from raw.customers where customer_id = 'ana@example.com'")
    assert json.loads(extras)["tags"] == "vip"
    assert "Main St" not in extras


def test_consent_of_an_order_holds_from_the_order_and_that_of_the_customers_export_from_the_day_before(shop: Shop) -> None:
    shop.put("customers_export.csv", CUSTOMERS)
    shop.put("orders_export.csv", ORDERS)
    shop.land("shopify", now=datetime(2025, 1, 2, 0, 0, 5))
    known = datetime(2025, 1, 1, 23, 59, 59, 999999)
    assert shop.ask("select channel, changed_at, granted from raw.consents where customer_id = 'ana@example.com' order by 2, 1") == [
        ("email", datetime(2024, 6, 1, 3, 30), True),
        ("email", datetime(2024, 12, 1, 10), False),
        ("email", known, True),
        ("sms", known, False),
    ]


def test_the_products_export_tells_more_than_orders_and_orders_do_not_take_it_back(shop: Shop) -> None:
    shop.put("customers_export.csv", CUSTOMERS)
    shop.put("orders_export.csv", ORDERS)
    shop.put(
        "products_export.csv",
        "Handle,Title,Type,Variant SKU,Variant Price,Image Src\nmug,Mug,furniture,MUG,8.00,https://example.com/mug.png\nmug,,,MUG-XL,9.00,\nmug,,,,,x\n",
    )
    shop.land("shopify")
    shop.put("orders_export_2.csv", ORDERS.replace("#", "#9"))
    shop.land("shopify")
    assert shop.ask("select product_id, name, category, price::int from raw.products where product_id like 'MUG%' order by 1") == [
        ("MUG", "Mug", "furniture", 8),
        ("MUG-XL", "Mug", "furniture", 9),
    ]


@real_data
@pytest.mark.real_data
@pytest.mark.parametrize("layout", ["orders_export.csv", "orders_export_crlf_bom.csv", "orders_export_47col_2014.csv"])
def test_the_expected_reading_of_each_layout_of_orders(shop: Shop, layout: str) -> None:
    expected = json.loads((FORMATS / "shopify_csv" / "expected.json").read_text(encoding="utf-8"))
    shop.put("customers.csv", (FORMATS / "shopify_csv" / "customers_export.csv").read_bytes())
    shop.put("orders.csv", (FORMATS / "shopify_csv" / layout).read_bytes())
    shop.land("shopify")
    assert shop.quarantine() == []
    [figures] = shop.ask("select count(*), count(customer_id), count(distinct customer_id) from raw.orders")
    assert figures == (expected["orders"], expected["orders_with_email"], expected["customers_by_lowercased_email"])
    assert shop.ask("select count(*) from raw.order_lines") == [(expected["line_items"],)]
    by_customer = dict(shop.ask("select customer_id, count(*) from raw.orders where customer_id is not null group by 1"))
    assert by_customer == expected["orders_by_customer"]
    assert dict(shop.ask("select currency, count(*) from raw.orders group by 1")) == expected["currencies"]
    sums = dict(shop.ask("select currency, sum(total) from raw.orders where status != 'cancelled' or total > 0 group by 1"))
    assert sums == {"USD": Decimal(expected["total_sum_usd"]), "EUR": Decimal(expected["total_sum_eur"])}
    for order, moment in expected["created_utc"].items():
        assert shop.ask(f"select ordered_at from raw.orders where order_id = '{order}'") == [
            (datetime.fromisoformat(moment).replace(tzinfo=None),)
        ]
    statuses = dict(shop.ask("select order_id, status from raw.orders"))
    assert [order for order, status in sorted(statuses.items()) if status == "cancelled"] == expected["cancelled"]
    assert [order for order, status in sorted(statuses.items()) if status == "pending"] == expected["pending"]
    assert shop.ask("select order_id from raw.orders where refunded >= total and total > 0") == [
        (order,) for order in expected["refunded_in_full"]
    ]
    assert [row[0] for row in shop.ask("select order_id from raw.orders where customer_id is null")] == expected["no_email"]
    if layout != "orders_export_47col_2014.csv":
        for order, amount in expected["partially_refunded"].items():
            assert shop.ask(f"select refunded from raw.orders where order_id = '{order}'") == [(Decimal(amount),)]


@real_data
@pytest.mark.real_data
@pytest.mark.parametrize(
    ("layout", "customers", "quarantined", "email_yes", "sms_yes"),
    [
        ("customers_export.csv", 5, 0, 2, 2),
        ("customers_export_2021_2023.csv", 5, 0, 2, 2),
        # Its fifth customer has no email, no phone and no id: nothing to know the person by.
        ("customers_export_before_2021.csv", 4, 1, 2, 0),
    ],
)
def test_each_layout_of_customers(shop: Shop, layout: str, customers: int, quarantined: int, email_yes: int, sms_yes: int) -> None:
    shop.put("customers_export.csv", (FORMATS / "shopify_csv" / layout).read_bytes())
    shop.put("orders_export.csv", ORDERS.splitlines()[0])
    shop.land("shopify")
    assert shop.ask("select count(*) from raw.customers") == [(customers,)]
    assert [reason for _, _, column, reason in shop.quarantine() if column == "customer_id"] == ["is missing"] * quarantined
    granted = dict(shop.ask("select channel, count(*) from raw.consents where granted group by 1"))
    assert (granted.get("email", 0), granted.get("sms", 0)) == (email_yes, sms_yes)
    assert shop.ask("select phone from raw.customers where phone is not null and phone not like '+%'") == []


@real_data
@pytest.mark.real_data
def test_consents_of_a_klaviyo_list(shop: Shop) -> None:
    shop.put("customers_export.csv", CUSTOMERS)
    shop.put("orders_export.csv", ORDERS.splitlines()[0])
    shop.put("klaviyo_list.csv", (FORMATS / "klaviyo_csv" / "list_export.csv").read_bytes())
    shop.land("shopify")
    assert shop.ask("select customer_id, changed_at, granted from raw.consents where source = 'Klaviyo' order by 1") == [
        ("ana@example.com", datetime(2024, 5, 1, 13, 58, 12), True),
        ("bo@example.com", datetime(2024, 9, 1, 10), False),
        ("di@example.com", datetime(2024, 11, 3, 5, 30), True),
    ]
