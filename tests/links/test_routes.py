from __future__ import annotations

import re
import socket
import sqlite3
from base64 import b64encode
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import duckdb
import pytest
import requests

from tests.delivery.conftest import AS_OF, NOON, Shop, identity
from tests.links.conftest import PERSON, Site, hidden_fields, open_site
from winback.errors import BadConfig
from winback.inbox.recording import Event, EventType, address_hash, derived_id, record_events
from winback.links import routes as links_routes
from winback.links.keys import Key
from winback.links.routes import routes
from winback.links.times import clock_of
from winback.links.tokens import sign
from winback.settings import Settings

ONE_CLICK = {"List-Unsubscribe": "One-Click"}
FORGED = "2026b.ASNFZ4mrze8BI0VniavN7y3l5neKMZPHZXfQ9NLaX1g"


@pytest.fixture
def message(site: Site) -> str:
    """An email to Ann, who was also sent an SMS."""
    site.shop.message("ann", "sms", step_no=2)
    return site.shop.message("ann", "email")


@pytest.mark.parametrize("encoding", ["urlencoded", "multipart"])
def test_one_post_unsubscribes_from_the_channel_of_the_message(site: Site, message: str, encoding: str) -> None:
    url = site.links.unsubscribe(message)
    if encoding == "urlencoded":
        answer = site.ask("POST", url, ONE_CLICK)
        assert answer.request.body == "List-Unsubscribe=One-Click"
    else:
        answer = requests.post(url, files={"List-Unsubscribe": (None, "One-Click")}, allow_redirects=False, timeout=20)
        assert "multipart/form-data" in answer.request.headers["Content-Type"]
    assert (answer.status_code, answer.is_redirect, answer.cookies.get_dict()) == (200, False, {})
    assert site.suppressed() == {"email"}
    assert site.events() == [("unsubscribed", "email", None)]
    (event,) = site.ledger.rows("delivery_events")
    assert (event["message_id"], event["source"], event["is_machine"]) == (message, "links", 0)


def test_doing_it_again_changes_nothing(site: Site, message: str) -> None:
    url = site.links.unsubscribe(message)
    assert [site.ask("POST", url, ONE_CLICK).status_code for _ in range(3)] == [200] * 3
    assert len(site.ledger.rows("delivery_events")) == len(site.ledger.rows("suppressions")) == 1


def test_looking_changes_nothing(site: Site, message: str) -> None:
    for url in (site.links.unsubscribe(message), site.links.preferences(message)):
        for method in ("GET", "HEAD", "GET"):
            answer = site.ask(method, url)
            assert answer.status_code == 200
        assert site.ask("PUT", url).status_code == 405
    page = site.ask("GET", site.links.unsubscribe(message)).text
    assert page.count("<button") == 1
    assert 'name="act" value="leave"' in page
    assert site.events() == []
    assert site.ledger.rows("suppressions") == []


def test_a_post_without_the_word_shows_the_page_and_does_nothing(site: Site, message: str) -> None:
    for data in (None, {"List-Unsubscribe": "one-click"}, {"act": "other"}, b"\xff\xfe"):
        for url in (site.links.unsubscribe(message), site.links.preferences(message)):
            assert site.ask("POST", url, data).status_code == 400
    assert site.events() == []


def test_the_button_acts_and_can_be_taken_back(site: Site, message: str) -> None:
    url = site.links.unsubscribe(message)
    left = site.ask("POST", url, {"act": "leave"}).text
    assert "You are unsubscribed" in left
    assert 'value="come_back"' in left
    assert "You are unsubscribed" in site.ask("GET", url).text
    assert "Welcome back" in site.ask("POST", url, {"act": "come_back"}).text
    assert site.suppressed() == set()
    assert site.events() == [("unsubscribed", "email", None), ("resubscribed", "email", None)]
    # Having come back, one can leave again.
    site.ask("POST", url, ONE_CLICK)
    assert site.suppressed() == {"email"}


def test_nobody_comes_back_who_has_not_left(site: Site, message: str) -> None:
    site.ask("POST", site.links.unsubscribe(message), {"act": "come_back"})
    assert site.events() == []


def test_other_people_are_not_touched(site: Site, message: str) -> None:
    site.shop.customer("bob")
    site.shop.message("bob", "email")
    site.ask("POST", site.links.unsubscribe(message), ONE_CLICK)
    assert site.suppressed("bob") == set()


