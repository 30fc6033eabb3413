"""What an engine has after a hand-over is what the workbench has, however it came about; and only what changed has travelled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.engines.conftest import Reached, start
from tests.landing.conftest import CUSTOMERS, Shop
from winback.engines.changes import source_tables

MORE_ORDERS = "order_id,customer_id,ordered_at,total\nO2,C2,2025-01-06 11:30:00,30.00\nO3,C1,2025-02-01 09:00:00,5.00\n"


def handed(reached: Reached, shop: Shop) -> dict[str, int]:
    """Rows that travelled; afterwards both sides hold the same."""
    rows = dict(reached.engine.hand_over(shop.connection))
    for table in source_tables(shop.connection):
        here = shop.ask(f"from {table.full_name}")
        assert sorted(map(repr, reached.read(table.full_name))) == sorted(map(repr, here)), table.full_name
    return {name: count for name, count in rows.items() if name not in ("raw.source_notes", "programs.versions")}


def send(shop: Shop, *messages: str) -> None:
    for message in messages:
        shop.connection.execute(
            "insert into ledger.messages select coalesce(max(seq), 0) + 1, ?, timestamp '2025-03-01 00:00:00.123456' from ledger.messages",
            [message],
        )


def test_everything_first_and_then_what_is_new(reached: Reached, shop: Shop) -> None:
    shop.put_needed()
    shop.land()
    send(shop, "m1", "m2")
    first = handed(reached, shop)
    assert (first["raw.orders"], first["ledger.messages"]) == (2, 2)
    assert handed(reached, shop) == {}
    shop.put("customers_2.csv", "customer_id,email\nC3,cy@example.com\n")
    shop.land()
    send(shop, "m3")
    assert handed(reached, shop) == {"raw.customers": 1, "raw.landed_files": 1, "raw.changed_keys": 1, "ledger.messages": 1}


def test_corrected_rows_replace_the_earlier_ones(reached: Reached, shop: Shop) -> None:
    shop.put_needed()
    shop.land()
    handed(reached, shop)
    shop.put("orders_2.csv", MORE_ORDERS)
    shop.land()
    travelled = handed(reached, shop)
    assert "raw.customers" not in travelled
    assert sorted(row[0] for row in reached.read("raw.orders")) == ["O1", "O2", "O3"]
    shop.put("orders_3.csv", MORE_ORDERS.replace("30.00", "31.00").replace("O3", "O1"))
    shop.land()
    handed(reached, shop)


def test_rows_of_which_no_file_is_told_replace_those_that_were_there(reached: Reached, shop: Shop) -> None:
    shop.put_needed()
    shop.land()
    shop.connection.execute("delete from raw.landed_files")
    for order in ("O1", "O2"):
        shop.connection.execute("delete from raw.orders")
        shop.connection.execute("insert into raw.orders by name select ? as order_id, 'C1' as customer_id, 'file' as _file_id", [order])
        handed(reached, shop)


def test_a_rebuilt_workbench_has_nothing_new(reached: Reached, shop: Shop) -> None:
    shop.put_needed()
    shop.land()
    handed(reached, shop)
    shop.connection.close()
    shop.delete_warehouse()
    start(shop)
    shop.land()
    assert handed(reached, shop) == {}


def test_another_history_of_files_goes_as_a_whole(reached: Reached, shop: Shop) -> None:
    shop.put_needed()
    shop.land()
    handed(reached, shop)
    shop.connection.close()
    shop.delete_warehouse()
    start(shop)
    shop.ledger.landed.clear()
    shop.put("customers.csv", CUSTOMERS.replace("ana", "anna"))
    shop.land()
    assert handed(reached, shop)["raw.orders"] == 2


def test_an_edited_mapping_goes_as_a_whole(reached: Reached, shop: Shop, tmp_path: Path) -> None:
    shop.put_needed()
    mapping = tmp_path / "own.yml"
    mapping.write_text("extends: standard\n")
    shop.land(str(mapping))
    handed(reached, shop)
    mapping.write_text("extends: standard\ntables:\n  orders:\n    files: orders*\n    columns: {currency: {value: gbp}}\n")
    shop.land(str(mapping))
    assert handed(reached, shop)["raw.orders"] == 2
    assert handed(reached, shop) == {}


def test_a_replaced_ledger_goes_as_a_whole(reached: Reached, shop: Shop) -> None:
    """Also one with as many rows and the same numbers."""
    shop.put_needed()
    shop.land()
    send(shop, "m1", "m2")
    handed(reached, shop)
    shop.connection.execute("delete from ledger.messages")
    send(shop, "m1", "other", "m3")
    assert handed(reached, shop) == {"ledger.messages": 3}


def test_new_columns_and_types_and_tables_arrive(reached: Reached, shop: Shop) -> None:
    shop.put_needed()
    shop.land()
    send(shop, "m1")
    handed(reached, shop)
    shop.connection.execute("alter table ledger.messages add column channel varchar")
    shop.connection.execute("alter table raw.orders add column weight double")
    shop.connection.execute("create table ledger.tags (seq bigint, tag varchar)")
    shop.connection.execute("alter table programs.versions alter holdout_percent type decimal(18, 4)")
    shop.connection.execute("insert into programs.versions values ('a', 12.5)")
    assert handed(reached, shop) == {"raw.orders": 2, "ledger.messages": 1}
    send_with_channel: list[Any] = ["m2", "email"]
    shop.connection.execute("insert into ledger.messages values (2, ?, timestamp '2025-03-02', ?)", send_with_channel)
    assert handed(reached, shop) == {"ledger.messages": 1}


def test_a_hand_over_that_did_not_end_leaves_nothing_behind(reached: Reached, shop: Shop) -> None:
    shop.put_needed()
    shop.land()
    handed(reached, shop)
    shop.put("orders_2.csv", MORE_ORDERS)
    shop.land()
    send(shop, "m1")
    shop.connection.execute("create view programs.broken as select error('stopped')::varchar as told")
    # Whatever the engine's driver makes of it.
    with pytest.raises(Exception, match="stopped"):
        reached.engine.hand_over(shop.connection)
    shop.connection.execute("drop view programs.broken")
    assert handed(reached, shop)["ledger.messages"] == 1


def test_zero_bytes_do_not_stop_a_hand_over(reached: Reached, shop: Shop) -> None:
    """PostgreSQL's text cannot hold them; Parquet and JSON files can bring them."""
    shop.put_needed()
    shop.land()
    shop.connection.execute("insert into ledger.messages values (1, 'a' || chr(0) || 'b', null)")
    reached.engine.hand_over(shop.connection)
    assert [row[1].replace("\0", "") for row in reached.read("ledger.messages")] == ["ab"]


def test_a_file_that_is_landed_into_another_table_later_goes_over_once(reached: Reached, shop: Shop) -> None:
    """What the same content said of the first table is there already, rows in quarantine included."""
    shop.put_needed()
    events = "event_id,customer_id,channel,event_type,occurred_at\nE1,C1,email,visit,2025-01-01\nE2,C1,email,opened,2025-01-01\n"
    shop.put("activity_events.csv", events)
    shop.land()
    handed(reached, shop)
    shop.put("message_events.csv", events)
    shop.land()
    assert handed(reached, shop)["raw.message_events"] == 1
