"""Attribution from messages and orders to the cube: any window in whole hours gives the same from both, and from plain Python."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.measurement.experiments import MODELS_AND_SEEDS, rows
from tests.warehouse.building import derive, load

FIRST = datetime(2030, 1, 1)
AS_OF = datetime(2030, 4, 15)
WINDOWS = (1, 24, 71, 72, 73, 120, 500, 720)


@pytest.mark.slow
def test_every_window_sums_to_what_python_attributes(tmp_path: Path) -> None:
    chance = random.Random(5)
    people = [f"c{number}" for number in range(60)]
    messages: list[dict[str, Any]] = []
    for number in range(150):
        sent_at = FIRST + timedelta(hours=chance.randrange(24 * 50), minutes=chance.choice([0, 0, 17]))
        program = chance.choice(["p", "q"])
        who = chance.choice(people)
        messages.append(
            {
                "message_id": f"m{number:03}",
                "enrolment_id": f"{program}|{who}",
                "step_no": 1,
                "customer_id": who,
                "program": program,
                "version": 1,
                "kind": chance.choice(["send"] * 9 + ["task"]),
                "channel": chance.choice(["email", "sms"]),
                "sent_at": sent_at,
                "outcome": chance.choice(["accepted"] * 5 + ["rejected"]),
            }
        )
    orders = [
        {
            "order_id": f"o{number}",
            "customer_id": message["customer_id"],
            # Many of them at whole hours after a message, where a window begins or ends.
            "ordered_at": message["sent_at"] + timedelta(hours=chance.choice([-1, 0, 1, 23, 24, 71, 72, 73, 400, 719, 720, 721])),
            "status": "paid",
            "total": str(chance.randrange(100, 9_999) / 100),
        }
        for number, message in enumerate(chance.choices(messages, k=400))
    ]
    load(
        tmp_path,
        {"customers": [{"customer_id": who} for who in people], "orders": orders},
        programs={
            "versions": [
                {"program": name, "version": 1, "is_draft": False, "effective_at": FIRST, "attribution_hours": hours}
                for name, hours in (("p", 72), ("q", 24))
            ]
        },
        ledger={
            "messages": [
                {key: value for key, value in message.items() if key not in {"sent_at", "outcome"}}
                | {"as_of": message["sent_at"], "recorded_at": message["sent_at"]}
                for message in messages
            ],
            "outcomes": [
                {"item_id": message["message_id"], "attempt": 1, "outcome": message["outcome"], "recorded_at": message["sent_at"]}
                for message in messages
            ],
        },
    )
    touches = [message for message in messages if message["kind"] == "send" and message["outcome"] == "accepted"]
    first_touched_at = min(touch["sent_at"] for touch in touches)
    last_touches: list[tuple[dict[str, Any], dict[str, Any], float]] = []
    for order in orders:
        before = [touch for touch in touches if touch["customer_id"] == order["customer_id"] and touch["sent_at"] <= order["ordered_at"]]
        if before:
            latest = max(touch["sent_at"] for touch in before)
            touch = min((touch for touch in before if touch["sent_at"] == latest), key=lambda touch: str(touch["message_id"]))
            last_touches.append((order, touch, (order["ordered_at"] - latest) / timedelta(hours=1)))

    path = derive(tmp_path, AS_OF, select="+attribution_cube", arguments=MODELS_AND_SEEDS)

    for window in WINDOWS:
        within = [(order, touch) for order, touch, hours in last_touches if hours < window]
        expected = sorted(
            (
                program,
                channel,
                sum((touch["program"], touch["channel"]) == (program, channel) for _, touch in within),
                round(
                    sum(float(order["total"]) for order, touch in within if (touch["program"], touch["channel"]) == (program, channel)), 2
                ),
            )
            for program, channel in {(touch["program"], touch["channel"]) for _, touch in within}
        )
        for source in (
            f"select program, channel, sum(orders) as orders, sum(revenue) as revenue from marts.attribution_cube where hours < {window}",
            (
                "select program, channel, count(*) as orders, sum(net_value) as revenue from marts.order_attribution "
                f"where is_last_touch and hours_since_touch < {window}"
            ),
        ):
            found = rows(path, f"{source} group by program, channel order by program, channel")
            assert [(row["program"], row["channel"], row["orders"], float(row["revenue"])) for row in found] == expected, (window, source)
    [whole] = rows(path, "select count(*) filter (is_order_row) as rows, count(distinct order_id) as orders from marts.order_attribution")
    assert whole["rows"] == whole["orders"] == sum(order["ordered_at"] >= first_touched_at for order in orders)
    [own] = rows(path, "select count(*) as orders from marts.order_attribution where is_last_touch_program_window")
    assert own["orders"] == sum(hours < {"p": 72, "q": 24}[touch["program"]] for _, touch, hours in last_touches)
