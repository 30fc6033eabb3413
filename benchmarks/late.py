"""What came late or was corrected by the next day, as small files that landing brings in: a few rows for every 10,000 there are."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from winback.ledger import open_ledger
from winback.settings import Settings
from winback.warehouse import open_warehouse

_ONE_IN = 10_007
"""A prime, so that every batch takes other rows."""

# Days ago at which a late row lies, from 1 to 30.
_LATELY = "timestamp '{as_of}' - to_days(cast(1 + _row_number % 30 as integer)) - to_seconds(cast(_row_number % 86400 as integer))"

_FILES = {
    "customers": "select * exclude (extras, _file_id, _row_number) replace ('moved{batch}-' || customer_id || '@example.com' as email) "
    "from raw.customers where _row_number % {one_in} = {batch}",
    # Late ones are new orders; corrected ones are known, and refunded in full now.
    "orders": "select * exclude (_file_id, _row_number) replace ('late{batch}-' || order_id as order_id, {lately} as ordered_at) "
    "from raw.orders where _file_id = 'generated' and _row_number % {one_in} = {batch} "
    "union all select * exclude (_file_id, _row_number) replace (total as refunded) "
    "from raw.orders where _file_id = 'generated' and _row_number % {one_in} = {batch} + 5000",
    "order_lines": "select * exclude (_file_id, _row_number) replace ('late{batch}-' || order_id as order_id) from raw.order_lines "
    "where order_id in (select order_id from raw.orders where _file_id = 'generated' and _row_number % {one_in} = {batch})",
    "message_events": "select * exclude (_file_id, _row_number) replace ('late{batch}-' || event_id as event_id, {lately} as occurred_at) "
    "from raw.message_events where _file_id = 'generated' and _row_number % {one_in} = {batch}",
    "activity_events": "select * exclude (_file_id, _row_number) replace ('late{batch}-' || event_id as event_id, {lately} as occurred_at) "
    "from raw.activity_events where _file_id = 'generated' and _row_number % {one_in} = {batch}",
    "consents": "select customer_id, channel, {lately} as changed_at, not granted as granted, source "
    "from raw.consents where _file_id = 'generated' and _row_number % {one_in} = {batch}",
}


def land_late(settings: Settings, as_of: datetime) -> dict[str, Any]:
    """Write the files of the next batch and land them as of the day `as_of`, whose run finds them; returns rows by table."""
    from winback.landing import land

    folder = settings.root / "late"
    folder.mkdir(exist_ok=True)
    with open_warehouse(settings) as warehouse, open_ledger(settings) as ledger:
        [(batch,)] = warehouse.execute("select count(*) + 1 from raw.landed_files where file like 'customers-late-%'").fetchall()
        lately = _LATELY.format(as_of=as_of - timedelta(days=1))
        for table, select in _FILES.items():
            query = select.format(one_in=_ONE_IN, batch=batch, lately=lately)
            warehouse.execute(f"copy ({query}) to '{folder / table}-late-{batch}.csv' (header)")
        report = land(settings, warehouse, ledger, now=as_of, data=folder)
    return {"rows": {file.table: file.rows_landed for file in report.files if file.status == "landed"}}
