"""What must hold after many days: each promise is a function that yields a sentence for everything that breaks it.

They read the ledger, the outbox and what the shop remembers, and share no code with what they check.
"""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.end_to_end.shop import START, Returned, Shop

Row = dict[str, Any]
NEVER = datetime(9999, 1, 1)


@dataclass(slots=True)
class Send:
    """A message that left: when, and what it belongs to."""

    message: Row
    enrolment: Row
    at: datetime

    @property
    def day(self) -> int:
        return (self.at - START).days

    def __str__(self) -> str:
        message = self.message
        return f"{message['program']} step {message['step_no']} to {message['customer_id']} ({message['channel']}) at {self.at}"


@dataclass
class History:
    """All that is left of the days: `ledger` table -> rows, in order; `members`, `desired`: (platform, audience) -> customers."""

    shop: Shop
    outbox: Path
    ledger: dict[str, list[Row]]
    desired: dict[tuple[str, str], set[str]]
    held: list[str]
    caps: dict[str, tuple[int, int]]
    broken_on_the_way: list[str] = field(default_factory=list)
    journeys: list[Row] = field(default_factory=list)

    @cached_property
    def enrolments(self) -> dict[str, Row]:
        return {row["enrolment_id"]: row for row in self.ledger["enrolments"]}

    @cached_property
    def programs(self) -> dict[tuple[str, int], Row]:
        return {(row["program"], row["version"]): json.loads(row["definition"])["program"] for row in self.ledger["program_versions"]}

    @cached_property
    def outcomes(self) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = defaultdict(list)
        for row in sorted(self.ledger["outcomes"], key=lambda row: row["attempt"]):
            found[row["item_id"]].append(row)
        return found

    @cached_property
    def sends(self) -> list[Send]:
        """Accepted messages, at the moment of the first attempt that may have arrived."""
        found = []
        for message in self.ledger["messages"]:
            outcomes = self.outcomes.get(message["message_id"], [])
            if outcomes and outcomes[-1]["outcome"] == "accepted":
                left_at = min(row["recorded_at"] for row in outcomes if row["outcome"] in ("accepted", "unknown"))
                found.append(Send(message, self.enrolments[message["enrolment_id"]], left_at))
        return found

    @cached_property
    def orders(self) -> dict[str, list[list[tuple[int, Row]]]]:
        """customer -> orders -> (the day on which it landed, the row as it then was)."""
        by_order: dict[str, list[tuple[int, Row]]] = defaultdict(list)
        for known in self.shop.landed["orders"]:
            by_order[known.row["order_id"]].append((known.landed_on, known.row))
        found: dict[str, list[list[tuple[int, Row]]]] = defaultdict(list)
        for versions in by_order.values():
            found[versions[0][1]["customer_id"]].append(versions)
        return found

    def purchases_known(self, customer: str, day: int) -> Iterator[datetime]:
        for versions in self.orders.get(customer, []):
            known = [row for landed_on, row in versions if landed_on <= day]
            if known and known[-1]["status"] == "paid" and not 0 < known[-1]["total"] <= known[-1]["refunded"]:
                yield known[-1]["ordered_at"]

    @cached_property
    def events(self) -> dict[tuple[str, str], list[tuple[int, Row]]]:
        found: dict[tuple[str, str], list[tuple[int, Row]]] = defaultdict(list)
        for known in self.shop.landed["message_events"]:
            found[known.row["customer_id"], known.row["channel"]].append((known.landed_on, known.row))
        return found

    @cached_property
    def consents(self) -> dict[tuple[str, str], list[tuple[int, Row]]]:
        found: dict[tuple[str, str], list[tuple[int, Row]]] = defaultdict(list)
        for known in self.shop.landed["consents"]:
            found[known.row["customer_id"], known.row["channel"]].append((known.landed_on, known.row))
        return found

    @cached_property
    def members(self) -> dict[tuple[str, str], set[str]]:
        """Who is in each ad audience by the changes that the platform took."""
        found: dict[tuple[str, str], set[str]] = defaultdict(set)
        for change in self.ledger["audience_changes"]:
            outcomes = self.outcomes.get(change["change_id"], [])
            if outcomes and outcomes[-1]["outcome"] == "accepted":
                audience = found[change["platform"], change["audience"]]
                (audience.add if change["operation"] == "add" else audience.discard)(change["customer_id"])
        return found


Promise = Callable[[History], Iterator[str]]


