"""The marts of `COMPARED` as a data team would write them in pandas, from Parquet exports of the raw tables: a contender of the benchmark.

python -m benchmarks.with_pandas EXPORTS AS_OF MARTS

Vectorised throughout, and only the columns and rows that are needed are read. Money is read as floating point, thresholds stand in the
text. tests/benchmarks holds it to the same rows as the dbt models.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

BY_PEOPLE = ("opened", "clicked", "replied")
CHANNELS = ("email", "sms", "push")
DAY = pd.Timedelta(days=1)

# Audience: reason, anchor, days since, from, below, further condition on the customer. As wide as the shipped programs ask.
AUDIENCES = {
    "past_own_cycle": ("past_own_cycle", "last_ordered_at", "days_past_cycle", 8, 730, "order_day_count >= 2"),
    "customer_not_active": ("no_activity", "last_active_at", "days_since_last_activity", 90, 100_000, "order_count > 0"),
    "product_cycle_ended": ("product_cycle_ended", "last_ordered_at", "days_past_product_cycle", 0, 365, "order_count > 0"),
    "lapsed_one_to_two_years": ("no_purchase", "last_ordered_at", "days_since_last_order", 365, 730, "order_count > 0"),
    "customer_lapsed": ("no_purchase", "last_ordered_at", "days_since_last_order", 60, 365, "order_count > 0"),
    "email_fading": ("no_open_or_click", "last_email_engaged_at", "days_since_last_email_engagement", 30, 100_000, ""),
    "product_unused": ("no_login_or_action", "last_used_at", "days_since_last_product_use", 30, 100_000, ""),
    "tier_drop": ("", "tier_changed_on", "days_since_tier_change", 0, 30, "engagement_tier != 'active' and last_active_at.notna()"),
}


class Shop:
    """The exports of one day: rows at or after `as_of` are not read."""

    def __init__(self, exports: Path, as_of: pd.Timestamp) -> None:
        self.exports = exports
        self.as_of = as_of
        self.today = as_of.normalize()

    def read(self, table: str, columns: list[str], filters: list[tuple[str, str, Any]] | None = None) -> pd.DataFrame:
        return pd.read_parquet(self.exports / f"{table}.parquet", columns=columns, filters=filters)

    def days_ago(self, moments: pd.Series) -> pd.Series:
        """Calendar days from each moment to today; missing where the moment is."""
        days: pd.Series = (self.today - moments.dt.normalize()).dt.days
        return days

    def first_seen(self, days: pd.Series) -> pd.Series:
        """The first date whose daily run sees what happened on a day."""
        return (days + DAY).where(days < self.today, self.today).where(days.notna())


def one_each(rows: pd.DataFrame, key: str, order: dict[str, bool]) -> pd.DataFrame:
    """The first row of each key in an order of columns (ascending or not, missing last). Only keys that came twice are sorted."""
    twice = rows.duplicated(key, keep=False)
    chosen = rows[twice].sort_values(list(order), ascending=list(order.values()), na_position="last").drop_duplicates(key)
    return pd.concat([rows[~twice], chosen])


def purchases_of(shop: Shop, rates: pd.Series) -> pd.DataFrame:
    """One row per purchase, by customer and time, with the days since the one before."""
    columns = ["order_id", "customer_id", "ordered_at", "status", "total", "refunded", "currency"]
    orders = shop.read("orders", columns, [("ordered_at", "<", shop.as_of)])
    orders = one_each(orders, "order_id", {"ordered_at": False, "refunded": False, "total": False, "status": True, "customer_id": True})
    total, refunded = orders["total"].fillna(0), orders["refunded"].fillna(0)
    is_bought = (
        orders["customer_id"].notna()
        & ~orders["status"].str.lower().isin(["cancelled", "canceled", "voided"])
        & ~((refunded > 0) & (refunded >= total))
    )
    orders["net_value"] = (total - refunded) * orders["currency"].map(rates).fillna(1)
    bought = orders.loc[is_bought, ["order_id", "customer_id", "ordered_at", "net_value"]].sort_values(["customer_id", "ordered_at"])
    bought["ordered_on"] = bought["ordered_at"].dt.normalize()
    bought["gap"] = bought.groupby("customer_id")["ordered_on"].diff().dt.days
    return bought


def rhythm_of(shop: Shop, purchases: pd.DataFrame) -> pd.DataFrame:
    """Order metrics by customer."""
    by_customer = purchases.groupby("customer_id")
    rhythm = by_customer.agg(
        first_ordered_at=("ordered_at", "first"),
        last_ordered_at=("ordered_at", "last"),
        order_count=("order_id", "size"),
        lifetime_value=("net_value", "sum"),
    )
    gaps = purchases[purchases["gap"] > 0].groupby("customer_id")["gap"]
    recent = purchases[purchases["ordered_on"] > shop.today - 365 * DAY]
    rhythm["spend_last_365_days"] = recent.groupby("customer_id")["net_value"].sum()
    rhythm["order_day_count"] = gaps.size().reindex(rhythm.index, fill_value=0) + 1
    rhythm["average_purchase_interval"] = gaps.mean()
    rhythm["median_purchase_interval"] = gaps.median()
    rhythm["purchase_interval_stddev"] = gaps.std()
    return rhythm


def main_categories_of(shop: Shop, purchases: pd.DataFrame) -> pd.Series:
    """The category of which a customer placed most orders."""
    products = shop.read("products", ["product_id", "name", "category", "launched_at"])
    products["category"] = products["category"].str.strip().replace("", None)
    products = products[~(products["launched_at"] >= shop.as_of)]
    products = one_each(products, "product_id", {"launched_at": False, "category": True, "name": True})
    products = products[products["category"].notna()]
    # Written in two ways it is one category. Numbers in the order of the alphabet stand for both ways, as there are millions of lines.
    products["key"] = products["category"].str.lower().rank(method="dense").astype(int)
    spellings = products["category"].drop_duplicates().sort_values(ignore_index=True)
    products["spelling"] = spellings.searchsorted(products["category"])
    lines = shop.read("order_lines", ["order_id", "product_id"]).merge(products[["product_id", "key", "spelling"]], on="product_id")
    ordered = lines.groupby(["order_id", "key"], as_index=False)["spelling"].min()
    bought = ordered.merge(purchases[["order_id", "customer_id", "ordered_at"]], on="order_id")
    groups = bought.groupby(["customer_id", "key"], as_index=False)
    counted = groups.agg(size=("ordered_at", "size"), last=("ordered_at", "max"), spelling=("spelling", "min"))
    counted = counted.sort_values(["size", "last", "key"], ascending=[False, False, True])
    counted["category"] = counted["spelling"].map(spellings)
    return counted.drop_duplicates("customer_id").set_index("customer_id")["category"]


def people_of(shop: Shop, buyers: pd.Index) -> pd.DataFrame:
    """One row per customer, known or not, with addresses as they are compared."""
    columns = ["customer_id", "email", "phone", "country", "timezone", "language", "brand", "created_at"]
    known = shop.read("customers", columns)
    known = known[~(known["created_at"] >= shop.as_of)]
    known["email"] = known["email"].str.strip().str.lower().replace("", None)
    known = one_each(known, "customer_id", {"created_at": True, "email": True, "phone": True})
    dialled = known["phone"].str.replace(r"[^0-9+]", "", regex=True)
    known["phone"] = dialled.where(~dialled.str.startswith("00", na=False), "+" + dialled.str[2:]).replace("", None)
    known["country"] = known["country"].str.strip().str.upper().replace("", None)
    for column in ("timezone", "language", "brand"):
        known[column] = known[column].str.strip().replace("", None)
    return known.set_index("customer_id").reindex(known.set_index("customer_id").index.union(buyers, sort=False))


def devices_of(shop: Shop) -> pd.DataFrame:
    """One row per push token."""
    devices = shop.read("devices", ["push_token", "customer_id", "active", "updated_at"])
    devices = devices[~(devices["updated_at"] >= shop.as_of)]
    return one_each(devices, "push_token", {"updated_at": False, "active": True, "customer_id": True})


def heard_of(shop: Shop, people: pd.DataFrame, devices: pd.DataFrame) -> pd.DataFrame:
    """Everything that became of messages, by customer; what names only an address counts for everyone who has it."""
    columns = ["event_id", "customer_id", "address", "channel", "event_type", "occurred_at", "is_machine"]
    heard = shop.read("message_events", columns, [("occurred_at", "<", shop.as_of), ("event_type", "!=", "sent")])
    owners = pd.concat(
        [
            people["email"].dropna().rename("address").reset_index().assign(channel="email"),
            people["phone"].dropna().rename("address").reset_index().assign(channel="sms"),
            devices[["customer_id", "push_token"]].rename(columns={"push_token": "address"}).assign(channel="push"),
        ]
    )
    is_named = heard["customer_id"].notna()
    unnamed = heard[~is_named].drop(columns="customer_id")
    address = unnamed["address"].str.strip()
    unnamed["address"] = address.where(unnamed["channel"] != "email", address.str.lower())
    found = unnamed.merge(owners, on=["channel", "address"])
    return pd.concat([heard[is_named], found]).drop(columns="address")


def refusals_of(heard: pd.DataFrame, consents: pd.DataFrame) -> pd.DataFrame:
    """By customer: when they unsubscribed from or complained about a channel, and whether their address bounces."""
    bounces = heard[heard["event_type"] == "bounced"]
    often = bounces[bounces.groupby(["customer_id", "channel"])["event_id"].transform("size") >= 3]
    concerned = often[["customer_id", "channel"]].drop_duplicates()
    signs = pd.concat(
        [
            heard.loc[heard["event_type"].isin(["delivered", *BY_PEOPLE]), ["customer_id", "channel", "occurred_at"]],
            consents.loc[consents["granted"], ["customer_id", "channel", "changed_at"]].rename(columns={"changed_at": "occurred_at"}),
        ]
    ).merge(concerned, on=["customer_id", "channel"])
    last_signs = signs.groupby(["customer_id", "channel"], as_index=False)["occurred_at"].max()
    since = often.merge(last_signs, on=["customer_id", "channel"], how="left", suffixes=("", "_of_sign"))
    since = since[~(since["occurred_at"] <= since["occurred_at_of_sign"])]
    bouncing = since.groupby(["customer_id", "channel"], as_index=False)["event_id"].nunique().query("event_id >= 3")
    refused = heard[heard["event_type"].isin(["unsubscribed", "complained"])]
    latest = refused.groupby(["customer_id", "channel", "event_type"])["occurred_at"].max()
    result = pd.DataFrame(index=pd.Index(pd.concat([refused["customer_id"], bouncing["customer_id"]]).unique(), name="customer_id"))
    for channel in CHANNELS:
        for kind in ("unsubscribed", "complained"):
            chosen = latest[latest.index.isin([channel], level="channel") & latest.index.isin([kind], level="event_type")]
            result[f"{channel}_{kind}_at"] = chosen.droplevel(["channel", "event_type"])
        result[f"{channel}_is_bouncing"] = result.index.isin(bouncing.loc[bouncing["channel"] == channel, "customer_id"])
    return result


def reachability_of(shop: Shop, people: pd.DataFrame, devices: pd.DataFrame, heard: pd.DataFrame) -> pd.DataFrame:
    """By customer and channel: reachable or not, and if not, why."""
    consents = shop.read("consents", ["customer_id", "channel", "changed_at", "granted"], [("changed_at", "<", shop.as_of)])
    consents["granted"] = consents["granted"].fillna(value=False).astype(bool)
    refusals = refusals_of(heard, consents).reindex(people.index)
    changed = consents.pivot_table(index="customer_id", columns=["channel", "granted"], values="changed_at", aggfunc="max")
    changed = changed.reindex(index=people.index, columns=pd.MultiIndex.from_product([(*CHANNELS, "ads"), (True, False)]))
    email, phone = people["email"], people["phone"]
    is_email_valid = (
        email.str.len().le(254) & email.str.fullmatch(r'[^][@ ,;:<>()"]+@[^][@ ,;:<>()."]+([.][^][@ ,;:<>()."]+)+', na=False)
    ).fillna(value=False)
    is_phone_valid = phone.str.fullmatch(r"[+][1-9][0-9]{6,14}", na=False)
    has_token = pd.Series(people.index.isin(devices.loc[devices["active"].eq(other=True), "customer_id"]), index=people.index)
    has_address = {"email": email.notna(), "sms": phone.notna(), "push": has_token, "ads": email.notna() | phone.notna()}
    is_valid = {"email": is_email_valid, "sms": is_phone_valid, "push": has_token, "ads": is_email_valid | is_phone_valid}
    reasons = {}
    for channel in (*CHANNELS, "ads"):
        given, withdrawn = changed[channel, True], changed[channel, False]
        since = given.where(withdrawn.isna() | (given > withdrawn))
        conditions = {
            "no_address": ~has_address[channel],
            "invalid_address": ~is_valid[channel],
            "consent_withdrawn": since.isna() & withdrawn.notna(),
            "no_consent": since.isna(),
        }
        if channel != "ads":
            conditions |= {
                "unsubscribed": refusals[f"{channel}_unsubscribed_at"] >= since,
                "complained": refusals[f"{channel}_complained_at"] >= since,
                "bounced": refusals[f"{channel}_is_bouncing"].eq(other=True),
            }
        reason = pd.Series(np.select(list(conditions.values()), list(conditions), default=""), index=people.index, dtype="str")
        reasons[f"reachable_{channel}"] = reason == ""
        reasons[f"{channel}_unreachable_reason"] = reason.replace("", None)
    return pd.DataFrame(reasons)


def engagement_of(events: pd.DataFrame) -> pd.DataFrame:
    """By customer: when they last opened, clicked, ..."""
    chosen = {
        "last_opened_at": events["event_type"] == "opened",
        "last_clicked_at": events["event_type"] == "clicked",
        "last_email_engaged_at": events["channel"] == "email",
        "last_visited_at": events["event_type"] == "visit",
        "last_used_at": events["event_type"].isin(["login", "action"]),
    }
    last = {name: events[which].groupby("customer_id")["occurred_at"].max() for name, which in chosen.items()}
    return pd.DataFrame(last | {"last_engaged_at": events.groupby("customer_id")["occurred_at"].max()})


def stretches_of(events: pd.DataFrame, purchases: pd.DataFrame) -> pd.DataFrame:
    """Stretches of days none of which lies 31 days or more after the one before."""
    days = pd.concat(
        [
            events[["customer_id"]].assign(day=events["occurred_at"].dt.normalize()),
            purchases[["customer_id", "ordered_on"]].rename(columns={"ordered_on": "day"}),
        ]
    )
    days = days.drop_duplicates().sort_values(["customer_id", "day"])
    days["previous_active_on"] = days.groupby("customer_id")["day"].shift()
    is_first = ~(days["day"] - days["previous_active_on"] < 31 * DAY)
    days["stretch"] = is_first.cumsum()
    stretches = days[is_first].rename(columns={"day": "active_from"})
    stretches["active_to"] = days.groupby("stretch")["day"].last().to_numpy()
    stretches["next_active_from"] = stretches.groupby("customer_id")["active_from"].shift(-1)
    return stretches.drop(columns="stretch")


def tier(days: pd.Series) -> pd.Series:
    """Unknown counts as inactive."""
    return pd.Series(np.select([days < 31, days < 91], ["active", "at_risk"], default="inactive"), index=days.index, dtype="str")


def customers_of(shop: Shop, parts: list[pd.DataFrame], stretches: pd.DataFrame, cycles: dict[str, int]) -> pd.DataFrame:
    """The mart of customers."""
    people, *others = parts
    last = stretches[stretches["next_active_from"].isna()].set_index("customer_id")
    c = people.drop(columns=["email", "phone"]).join([*others, last[["active_from", "active_to", "previous_active_on"]]])
    for column in ("order_count", "order_day_count", "lifetime_value", "spend_last_365_days"):
        c[column] = c[column].fillna(0)
    c["average_order_value"] = c["lifetime_value"] / c["order_count"].replace(0, np.nan)
    c["product_cycle_days"] = c["main_category"].str.lower().map(cycles).fillna(cycles["default"])
    ages = {
        "first_order": "first_ordered_at",
        "last_order": "last_ordered_at",
        "last_open": "last_opened_at",
        "last_click": "last_clicked_at",
        "last_email_engagement": "last_email_engaged_at",
        "last_visit": "last_visited_at",
        "last_product_use": "last_used_at",
        "last_engagement": "last_engaged_at",
        "last_activity": "active_to",
    }
    for name, column in ages.items():
        c[f"days_since_{name}"] = shop.days_ago(c[column])
    c["days_past_cycle"] = c["days_since_last_order"] - c["average_purchase_interval"]
    own = (c["days_since_first_order"] - c["days_since_last_order"] + (6 - c["order_day_count"]) * c["product_cycle_days"]) / 5
    expected = own.where(c["order_day_count"] <= 5, c["average_purchase_interval"]).where(c["order_day_count"] > 0)
    c["expected_next_order_on"] = c["last_ordered_at"].dt.normalize() + pd.to_timedelta(np.floor(expected + 0.5), unit="D")
    c["last_active_at"] = c[["last_ordered_at", "last_engaged_at"]].max(axis=1)
    c["engagement_tier"] = tier(c["days_since_last_activity"])
    never, active, at_risk = c["active_to"].isna(), c["engagement_tier"] == "active", c["engagement_tier"] == "at_risk"
    c["tier_changed_on"] = (c["active_to"] + 91 * DAY).mask(at_risk, c["active_to"] + 31 * DAY)
    c["tier_changed_on"] = c["tier_changed_on"].mask(active, shop.first_seen(c["active_from"]))
    c["tier_changed_on"] = c["tier_changed_on"].mask(never, shop.first_seen(c["created_at"].dt.normalize()))
    before = tier(shop.days_ago(c["previous_active_on"]) - 1).mask(at_risk, "active")
    before = before.mask(~active & ~at_risk, "at_risk").mask(never, "inactive")
    c["previous_engagement_tier"] = c["engagement_tier"].mask(c["tier_changed_on"] == shop.today, before)
    lifecycle = {
        "prospect": c["last_ordered_at"].isna(),
        "new": c["days_since_first_order"] <= 30,
        "active": c["days_since_last_order"] <= 365,
        "lapsed": c["days_since_last_order"] <= 730,
    }
    c["purchase_lifecycle"] = np.select(list(lifecycle.values()), list(lifecycle), default="dormant")
    c["as_of"] = shop.as_of
    return c.drop(columns="previous_active_on").reset_index()


def tier_history_of(shop: Shop, stretches: pd.DataFrame, people: pd.DataFrame) -> pd.DataFrame:
    """One row per customer and stay in a tier."""
    s = stretches.copy()
    known_on = shop.first_seen(people["created_at"].dt.normalize())
    seen, next_seen = shop.first_seen(s["active_from"]), shop.first_seen(s["next_active_from"])
    falls_on, lost_on = s["active_to"] + 31 * DAY, s["active_to"] + 91 * DAY
    lapsed, back = seen > s["previous_active_on"] + 91 * DAY, s["previous_active_on"].notna()
    waited = s["customer_id"].map(known_on) < seen
    came_from = pd.Series(np.select([lapsed, back, waited], ["inactive", "at_risk", "inactive"], default=""), index=s.index, dtype="str")
    customer = s["customer_id"]
    active = pd.DataFrame({"customer_id": customer, "tier": "active", "previous_tier": came_from, "started_on": seen, "ended_on": falls_on})
    at_risk = pd.DataFrame(
        {
            "customer_id": customer,
            "tier": "at_risk",
            "previous_tier": "active",
            "started_on": falls_on,
            "ended_on": next_seen.where(next_seen < lost_on, lost_on),
        }
    )
    inactive = pd.DataFrame(
        {"customer_id": customer, "tier": "inactive", "previous_tier": "at_risk", "started_on": lost_on, "ended_on": next_seen}
    )[~(next_seen <= lost_on)]
    first = s[s["previous_active_on"].isna()].set_index("customer_id")["active_from"]
    first_seen = shop.first_seen(first).reindex(people.index)
    waiting = people.index[known_on.notna() & ~(first_seen <= known_on)]
    unknown = pd.DataFrame(
        {
            "customer_id": waiting,
            "tier": "inactive",
            "previous_tier": "",
            "started_on": known_on[waiting].array,
            "ended_on": first_seen[waiting].array,
        }
    )
    stays = pd.concat([active, at_risk, inactive, unknown], ignore_index=True)
    stays = stays[stays["started_on"] <= shop.today]
    stays["previous_tier"] = stays["previous_tier"].replace("", None)
    stays["ended_on"] = stays["ended_on"].where(stays["ended_on"] <= shop.today)
    return stays


def segments_of(customers: pd.DataFrame) -> pd.DataFrame:
    """One row per customer and segment."""
    c = customers
    buys = c["order_count"] > 0
    is_engaged, is_active = c["days_since_last_engagement"] < 90, c["days_since_last_activity"] < 90
    bought_lately = c["days_since_last_order"] < 90
    members = {
        "active_user": is_engaged,
        "not_active_user": ~is_engaged,
        "customer": buys,
        "prospect": ~buys,
        "one_time_buyer": c["order_count"] == 1,
        "repeat_buyer": c["order_day_count"] >= 2,
        "purchased_last_90d": bought_lately,
        "no_purchase_last_90d": ~bought_lately,
        "customer_active": buys & is_active,
        "customer_not_active": buys & ~is_active,
        "high_value": buys & (c["lifetime_value"] >= c.loc[buys, "lifetime_value"].quantile(0.9)),
        "email_subscriber": c["reachable_email"],
        "sms_subscriber": c["reachable_sms"],
        "push_subscriber": c["reachable_push"],
    }
    parts = [pd.DataFrame({"customer_id": c.loc[which, "customer_id"], "segment": segment}) for segment, which in members.items()]
    return pd.concat(parts, ignore_index=True)


def audience_of(shop: Shop, customers: pd.DataFrame, name: str) -> pd.DataFrame:
    """Who is in an audience, and since when."""
    reason, anchor, since, at_least, below, condition = AUDIENCES[name]
    days = np.floor(customers[since]) if since in customers else _further_days(shop, customers, since)
    which = (days >= at_least) & (days < below)
    members = customers[which].assign(lapse_days=days[which])
    if condition:
        members = members.query(condition)
    told = reason or members["engagement_tier"]
    return pd.DataFrame(
        {"customer_id": members["customer_id"], "anchor_at": members[anchor], "reason": told, "lapse_days": members["lapse_days"]}
    )


def _further_days(shop: Shop, customers: pd.DataFrame, name: str) -> pd.Series:
    if name == "days_since_tier_change":
        return shop.days_ago(customers["tier_changed_on"])
    return customers["days_since_last_order"] - customers["product_cycle_days"]


def winback_monthly_of(shop: Shop, purchases: pd.DataFrame, rhythm: pd.DataFrame) -> pd.DataFrame:
    """By month and threshold: who was lapsed when it began, and who of them bought in it."""
    ended = purchases.loc[purchases["gap"] >= 30, ["customer_id", "ordered_on", "gap"]]
    ended["began_on"] = ended["ordered_on"] - pd.to_timedelta(ended["gap"], unit="D")
    still_open = pd.DataFrame({"customer_id": rhythm.index, "began_on": rhythm["last_ordered_at"].dt.normalize().array})
    pauses = pd.concat([ended, still_open], ignore_index=True)
    pauses["ended_in"] = _month(pauses["ordered_on"])
    first = rhythm["first_ordered_at"].min().to_period("M").to_timestamp()
    months = pd.date_range(first, shop.as_of - pd.Timedelta("1us"), freq="MS")
    rows = []
    for threshold in (30, 60, 90, 180, 365):
        lapses = pauses[~(pauses["gap"] < threshold)]
        # The first month that opens with the customer lapsed.
        lapsed_from = _month(lapses["began_on"] + (threshold - 1) * DAY) + pd.DateOffset(months=1)
        counted = lapses.groupby([lapsed_from.rename("lapsed_from"), "ended_in"], dropna=False).size().reset_index(name="customers")
        returns = lapses[lapses["gap"] > threshold].groupby("ended_in")["customer_id"].agg(["size", "nunique"])
        for month in months:
            is_open = (counted["lapsed_from"] <= month) & ~(counted["ended_in"] < month)
            lapsed = int(counted.loc[is_open, "customers"].sum())
            won = int(counted.loc[is_open & (counted["ended_in"] == month), "customers"].sum())
            closes = month + pd.DateOffset(months=1)
            rows.append(
                {
                    "month": month,
                    "lapse_threshold_days": threshold,
                    "lapsed_customers": lapsed,
                    "won_back_customers": won,
                    "win_back_percentage": 100 * won / lapsed if lapsed else None,
                    "returns": returns["size"].get(month, 0),
                    "returned_customers": returns["nunique"].get(month, 0),
                    "window_closes_on": closes,
                    "is_mature": closes <= shop.today,
                }
            )
    return pd.DataFrame(rows)


def _month(days: pd.Series) -> pd.Series:
    months: pd.Series = days.dt.to_period("M").dt.to_timestamp()
    return months


def derive(exports: Path, as_of: pd.Timestamp, marts: Path) -> dict[str, float]:
    """Write every mart as Parquet; return seconds by step."""
    shop, seconds, began = Shop(exports, as_of), {}, time.monotonic()

    def over(step: str) -> None:
        nonlocal began
        seconds[step], began = time.monotonic() - began, time.monotonic()

    rates = pd.read_csv(exports / "currency_rates.csv").set_index("currency")["rate"]
    cycles = pd.read_csv(exports / "product_cycles.csv").set_index("category")["cycle_days"].to_dict()
    purchases = purchases_of(shop, rates)
    over("purchases")
    rhythm = rhythm_of(shop, purchases)
    over("rhythm")
    categories = main_categories_of(shop, purchases).rename("main_category").to_frame()
    over("main categories")
    people, devices = people_of(shop, rhythm.index), devices_of(shop)
    over("people")
    heard = heard_of(shop, people, devices)
    over("message events")
    reachability = reachability_of(shop, people, devices, heard)
    over("reachability")
    by_people = heard["event_type"].isin(BY_PEOPLE) & ~heard["is_machine"].eq(other=True)
    visits = shop.read("activity_events", ["customer_id", "event_type", "occurred_at"], [("occurred_at", "<", as_of)])
    visits = visits[visits["event_type"].isin(["visit", "login", "action"]) & visits["customer_id"].notna()]
    events = pd.concat([heard.loc[by_people, ["customer_id", "channel", "event_type", "occurred_at"]], visits])
    del heard, visits
    engagement = engagement_of(events)
    over("engagement")
    stretches = stretches_of(events, purchases)
    over("stretches")
    customers = customers_of(shop, [people, rhythm, categories, engagement, reachability], stretches, cycles)
    customers.drop(columns=["active_from", "active_to"]).to_parquet(marts / "customers.parquet", index=False)
    over("customers")
    tier_history_of(shop, stretches, people).to_parquet(marts / "customer_tier_history.parquet", index=False)
    over("customer_tier_history")
    segments_of(customers).to_parquet(marts / "customer_segments.parquet", index=False)
    over("customer_segments")
    for audience in AUDIENCES:
        audience_of(shop, customers, audience).to_parquet(marts / f"{audience}.parquet", index=False)
    over("audiences")
    winback_monthly_of(shop, purchases, rhythm).to_parquet(marts / "winback_monthly.parquet", index=False)
    over("winback_monthly")
    return seconds


if __name__ == "__main__":
    exports_text, as_of_text, marts_text = sys.argv[1:]
    Path(marts_text).mkdir(parents=True, exist_ok=True)
    print(json.dumps({"fixed": 0.0, "nodes": derive(Path(exports_text), pd.Timestamp(as_of_text), Path(marts_text))}))
