"""Regret sends: messages that left although a purchase was already known."""

from __future__ import annotations

import duckdb


def regret_sends(connection: duckdb.DuckDBPyConnection) -> int:
    """How many accepted messages left after a purchase of the same journey that had been landed by then. The target is zero.

    Reads schema `ledger` (see `Ledger.copy_to_warehouse`) and raw.
    """
    rows = connection.execute(
        """
        select count(distinct messages.message_id)
        from ledger.messages as messages
        join ledger.outcomes as outcomes on outcomes.item_id = messages.message_id and outcomes.outcome = 'accepted'
        join ledger.enrolments as enrolments using (enrolment_id)
        join raw.orders as orders on orders.customer_id = messages.customer_id
        left join (select file_id, min(landed_at) as landed_at from raw.landed_files group by file_id) as files
            on files.file_id = orders._file_id
        where messages.kind = 'send'
            and orders.ordered_at >= enrolments.enrolled_at
            and orders.ordered_at < outcomes.recorded_at
            and coalesce(files.landed_at, orders.ordered_at) < outcomes.recorded_at
            and coalesce(lower(orders.status), '') not in ('cancelled', 'canceled', 'voided')
            and not (coalesce(orders.refunded, 0) > 0 and coalesce(orders.refunded, 0) >= coalesce(orders.total, 0))
        """
    ).fetchall()
    return int(rows[0][0])
