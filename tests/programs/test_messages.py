"""What is found in messages before anything is sent. Each case is a message's files and the problems that they must cause."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tests.programs.conftest import MakeProject
from winback.programs import check

PROGRAM = "name: p\naudience: lapsed\nsteps:\n  - {{day: 0, send: m, channels: [{channels}]}}\n{more}"
EMAIL = "---\nsubject: Hello\n---\n"


@dataclass
class Case:
    files: dict[str, str]
    expected: list[str]
    channels: str = "email"
    more: str = ""
    others: dict[str, str] = field(default_factory=dict)


CASES = {
    "unknown_variable": Case(
        {"email.html": EMAIL + "<p>one</p>\n<p>{{ customer.firstname | default: 'x' }}</p>"},
        ['email.html:5: the variable "customer.firstname" does not exist; did you mean "customer.first_name"?'],
    ),
    "unknown_variable_in_a_branch_never_taken": Case(
        {"email.html": EMAIL + "{% if customer.country == 'XX' %}{{ brand.nmae }}{% endif %}x"},
        ['email.html:4: the variable "brand.nmae" does not exist; did you mean "brand.name"?'],
    ),
    "unknown_variables_all_at_once": Case(
        {"email.html": "---\nsubject: Hello {{ nobody }}\n---\n{{ foo }}\n{{ offer.cod }}"},
        [
            'email.html:2: subject: the variable "nobody" does not exist; allowed: ALL',
            'email.html:4: the variable "foo" does not exist; allowed: ALL',
            'email.html:5: the variable "offer.cod" does not exist; did you mean "offer.code"?',
        ],
    ),
    "unknown_filter": Case(
        {"email.html": EMAIL + "{{ brand.name | upcas }}"}, ['email.html:4: the filter "upcas" does not exist; did you mean "upcase"?']
    ),
    "unknown_tag": Case(
        {"email.html": EMAIL + "\n{% iff offer %}x{% endif %}"}, ['email.html:5: the tag "iff" does not exist; did you mean "if"?']
    ),
    "tag_left_open": Case(
        {"email.html": EMAIL + "{% if offer %}x"}, ["email.html:4: is not Liquid: expected tag endif, found the end of the text"]
    ),
    "first_name_may_be_empty": Case(
        {"email.html": "---\nsubject: Hello {{ customer.first_name }}\n---\nx"},
        [
            (
                'email.html:2: subject: "customer.first_name" may be empty; write {{ customer.first_name | default: "there" }}, '
                "or {% if customer.first_name %} around it"
            )
        ],
    ),
    "first_name_may_be_empty_behind_a_filter": Case(
        {"sms.txt": "Hello {{ customer.first_name | upcase }}"},
        [
            (
                'sms.txt:1: "customer.first_name" may be empty; write {{ customer.first_name | default: "there" }}, '
                "or {% if customer.first_name %} around it"
            )
        ],
        channels="sms",
    ),
    "a_program_without_offer": Case(
        {"email.html": EMAIL + "Use {{ offer.code }}"},
        [
            (
                'email.html:4: "offer.code" is used, and the program has no offer; add an offer to the program, '
                "or write {% if offer %} around it"
            )
        ],
    ),
    "an_offer_that_does_not_expire": Case(
        {"email.html": EMAIL + "{{ offer.code }} until {{ offer.expires_on | date }}"},
        ['email.html:4: "offer.expires_on" is used, and the program\'s offer does not name it; add it to the offer, or leave it out'],
        more="offer: {code: C}\n",
    ),
    "a_date_that_is_none": Case(
        {"email.html": EMAIL + "{{ brand.name | date: 'long' }}"},
        ['email.html:4: is not Liquid: date expects a date, found "Example Shop"'],
    ),
    "the_clock_is_not_asked": Case(
        {"email.html": EMAIL + "{{ 'now' | date: '%Y' }}"}, ['email.html:4: is not Liquid: date expects a date, found "now"']
    ),
    "unknown_snippet": Case(
        {"email.html": EMAIL + "{% render 'buton' %}"},
        ['email.html:4: the snippet "buton" does not exist; allowed: button; did you mean "button"?'],
        others={"templates/snippets/button.html": "{{ label }}"},
    ),
    "snippet_without_what_it_needs": Case(
        {"email.html": EMAIL + "{% render 'button' %}"},
        ['../../snippets/button.html:2: the variable "label" does not exist; allowed: ALL'],
        others={"templates/snippets/button.html": "\n{{ label }}"},
    ),
    "no_subject": Case(
        {"email.html": "<p>Hello</p>"},
        ["email.html:1: subject: is missing; begin the file with a line ---, a line subject: ..., and a line ---"],
    ),
    "subject_misspelt": Case(
        {"email.html": "---\nsubjct: Hello\n---\nx"},
        [
            "email.html:1: subject: is missing; begin the file with a line ---, a line subject: ..., and a line ---",
            'email.html:2: subjct: is not a known field; allowed here: subject, preheader; did you mean "subject"?',
        ],
    ),
    "fields_left_open": Case(
        {"email.html": "---\nsubject: Hello\n"}, ['email.html:1: found "---" that opens the fields and none that closes them']
    ),
    "a_field_without_colon": Case(
        {"email.html": "---\nHello\n---\nx"},
        ['email.html:2: found "Hello"; a line such as "subject: ..." is expected, or --- to end the fields'],
    ),
    "push_without_title": Case(
        {"push.txt": "Hello"},
        ["push.txt:1: title: is missing; begin the file with a line ---, a line title: ..., and a line ---"],
        channels="push",
    ),
    "a_subject_in_sms": Case(
        {"sms.txt": "---\nsubject: x\n---\nHi"}, ["sms.txt:2: subject: is not a known field; allowed here: none"], channels="sms"
    ),
    "nothing_to_say": Case({"email.html": EMAIL}, ["email.html:4: has no text"]),
    "a_picture_without_words": Case(
        {"email.html": EMAIL + '<p>\n<img src="https://shop.example.com/a.png"></p>'},
        ['email.html:5: found <img> without alt; say what it shows, or alt="" for decoration'],
    ),
    "html_left_open": Case({"email.html": EMAIL + "<div>\n<strong>x</div>"}, ["email.html:5: found <strong> without </strong>"]),
    "html_closed_twice": Case({"email.html": EMAIL + "<p>x</p></div>"}, ["email.html:4: found </div> without <div> before it"]),
    "a_comment_of_no_known_kind": Case({"email.html": EMAIL + "x <![ple ]>"}, ['email.html:4: found "<![" that begins nothing known']),
    "a_script": Case({"email.html": EMAIL + "<script>1</script>x"}, ["email.html:4: found <script>; mail programs remove it"]),
    "a_file_misspelt": Case(
        {"email.html": EMAIL + "x", "emial.html": "x"},
        [
            (
                "emial.html: is no file of a message; allowed: email.html, sms.txt, push.txt, task.txt, email.txt, "
                'and with a language such as email.de.html; did you mean "email.html"?'
            )
        ],
    ),
    "a_language_is_checked_too": Case(
        {"email.html": EMAIL + "x", "email.de.html": "---\nsubject: Hallo {{ customer.vorname }}\n---\nx"},
        ['email.de.html:2: subject: the variable "customer.vorname" does not exist; did you mean "customer.first_name"?'],
    ),
    "a_long_sms": Case({"sms.txt": "a" * 400}, ["sms.txt:1: becomes 3 SMS of 400 characters in all"], channels="sms"),
    "an_sms_with_one_emoji": Case(
        {"sms.txt": "a" * 80 + "😀"},
        ['sms.txt:1: becomes 2 SMS of 81 characters in all ("😀" makes each of them short: 70 characters instead of 160)'],
        channels="sms",
    ),
    "a_long_subject": Case(
        {"email.html": f"---\nsubject: {'a' * 80}\n---\nx"}, ["email.html:2: subject: is 80 characters long; phones show about 40"]
    ),
    "extras_with_default": Case({"email.html": EMAIL + "{{ customer.extras.pet | default: 'pet' }}"}, []),
    "extras_without_default": Case(
        {"email.html": EMAIL + "{{ customer.extras.pet }}"},
        [
            (
                'email.html:4: "customer.extras.pet" may be empty; write {{ customer.extras.pet | default: "..." }}, '
                "or {% if customer.extras.pet %} around it"
            )
        ],
    ),
    "asking_and_comparing_is_fine": Case(
        {
            "email.html": EMAIL + "{% if customer.first_name %}{{ customer.first_name | upcase }}{% endif %}"
            "{% if customer.days_since_last_order > 30 %}x{% elsif customer.country == 'GB' %}y{% endif %}"
            "{% unless customer.main_category %}z{% endunless %}{% case customer.language %}{% when 'de' %}d{% else %}e{% endcase %}"
            "{% assign name = customer.first_name | default: 'there' %}{{ name }} {{ customer.lifetime_value | default: 0 | money }}"
        },
        [],
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_case(case: Case, project: MakeProject) -> None:
    files = {f"templates/p/m/{name}": text for name, text in case.files.items()}
    settings = project({"p.yml": PROGRAM.format(channels=case.channels, more=case.more), **files, **case.others})
    problems = [problem for problem in check(settings) if "no program sends" not in problem.message]
    found = [
        str(problem).removeprefix("programs/templates/p/m/").replace("programs/templates/", "../../").replace("warning: ", "")
        for problem in problems
    ]
    assert [_shortened(text) for text in found] == case.expected


def _shortened(text: str) -> str:
    """The list of all variables is long, and another test's matter."""
    place, allowed, _rest = text.partition("allowed: customer.first_name, customer.last_name")
    return f"{place}allowed: ALL" if allowed else text


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "layout.html",
            "<p>{{ content }}</p>",
            [
                "layout.html: {{ brand.postal_address }} is missing: the law wants the sender's address in every email",
                "layout.html: {{ links.unsubscribe }} is missing: the law wants a way to leave in every email",
            ],
        ),
        (
            "layout.txt",
            "{{ brand.postal_address }} {{ links.unsubscribe }}",
            ["layout.txt: {{ content }} is missing: the message itself"],
        ),
        (
            "layot.html",
            "x",
            ["layot.html: is not used; allowed here: layout.html, layout.txt, layout.de.html"],
        ),
        (
            "layout.de.txt",
            "{{ content }} {{ brand.postal_address }} {{ links.unsubscribe }} {{ links.abmelden }}",
            ['layout.de.txt:1: the variable "links.abmelden" does not exist; allowed: links.shop, links.unsubscribe, links.preferences'],
        ),
    ],
)
def test_layouts(name: str, text: str, expected: list[str], project: MakeProject) -> None:
    problems = check(project({f"templates/{name}": text}))
    assert [str(problem).removeprefix("programs/templates/") for problem in problems if problem.severity == "error"] == expected


def test_a_layout_is_needed(project: MakeProject) -> None:
    settings = project()
    (settings.programs_dir / "templates" / "layout.txt").unlink()
    assert ["layout.txt: is missing" in str(problem) for problem in check(settings) if problem.severity == "error"] == [True]


def test_a_message_that_no_program_sends_is_a_warning(project: MakeProject) -> None:
    settings = project({"templates/p/unused/email.html": EMAIL + "x"})
    warnings = [str(problem) for problem in check(settings)]
    assert "programs/templates/p/unused: warning: is a message that no program sends" in warnings