@pytest.mark.parametrize("token", [FORGED, "x", "2026b.", "%00", "a" * 500, "..%2f..%2fetc", "ä"])
@pytest.mark.parametrize("place", ["u", "p"])
def test_a_link_that_nobody_signed_is_answered_with_help(site: Site, message: str, token: str, place: str) -> None:
    for method, data in (("GET", None), ("POST", ONE_CLICK), ("POST", {"act": "go"})):
        answer = site.ask(method, f"{site.links.base_url}/{place}/{token}", data)
        assert answer.status_code == 404
        assert "This link does not work" in answer.text
        assert "mailto:unsubscribe@example.com" in answer.text
    assert site.events() == []


def test_an_unknown_message_looks_like_a_forged_link(site: Site, message: str) -> None:
    unknown = site.links.unsubscribe("f" * 32)
    forged = f"{site.links.base_url}/u/{FORGED}"
    for method, data in (("GET", None), ("POST", ONE_CLICK)):
        one, other = site.ask(method, unknown, data), site.ask(method, forged, data)
        assert (one.status_code, one.text) == (other.status_code, other.text) == (404, one.text)


def test_the_token_of_one_purpose_opens_nothing_else(site: Site, message: str) -> None:
    token = site.links.unsubscribe(message).split("/")[-1]
    assert site.ask("GET", f"{site.links.base_url}/p/{token}").status_code == 404


def test_answers_are_kept_framed_and_listed_by_nobody(site: Site, message: str) -> None:
    for url in (site.links.unsubscribe(message), site.links.preferences(message), f"{site.links.base_url}/u/{FORGED}"):
        for method in ("GET", "POST", "HEAD"):
            headers = site.ask(method, url, ONE_CLICK if method == "POST" else None).headers
            assert headers["Cache-Control"] == "no-store"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert headers["X-Robots-Tag"] == "noindex, nofollow"
            policy = headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe-inline" not in policy
            assert "script-src" not in policy
            assert "Set-Cookie" not in headers


def test_a_large_body_is_not_read(site: Site, message: str) -> None:
    answer = site.ask("POST", site.links.unsubscribe(message), {"x": "y" * 1_000_000})
    assert answer.status_code == 413
    assert site.events() == []


def test_pages_show_nothing_of_the_person(site: Site, message: str) -> None:
    for url in (site.links.unsubscribe(message), site.links.preferences(message)):
        page = site.ask("GET", url).text
        for secret in ("ann", "Ann", "+15550100001", message, identity("lapsing", "ann"), "token-ann"):
            assert not re.search(rf"\b{re.escape(secret)}\b", page)


def test_choices_show_the_channels_that_there_are(site: Site, message: str) -> None:
    page = site.ask("GET", site.links.preferences(message)).text
    assert re.findall(r'type="checkbox" name="on" value="(\w+)" checked', page) == ["email", "sms"]
    assert re.findall(r'type="radio" name="emails" value="([\w-]+)"( checked)?', page) == [("usual", " checked"), ("1-7", ""), ("1-30", "")]


def test_published_marts_know_channels_that_nothing_was_sent_to(site: Site, message: str) -> None:
    site.settings.published.mkdir()
    with duckdb.connect(str(site.settings.published / "winback.duckdb")) as marts:
        marts.execute(
            "create schema marts; create table marts.customers as select 'ann' as customer_id, true as reachable_email, "
            "null as email_unreachable_reason, false as reachable_sms, 'no_consent' as sms_unreachable_reason, "
            "true as reachable_push, null as push_unreachable_reason"
        )
    page = site.ask("GET", site.links.preferences(message)).text
    assert re.findall(r'type="checkbox" name="on" value="(\w+)" checked', page) == ["email", "sms", "push"]


def test_a_channel_is_closed_another_stays_and_emails_come_less_often(site: Site, message: str) -> None:
    page = site.ask("POST", site.links.preferences(message), {"act": "choose", "on": "email", "emails": "1-30"}).text
    assert site.suppressed() == {"sms"}
    assert site.limits() == [(1, 30)]
    assert site.events() == [("unsubscribed", "sms", None), ("clicked", "email", "preferences")]
    assert "<li>Emails · At most once a month</li>" in page
    assert "Text messages" not in page
    undo = [("act", "choose"), *hidden_fields(page)]
    site.ask("POST", site.links.preferences(message), undo)
    assert (site.suppressed(), site.limits()) == (set(), [])
    assert ("resubscribed", "sms", None) in site.events()


