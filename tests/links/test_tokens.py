from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winback.errors import BadConfig
from winback.links.keys import Key, KeyRing, link_keys, read_keys
from winback.links.tokens import message_of, sign
from winback.settings import Settings

OLD = Key("2026a", bytes(range(32)))
NEW = Key("2026b", bytes(range(32, 64)))
RING = KeyRing((NEW, OLD))
MESSAGE = "0123456789abcdef0123456789abcdef"


def test_a_token_names_its_message_and_nothing_else() -> None:
    token = sign(NEW, "unsubscribe", MESSAGE)
    assert message_of(RING, "unsubscribe", token) == MESSAGE
    assert len(token) == len("2026b.") + 43
    assert token.replace(".", "").replace("-", "").replace("_", "").isalnum()


def test_tokens_do_not_change_between_versions() -> None:
    # Links of years ago must work: this value was made by the first version.
    assert sign(OLD, "unsubscribe", MESSAGE) == "2026a.ASNFZ4mrze8BI0VniavN7y3l5neKMZPHZXfQ9NLaX1g"


def test_an_old_key_still_verifies_and_a_removed_one_does_not() -> None:
    token = sign(OLD, "unsubscribe", MESSAGE)
    assert message_of(RING, "unsubscribe", token) == MESSAGE
    assert message_of(KeyRing((NEW,)), "unsubscribe", token) is None
    # Another key under the old one's name signs nothing that the old one signed.
    assert message_of(KeyRing((Key("2026a", NEW.secret),)), "unsubscribe", token) is None


def test_a_token_holds_for_its_purpose_and_for_what_it_vouches_for() -> None:
    token = sign(NEW, "click", MESSAGE, "1 https://shop.example.com/")
    assert message_of(RING, "click", token, "1 https://shop.example.com/") == MESSAGE
    assert message_of(RING, "click", token, "2 https://shop.example.com/") is None
    assert message_of(RING, "click", token, "1 https://evil.example.com/") is None
    assert message_of(RING, "preferences", token, "1 https://shop.example.com/") is None
    assert message_of(RING, "preferences", sign(NEW, "unsubscribe", MESSAGE)) is None


@given(position=st.integers(0, 48), character=st.characters(codec="ascii", exclude_characters="\0"))
def test_no_changed_token_passes(position: int, character: str) -> None:
    token = sign(NEW, "unsubscribe", MESSAGE)
    changed = token[:position] + character + token[position + 1 :]
    assert (message_of(RING, "unsubscribe", changed) is None) == (changed != token)


@given(st.text(max_size=80))
def test_any_text_is_refused_without_an_error(text: str) -> None:
    assert message_of(RING, "unsubscribe", text) is None
    assert message_of(RING, "unsubscribe", f"2026b.{text}") is None


def test_cut_and_doubled_tokens_are_refused() -> None:
    token = sign(NEW, "unsubscribe", MESSAGE)
    for wrong in (token[:-1], token + "A", token + "=", token.lower(), token.replace(".", ""), ""):
        assert message_of(RING, "unsubscribe", wrong) is None


def test_only_ids_of_messages_are_signed() -> None:
    for wrong in ("0123", "no hex at all, and yet thirty-two"):
        with pytest.raises(ValueError, match=r"."):
            sign(NEW, "unsubscribe", wrong)


def _entry(name: str, length: int = 32) -> str:
    return f"{name}:{base64.b64encode(bytes(length)).decode()}"


def test_keys_come_from_the_environment_newest_first(tmp_path: Path) -> None:
    ring = link_keys(Settings(home=tmp_path), {"WINBACK_LINK_KEYS": f"{_entry('b')}, {_entry('a', 64)}"})
    assert [key.name for key in ring.keys] == ["b", "a"]
    assert ring.newest.name == "b"
    assert not (tmp_path / "link_keys").exists()
    assert "AAAA" not in repr(ring)


def test_without_them_a_home_makes_its_own_once_and_for_its_owner_only(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "new")
    ring = link_keys(settings, {})
    assert link_keys(settings, {}) == ring
    assert len(ring.newest.secret) == 32
    file = tmp_path / "new" / "link_keys"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]
    # A new first line takes over; the old one still verifies.
    token = sign(ring.newest, "open", MESSAGE)
    file.write_text(f"# newer\n{_entry('next')}\n{file.read_text()}")
    rotated = link_keys(settings, {})
    assert rotated.newest.name == "next"
    assert message_of(rotated, "open", token) == MESSAGE


def test_machines_that_share_a_ledger_are_told_to_share_the_keys(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="WINBACK_LINK_KEYS is not set, and this ledger can be used from several machines"):
        link_keys(Settings(home=tmp_path, ledger_url="postgresql://db.example.com/ledger"), {})
    assert link_keys(Settings(home=tmp_path, ledger_url="postgresql://db.example.com/ledger"), {"WINBACK_LINK_KEYS": _entry("a")})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nocolon", "entry 1 has no name"),
        (f"{_entry('a')},b!:xx", "entry 2 has no name"),
        ("a:not base64 ###", "entry 1 (a) holds no base64"),
        (_entry("a", 16), "entry 1 (a) holds 16 bytes"),
        (f"{_entry('a')},{_entry('a', 40)}", "entry 2 has the name a again"),
        ("# only a comment", "holds no key"),
    ],
)
def test_wrong_keys_are_named_and_not_shown(text: str, expected: str) -> None:
    with pytest.raises(BadConfig) as problem:
        read_keys(text, "WINBACK_LINK_KEYS")
    assert expected in str(problem.value)
    assert "###" not in str(problem.value)
    assert "AAAA" not in str(problem.value)
