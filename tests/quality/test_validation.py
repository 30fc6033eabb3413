"""Each check finds its own damage, says so, and stops the day only where it must."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime

import duckdb
import pytest

from winback.errors import BadInput, StopRun
from winback.quality import CheckResult, require_passed, validate
from winback.quality.limits import Limits
from winback.quality.suites import CHECKS
from winback.quality.validation import Passes
from winback.settings import Settings

AS_OF = datetime(2017, 12, 1)
NOW = datetime(2017, 12, 1, 0, 10)

# What is done to a good warehouse, the check that finds it, rows found, a sample of them. Each damage hits rows of its own.
SMALL_DAMAGES = [
    ("update raw.orders set order_id = null where order_id = 'o3'", "orders_order_id_present", 1, "row 3 of orders.csv"),
    ("insert into raw.orders select * from raw.orders where order_id = 'o4'", "orders_key_unique", 2, "o4"),
    (
        "insert into raw.order_lines select * from raw.order_lines where order_id = 'o3' and line_no = 1",
        "order_lines_key_unique",
        2,
        "o3 / 1",
    ),
    ("insert into raw.devices select * from raw.devices", "devices_key_unique", 2, "c1 / 2017-01-01 00:00:00"),
    ("update raw.orders set ordered_at = null where order_id = 'o5'", "orders_ordered_at_present", 1, "o5"),
    ("update raw.orders set ordered_at = '1970-01-01' where order_id = 'o6'", "orders_ordered_at_plausible", 1, "o6"),
    ("update raw.orders set total = -0.01, refunded = null where order_id = 'o8'", "orders_total_not_negative", 1, "o8"),
    ("update raw.orders set refunded = -1 where order_id = 'o9'", "orders_refunded_not_negative", 1, "o9"),
    ("update raw.orders set refunded = 11 where order_id = 'o10'", "orders_refunded_within_total", 1, "o10"),
    ("update raw.orders set status = 'annulled' where order_id = 'o11'", "orders_status_known", 1, "o11"),
    ("update raw.orders set customer_id = 'nobody' where order_id = 'o12'", "orders_customer_known", 1, "o12"),
    ("update raw.message_events set event_type = 'seen' where event_id = 'm1'", "message_events_event_type_known", 1, "m1"),
    ("update raw.message_events set channel = 'fax' where event_id = 'm2'", "message_events_channel_known", 1, "m2"),
    ("update raw.activity_events set event_type = 'nap' where event_id = 'a1'", "activity_events_event_type_known", 1, "a1"),
    ("update raw.consents set granted = null where channel = 'ads'", "consents_granted_present", 1, "c1 / ads / 2017-01-01 00:00:00"),
    ("update raw.consents set channel = 'fax' where channel = 'email'", "consents_channel_known", 1, "c1 / fax / 2017-01-01 00:00:00"),
]
SMALL_BLOCKING = {
    "orders_order_id_present",
    "orders_key_unique",
    "order_lines_key_unique",
    "devices_key_unique",
    "orders_ordered_at_present",
    "orders_total_not_negative",
    "orders_refunded_not_negative",
    "consents_granted_present",
}
LARGE_DAMAGES = [
    ("update raw.orders set ordered_at = '1970-01-01' where _row_number < 20", "orders_ordered_at_plausible", 20, "o0"),
    ("update raw.activity_events set occurred_at = '2018-01-01'", "activity_events_occurred_at_plausible", 5, "a0"),
    ("delete from raw.customers where customer_id < 'c15'", "orders_customer_known", 60, "o101"),
]


def found(settings: Settings, raw: duckdb.DuckDBPyConnection, **arguments: object) -> dict[str, CheckResult]:
    return {result.name: result for result in validate(settings, AS_OF, connection=raw, now=NOW, **arguments)}  # type: ignore[arg-type]


def land(raw: duckdb.DuckDBPyConnection, file: str, table: str, landed: int, bad: int, at: str) -> None:
    columns = "file_id, file, table_name, rows_landed, rows_quarantined, landed_at"
    raw.execute(f"insert into raw.landed_files ({columns}) values ('f9', '{file}', '{table}', {landed}, {bad}, '{at}')")
    raw.execute(f"insert into raw.quarantine select 'f9', '{file}', '{table}', i, 'total', 'negative', '{at}' from range({bad}) t(i)")


def test_good_raw_data_pass_every_check(settings: Settings, raw: duckdb.DuckDBPyConnection) -> None:
    results = validate(settings, AS_OF, connection=raw, now=NOW)
    assert [result.name for result in results] == [check.name for check in CHECKS]
    assert [result for result in results if not result.passed or result.blocking] == []
    assert {result.name: result.checked_count for result in results}["orders_key_unique"] == 200
    require_passed(results)


@pytest.mark.parametrize(
    ("damages", "blocking"),
    [(SMALL_DAMAGES, SMALL_BLOCKING), (LARGE_DAMAGES, {damage[1] for damage in LARGE_DAMAGES})],
    ids=["small", "large"],
)
def test_damage_is_found_and_shown_and_stops_the_day_where_it_must(
    settings: Settings, raw: duckdb.DuckDBPyConnection, damages: list[tuple[str, str, int, str]], blocking: set[str]
) -> None:
    for damage, *_ in damages:
        raw.execute(damage)
    results = found(settings, raw)
    for _, check, count, sample in damages:
        result = results[check]
        assert (check, result.passed, result.unexpected_count) == (check, False, count)
        assert sample in result.sample_keys
        assert len(result.sample_keys) <= 10
    assert {name for name, result in results.items() if result.blocking} == blocking
    with pytest.raises(StopRun) as stopped:
        require_passed(results.values())
    assert all(f"  {check}: " in str(stopped.value) for check in blocking)
    assert "Going on would do harm" in str(stopped.value)


def test_every_check_is_proved_by_a_damage() -> None:
    proved = {damage[1] for damage in SMALL_DAMAGES + LARGE_DAMAGES}
    same_rule_elsewhere = {check.name for check in CHECKS if check.name.endswith(("_present", "_unique", "_plausible"))}
    below = {"orders_fresh", "orders_not_stale", "quarantine_share_low", "quarantine_share_bearable"}
    assert {check.name for check in CHECKS} == proved | same_rule_elsewhere | below


def test_rows_after_as_of_do_not_make_old_orders_fresh(settings: Settings, raw: duckdb.DuckDBPyConnection) -> None:
    raw.execute("update raw.orders set ordered_at = ordered_at + interval 60 days where ordered_at > '2017-11-20'")
    results = {result.name: result for result in validate(settings, AS_OF, connection=raw, now=datetime(2018, 6, 1))}
    assert results["orders_fresh"].observed == "the newest order before 2017-12-01 is of 2017-11-19, 12 days before"
    assert results["orders_ordered_at_plausible"].passed, "a replay sees rows after as_of: they are not the future"


def test_stale_orders_block_where_asked(settings: Settings, raw: duckdb.DuckDBPyConnection) -> None:
    raw.execute("delete from raw.orders where ordered_at > '2017-11-20'")
    assert found(settings, raw, limits=Limits(stale_blocking_days=12))["orders_not_stale"].passed
    assert found(settings, raw, limits=Limits(stale_blocking_days=11))["orders_not_stale"].blocking


@pytest.mark.parametrize(
    ("bad", "warns", "blocks"), [(0, False, False), (100, False, False), (101, True, False), (500, True, False), (527, True, True)]
)
def test_share_in_quarantine(settings: Settings, raw: duckdb.DuckDBPyConnection, bad: int, warns: bool, blocks: bool) -> None:
    total = 10_000
    land(raw, "orders-2.csv", "orders", total - bad, bad, "2017-12-02 00:05:00")
    results = found(settings, raw)
    assert results["quarantine_share_low"].passed != warns
    assert results["quarantine_share_bearable"].blocking == blocks
    if blocks:
        assert results["quarantine_share_bearable"].observed == "527 of 10,000 rows of orders (5.3%)"
        assert "orders-2.csv / 0" in results["quarantine_share_bearable"].sample_keys


def test_a_wholly_bad_file_of_yesterday_does_not_block_for_ever(settings: Settings, raw: duckdb.DuckDBPyConnection) -> None:
    land(raw, "broken.csv", "orders", 0, 100, "2017-11-30 00:05:00")
    assert found(settings, raw)["quarantine_share_low"].passed


def test_few_bad_rows_of_a_small_file_never_block(settings: Settings, raw: duckdb.DuckDBPyConnection) -> None:
    land(raw, "small.csv", "consents", 2, 8, "2017-11-30 00:05:00")
    results = found(settings, raw)
    assert not results["quarantine_share_low"].passed
    assert results["quarantine_share_bearable"].passed


def test_levels_can_be_changed(settings: Settings, raw: duckdb.DuckDBPyConnection) -> None:
    raw.execute("update raw.orders set status = 'annulled', total = -1, refunded = 0 where order_id = 'o3'")
    results = found(
        settings,
        raw,
        limits=Limits(
            levels={"orders_status_known": "blocking", "orders_total_not_negative": "warning", "orders_refunded_within_total": "off"}
        ),
    )
    assert results["orders_status_known"].blocking
    assert not results["orders_total_not_negative"].passed
    assert not results["orders_total_not_negative"].blocking
    assert results["orders_refunded_within_total"].observed == "switched off in sources/checks.yml"
    assert found(settings, raw, limits=Limits(known_statuses=["Annulled"]))["orders_status_known"].passed


def test_no_personal_data_in_results(settings: Settings, raw: duckdb.DuckDBPyConnection) -> None:
    raw.execute("insert into raw.devices select * from raw.devices")
    raw.execute("update raw.customers set email = 'ada@example.com', created_at = '1970-01-01'")
    text = str(found(settings, raw))
    assert "token-1" not in text
    assert "example.com" not in text


def test_empty_tables_pass(settings: Settings, raw: duckdb.DuckDBPyConnection) -> None:
    for table in ("orders", "order_lines", "customers", "devices", "landed_files"):
        raw.execute(f"delete from raw.{table}")
    assert all(result.passed for result in found(settings, raw).values())


def test_nothing_landed_is_said_so(settings: Settings, raw: duckdb.DuckDBPyConnection) -> None:
    raw.execute("drop table raw.orders")
    with pytest.raises(BadInput, match=r"no raw\.orders: nothing has been landed"):
        validate(settings, AS_OF, connection=raw, now=NOW)


def test_definitions_are_listed_without_great_expectations_and_it_leaves_quietly(
    settings: Settings, raw: duckdb.DuckDBPyConnection
) -> None:
    raw.close()
    listing = "import sys, winback.quality.suites as s; assert len(s.CHECKS) > 30; assert 'great_expectations' not in sys.modules"
    validating = (
        "from datetime import datetime; from winback.settings import load_settings; from winback.quality import validate; "
        "validate(load_settings(), datetime(2017, 12, 1))"
    )
    for script in (listing, validating):
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=False,
            env={"WINBACK_HOME": str(settings.root), "PATH": ""},
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_passed_is_asked_again_once_something_was_landed(settings: Settings, raw: duckdb.DuckDBPyConnection) -> None:
    passes: Passes = {}
    first = found(settings, raw, passes=passes)
    assert found(settings, raw, passes=passes) == first
    raw.execute("insert into raw.orders (order_id, customer_id, ordered_at, total) values ('o1', 'c1', '2017-11-30', 10)")
    land(raw, "again.csv", "orders", 1, 0, "2017-12-01 00:06:00")
    assert [name for name, result in found(settings, raw, passes=passes).items() if result.blocking] == ["orders_key_unique"]


def test_a_failure_is_asked_again_though_nothing_was_landed(settings: Settings, raw: duckdb.DuckDBPyConnection) -> None:
    passes: Passes = {}
    raw.execute("insert into raw.orders (order_id, customer_id, ordered_at, total) values ('o1', 'c1', '2017-11-30', 10)")
    assert any(result.blocking for result in found(settings, raw, passes=passes).values())
    raw.execute("delete from raw.orders where _file_id is null")
    assert all(result.passed for result in found(settings, raw, passes=passes).values())


def test_freshness_is_asked_every_day(settings: Settings, raw: duckdb.DuckDBPyConnection) -> None:
    passes: Passes = {}
    found(settings, raw, passes=passes)
    later = validate(settings, datetime(2017, 12, 31), connection=raw, now=NOW, passes=passes)
    assert [result.name for result in later if not result.passed] == ["orders_fresh"]
