"""The variables that messages may use: one list, from which templates are checked and the page for marketers is made.

Only what the warehouse can supply stands here. `column` names the column of int_customers__contacts or marts.customers.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from winback.programs.schema import Brand, Offer

if TYPE_CHECKING:
    from winback.links import OwnLinks


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable. `optional`: it may be empty, so templates write `| default: ...` or ask with `{% if %}` first."""

    name: str
    description: str
    sample: Any
    optional: bool = False
    column: str = ""


VARIABLES: tuple[Variable, ...] = (
    Variable("customer.first_name", "First name", "Ada", optional=True, column="first_name"),
    Variable("customer.last_name", "Last name", "Byron", optional=True, column="last_name"),
    Variable("customer.language", "Language, e.g. en", "en", optional=True, column="language"),
    Variable("customer.country", "Country, ISO 3166-1, e.g. GB", "GB", optional=True, column="country"),
    Variable("customer.days_since_last_order", "Days since the last order", 72, optional=True, column="days_since_last_order"),
    Variable("customer.order_count", "Number of orders", 6, column="order_count"),
    Variable("customer.main_category", "The category bought most", "Coffee and tea", optional=True, column="main_category"),
    Variable(
        "customer.lifetime_value", "Everything bought so far, in the currency of the orders", 431.5, optional=True, column="lifetime_value"
    ),
    Variable("customer.last_ordered_at", "Date of the last order", date(2017, 9, 19), optional=True, column="last_ordered_at"),
    Variable("customer.engagement_tier", "active, at_risk or inactive", "at_risk", column="engagement_tier"),
    Variable("customer.purchase_lifecycle", "prospect, new, active, lapsed or dormant", "active", column="purchase_lifecycle"),
    Variable("customer.extras", "Other columns of your customers file: customer.extras.<column>", {}, optional=True, column="extras"),
    Variable("offer.code", "The voucher's code (the customer's own where the program has a file of codes)", "COMEBACK15"),
    Variable("offer.percent", "Discount in percent; only if the program names it", 15),
    Variable("offer.expires_after_days", "Days that the code holds; only if the program names them", 14),
    Variable("offer.expires_on", "Last day on which the code holds; only if it expires", date(2017, 12, 14)),
    Variable("brand.name", "The shop's name", ""),
    Variable("brand.shop_url", "The shop's address", ""),
    Variable("brand.currency", "Currency, e.g. USD", ""),
    Variable("brand.postal_address", "The sender's postal address", ""),
    Variable("brand.sender_name", "The name in the inbox", ""),
    Variable("brand.logo.url", "Address of the logo; only if there is one", "", optional=True),
    Variable("brand.logo.alt", "Words for the logo", "", optional=True),
    Variable("brand.logo.width", "Width of the logo in pixels", 0, optional=True),
    Variable("brand.colours.accent", "Colour of buttons and links", ""),
    Variable("brand.colours.accent_text", "Colour of text on buttons", ""),
    Variable("brand.colours.background", "Colour around the message", ""),
    Variable("brand.colours.panel", "Colour behind the message", ""),
    Variable("brand.colours.text", "Colour of text", ""),
    Variable("brand.colours.muted", "Colour of small print", ""),
    Variable("program.name", "Name of the program", ""),
    Variable("links.shop", "The shop", ""),
    Variable("links.unsubscribe", "Leave this channel, for this customer", ""),
    Variable("links.preferences", "Choose channels and frequency, for this customer", ""),
    Variable("language", "Language of the message", "en"),
)

LAYOUT_VARIABLES: tuple[Variable, ...] = (
    Variable("content", "The message itself (layouts only)", ""),
    Variable("subject", "The message's subject (layouts only)", ""),
    Variable("preheader", "The message's preheader (layouts only)", "", optional=True),
)

CUSTOMER_COLUMNS: tuple[str, ...] = tuple(variable.column for variable in VARIABLES if variable.column)
"""Columns that a row handed to `render` should have; a missing one counts as empty."""

