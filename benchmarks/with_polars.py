"""The marts of `COMPARED` as a data team would write them in polars, from Parquet exports of the raw tables: a contender of the benchmark.

python -m benchmarks.with_polars EXPORTS AS_OF MARTS

Lazy throughout, so that polars reads only what is needed; frames that are read more than once are collected. Money is read as floating
point, thresholds stand in the text. tests/benchmarks holds it to the same rows as the dbt models.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl
from polars import col

BY_PEOPLE = ["opened", "clicked", "replied"]
CHANNELS = ["email", "sms", "push"]
COUNTED = ["order_count", "order_day_count", "lifetime_value", "spend_last_365_days"]

Expr = pl.Expr
Frame = pl.LazyFrame


@dataclass(frozen=True)
class Shop:
    """The exports of one day: rows at or after `as_of` are not read."""

    exports: Path
    as_of: datetime

    @property
    def today(self) -> Expr:
        return pl.lit(self.as_of.date())

    def scan(self, table: str) -> Frame:
        return pl.scan_parquet(self.exports / f"{table}.parquet")

    def days_ago(self, day: Expr) -> Expr:
        """Calendar days from each moment to today."""
        return (self.today - day.cast(pl.Date)).dt.total_days()

    def first_seen(self, day: Expr) -> Expr:
        """The first date whose daily run sees what happened on a day."""
        return pl.when(day < self.today).then(later(day, 1)).when(day >= self.today).then(self.today)


def later(day: Expr, days: int) -> Expr:
    return day + pl.duration(days=days)


def purchases_of(shop: Shop) -> pl.DataFrame:
    """One row per purchase, with the days since the one before."""
    rates = pl.scan_csv(shop.exports / "currency_rates.csv")
    orders = shop.scan("orders").filter(col("ordered_at") < shop.as_of).with_columns(times=pl.len().over("order_id"))
    replayed = (
        orders.filter(col("times") > 1)
        .sort("ordered_at", "refunded", "total", "status", "customer_id", descending=[True, True, True, False, False], nulls_last=True)
        .unique("order_id", keep="first", maintain_order=True)
    )
    net = (col("total").fill_null(0) - col("refunded").fill_null(0)) * col("rate").fill_null(1)
    is_refunded = (col("refunded") > 0) & (col("refunded") >= col("total").fill_null(0))
    return (
        pl.concat([orders.filter(col("times") == 1), replayed])
        .filter(
            col("customer_id").is_not_null()
            & ~col("status").str.to_lowercase().is_in(["cancelled", "canceled", "voided"]).fill_null(value=False)
            & ~is_refunded.fill_null(value=False)
        )
        .join(rates, on="currency", how="left")
        .select("order_id", "customer_id", "ordered_at", ordered_on=col("ordered_at").cast(pl.Date), net_value=net)
        .sort("customer_id", "ordered_at")
        .with_columns(gap=col("ordered_on").diff().over("customer_id").dt.total_days())
        .collect()
    )


def rhythm_of(shop: Shop, purchases: Frame) -> Frame:
    """Order metrics by customer."""
    gap = col("gap").filter(col("gap") > 0)
    return purchases.group_by("customer_id").agg(
        first_ordered_at=col("ordered_at").min(),
        last_ordered_at=col("ordered_at").max(),
        order_count=pl.len(),
        order_day_count=gap.len() + 1,
        lifetime_value=col("net_value").sum(),
        spend_last_365_days=col("net_value").filter(col("ordered_on") > later(shop.today, -365)).sum(),
        average_purchase_interval=gap.mean(),
        median_purchase_interval=gap.median(),
        purchase_interval_stddev=gap.std(),
    )


def main_categories_of(shop: Shop, purchases: Frame) -> Frame:
    """The category of which a customer placed most orders."""
    products = (
        shop.scan("products")
        .filter((col("launched_at") < shop.as_of) | col("launched_at").is_null())
        .with_columns(main_category=blank_as_null("category"))
        .sort("launched_at", "main_category", "name", descending=[True, False, False], nulls_last=True)
        .unique("product_id", keep="first", maintain_order=True)
        .filter(col("main_category").is_not_null())
        # Written in two ways it is one category.
        .with_columns(key=col("main_category").str.to_lowercase())
    )
    ordered = shop.scan("order_lines").join(products, on="product_id").group_by("order_id", "key").agg(col("main_category").min())
    return (
        ordered.join(purchases, on="order_id")
        .group_by("customer_id", "key")
        .agg(col("main_category").min(), orders=pl.len(), last_at=col("ordered_at").max())
        .sort("orders", "last_at", "key", descending=[True, True, False])
        .unique("customer_id", keep="first", maintain_order=True)
        .select("customer_id", "main_category")
    )


def blank_as_null(column: str) -> Expr:
    text = col(column).str.strip_chars(" ")
    return pl.when(text != "").then(text)


def people_of(shop: Shop, rhythm: Frame) -> pl.DataFrame:
    """One row per customer, known or not, with addresses as they are compared."""
    dialled = col("phone").str.replace_all("[^0-9+]", "")
    dialled = pl.when(dialled.str.starts_with("00")).then("+" + dialled.str.slice(2)).otherwise(dialled)
    known = (
        shop.scan("customers")
        .filter((col("created_at") < shop.as_of) | col("created_at").is_null())
        .with_columns(email=blank_as_null("email").str.to_lowercase())
        .sort("created_at", "email", "phone", nulls_last=True)
        .unique("customer_id", keep="first", maintain_order=True)
        .with_columns(
            phone=pl.when(dialled != "").then(dialled),
            country=blank_as_null("country").str.to_uppercase(),
            timezone=blank_as_null("timezone"),
            language=blank_as_null("language"),
            brand=blank_as_null("brand"),
        )
    )
    unknown = rhythm.select("customer_id").join(known, on="customer_id", how="anti")
    return pl.concat([known, unknown], how="diagonal").collect()


def devices_of(shop: Shop) -> pl.DataFrame:
    """One row per push token."""
    return (
        shop.scan("devices")
        .filter((col("updated_at") < shop.as_of) | col("updated_at").is_null())
        .sort("updated_at", "active", "customer_id", descending=[True, False, False], nulls_last=True)
        .unique("push_token", keep="first", maintain_order=True)
        .collect()
    )


def heard_of(shop: Shop, people: Frame, devices: Frame) -> pl.DataFrame:
    """Everything that became of messages, by customer; what names only an address counts for everyone who has it."""
    columns = ["event_id", "customer_id", "channel", "event_type", "occurred_at", "is_machine"]
    heard = shop.scan("message_events").filter(col("occurred_at") < shop.as_of, col("event_type") != "sent")
    owners = pl.concat(
        [
            people.select("customer_id", channel=pl.lit("email"), address="email"),
            people.select("customer_id", channel=pl.lit("sms"), address="phone"),
            devices.select("customer_id", channel=pl.lit("push"), address="push_token"),
        ]
    ).drop_nulls("address")
    address = col("address").str.strip_chars(" ")
    unnamed = (
        heard.filter(col("customer_id").is_null())
        .drop("customer_id")
        .with_columns(address=pl.when(col("channel") == "email").then(address.str.to_lowercase()).otherwise(address))
        .join(owners, on=["channel", "address"])
    )
    return pl.concat([heard.filter(col("customer_id").is_not_null()).select(columns), unnamed.select(columns)]).collect()


def refusals_of(heard: Frame, consents: Frame) -> Frame:
    """By customer: when they unsubscribed from or complained about a channel, and whether their address bounces."""
    who = ["customer_id", "channel"]
    bounces = heard.filter(col("event_type") == "bounced")
    often = bounces.group_by(who).len().filter(col("len") >= 3).select(who)
    signs = pl.concat(
        [
            heard.filter(col("event_type").is_in(["delivered", *BY_PEOPLE])).select(*who, "occurred_at"),
            consents.filter("granted").select(*who, occurred_at="changed_at"),
        ]
    )
    last_signs = signs.join(often, on=who, how="semi").group_by(who).agg(last_sign_at=col("occurred_at").max())
    bouncing = (
        bounces.join(often, on=who, how="semi")
        .join(last_signs, on=who, how="left")
        .filter(col("last_sign_at").is_null() | (col("occurred_at") > col("last_sign_at")))
        .group_by(who)
        .agg(events=col("event_id").n_unique())
        .filter(col("events") >= 3)
        .select(*who, event_type=pl.lit("bouncing"), occurred_at=pl.lit(None, dtype=pl.Datetime("us")))
    )
    refused = heard.filter(col("event_type").is_in(["unsubscribed", "complained"])).select(*who, "event_type", "occurred_at")
    facts = pl.concat([refused, bouncing])

    def of(channel: str, kind: str) -> Expr:
        return (col("channel") == channel) & (col("event_type") == kind)

    latest = {
        f"{channel}_{kind}_at": col("occurred_at").filter(of(channel, kind)).max()
        for channel in CHANNELS
        for kind in ("unsubscribed", "complained")
    }
    return facts.group_by("customer_id").agg(**latest, **{f"{channel}_is_bouncing": of(channel, "bouncing").any() for channel in CHANNELS})


def reachability_of(shop: Shop, people: Frame, devices: Frame, heard: Frame) -> Frame:
    """By customer and channel: reachable or not, and if not, why."""
    consents = shop.scan("consents").filter(col("changed_at") < shop.as_of).with_columns(col("granted").fill_null(value=False))
    channels = [*CHANNELS, "ads"]
    changed = consents.group_by("customer_id").agg(
        **{f"{one}_granted_at": col("changed_at").filter(col("granted") & (col("channel") == one)).max() for one in channels},
        **{f"{one}_withdrawn_at": col("changed_at").filter(~col("granted") & (col("channel") == one)).max() for one in channels},
    )
    tokens = devices.filter("active").select("customer_id", has_token=pl.lit(True)).unique()
    email_works = (col("email").str.len_chars() <= 254) & col("email").str.contains(
        r'^[^\]\[@ ,;:<>()"]+@[^\]\[@ ,;:<>()."]+([.][^\]\[@ ,;:<>()."]+)+$'
    )
    phone_works = col("phone").str.contains("^[+][1-9][0-9]{6,14}$")
    has_email, has_phone, has_token = col("email").is_not_null(), col("phone").is_not_null(), col("has_token").is_not_null()
    email_works, phone_works = email_works.fill_null(value=False), phone_works.fill_null(value=False)
    has_address = {"email": has_email, "sms": has_phone, "push": has_token, "ads": has_email | has_phone}
    is_valid = {"email": email_works, "sms": phone_works, "push": has_token, "ads": email_works | phone_works}

    def reason(channel: str) -> Expr:
        granted, withdrawn = col(f"{channel}_granted_at"), col(f"{channel}_withdrawn_at")
        since = pl.when(withdrawn.is_null() | (granted > withdrawn)).then(granted)
        told = (
            pl.when(~has_address[channel])
            .then(pl.lit("no_address"))
            .when(~is_valid[channel])
            .then(pl.lit("invalid_address"))
            .when(since.is_null() & withdrawn.is_not_null())
            .then(pl.lit("consent_withdrawn"))
            .when(since.is_null())
            .then(pl.lit("no_consent"))
        )
        if channel == "ads":
            return told
        return (
            told.when(col(f"{channel}_unsubscribed_at") >= since)
            .then(pl.lit("unsubscribed"))
            .when(col(f"{channel}_complained_at") >= since)
            .then(pl.lit("complained"))
            .when(f"{channel}_is_bouncing")
            .then(pl.lit("bounced"))
        )

    joined = people.select("customer_id", "email", "phone")
    for other in (changed, refusals_of(heard, consents), tokens):
        joined = joined.join(other, on="customer_id", how="left")
    return joined.select("customer_id", **{f"{one}_unreachable_reason": reason(one) for one in channels}).with_columns(
        **{f"reachable_{one}": col(f"{one}_unreachable_reason").is_null() for one in channels}
    )


def engagement_of(events: Frame) -> Frame:
    """By customer: when they last opened, clicked, ..."""
    chosen = {
        "last_opened_at": col("event_type") == "opened",
        "last_clicked_at": col("event_type") == "clicked",
        "last_email_engaged_at": col("channel") == "email",
        "last_visited_at": col("event_type") == "visit",
        "last_used_at": col("event_type").is_in(["login", "action"]),
    }
    last = {name: col("occurred_at").filter(which).max() for name, which in chosen.items()}
    return events.group_by("customer_id").agg(**last, last_engaged_at=col("occurred_at").max())


def stretches_of(events: Frame, purchases: Frame) -> pl.DataFrame:
    """Stretches of days none of which lies 31 days or more after the one before."""
    days = pl.concat(
        [events.select("customer_id", day=col("occurred_at").cast(pl.Date)), purchases.select("customer_id", day="ordered_on")]
    )
    is_first = (col("day") - col("previous_active_on") >= pl.duration(days=31)).fill_null(value=True)
    return (
        days.unique()
        .sort("customer_id", "day")
        .with_columns(previous_active_on=col("day").shift().over("customer_id"))
        .with_columns(stretch=is_first.cum_sum())
        .group_by("stretch", maintain_order=True)
        .agg(col("customer_id").first(), col("previous_active_on").first(), active_from=col("day").first(), active_to=col("day").last())
        .with_columns(next_active_from=col("active_from").shift(-1).over("customer_id"))
        .drop("stretch")
        .collect()
    )


def tier(days: Expr) -> Expr:
    """Unknown counts as inactive."""
    return pl.when(days < 31).then(pl.lit("active")).when(days < 91).then(pl.lit("at_risk")).otherwise(pl.lit("inactive"))


def customers_of(shop: Shop, people: Frame, parts: list[Frame], stretches: Frame) -> pl.DataFrame:
    """The mart of customers."""
    cycles = pl.scan_csv(shop.exports / "product_cycles.csv")
    [default] = cycles.filter(col("category") == "default").collect()["cycle_days"]
    last = stretches.filter(col("next_active_from").is_null()).drop("next_active_from")
    joined = people.drop("email", "phone")
    for part in (*parts, last):
        joined = joined.join(part, on="customer_id", how="left")
    joined = joined.join(cycles, left_on=col("main_category").str.to_lowercase(), right_on="category", how="left")
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
    day_count, own = col("order_day_count"), col("average_purchase_interval")
    blended = (col("days_since_first_order") - col("days_since_last_order") + (6 - day_count) * col("product_cycle_days")) / 5
    expected = pl.when(day_count > 5).then(own).when(day_count > 0).then(blended)
    now, never = col("engagement_tier"), col("active_to").is_null()
    return (
        joined.with_columns(
            **{column: col(column).cast(pl.Float64 if column.endswith(("value", "days")) else pl.Int64).fill_null(0) for column in COUNTED},
            product_cycle_days=col("cycle_days").fill_null(default),
            **{f"days_since_{name}": shop.days_ago(col(column)) for name, column in ages.items()},
            last_active_at=pl.max_horizontal("last_ordered_at", "last_engaged_at"),
            engagement_tier=tier(shop.days_ago(col("active_to"))),
        )
        .with_columns(
            average_order_value=pl.when(col("order_count") > 0).then(col("lifetime_value") / col("order_count")),
            days_past_cycle=col("days_since_last_order") - own,
            expected_next_order_on=col("last_ordered_at").cast(pl.Date) + pl.duration(days=(expected + 0.5).floor().cast(pl.Int64)),
            tier_changed_on=pl.when(never)
            .then(shop.first_seen(col("created_at").cast(pl.Date)))
            .when(now == "active")
            .then(shop.first_seen(col("active_from")))
            .when(now == "at_risk")
            .then(later(col("active_to"), 31))
            .otherwise(later(col("active_to"), 91)),
            purchase_lifecycle=pl.when(col("last_ordered_at").is_null())
            .then(pl.lit("prospect"))
            .when(col("days_since_first_order") <= 30)
            .then(pl.lit("new"))
            .when(col("days_since_last_order") <= 365)
            .then(pl.lit("active"))
            .when(col("days_since_last_order") <= 730)
            .then(pl.lit("lapsed"))
            .otherwise(pl.lit("dormant")),
            as_of=pl.lit(shop.as_of),
        )
        .with_columns(
            previous_engagement_tier=pl.when(col("tier_changed_on").is_null() | (col("tier_changed_on") < shop.today))
            .then(now)
            .when(never)
            .then(pl.lit("inactive"))
            .when(now == "inactive")
            .then(pl.lit("at_risk"))
            .when(now == "at_risk")
            .then(pl.lit("active"))
            .otherwise(tier(shop.days_ago(col("previous_active_on")) - 1))
        )
        .drop("cycle_days", "active_from", "active_to", "previous_active_on")
        .collect()
    )


def tier_history_of(shop: Shop, stretches: Frame, people: Frame) -> Frame:
    """One row per customer and stay in a tier."""
    s = stretches.join(people.select("customer_id", "created_at"), on="customer_id", how="left").with_columns(
        known_on=shop.first_seen(col("created_at").cast(pl.Date)),
        seen=shop.first_seen(col("active_from")),
        next_seen=shop.first_seen(col("next_active_from")),
        falls_on=later(col("active_to"), 31),
        lost_on=later(col("active_to"), 91),
    )
    came_from = (
        pl.when(col("seen") > later(col("previous_active_on"), 91))
        .then(pl.lit("inactive"))
        .when(col("previous_active_on").is_not_null())
        .then(pl.lit("at_risk"))
        .when(col("known_on") < col("seen"))
        .then(pl.lit("inactive"))
    )
    first = stretches.filter(col("previous_active_on").is_null()).select("customer_id", first_seen=shop.first_seen(col("active_from")))
    known_on = shop.first_seen(col("created_at").cast(pl.Date))
    waiting = (
        people.join(first, on="customer_id", how="left")
        .filter(col("created_at").is_not_null() & (col("first_seen").is_null() | (col("first_seen") > known_on)))
        .select(_stay("inactive", pl.lit(None, dtype=pl.String), known_on, col("first_seen")))
    )
    stays = pl.concat(
        [
            s.select(_stay("active", came_from, col("seen"), col("falls_on"))),
            s.select(_stay("at_risk", pl.lit("active"), col("falls_on"), pl.min_horizontal("next_seen", "lost_on"))),
            s.filter(col("next_seen").is_null() | (col("next_seen") > col("lost_on"))).select(
                _stay("inactive", pl.lit("at_risk"), col("lost_on"), col("next_seen"))
            ),
            waiting,
        ]
    )
    has_ended = col("ended_on") <= shop.today
    return stays.filter(col("started_on") <= shop.today).with_columns(ended_on=pl.when(has_ended).then(col("ended_on")))


def _stay(name: str, previous: Expr, started_on: Expr, ended_on: Expr) -> list[Expr]:
    return [
        col("customer_id"),
        pl.lit(name).alias("tier"),
        previous.alias("previous_tier"),
        started_on.alias("started_on"),
        ended_on.alias("ended_on"),
    ]


def segments_of(customers: pl.DataFrame) -> Frame:
    """One row per customer and segment."""
    buys = col("order_count") > 0
    is_engaged = (col("days_since_last_engagement") < 90).fill_null(value=False)
    is_active = (col("days_since_last_activity") < 90).fill_null(value=False)
    bought_lately = (col("days_since_last_order") < 90).fill_null(value=False)
    high_from = customers.filter(buys)["lifetime_value"].quantile(0.9, "linear")
    members = {
        "active_user": is_engaged,
        "not_active_user": ~is_engaged,
        "customer": buys,
        "prospect": ~buys,
        "one_time_buyer": col("order_count") == 1,
        "repeat_buyer": col("order_day_count") >= 2,
        "purchased_last_90d": bought_lately,
        "no_purchase_last_90d": ~bought_lately,
        "customer_active": buys & is_active,
        "customer_not_active": buys & ~is_active,
        "high_value": buys & (col("lifetime_value") >= high_from),
        "email_subscriber": col("reachable_email"),
        "sms_subscriber": col("reachable_sms"),
        "push_subscriber": col("reachable_push"),
    }
    c = customers.lazy()
    return pl.concat([c.filter(which).select("customer_id", segment=pl.lit(name)) for name, which in members.items()])


def audiences_of(shop: Shop, customers: Frame) -> dict[str, Frame]:
    """Who is in each audience, and since when; as wide as the shipped programs ask."""
    buys = col("order_count") > 0
    since_order = col("days_since_last_order")

    def audience(which: Expr, anchor: str, reason: Expr, days: Expr, at_least: int, below: int = 100_000) -> Frame:
        in_range = (days >= at_least) & (days < below)
        return customers.filter(which & in_range).select("customer_id", anchor_at=anchor, reason=reason, lapse_days=days)

    return {
        "past_own_cycle": audience(
            col("order_day_count") >= 2, "last_ordered_at", pl.lit("past_own_cycle"), col("days_past_cycle").floor(), 8, 730
        ),
        "customer_not_active": audience(buys, "last_active_at", pl.lit("no_activity"), col("days_since_last_activity"), 90),
        "product_cycle_ended": audience(
            buys, "last_ordered_at", pl.lit("product_cycle_ended"), since_order - col("product_cycle_days"), 0, 365
        ),
        "lapsed_one_to_two_years": audience(buys, "last_ordered_at", pl.lit("no_purchase"), since_order, 365, 730),
        "customer_lapsed": audience(buys, "last_ordered_at", pl.lit("no_purchase"), since_order, 60, 365),
        "email_fading": audience(
            pl.lit(True),
            "last_email_engaged_at",
            pl.lit("no_open_or_click"),
            col("days_since_last_email_engagement"),
            30,
        ),
        "product_unused": audience(
            pl.lit(True),
            "last_used_at",
            pl.lit("no_login_or_action"),
            col("days_since_last_product_use"),
            30,
        ),
        "tier_drop": audience(
            (col("engagement_tier") != "active") & col("last_active_at").is_not_null(),
            "tier_changed_on",
            col("engagement_tier"),
            shop.days_ago(col("tier_changed_on")),
            0,
            30,
        ),
    }


def winback_monthly_of(shop: Shop, purchases: Frame, rhythm: Frame) -> Frame:
    """By month and threshold: who was lapsed when it began, and who of them bought in it."""
    ended = purchases.filter(col("gap") >= 30).select(
        "customer_id", "gap", began_on=col("ordered_on") - pl.duration(days=col("gap")), ended_in=col("ordered_on").dt.truncate("1mo")
    )
    still_open = rhythm.select("customer_id", began_on=col("last_ordered_at").cast(pl.Date))
    thresholds = pl.LazyFrame({"lapse_threshold_days": [30, 60, 90, 180, 365]})
    threshold = col("lapse_threshold_days")
    lapses = (
        pl.concat([ended, still_open], how="diagonal")
        .join(thresholds, how="cross")
        .filter(col("gap").is_null() | (col("gap") >= threshold))
    )
    # The first month that opens with the customer lapsed.
    lapsed_from = (col("began_on") + pl.duration(days=threshold - 1)).dt.truncate("1mo").dt.offset_by("1mo")
    counted = lapses.group_by("lapse_threshold_days", "ended_in", lapsed_from=lapsed_from).agg(customers=pl.len())
    returned = (
        lapses.filter(col("gap") > threshold)
        .group_by("lapse_threshold_days", month="ended_in")
        .agg(returns=pl.len(), returned_customers=col("customer_id").n_unique())
    )
    first = rhythm.select(col("first_ordered_at").min().cast(pl.Date)).collect().item()
    months = pl.LazyFrame({"month": pl.date_range(first.replace(day=1), shop.as_of.date(), "1mo", eager=True)}).filter(
        col("month").cast(pl.Datetime("us")) < shop.as_of
    )
    is_open = (col("lapsed_from") <= col("month")) & (col("ended_in").is_null() | (col("ended_in") >= col("month")))
    opened = (
        months.join(counted, how="cross")
        .group_by("month", "lapse_threshold_days")
        .agg(
            lapsed_customers=col("customers").filter(is_open).sum().cast(pl.Int64),
            won_back_customers=col("customers").filter(is_open & (col("ended_in") == col("month"))).sum().cast(pl.Int64),
        )
    )
    closes = col("month").dt.offset_by("1mo")
    return opened.join(returned, on=["month", "lapse_threshold_days"], how="left").with_columns(
        win_back_percentage=pl.when(col("lapsed_customers") > 0).then(100 * col("won_back_customers") / col("lapsed_customers")),
        returns=col("returns").fill_null(0),
        returned_customers=col("returned_customers").fill_null(0),
        window_closes_on=closes,
        is_mature=closes <= shop.today,
    )


def derive(exports: Path, as_of: datetime, marts: Path) -> dict[str, float]:
    """Write every mart as Parquet; return seconds by step."""
    shop = Shop(exports, as_of)
    seconds: dict[str, float] = {}
    began = time.monotonic()

    def over(step: str) -> None:
        nonlocal began
        seconds[step], began = time.monotonic() - began, time.monotonic()

    bought = purchases_of(shop)
    purchases = bought.lazy()
    over("purchases")
    rhythm = rhythm_of(shop, purchases).collect().lazy()
    over("rhythm")
    categories = main_categories_of(shop, purchases).collect().lazy()
    over("main categories")
    people, devices = people_of(shop, rhythm).lazy(), devices_of(shop).lazy()
    over("people")
    heard = heard_of(shop, people, devices).lazy()
    over("message events")
    reachability = reachability_of(shop, people, devices, heard).collect().lazy()
    over("reachability")
    by_people = heard.filter(col("event_type").is_in(BY_PEOPLE) & ~col("is_machine").fill_null(value=False))
    visits = shop.scan("activity_events").filter(
        col("occurred_at") < as_of, col("event_type").is_in(["visit", "login", "action"]), col("customer_id").is_not_null()
    )
    columns = ["customer_id", "event_type", "occurred_at"]
    events = pl.concat([by_people.select(*columns, "channel"), visits.select(columns)], how="diagonal").collect().lazy()
    engagement = engagement_of(events).collect().lazy()
    over("engagement")
    stretches = stretches_of(events, purchases).lazy()
    over("stretches")
    customers = customers_of(shop, people, [rhythm, categories, engagement, reachability], stretches)
    customers.write_parquet(marts / "customers.parquet")
    over("customers")
    tier_history_of(shop, stretches, people).sink_parquet(marts / "customer_tier_history.parquet")
    over("customer_tier_history")
    segments_of(customers).sink_parquet(marts / "customer_segments.parquet")
    over("customer_segments")
    for name, members in audiences_of(shop, customers.lazy()).items():
        members.sink_parquet(marts / f"{name}.parquet")
    over("audiences")
    winback_monthly_of(shop, purchases, rhythm).sink_parquet(marts / "winback_monthly.parquet")
    over("winback_monthly")
    return seconds


if __name__ == "__main__":
    exports_text, as_of_text, marts_text = sys.argv[1:]
    Path(marts_text).mkdir(parents=True, exist_ok=True)
    print(json.dumps({"fixed": 0.0, "nodes": derive(Path(exports_text), datetime.fromisoformat(as_of_text), Path(marts_text))}))
