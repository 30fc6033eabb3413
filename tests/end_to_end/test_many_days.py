"""120 days in a row, with everything that goes wrong on the way: late orders and webhooks, refunds, outages, faults, edits, reruns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import pytest
import yaml

from tests.end_to_end.pipeline import Pipeline, make_project
from tests.end_to_end.promises import History, broken
from tests.end_to_end.shop import DAY, START, Returned, Shop
from tests.end_to_end.trial_programs import FILES
from winback.delivery import read_plan
from winback.inbox.recording import Event, address_hash, derived_id, record_in
from winback.ledger import open_ledger

SEED = 20300107
DAYS = 120
CUSTOMERS = 260
FAULTS = "throttled=0.1,error=0.05,defer=0.05,reject=0.02,lost=0.1"

# (day, file, what is replaced, by what): what marketing does meanwhile. Those inside finish the version they entered.
EDITS = (
    (30, "trial_short.yml", "{day: 1, send: hello", "{day: 3, send: hello"),
    (30, "trial_short.yml", "{day: 2, send: hello", "{day: 7, send: hello"),
    (55, "trial_weekly.yml", "status: live", "status: paused"),
    (63, "trial_weekly.yml", "status: paused", "status: live"),
    (70, "customer_lapsed.yml", "at_least: 60", "at_least: 45"),
    (85, "product_unused.yml", "status: live", "status: retired"),
)
COMPARED = (17, 66, DAYS - 1)
RERUN = (21, 64, 101)

_AUDIENCE = """
    select programs.program, members.customer_id
    from staging.stg_programs__in_force as programs
    join intermediate.int_audiences__members as members using (audience)
    where programs.is_live
        and members.lapse_days >= coalesce(programs.lapse_days_at_least, 0)
        and members.lapse_days < coalesce(programs.lapse_days_below, 1000000)
"""
_UNEQUAL = f"""
    with audience as ({_AUDIENCE}),
    admissions as (select * from marts.journey_admissions),
    told as (select program, sum(customers) as customers from marts.admission_waterfall group by program)
    select 'is missing from' as what, program, customer_id from audience
        where (program, customer_id) not in (select (program, customer_id) from admissions)
    union all
    select 'is not of the audience of', program, customer_id from admissions
        where audience_reason <> 'handed over' and (program, customer_id) not in (select (program, customer_id) from audience)
    union all
    select 'stands twice before', program, customer_id from admissions group by program, customer_id having count(*) > 1
    union all
    select 'is neither admitted nor blocked for a reason by', program, customer_id from admissions
        where decision not in ('admitted', 'blocked') or (decision = 'admitted') <> (reason is null)
    union all
    select 'is the count in the waterfall of', program, customers::varchar from told
        where customers <> (select count(*) from admissions where admissions.program = told.program)
