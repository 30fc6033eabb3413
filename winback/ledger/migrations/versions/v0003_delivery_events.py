"""What came back after sending: delivered, opened, clicked, bounced, complained, unsubscribed, replied."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from winback.ledger.tables import append_only_statements, metadata

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "delivery_events",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("provider_id", sa.Text(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("address_hash", sa.Text(), nullable=True),
        sa.Column("occurred_at", sa.DateTime(), nullable=False),
        sa.Column("is_machine", sa.Integer(), nullable=False),
        sa.Column("link", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("event_id", name="delivery_events_key_1"),
        sqlite_autoincrement=True,
    )
    op.create_index("delivery_events_by_message_id", "delivery_events", ["message_id"])
    op.create_index("delivery_events_by_recorded_at", "delivery_events", ["recorded_at"])
    connection = op.get_bind()
    for statement in append_only_statements(metadata.tables["delivery_events"], connection.dialect.name):
        connection.exec_driver_sql(statement)
