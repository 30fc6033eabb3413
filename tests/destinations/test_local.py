from __future__ import annotations

import email
import email.policy
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Barrier

import pytest

from winback.destinations import PLATFORMS, open_destinations
from winback.destinations.base import AudienceChange, AudienceOperation, Channel, Contact, Message, Outcome
from winback.destinations.config import Sender
from winback.destinations.faults import Faults
from winback.destinations.local import LocalAudiences, LocalOutbox
from winback.errors import BadConfig, InDoubt, RetryLater, StopRun
from winback.settings import Settings

NOW = datetime(2017, 12, 1, 10)

MESSAGE = Message(
    message_id="0123456789abcdef0123456789abcdef",
    channel=Channel.EMAIL,
    customer_id="c1",
    to="zoe@example.com",
    to_name="Zoë Müller",
    program="lapsing",
    program_version=2,
    step_no=1,
    content="we_miss_you",
    subject="Wir vermissen Sie — 15 % für Zoë",
    text="Hallo Zoë,\n\n" + "ein langer Satz " * 90,
    html='<html><body><div style="display:none">Vorschau</div><p>Hallo Zoë</p></body></html>',
    unsubscribe_url="https://shop.example.com/leave?m=0123",
    unsubscribe_mailto="leave@example.com",
)


def outbox(folder: Path, faults: str = "") -> LocalOutbox:
    return LocalOutbox(folder, sender=Sender("shop@example.com", "The Shop"), faults=Faults.parse(faults))


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and not path.name.startswith("index.db"))


def change(number: int, *, operation: AudienceOperation = AudienceOperation.ADD) -> AudienceChange:
    return AudienceChange(f"change{number}", "lapsing", f"c{number}", operation, (("EMAIL", f"hash{number}"), ("PHONE", f"tel{number}")))


def test_many_open_a_new_outbox_at_once(tmp_path: Path) -> None:
    def open_together(folder: Path) -> None:
        together.wait()
        outbox(folder).close()

    together = Barrier(6)
    with ThreadPoolExecutor(together.parties) as pool:
        for number in range(30):
            list(pool.map(open_together, [tmp_path / str(number)] * together.parties))


