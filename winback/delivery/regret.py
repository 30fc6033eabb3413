"""Regret sends: messages that left although a purchase was already known. The target is zero.

One definition for the report, the dispatcher's metadata and the tests: it reads what happened (ledger and raw), not what was decided.
"""

from __future__ import annotations

from datetime import datetime

import duckdb


def regret_sends(connection: duckdb.DuckDBPyConnection, *, after: int = 0) -> int:
    """How many there are among the outcomes after number `after` of the ledger (default: since the beginning)."""
    return sum(regret_sends_by_run(connection, after=after).values())


def regret_sends_by_run(connection: duckdb.DuckDBPyConnection, *, after: int = 0) -> dict[datetime, int]:
    """Regret sends by the `as_of` of the run that planned the message; runs without one are left out.

    A message is one if it was accepted after an order had been landed that counts as a purchase and was made in its journey, or before the
    entry where, had it been known, it would have kept the customer out: within the program's guard, or after the purchase that the lapse
    began with. Programs that a purchase does not end are counted too. Reads schemas `ledger` (see `Ledger.copy_to_warehouse`), `programs`
    and raw.
    """
    rows = connection.execute(
        """
        with accepted as (
            select distinct item_id from ledger.outcomes where outcome = 'accepted' and seq > $after
        ),
        -- What was in doubt first and was found to have arrived had left by the time of the doubt.
        sent as (
            select item_id, min(recorded_at) as sent_at
            from ledger.outcomes
            join accepted using (item_id)
            where outcome in ('accepted', 'unknown')
            group by item_id
        ),
        messages as (
            select messages.message_id, messages.customer_id, messages.as_of, sent.sent_at, enrolments.anchor_at, enrolments.enrolled_at,
                enrolments.program, enrolments.version
            from sent
            join ledger.messages as messages on messages.message_id = sent.item_id and messages.kind = 'send'
            join ledger.enrolments as enrolments using (enrolment_id)
        ),
        versions as (
            select program, version, max(coalesce(exclude_purchased_within_days, 0)) as exclude_purchased_within_days
            from programs.versions
            where not is_draft
            group by program, version
        ),
        files as (
            select file_id, min(landed_at) as landed_at from raw.landed_files group by file_id
        ),
        purchases as (
            select messages.*, orders.ordered_at, orders._file_id as file_id,
                min(orders.ordered_at) over (partition by messages.message_id) = messages.anchor_at as lapse_began_with_purchase
            from messages
            join raw.orders as orders on orders.customer_id = messages.customer_id
            where orders.ordered_at >= messages.anchor_at
                and coalesce(lower(orders.status), '') not in ('cancelled', 'canceled', 'voided')
                and not (coalesce(orders.refunded, 0) > 0 and coalesce(orders.refunded, 0) >= coalesce(orders.total, 0))
        )
        select purchases.as_of, count(distinct purchases.message_id)
        from purchases
        left join versions using (program, version)
        left join files using (file_id)
        where purchases.ordered_at < purchases.sent_at
            and purchases.ordered_at > purchases.anchor_at
            and (
                purchases.ordered_at >= purchases.enrolled_at
                or purchases.lapse_began_with_purchase
                or date_diff('day', purchases.ordered_at::date, purchases.enrolled_at::date) < versions.exclude_purchased_within_days
            )
            and coalesce(files.landed_at, purchases.ordered_at) < purchases.sent_at
        group by purchases.as_of
        """,
        {"after": after},
    ).fetchall()
    return dict(rows)
