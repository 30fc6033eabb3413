from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winback.delivery.hours import Cap, SendingPolicy
from winback.delivery.pace import backoff

ZONES = ["UTC", "America/New_York", "Asia/Tokyo", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Kiritimati", None, "No/Where"]


@pytest.mark.parametrize(
    ("start", "end", "hour", "quiet"),
    [(21, 8, 20, False), (21, 8, 21, True), (21, 8, 7, True), (21, 8, 8, False), (1, 5, 0, False), (1, 5, 4, True), (9, 9, 9, False)],
)
def test_quiet_hours_may_span_midnight(start: int, end: int, hour: int, quiet: bool) -> None:
    assert SendingPolicy(quiet_from=start, quiet_to=end).is_quiet(hour) is quiet


@pytest.mark.parametrize(
    ("after", "zone", "expected"),
    [
        (datetime(2017, 12, 1), "UTC", datetime(2017, 12, 1, 10)),
        (datetime(2017, 12, 1, 10), "UTC", datetime(2017, 12, 1, 10)),
        (datetime(2017, 12, 1, 10, 0, 1), "UTC", datetime(2017, 12, 2, 10)),
        (datetime(2017, 12, 1), "Pacific/Auckland", datetime(2017, 12, 1, 21)),
        (datetime(2017, 7, 1), "Europe/London", datetime(2017, 7, 1, 9)),
    ],
)
def test_the_next_hour_of_sending_is_that_of_the_customers_day(after: datetime, zone: str, expected: datetime) -> None:
    assert SendingPolicy(local_hour=10).sending_time(after, zone) == expected


def test_an_hour_of_sending_in_the_quiet_hours_moves_to_their_end() -> None:
    assert SendingPolicy(local_hour=6).sending_time(datetime(2017, 12, 1), "UTC") == datetime(2017, 12, 1, 8)


@pytest.mark.parametrize("day", [datetime(2018, 3, 25), datetime(2018, 10, 28)])
def test_the_days_on_which_clocks_change_have_one_hour_of_sending(day: datetime) -> None:
    policy = SendingPolicy(local_hour=1, quiet_from=0, quiet_to=0)
    times = {policy.sending_time(day - timedelta(hours=12) + timedelta(minutes=10 * step), "Europe/London") for step in range(144)}
    assert len(times) == 2


@settings(deadline=None)
@given(
    after=st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1)),
    zone=st.sampled_from(ZONES),
    hours=st.tuples(*[st.integers(0, 23)] * 3),
)
def test_the_hour_of_sending_comes_within_a_day_and_is_never_quiet(after: datetime, zone: str | None, hours: tuple[int, int, int]) -> None:
    policy = SendingPolicy(*hours)
    found = policy.sending_time(after, zone)
    assert after <= found <= after + timedelta(hours=26)
    waits = policy.quiet_until(after, zone)
    assert waits is None or after < waits <= after + timedelta(hours=26)
    if waits is not None:
        assert policy.quiet_until(waits, zone) is None


def test_the_policy_is_read_from_the_ledgers_json() -> None:
    definition = {
        "local_hour": 9,
        "quiet_hours": {"from": 20, "to": 7},
        "timezone": "Europe/Paris",
        "caps": {"email": {"messages": 3, "days": 7}, "sms": None},
    }
    policy = SendingPolicy.from_json(json.dumps(definition))
    assert policy == SendingPolicy(9, 20, 7, "Europe/Paris", {"email": Cap(3, 7)})


@settings(deadline=None)
@given(attempt=st.integers(1, 10_000), asked=st.none() | st.floats(0, 86_400), chance=st.randoms(use_true_random=False))
def test_waits_never_fall_short_of_what_the_provider_asked_and_never_exceed_hours(
    attempt: int, asked: float | None, chance: object
) -> None:
    wait = backoff(attempt, asked, chance)  # type: ignore[arg-type]
    if asked is not None:
        assert asked <= wait <= asked * 1.1 + 1e-6
    else:
        assert 24 <= wait <= 25_920 + 1e-6
