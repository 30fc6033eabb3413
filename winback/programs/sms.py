"""How many SMS a text becomes (GSM 03.38: 160 characters, or 153 in each of several; others: 70 and 67)."""

from __future__ import annotations

_GSM = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_DOUBLE = set("^{}\\[~]|€\f")


def sms_segments(text: str) -> tuple[int, str]:
    """(number of SMS, first character that forces the short kind or an empty string)."""
    foreign = next((character for character in text if character not in _GSM and character not in _GSM_DOUBLE), "")
    if foreign:
        length = len(text.encode("utf-16-le")) // 2
        return (1 if length <= 70 else -(-length // 67)), foreign
    length = sum(2 if character in _GSM_DOUBLE else 1 for character in text)
    return (1 if length <= 160 else -(-length // 153)), ""