def test_saving_what_is_so_already_writes_no_wish(site: Site, message: str) -> None:
    form = {"act": "choose", "on": ["email", "sms"], "emails": "usual"}
    for _ in range(2):
        assert site.ask("POST", site.links.preferences(message), form).status_code == 200
    assert {kind for kind, _, _ in site.events()} == {"clicked"}
    assert site.ledger.rows("suppressions") == site.ledger.rows("frequency_limits") == []


def test_going_closes_every_channel_and_undo_opens_them_as_they_were(site: Site, message: str) -> None:
    site.ask("POST", site.links.preferences(message), {"act": "choose", "on": "email", "emails": "1-7"})
    page = site.ask("POST", site.links.preferences(message), {"act": "go"}).text
    assert site.suppressed() == {"email", "sms"}
    assert "sends you nothing any more" in page
    site.ask("POST", site.links.preferences(message), [("act", "choose"), *hidden_fields(page)])
    assert site.suppressed() == {"sms"}
    assert site.limits() == [(1, 7)]


def test_staying_is_engagement_by_a_person(site: Site, message: str) -> None:
    page = site.ask("POST", site.links.preferences(message), {"act": "stay"}).text
    assert "Glad to have you" in page
    assert site.events() == [("clicked", "email", "stay")]
    assert site.ledger.rows("delivery_events")[0]["is_machine"] == 0


def test_a_limit_put_by_a_program_is_shown_replaced_and_restored(site: Site, message: str) -> None:
    limit = {"limit_id": "x", "operation": "add", "customer_id": "ann", "channel": "email", "max_messages": 2, "window_days": 60}
    site.ledger.record("frequency_limits", [{**limit, "enrolment_id": "e", "recorded_at": AS_OF}])
    assert 'value="2-60" checked><span>At most 2 in 60 days' in site.ask("GET", site.links.preferences(message)).text
    page = site.ask("POST", site.links.preferences(message), {"act": "choose", "on": ["email", "sms"], "emails": "usual"}).text
    assert site.limits() == []
    site.ask("POST", site.links.preferences(message), [("act", "choose"), *hidden_fields(page)])
    assert site.limits() == [(2, 60)]


def test_only_offered_limits_are_taken(site: Site, message: str) -> None:
    for wrong in ("1000-1", "0-0", "x", "-1-7", "1-7-1"):
        answer = site.ask("POST", site.links.preferences(message), {"act": "choose", "on": "email", "emails": wrong})
        assert answer.status_code == 400
    assert site.events() == []


def test_complaints_are_not_taken_back_by_a_page(site: Site, message: str) -> None:
    row = {"suppression_id": "c", "operation": "add", "customer_id": "ann", "channel": "email", "reason": "complained", "starts_at": AS_OF}
    site.ledger.record("suppressions", [{**row, "recorded_at": AS_OF}])
    page = site.ask("GET", site.links.preferences(message)).text
    assert 'value="email" disabled' in page
    assert 'name="emails"' not in page
    answer = site.ask("POST", site.links.preferences(message), {"act": "choose", "on": ["email", "sms", "fax"], "emails": "usual"})
    assert answer.status_code == 200
    assert site.suppressed() == {"email"}
    assert "come_back" not in site.ask("GET", site.links.unsubscribe(message)).text


def told(site: Site, kind: EventType, channel: str, message_id: str | None, address: str, source: str = "twilio") -> None:
    """A provider's event, before anything is asked of the site."""
    at = NOON - timedelta(hours=1)
    hashed = address_hash(channel, address)
    event_id = derived_id(kind, channel, message_id, address)
    event = Event(
        event_id=event_id, source=source, event_type=kind, occurred_at=at, channel=channel, message_id=message_id, address_hash=hashed
    )
    record_events(site.ledger, [event], at)


