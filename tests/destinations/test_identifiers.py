"""Every value here is published by the platform (its documentation or its own library's tests), unless the case says otherwise."""

from __future__ import annotations

import base64

import pytest

from winback.destinations.base import Contact
from winback.destinations.identifiers import (
    e164,
    google_email,
    google_identifiers,
    google_phone,
    meta_country,
    meta_email,
    meta_identifiers,
    meta_name,
    meta_phone,
    sha256_hex,
    tiktok_email,
    tiktok_identifiers,
    tiktok_phone,
)


@pytest.mark.parametrize(
    ("found", "normalised", "digest"),
    [
        (meta_email("John_Smith@gmail.com"), "john_smith@gmail.com", "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f"),
        (meta_phone("(650)555-1212", "US"), "16505551212", "e323ec626319ca94ee8bff2e4c87cf613be6ea19919ed1364124e16807ab3176"),
        (meta_name("Mary"), "mary", "6915771be1c5aa0c886870b6951b03d7eafc121fea0e80a5ea83beb7c449f4ec"),
        (meta_name("Valéry"), "valéry", "08e1996b5dd49e62a4b4c010d44e4345592a863bb9f8e3976219bac29417149c"),
        (meta_country("US"), "us", "79adb2a2fce5c6ba215fe5f27f532d4e7edbac4b6a5e09e1ef3a08084a904621"),
    ],
)
def test_meta_publishes_these_examples(found: str, normalised: str, digest: str) -> None:
    assert found == normalised
    assert sha256_hex(found) == digest


def test_meta_keeps_dots_and_tags_of_gmail() -> None:
    assert meta_email(" Ann.Lee+Shop@Gmail.com ") == "ann.lee+shop@gmail.com"


def test_meta_drops_punctuation_of_names_in_any_script() -> None:
    assert meta_name("O’Brien-Smith Jr.") == "obriensmith jr"
    assert meta_name("Vale\u0301ry") == "valéry"
    assert meta_name("정") == "정"
    assert meta_name("...") is None


def test_meta_passes_what_is_hashed_already() -> None:
    digest = sha256_hex("ann@example.com")
    assert meta_identifiers(Contact("c1", email=digest.upper())) == (("EMAIL", digest),)


def test_meta_names_alone_are_no_identifier() -> None:
    assert meta_identifiers(Contact("c1", first_name="Mary", last_name="Smith", country="US")) == ()


def test_meta_identifiers_of_a_person() -> None:
    contact = Contact("c1", email="ANN@example.com", phone="+15550100123", first_name="Ann", last_name="Lee", country="US")
    assert meta_identifiers(contact, external_id=True) == (
        ("EMAIL", sha256_hex("ann@example.com")),
        ("PHONE", sha256_hex("15550100123")),
        ("FN", sha256_hex("ann")),
        ("LN", sha256_hex("lee")),
        ("COUNTRY", sha256_hex("us")),
        ("EXTERN_ID", "c1"),
    )


@pytest.mark.parametrize(
    ("email", "normalised"),
    [
        ("QuinnY@example.com", "quinny@example.com"),
        ("QuinnY@EXAMPLE.com", "quinny@example.com"),
        ("jefferson.Loves.hiking@gmail.com", "jeffersonloveshiking@gmail.com"),
        ("j.e.f..ferson.Loves.hiking@gmail.com", "jeffersonloveshiking@gmail.com"),
        ("jefferson.Loves.hiking@googlemail.com", "jeffersonloveshiking@googlemail.com"),
        ("@example.com", None),
        ("quinn", None),
        # Ours: the page says "trim leading, trailing and intermediate whitespace"; tags and dots count at other domains.
        (" quinn y@example .com\t", "quinny@example.com"),
        ("j.e.f+shop@gmail.com", "jef@gmail.com"),
        ("j.e.f+shop@example.com", "j.e.f+shop@example.com"),
        ("...+shop@gmail.com", None),
    ],
)
def test_google_emails(email: str, normalised: str | None) -> None:
    assert google_email(email) == normalised


@pytest.mark.parametrize(
    ("phone", "country", "normalised"),
    [
        ("1 800 555 0100", "US", "+18005550100"),
        ("(800)555-0100", "US", "+18005550100"),
        ("+1 800-555-0100", None, "+18005550100"),
        ("+441134960987", None, "+441134960987"),
        ("+44-113-496-0987", None, "+441134960987"),
        ("+abc-DEF", None, None),
        ("++++", None, None),
        ("07700 900123", None, None),  # ours: without a country it could be anybody's number
    ],
)
def test_google_phones(phone: str, country: str | None, normalised: str | None) -> None:
    assert google_phone(phone, country) == normalised


def test_google_publishes_these_hashes() -> None:
    contact = Contact("c1", email="  alexz@EXAMPLE.com   ", phone="   +1-800-555-0100")
    assert google_identifiers(contact) == (
        ("emailAddress", "509e933019bb285a134a9334b8bb679dff79d0ce023d529af4bd744d47b4fd8a"),
        ("phoneNumber", "fb4f73a6ec5fdb7077d564cdd22c3554b43ce49168550c3b12c547b78c517b30"),
    )
    assert base64.b64encode(bytes.fromhex(sha256_hex("+18005550100"))) == b"+09zpuxf23B31WTN0iw1VLQ85JFoVQw7EsVHt4xRezA="


def test_tiktok_publishes_these_hashes() -> None:
    assert tiktok_identifiers(Contact("c1", email="Jane Doe@Gmail.com", phone="+37493828222")) == (
        ("EMAIL_SHA256", "d6117306485ed0e50afab3ac871e98f81699151f30281527d63ff5f233656c69"),
        ("PHONE_SHA256", "65b7e6dcf6f4310f8d7cbfbd78289a753062fb054d6664fb9aaac5df66a422d4"),
    )


def test_tiktok_options_for_what_its_pages_leave_open() -> None:
    assert tiktok_email("Ann.Lee+shop@example.com") == "ann.lee+shop@example.com"
    assert tiktok_email("Ann.Lee+shop@example.com", drop_tag=True) == "ann.lee@example.com"
    assert tiktok_email("Ann.Lee+shop@example.com", drop_tag=True, drop_dots=True) == "annlee@example.com"
    assert tiktok_phone("+16577770000") == "16577770000"
    assert tiktok_phone("+16577770000", plus=True) == "+16577770000"
    assert tiktok_email("nobody") is None
    assert tiktok_phone("12") is None


def test_one_person_has_different_hashes_per_platform() -> None:
    contact = Contact("c1", email="ann.lee@gmail.com", phone="+447700900123")
    pairs = [*meta_identifiers(contact), *google_identifiers(contact), *tiktok_identifiers(contact)]
    assert len({value for _, value in pairs}) == 4  # Meta's and TikTok's agree here; Google's do not


@pytest.mark.parametrize(
    ("phone", "country", "number"),
    [
        ("+447700900123", None, "+447700900123"),
        ("+447700900123", "US", "+447700900123"),
        ("07700 900123", "GB", "+447700900123"),
        ("07700 900123", "gb", "+447700900123"),
        ("", None, None),
        (None, None, None),
        ("+1", "US", None),
    ],
)
def test_e164(phone: str | None, country: str | None, number: str | None) -> None:
    assert e164(phone, country) == number
