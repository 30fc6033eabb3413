"""The demo's data: real where it says so, the same on every machine, and with someone behind every rule."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from winback.demo import TABLES, make
from winback.progress import listening

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "data"
    make(path)
    return path


@pytest.fixture
def demo(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        for table in TABLES:
            connection.execute(f"create view {table} as from read_parquet('{folder / f'{table}.parquet'}')")
        yield connection


def one(connection: duckdb.DuckDBPyConnection, query: str) -> Any:
    return connection.execute(query).fetchall()[0]


def digests(folder: Path) -> dict[str, str]:
    return {table: hashlib.sha256((folder / f"{table}.parquet").read_bytes()).hexdigest() for table in TABLES}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_people(folder: Path, tmp_path: Path) -> None:
    """Landing knows files by their content: a second demo must not land anything again."""
    before = digests(folder)
    dates = {table: (folder / f"{table}.parquet").stat().st_mtime_ns for table in TABLES}
    told: list[str] = []
    with listening(told.append):
        make(folder)
    assert told == []
    assert {table: (folder / f"{table}.parquet").stat().st_mtime_ns for table in TABLES} == dates
    make(tmp_path / "again")
    assert digests(tmp_path / "again") == before
    make(tmp_path / "again", seed=8)
    other = digests(tmp_path / "again")
    assert other["products"] == before["products"]
    assert all(other[table] != before[table] for table in ("customers", "message_events", "activity_events", "consents", "devices"))
    assert sorted(path.name for path in folder.iterdir()) == sorted([".winback-demo.json", *(f"{table}.parquet" for table in TABLES)])


def test_orders_are_the_real_baskets(demo: duckdb.DuckDBPyConnection) -> None:
    real = "from orders where customer_id not like 'former-%'"
    assert one(demo, f"select count(*), count(distinct customer_id), min(ordered_at)::varchar, max(ordered_at)::varchar {real}") == (
        155_848,
        2_469,
        "2017-01-01 11:53:26",
        "2018-01-01 04:01:20",
    )
    assert one(demo, "select count(*) from order_lines where order_id not like 'former-%'") == (1_469_307,)
    [coupons] = one(demo, f"select count(coupon_code) {real}")
    assert 900 < coupons <= 1_107


def test_keys_are_unique_and_references_hold(demo: duckdb.DuckDBPyConnection) -> None:
    keys = {
        "customers": "customer_id",
        "orders": "order_id",
        "order_lines": "order_id, line_no",
        "products": "product_id",
        "message_events": "event_id",
        "activity_events": "event_id",
        "consents": "customer_id, channel, changed_at",
        "devices": "push_token, updated_at",
    }
    for table, key in keys.items():
        assert one(demo, f"select count(*) - count(distinct ({key})) from {table}") == (0,), table
    for table in ("orders", "message_events", "activity_events", "consents", "devices"):
        assert one(demo, f"select count(*) from {table} anti join customers using (customer_id)") == (0,), table
    # The package sells some things that it does not describe.
    assert one(demo, "select count(*) from order_lines anti join products using (product_id)") == (4_836,)


def test_nobody_real_can_be_reached(demo: duckdb.DuckDBPyConnection) -> None:
    assert one(demo, "select count(*) from customers where email is not null and not contains(lower(email), 'example')") == (0,)
    assert one(demo, r"select count(*) from customers where phone like '+%' and not regexp_full_match(phone, '\+1\d{3}55501\d\d')") == (0,)


@pytest.mark.parametrize("as_of", ["2017-12-01", "2017-12-15"])
def test_every_audience_has_members(demo: duckdb.DuckDBPyConnection, as_of: str) -> None:
    counts = one(
        demo,
        f"""
        with orders_of as (
            select
                customer_id,
                max(ordered_at)::date as last_on,
                min(ordered_at)::date as first_on,
                count(distinct ordered_at::date) as days
            from orders where ordered_at < '{as_of}' group by customer_id
        ),
        mails as (
            select customer_id, max(occurred_at)::date as read_on from message_events
            where event_type in ('opened', 'clicked') and not is_machine and occurred_at < '{as_of}' group by customer_id
        ),
        activity as (
            select
                customer_id,
                max(occurred_at) filter (event_type = 'visit')::date as visited_on,
                max(occurred_at) filter (event_type != 'visit')::date as used_on
            from activity_events where occurred_at < '{as_of}' group by customer_id
        ),
        consent as (
            select customer_id, arg_max(granted, changed_at) as granted from consents
            where channel = 'email' and changed_at < '{as_of}' group by customer_id
        ),
        ages as (
            select
                date '{as_of}' - last_on as since_order,
                (last_on - first_on) / nullif(days - 1, 0) as interval_days,
                date '{as_of}' - read_on as since_read,
                date '{as_of}' - used_on as since_use,
                date '{as_of}' - greatest(last_on, read_on, visited_on, used_on) as since_activity,
                coalesce(granted, false) as granted
            from customers
            left join orders_of using (customer_id)
            left join mails using (customer_id)
            left join activity using (customer_id)
            left join consent using (customer_id)
        )
        select
            count(*) filter (since_order - interval_days >= 8) as past_own_cycle,
            count(*) filter (since_activity >= 90 and granted) as customer_not_active,
            count(*) filter (since_order >= 30) as product_cycle_ended,
            count(*) filter (since_order between 365 and 729 and granted) as lapsed_one_to_two_years,
            count(*) filter (since_order >= 60) as customer_lapsed,
            count(*) filter (since_read >= 30) as email_fading,
            count(*) filter (since_use >= 30) as product_unused,
            count(*) filter (since_activity in (31, 91)) as tier_drop
        from ages
        """,
    )
    assert all(count >= 5 for count in counts), counts


def test_gates_have_someone_to_hold(demo: duckdb.DuckDBPyConnection) -> None:
    [shared, unusable, none] = one(
        demo,
        """
        select
            (select count(*) from (select lower(email) from customers where email is not null group by 1 having count(*) > 1)),
            count(*) filter (not regexp_matches(email, '^[^@]+@[^@]+[.][^@]+$')),
            count(*) filter (email is null)
        from customers
        """,
    )
    assert shared > 40
    assert unusable > 20
    assert none > 40
    assert one(demo, "select count(*) from consents where not granted and source = 'unsubscribe link'")[0] > 10
    assert one(demo, "select count(*) from devices where not active")[0] > 50
    types = {row[0] for row in demo.execute("select distinct event_type from message_events").fetchall()}
    assert types == {"sent", "delivered", "opened", "clicked", "bounced", "complained", "unsubscribed"}
    [opened, machine] = one(demo, "select count(*), count(*) filter (is_machine) from message_events where event_type = 'opened'")
    assert 0.3 < machine / opened < 0.7


def test_people_who_shop_read_more(demo: duckdb.DuckDBPyConnection) -> None:
    [buyers, others] = one(
        demo,
        """
        with sends as (
            select
                sent.customer_id,
                exists (
                    from message_events as opened
                    where opened.customer_id = sent.customer_id and opened.campaign = sent.campaign
                        and opened.event_type = 'opened' and not opened.is_machine
                ) as was_read,
                exists (
                    from orders
                    where orders.customer_id = sent.customer_id
                        and orders.ordered_at between sent.occurred_at - interval 35 day and sent.occurred_at
                ) as shopped
            from message_events as sent
            where sent.event_type = 'sent' and sent.campaign like 'newsletter-2017-1%'
        )
        select avg(was_read::int) filter (shopped), avg(was_read::int) filter (not shopped) from sends
        """,
    )
    assert buyers > 2 * others
