"""What providers demand and their published contracts leave out: conditions between fields, limits, headers, what must never be sent.

Each contract has a function from a request to what is wrong with it. Sources: the providers' own pages, as the modules of
winback/destinations name them.
"""

from __future__ import annotations

import email.parser
import email.policy
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

from tests.destinations.conformance.server import Captured

_HASH = re.compile(r"[0-9a-f]{64}")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_FCM_RESERVED = re.compile(r"from|message_type|(google|gcm)\..*")
_SENDGRID_RESERVED = frozenset(
    "x-sg-id x-sg-eid received dkim-signature content-type content-transfer-encoding to from subject reply-to cc bcc".split()
)

Complaints = Iterator[str]


def complaints(contract: str, captured: Captured) -> list[str]:
    """What is wrong with a request of this contract (`twilio/messages.openapi.json`); empty where nothing is."""
    return list(_DEMANDS[contract](captured))


def _unless(demands: Mapping[str, bool]) -> Complaints:
    yield from (words for words, is_met in demands.items() if not is_met)


def _is(captured: Captured, media_type: str, scheme: str) -> Complaints:
    sent = captured.headers.get("content-type", "").partition(";")[0]
    yield from _unless(
        {
            f"the body is {media_type}": not captured.body or sent == media_type,
            f"credentials are a header: {scheme}": captured.headers.get("authorization", "").startswith(f"{scheme} "),
            "no credential in the address": not {"access_token", "Access-Token", "key"} & {name for name, _ in captured.query},
        }
    )


def _no_empty_text(node: Any, place: str = "body") -> Complaints:
    if node == "":
        yield f"{place} is an empty text"
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from _no_empty_text(value, f"{place}.{key}")


def _keys(node: Any) -> Iterator[str]:
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _keys(value)
    if isinstance(node, dict):
        yield from node


def _twilio(captured: Captured) -> Complaints:
    yield from _is(captured, "application/x-www-form-urlencoded", "Basic")
    yield from _unless({"the account is named by its SID": bool(re.search(r"/Accounts/AC[0-9a-fA-F]{32}/", captured.path))})
    if captured.method != "POST":
        return
    pairs = parse_qsl(captured.body.decode(), keep_blank_values=True)
    form = dict(pairs)
    yield from _no_empty_text(form)
    yield from _unless(
        {
            "every field once": len(form) == len(pairs),
            "To is in E.164 form": bool(_E164.fullmatch(form.get("To", ""))),
            "From or MessagingServiceSid, not both": ("From" in form) != ("MessagingServiceSid" in form),
            "MessagingServiceSid is one": bool(re.fullmatch(r"MG[0-9a-fA-F]{32}", form.get("MessagingServiceSid", "MG" + "0" * 32))),
            "Body has 1 to 1600 characters": 1 <= len(form.get("Body", "")) <= 1600,
            "ValidityPeriod is 1 to 36000 seconds": 1 <= int(form.get("ValidityPeriod", "1")) <= 36_000,
            "StatusCallback is a web address": form.get("StatusCallback", "https://").startswith("https://"),
        }
    )


def _sendgrid(captured: Captured) -> Complaints:
    yield from _is(captured, "application/json", "Bearer")
    body = captured.json()
    people = body.get("personalizations", [])
    settings = body.get("mail_settings", {})
    is_trial = settings.get("sandbox_mode", {}).get("enable") is True
    addresses = [address.get("email", "").lower() for one in people for address in one.get("to", [])]
    headers = {name.lower() for one in (body, *people) for name in one.get("headers", {})}
    kinds = [part.get("type") for part in body.get("content", [])]
    categories = body.get("categories", [])
    yield from _no_empty_text(body)
    yield from _unless(
        {
            "1 to 1,000 personalizations": 1 <= len(people) <= 1_000,
            "one recipient per personalization: people of one see each other": all(len(one.get("to", [])) == 1 for one in people),
            "no copies": not {"cc", "bcc"} & {key for one in people for key in one},
            "no address twice": len(set(addresses)) == len(addresses),
            "custom_args stand in the personalization, where they are an object": "custom_args" not in body,
            "every message brings its id back": is_trial or all(one.get("custom_args") for one in people),
            "custom_args are texts": all(isinstance(value, str) for one in people for value in one.get("custom_args", {}).values()),
            "10,000 bytes of custom_args": all(len(json.dumps(one.get("custom_args", {}))) <= 10_000 for one in people),
            "suppressions are never passed by": not [key for key in settings if key.startswith("bypass_")],
            "an unsubscribe group": isinstance(body.get("asm", {}).get("group_id"), int),
            "a subject for everybody": "subject" in body or all("subject" in one for one in people),
            "text before HTML, each once": kinds in (["text/plain"], ["text/html"], ["text/plain", "text/html"]),
            "no header that SendGrid sets": not headers & _SENDGRID_RESERVED,
            "10 categories of 255 characters": len(categories) <= 10 and all(len(one) <= 255 for one in categories),
            "no category twice": len(set(categories)) == len(categories),
            "30 MB": len(captured.body) <= 30_000_000,
        }
    )