def admitted_and_blocked_are_the_audience_on_every_day(history: History) -> Iterator[str]:
    yield from history.broken_on_the_way


def nobody_enters_twice_in_an_episode(history: History) -> Iterator[str]:
    counted = Counter((row["program"], row["customer_id"], row["anchor_at"]) for row in history.ledger["enrolments"])
    yield from (f"{episode} was entered {count} times" for episode, count in counted.items() if count > 1)


def nobody_enters_against_the_programs_rules(history: History) -> Iterator[str]:
    entries: dict[tuple[str, str], list[Row]] = defaultdict(list)
    a_day: Counter[tuple[str, datetime]] = Counter()
    for row in history.ledger["enrolments"]:
        program = history.programs[row["program"], row["version"]]
        reentry = program["entry"]["reentry"]
        earlier = entries[row["program"], row["customer_id"]]
        if earlier and reentry["after_days"] is not None and (row["enrolled_at"] - earlier[-1]["enrolled_at"]).days < reentry["after_days"]:
            yield f"{row['customer_id']} entered {row['program']} at {earlier[-1]['enrolled_at']} and again at {row['enrolled_at']}"
        earlier.append(row)
        if reentry["max_entries"] is not None and len(earlier) > reentry["max_entries"]:
            yield f"{row['customer_id']} entered {row['program']} {len(earlier)} times"
        if len({entry["arm"] for entry in earlier}) > 1:
            yield f"{row['customer_id']} changed arms in {row['program']}"
        a_day[row["program"], row["enrolled_at"]] += 1
        if a_day[row["program"], row["enrolled_at"]] > (program["entry"]["max_per_day"] or 10**9):
            yield f"{row['program']} let in more than {program['entry']['max_per_day']} on {row['enrolled_at']}"
        cadence = program["cadence"]
        if isinstance(cadence, dict) and f"{row['enrolled_at']:%A}".lower() != cadence["on"]:
            yield f"{row['program']} let somebody in on {row['enrolled_at']:%A}, not on {cadence['on']}"


def no_step_is_taken_twice(history: History) -> Iterator[str]:
    for table in ("steps", "messages"):
        counted = Counter((row["enrolment_id"], row["step_no"]) for row in history.ledger[table])
        yield from (f"{table}: {step} came {count} times" for step, count in counted.items() if count > 1)


def steps_keep_their_distance(history: History) -> Iterator[str]:
    journeys: dict[str, list[Send]] = defaultdict(list)
    for send in history.sends:
        journeys[send.enrolment["enrolment_id"]].append(send)
    for sends in journeys.values():
        sends.sort(key=lambda send: send.message["step_no"])
        enrolment = sends[0].enrolment
        days = [step["day"] for step in history.programs[enrolment["program"], enrolment["version"]]["steps"]]
        before: tuple[date, int] = (enrolment["enrolled_at"].date(), 0)
        for send in sends:
            day = days[send.message["step_no"] - 1]
            if (send.at.date() - before[0]).days < day - before[1]:
                yield f"{send}: {(send.at.date() - before[0]).days} days after the step before, {day - before[1]} are asked for"
            before = (send.at.date(), day)


def the_holdout_is_left_alone(history: History) -> Iterator[str]:
    held_out = {(row["program"], row["customer_id"]) for row in history.ledger["enrolments"] if row["arm"] == "holdout"}
    if not held_out:
        yield "there is no holdout at all"
    for table in ("messages", "audience_changes", "offer_codes"):
        for row in history.ledger[table]:
            customer = row.get("customer_id") or history.enrolments[row["enrolment_id"]]["customer_id"]
            if (row["program"], customer) in held_out:
                yield f"{table}: {customer} is in the holdout of {row['program']}"
    for line in _outbox_lines(history):
        if (line["program"], line["customer_id"]) in held_out:
            yield f"outbox: {line['customer_id']} is in the holdout of {line['program']}"


def nobody_who_bought_is_written_to(history: History) -> Iterator[str]:
    for send in history.sends:
        program = history.programs[send.enrolment["program"], send.enrolment["version"]]
        if "purchase" not in program["exit_on"]:
            continue
        spared_from = send.enrolment["enrolled_at"].date() - timedelta(days=program["entry"]["exclude_purchased_within_days"])
        known = history.purchases_known(send.message["customer_id"], send.day)
        began_with_purchase = send.enrolment["anchor_at"] in known
        for ordered_at in known:
            since_entry = began_with_purchase or ordered_at >= send.enrolment["enrolled_at"] or ordered_at.date() > spared_from
            if send.enrolment["anchor_at"] < ordered_at <= send.at and since_entry:
                yield f"{send}: had bought at {ordered_at}, which was known"


