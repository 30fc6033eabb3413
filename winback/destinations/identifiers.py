"""Identifiers of people as each ad platform wants them: normalised by its own rules, then SHA-256 in lower-case hex.

The platforms disagree (dots in Gmail addresses, the `+` of a phone number), so one person has different hashes per platform. Nothing is
hashed once and reused: each destination computes from the address and the ledger keeps what that platform was given.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256

from winback.destinations.base import Contact

Identifier = tuple[str, str]

_E164 = re.compile(r"\+[1-9][0-9]{6,14}").fullmatch
_ALREADY_HASHED = re.compile(r"[0-9a-f]{64}|[0-9a-f]{32}", re.IGNORECASE).fullmatch
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+").fullmatch
_WHITESPACE = re.compile(r"\s+")
_GMAIL = ("gmail.com", "googlemail.com")


def sha256_hex(text: str) -> str:
    """SHA-256 of the UTF-8 text as 64 lower-case hex digits."""
    return sha256(text.encode()).hexdigest()


def e164(phone: str | None, country: str | None = None) -> str | None:
    """A phone number as `+` and digits; None where it is none.

    `country` is the ISO-2 code that a number without a country code belongs to. Text that is E.164 already is not parsed again: parsing
    takes 50 microseconds, which is more than everything else done to an identifier.
    """
    if not phone:
        return None
    if _E164(phone):
        return phone
    return _parsed(phone, country.upper() if country else None)


@lru_cache(maxsize=65_536)
def _parsed(phone: str, country: str | None) -> str | None:
    import phonenumbers

    try:
        number = phonenumbers.parse(phone, country)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


# Meta: developers.facebook.com/docs/marketing-api/audiences/guides/custom-audiences and .../customer-information-parameters


def meta_email(email: str) -> str | None:
    """Trimmed and lower case; Meta has no rule about dots or tags."""
    text = email.strip().lower()
    return text if _EMAIL(text) else None


def meta_phone(phone: str, country: str | None = None) -> str | None:
    """Digits with the country code, no `+`, no leading zeros."""
    number = e164(phone.strip(), country)
    return number[1:] if number else None


def meta_name(name: str) -> str | None:
    """Lower case without punctuation; letters outside a-z stay (Meta's old Python mix-in drops them: its hashes match nobody)."""
    text = unicodedata.normalize("NFC", name).lower()
    if not text.isalpha():
        text = "".join(character for character in text if unicodedata.category(character)[0] not in "PS").strip()
    return text or None


def meta_country(country: str) -> str | None:
    """ISO-2 code in lower case."""
    text = country.strip().lower()
    return text if len(text) == 2 and text.isalpha() else None


def meta_identifiers(contact: Contact, *, names: bool = True, external_id: bool = False) -> tuple[Identifier, ...]:
    """(schema key, value) pairs for Meta; empty without an email address or a phone number (a name alone matches strangers).

    A value that is a SHA-256 or MD5 already passes as it is, as Meta documents. EXTERN_ID is the customer id, which Meta takes in clear.
    """
    pairs: list[Identifier] = []
    if contact.email:
        if _ALREADY_HASHED(contact.email):
            pairs.append(("EMAIL", contact.email.lower()))
        elif email := meta_email(contact.email):
            pairs.append(("EMAIL", sha256_hex(email)))
    if contact.phone:
        if len(contact.phone) >= 32 and _ALREADY_HASHED(contact.phone):
            pairs.append(("PHONE", contact.phone.lower()))
        elif phone := meta_phone(contact.phone, contact.country):
            pairs.append(("PHONE", sha256_hex(phone)))
    if not pairs:
        return ()
    if names:
        if contact.first_name and (first := meta_name(contact.first_name)):
            pairs.append(("FN", _common(first)))
        if contact.last_name and (last := meta_name(contact.last_name)):
            pairs.append(("LN", _common(last)))
        if contact.country and (country := meta_country(contact.country)):
            pairs.append(("COUNTRY", _common(country)))
    if external_id:
        pairs.append(("EXTERN_ID", contact.customer_id))
    return tuple(pairs)


# Names and countries repeat from person to person; addresses do not.
_common = lru_cache(maxsize=65_536)(sha256_hex)


# Google: developers.google.com/data-manager/api/devguides/concepts/formatting


def google_email(email: str) -> str | None:
    """Lower case without any whitespace; for gmail.com and googlemail.com also without dots and without everything from `+`."""
    text = email.lower()
    if not text.isprintable() or " " in text:
        text = _WHITESPACE.sub("", text)
    name, at, domain = text.partition("@")
    if domain in _GMAIL:
        name = name.split("+", 1)[0].replace(".", "")
    if not (name and at and domain) or "@" in domain:
        return None
    return f"{name}@{domain}"


def google_phone(phone: str, country: str | None = None) -> str | None:
    """E.164 with the `+`."""
    return e164(phone.strip(), country)


def google_identifiers(contact: Contact) -> tuple[Identifier, ...]:
    """(field of UserIdentifier, hash) pairs. No names: Google takes one only with a postal code, which Winback does not hold."""
    pairs: list[Identifier] = []
    if contact.email and (email := google_email(contact.email)):
        pairs.append(("emailAddress", sha256_hex(email)))
    if contact.phone and (phone := google_phone(contact.phone, contact.country)):
        pairs.append(("phoneNumber", sha256_hex(phone)))
    return tuple(pairs)


# TikTok: ads.tiktok.com/help "How to create a Custom Audience with a Customer File"; its pages contradict each other, hence the options


def tiktok_email(email: str, *, drop_tag: bool = False, drop_dots: bool = False) -> str | None:
    """Lower case without spaces. Older help pages also drop `+tag` and dots for every domain; the newest does not."""
    text = email.lower()
    if not text.isprintable() or " " in text:
        text = _WHITESPACE.sub("", text)
    name, at, domain = text.partition("@")
    if drop_tag:
        name = name.split("+", 1)[0]
    if drop_dots:
        name = name.replace(".", "")
    if not (name and at and domain) or "@" in domain:
        return None
    return f"{name}@{domain}"


def tiktok_phone(phone: str, country: str | None = None, *, plus: bool = False) -> str | None:
    """Digits with the country code. The only hash TikTok publishes is of a number without `+`, though the text beside it shows one."""
    number = e164(phone.strip(), country)
    if number is None:
        return None
    return number if plus else number[1:]


def tiktok_identifiers(contact: Contact, *, plus: bool = False, drop_tag: bool = False, drop_dots: bool = False) -> tuple[Identifier, ...]:
    """(column of a customer file, hash) pairs."""
    pairs: list[Identifier] = []
    if contact.email and (email := tiktok_email(contact.email, drop_tag=drop_tag, drop_dots=drop_dots)):
        pairs.append(("EMAIL_SHA256", sha256_hex(email)))
    if contact.phone and (phone := tiktok_phone(contact.phone, contact.country, plus=plus)):
        pairs.append(("PHONE_SHA256", sha256_hex(phone)))
    return tuple(pairs)


# Klaviyo takes addresses in clear: what is kept only tells whether the address is still the one that was added


def klaviyo_identifiers(contact: Contact, *, by_customer_id: bool = False) -> tuple[Identifier, ...]:
    """Whom a list holds: the hash of their email address, or the customer id where Klaviyo knows it. Nobody without an email address."""
    if not contact.email:
        return ()
    if by_customer_id:
        return (("external_id", contact.customer_id),)
    return (("email_sha256", sha256_hex(contact.email.strip().lower())),)


IDENTIFIERS: dict[str, Callable[[Contact], tuple[Identifier, ...]]] = {
    "meta": meta_identifiers,
    "google": google_identifiers,
    "tiktok": tiktok_identifiers,
    "klaviyo": klaviyo_identifiers,
}
"""How each platform of programs wants people to be named, with that platform's default options."""