"""


@pytest.mark.slow
def test_120_days_keep_every_promise(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", FILES)
    pipeline = Pipeline(project, tmp_path / "home", threads=1)
    shop = Shop(SEED, CUSTOMERS)
    chance = Random(SEED)
    broken_on_the_way: list[str] = []
    answered: set[str] = set()
    missed: list[int] = []
    run_days = 0
    edits = list(EDITS)
    for day in range(DAYS):
        missed.append(day)
        if day not in (0, *COMPARED, *RERUN) and chance.random() < 0.12:
            continue  # an outage: this day's rows come with the next day's, and nothing is sent
        as_of = START + day * DAY
        run_days += 1
        pipeline.land(shop.arrive(missed))
        _receive(pipeline, shop.comes_back(as_of, day))
        missed.clear()
        changed = day == 0
        while edits and edits[0][0] <= day:
            _edit(project, *edits.pop(0)[1:])
            changed = True
        pipeline.sync(as_of) if changed else pipeline.copy_ledger()
        if day == 0:
            pipeline.derive(as_of)
        else:
            pipeline.derive_again(as_of)
        if day in COMPARED:
            quickly = pipeline.exports()
            pipeline.derive(as_of)
            assert quickly == pipeline.exports(), "the statements that dbt wrote for an earlier day do not give this day"
        broken_on_the_way += [f"{as_of:%Y-%m-%d}: {row['customer_id']} {row['what']} {row['program']}" for row in pipeline.rows(_UNEQUAL)]
        # Between planning, as of midnight, and sending.
        _receive(pipeline, shop.comes_back(as_of + timedelta(hours=3), day))
        faulty = chance.random() < 0.1 and day < DAYS - 3
        pipeline.act(as_of, faults=f"{FAULTS},seed={day}" if faulty else "")
        if day in RERUN:
            before = _ledger_sizes(pipeline)
            pipeline.derive_again(as_of)
            pipeline.act(as_of)
            if _ledger_sizes(pipeline) != before:
                broken_on_the_way.append(f"{as_of:%Y-%m-%d}: running the day again changed the ledger: {before} {_ledger_sizes(pipeline)}")
        shop.answer(_newly_sent(pipeline, answered), day + 1)
    print(f"\n{run_days} days ran\n{pipeline.costs(run_days)}")  # noqa: T201  (shown by pytest -s and with failures)

    desired: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in pipeline.rows("select platform, program, customer_id from marts.ad_audience_members"):
        desired[row["platform"], row["program"]].add(row["customer_id"])
    brand = yaml.safe_load((project / "programs" / "brand.yml").read_text(encoding="utf-8"))
    tables = ("enrolments", "steps", "messages", "outcomes", "audience_changes", "program_versions", "frequency_limits", "offer_codes")
    history = History(
        shop=shop,
        outbox=pipeline.settings.outbox,
        ledger={table: pipeline.ledger_rows(table) for table in tables},
        desired=desired,
        held=[hold.message for hold in read_plan(pipeline.settings, START + (DAYS - 1) * DAY).holds],
        caps={channel: (cap["messages"], cap["days"]) for channel, cap in brand["sending"]["caps"].items()},
        broken_on_the_way=broken_on_the_way,
        journeys=pipeline.rows("select * from marts.journey_enrolments"),
    )
    _assert_much_happened(history)
    assert not (told := broken(history)), f"\n{told}"


def _receive(pipeline: Pipeline, returned: Sequence[Returned]) -> None:
    """What the receiver writes, in one transaction for speed: each event at the instant at which it came."""
    with open_ledger(pipeline.settings) as ledger, ledger.writing() as writer:
        for one in returned:
            channel = one.message["channel"]
            event = Event(
                event_id=derived_id(one.message["message_id"], one.kind, one.at, one.link),
                source="sendgrid",
                event_type=one.kind,
                message_id=one.message["message_id"],
                channel=channel,
                address_hash=address_hash(channel, one.address) if one.address else None,
                occurred_at=one.at,
                is_machine=one.is_machine,
                link=one.link,
            )
            record_in(writer, [event], one.received)


def _assert_much_happened(history: History) -> None:
    """Promises about nothing are easily kept."""
    outcomes = [row["outcome"] for row in history.ledger["outcomes"]]
    reasons = {row["reason"] for row in history.ledger["outcomes"] if row["outcome"] == "skipped"}
    entered = {row["program"] for row in history.ledger["enrolments"]}
    assert len(history.ledger["enrolments"]) > 500
    assert len(history.sends) > 800
    assert len({row["program"] for row in history.ledger["program_versions"]} - entered) <= 1, f"only these were entered: {entered}"
    assert {"accepted", "deferred", "rejected", "skipped", "unknown"} <= set(outcomes)
    assert {"purchased", "consent_withdrawn", "unsubscribed"} & reasons, reasons
    assert {"suppressed", "engaged"} & reasons, reasons
    told = [one.kind for one in history.shop.returned if one.told_on is not None]
    assert {"delivered", "opened", "clicked", "bounced", "soft_bounced", "complained", "unsubscribed", "resubscribed"} <= set(told)
    assert sum(row["exit_reason"] == "engagement" for row in history.journeys) > 20
    assert {send.message["channel"] for send in history.sends} >= {"email", "sms", "push", "task"}
    assert history.ledger["frequency_limits"]
    assert any(row["operation"] == "remove" for row in history.ledger["audience_changes"])
    assert any(row["reason"] == "handed over" for row in history.ledger["enrolments"])


def _edit(project: Path, file: str, old: str, new: str) -> None:
    path = project / "programs" / file
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{file} does not say {old!r} any more"
    path.write_text(text.replace(old, new), encoding="utf-8")


def _ledger_sizes(pipeline: Pipeline) -> dict[str, int]:
    return {
        table: len(pipeline.ledger_rows(table)) for table in ("enrolments", "steps", "messages", "outcomes", "audience_changes", "tags")
    }


def _newly_sent(pipeline: Pipeline, answered: set[str]) -> list[dict[str, str | datetime]]:
    rows = pipeline.rows(
        """
        select messages.message_id, messages.customer_id, messages.channel, messages.program, min(outcomes.recorded_at) as sent_at
        from ledger.messages as messages
        join ledger.outcomes as outcomes on outcomes.item_id = messages.message_id
        where messages.kind = 'send' and outcomes.outcome = 'accepted'
        group by all
        order by messages.message_id
        """
    )
    new = [row for row in rows if row["message_id"] not in answered]
    answered.update(row["message_id"] for row in new)
    return new
