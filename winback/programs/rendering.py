"""One message for one customer, from the version of the program that they entered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from winback.errors import RejectItem
from winback.programs import variables
from winback.programs.schema import Brand
from winback.programs.templates import MessageSet, Rendered
from winback.programs.variables import IssuedOffer, Links
from winback.programs.versions import Definition

_COMPILED_VERSIONS = 256
_compiled: dict[str, tuple[Brand, Mapping[str, Any], MessageSet]] = {}


def _prepared(definition: Definition, brand: Brand) -> tuple[Mapping[str, Any], MessageSet]:
    """The brand's variables and the compiled messages of one version, made once per brand in use."""
    found = _compiled.get(definition.content_hash)
    if found is None or found[0] is not brand:
        if len(_compiled) >= _COMPILED_VERSIONS:
            _compiled.clear()
        values = variables.brand_values(brand)
        messages = MessageSet(definition.templates, constants=variables.constants(values))
        found = _compiled[definition.content_hash] = (brand, values, messages)
    return found[1], found[2]


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
    brand_values, messages = _prepared(definition, brand)
    values = {
        "customer": variables.customer_values(customer),
        "brand": brand_values,
        "offer": variables.offer_values(offer),
        "program": {"name": definition.program.name},
        "links": variables.link_values(links),
    }
    language = customer.get("language")
    rendered = messages.render(content, channel, language if isinstance(language, str) else "", brand.language, values)
    if rendered is not None:
        return rendered
    if channel == "task":
        words = content.replace("_", " ").capitalize()
        return Rendered(text=words, title=words, language=brand.language)
    raise RejectItem(f"version of {definition.program.name} has no message {content} for {channel}")
