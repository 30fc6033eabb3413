"""Each demand that a published contract leaves out is told by its name when it is not met."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.destinations.conformance.server import Captured
from tests.destinations.conformance.unwritten import complaints

SERVICE = "MG" + "1" * 32
HASH = "ab" * 32
FILE = b"Email_SHA256\n" + HASH.encode() + b"\n"
UUID = "b3a0c8bd-3a4c-4b22-9a73-3f1a8c2d1b88"


def request(path: str, body: bytes, media_type: str = "application/json", scheme: str = "Bearer", **headers: str) -> Captured:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Captured("POST", path, {"content-type": media_type, "authorization": f"{scheme} key", **named}, body)


def form(**fields: str) -> Captured:
    sent = {"To": "+15550100001", "Body": "Hello", "MessagingServiceSid": SERVICE, **fields}
    body = urlencode({name: value for name, value in sent.items() if value != "none"}).encode()
    return request(f"/2010-04-01/Accounts/AC{'0' * 32}/Messages.json", body, "application/x-www-form-urlencoded", "Basic")


def mail(change: Callable[[Any], Any] = lambda _: None) -> Captured:
    one = {"to": [{"email": "ann@example.com"}], "subject": "Hello", "custom_args": {"id": "1"}}
    body: dict[str, Any] = {
        "personalizations": [one, {**one, "to": [{"email": "bob@example.com"}]}],
        "from": {"email": "shop@example.com"},
        "content": [{"type": "text/plain", "value": "Hello"}],
        "asm": {"group_id": 1},
        "categories": ["winback"],
    }
    change(body)
    return request("/v3/mail/send", json.dumps(body).encode())


def klaviyo(path: str, data: Any, **headers: str) -> Captured:
    sent = {"revision": "2026-07-15", "accept": "application/vnd.api+json", **headers}
    return request(path, json.dumps({"data": data}).encode(), "application/vnd.api+json", "Klaviyo-API-Key", **sent)


def job(*profiles: dict[str, Any]) -> dict[str, Any]:
    data = [{"type": "profile", "attributes": one} for one in profiles]
    return {"type": "profile-bulk-import-job", "attributes": {"profiles": {"data": data}}}


def ids(*found: str) -> list[dict[str, str]]:
    return [{"type": "profile", "id": one} for one in found]


ANN = {"email": "ann@example.com"}


def upload(signature: str = hashlib.md5(FILE, usedforsecurity=False).hexdigest(), content: bytes = FILE) -> Captured:
    head = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\n'
    body = head.format("file_signature").encode() + signature.encode() + b"\r\n" + head.format("file").encode() + content + b"\r\n--b--\r\n"
    return request("/dmp/custom_audience/file/upload/", body, "multipart/form-data; boundary=b", access_token="key")


def tiktok(**fields: Any) -> Captured:
    body = {"advertiser_id": "1", "custom_audience_id": "2", "file_paths": ["a"], "action": "APPEND", **fields}
    return request("/dmp/custom_audience/update/", json.dumps(body).encode(), access_token="key")


def meta(rows: list[list[str]] | None = None, schema: list[str] | None = None, **session: Any) -> Captured:
    one = {"session_id": 1, "batch_seq": 1, "last_batch_flag": True, "estimated_num_total": 1, **session}
    body = {"payload": {"schema": schema or ["EMAIL"], "data": rows or [[HASH]]}, "session": one}
    return request("/1/users", json.dumps(body).encode())


def google(change: Callable[[Any], Any] = lambda _: None, **headers: str) -> Captured:
    body: dict[str, Any] = {
        "destinations": [{"operatingAccount": {"accountId": "1"}, "productDestinationId": "2"}],
        "audienceMembers": [{"userData": {"userIdentifiers": [{"emailAddress": HASH}]}}],
        "encoding": "HEX",
        "consent": {"adUserData": "CONSENT_GRANTED"},
        "termsOfService": {"customerMatchTermsOfServiceStatus": "ACCEPTED"},
    }
    change(body)
    return request("/v1/audienceMembers:ingest", json.dumps(body).encode(), **headers)


def fcm(**fields: Any) -> Captured:
    body = {"message": {"token": "t", "notification": {"title": "Hello"}, **fields}}
    return request("/v1/projects/p/messages:send", json.dumps(body).encode())


def onesignal(**fields: Any) -> Captured:
    sent = {"app_id": UUID, "idempotency_key": UUID, "contents": {"en": "Hello"}, "include_subscription_ids": ["s"], **fields}
    return request("/notifications", json.dumps({key: value for key, value in sent.items() if value is not None}).encode())


def without(captured: Captured, header: str) -> Captured:
    return dataclasses.replace(captured, headers={name: value for name, value in captured.headers.items() if name != header})


def people(body: Any) -> list[Any]:
    found: list[Any] = body["personalizations"]
    return found


def identifiers(body: Any) -> list[Any]:
    found: list[Any] = body["audienceMembers"][0]["userData"]["userIdentifiers"]
    return found


GOOD = {
    "google/datamanager": [google()],
    "google/fcm": [fcm(), fcm(data={"url": "https://example.com"}, android={"ttl": "60s"})],
    "klaviyo/klaviyo": [
        klaviyo("/api/profile-bulk-import-jobs", job(ANN)),
        klaviyo("/api/lists/A/relationships/profiles", ids("1", "2")),
        klaviyo("/api/events", {"type": "event", "attributes": {"unique_id": "1", "time": "2026-03-02T10:00:00Z"}}),
    ],
    "meta/custom-audiences": [meta()],
    "onesignal/onesignal": [onesignal()],
    "sendgrid/mail-send": [mail()],
    "tiktok/dmp-custom-audience": [upload(), tiktok()],
    "twilio/messages": [form(), form(MessagingServiceSid="none", From="+15550100099")],
}
REFUSED: list[tuple[str, Captured, str]] = [
    ("twilio/messages", form(From="+15550100099"), "not both"),
    ("twilio/messages", form(MessagingServiceSid="none"), "From or MessagingServiceSid"),
    ("twilio/messages", form(MessagingServiceSid="SM" + "1" * 32), "MessagingServiceSid is one"),
    ("twilio/messages", form(Body="x" * 1_601), "1600"),
    ("twilio/messages", form(Body=""), "1600"),
    ("twilio/messages", form(To="15550100001"), "E.164"),
    ("twilio/messages", form(ValidityPeriod="36001"), "36000"),
    ("twilio/messages", form(StatusCallback="/status"), "web address"),
    ("twilio/messages", dataclasses.replace(form(), body=form().body + b"&Body=more"), "every field once"),
    ("twilio/messages", without(form(), "authorization"), "Basic"),
    ("sendgrid/mail-send", mail(lambda body: body.update(personalizations=[])), "1 to 1,000"),
    ("sendgrid/mail-send", mail(lambda body: body.update(personalizations=people(body)[:1] * 1_001)), "1 to 1,000"),
    ("sendgrid/mail-send", mail(lambda body: people(body)[0]["to"].append({"email": "cleo@example.com"})), "one recipient"),
    ("sendgrid/mail-send", mail(lambda body: people(body)[0].update(bcc=[{"email": "cleo@example.com"}])), "no copies"),
    ("sendgrid/mail-send", mail(lambda body: people(body)[1].update(to=people(body)[0]["to"])), "no address twice"),
    ("sendgrid/mail-send", mail(lambda body: body.update(custom_args={"id": "1"})), "custom_args stand"),
    ("sendgrid/mail-send", mail(lambda body: people(body)[0].pop("custom_args")), "brings its id back"),
    ("sendgrid/mail-send", mail(lambda body: people(body)[0].update(custom_args={"id": 1})), "are texts"),
    ("sendgrid/mail-send", mail(lambda body: body.update(mail_settings={"bypass_list_management": {"enable": True}})), "passed by"),
    ("sendgrid/mail-send", mail(lambda body: body.pop("asm")), "unsubscribe group"),
    ("sendgrid/mail-send", mail(lambda body: people(body)[0].pop("subject")), "subject"),
    ("sendgrid/mail-send", mail(lambda body: body["content"].insert(0, {"type": "text/html", "value": "x"})), "text before HTML"),
    ("sendgrid/mail-send", mail(lambda body: people(body)[0].update(headers={"Reply-To": "x"})), "SendGrid sets"),
    ("sendgrid/mail-send", mail(lambda body: body.update(categories=list("abcdefghijk"))), "10 categories"),
    ("klaviyo/klaviyo", klaviyo("/api/events", ids("1"), revision=""), "a revision"),
    ("klaviyo/klaviyo", klaviyo("/api/events", ids("1"), accept="*/*"), "accepted"),
    ("klaviyo/klaviyo", klaviyo("/api/profile-subscription-bulk-create-jobs", job(ANN)), "consent is not touched"),
    ("klaviyo/klaviyo", klaviyo("/api/profile-import", job({**ANN, "subscriptions": {}})), "no consent in a profile"),
    ("klaviyo/klaviyo", klaviyo("/api/profile-import", job({"first_name": "Ann"})), "known by something"),
    ("klaviyo/klaviyo", klaviyo("/api/profile-import", job({**ANN, "first_name": ""})), "empty text"),
    ("klaviyo/klaviyo", klaviyo("/api/profile-import", job(*[ANN] * 10_001)), "10,000 profiles"),
    ("klaviyo/klaviyo", klaviyo("/api/lists/A/relationships/profiles", ids(*map(str, range(1_001)))), "1,000 ids"),
    ("klaviyo/klaviyo", klaviyo("/api/events", {"type": "event", "attributes": {"time": "2026-03-02T10:00:00Z"}}), "counted once"),
    ("klaviyo/klaviyo", dataclasses.replace(klaviyo("/api/events", ids("1")), headers={"content-type": "application/json"}), "vnd.api"),
    ("tiktok/dmp-custom-audience", without(tiktok(), "access-token"), "Access-Token is a header"),
    ("tiktok/dmp-custom-audience", dataclasses.replace(tiktok(), target="/dmp/?Access-Token=key"), "in the address"),
    ("tiktok/dmp-custom-audience", tiktok(advertiser_id=1), "ids are texts"),
    ("tiktok/dmp-custom-audience", tiktok(file_paths=[]), "a file"),
    ("tiktok/dmp-custom-audience", upload(signature="0" * 32), "signature"),
    ("tiktok/dmp-custom-audience", upload(content=b"Email_SHA256\n"), "somebody"),
    ("tiktok/dmp-custom-audience", upload(content=b"Email_SHA256\nann@example.com\n"), "hashes only"),
    ("meta/custom-audiences", meta(session_id="1"), "a session has"),
    ("meta/custom-audiences", meta(batch_seq=0), "a session has"),
    ("meta/custom-audiences", meta(last_batch_flag=None), "a session has"),
    ("meta/custom-audiences", meta(estimated_num_total=0), "as large as its batch"),
    ("meta/custom-audiences", meta([[HASH]] * 10_001, estimated_num_total=10_001), "10,000 people"),
    ("meta/custom-audiences", meta([[HASH, ""], [HASH]], ["EMAIL", "PHONE"], estimated_num_total=2), "a value per column"),
    ("meta/custom-audiences", meta([["", ""]], ["EMAIL", "PHONE"]), "nobody without"),
    ("meta/custom-audiences", meta([["ann@example.com"]]), "hashes"),
    ("meta/custom-audiences", dataclasses.replace(meta(), method="DELETE", body=b""), "body of a DELETE"),
    ("meta/custom-audiences", dataclasses.replace(meta(), target="/1/users?access_token=key"), "in the address"),
    ("google/datamanager", google(lambda body: body.update(audienceMembers=body["audienceMembers"] * 10_001)), "10,000 members"),
    ("google/datamanager", google(lambda body: identifiers(body).extend(identifiers(body) * 10)), "10 identifiers"),
    ("google/datamanager", google(lambda body: identifiers(body)[0].update(phoneNumber=HASH)), "one of email"),
    ("google/datamanager", google(lambda body: identifiers(body)[0].update(emailAddress="ann@example.com")), "hashes"),
    ("google/datamanager", google(lambda body: body.pop("encoding")), "encoding"),
    ("google/datamanager", google(lambda body: body.update(destinations=[])), "destinations"),
    ("google/datamanager", google(lambda body: body.update(consent={})), "consent"),
    ("google/datamanager", google(lambda body: body.pop("termsOfService")), "terms"),
    ("google/datamanager", google(lambda body: body.update(validateOnly=False)), "trial"),
    ("google/datamanager", google(developer_token="key"), "developer token"),
    ("google/fcm", fcm(fid="f"), "one target"),
    ("google/fcm", dataclasses.replace(fcm(), body=fcm().body.replace(b'"token"', b'"name"')), "one target"),
    ("google/fcm", fcm(data={"url": ""}), "empty text"),
    ("google/fcm", fcm(data={"count": 1}), "texts"),
    ("google/fcm", fcm(data={"google.x": "1"}), "reserved"),
    ("google/fcm", fcm(data={"x": "1" * 4_096}), "4,096"),
    ("google/fcm", fcm(android={"ttl": "1m"}), "duration"),
    ("google/fcm", fcm(fcmOptions={"analyticsLabel": "a b"}), "label"),
    ("google/fcm", fcm(notification={}), "something to show"),
    ("onesignal/onesignal", onesignal(idempotency_key="1"), "known by a UUID"),
    ("onesignal/onesignal", onesignal(idempotency_key=None), "known by a UUID"),
    ("onesignal/onesignal", onesignal(app_id="app"), "app is a UUID"),
    ("onesignal/onesignal", onesignal(include_aliases={"external_id": ["1"]}, target_channel="push"), "one way"),
    ("onesignal/onesignal", onesignal(include_subscription_ids=None, included_segments=["All"]), "everybody"),
    ("onesignal/onesignal", onesignal(target_channel="push"), "beside aliases"),
    ("onesignal/onesignal", onesignal(include_subscription_ids=["s"] * 2_001), "2,000"),
    ("onesignal/onesignal", onesignal(contents={"de": "Hallo"}), "English"),
    ("onesignal/onesignal", onesignal(headings={"de": "Hallo"}), "title"),
    ("onesignal/onesignal", onesignal(ttl=2_419_201), "28 days"),
]


@pytest.mark.parametrize("contract", GOOD)
def test_what_meets_every_demand_passes(contract: str) -> None:
    assert [complaints(f"{contract}.openapi.json", one) for one in GOOD[contract]] == [[]] * len(GOOD[contract])


@pytest.mark.parametrize(("contract", "captured", "demand"), REFUSED, ids=[f"{contract}: {demand}" for contract, _, demand in REFUSED])
def test_a_demand_that_is_not_met_is_named(contract: str, captured: Captured, demand: str) -> None:
    assert demand in "\n".join(complaints(f"{contract}.openapi.json", captured))
