from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from winback.errors import BadConfig, WinbackError
from winback.ledger import Ledger, open_ledger_at, tables
from winback.ledger.store import CODES_LOCK, EVENTS_LOCK

NOW = datetime(2017, 12, 1, 10, 30, 0, 250000)


def claim(item: str, attempt: int = 1, worker: str = "w") -> dict[str, object]:
    return {"item_id": item, "attempt": attempt, "worker": worker, "lease_until": NOW, "recorded_at": NOW}


def test_rows_are_recorded_once_and_keep_their_first_content(ledger: Ledger) -> None:
    assert ledger.record("claims", [claim("a"), claim("b")]) == 2
    assert ledger.record("claims", [claim("a", worker="late"), claim("c")]) == 1
    rows = ledger.rows("claims")
    assert [(row["item_id"], row["worker"]) for row in rows] == [("a", "w"), ("b", "w"), ("c", "w")]
    assert rows[0]["lease_until"] == NOW
    assert rows[0]["seq"] < rows[1]["seq"] < rows[2]["seq"]


def test_many_open_a_new_ledger_at_once(tmp_path: Path) -> None:
    def open_together(folder: Path) -> None:
        together.wait()
        open_ledger_at(f"sqlite:///{folder}/ledger.db").close()

    together = threading.Barrier(6)
    with ThreadPoolExecutor(together.parties) as pool:
        for number in range(30):
            list(pool.map(open_together, [tmp_path / str(number)] * together.parties))


def test_who_hands_out_codes_holds_up_nobody_who_records_events(ledger: Ledger) -> None:
    if ledger.dialect != "postgresql":
        pytest.skip("on SQLite each transaction that writes is alone")
    with ledger.writing() as handing_out, ledger.engine.begin() as other:
        handing_out.alone_at(CODES_LOCK)
        take = "select pg_try_advisory_xact_lock(%s)"
        assert other.exec_driver_sql(take, (CODES_LOCK,)).scalar() is False
        assert other.exec_driver_sql(take, (EVENTS_LOCK,)).scalar() is True


def test_no_row_of_any_table_can_be_changed_or_removed(ledger: Ledger) -> None:
    for table in tables.metadata.sorted_tables:
        assert ledger.record(table.name, [_some_row(table)]) == 1
        before = ledger.rows(table.name)
        statements = [f"update {table.name} set recorded_at = recorded_at", f"delete from {table.name}"]
        if ledger.dialect == "postgresql":
            statements.append(f"truncate {table.name}")
        for statement in statements:
            with pytest.raises(sa.exc.DBAPIError, match="append-only"), ledger.writing() as writer:
                writer.connection.exec_driver_sql(statement)
        if ledger.dialect == "sqlite":
            # SQLite's REPLACE removes the old row without firing its triggers.
            kept = {"seq", *tables.natural_keys(table)[0]}
            values = ", ".join(column.name if column.name in kept else "'2000-01-01 00:00:00.000000'" for column in table.columns)
            with ledger.writing() as writer:
                writer.connection.exec_driver_sql(f"insert or replace into {table.name} select {values} from {table.name}")
        assert ledger.rows(table.name) == before


def _some_row(table: sa.Table) -> dict[str, object]:
    values = {int: 1, datetime: NOW, date: NOW.date(), str: "x"}
    return {column.name: values[column.type.python_type] for column in table.columns if column.name != "seq"}


def test_an_unknown_column_is_refused(ledger: Ledger) -> None:
    with pytest.raises(KeyError, match="wrong"):
        ledger.record("claims", [{**claim("a"), "wrong": 1}])
    assert ledger.rows("claims") == []


def test_a_transaction_that_fails_leaves_nothing(ledger: Ledger) -> None:
    with pytest.raises(KeyError), ledger.writing() as writer:
        assert writer.record("claims", [claim("a")]) == writer.record("no_such_table", [])
    assert ledger.rows("claims") == []


def test_many_rows_go_in_at_once_and_count_only_the_new_ones(ledger: Ledger) -> None:
    assert ledger.record("claims", (claim(f"item {number}") for number in range(12_000))) == 12_000
    assert ledger.record("claims", (claim(f"item {number}") for number in range(6_000, 12_010))) == 10