def test_a_stop_by_sms_is_seen_on_the_page_and_can_be_taken_back_there(site: Site, message: str) -> None:
    told(site, "delivered", "sms", site.shop.message("ann", "sms", step_no=3), "+15550100001")
    told(site, "unsubscribed", "sms", None, "+15550100001")
    page = site.ask("GET", site.links.preferences(message)).text
    assert re.findall(r'type="checkbox" name="on" value="(\w+)"( checked)?', page) == [("email", " checked"), ("sms", "")]
    site.ask("POST", site.links.preferences(message), {"act": "choose", "on": ["email", "sms"]})
    rows = site.ledger.rows("suppressions", address_hash=address_hash("sms", "+15550100001"))
    assert [row["operation"] for row in rows] == ["add", "lift"]


def test_a_dead_address_is_seen_on_the_page_until_another_one_takes_its_place(site: Site, message: str) -> None:
    told(site, "bounced", "email", message, "old@example.com")
    assert 'value="email" disabled' in site.ask("GET", site.links.preferences(message)).text
    told(site, "delivered", "email", site.shop.message("ann", "email", step_no=4), "new@example.com")
    assert 'value="email" disabled' not in site.ask("GET", site.links.preferences(message)).text


@pytest.fixture
def moved(site: Site) -> str:
    """A message to Ann's new address, of which nothing has come back yet; her old address is dead."""
    told(site, "bounced", "email", site.shop.message("ann", "email", step_no=5), "old@example.com")
    return site.shop.message("ann", "email", step_no=6)


@pytest.mark.parametrize("form", [ONE_CLICK, {"act": "leave"}])
def test_who_has_a_new_address_can_leave_though_the_old_one_is_dead(site: Site, moved: str, form: dict[str, str]) -> None:
    url = site.links.unsubscribe(moved)
    assert 'name="act" value="leave"' in site.ask("GET", url).text
    assert site.ask("POST", url, form).status_code == 200
    assert site.suppressed() == {"email"}
    assert "You are unsubscribed" in site.ask("GET", url).text


@pytest.mark.parametrize("form", [{"act": "go"}, {"act": "choose", "emails": "usual"}])
def test_what_the_page_of_choices_says_no_longer_comes_does_not_come_to_a_new_address(site: Site, moved: str, form: dict[str, str]) -> None:
    assert "sends you nothing any more" in site.ask("POST", site.links.preferences(moved), form).text
    assert site.suppressed() == {"email"}
    site.ask("POST", site.links.preferences(moved), form)
    assert len(site.ledger.rows("suppressions", customer_id="ann")) == 1


@pytest.mark.parametrize("form", [ONE_CLICK, {"act": "leave"}])
def test_who_has_a_new_address_can_leave_though_the_old_one_was_unsubscribed(site: Site, message: str, form: dict[str, str]) -> None:
    told(site, "delivered", "email", message, "old@example.com")
    told(site, "unsubscribed", "email", None, "old@example.com")
    url = site.links.unsubscribe(site.shop.message("ann", "email", step_no=6))
    assert 'name="act" value="leave"' in site.ask("GET", url).text
    site.ask("POST", url, form)
    assert site.suppressed() == {"email"}
    assert "Welcome back" in site.ask("POST", url, {"act": "come_back"}).text
    assert site.suppressed() == set()


def test_an_address_that_only_a_mail_names_is_not_opened_again(site: Site, message: str) -> None:
    told(site, "unsubscribed", "email", None, "bob@example.com")
    told(site, "delivered", "email", message, "bob@example.com", source="mailbox")
    site.ask("POST", site.links.unsubscribe(message), ONE_CLICK)
    site.ask("POST", site.links.unsubscribe(message), {"act": "come_back"})
    rows = site.ledger.rows("suppressions", address_hash=address_hash("email", "bob@example.com"))
    assert [row["operation"] for row in rows] == ["add"]


def test_a_form_that_never_ends_is_given_up(site: Site, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links_routes, "FORM_SECONDS", 0.05)
    host, _, port = site.links.base_url.removeprefix("http://").partition(":")
    path = site.links.unsubscribe(message).removeprefix(site.links.base_url)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 27\r\n\r\nList-"
    with socket.create_connection((host, int(port)), timeout=20) as slow:
        slow.sendall(head.encode())
        assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")
    assert site.events() == []


def test_a_click_leads_on_and_is_counted(site: Site, message: str) -> None:
    target = "https://shop.example.com/a?utm_source=mail&utm_campaign=a%20b+c#top"
    answer = site.ask("GET", site.links.click(message, 3, target))
    assert (answer.status_code, answer.headers["Location"]) == (302, target)
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "no-store" in answer.headers["Cache-Control"]
    assert site.events() == [("clicked", "email", "3")]
    assert site.ledger.rows("delivery_events")[0]["is_machine"] == 0


