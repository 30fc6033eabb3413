"""The audit trail: every human and automatic act, each row carrying the hash of the one before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

FIRST = "0" * 64
"""What the first row names as its predecessor."""


def entry_hash(previous_hash: str, act: str, actor: str, subject: str, details: str, recorded_at: datetime) -> str:
    """SHA-256 (hex) over the row's content and its predecessor's hash."""
    content = [previous_hash, act, actor, subject, details, recorded_at.isoformat(" ", "microseconds")]
    return hashlib.sha256(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def entry(previous_hash: str, act: str, actor: str, subject: str, details: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The next row of the trail."""
    text = json.dumps(details, ensure_ascii=False, sort_keys=True, default=str)
    return {
        "act": act,
        "actor": actor,
        "subject": subject,
        "details": text,
        "previous_hash": previous_hash,
        "hash": entry_hash(previous_hash, act, actor, subject, text, now),
        "recorded_at": now,
    }


def broken_links(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is wrong with a trail read in order of `seq`: a line for each row whose content or predecessor was changed."""
    problems = []
    previous = FIRST
    for row in rows:
        if row["previous_hash"] != previous:
            problems.append(f"audit_trail row {row['seq']}: a row before it is missing or was inserted ({row['act']} {row['subject']})")
        expected = entry_hash(row["previous_hash"], row["act"], row["actor"], row["subject"], row["details"], row["recorded_at"])
        if row["hash"] != expected:
            problems.append(f"audit_trail row {row['seq']}: its content was changed ({row['act']} {row['subject']})")
        previous = row["hash"]
    return problems