def test_the_tables_are_what_the_migrations_make(ledger: Ledger) -> None:
    with ledger.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
    config = Config()
    config.set_main_option("script_location", str(Path(tables.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == tables.SCHEMA_VERSION


def test_opening_an_up_to_date_ledger_imports_no_alembic(ledger_url: str) -> None:
    open_ledger_at(ledger_url).close()
    script = f"import sys; from winback.ledger import open_ledger_at; open_ledger_at({ledger_url!r}); sys.exit('alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_two_processes_may_make_the_ledger_at_once(ledger_url: str) -> None:
    failures: list[BaseException] = []

    def make() -> None:
        try:
            open_ledger_at(ledger_url).close()
        except (sa.exc.SQLAlchemyError, WinbackError) as problem:
            failures.append(problem)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_ledger_of_a_newer_winback_is_left_alone(ledger: Ledger, ledger_url: str) -> None:
    with ledger.writing() as writer:
        writer.connection.exec_driver_sql("update alembic_version set version_num = '9999'")
    with pytest.raises(BadConfig, match="9999"):
        open_ledger_at(ledger_url)


@pytest.mark.parametrize("address", ["nonsense", "mysql://host/database", "sqlite://", "sqlite:///:memory:"])
def test_an_address_that_cannot_be_used_is_explained(address: str) -> None:
    with pytest.raises(BadConfig, match="WINBACK_LEDGER_URL"):
        open_ledger_at(address)


@pytest.mark.parametrize("address", ["sqlite:///ledger.db", "sqlite:///var/ledger.db"])
def test_a_file_that_depends_on_the_current_folder_is_refused(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second ledger from a second folder would send everything once more."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadConfig, match=r"WINBACK_LEDGER_URL.*ledger\.db.*sqlite:////srv/winback/ledger\.db"):
        open_ledger_at(address)
    assert list(tmp_path.iterdir()) == []


def test_a_password_is_not_shown_when_the_server_is_not_there() -> None:
    with pytest.raises(BadConfig) as caught:
        open_ledger_at("postgresql://user:sesame@127.0.0.1:1/winback")
    assert "sesame" not in str(caught.value)


def test_claims_are_flushed_to_disk(tmp_path: Path) -> None:
    """NORMAL may lose the last commits in a power cut, and a lost claim is a message sent twice."""
    with open_ledger_at(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger, ledger.writing() as writer:
        assert writer.connection.exec_driver_sql("pragma synchronous").scalar() == 2
        assert writer.connection.exec_driver_sql("pragma journal_mode").scalar() == "wal"


def test_what_was_committed_survives_a_killed_process(ledger_url: str) -> None:
    script = f"""
import os, signal
from datetime import date, datetime
from winback.ledger import open_ledger_at
ledger = open_ledger_at({ledger_url!r})
row = dict(item_id="a", attempt=1, worker="w", lease_until=datetime(2017, 12, 1), recorded_at=datetime(2017, 12, 1))
ledger.record("claims", [row])
with ledger.writing() as writer:
    writer.record("claims", [{{**row, "item_id": "b"}}])
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    with open_ledger_at(ledger_url) as ledger:
        assert [row["item_id"] for row in ledger.rows("claims")] == ["a"]


def test_the_audit_trail_is_a_chain_that_shows_changes(ledger: Ledger) -> None:
    for number in range(3):
        ledger.audit("approve", actor="ana", subject=f"program {number}", details={"version": number, "name": "Zoë"}, now=NOW)
    assert ledger.verify() == []
    with ledger.writing() as writer:
        for statement in _without_triggers(ledger, "update audit_trail set actor = 'bob' where seq = 2"):
            writer.connection.exec_driver_sql(statement)
    assert any("row 2" in line and "changed" in line for line in ledger.verify())


def test_a_row_taken_out_of_the_audit_trail_is_noticed(ledger: Ledger) -> None:
    for number in range(3):
        ledger.audit("approve", actor="ana", subject=f"program {number}", now=NOW)
    with ledger.writing() as writer:
        for statement in _without_triggers(ledger, "delete from audit_trail where seq = 2"):
            writer.connection.exec_driver_sql(statement)
    assert any("row 3" in line and "missing" in line for line in ledger.verify())


def test_acts_of_many_threads_make_one_chain(ledger: Ledger) -> None:
    def act(number: int) -> None:
        for turn in range(5):
            ledger.audit("edit", actor=f"person {number}", subject=str(turn), now=NOW)

    threads = [threading.Thread(target=act, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.rows("audit_trail")) == 20
    assert ledger.verify() == []


def _without_triggers(ledger: Ledger, statement: str) -> list[str]:
    """What someone with the database's own tools would have to do."""
    if ledger.dialect == "postgresql":
        return ["alter table audit_trail disable trigger all", statement]
    return ["drop trigger audit_trail_no_update", "drop trigger audit_trail_no_delete", statement]
