"""The customer side of the design once more, in plain Python, one customer at a time and straight from the definitions.

Slow and simple on purpose: tiers of the past are found by asking each single day, win-back percentages by asking each customer each month.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

Row = Mapping[str, Any]

CYCLES = {"consumables": 30, "cosmetics": 30, "apparel": 60, "furniture": 180}
DEFAULT_CYCLE = 90
CHANNELS = ("email", "sms", "push", "ads")
THRESHOLDS = (30, 60, 90, 180, 365)


def purchases(raw: Mapping[str, Sequence[Row]], as_of: datetime) -> list[Row]:
    """Orders that count, replays once."""
    once = {row["order_id"]: row for row in raw.get("orders", []) if row["ordered_at"] < as_of}
    return [
        row
        for row in once.values()
        if row.get("customer_id") is not None
        and (row.get("status") or "").lower() not in ("cancelled", "canceled", "voided")
        and not ((row.get("refunded") or 0) > 0 and row["refunded"] >= row["total"])
    ]


def customers(raw: Mapping[str, Sequence[Row]], as_of: datetime) -> dict[str, dict[str, Any]]:
    """Figures per customer, under the names of the customers mart."""
    today = as_of.date()
    bought = _by_customer(purchases(raw, as_of))
    listed = {row["customer_id"]: row for row in raw["customers"] if row.get("created_at") is None or row["created_at"] < as_of}
    categories = {row["product_id"]: row.get("category") for row in raw.get("products", [])}
    lines: dict[str, set[str]] = defaultdict(set)
    for line in raw.get("order_lines", []):
        if category := categories.get(line["product_id"]):
            lines[line["order_id"]].add(category)
    engaged = _by_customer(engagement(raw, listed, as_of))
    reasons = unreachable_reasons(raw, listed, as_of)
    return {
        customer: _figures(
            listed.get(customer, {}),
            bought.get(customer, []),
            lines,
            engaged.get(customer, []),
            reasons.get(customer, dict.fromkeys(CHANNELS, "no_address")),
            today,
        )
        for customer in set(listed) | set(bought)
    }


def engagement(raw: Mapping[str, Sequence[Row]], listed: Mapping[str, Row], as_of: datetime) -> list[Row]:
    """What people did, each with a `kind` and the customer it belongs to."""
    by_people = [
        {"customer_id": row["customer_id"], "kind": row["event_type"], "at": row["occurred_at"], "channel": row["channel"]}
        for row in resolved_messages(raw, listed, as_of)
        if row["event_type"] in ("opened", "clicked", "replied") and not row.get("is_machine")
    ]
    kinds = {"visit": "visit", "login": "use", "action": "use"}
    return by_people + [
        {"customer_id": row["customer_id"], "kind": kinds[row["event_type"]], "at": row["occurred_at"], "channel": None}
        for row in raw.get("activity_events", [])
        if row["occurred_at"] < as_of and row["event_type"] in kinds
    ]


def resolved_messages(raw: Mapping[str, Sequence[Row]], listed: Mapping[str, Row], as_of: datetime) -> list[Row]:
    """Message events before as_of, by customer; an address stands for everybody who has it."""
    holders: dict[tuple[str, str], list[str]] = defaultdict(list)
    for customer, row in listed.items():
        if row.get("email"):
            holders["email", row["email"].strip().lower()].append(customer)
        if row.get("phone"):
            holders["sms", row["phone"]].append(customer)
    events: list[Row] = []
    for row in raw.get("message_events", []):
        if row["occurred_at"] >= as_of:
            continue
        if row.get("customer_id"):
            events.append(row)
        elif row.get("address"):
            events.extend({**row, "customer_id": customer} for customer in holders[row["channel"], row["address"].strip().lower()])
    return events


def unreachable_reasons(raw: Mapping[str, Sequence[Row]], listed: Mapping[str, Row], as_of: datetime) -> dict[str, dict[str, str | None]]:
    """Why a channel is out, per customer and channel; None where it is reachable. Without suppressions."""
    changes = defaultdict(list)
    for row in raw.get("consents", []):
        if row["changed_at"] < as_of:
            changes[row["customer_id"], row["channel"]].append((row["changed_at"], not row["granted"]))
    events = defaultdict(list)
    for row in resolved_messages(raw, listed, as_of):
        events[row["customer_id"], row["channel"]].append(row)
    return {
        customer: {channel: _reason(row, channel, sorted(changes[customer, channel]), events[customer, channel]) for channel in CHANNELS}
        for customer, row in listed.items()
    }


def _reason(row: Row, channel: str, changes: list[tuple[datetime, bool]], events: list[Row]) -> str | None:
    usable = {"email": [row.get("email")], "sms": [row.get("phone")], "push": [], "ads": [row.get("email"), row.get("phone")]}
    addresses = [address for address in usable[channel] if address]
    if not addresses:
        return "no_address"
    if not any("@" in address or address.startswith("+") for address in addresses):
        return "invalid_address"
    if not changes:
        return "no_consent"
    if changes[-1][1]:
        return "consent_withdrawn"
    consented_at = changes[-1][0]
    for kind in ("unsubscribed", "complained"):
        if any(event["event_type"] == kind and event["occurred_at"] >= consented_at for event in events):
            return kind
    signs = [event["occurred_at"] for event in events if event["event_type"] in ("delivered", "opened", "clicked", "replied")]
    signs += [at for at, withdrawn in changes if not withdrawn]
    since = {event["event_id"] for event in events if event["event_type"] == "bounced" and event["occurred_at"] > max(signs)}
    return "bounced" if len(since) >= 3 else None


def tier_on(active_on: Iterable[date], day: date) -> str:
    """The tier that the run of midnight of `day` shows."""
    before = [active for active in active_on if active < day]
    since = (day - max(before)).days if before else math.inf
    return "active" if since < 31 else "at_risk" if since <= 90 else "inactive"


def tier_history(active_on: Sequence[date], known_from: date | None, today: date) -> list[tuple[str, date, date | None]]:
    """Stays (tier, started_on, ended_on) found by asking every day from the first run that knew the customer."""
    starts = [min(active_on) + timedelta(days=1)] if active_on else []
    starts += [known_from + timedelta(days=1)] if known_from else []
    if not starts:
        return []
    stays: list[tuple[str, date, date | None]] = []
    day = min(starts)
    while day <= today:
        tier = tier_on(active_on, day)
        if not stays or stays[-1][0] != tier:
            if stays:
                stays[-1] = (stays[-1][0], stays[-1][1], day)
            stays.append((tier, day, None))
        day += timedelta(days=1)
    return stays


def winback_monthly(raw: Mapping[str, Sequence[Row]], as_of: datetime) -> dict[tuple[date, int], tuple[int, int, int, int]]:
    """(lapsed, won back, returns, returned customers) per month and threshold."""
    days = {customer: sorted({row["ordered_at"].date() for row in rows}) for customer, rows in _by_customer(purchases(raw, as_of)).items()}
    figures: dict[tuple[date, int], tuple[int, int, int, int]] = {}
    if not days:
        return figures
    month = min(history[0] for history in days.values()).replace(day=1)
    while datetime(month.year, month.month, 1) < as_of:
        following = (month + timedelta(days=32)).replace(day=1)
        for threshold in THRESHOLDS:
            lapsed = won_back = 0
            returns: Counter[str] = Counter()
            for customer, history in days.items():
                before = [day for day in history if day < month]
                if before and (month - before[-1]).days >= threshold:
                    lapsed += 1
                    won_back += any(month <= day < following for day in history)
                for earlier, later in pairwise(history):
                    if month <= later < following and (later - earlier).days > threshold:
                        returns[customer] += 1
            figures[month, threshold] = (lapsed, won_back, returns.total(), len(returns))
        month = following
    return figures


def audiences(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, set[str]]:
    """Members per audience, with the default thresholds, from the figures of `customers`."""

    def those(condition: Any) -> set[str]:
        return {customer for customer, row in figures.items() if condition(row)}

    def at_least(value: float | None, days: int) -> bool:
        return value is not None and value >= days

    return {
        "past_own_cycle": those(lambda row: at_least(row["days_past_cycle"], 8)),
        "customer_not_active": those(lambda row: row["order_count"] and at_least(row["days_since_last_activity"], 90)),
        "product_cycle_ended": those(lambda row: at_least(row["days_since_last_order"], row["product_cycle_days"])),
        "lapsed_one_to_two_years": those(
            lambda row: at_least(row["days_since_last_order"], 365) and not at_least(row["days_since_last_order"], 730)
        ),
        "customer_lapsed": those(lambda row: at_least(row["days_since_last_order"], 60)),
        "email_fading": those(lambda row: at_least(row["days_since_last_email_engagement"], 30)),
        "product_unused": those(lambda row: at_least(row["days_since_last_product_use"], 30)),
        "tier_drop": those(
            lambda row: (
                row["engagement_tier"] != "active"
                and row["days_since_last_activity"] is not None
                and row["days_since_last_activity"] - (31 if row["engagement_tier"] == "at_risk" else 91) < 30
            )
        ),
    }


def _figures(
    listed: Row, bought: list[Row], lines: Mapping[str, set[str]], engaged: list[Row], reasons: Mapping[str, str | None], today: date
) -> dict[str, Any]:
    days = sorted({row["ordered_at"].date() for row in bought})
    gaps = [(later - earlier).days for earlier, later in pairwise(days)]
    values = [Decimal(row["total"]) - Decimal(row.get("refunded") or 0) for row in bought]
    recent = [value for row, value in zip(bought, values, strict=True) if row["ordered_at"].date() > today - timedelta(days=365)]
    counts: dict[str, tuple[int, datetime]] = {}
    spellings: dict[str, set[str]] = defaultdict(set)
    for row in bought:
        written = lines.get(row["order_id"], set())
        for category in written:
            spellings[category.lower()].add(category)
        for key in {category.lower() for category in written}:
            number, latest = counts.get(key, (0, row["ordered_at"]))
            counts[key] = (number + 1, max(latest, row["ordered_at"]))
    main_category = next((min(spellings[key]) for key in sorted(counts) if counts[key] == max(counts.values())), None)
    cycle = CYCLES.get((main_category or "").lower(), DEFAULT_CYCLE)
    average = sum(gaps) / len(gaps) if gaps else None

    def last(*kinds: str, channel: str | None = None) -> datetime | None:
        return max((row["at"] for row in engaged if row["kind"] in kinds and channel in (None, row["channel"])), default=None)

    def since(moment: datetime | None) -> int | None:
        return None if moment is None else (today - moment.date()).days

    last_order = max((row["ordered_at"] for row in bought), default=None)
    last_engaged = last("opened", "clicked", "replied", "visit", "use")
    last_active = max((moment for moment in (last_order, last_engaged) if moment), default=None)
    active_on = sorted({*days, *(row["at"].date() for row in engaged)})
    known_from = listed.get("created_at")
    history = tier_history(active_on, known_from.date() if known_from else None, today)
    interval = average if average is not None and len(gaps) >= 5 else (sum(gaps) + (5 - len(gaps)) * cycle) / 5
    figures = {
        "order_count": len(bought),
        "order_day_count": len(days),
        "lifetime_value": sum(values, Decimal(0)),
        "spend_last_365_days": sum(recent, Decimal(0)),
        "average_order_value": float(sum(values)) / len(values) if values else None,
        "first_ordered_at": min((row["ordered_at"] for row in bought), default=None),
        "last_ordered_at": last_order,
        "days_since_last_order": since(last_order),
        "average_purchase_interval": average,
        "median_purchase_interval": statistics.median(gaps) if gaps else None,
        "purchase_interval_stddev": statistics.stdev(gaps) if len(gaps) > 1 else None,
        "days_past_cycle": (today - days[-1]).days - average if average is not None else None,
        "main_category": main_category,
        "product_cycle_days": cycle,
        "expected_next_order_on": days[-1] + timedelta(days=math.floor(interval + 0.5)) if days else None,
        "last_active_at": last_active,
        "days_since_last_open": since(last("opened")),
        "days_since_last_click": since(last("clicked")),
        "days_since_last_email_engagement": since(last("opened", "clicked", "replied", channel="email")),
        "days_since_last_visit": since(last("visit")),
        "days_since_last_product_use": since(last("use")),
        "days_since_last_engagement": since(last_engaged),
        "days_since_last_activity": since(last_active),
        "engagement_tier": tier_on(active_on, today),
        "previous_engagement_tier": tier_on(active_on, today - timedelta(days=1)),
        "tier_changed_on": history[-1][1] if history else None,
        "purchase_lifecycle": _lifecycle(days, today),
    }
    for channel in CHANNELS:
        figures[f"{channel}_unreachable_reason"] = reasons[channel]
        figures[f"reachable_{channel}"] = reasons[channel] is None
    return figures | {"history": history}


def _lifecycle(days: list[date], today: date) -> str:
    if not days:
        return "prospect"
    if (today - days[0]).days <= 30:
        return "new"
    since = (today - days[-1]).days
    return "active" if since <= 365 else "lapsed" if since <= 730 else "dormant"


def _by_customer(rows: Iterable[Row]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row["customer_id"]].append(row)
    return grouped
