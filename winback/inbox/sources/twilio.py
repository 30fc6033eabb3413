"""Twilio: status callbacks of messages, and messages that people write back, as signed forms.

Facts: https://www.twilio.com/docs/usage/webhooks/messaging-webhooks and .../security (2026-07). Keywords: Twilio's support for opt-out
keywords, its list for Canada, and the words that carriers of other countries ask for (2026-11).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from winback.inbox.incoming import Batch, Described, Incoming, Malformed, Refused
from winback.inbox.recording import Event, EventType, address_hash, derived_id
from winback.inbox.signatures import twilio_verifies

STATUS, INBOUND = "/twilio/status", "/twilio/inbound"


def _plain(text: str) -> str:
    """Without accents and case."""
    return "".join(letter for letter in unicodedata.normalize("NFKD", text).casefold() if not unicodedata.combining(letter))


STOP_WORDS = frozenset(
    (
        "stop stopall unsubscribe cancel end quit revoke optout remove "  # English
        "arret arrete arreter annuler desabonner desinscrire "  # French
        "stopp stoppen abmelden abbestellen "  # German; Norwegian and Swedish have the first
        "baja alto parar cancelar salir "  # Spanish; Portuguese has parar and cancelar
        "sair descadastrar "  # Portuguese
        "annulla basta disiscrivi "  # Italian
        "afmelden uitschrijven "  # Dutch
        "avsluta avregistrer afmeld lopeta "  # Swedish, Norwegian, Danish, Finnish
        "rezygnuje wypisz odhlasit "  # Polish, Czech
        "berhenti iptal "  # Indonesian and Malay, Turkish
        + _plain("стоп отписаться відписатися στοπ διακοπή إلغاء توقف הסר הפסק ")  # Russian, Ukrainian, Greek, Arabic, Hebrew
        + _plain("退订 退訂 停止 配信停止 取消 수신거부 중지")  # Chinese, Japanese, Korean
    ).split()
)
"""Compared without accents, case and punctuation, with the whole message or what is left of it without politeness."""

START_WORDS = frozenset("start unstop resubscribe anmelden alta reprendre aanmelden".split())
"""Not YES: Twilio takes it for START, but after a question it is an answer. It counts as a reply."""

_POLITE = frozenset(
    "please bitte svp sil vous plait por favor sms text texts texting messages message me all now thanks thank you it".split()
)
_WORD = re.compile(r"\w+")
_SID = re.compile(r"^(SM|MM)[0-9a-fA-F]{32}$")
_OURS = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CODE = re.compile(r"[0-9]{1,6}")
_STATUSES: dict[str, EventType] = {
    "sent": "processed",
    "delivered": "delivered",
    "partially_delivered": "delivered",
    "read": "read",
    "undelivered": "failed",
    "failed": "failed",
    "canceled": "failed",
}
_DEAD = frozenset({"21211", "21214", "21217", "21614", "21635", "30005", "30006"})
"""Error codes that say the number takes no SMS: not valid, not mobile, a landline, an unknown handset."""

_OPTED_OUT = "21610"


@dataclass(frozen=True, slots=True)
class TwilioEvents:
    """`public_url` is where Twilio calls, as it was told: it signs that URL, whatever proxies make of it afterwards."""

    auth_token: str
    public_url: str

    name = "twilio"
    paths: ClassVar[tuple[str, ...]] = (STATUS, INBOUND)
    answer: ClassVar[tuple[str, str]] = ("text/xml", "<?xml version='1.0' encoding='UTF-8'?><Response/>")

    def describe(self, path: str) -> Described:
        names = ("MessageStatus", "To", "ErrorCode") if path == STATUS else ("From", "Body", "OptOutType")
        properties: dict[str, Any] = {name: {"type": "string"} for name in names}
        properties["MessageSid"] = {"type": "string", "pattern": _SID.pattern}
        schema = {"type": "object", "required": ["MessageSid", names[0]], "properties": properties}
        return Described("application/x-www-form-urlencoded", schema, ("X-Twilio-Signature",))

    def verify(self, request: Incoming) -> None:
        signature = request.headers.get("x-twilio-signature", "")
        if not signature:
            raise Refused(401, "not signed")
        try:
            parameters = request.form()
        except Malformed:
            raise Refused(403, "the signature does not fit") from None
        settings = request.headers.get("x-twilio-webhooks-signature-settings", "").upper()
        algorithm = "sha256" if "ALGORITHM=HMAC_SHA256" in settings.replace(" ", "") else "sha1"
        url = self.public_url + request.path + (f"?{request.query}" if request.query else "")
        if not twilio_verifies(self.auth_token, signature, url, parameters, request.body, algorithm):
            raise Refused(403, "the signature does not fit")

    def read(self, request: Incoming) -> Batch:
        form = dict(request.form())
        sid = form.get("MessageSid") or form.get("SmsSid") or ""
        if not _SID.fullmatch(sid):
            raise Malformed("the form has no usable MessageSid")
        event = self._status(form, sid, request) if request.path == STATUS else self._inbound(form, sid, request)
        return Batch([event]) if event else Batch(ignored=1)

    def _status(self, form: dict[str, str], sid: str, request: Incoming) -> Event | None:
        status = (form.get("MessageStatus") or form.get("SmsStatus") or "").lower()
        if not status:
            raise Malformed("the form has no MessageStatus")
        kind = _STATUSES.get(status)
        if kind is None:
            return None
        code = form.get("ErrorCode", "")
        if kind == "failed" and code in _DEAD:
            kind = "bounced"
        elif kind == "failed" and code == _OPTED_OUT:
            kind = "unsubscribed"
        ours = dict(parse_qsl(request.query)).get("message_id", "")
        return Event(
            event_id=derived_id("twilio", sid, status),
            source="twilio",
            event_type=kind,
            # The callback carries no instant in a zone that is written down anywhere.
            occurred_at=request.received_at,
            channel="sms",
            message_id=ours if _OURS.fullmatch(ours) else None,
            provider_id=sid,
            address_hash=address_hash("sms", form.get("To", "")),
            reason=code if _CODE.fullmatch(code) and code != "0" else status if kind == "failed" else None,
        )

    def _inbound(self, form: dict[str, str], sid: str, request: Incoming) -> Event:
        hashed = address_hash("sms", form.get("From", ""))
        if hashed is None:
            raise Malformed("the form has no From")
        kind, reason = wish(form.get("Body", ""), form.get("OptOutType", ""))
        return Event(
            event_id=derived_id("twilio", sid, "inbound"),
            source="twilio",
            event_type=kind,
            occurred_at=request.received_at,
            channel="sms",
            provider_id=sid,
            address_hash=hashed,
            reason=reason,
        )


def wish(text: str, opt_out_type: str = "") -> tuple[EventType, str | None]:
    """What a message from a person asks for, and the keyword. `opt_out_type` is Twilio's own judgement (Advanced Opt-Out), if any."""
    # A long text is a letter, whatever it begins with.
    words = _WORD.findall(_plain(text)[:200])
    joined = "".join(words)
    left = {joined} if joined in STOP_WORDS | START_WORDS else {word for word in words if word not in _POLITE}
    if opt_out_type.upper() == "STOP" or (left and left <= STOP_WORDS):
        return "unsubscribed", "stop"
    if opt_out_type.upper() == "START" or (left and left <= START_WORDS):
        return "resubscribed", "start"
    return "replied", "help" if opt_out_type.upper() == "HELP" else None
