"""Which alerts stand, so that each is told once, whichever process sees it first."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from winback.ledger.tables import append_only_statements, metadata

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("condition", sa.Text(), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("undelivered", sa.Text(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("condition", "turn", name="alerts_key_1"),
        sqlite_autoincrement=True,
    )
    connection = op.get_bind()
    for statement in append_only_statements(metadata.tables["alerts"], connection.dialect.name):
        connection.exec_driver_sql(statement)
