from __future__ import annotations

import pytest

from tests.programs.conftest import EXAMPLES, MakeProject
from winback.errors import BadConfig
from winback.programs import brand_of, check

BRAND = (EXAMPLES / "surroundings" / "programs" / "brand.yml").read_text()


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ("sending: {local_hour: 25}", "brand.yml:6: sending.local_hour: found 25; allowed: 23 or less"),
        (
            "sending: {local_hour: 22}",
            "brand.yml:6: sending.local_hour: found 22, inside the quiet hours from 21 to 8; choose an hour outside",
        ),
        ("sending:\n  quiet_hours: {from: 8, to: 8}", "brand.yml:7: sending.quiet_hours: found from 8 to 8: every hour would be quiet"),
        (
            "sending:\n  quiet_hours: {from: 21:00, to: 8}",
            'brand.yml:7: sending.quiet_hours.from: found "21:00"; a whole number is expected',
        ),
        (
            "sending: {timezone: Europe/Pari}",
            'brand.yml:6: sending.timezone: found "Europe/Pari"; allowed: IANA names such as Europe/Paris; did you mean "Europe/Paris"?',
        ),
        (
            "sending: {caps: {mail: {messages: 1, days: 7}}}",
            'brand.yml:6: sending.caps.mail: is not a known field; allowed here: email, sms, push; did you mean "email"?',
        ),
        ("sending: {caps: {sms: {messages: 0, days: 7}}}", "brand.yml:6: sending.caps.sms.messages: found 0; allowed: 1 or more"),
        ("colours: {accent: green}", 'brand.yml:6: colours.accent: found "green"; allowed: a colour as "#1f6f4a", in quotation marks'),
        (
            "colors: {}",
            (
                "brand.yml:6: colors: is not a known field; allowed here: name, shop_url, language, currency, logo, colours, sender, "
                'postal_address, unsubscribe, preferences_url, tracking, sending; did you mean "colours"?'
            ),
        ),
        ("logo: {url: https://shop.example.com/l.png}", "brand.yml:6: logo.alt: is missing; what stands there when pictures are off"),
    ],
)
def test_problems(added: str, expected: str, project: MakeProject) -> None:
    assert [str(problem).removeprefix("programs/") for problem in check(project({"brand.yml": BRAND + added + "\n"}))][:1] == [expected]


def test_addresses_cannot_carry_a_second_header(project: MakeProject) -> None:
    brand = BRAND.replace(
        "name: Example Shop, email: hello@example.com", 'name: "Shop\\nBcc: x@example.com", email: "a@example.com\\nBcc: b@example.com"'
    )
    assert [problem.field for problem in check(project({"brand.yml": brand})) if problem.severity == "error"] == [
        "sender.email",
        "sender.name",
    ]


def test_colours_that_cannot_be_read_are_a_warning(project: MakeProject) -> None:
    brand = BRAND + 'colours: {accent: "#ffd400", accent_text: "#ffffff"}\n'
    [problem] = [problem for problem in check(project({"brand.yml": brand})) if problem.field]
    assert problem.severity == "warning"
    assert "hard to read (contrast 1.4;" in problem.message


def test_a_missing_brand_is_a_problem(project: MakeProject) -> None:
    settings = project()
    (settings.programs_dir / "brand.yml").unlink()
    assert [str(problem) for problem in check(settings) if problem.severity == "error"] == [
        "programs/brand.yml: is missing; it holds the shop's name, colours, sender and postal address"
    ]


def test_the_brand_can_be_read_while_a_program_is_being_edited(project: MakeProject) -> None:
    settings = project({"brand.yml": BRAND, "half_done.yml": "name: half_done\nsteps: ["})

    assert brand_of(settings).sender.email == "hello@example.com"


def test_a_wrong_brand_is_told_of_alone(project: MakeProject) -> None:
    settings = project({"brand.yml": BRAND + "colours: {accent: green}\n", "half_done.yml": "name: half_done\nsteps: ["})

    with pytest.raises(BadConfig) as problem:
        brand_of(settings)
    assert "brand.yml:6: colours.accent" in str(problem.value)
    assert "half_done" not in str(problem.value)