def _klaviyo(captured: Captured) -> Complaints:
    yield from _is(captured, "application/vnd.api+json", "Klaviyo-API-Key")
    yield from _unless(
        {
            "a revision": bool(re.fullmatch(r"\d{4}-\d{2}-\d{2}", captured.headers.get("revision", ""))),
            "JSON:API is accepted": captured.headers.get("accept") == "application/vnd.api+json",
            "consent is not touched": "subscription" not in captured.path and "suppression" not in captured.path,
        }
    )
    if not captured.body:
        return
    body = captured.json()
    data = body["data"]
    yield from _no_empty_text(body)
    yield from _unless({"no consent in a profile": "subscriptions" not in set(_keys(body)), "5 MB": len(captured.body) <= 5_000_000})
    if isinstance(data, list):
        ids = [one.get("id") for one in data]
        yield from _unless({"1 to 1,000 ids": 1 <= len(ids) <= 1_000, "no id twice": len(set(ids)) == len(ids)})
        return
    attributes = data["attributes"]
    profiles = [attributes] if data["type"] == "profile" else [one["attributes"] for one in attributes.get("profiles", {}).get("data", [])]
    known_by = {"email", "phone_number", "external_id", "anonymous_id"}
    yield from _unless({"every profile is known by something": all(known_by & set(one) for one in profiles)})
    if data["type"] == "profile-bulk-import-job":
        yield from _unless({"1 to 10,000 profiles": 1 <= len(profiles) <= 10_000})
    if data["type"] == "event":
        yield from _unless({"an event is counted once": bool(attributes.get("unique_id")), "a time": "T" in attributes.get("time", "")})


def _tiktok(captured: Captured) -> Complaints:
    yield from _unless(
        {
            "Access-Token is a header": bool(captured.headers.get("access-token")),
            "no credential in the address": "Access-Token" not in dict(captured.query),
        }
    )
    media_type = captured.headers.get("content-type", "")
    if media_type.startswith("multipart/form-data"):
        head = f"Content-Type: {media_type}\r\n\r\n".encode()
        parts = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + captured.body).iter_parts()
        payloads = {str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True) for part in parts}
        fields = {name: value for name, value in payloads.items() if isinstance(value, bytes)}
        content = fields.get("file", b"")
        yield from _unless(
            {
                "the signature is the file's": fields.get("file_signature")
                == hashlib.md5(content, usedforsecurity=False).hexdigest().encode(),
                "somebody stands in the file": content.count(b"\n") > 1,
                "50 MB": len(content) <= 50_000_000,
                "hashes only": b"@" not in content,
            }
        )
    elif captured.body:
        body = captured.json()
        yield from _no_empty_text(body)
        yield from _unless(
            {
                "the body is application/json": media_type == "application/json",
                "ids are texts": all(isinstance(body.get(key, ""), str) for key in ("advertiser_id", "custom_audience_id")),
                "a file": bool(body.get("file_paths")),
                "a name of 128 characters": len(body.get("custom_audience_name", "")) <= 128,
            }
        )


def _meta(captured: Captured) -> Complaints:
    yield from _is(captured, "application/json", "Bearer")
    yield from _unless({"who is removed stands in the body of a DELETE": captured.method != "DELETE" or bool(captured.body)})
    if not captured.body:
        return
    body = captured.json()
    session, payload = body.get("session", {}), body["payload"]
    schema, rows = payload["schema"], payload["data"]
    hashed = [value for row in rows for kind, value in zip(schema, row, strict=False) if kind not in ("EXTERN_ID", "MADID")]
    yield from _unless(
        {
            "a session has an id, a place and an end": isinstance(session.get("session_id"), int)
            and 0 < session["session_id"] < 2**63
            and session.get("batch_seq", 0) >= 1
            and session.get("last_batch_flag") in (True, False),
            "a session is at least as large as its batch": session.get("estimated_num_total", 0) >= len(rows),
            "1 to 10,000 people": 1 <= len(rows) <= 10_000,
            "no column twice": len(set(schema)) == len(schema),
            "a value per column": all(len(row) == len(schema) for row in rows),
            "nobody without a value": all(any(row) for row in rows),
            "hashes": all(value == "" or _HASH.fullmatch(value) for value in hashed),
        }
    )


