from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.programs.conftest import MakeProject
from winback.errors import RejectItem
from winback.programs import Brand, Definition, IssuedOffer, Links, Program, links_for, render
from winback.programs.variables import customer_values

BRAND = Brand.model_validate(
    {
        "name": "Käse & Co {{ brand }}",
        "shop_url": "https://shop.example.com/?a=1&b=2",
        "sender": {"name": "Käse & Co", "email": "hello@example.com"},
        "postal_address": "1 Example Street\nExampletown",
        "unsubscribe": {"url": "https://shop.example.com/leave", "mailto": "leave@example.com"},
    }
)
LINKS = links_for(BRAND, "m1")
TEXTS = {
    "layout.html": '<html lang="{{ language }}"><title>{{ subject }}</title><i>{{ preheader }}</i>{{ content }}'
    '<a href="{{ links.unsubscribe }}">x</a>{{ brand.name }} {{ brand.postal_address | newline_to_br }}</html>',
    "layout.txt": "{{ content }}\n--\n{{ brand.name }}\n{{ brand.postal_address }}\n{{ links.unsubscribe }}",
    "snippets/button.html": '<p><a href="{{ url }}">{{ label }}</a></p>',
    "m/email.html": "---\nsubject: {{ customer.first_name | default: 'You' }}, hello\npreheader: From {{ brand.name }}\n---\n"
    "<p>Dear {{ customer.first_name | default: 'customer' }} &amp; family,</p>\n{% render 'button', label: 'Go', url: links.shop %}",
    "m/email.de.html": "---\nsubject: Hallo {{ customer.first_name }}\n---\n<p>Guten Tag</p>",
    "m/sms.txt": "Hi {{ customer.first_name | default: 'there' }} {{ links.shop }}",
    "m/push.txt": "---\ntitle: Hi {{ customer.first_name }}\n---\nCome by",
    "code/sms.txt": "Use {{ offer.code }}{% if offer.expires_on %} until {{ offer.expires_on | date: 'long' }}{% endif %}",
    "late/sms.txt": "{% if offer %}{{ offer.percent }}%{% endif %}",
}


def _definition(texts: dict[str, str] | None = None, **more: Any) -> Definition:
    steps = more.pop("steps", [{"day": 0, "send": "m", "channels": ["email"]}])
    return Definition.of(Program.model_validate({"name": "p", "audience": "a", "steps": steps, **more}), {**TEXTS, **(texts or {})})


def test_an_email_has_every_part() -> None:
    mail = render(_definition(), "m", "email", {"first_name": "Ada", "language": "en"}, BRAND, LINKS)
    assert (mail.subject, mail.preheader, mail.language) == ("Ada, hello", "From Käse & Co {{ brand }}", "en")
    assert mail.html == (
        '<html lang="en"><title>Ada, hello</title><i>From Käse &amp; Co {{ brand }}</i><p>Dear Ada &amp; family,</p>\n'
        '<p><a href="https://shop.example.com/?a=1&amp;b=2">Go</a></p>'
        '<a href="https://shop.example.com/leave?m=m1">x</a>Käse &amp; Co {{ brand }} 1 Example Street<br />\nExampletown</html>'
    )
    assert mail.text == (
        "Dear Ada & family,\n\nGo: https://shop.example.com/?a=1&b=2\n--\nKäse & Co {{ brand }}\n1 Example Street\nExampletown\n"
        "https://shop.example.com/leave?m=m1"
    )


def test_a_text_part_of_its_own_is_used() -> None:
    assert render(_definition({"m/email.txt": "Own words"}), "m", "email", {}, BRAND, LINKS).text.startswith("Own words\n--\n")


@pytest.mark.parametrize(
    ("language", "expected"), [("de", "de"), ("de-AT", "de"), ("DE_at", "de"), ("fr", "en"), ("", "en"), (None, "en"), (float("nan"), "en")]
)
def test_language_falls_back_from_near_to_far(language: object, expected: str) -> None:
    mail = render(_definition(), "m", "email", {"first_name": "Ada", "language": language}, BRAND, LINKS)
    assert mail.language == expected
    assert f'lang="{expected}"' in mail.html


@pytest.mark.parametrize(
    ("name", "greeted"),
    [
        ("Ada", "Ada"),
        ("  Ada  Maria ", "Ada Maria"),
        ("Jean-Luc", "Jean-Luc"),
        ("O'Neil", "O'Neil"),
        ("小明", "小明"),
        ("Ada\r\nBcc: all@example.com", None),
        ("Ada\nLovelace", "Ada Lovelace"),
        ("Win 1000 at www.example.net", None),
        ("cheap-pills.com", None),
        ("<b>Ada</b>", None),
        ("{{ brand.name }}", None),
        ("x" * 41, None),
        ("\u202eadA", "adA"),
        ("", None),
        (None, None),
        (float("nan"), None),
    ],
)
def test_a_name_that_is_no_name_is_not_used(name: object, greeted: str | None) -> None:
    assert customer_values({"first_name": name})["first_name"] == greeted


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_no_customer_can_write_headers_html_or_templates(name: str, category: str) -> None:
    texts = {"m/email.html": "---\nsubject: {{ customer.first_name }} {{ customer.main_category }}\n---\n{{ customer.main_category }}"}
    mail = render(_definition(texts), "m", "email", {"first_name": name, "main_category": category}, BRAND, LINKS)
    assert "\n" not in mail.subject
    assert "\r" not in mail.subject
    assert mail.subject.isprintable() or all(ord(character) >= 32 for character in mail.subject)
    body = mail.html.split("</i>")[1].split('<a href="https')[0]
    assert not re.search(r"[<>]", body)