def nobody_without_consent_is_written_to(history: History) -> Iterator[str]:
    for send in history.sends:
        if send.message["kind"] == "task":
            continue
        who = (send.message["customer_id"], send.message["channel"])
        changes = [row for landed, row in history.consents.get(who, []) if landed <= send.day and row["changed_at"] <= send.at]
        last = max(changes, key=lambda row: row["changed_at"], default=None)
        if last is None or not last["granted"]:
            yield f"{send}: consent {'was never given' if last is None else 'was withdrawn at ' + str(last['changed_at'])}"
            continue
        for landed, event in history.events.get(who, []):
            if event["event_type"] == "unsubscribed" and landed <= send.day and last["changed_at"] <= event["occurred_at"] <= send.at:
                yield f"{send}: had unsubscribed at {event['occurred_at']}"


def nobody_who_refused_is_written_to(history: History) -> Iterator[str]:
    """By what came back: an unsubscription holds until it is taken back, a complaint and a dead address for good."""
    refusals: dict[tuple[str, str], list[Returned]] = defaultdict(list)
    for one in history.shop.returned:
        if one.kind in ("unsubscribed", "resubscribed", "complained", "bounced"):
            refusals[one.message["customer_id"], one.message["channel"]].append(one)
    for send in history.sends:
        who = (send.message["customer_id"], send.message["channel"])
        known = [one for one in refusals[who] if one.told_on is not None and one.told_on <= send.day and one.received <= send.at]
        returned_at = max((one.at for one in known if one.kind == "resubscribed"), default=START)
        for one in known:
            if one.kind in ("complained", "bounced") or (one.kind == "unsubscribed" and one.at >= returned_at):
                yield f"{send}: had {one.kind} at {one.at}, received at {one.received}"


def only_people_engage(history: History) -> Iterator[str]:
    acts = {(known.row["customer_id"], known.row["occurred_at"]) for known in history.shop.landed["activity_events"]}
    machines = set()
    for one in history.shop.returned:
        by_machine = one.is_machine or one.link not in (None, "shop")
        if one.kind in ("opened", "clicked"):
            (machines if by_machine else acts).add((one.message["customer_id"], one.at))
    for known in history.shop.landed["message_events"]:
        # Of what the receiver was told too, it knows better who did it.
        act = (known.row["customer_id"], known.row["occurred_at"])
        if known.row["event_type"] in ("opened", "clicked") and not known.row["is_machine"] and act not in machines:
            acts.add(act)
    for journey in history.journeys:
        if journey["exit_reason"] == "engagement" and (journey["customer_id"], journey["exited_at"]) not in acts:
            yield f"{journey['customer_id']} left {journey['program']} at {journey['exited_at']}, when no person did anything"


def caps_hold(history: History) -> Iterator[str]:
    ours: dict[tuple[str, str], list[Send]] = defaultdict(list)
    for send in history.sends:
        if send.message["kind"] == "send":
            ours[send.message["customer_id"], send.message["channel"]].append(send)
    names = {program for program, _ in history.programs}
    lifted = {row["limit_id"]: row["recorded_at"] for row in history.ledger["frequency_limits"] if row["operation"] == "lift"}
    limits: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in history.ledger["frequency_limits"]:
        if row["operation"] == "add":
            limits[row["customer_id"], row["channel"]].append(row)
    for who, sends in ours.items():
        others = [
            (landed, row) for landed, row in history.events.get(who, []) if row["event_type"] == "sent" and row["campaign"] not in names
        ]
        for send in sends:
            caps = [history.caps[who[1]]] if who[1] in history.caps else []
            caps += [
                (row["max_messages"], row["window_days"])
                for row in limits.get(who, [])
                if row["recorded_at"] <= send.at and not lifted.get(row["limit_id"], NEVER) <= send.at
            ]
            days = [other.at.date() for other in sends if other.at <= send.at]
            days += [row["occurred_at"].date() for landed, row in others if landed <= send.day and row["occurred_at"] <= send.at]
            for most, window in caps:
                count = sum((send.at.date() - day).days < window for day in days)
                if count > most:
                    yield f"{send}: number {count} within {window} days, {most} are allowed"


