from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.exc import DatabaseError

import winback.ledger
from winback.ledger import open_ledger_at
from winback.ledger.tables import SCHEMA_VERSION

NOW = datetime(2017, 12, 1)
FIRST_ROW = "insert into approvals (program, version, approved_by, recorded_at) values ('lapsing', 1, 'ada', '2017-11-01 00:00:00.000000')"

FIRST_CLAIM = (
    "insert into claims (item_id, attempt, worker, lease_until, recorded_at) "
    "values ('m', 1, 'w', '2017-11-01 00:15:00.000000', '2017-11-01 00:00:00.000000')"
)


def test_a_ledger_of_the_first_version_is_brought_up_to_date_with_its_rows(ledger_url: str) -> None:
    engine = sa.create_engine(ledger_url.replace("postgresql://", "postgresql+psycopg://"))
    config = Config()
    config.set_main_option("script_location", str(Path(winback.ledger.__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql(FIRST_ROW)
        connection.exec_driver_sql(FIRST_CLAIM)
    assert "alerts" not in sa.inspect(engine).get_table_names()
    with open_ledger_at(ledger_url) as ledger:
        assert [row["program"] for row in ledger.rows("approvals")] == ["lapsing"]
        assert [(row["worker"], row["destination"], row["address_check"]) for row in ledger.rows("claims")] == [("w", None, None)]
        row = {"condition": "nothing_sent", "turn": 1, "state": "open", "message": "nothing", "recorded_at": NOW}
        assert (ledger.record("alerts", [row]), ledger.record("alerts", [row])) == (1, 0)
        with pytest.raises(DatabaseError, match="append-only: alerts"), ledger.engine.begin() as connection:
            connection.exec_driver_sql("delete from alerts")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("select version_num from alembic_version").scalar() == SCHEMA_VERSION
    engine.dispose()