def test_what_a_customer_is_called_is_not_run() -> None:
    row = {"first_name": "Ada", "extras": '{"pet": "{{ offer.code }}{% raw %}"}'}
    text = render(_definition({"m/sms.txt": "{{ customer.extras.pet }}"}), "m", "sms", row, BRAND, LINKS).text
    assert text == "{{ offer.code }}{% raw %}"


def test_push_has_a_title_and_sms_is_text() -> None:
    push = render(_definition(), "m", "push", {"first_name": None}, BRAND, LINKS)
    assert (push.title, push.text, push.html) == ("Hi", "Come by", "")
    assert render(_definition(), "m", "sms", {}, BRAND, LINKS).text == "Hi there https://shop.example.com/?a=1&b=2"


def test_a_task_without_a_file_is_its_name_in_words() -> None:
    task = render(_definition(), "personal_call", "task", {}, BRAND, LINKS)
    assert (task.title, task.text) == ("Personal call", "Personal call")


def test_a_message_that_is_not_there_is_rejected() -> None:
    with pytest.raises(RejectItem, match="has no message code for email"):
        render(_definition(), "code", "email", {}, BRAND, LINKS)


def test_a_promised_voucher_that_ran_out_is_rejected_where_it_is_named() -> None:
    definition = _definition(offer={"codes": "codes/x.txt"})
    with pytest.raises(RejectItem, match="no voucher"):
        render(definition, "code", "sms", {}, BRAND, LINKS)
    assert render(definition, "m", "sms", {}, BRAND, LINKS).text.startswith("Hi there")


def test_days_of_a_code_count_from_the_first_message_that_names_it() -> None:
    steps = [{"day": 0, "send": "m", "channels": ["sms"]}, {"day": 7, "send": "code", "channels": ["sms"]}]
    definition = _definition(steps=steps, offer={"code": "SAVE20", "percent": 20, "expires_after_days": 14})
    offer = definition.issue_offer("SAVE20", date(2017, 12, 1))
    assert offer == IssuedOffer("SAVE20", 20, 14, date(2017, 12, 1) + timedelta(days=21))
    assert render(definition, "code", "sms", {}, BRAND, LINKS, offer).text == "Use SAVE20 until 22 December 2017"
    assert _definition().issue_offer("", date(2017, 12, 1)) is None


@pytest.mark.parametrize(
    ("language", "style", "expected"),
    [
        ("en", "long", "22 December 2017"),
        ("en-us", "long", "December 22, 2017"),
        ("de", "long", "22. Dezember 2017"),
        ("xx", "medium", "22 Dec 2017"),
        ("en", "%d.%m.", "22.12."),
    ],
)
def test_dates_are_written_as_the_language_writes_them(language: str, style: str, expected: str) -> None:
    texts = {"d/sms.txt": "", f"d/sms{'.' + language}.txt": f"{{{{ customer.last_ordered_at | date: '{style}' }}}}"}
    assert (
        render(_definition(texts), "d", "sms", {"last_ordered_at": date(2017, 12, 22), "language": language}, BRAND, LINKS).text == expected
    )


def test_amounts_are_in_the_currency_of_the_brand() -> None:
    definition = _definition({"d/sms.txt": "{{ customer.lifetime_value | money }}"})
    assert render(definition, "d", "sms", {"lifetime_value": 1234.5}, BRAND, LINKS).text == "US$1,234.50"


def test_an_old_version_keeps_its_words(project: MakeProject) -> None:
    from winback.programs import load_programs

    program = "name: p\naudience: lapsed\nsteps:\n  - {day: 0, send: m, channels: [sms]}\n"
    old = load_programs(project({"p.yml": program, "templates/p/m/sms.txt": "Old words"})).definitions["p"]
    new = load_programs(project({"templates/p/m/sms.txt": "New words"})).definitions["p"]
    stored = Definition.from_json(old.as_json, old.content_hash)
    assert stored.content_hash != new.content_hash
    assert [render(version, "m", "sms", {}, BRAND, LINKS).text for version in (stored, new, stored)] == [
        "Old words",
        "New words",
        "Old words",
    ]


def test_links_name_the_message_and_no_person() -> None:
    assert links_for(BRAND, "abc") == Links(
        "https://shop.example.com/?a=1&b=2", "https://shop.example.com/leave?m=abc", "https://shop.example.com/leave?m=abc"
    )
    other = BRAND.model_copy(update={"preferences_url": "https://shop.example.com/?page=preferences"})
    assert links_for(other, "abc").preferences == "https://shop.example.com/?page=preferences&m=abc"
