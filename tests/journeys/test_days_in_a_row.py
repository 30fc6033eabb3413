"""Twelve days of one shop, derived and recorded one after the other, with an outage of five days in between.

Each customer lives one story, in a program of their own where the story needs one; programs tell customers apart by the days since they
bought.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.world import START, World, on

DAYS = (0, 1, 2, 3, 4, 5, 11, 12)
"""Days 6 to 10 are lost: the pipeline was down."""

THREE_STEPS = [{"day": 0, "send": "first"}, {"day": 3, "send": "second"}, {"day": 9, "send": "third", "channels": ["sms", "email"]}]


@dataclass
class Seen:
    """What the marts said on each day."""

    world: World
    admissions: dict[int, dict[tuple[str, str], str]] = field(default_factory=dict)
    actions: dict[int, list[tuple[str, str, int, str, str | None]]] = field(default_factory=dict)
    journeys: dict[int, dict[tuple[str, str], str]] = field(default_factory=dict)
    followups: dict[int, list[tuple[str, str, str]]] = field(default_factory=dict)
    ads: dict[int, set[str]] = field(default_factory=dict)
    next_steps: dict[int, tuple[int | None, date | None]] = field(default_factory=dict)

    def acts(self, customer: str) -> list[tuple[int, int, str, str | None]]:
        """(day, step, decision, channel or reason) of a customer."""
        return [(day, step, decision, what) for day in DAYS for _, who, step, decision, what in self.actions[day] if who == customer]


def answer(message: Mapping[str, Any]) -> str | None:
    if message["step_no"] > 1:
        return "accepted"
    return {"refused": "rejected", "lost": "unknown", "held_up": "deferred", "unanswered": None}.get(message["customer_id"], "accepted")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, parsed_home: Path) -> Seen:
    world = World(tmp_path_factory.mktemp("days"), parsed_home)
    world.policy("email", 3, 7, version=2)

    def between(at_least: int, below: int, **fields: Any) -> dict[str, Any]:
        return {"lapse_days_at_least": at_least, "lapse_days_below": below, "steps": THREE_STEPS} | fields

    world.program("comeback", **between(60, 120, ad_audiences=["meta"]))
    for name in ("plain", "buys", "late_order", "loses_consent", "refused", "lost", "held_up", "unanswered", "crowded"):
        world.customer(name, ordered=[-90])
    world.consent("plain", "sms", -5, granted=True)
    for sent in (-1, -2, -3):
        world.sent_by_others("crowded", sent)

    world.program("left_alone", **between(120, 150, holdout_below="g", ad_audiences=["meta"]))
    world.customer("holdout", ordered=[-130])

    world.program("revised", **between(160, 200))
    two_days_later = START + timedelta(days=2)
    changed = [{"day": 0, "send": "new_first"}, {"day": 1, "send": "new_second"}]
    world.program("revised", **between(160, 200, version=2, effective_at=two_days_later, steps=changed))
    world.customer("before_the_change", ordered=[-170])
    world.customer("after_the_change", ordered=[-158])

    world.program("interrupted", **between(200, 240))
    world.status("interrupted", "paused", START + timedelta(days=3))
    world.status("interrupted", "live", START + timedelta(days=5))
    world.customer("waits", ordered=[-210])

    world.program("stopped", **between(240, 280))
    world.status("stopped", "retired", START + timedelta(days=2))
    world.customer("stranded", ordered=[-250])

    once = [{"day": 0, "send": "only"}]
    world.program("short", **between(280, 320, steps=once, complete_tag="asleep", complete_then="after", complete_limit_channel="email"))
    world.program("after", **between(5000, 5001, steps=once, complete_suppress_days=30))
    world.customer("handed_over", ordered=[-290])
    world.customer("wakes_up", ordered=[-300])

    world.program("wednesdays", **between(320, 360, cadence="weekly", weekday=3))
    world.customer("midweek", ordered=[-330])

    conditional = [
        {"day": 0, "send": "offer", "unless": "one_time_buyer"},
        {"day": 0, "task": "call", "only_if": "one_time_buyer"},
        {"day": 1, "send": "last"},
    ]
    world.program("conditional", **between(360, 400, steps=conditional))
    world.customer("bought_once", ordered=[-370])
    world.customer("bought_twice", ordered=[-800, -370])

    result = Seen(world)
    for day in DAYS:
        if day == 2:
            world.order("buys", 1.5)
            world.consent("loses_consent", "email", 1.25, granted=False)
            world.consent("loses_consent", "ads", 1.25, granted=False)
            world.order("late_order", -3)
        if day == 3:
            world.consent("loses_consent", "email", 2.5, granted=True)
        if day == 4:
            world.opened("wakes_up", 3.5)
        world.derive(day)
        result.admissions[day] = world.admissions()
        result.actions[day] = world.actions()
        result.journeys[day] = world.journeys()
        result.followups[day] = world.followups()
        result.ads[day] = {row["customer_id"] for row in world.rows("select customer_id from marts.ad_audience_members")}
        plain = world.rows("select next_step_no, next_step_due_on from marts.journey_enrolments where customer_id = 'plain'")
        result.next_steps[day] = (plain[0]["next_step_no"], plain[0]["next_step_due_on"])
        world.record(day, answer if day < 4 else None)
    return result


def test_steps_come_at_their_distance_and_after_an_outage_one_at_a_time(seen: Seen) -> None:
    assert seen.acts("plain") == [(0, 1, "send", "email"), (3, 2, "send", "email"), (11, 3, "send", "sms")]
    assert seen.admissions[0]["comeback", "plain"] == "admitted"
    assert seen.admissions[1]["comeback", "plain"] == "already_enrolled"
    assert seen.journeys[12]["comeback", "plain"] == "completed"
    assert seen.admissions[12]["comeback", "plain"] == "same_episode"


def test_a_purchase_ends_the_journey_and_the_ads(seen: Seen) -> None:
    assert seen.acts("buys") == [(0, 1, "send", "email")]
    assert seen.journeys[1]["comeback", "buys"] == "open"
    assert seen.journeys[2]["comeback", "buys"] == "purchase"
    assert "buys" in seen.ads[1]
    assert "buys" not in seen.ads[2]
    assert ("comeback", "buys") not in seen.admissions[2]


def test_an_order_that_arrives_late_ends_the_journey_it_would_have_prevented(seen: Seen) -> None:
    assert seen.journeys[1]["comeback", "late_order"] == "open"
    assert seen.journeys[2]["comeback", "late_order"] == "purchase"
    assert seen.acts("late_order") == [(0, 1, "send", "email")]


def test_consent_that_came_back_does_not_bring_the_journey_back(seen: Seen) -> None:
    assert seen.journeys[2]["comeback", "loses_consent"] == "lost_consent"
    assert seen.journeys[12]["comeback", "loses_consent"] == "lost_consent"
    assert seen.acts("loses_consent") == [(0, 1, "send", "email")]


@pytest.mark.parametrize("customer", ["refused", "lost"])
def test_a_message_that_failed_for_good_is_a_step_done(seen: Seen, customer: str) -> None:
    assert seen.acts(customer)[:2] == [(0, 1, "send", "email"), (3, 2, "send", "email")]


@pytest.mark.parametrize("customer", ["held_up", "unanswered"])
def test_a_message_on_its_way_holds_up_the_next_step(seen: Seen, customer: str) -> None:
    # Answered on day 4: the second step keeps its three days, which end during the outage, and the third its six after that.
    assert seen.acts(customer) == [(0, 1, "send", "email"), (11, 2, "send", "email")]


def test_a_capped_message_waits_and_is_skipped_when_patience_ends(seen: Seen) -> None:
    assert seen.acts("crowded")[:3] == [(0, 1, "defer", "capped"), (1, 1, "defer", "capped"), (2, 1, "skip", "capped")]
    # Done on day 2, so that the second step is due on day 5, when the other system's messages lie beyond the window.
    assert seen.acts("crowded")[3:4] == [(5, 2, "send", "email")]


def test_the_holdout_walks_the_same_journey_and_hears_nothing(seen: Seen) -> None:
    assert seen.acts("holdout") == [(0, 1, "withhold", "email"), (3, 2, "withhold", "email"), (11, 3, "withhold", "email")]
    assert not [message for message in seen.world.messages() if message[0] == "holdout"]
    assert not any("holdout" in members for members in seen.ads.values())


def test_a_journey_is_finished_by_the_version_it_entered(seen: Seen) -> None:
    assert [(day, step) for day, step, *_ in seen.acts("before_the_change")] == [(0, 1), (3, 2), (11, 3)]
    assert [(day, step) for day, step, *_ in seen.acts("after_the_change")] == [(2, 1), (3, 2)]
    contents = seen.world.rows("select content from ledger.messages where customer_id = 'after_the_change' order by step_no")
    assert [row["content"] for row in contents] == ["new_first", "new_second"]


def test_steps_of_a_paused_program_wait(seen: Seen) -> None:
    assert seen.acts("waits") == [
        (0, 1, "send", "email"),
        (3, 2, "defer", "paused"),
        (4, 2, "defer", "paused"),
        (5, 2, "send", "email"),
        (11, 3, "send", "email"),
    ]


def test_a_retired_program_lets_everyone_go(seen: Seen) -> None:
    assert seen.journeys[1]["stopped", "stranded"] == "open"
    assert seen.journeys[2]["stopped", "stranded"] == "program_stopped"
    assert seen.acts("stranded") == [(0, 1, "send", "email")]


def test_completion_tags_limits_and_hands_over_with_the_same_anchor(seen: Seen) -> None:
    assert seen.journeys[1]["short", "handed_over"] == "completed"
    assert [what for what in seen.followups[1] if what[0] == "handed_over"] == [
        ("handed_over", "lower_frequency", "short"),
        ("handed_over", "tag", "asleep"),
    ]
    assert seen.admissions[1]["after", "handed_over"] == "admitted"
    entries = seen.world.rows(
        "select program, reason, anchor_at from ledger.enrolments where customer_id = 'handed_over' order by enrolled_at"
    )
    assert [(row["program"], row["reason"]) for row in entries] == [("short", "no_purchase"), ("after", "handed over")]
    assert entries[0]["anchor_at"] == entries[1]["anchor_at"]
    # Nothing is done twice, and those who rest are taken by nobody, from the first day of the rest on.
    assert [what for day in (2, 3) for what in seen.followups[day] if what[0] == "handed_over"] == [("handed_over", "suppress", "after")]
    assert seen.admissions[2]["short", "handed_over"] == "suppressed"
    assert seen.admissions[3]["short", "handed_over"] == "suppressed"


def test_coming_back_removes_the_tag_and_the_limit(seen: Seen) -> None:
    assert [what for what in seen.followups[4] if what[0] == "wakes_up"] == [
        ("wakes_up", "restore_frequency", "short"),
        ("wakes_up", "untag", "asleep"),
    ]
    assert not [what for what in seen.followups[5] if what[0] == "wakes_up"]


def test_weekly_programs_take_in_on_their_day_only(seen: Seen) -> None:
    assert [seen.admissions[day]["wednesdays", "midweek"] for day in (0, 1, 2, 3)] == [
        "not_entry_day",
        "not_entry_day",
        "admitted",
        "already_enrolled",
    ]


def test_a_step_that_does_not_apply_makes_room_for_the_next_at_once(seen: Seen) -> None:
    assert seen.acts("bought_once")[:3] == [(0, 1, "skip", "condition"), (0, 2, "task", "task"), (1, 3, "send", "email")]
    # The offer went out on day 0, the call is passed over and the last message follows without a day lost.
    assert seen.acts("bought_twice")[:3] == [(0, 1, "send", "email"), (1, 2, "skip", "condition"), (1, 3, "send", "email")]


def test_a_rerun_sees_none_of_its_own_effects_and_a_past_day_comes_out_the_same(seen: Seen) -> None:
    day = 3
    seen.world.derive(day)
    assert seen.world.admissions() == seen.admissions[day]
    assert seen.world.actions() == seen.actions[day]
    assert seen.world.followups() == seen.followups[day]


def test_no_two_steps_of_a_journey_are_closer_than_the_program_says(seen: Seen) -> None:
    closer = seen.world.rows(
        """
        with done as (
            select messages.customer_id, messages.program, messages.version, messages.enrolment_id, messages.step_no, steps.day,
                outcomes.recorded_at::date as done_on
            from ledger.messages
            join ledger.outcomes on messages.message_id = outcomes.item_id and outcomes.outcome <> 'deferred'
            join programs.steps on (messages.program, messages.version, messages.step_no) = (steps.program, steps.version, steps.step_no)
        )
        select * from done join done as earlier using (enrolment_id)
        where earlier.step_no < done.step_no and done.done_on - earlier.done_on < done.day - earlier.day
        """
    )
    assert closer == []


def test_the_day_of_a_step_is_shown_before_it_comes(seen: Seen) -> None:
    assert seen.next_steps[1] == (2, on(3))
    assert seen.next_steps[12] == (None, None)
