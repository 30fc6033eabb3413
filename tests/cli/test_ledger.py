"""`winback ledger verify` tells a trail that was tampered with from one that is whole."""

from __future__ import annotations

import sqlite3

from typer.testing import CliRunner

from tests.delivery.conftest import NOON, Shop
from winback.cli import app


def test_a_changed_row_is_named(shop: Shop) -> None:
    for program in ("customer_lapsed", "tier_drop"):
        shop.ledger.audit("approve", actor="ada", subject=program, now=NOON)
    [*_, last] = shop.ledger.rows("audit_trail")
    whole = CliRunner().invoke(app, ["ledger", "verify"])
    assert (whole.exit_code, whole.stdout) == (0, f"last: row {last['seq']}, hash {last['hash']}\nThe audit trail is whole.\n")

    with sqlite3.connect(shop.settings.root / "ledger.db") as tampered:
        for [name] in tampered.execute("select name from sqlite_master where type = 'trigger' and tbl_name = 'audit_trail'").fetchall():
            tampered.execute(f"drop trigger {name}")
        tampered.execute("update audit_trail set actor = 'eve' where subject = 'tier_drop'")
    told = CliRunner().invoke(app, ["ledger", "verify"])
    assert told.exit_code == 1
    assert f"audit_trail row {last['seq']}: its content was changed (approve tier_drop)" in told.stdout
    assert "whole" not in told.stdout
