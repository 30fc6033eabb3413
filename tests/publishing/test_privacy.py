"""Nobody can be told from what is published: neither by a column nor by a value. Published files are read by everybody and copied about."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import duckdb
import pytest

from tests.warehouse.building import derive, load
from winback.publishing import publish
from winback.publishing.publication import PERSONAL_COLUMNS
from winback.settings import Settings
from winback.warehouse import open_warehouse

AS_OF = datetime(2017, 12, 1)

SECRETS = {
    "email": "ada.lovelace@example.com",
    "phone": "+15550100001",
    "first_name": "Adalbertine",
    "last_name": "Lovelacezky",
    "extras": '{"shoe_size": "secret-extra"}',
}
TOKEN = "secret-push-token-1"


@pytest.mark.slow
def test_no_personal_data_is_published(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    customer = {"customer_id": "c1", "country": "US", "created_at": datetime(2016, 1, 1)}
    load(
        tmp_path,
        {
            "customers": [customer | SECRETS, customer | SECRETS | {"customer_id": "c2", "created_at": datetime(2016, 2, 1)}],
            "orders": [
                {"order_id": f"o{month}", "customer_id": "c1", "ordered_at": datetime(2017, month, 1), "status": "paid", "total": "10"}
                for month in range(1, 7)
            ],
            "message_events": [
                {
                    "event_id": "m1",
                    "customer_id": None,
                    "address": SECRETS["email"],
                    "channel": "email",
                    "event_type": "opened",
                    "occurred_at": datetime(2017, 6, 1),
                    "is_machine": False,
                }
            ],
            "consents": [
                {"customer_id": "c1", "channel": channel, "changed_at": datetime(2016, 1, 1), "granted": True}
                for channel in ("email", "sms", "push", "ads")
            ],
            "devices": [{"push_token": TOKEN, "customer_id": "c1", "platform": "ios", "active": True, "updated_at": datetime(2016, 1, 1)}],
        },
    )
    derive(tmp_path, AS_OF, arguments=["--exclude-resource-type", "test", "unit_test"])
    with open_warehouse(settings) as warehouse:
        report = publish(settings, warehouse, "run-1", AS_OF)

    with duckdb.connect(str(report.duckdb), read_only=True) as reader:
        columns = reader.execute("select schema_name, table_name, column_name from duckdb_columns() where not internal").fetchall()
        published = "\n".join(str(reader.execute(f'from marts."{table}"').fetchall()) for table in report.rows)
    assert {schema for schema, _, _ in columns} == {"marts"}
    assert not {column for _, _, column in columns} & PERSONAL_COLUMNS
    assert "c1" in published, "the customer is there, by id"
    digits = "5550100001"
    for secret in (*SECRETS.values(), TOKEN, digits, "example.com", "secret-extra"):
        assert secret.lower() not in published.lower()
