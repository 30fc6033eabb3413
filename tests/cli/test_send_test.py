from __future__ import annotations

import json
from email import message_from_bytes, policy
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner

from tests.destinations.conformance.mail_server import PASSWORD, USER, MailServer, ca_file
from tests.programs.conftest import MakeProject, project
from winback.cli import app
from winback.errors import BadConfig, BadInput
from winback.ledger import open_ledger
from winback.programs import CUSTOMER_COLUMNS
from winback.settings import Settings

__all__ = ["project"]

PROGRAM = """name: p
audience: lapsed
lapse_days: {at_least: 30, below: 90}
status: draft
offer: {code: BACK10, percent: 10, expires_after_days: 7}
steps:
  - {day: 0, send: hello, channels: [email, sms]}
  - {day: 3, task: personal_call}
"""
TO = "tester@example.com"


@pytest.fixture
def here(project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings = project({"p.yml": PROGRAM})
    monkeypatch.setenv("WINBACK_PROJECT", str(settings.project))
    monkeypatch.setenv("WINBACK_HOME", str(settings.home))
    monkeypatch.setenv("WINBACK_CLOCK", "real")
    monkeypatch.setenv("USER", "ada")
    settings.warehouse.parent.mkdir(parents=True)
    contact = [name for name in CUSTOMER_COLUMNS if name in ("first_name", "last_name", "language", "country", "extras")]
    facts = [name for name in CUSTOMER_COLUMNS if name not in contact]
    with duckdb.connect(str(settings.warehouse)) as connection:
        connection.execute("create schema marts; create schema intermediate")
        connection.execute(
            "create table intermediate.int_customers__contacts (customer_id varchar, email varchar, "
            + ", ".join(f"{name} varchar" for name in contact)
            + ")"
        )
        typed = ", ".join(f"{name} {'double' if name == 'lifetime_value' else 'varchar'}" for name in facts)
        connection.execute(
            f"create table marts.customers (customer_id varchar, {typed}, as_of timestamp, reachable_email boolean, reachable_sms boolean, "
            "reachable_push boolean)"
        )
        for number, (customer, name, value) in enumerate((("c1", "Ann", 10), ("c2", "Bo", 900), ("c3", "Cy", 5000)), start=1):
            connection.execute(
                "insert into intermediate.int_customers__contacts (customer_id, email, first_name) values (?, ?, ?)",
                [customer, f"{name}@customers.example.com", name],
            )
            connection.execute(
                "insert into marts.customers (customer_id, lifetime_value, as_of, reachable_email, reachable_sms) "
                "values (?, ?, '2017-12-01', ?, ?)",
                [customer, value, number < 3, False],
            )
    return settings


def run(*arguments: str) -> Any:
    result = CliRunner().invoke(app, ["send-test", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_it_reaches_only_the_address_and_is_marked(here: Settings) -> None:
    told = json.loads(run("p", "1", "--to", TO, "--json").stdout)
    assert (told["customer_id"], told["channel"], told["destination"], told["outcome"]) == ("c2", "email", "outbox", "accepted")
    [file] = (here.outbox / "email").rglob("*.eml")
    message = message_from_bytes(file.read_bytes(), policy=policy.default)
    assert message["To"] == TO
    assert message["Subject"].startswith("[Test] ")
    assert "mailto:" not in message["List-Unsubscribe"]
    assert file.stem == told["message_id"]
    assert f"m={told['message_id']}" in message["List-Unsubscribe"], "an id that the ledger does not know"
    assert b"customers.example.com" not in file.read_bytes()


def test_it_is_in_the_audit_trail_and_nowhere_else(here: Settings) -> None:
    run("p", "hello", "--to", TO, "--customer", "c1")
    with open_ledger(here) as ledger:
        [act] = ledger.rows("audit_trail", act="send_test")
        assert (act["actor"], act["subject"]) == ("ada", "p")
        details = json.loads(act["details"])
        assert (details["customer_id"], details["step_no"], details["outcome"]) == ("c1", 1, "accepted")
        assert "@" not in act["details"]
        for table in ("messages", "outcomes", "claims", "enrolments", "program_versions"):
            assert ledger.rows(table) == []


def test_a_text_message_is_marked_in_its_text(here: Settings) -> None:
    run("p", "1", "--to", "+15550100007", "--channel", "sms", "--customer", "c1")
    [file] = (here.outbox / "sms").glob("*.jsonl")
    line = json.loads(file.read_text())
    assert (line["to"], line["customer_id"]) == ("+15550100007", "test")
    assert line["text"].startswith("[Test] ")


def test_live_goes_through_the_named_destination_while_the_channel_is_not_live(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_USERNAME", USER)
    monkeypatch.setenv("SMTP_PASSWORD", PASSWORD)
    with MailServer() as server:
        keys = f'host: 127.0.0.1, port: {server.port}, username_env: SMTP_USERNAME, password_env: SMTP_PASSWORD, ca_file: "{ca_file()}"'
        (here.project / "destinations.yml").write_text(
            f"channels:\n  email: {{mode: outbox, destination: smtp}}\ndestinations:\n  smtp: {{{keys}}}\n"
        )
        told = json.loads(run("p", "1", "--to", TO, "--live", "--json").stdout)
    assert (told["destination"], told["outcome"], told["place"]) == ("smtp", "accepted", "")
    assert [envelope.rcpt_tos for envelope in server.taken] == [[TO]]
    assert not here.outbox.exists()


def test_what_the_provider_does_not_take_is_exit_code_1(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    (here.project / "destinations.yml").write_text(
        "channels:\n  email: {mode: live, destination: smtp}\ndestinations:\n  smtp: {host: 127.0.0.1, port: 1, security: none}\n"
    )
    result = run("p", "1", "--to", TO, "--live")
    assert result.exit_code == 1
    assert "Not accepted (deferred)" in result.stdout
    with open_ledger(here) as ledger:
        [act] = ledger.rows("audit_trail", act="send_test")
    assert json.loads(act["details"])["outcome"] == "deferred"


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (["q", "1"], BadConfig, "There is no program 'q' .* There are: p"),
        (["p", "2"], BadConfig, r"step '2' is a task, which goes to a person; allowed: 1 \(hello\)"),
        (["p", "goodbye"], BadConfig, r"step 'goodbye' is no message; allowed: 1 \(hello\)"),
        (["p", "1", "--channel", "push"], BadConfig, "step 1 does not go by 'push'; allowed: email, sms"),
        (["p", "1", "--customer", "nobody"], BadInput, "knows no customer 'nobody'. Ids are those of your customers table"),
        (["p", "1", "--live"], BadConfig, "channels.email names no destination"),
    ],
)
def test_what_cannot_be_sent_is_said_exactly(here: Settings, arguments: list[str], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        run(*arguments, "--to", TO)


def test_a_wrong_address_is_not_repeated(here: Settings) -> None:
    for channel, to in (("email", "tester@"), ("sms", "call me")):
        with pytest.raises(BadInput, match=r"^--to is no") as problem:
            run("p", "1", "--channel", channel, "--to", to)
        assert to not in str(problem.value)
    with pytest.raises(BadInput, match="sms reaches no customer"):
        run("p", "1", "--channel", "sms", "--to", "+15550100007")


def test_without_a_day_there_is_nobody_to_render_for(here: Settings) -> None:
    here.warehouse.unlink()
    with pytest.raises(BadInput, match="there is no warehouse yet"):
        run("p", "1", "--to", TO)
    assert not (here.root / "ledger.db").exists()


def test_on_a_simulated_clock_nothing_is_live(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINBACK_CLOCK", "simulated")
    with pytest.raises(BadConfig, match="set WINBACK_CLOCK=real"):
        run("p", "1", "--to", TO, "--live")