def _data_manager(captured: Captured) -> Complaints:
    yield from _is(captured, "application/json", "Bearer")
    yield from _unless({"no developer token": "developer-token" not in captured.headers})
    if not captured.body:
        return
    body = captured.json()
    members = [one["userData"]["userIdentifiers"] for one in body["audienceMembers"]]
    pairs = [pair for identifiers in members for one in identifiers for pair in one.items()]
    adds = captured.path.endswith(":ingest")
    consent = body.get("consent", {"adUserData": "CONSENT_GRANTED"})
    yield from _no_empty_text(body)
    yield from _unless(
        {
            "1 to 10,000 members": 1 <= len(members) <= 10_000,
            "1 to 10 identifiers a member": all(1 <= len(identifiers) <= 10 for identifiers in members),
            "one of email address, phone number, address each": all(len(one) == 1 for identifiers in members for one in identifiers),
            "hashes": all(_HASH.fullmatch(value) for kind, value in pairs if kind in ("emailAddress", "phoneNumber")),
            "the encoding of the hashes": body.get("encoding") == "HEX",
            "1 to 10 destinations, each an account and a list": 1 <= len(body["destinations"]) <= 10
            and all(one.get("operatingAccount") and one.get("productDestinationId") for one in body["destinations"]),
            "consent that says something": bool(consent) and set(consent.values()) <= {"CONSENT_GRANTED", "CONSENT_DENIED"},
            "the terms are accepted": not adds or body.get("termsOfService") == {"customerMatchTermsOfServiceStatus": "ACCEPTED"},
            "not a trial": "validateOnly" not in body,
        }
    )


def _fcm(captured: Captured) -> Complaints:
    yield from _is(captured, "application/json", "Bearer")
    body = captured.json()
    message = body["message"]
    data, notification = message.get("data", {}), message.get("notification", {})
    payload = [*data.items(), *notification.items()]
    yield from _no_empty_text(body)
    yield from _unless(
        {
            "exactly one target": len({"token", "fid", "topic", "condition"} & set(message)) == 1,
            "something to show": bool(notification),
            "data is texts": all(isinstance(value, str) for value in data.values()),
            "no reserved key": not [key for key in data if _FCM_RESERVED.fullmatch(key)],
            "4,096 bytes": sum(len(key.encode()) + len(str(value).encode()) for key, value in payload) <= 4_096,
            "a duration in seconds": bool(re.fullmatch(r"\d+(\.\d{1,9})?s", message.get("android", {}).get("ttl", "1s"))),
            "a label": bool(re.fullmatch(r"[a-zA-Z0-9\-_.~%]{1,50}", message.get("fcmOptions", {}).get("analyticsLabel", "a"))),
        }
    )


def _onesignal(captured: Captured) -> Complaints:
    yield from _unless({"a key": captured.headers.get("authorization", "").partition(" ")[0] in ("Bearer", "Key", "Basic")})
    if not captured.body:
        return
    yield from _is(captured, "application/json", captured.headers.get("authorization", "").partition(" ")[0])
    body = captured.json()
    yield from _no_empty_text(body)
    targets = {"include_subscription_ids", "include_aliases", "included_segments", "filters"} & set(body)
    yield from _unless(
        {
            "the app is a UUID": _is_uuid(body.get("app_id")),
            "a repetition is known by a UUID": _is_uuid(body.get("idempotency_key")),
            "one way of saying to whom": len(targets) == 1,
            "never to everybody": not targets & {"included_segments", "filters"},
            "a channel beside aliases": ("include_aliases" in body) == ("target_channel" in body),
            "1 to 2,000 subscriptions": 1 <= len(body.get("include_subscription_ids", "1")) <= 2_000,
            "an English text": bool(body.get("contents", {}).get("en")),
            "a title has an English one": "headings" not in body or "en" in body["headings"],
            "28 days": 0 <= body.get("ttl", 0) <= 28 * 86_400,
            "a name of 128 characters": len(body.get("name", "")) <= 128,
        }
    )


def _is_uuid(value: object) -> bool:
    try:
        return str(UUID(str(value))) == value
    except ValueError:
        return False


_DEMANDS: Mapping[str, Callable[[Captured], Complaints]] = {
    "google/datamanager.openapi.json": _data_manager,
    "google/fcm.openapi.json": _fcm,
    "klaviyo/klaviyo.openapi.json": _klaviyo,
    "meta/custom-audiences.openapi.json": _meta,
    "onesignal/onesignal.openapi.json": _onesignal,
    "sendgrid/mail-send.openapi.json": _sendgrid,
    "sendgrid/tsg_suppressions_v3.json": lambda captured: _is(captured, "application/json", "Bearer"),
    "tiktok/dmp-custom-audience.openapi.json": _tiktok,
    "twilio/deactivations.openapi.json": lambda captured: _is(captured, "application/x-www-form-urlencoded", "Basic"),
    "twilio/messages.openapi.json": _twilio,
}
