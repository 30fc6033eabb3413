"""A program as the ledger keeps it: its rules and the words of its messages, with a hash over both.

`status` and `description` are no part of it: pausing a program makes no new version. brand.yml is no part either: a new logo or postal
address holds for every message from now on.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import Any

from winback.programs.schema import Program, Sending
from winback.programs.variables import IssuedOffer

_OFFER = re.compile(r"(\{\{|\{%)[^}]*\boffer\b")
_NOT_VERSIONED = {"status", "description"}


def _canonical(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _hash(value: object) -> str:
    return hashlib.sha256(_canonical(value).encode()).hexdigest()


@dataclass(frozen=True)
class Definition:
    """One version of a program: what a customer who entered it goes through, whatever the files say later."""

    program: Program
    templates: Mapping[str, str]
    content_hash: str

    @staticmethod
    def of(program: Program, templates: Mapping[str, str]) -> Definition:
        # The hash leaves out what has its default: a field that a later Winback adds makes no new version of every program.
        rules = program.model_dump(mode="json", by_alias=True, exclude=_NOT_VERSIONED, exclude_defaults=True)
        return Definition(program, dict(templates), _hash({"program": rules, "templates": templates}))

    @staticmethod
    def from_json(text: str, content_hash: str) -> Definition:
        """Read what `as_json` wrote, now or long ago: fields that are no longer known are left out."""
        stored = json.loads(text)
        known = {field.alias or name for name, field in Program.model_fields.items()}
        rules = {key: value for key, value in stored["program"].items() if key in known}
        return Definition(Program.model_validate(rules), stored["templates"], content_hash)

    @cached_property
    def as_json(self) -> str:
        """Canonical JSON with every default written out, so that a default that changes later does not change this version."""
        rules = self.program.model_dump(mode="json", by_alias=True, exclude=_NOT_VERSIONED)
        return _canonical({"program": rules, "templates": self.templates})

    def names_offer(self, content: str) -> bool:
        """Whether a message of this version says anything of the voucher."""
        return content in self._naming_offer

    @cached_property
    def _naming_offer(self) -> frozenset[str]:
        return frozenset(name.partition("/")[0] for name, text in self.templates.items() if _OFFER.search(text))

    @cached_property
    def offer_from_day(self) -> int:
        """Day of the first step whose message names the voucher (0 where none does): from then on the code's days count."""
        return next((step.day for step in self.program.steps if step.send and self.names_offer(step.send)), 0)

    def issue_offer(self, code: str, enrolled_on: date) -> IssuedOffer | None:
        """The voucher of someone who entered on `enrolled_on`; None where the program has none."""
        offer = self.program.offer
        if offer is None:
            return None
        days = offer.expires_after_days
        expires_on = enrolled_on + timedelta(days=self.offer_from_day + days) if days is not None else None
        return IssuedOffer(code, offer.percent, days, expires_on)


def policy_json(sending: Sending) -> tuple[str, str]:
    """(canonical JSON, hash) of the sending policy."""
    values: dict[str, Any] = sending.model_dump(mode="json", by_alias=True)
    return _canonical(values), _hash(values)