def ad_audiences_hold_those_who_should_be_in_them(history: History) -> Iterator[str]:
    yield from history.held
    last: dict[tuple[str, str, str], Row] = {}
    for change in history.ledger["audience_changes"]:
        last[change["platform"], change["audience"], change["customer_id"]] = change
    for audience in sorted(history.desired.keys() | history.members.keys()):
        desired, members = history.desired.get(audience, set()), history.members.get(audience, set())
        yield from (f"{customer} is in {audience} and should not be" for customer in sorted(members - desired))
        for customer in sorted(desired - members):
            asked = last.get((*audience, customer))
            outcomes = history.outcomes.get(asked["change_id"], []) if asked else []
            excused = outcomes and outcomes[-1]["outcome"] in ("skipped", "rejected", "deferred")
            if not excused and _can_be_named(history, customer):
                yield f"{customer} should be in {audience} and is not ({asked['operation'] if asked else 'never asked for'})"
    operations: dict[tuple[str, str, str], str] = {}
    for change in history.ledger["audience_changes"]:
        outcomes = history.outcomes.get(change["change_id"], [])
        if outcomes and outcomes[-1]["outcome"] == "accepted":
            member = (change["platform"], change["audience"], change["customer_id"])
            if operations.get(member, "remove") == change["operation"]:
                yield f"{member}: two {change['operation']}s in a row"
            operations[member] = change["operation"]


def the_outbox_is_what_the_ledger_says(history: History) -> Iterator[str]:
    accepted = Counter(send.message["message_id"] for send in history.sends)
    found = Counter(path.stem for path in (history.outbox / "email").rglob("*.eml"))
    found.update(line["message_id"] for line in _outbox_lines(history))
    yield from (
        f"message {item} is {found[item]} times in the outbox, the ledger has {accepted[item]}"
        for item in found
        if found[item] != accepted[item]
    )
    yield from (f"message {item} is in the ledger and not in the outbox" for item in accepted.keys() - found.keys())
    taken = {item for item, outcomes in history.outcomes.items() if outcomes[-1]["outcome"] == "accepted"}
    changes = Counter(row["change_id"] for row in history.ledger["audience_changes"] if row["change_id"] in taken)
    written: Counter[tuple[str, str, str]] = Counter()
    for path in (history.outbox / "ads").rglob("*.csv"):
        with path.open(encoding="utf-8", newline="") as lines:
            written.update((row[0], row[1], row[2]) for row in csv.reader(lines) if row[0] != "change_id")
    yield from (f"{line} is {count} times in the outbox" for line, count in written.items() if count > 1)
    ids = {line[0] for line in written}
    yield from (f"change {item} is in the outbox and not accepted in the ledger" for item in ids - changes.keys())
    yield from (f"change {item} is accepted in the ledger and not in the outbox" for item in changes.keys() - ids)


PROMISES: tuple[Promise, ...] = (
    admitted_and_blocked_are_the_audience_on_every_day,
    nobody_enters_twice_in_an_episode,
    nobody_enters_against_the_programs_rules,
    no_step_is_taken_twice,
    steps_keep_their_distance,
    the_holdout_is_left_alone,
    nobody_who_bought_is_written_to,
    nobody_without_consent_is_written_to,
    nobody_who_refused_is_written_to,
    only_people_engage,
    caps_hold,
    ad_audiences_hold_those_who_should_be_in_them,
    the_outbox_is_what_the_ledger_says,
)


def broken(history: History, *, shown: int = 6) -> str:
    """What does not hold, for people: each broken promise with its first examples. Empty if all do."""
    told = []
    for promise in PROMISES:
        sentences = list(promise(history))
        if sentences:
            more = [f"  ... and {len(sentences) - shown} more"] if len(sentences) > shown else []
            told.append("\n".join([f"{promise.__name__.replace('_', ' ')}:", *(f"  {sentence}" for sentence in sentences[:shown]), *more]))
    return "\n".join(told)


def _outbox_lines(history: History) -> Iterator[Row]:
    for channel in ("sms", "push", "task"):
        for path in sorted((history.outbox / channel).glob("*.jsonl")):
            yield from map(json.loads, path.read_text(encoding="utf-8").splitlines())


def _can_be_named(history: History, customer: str) -> bool:
    return any(
        known.row["customer_id"] == customer and (known.row["email"] or known.row["phone"]) for known in history.shop.landed["customers"]
    )