def test_odd_addresses_are_written_as_a_header_may_hold_them(site: Site, message: str) -> None:
    answer = site.ask("GET", site.links.click(message, 1, "https://shop.example.com/ä b\r\nSet-Cookie: x=1|"))
    assert answer.headers["Location"] == "https://shop.example.com/%C3%A4%20b%0D%0ASet-Cookie:%20x=1%7C"
    assert "Set-Cookie" not in answer.headers


def test_there_is_no_open_redirect(site: Site, message: str) -> None:
    url = site.links.click(message, 1, "https://shop.example.com/")
    head = url.partition("?")[0]
    for wrong in (
        f"{head}?to={quote('https://evil.example.com/', safe='')}",
        f"{head}?to=//evil.example.com",
        head,
        f"{head[:-1]}2?to={quote('https://shop.example.com/', safe='')}",
        f"{head[:-1]}x?to={quote('https://shop.example.com/', safe='')}",
        f"{head[:-1]}²?to={quote('https://shop.example.com/', safe='')}",
        url.replace("/c/", "/c/x"),
    ):
        answer = site.ask("GET", wrong)
        assert answer.status_code == 404
        assert "Location" not in answer.headers
        assert "evil" not in answer.text
    assert site.events() == []


@pytest.mark.parametrize(
    ("method", "agent", "purpose"),
    [
        ("HEAD", PERSON, ""),
        ("GET", "", ""),
        ("GET", "Mozilla/5.0", ""),
        ("GET", "Mozilla/5.0 (compatible; Barracuda Sentinel)", ""),
        ("GET", PERSON, "prefetch;prerender"),
    ],
)
def test_programs_that_look_ahead_are_not_people(site: Site, message: str, method: str, agent: str, purpose: str) -> None:
    more = {"Sec-Purpose": purpose} if purpose else {}
    assert site.ask(method, site.links.click(message, 1, "https://shop.example.com/"), agent=agent, **more).status_code == 302
    assert site.ask(method, site.links.pixel(message), agent=agent, **more).status_code == 200
    assert {kind for kind, _, _ in site.events()} == {"clicked", "opened"}
    assert {row["is_machine"] for row in site.ledger.rows("delivery_events")} == {1}


def test_the_pixel_is_a_picture_whoever_signed_it(site: Site, message: str) -> None:
    for url in (site.links.pixel(message), f"{site.links.base_url}/o/{FORGED}.gif"):
        answer = site.ask("GET", url)
        assert (answer.status_code, answer.headers["Content-Type"], len(answer.content)) == (200, "image/gif", 43)
        assert answer.content.startswith(b"GIF89a\x01\x00\x01\x00")
        assert "no-store" in answer.headers["Cache-Control"]
    assert site.events() == [("opened", "email", None)]


def test_clicks_on_unknown_messages_are_kept(site: Site) -> None:
    assert site.ask("GET", site.links.click("e" * 32, 1, "https://shop.example.com/")).status_code == 302
    assert site.events() == [("clicked", "email", "1")]


def test_a_redirect_does_not_wait_for_the_ledger(site: Site, message: str) -> None:
    with site.ledger.writing():
        assert site.ask("GET", site.links.click(message, 1, "https://shop.example.com/")).status_code == 302
        assert site.ledger.rows("delivery_events") == []
    assert site.events() == [("clicked", "email", "1")]


def test_a_click_that_cannot_be_counted_leads_on_all_the_same(site: Site, message: str) -> None:
    site.writer.close()
    assert site.ask("GET", site.links.click(message, 1, "https://shop.example.com/")).status_code == 302
    assert site.ask("GET", site.links.pixel(message)).status_code == 200
    assert site.ledger.rows("delivery_events") == []


@pytest.mark.parametrize(
    ("query", "accepted", "expected"),
    [
        ("?l=de", "fr", "Möchten Sie sich abmelden?"),
        ("?l=de-AT", "fr", "Möchten Sie sich abmelden?"),
        ("?l=ja", "fr-CH,fr;q=0.9,en;q=0.8", "Voulez-vous vous désabonner"),
        ("", "en;q=0.1, es;q=0.9", "¿Quiere darse de baja?"),
        ("", "*;q=x,,;;", "Do you want to unsubscribe?"),
        ("?l=../../en", "", "Do you want to unsubscribe?"),
    ],
)
def test_the_page_speaks_the_readers_language(site: Site, message: str, query: str, accepted: str, expected: str) -> None:
    page = site.ask("GET", site.links.unsubscribe(message) + query, **{"Accept-Language": accepted}).text
    assert expected in page