_CUSTOMER = [(variable.name.partition(".")[2], variable.column) for variable in VARIABLES if variable.column]
_OPTIONAL = {variable.name for variable in VARIABLES if variable.optional}
_LONGEST_NAME = 40
# A sign-up form is open to anyone: a "name" with an address in it would turn our greeting into someone else's advertisement.
_NOT_A_NAME = re.compile(r"://|www\.|[<>@{}\\]|\.(com|net|org|ru|info|biz|top|xyz)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Links:
    """Where a message's links lead; the last two are the customer's own."""

    shop: str
    unsubscribe: str
    preferences: str


@dataclass(frozen=True, slots=True)
class IssuedOffer:
    """The voucher of one enrolment. What the program does not name is None."""

    code: str
    percent: int | None = None
    expires_after_days: int | None = None
    expires_on: date | None = None


def links_for(brand: Brand, message_id: str, own: OwnLinks | None = None, language: object = None) -> Links:
    """The links of one message, without the person's address.

    With `own`: signed links to Winback's pages, in the customer's `language` (whatever the data says it is). Without: to the brand's pages,
    with the message's id, which is unguessable, since it is a hash.
    """
    if own is not None:
        return Links(brand.shop_url, own.unsubscribe(message_id, language), own.preferences(message_id, language))
    preferences = brand.preferences_url or brand.unsubscribe.url
    return Links(brand.shop_url, _with_message(brand.unsubscribe.url, message_id), _with_message(preferences, message_id))


def _with_message(url: str, message_id: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}m={message_id}"


def customer_values(row: Mapping[str, Any]) -> dict[str, Any]:
    """The `customer` variables of one row of the warehouse. Text is made a single line; names that are no names are dropped."""
    values: dict[str, Any] = {}
    for key, column in _CUSTOMER:
        value = row.get(column)
        if isinstance(value, float) and math.isnan(value):
            value = None
        if key == "extras":
            values[key] = _extras(value)
        elif isinstance(value, str):
            values[key] = person_name(value) if key in ("first_name", "last_name") else one_line(value)
        elif isinstance(value, Decimal):
            values[key] = float(value)
        elif isinstance(value, datetime):
            values[key] = value.date()
        else:
            values[key] = value
    return values


def person_name(text: str) -> str | None:
    """The text as a name on one line; None where it is none."""
    name = one_line(text)
    return None if not name or len(name) > _LONGEST_NAME or _NOT_A_NAME.search(name) else name


def _extras(value: object) -> dict[str, Any]:
    if isinstance(value, str) and value:
        value = json.loads(value)
    return (
        {str(key): one_line(item) if isinstance(item, str) else item for key, item in value.items()} if isinstance(value, Mapping) else {}
    )


def one_line(text: str) -> str:
    """Text without line breaks, control and bidirectional characters: safe in a header."""
    if text.isprintable() and "  " not in text:
        return text.strip()
    return " ".join("".join(" " if unsafe(character) else character for character in text).split())


def unsafe(character: str) -> bool:
    code = ord(character)
    return (
        code < 32 or 127 <= code < 160 or code in (0x2028, 0x2029, 0x200E, 0x200F) or 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
    )


def brand_values(brand: Brand) -> dict[str, Any]:
    """The `brand` variables."""
    return {
        "name": brand.name,
        "shop_url": brand.shop_url,
        "currency": brand.currency,
        "postal_address": brand.postal_address.strip(),
        "sender_name": brand.sender.name,
        "logo": brand.logo.model_dump() if brand.logo else None,
        "colours": brand.colours.model_dump(),
    }


def constants(values: Mapping[str, Any], prefix: str = "brand") -> dict[str, str]:
    """The brand's variables as text by full name; what looks like Liquid is left out."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}.{key}"
        if isinstance(value, Mapping):
            flat.update(constants(value, name))
        elif value is not None and "{" not in str(value):
            flat[name] = str(value)
    return flat


def offer_values(offer: IssuedOffer | None) -> dict[str, Any] | None:
    """The `offer` variables; what the program does not name is left out, so that a check finds its use."""
    if offer is None:
        return None
    values = {
        "code": offer.code,
        "percent": offer.percent,
        "expires_after_days": offer.expires_after_days,
        "expires_on": offer.expires_on,
    }
    return {key: value for key, value in values.items() if value is not None}


def link_values(links: Links) -> dict[str, str]:
    return {"shop": links.shop, "unsubscribe": links.unsubscribe, "preferences": links.preferences}


def sample_row() -> dict[str, Any]:
    """A customer with every field filled, for checks and previews."""
    return {variable.column: variable.sample for variable in VARIABLES if variable.column}


def sample_offer(offer: Offer | None, issued_on: date = date(2017, 11, 30)) -> IssuedOffer | None:
    """What `offer` would be for someone who enters on `issued_on`."""
    from datetime import timedelta

    if offer is None:
        return None
    expires_on = issued_on + timedelta(days=offer.expires_after_days) if offer.expires_after_days else None
    return IssuedOffer(offer.code or "A1B2C3D4", offer.percent, offer.expires_after_days, expires_on)


def is_optional(name: str) -> bool:
    return name in _OPTIONAL or name.startswith("customer.extras.")
