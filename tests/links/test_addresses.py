from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.links.test_tokens import MESSAGE, RING
from winback.errors import BadConfig
from winback.links.addresses import OwnLinks, own_links, said_of_click
from winback.links.tokens import message_of
from winback.programs import links_for
from winback.programs.template_checks import _SAMPLE_BRAND
from winback.settings import Settings

LINKS = OwnLinks("https://mail.example.com/w", RING)


def hrefs(html: str) -> list[str]:
    return [unescape(one or other) for one, other in re.findall(r"""href\s*=\s*(?:"([^"]*)"|'([^']*)')""", html)]


def target_of(href: str) -> tuple[int, str]:
    """Number and target of a redirect, after checking its signature as the listener does."""
    parts = urlsplit(href)
    token, number = parts.path.split("/")[-2:]
    (target,) = parse_qs(parts.query, keep_blank_values=True)["to"]
    assert message_of(RING, "click", token, said_of_click(int(number), target)) == MESSAGE
    return int(number), target


@pytest.mark.parametrize(
    "target",
    [
        "https://shop.example.com/",
        "https://shop.example.com/a?utm_source=mail&utm_campaign=a%20b+c#top",
        "http://shop.example.com:8080/ä/ß?q=ü&x=1#§",
        "HTTPS://SHOP.example.com/?to=https://other.example.com/?a=b&c=%26",
        "https://shop.example.com/?a=';--&b=%25",
    ],
)
def test_a_link_of_the_message_is_counted_and_leads_where_it_led(target: str) -> None:
    from markupsafe import escape

    html = LINKS.tracked(f'<p><A class="button" href="{escape(target)}">go</A></p>', MESSAGE, opens=False, clicks=True)
    (href,) = hrefs(html)
    assert href.startswith("https://mail.example.com/w/c/2026b.")
    assert target_of(href) == (1, target)
    assert html.endswith('">go</A></p>')
    assert html.startswith('<p><A class="button" href="')


def test_links_are_numbered_as_they_stand() -> None:
    html = '<a\nhref="https://a.example.com">1</a> <a title="x" href = \'https://b.example.com\'>2</a><a href="https://a.example.com">3</a>'
    assert [target_of(href) for href in hrefs(LINKS.tracked(html, MESSAGE, opens=False, clicks=True))] == [
        (1, "https://a.example.com"),
        (2, "https://b.example.com"),
        (3, "https://a.example.com"),
    ]


@pytest.mark.parametrize(
    "kept",
    [
        '<a href="mailto:care@example.com">write</a>',
        '<a href="tel:+15550100001">call</a>',
        '<a href="#top">top</a>',
        '<a href="">nothing</a>',
        '<a name="x">anchor</a>',
        '<a href="javascript:alert(1)">no</a>',
        f'<a href="{LINKS.unsubscribe(MESSAGE)}">leave</a>',
        f'<a href="{LINKS.preferences(MESSAGE, "de")}">choose</a>',
        '<a href="https://shop.example.com/leave?m=1">the brand\'s own page</a>',
        '<a data-href="https://a.example.com">data</a>',
        '<img src="https://a.example.com/x.png" alt="">',
        '<link href="https://a.example.com/x.css">',
        "https://a.example.com in words",
    ],
)
def test_what_is_no_link_to_a_page_stays_as_it_is(kept: str) -> None:
    assert LINKS.tracked(kept, MESSAGE, opens=False, clicks=True, keep=("https://shop.example.com/leave",)) == kept


def test_the_pixel_is_the_last_thing_of_the_body() -> None:
    html = LINKS.tracked("<html><body><p>Hello</p></body></html>", MESSAGE, opens=True, clicks=False)
    assert html.endswith('" width="1" height="1" alt="" style="border:0;height:1px;width:1px;"></body></html>')
    (source,) = re.findall(r'src="([^"]*)"', html)
    token = source.removeprefix("https://mail.example.com/w/o/").removesuffix(".gif")
    assert message_of(RING, "open", token) == MESSAGE
    assert LINKS.tracked("<p>Hello</p>", MESSAGE, opens=True, clicks=False).startswith("<p>Hello</p><img ")


@given(st.text(max_size=60))
def test_whatever_stands_in_a_link_cannot_leave_it(text: str) -> None:
    from markupsafe import escape

    html = LINKS.tracked(f'<a href="https://a.example.com/{escape(text)}">x</a>', MESSAGE, opens=False, clicks=True)
    (href,) = hrefs(html)
    assert re.fullmatch(r'<a href="[^"<>]*">x</a>', html)
    assert target_of(href) == (1, f"https://a.example.com/{text}".strip())


@pytest.mark.parametrize(("language", "expected"), [("de", "?l=de"), ("pt-BR", "?l=pt-BR"), (None, ""), (float("nan"), ""), ('de"><b', "")])
def test_links_ask_for_the_customers_language_if_it_is_one(language: object, expected: str) -> None:
    links = links_for(_SAMPLE_BRAND, MESSAGE, LINKS, language)
    assert links.shop == _SAMPLE_BRAND.shop_url
    assert links.unsubscribe == f"https://mail.example.com/w/u/{links.unsubscribe.split('/')[-1].partition('?')[0]}{expected}"
    assert links.preferences.startswith("https://mail.example.com/w/p/2026b.")
    assert links.preferences.endswith(expected)
    assert MESSAGE not in links.unsubscribe


def test_the_demo_links_to_this_machine_and_the_real_world_to_nothing_unless_told(tmp_path: Path) -> None:
    demo = own_links(Settings(home=tmp_path, clock="simulated"))
    assert demo is not None
    assert demo.base_url == "http://127.0.0.1:3001"
    assert own_links(Settings(home=tmp_path, clock="real")) is None
    told = own_links(Settings(home=tmp_path, clock="real", public_url="https://mail.example.com/w/"))
    assert told is not None
    assert told.base_url == "https://mail.example.com/w"
    with pytest.raises(BadConfig, match="one-click unsubscribing for https alone"):
        own_links(Settings(home=tmp_path, public_url="http://mail.example.com"))