def test_an_email_opens_in_a_mail_client(tmp_path: Path) -> None:
    place = outbox(tmp_path)
    assert [result.outcome for result in place.send([MESSAGE], NOW)] == [Outcome.ACCEPTED]
    place.close()
    path = tmp_path / "email" / "2017-12-01" / f"{MESSAGE.message_id}.eml"
    content = path.read_bytes()
    assert max(map(len, content.split(b"\r\n"))) <= 998
    parsed = email.message_from_bytes(content, policy=email.policy.default)
    assert parsed["To"] == "Zoë Müller <zoe@example.com>"
    assert parsed["Subject"] == MESSAGE.subject
    assert parsed["Message-ID"] == f"<{MESSAGE.message_id}@example.com>"
    assert parsed["List-Unsubscribe"] == "<https://shop.example.com/leave?m=0123>, <mailto:leave@example.com>"
    assert parsed["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert parsed["Date"].datetime.replace(tzinfo=None) == NOW
    assert parsed.get_content_type() == "multipart/alternative"
    plain, html = parsed.get_body(("plain",)), parsed.get_body(("html",))
    assert plain is not None
    assert plain.get_content().replace("\r\n", "\n").strip() == MESSAGE.text.strip()
    assert html is not None
    assert "Vorschau" in html.get_content()


@pytest.mark.parametrize("channel", [Channel.SMS, Channel.PUSH, Channel.TASK])
def test_other_messages_are_a_line_each(tmp_path: Path, channel: Channel) -> None:
    place = outbox(tmp_path)
    messages = [replace(MESSAGE, channel=channel, message_id=f"m{number}", to="+15550100001", text="one\ntwo") for number in range(3)]
    assert len(place.send(messages, NOW)) == 3
    place.close()
    lines = (tmp_path / channel / "2017-12-01.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["message_id"] for line in lines] == ["m0", "m1", "m2"]
    assert json.loads(lines[0])["text"] == "one\ntwo"


def test_the_same_message_twice_is_there_once_on_whatever_day_and_in_whatever_process(tmp_path: Path) -> None:
    messages = [MESSAGE, replace(MESSAGE, channel=Channel.SMS, message_id="m2", to="+15550100001")]
    for day in range(3):
        place = outbox(tmp_path)
        for _ in range(2):
            results = place.send(messages, NOW + timedelta(days=day))
            assert [result.outcome for result in results] == [Outcome.ACCEPTED] * 2
        place.close()
    assert files(tmp_path) == [f"email/2017-12-01/{MESSAGE.message_id}.eml", "sms/2017-12-01.jsonl"]
    assert len((tmp_path / "sms" / "2017-12-01.jsonl").read_text(encoding="utf-8").splitlines()) == 1


def test_lines_that_were_never_confirmed_are_cut_off(tmp_path: Path) -> None:
    """The process died between writing them and noting them: they are sent again, and must not stand there twice."""
    place = outbox(tmp_path)
    place.send([replace(MESSAGE, channel=Channel.SMS, message_id="m1")], NOW)
    with (tmp_path / "sms" / "2017-12-01.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"message_id": "m2"}\n{"message_id": "m')
    place.send([replace(MESSAGE, channel=Channel.SMS, message_id="m2")], NOW)
    place.close()
    lines = (tmp_path / "sms" / "2017-12-01.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["message_id"] for line in lines] == ["m1", "m2"]


def test_what_was_being_written_when_the_process_died_is_there_once_on_another_day(tmp_path: Path) -> None:
    """Writing stops at a folder that stands in the way of the second email, as it would at a kill: before anything is confirmed."""
    first, second = MESSAGE, replace(MESSAGE, message_id="fedcba98765432100123456789abcdef")
    in_the_way = tmp_path / "email" / "2017-12-01" / f"{second.message_id}.eml"
    in_the_way.mkdir(parents=True)
    place = outbox(tmp_path)
    with pytest.raises(OSError, match="directory"):
        place.send([first, second], NOW)
    outcomes = [result.outcome for result in place.resolve([first, replace(MESSAGE, message_id="other")], NOW)]
    assert outcomes == [Outcome.ACCEPTED, Outcome.DEFERRED]
    place.close()
    in_the_way.rmdir()
    place = outbox(tmp_path)
    assert place.resolve([second], NOW)[0].outcome is Outcome.DEFERRED
    place.send([first, second], NOW + timedelta(days=1))
    place.close()
    assert sorted(path.stem for path in tmp_path.rglob("*.eml")) == [first.message_id, second.message_id]


def test_the_first_lines_of_a_day_that_were_never_confirmed_are_not_there_beside_those_of_the_next(tmp_path: Path) -> None:
    message = replace(MESSAGE, channel=Channel.SMS, message_id="m1")
    killed = (
        "import os; from datetime import datetime; from pathlib import Path\n"
        "from tests.destinations.test_local import outbox, replace, MESSAGE, Channel, NOW\n"
        f"place = outbox(Path({str(tmp_path)!r}))\n"
        # The process ends after the lines are written and before the index has them.
        "append = place._index.append\n"
        "place._index.append = lambda *lines: (append(*lines), os._exit(1))\n"
        "place.send([replace(MESSAGE, channel=Channel.SMS, message_id='m1')], NOW)\n"
    )
    subprocess.run([sys.executable, "-c", killed], check=False, cwd=Path(__file__).parents[2])
    assert files(tmp_path) == ["sms/2017-12-01.jsonl"]
    place = outbox(tmp_path)
    place.send([message], NOW + timedelta(days=1))
    place.close()
    assert (tmp_path / "sms" / "2017-12-01.jsonl").read_text(encoding="utf-8") == ""
    assert len((tmp_path / "sms" / "2017-12-02.jsonl").read_text(encoding="utf-8").splitlines()) == 1


def test_a_message_that_cannot_be_written_is_rejected_and_the_others_are_taken(tmp_path: Path) -> None:
    place = outbox(tmp_path)
    messages = [
        replace(MESSAGE, message_id="a", to="nobody"),
        replace(MESSAGE, message_id="b"),
        replace(MESSAGE, message_id="c", channel=Channel.SMS, to=""),
    ]
    results = place.send(messages, NOW)
    place.close()
    assert [result.outcome for result in results] == [Outcome.REJECTED, Outcome.ACCEPTED, Outcome.REJECTED]
    assert "nobody" not in results[0].reason
    assert files(tmp_path) == ["email/2017-12-01/b.eml"]


def test_a_message_id_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    place = outbox(tmp_path / "outbox")
    assert place.send([replace(MESSAGE, message_id="../../escape")], NOW)[0].outcome is Outcome.REJECTED
    place.close()
    assert files(tmp_path) == []


def test_what_is_asked_about_is_looked_up(tmp_path: Path) -> None:
    place = outbox(tmp_path)
    place.send([MESSAGE], NOW)
    outcomes = [result.outcome for result in place.resolve([MESSAGE, replace(MESSAGE, message_id="other")], NOW)]
    place.close()
    assert outcomes == [Outcome.ACCEPTED, Outcome.DEFERRED]


def test_audience_changes_are_files_of_hashes_by_platform_audience_day_and_operation(tmp_path: Path) -> None:
    place = LocalAudiences(tmp_path, "meta")
    for _ in range(2):
        place.change([change(1), change(2)], NOW)
    place.change([change(3, operation=AudienceOperation.REMOVE)], NOW)
    place.close()
    folder = tmp_path / "ads" / "meta" / "lapsing"
    assert (folder / "2017-12-01-add.csv").read_text(encoding="utf-8").splitlines() == [
        "change1,EMAIL,hash1",
        "change1,PHONE,tel1",
        "change2,EMAIL,hash2",
        "change2,PHONE,tel2",
    ]
    assert (folder / "2017-12-01-remove.csv").read_text(encoding="utf-8").splitlines() == ["change3,EMAIL,hash3", "change3,PHONE,tel3"]


def test_an_audience_is_named_like_a_folder_or_refused(tmp_path: Path) -> None:
    place = LocalAudiences(tmp_path / "outbox", "meta")
    results = place.change([replace(change(1), audience="../escape"), replace(change(2), identifiers=())], NOW)
    place.close()
    assert [result.outcome for result in results] == [Outcome.REJECTED, Outcome.REJECTED]


def test_each_platform_hashes_by_its_own_rules(tmp_path: Path) -> None:
    contact = Contact("c1", email="Zoe.B+x@gmail.com", phone="+15550100001")
    found = {}
    for platform in ("meta", "google", "tiktok"):
        place = LocalAudiences(tmp_path, platform)
        found[platform] = place.identifiers(contact)
        place.close()
    assert len({identifiers[0][1] for identifiers in found.values()}) == 2  # Google drops dots and tags of Gmail, the others do not
    assert len({identifiers[1][1] for identifiers in found.values()}) == 2  # Google keeps the plus of a number


@pytest.mark.parametrize(
    ("fault", "error", "is_written"),
    [
        ("throttled", RetryLater, False),
        ("error", RetryLater, False),
        ("drop", InDoubt, False),
        ("lost", InDoubt, True),
        ("stop", StopRun, False),
    ],
)
def test_faults_of_a_call(tmp_path: Path, fault: str, error: type[Exception], is_written: bool) -> None:
    place = outbox(tmp_path, f"{fault}=1")
    with pytest.raises(error):
        place.send([MESSAGE], NOW)
    place.close()
    assert bool(files(tmp_path)) == is_written


def test_faults_of_items_and_answers(tmp_path: Path) -> None:
    messages = [replace(MESSAGE, message_id=f"m{number}") for number in range(200)]
    place = outbox(tmp_path, "reject=0.2,defer=0.2,seed=3")
    outcomes = [result.outcome for result in place.send(messages, NOW)]
    place.close()
    assert {outcomes.count(Outcome.REJECTED) > 10, outcomes.count(Outcome.DEFERRED) > 10} == {True}
    assert len(files(tmp_path)) == outcomes.count(Outcome.ACCEPTED)
    doubled = outbox(tmp_path / "doubled", "duplicate=1")
    assert len(doubled.send(messages[:2], NOW)) == 3
    doubled.close()


@pytest.mark.parametrize("fault", ["reject", "defer"])
def test_what_was_taken_is_not_refused_when_it_is_repeated(tmp_path: Path, fault: str) -> None:
    for faults in ("lost=1", f"{fault}=1"):
        place, audiences = outbox(tmp_path, faults), LocalAudiences(tmp_path, "meta", faults=Faults.parse(faults))
        answers = []
        for call in (partial(place.send, [MESSAGE]), partial(audiences.change, [change(1)])):
            with suppress(InDoubt):
                answers += [result.outcome for result in call(NOW)]
        place.close()
        audiences.close()
    assert answers == [Outcome.ACCEPTED, Outcome.ACCEPTED]


def test_the_process_dies_after_taking(tmp_path: Path) -> None:
    script = f"""
from datetime import datetime
from pathlib import Path
from winback.destinations.base import Channel, Message
from winback.destinations.faults import Faults
from winback.destinations.local import LocalOutbox
message = Message("m1", Channel.SMS, "c1", "+15550100001", "p", 1, 1, "x", text="hello")
LocalOutbox(Path({str(tmp_path)!r}), faults=Faults.parse("die=1")).send([message], datetime(2017, 12, 1))
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert files(tmp_path) == ["sms/2017-12-01.jsonl"]


@pytest.mark.parametrize("text", ["unknown=0.1", "drop=2", "drop", "drop=x", "seed=x"])
def test_a_fault_that_is_none_is_explained(text: str) -> None:
    with pytest.raises(BadConfig, match="WINBACK_OUTBOX_FAULTS"):
        Faults.parse(text)


def test_everything_goes_to_the_outbox_unless_a_channel_is_live(tmp_path: Path) -> None:
    with open_destinations(Settings(project=tmp_path, home=tmp_path / "home"), environment={}) as places:
        assert {destination.name for destination in places.messages.values()} == {"outbox"}
        assert {destination.name for destination in places.audiences.values()} == {f"outbox_{name}" for name in PLATFORMS}


def test_a_simulated_day_sends_nothing_for_real(tmp_path: Path) -> None:
    (tmp_path / "destinations.yml").write_text(
        "channels: {sms: {mode: live, destination: twilio}}\n"
        "destinations: {twilio: {messaging_service_sid: MG00000000000000000000000000000000}}\n",
        encoding="utf-8",
    )
    with open_destinations(Settings(project=tmp_path, home=tmp_path / "home", clock="simulated"), environment={}) as places:
        assert places.messages[Channel.SMS].name == "outbox"
    with pytest.raises(BadConfig, match="twilio"):
        open_destinations(Settings(project=tmp_path, home=tmp_path / "home", clock="real"), environment={})
