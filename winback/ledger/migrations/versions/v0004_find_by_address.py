"""Suppressions and resubscriptions are looked up by address and by customer while events arrive."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_index("suppressions_by_address_hash", "suppressions", ["address_hash"])
    op.create_index("suppressions_by_customer_id", "suppressions", ["customer_id"])
    returned = sa.text("event_type = 'resubscribed'")
    op.create_index("delivery_events_resubscribed", "delivery_events", ["address_hash"], sqlite_where=returned, postgresql_where=returned)
