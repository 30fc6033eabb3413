"""A program whose email is paused: other channels go on, steps that need email wait in both arms, and a person lets it go on."""

from __future__ import annotations

from datetime import timedelta

from tests.journeys.world import START, World


def act(world: World, name: str, at: float) -> None:
    row = {"act": name, "actor": "winback", "subject": "comeback", "details": "{}", "recorded_at": START + timedelta(days=at)}
    world.add("ledger.audit_trail", [row])


def test_email_waits_while_it_is_paused_and_other_channels_go_on(world: World) -> None:
    steps = [{"day": 0, "send": "first", "channels": ["email", "sms"]}, {"day": 1, "send": "second", "channels": ["email", "sms"]}]
    world.program("comeback", lapse_days_at_least=60, lapse_days_below=120, steps=steps)
    world.program("left_alone", lapse_days_at_least=120, lapse_days_below=150, holdout_below="g", steps=steps)
    world.policy("sms", None, 7)
    world.customer("mail_only")
    world.customer("has_a_phone", channels=("email", "sms"))
    world.customer("holdout", ordered=[-130])
    act(world, "pause_email", -0.5)

    world.run(0)
    assert world.actions() == [
        ("comeback", "has_a_phone", 1, "send", "sms"),
        ("comeback", "mail_only", 1, "defer", "email_paused"),
        ("left_alone", "holdout", 1, "withhold", "email"),
    ]
    act(world, "resume_email", 0.5)
    world.run(1)
    assert world.actions() == [
        ("comeback", "has_a_phone", 2, "send", "email"),
        ("comeback", "mail_only", 1, "send", "email"),
        ("left_alone", "holdout", 2, "withhold", "email"),
    ]
    assert world.messages() == [("has_a_phone", 1, 0), ("has_a_phone", 2, 1), ("mail_only", 1, 1)]
