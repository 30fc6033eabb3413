"""A small day: marts with the columns that reports read, and a ledger with what was done on it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from tests.warehouse.building import TABLES
from winback.ledger import Ledger, open_ledger
from winback.settings import Settings
from winback.warehouse import open_warehouse

AS_OF = datetime(2017, 12, 1)

MARTS = """
    create schema marts;
    create table marts.customers as
        select 'c' || i as customer_id, timestamp '2017-12-01' as as_of,
            case when i < 40 then 'active' when i < 60 then 'at_risk' else 'inactive' end as engagement_tier,
            case when i < 10 then 'new' when i < 70 then 'active' else 'lapsed' end as purchase_lifecycle,
            i % 2 = 0 as reachable_email, i % 4 = 0 as reachable_sms, false as reachable_push, i % 5 = 0 as reachable_ads
        from range(100) t(i);
    create table marts.past_own_cycle as select 'c' || i as customer_id from range(30) t(i);
    create table marts.email_fading as select 'c' || i as customer_id from range(12) t(i);
    create table marts.admission_waterfall(
        as_of timestamp, program varchar, version integer, position integer, reason varchar, customers bigint);
    insert into marts.admission_waterfall values
        ('2017-12-01', 'lapsing_repeat_buyers', 2, 1, 'suppressed', 4),
        ('2017-12-01', 'lapsing_repeat_buyers', 2, 2, 'duplicate_contact', 0),
        ('2017-12-01', 'lapsing_repeat_buyers', 2, 10, 'unreachable', 6), ('2017-12-01', 'lapsing_repeat_buyers', 2, 13, 'admitted', 20),
        ('2017-12-01', 'email_fading', 1, 1, 'suppressed', 2), ('2017-12-01', 'email_fading', 1, 10, 'unreachable', 10),
        ('2017-12-01', 'email_fading', 1, 13, 'admitted', 0);
    create table marts.journey_admissions(program varchar, customer_id varchar, arm varchar);
    insert into marts.journey_admissions
        select 'lapsing_repeat_buyers', 'c' || i, case when i < 3 then 'holdout' when i < 20 then 'treatment' end from range(30) t(i);
    create table marts.journey_enrolments(program varchar, arm varchar, status varchar, exit_reason varchar);
    insert into marts.journey_enrolments
        select 'lapsing_repeat_buyers', case when i < 3 then 'holdout' else 'treatment' end,
            case when i < 20 then 'open' when i < 26 then 'exited' else 'completed' end,
            case when i between 20 and 24 then 'purchase' when i = 25 then 'lost_consent' end
        from range(30) t(i);
    create table marts.journey_actions(kind varchar, channel varchar, decision varchar, reason varchar);
    insert into marts.journey_actions values
        ('send', 'email', 'send', null), ('send', 'email', 'send', null), ('send', 'email', 'withhold', null),
        ('send', null, 'skip', 'unreachable'), ('task', null, 'task', null);
    create table marts.ad_audience_members(platform varchar, program varchar, customer_id varchar);
    insert into marts.ad_audience_members select 'meta', 'lapsing_repeat_buyers', 'c' || i from range(7) t(i);
    create table marts.ad_audience_removals(platform varchar, program varchar, customer_id varchar, added_at timestamp,
        purchased_at timestamp, is_removed boolean, days_to_removal integer, days_waiting integer);
    insert into marts.ad_audience_removals values
        ('meta', 'lapsing_repeat_buyers', 'c7', '2017-11-01', '2017-11-05 10:00:00', true, 1, null),
        ('meta', 'lapsing_repeat_buyers', 'c8', '2017-11-01', '2017-11-20 10:00:00', true, 2, null),
        ('meta', 'lapsing_repeat_buyers', 'c2', '2017-11-01', '2017-11-28 10:00:00', false, null, 3),
        ('meta', 'lapsing_repeat_buyers', 'c9', '2017-11-01', '2017-11-26 10:00:00', false, null, 5);
    create table marts.winback_monthly(month date, lapse_threshold_days integer, lapsed_customers bigint, won_back_customers bigint,
        win_back_percentage double, returns bigint, returned_customers bigint, window_closes_on date, is_mature boolean);
    create table marts.campaign_lift(scope varchar, treatment_enrolled bigint, holdout_enrolled bigint, treatment_immature bigint,
        holdout_immature bigint, next_window_closes_on date, incremental_customers double, incremental_customers_low double,
        incremental_customers_high double, incremental_revenue double, incremental_revenue_low double, incremental_revenue_high double,
        attributed_revenue decimal(18, 4));
    insert into marts.campaign_lift values
        ('all', 900, 100, 40, 5, '2017-12-09', 27.4, -3.2, 51, 1234.5, -80, 2500, 4321),
        ('program', 900, 100, 40, 5, '2017-12-09', 1, 1, 1, 1, 1, 1, 1);
    insert into marts.winback_monthly
        select m, d, 200, 10 + month(m), (10 + month(m)) / 2.0, 1, 1, (m + interval 1 month)::date, m < '2017-11-01'
        from (select unnest(range(date '2016-06-01', date '2017-12-01', interval 1 month))::date as m), (select unnest([60, 90]) as d);
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def warehouse(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_warehouse(settings) as connection:
        connection.execute("create schema raw")
        for table, columns in TABLES["raw"].items():
            connection.execute(f"create table raw.{table} ({columns})")
        connection.execute("insert into raw.source_notes values ('Contacts <and> consents are invented (seed 7)')")
        connection.execute(
            "insert into raw.landed_files (file_id, file, table_name, rows_landed, rows_quarantined, landed_at) "
            "values ('f1', 'orders.csv', 'orders', 3, 0, '2017-12-01 00:01:00')"
        )
        connection.execute(MARTS)
        connection.execute("create schema programs")
        connection.execute(f"create table programs.versions ({TABLES['programs']['versions']})")
        connection.execute(
            "insert into programs.versions (program, version, is_draft, exclude_purchased_within_days) "
            "values ('lapsing_repeat_buyers', 2, false, 7)"
        )
        yield connection


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    with open_ledger(settings) as opened:
        for number in range(6):
            earlier = timedelta(days=1 if number < 2 else 0)
            enrolment = {
                "enrolment_id": f"e{number}",
                "program": "lapsing_repeat_buyers",
                "version": 2,
                "customer_id": f"c{number}",
                "anchor_at": datetime(2017, 9, 1),
                "arm": "treatment",
                "reason": "late",
                "enrolled_at": AS_OF - earlier,
                "as_of": AS_OF - earlier,
                "recorded_at": AS_OF - earlier,
            }
            message = {
                "message_id": f"m{number}",
                "enrolment_id": f"e{number}",
                "step_no": 1,
                "customer_id": f"c{number}",
                "program": "lapsing_repeat_buyers",
                "version": 2,
                "kind": "task" if number == 5 else "send",
                "channel": "sms" if number == 4 else "email",
                "content": "we_miss_you",
                "offer_code": None,
                "not_before": AS_OF,
                "expires_at": AS_OF + timedelta(days=3),
                "as_of": AS_OF - earlier,
                "recorded_at": AS_OF - earlier,
            }
            opened.record("enrolments", [enrolment])
            opened.record("messages", [message])
        for item, attempt, outcome in (("m0", 1, "accepted"), ("m2", 1, "deferred"), ("m2", 2, "accepted"), ("m3", 1, "deferred")):
            opened.record(
                "outcomes",
                [
                    {
                        "item_id": item,
                        "attempt": attempt,
                        "outcome": outcome,
                        "reason": None,
                        "provider_id": None,
                        "retry_at": None,
                        "destination": "outbox",
                        "recorded_at": AS_OF + timedelta(hours=10 + attempt),
                    }
                ],
            )
        for number, operation in enumerate(("add", "add", "remove")):
            opened.record(
                "audience_changes",
                [
                    {
                        "change_id": f"a{number}",
                        "platform": "meta",
                        "audience": "winback",
                        "program": "lapsing_repeat_buyers",
                        "customer_id": f"c{number}",
                        "operation": operation,
                        "identifiers": "[]",
                        "reason": None,
                        "as_of": AS_OF,
                        "recorded_at": AS_OF,
                    }
                ],
            )
        yield opened


@pytest.fixture
def months() -> list[date]:
    return [date(2016, 11, 1), date(2017, 11, 1)]
