"""Emails as bytes, read back by the standard library: what goes in comes out, and nothing else gets in."""

from __future__ import annotations

import dataclasses
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.destinations.conformance.suite import NOW, messages
from winback.destinations.base import Channel
from winback.destinations.config import Sender
from winback.destinations.mime import build_mime, envelope_address
from winback.errors import RejectItem

SENDER = Sender("shop@example.com", "The Shop, Inc.", "help@example.com")
ITEM = messages(Channel.EMAIL, ["anna@example.com"])[0]


def parsed(**changes: Any) -> EmailMessage:
    content = build_mime(dataclasses.replace(ITEM, **changes), SENDER, NOW)
    assert content.isascii()
    assert max(map(len, content.split(b"\r\n"))) <= 998
    assert b"\n" not in content.replace(b"\r\n", b"")
    assert b"\r" not in content.replace(b"\r\n", b"")
    result = message_from_bytes(content, policy=policy.default)
    assert isinstance(result, EmailMessage)
    assert not result.defects
    return result


def part(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    assert body is not None
    content: str = body.get_content()
    return content.replace("\r\n", "\n")


def test_headers() -> None:
    message = parsed(to_name='Anna "A" Müller', language="de", headers={"X-Campaign": "long-silent"})
    assert message["From"] == '"The Shop, Inc." <shop@example.com>'
    assert message["To"].addresses[0].display_name == 'Anna "A" Müller'
    assert message["To"].addresses[0].addr_spec == "anna@example.com"
    assert message["Reply-To"] == "help@example.com"
    assert message["Date"] == "Mon, 02 Mar 2026 10:00:00 +0000"
    assert message["Message-ID"] == f"<{ITEM.message_id}@example.com>"
    assert message["Content-Language"] == "de"
    assert message["X-Campaign"] == "long-silent"
    assert message.get_content_type() == "multipart/alternative"
    assert [one.get_content_type() for one in message.iter_parts()] == ["text/plain", "text/html"]


def test_unsubscribe_headers_follow_rfc_8058() -> None:
    message = parsed()
    assert message["List-Unsubscribe"] == "<https://example.com/u/Secretlink1>, <mailto:unsubscribe+Secretlink1@example.com>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert parsed(unsubscribe_url="")["List-Unsubscribe-Post"] is None
    assert parsed(unsubscribe_url="", unsubscribe_mailto="")["List-Unsubscribe"] is None


WORDS = st.text(alphabet=st.one_of(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), st.sampled_from(' "<>,=?_\\')), max_size=200)


@given(WORDS, WORDS)
def test_any_subject_and_name_survive(subject: str, name: str) -> None:
    message = parsed(subject=subject, to_name=name)
    assert message["Subject"] == " ".join(subject.split()) or message["Subject"].split() == subject.split()
    assert message["To"].addresses[0].addr_spec == "anna@example.com"
    assert len(message["To"].addresses) == 1


@given(st.text(alphabet=st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("\n\r. =-ж")), min_size=1, max_size=2000))
def test_any_text_survives(text: str) -> None:
    expected = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        with pytest.raises(RejectItem):
            parsed(text=text, html="")
        return
    message = parsed(text=text, html=f"<p>{text}</p>")
    assert part(message, "plain") == expected
    assert part(message, "html") == f"<p>{expected}</p>"


@pytest.mark.parametrize(
    "text", ["a" * 5_000, "ä" * 5_000, "Привет" * 1_000, "tab\t \nspaces   \n.\n..\n", "--=_" + ITEM.message_id + "\n--"]
)
def test_odd_texts_survive(text: str) -> None:
    assert part(parsed(text=text), "plain") == text


def test_line_breaks_cannot_add_headers() -> None:
    injected = "Hello\r\nBcc: eve@example.com\r\n\r\nbody"
    message = parsed(subject=injected, to_name=injected, headers={"X-Campaign": injected})
    assert message["Bcc"] is None
    assert message["Subject"] == "Hello Bcc: eve@example.com body"
    assert len(message["To"].addresses) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"to": "anna"}, {"to": "anna@"}, {"to": "@example.com"}, {"to": "anna@example"}, {"to": "anna bert@example.com"},
        {"to": "anna@example.com,bert@example.com"}, {"to": "anna@example.com\r\nBcc: x@example.com"}, {"to": "änne@example.com"},
        {"to": "a" * 65 + "@example.com"}, {"to": "<anna@example.com>"}, {"to": "anna@exa mple.com"}, {"to": "anna@-example.com"},
        {"unsubscribe_url": "https://example.com/u/1>,<https://evil.example"}, {"unsubscribe_url": "javascript:alert(1)"},
        {"unsubscribe_url": "https://example.com/\r\nX: 1"}, {"unsubscribe_url": "https://example.com/" + "u" * 1_000},
        {"headers": {"Bcc": "eve@example.com"}}, {"headers": {"X-A\r\nBcc": "eve@example.com"}}, {"headers": {"DKIM-Signature": "v=1"}},
        {"text": "", "html": " "}, {"message_id": "a b"},
    ],
)  # fmt: skip
def test_what_cannot_be_written_safely_is_rejected_without_being_quoted(changes: dict[str, Any]) -> None:
    with pytest.raises(RejectItem) as problem:
        parsed(**changes)
    assert "example" not in problem.value.reason
    assert "anna" not in problem.value.reason


def test_domains_are_written_as_dns_has_them() -> None:
    assert envelope_address("anna@bücher.example") == "anna@xn--bcher-kva.example"
    assert envelope_address(" anna+tag@mail.example.com ") == "anna+tag@mail.example.com"


def test_the_same_message_is_the_same_bytes() -> None:
    assert build_mime(ITEM, SENDER, NOW) == build_mime(ITEM, SENDER, NOW)
