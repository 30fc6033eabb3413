"""One message for one customer, from the version of the program that they entered."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from winback.errors import RejectItem
from winback.programs import variables
from winback.programs.schema import Brand
from winback.programs.templates import MessageSet, Rendered
from winback.programs.variables import IssuedOffer, Links
from winback.programs.versions import Definition

_COMPILED_VERSIONS = 256
_compiled: dict[str, MessageSet] = {}


def _messages(definition: Definition) -> MessageSet:
    found = _compiled.get(definition.content_hash)
    if found is None:
        if len(_compiled) >= _COMPILED_VERSIONS:
            _compiled.clear()
        found = _compiled[definition.content_hash] = MessageSet(definition.templates)
    return found


@lru_cache(maxsize=64)
def _brand_values(brand: Brand) -> Mapping[str, Any]:
    return variables.brand_values(brand)


def render(
    definition: Definition,
    content: str,
    channel: str,
    customer: Mapping[str, Any],
    brand: Brand,
    links: Links,
    offer: IssuedOffer | None = None,
) -> Rendered:
    """Render message `content` of one version for one customer.

    Parameters
    ----------
    customer
        A row with the columns of `CUSTOMER_COLUMNS`; what is missing counts as empty, and nothing in it is run as a template.
    channel
        email, sms, push or task. A task without a file is its name in words.

    Raises
    ------
    RejectItem
        The version has no such message, or the message names the program's voucher and `offer` is None.
    """
    if offer is None and definition.program.offer is not None and definition.names_offer(content):
        raise RejectItem("no voucher: the message names one, and none was issued")
    values = {
        "customer": variables.customer_values(customer),
        "brand": _brand_values(brand),
        "offer": variables.offer_values(offer),
        "program": {"name": definition.program.name},
        "links": variables.link_values(links),
    }
    language = customer.get("language")
    rendered = _messages(definition).render(content, channel, language if isinstance(language, str) else "", brand.language, values)
    if rendered is not None:
        return rendered
    if channel == "task":
        words = content.replace("_", " ").capitalize()
        return Rendered(text=words, title=words, language=brand.language)
    raise RejectItem(f"version of {definition.program.name} has no message {content} for {channel}")