def test_words_and_colours_are_taken_from_the_files_as_they_are_now(site: Site, message: str) -> None:
    pages, brand = site.settings.programs_dir / "pages", site.settings.programs_dir / "brand.yml"
    url = site.links.unsubscribe(message)
    assert "#1f6f4a" in site.ask("GET", url).text
    (pages / "it.yml").write_text((pages / "en.yml").read_text().replace("Do you want to unsubscribe?", "Vuole cancellarsi?"))
    brand.write_text(brand.read_text().replace("#1f6f4a", "#7a1f5c").replace("name: Greengate Market", "name: Green & <b>Gate"))
    page = site.ask("GET", url + "?l=it").text
    assert "Vuole cancellarsi?" in page
    assert "#7a1f5c" in page
    assert "Green &amp; &lt;b&gt;Gate" in page
    (pages / "it.yml").write_text("half: [")
    assert "Vuole cancellarsi?" in site.ask("GET", url + "?l=it").text


def test_the_logo_is_the_only_thing_from_elsewhere(site: Site, message: str) -> None:
    brand = site.settings.programs_dir / "brand.yml"
    brand.write_text(brand.read_text() + 'logo: {url: "https://cdn.example.com/l.png", alt: Greengate, width: 160}\n')
    answer = site.ask("GET", site.links.unsubscribe(message))
    assert "img-src data: https://cdn.example.com;" in answer.headers["Content-Security-Policy"]
    assert '<img src="https://cdn.example.com/l.png" alt="Greengate" width="160">' in answer.text


def test_a_busy_ledger_is_said_and_nothing_is_changed(site: Site, message: str) -> None:
    other = sqlite3.connect(site.shop.settings.home / "ledger.db", isolation_level=None)
    site.ledger.engine.dispose()
    with site.ledger.engine.connect() as connection:
        connection.connection.driver_connection.execute("pragma busy_timeout = 50")  # type: ignore[union-attr]
    # The pool hands the same connection out again, which no longer waits half a minute.
    other.execute("begin immediate")
    try:
        answer = site.ask("POST", site.links.unsubscribe(message), ONE_CLICK)
    finally:
        other.execute("rollback")
        other.close()
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
    assert "Nothing was changed" in answer.text
    assert site.events() == []


def test_an_old_key_opens_the_links_of_old_messages(plain_shop: Shop, tmp_path: Path) -> None:
    old = Key("old", b"o" * 32)
    file = plain_shop.settings.home / "link_keys"
    file.write_text(f"new:{b64encode(b'n' * 32).decode()}\nold:{b64encode(old.secret).decode()}\n")
    with open_site(plain_shop, tmp_path / "project") as site:
        message = plain_shop.message("ann")
        assert site.links.unsubscribe(message).startswith(f"{site.links.base_url}/u/new.")
        assert site.ask("POST", f"{site.links.base_url}/u/{sign(old, 'unsubscribe', message)}", ONE_CLICK).status_code == 200
        assert site.suppressed() == {"email"}


def test_without_an_address_there_are_no_routes(site: Site) -> None:
    settings = Settings(home=site.settings.home, clock="real")
    assert routes(settings, site.ledger, site.writer, lambda: NOON) == []


def test_pages_that_cannot_be_read_are_said_at_the_start(site: Site) -> None:
    (site.settings.programs_dir / "pages" / "en.yml").write_text("language_name: English\n")
    with pytest.raises(BadConfig, match=r"programs/pages/en\.yml.*channels: is missing"):
        routes(site.settings, site.ledger, site.writer, lambda: NOON)


def test_the_demos_clock_is_the_day_after_the_last(site: Site) -> None:
    site.ledger.record("applied_plans", [{"as_of": AS_OF, "plan_hash": "h", "counts": "{}", "recorded_at": AS_OF}])
    assert AS_OF <= clock_of(site.settings, site.ledger)() < AS_OF + timedelta(days=1)
