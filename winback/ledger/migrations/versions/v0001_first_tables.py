"""The first tables and their append-only triggers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from winback.ledger.tables import append_only_statements, metadata

revision = "0001"
down_revision = None

_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TABLES = (
    "program_versions",
    "program_statuses",
    "policy_versions",
    "approvals",
    "enrolments",
    "steps",
    "messages",
    "claims",
    "outcomes",
    "audience_changes",
    "suppressions",
    "tags",
    "frequency_limits",
    "offer_codes",
    "landed_files",
    "applied_plans",
    "audit_trail",
)


def upgrade() -> None:
    _make_tables()
    connection = op.get_bind()
    dialect = connection.dialect.name
    if dialect == "postgresql":
        connection.exec_driver_sql(
            "create or replace function winback_append_only() returns trigger language plpgsql as $$ "
            "begin raise exception using message = 'the ledger is append-only: ' || tg_table_name; end $$"
        )
    for name in _TABLES:
        for statement in append_only_statements(metadata.tables[name], dialect):
            connection.exec_driver_sql(statement)


def _make_tables() -> None:
    op.create_table(
        "applied_plans",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("as_of", sa.DateTime(), nullable=False),
        sa.Column("plan_hash", sa.Text(), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("as_of", "plan_hash", name="applied_plans_key_1"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "approvals",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("approved_by", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("program", "version", name="approvals_key_1"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "audience_changes",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("change_id", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("audience", sa.Text(), nullable=False),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("identifiers", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("as_of", sa.DateTime(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("change_id", name="audience_changes_key_1"),
        sqlite_autoincrement=True,
    )
    op.create_index("audience_changes_by_as_of", "audience_changes", ["as_of"], unique=False)
    op.create_index("audience_changes_by_customer_id", "audience_changes", ["customer_id"], unique=False)
    op.create_table(
        "audit_trail",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("previous_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("hash", name="audit_trail_key_1"),
        sa.UniqueConstraint("previous_hash", name="audit_trail_key_2"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "claims",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("lease_until", sa.DateTime(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("item_id", "attempt", name="claims_key_1"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "enrolments",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("enrolment_id", sa.Text(), nullable=False),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("anchor_at", sa.DateTime(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("enrolled_at", sa.DateTime(), nullable=False),
        sa.Column("as_of", sa.DateTime(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("enrolment_id", name="enrolments_key_1"),
        sqlite_autoincrement=True,
    )
    op.create_index("enrolments_by_customer_id", "enrolments", ["customer_id"], unique=False)
    op.create_table(
        "frequency_limits",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("limit_id", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("max_messages", sa.Integer(), nullable=False),
        sa.Column("window_days", sa.Integer(), nullable=False),
        sa.Column("enrolment_id", sa.Text(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("limit_id", "operation", name="frequency_limits_key_1"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "landed_files",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("file_id", sa.Text(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("table_name", sa.Text(), nullable=False),
        sa.Column("rows_landed", sa.Integer(), nullable=False),
        sa.Column("rows_quarantined", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("file_id", "table_name", name="landed_files_key_1"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "messages",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("enrolment_id", sa.Text(), nullable=False),
        sa.Column("step_no", sa.Integer(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("offer_code", sa.Text(), nullable=True),
        sa.Column("not_before", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("as_of", sa.DateTime(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("enrolment_id", "step_no", name="messages_key_2"),
        sa.UniqueConstraint("message_id", name="messages_key_1"),
        sqlite_autoincrement=True,
    )
    op.create_index("messages_by_customer_id", "messages", ["customer_id"], unique=False)
    op.create_index("messages_by_expires_at", "messages", ["expires_at"], unique=False)
    op.create_table(
        "offer_codes",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("enrolment_id", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("enrolment_id", name="offer_codes_key_2"),
        sa.UniqueConstraint("program", "code", name="offer_codes_key_1"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "outcomes",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("provider_id", sa.Text(), nullable=True),
        sa.Column("retry_at", sa.DateTime(), nullable=True),
        sa.Column("destination", sa.Text(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("item_id", "attempt", name="outcomes_key_1"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "policy_versions",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("effective_at", sa.DateTime(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("version", name="policy_versions_key_1"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "program_statuses",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("effective_at", sa.DateTime(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("program", "effective_at", "recorded_at", "status", name="program_statuses_key_1"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "program_versions",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("effective_at", sa.DateTime(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("program", "version", name="program_versions_key_1"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "steps",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("step_id", sa.Text(), nullable=False),
        sa.Column("enrolment_id", sa.Text(), nullable=False),
        sa.Column("step_no", sa.Integer(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("content", sa.Text(), nullable=True),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("due_on", sa.Date(), nullable=True),
        sa.Column("as_of", sa.DateTime(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("enrolment_id", "step_no", name="steps_key_2"),
        sa.UniqueConstraint("step_id", name="steps_key_1"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "suppressions",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("suppression_id", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=True),
        sa.Column("address_hash", sa.Text(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("starts_at", sa.DateTime(), nullable=False),
        sa.Column("ends_at", sa.DateTime(), nullable=True),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("suppression_id", "operation", name="suppressions_key_1"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "tags",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("tag_id", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("enrolment_id", sa.Text(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("tag_id", "operation", name="tags_key_1"),
        sqlite_autoincrement=True,
    )
