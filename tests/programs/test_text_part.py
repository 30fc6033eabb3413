from __future__ import annotations

import pytest

from winback.programs.sms import sms_segments
from winback.programs.text_part import html_to_text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<h1>Hello</h1>\n<p>One\n  two</p>", "Hello\n\nOne two"),
        ("<p>a<br>b</p>", "a\nb"),
        ("<ul>\n<li>a</li>\n<li>b</li>\n</ul>", "- a\n- b"),
        ('<p><a href="https://x.example.com">Shop</a> now</p>', "Shop: https://x.example.com now"),
        ('<a href="https://x.example.com">https://x.example.com</a>', "https://x.example.com"),
        ('<a href="https://x.example.com"><img src="a.png" alt=""></a>', "https://x.example.com"),
        ("<p>Ben &amp; Jo&nbsp;&lt;3</p>", "Ben & Jo <3"),
        ("<style>p { color: red; }</style><p>x</p>", "x"),
        ('{{ customer.first_name | default: "<b>" }}', '{{ customer.first_name | default: "<b>" }}'),
        (
            "{% if offer %}<p>{{ offer.code }}</p>{% else %}<p>none</p>{% endif %}",
            "{% if offer %}\n\n{{ offer.code }}\n\n{% else %}\n\nnone\n\n{% endif %}",
        ),
        ("<a href='{{ links.shop | append: \"?a=b\" }}'>Go</a>", 'Go: {{ links.shop | append: "?a=b" }}'),
    ],
)
def test_html_to_text(html: str, text: str) -> None:
    assert html_to_text(html) == text


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("a" * 160, (1, "")),
        ("a" * 161, (2, "")),
        ("a" * 306, (2, "")),
        ("a" * 307, (3, "")),
        ("€" * 80, (1, "")),
        ("€" * 81, (2, "")),
        ("é" * 160, (1, "")),
        ("ê" * 70, (1, "ê")),
        ("ê" * 71, (2, "ê")),
        ("😀" * 35, (1, "😀")),
        ("😀" * 36, (2, "😀")),
    ],
)
def test_sms_segments(text: str, segments: tuple[int, str]) -> None:
    assert sms_segments(text) == segments
