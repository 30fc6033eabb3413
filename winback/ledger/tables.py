"""The ledger's tables: what we did and what providers told us about it. Rows are only ever added.

Every table has `seq` (order of insertion, the watermark of the copy into the warehouse), one or more natural keys, and
`recorded_at` (naive UTC). Customers appear as ids, addresses as hashes; no name, address, token or text is kept here.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Date, DateTime, Index, Integer, MetaData, Table, Text, UniqueConstraint, text

SCHEMA_VERSION = "0005"
"""The newest migration. A constant, so that opening an up-to-date ledger needs no Alembic; a test compares the two."""

metadata = MetaData()

_SEQ = BigInteger().with_variant(Integer, "sqlite")


def _table(name: str, *columns: Column[object], keys: tuple[tuple[str, ...], ...], indexes: tuple[tuple[str, ...], ...] = ()) -> Table:
    return Table(
        name,
        metadata,
        Column("seq", _SEQ, primary_key=True, autoincrement=True),
        *columns,
        Column("recorded_at", DateTime, nullable=False),
        *(UniqueConstraint(*key, name=f"{name}_key_{number}") for number, key in enumerate(keys, start=1)),
        *(Index(f"{name}_by_{'_'.join(index)}", *index) for index in indexes),
        sqlite_autoincrement=True,
    )


def _text(name: str, *, null: bool = False) -> Column[object]:
    return Column(name, Text, nullable=null)


def _integer(name: str, *, null: bool = False) -> Column[object]:
    return Column(name, Integer, nullable=null)


def _instant(name: str, *, null: bool = False) -> Column[object]:
    return Column(name, DateTime, nullable=null)


program_versions = _table(
    "program_versions",
    _text("program"),
    _integer("version"),
    _text("content_hash"),
    _text("definition"),
    _instant("effective_at"),
    keys=(("program", "version"),),
)
program_statuses = _table(
    "program_statuses",
    _text("program"),
    _text("status"),
    _instant("effective_at"),
    keys=(("program", "effective_at", "recorded_at", "status"),),
)
policy_versions = _table(
    "policy_versions",
    _integer("version"),
    _text("content_hash"),
    _text("definition"),
    _instant("effective_at"),
    keys=(("version",),),
)
approvals = _table("approvals", _text("program"), _integer("version"), _text("approved_by"), keys=(("program", "version"),))
enrolments = _table(
    "enrolments",
    _text("enrolment_id"),
    _text("program"),
    _integer("version"),
    _text("customer_id"),
    _instant("anchor_at"),
    _text("arm"),
    _text("reason", null=True),
    _instant("enrolled_at"),
    _instant("as_of"),
    keys=(("enrolment_id",),),
    indexes=(("customer_id",),),
)
steps = _table(
    "steps",
    _text("step_id"),
    _text("enrolment_id"),
    _integer("step_no"),
    _text("decision"),
    _text("reason", null=True),
    _text("channel", null=True),
    _text("content", null=True),
    _text("message_id", null=True),
    Column("due_on", Date, nullable=True),
    _instant("as_of"),
    keys=(("step_id",), ("enrolment_id", "step_no")),
)
messages = _table(
    "messages",
    _text("message_id"),
    _text("enrolment_id"),
    _integer("step_no"),
    _text("customer_id"),
    _text("program"),
    _integer("version"),
    _text("kind"),
    _text("channel"),
    _text("content"),
    _text("offer_code", null=True),
    _instant("not_before"),
    _instant("expires_at"),
    _instant("as_of"),
    keys=(("message_id",), ("enrolment_id", "step_no")),
    indexes=(("customer_id",), ("expires_at",)),
)
claims = _table(
    "claims",
    _text("item_id"),
    _integer("attempt"),
    _text("worker"),
    _instant("lease_until"),
    _text("destination", null=True),
    _text("address_check", null=True),
    keys=(("item_id", "attempt"),),
)
outcomes = _table(
    "outcomes",
    _text("item_id"),
    _integer("attempt"),
    _text("outcome"),
    _text("reason", null=True),
    _text("provider_id", null=True),
    _instant("retry_at", null=True),
    _text("destination", null=True),
    keys=(("item_id", "attempt"),),
)
audience_changes = _table(
    "audience_changes",
    _text("change_id"),
    _text("platform"),
    _text("audience"),
    _text("program"),
    _text("customer_id"),
    _text("operation"),
    _text("identifiers"),
    _text("reason", null=True),
    _instant("as_of"),
    keys=(("change_id",),),
    indexes=(("as_of",), ("customer_id",)),
)
suppressions = _table(
    "suppressions",
    _text("suppression_id"),
    _text("operation"),
    _text("customer_id", null=True),
    _text("address_hash", null=True),
    _text("channel"),
    _text("reason", null=True),
    _instant("starts_at"),
    _instant("ends_at", null=True),
    _text("source", null=True),
    keys=(("suppression_id", "operation"),),
    indexes=(("address_hash",), ("customer_id",)),
)
tags = _table(
    "tags",
    _text("tag_id"),
    _text("operation"),
    _text("customer_id"),
    _text("tag"),
    _text("enrolment_id", null=True),
    keys=(("tag_id", "operation"),),
)
frequency_limits = _table(
    "frequency_limits",
    _text("limit_id"),
    _text("operation"),
    _text("customer_id"),
    _text("channel"),
    _integer("max_messages"),
    _integer("window_days"),
    _text("enrolment_id", null=True),
    keys=(("limit_id", "operation"),),
)
offer_codes = _table(
    "offer_codes",
    _text("program"),
    _text("code"),
    _text("enrolment_id"),
    keys=(("program", "code"), ("enrolment_id",)),
)
landed_files = _table(
    "landed_files",
    _text("file_id"),
    _text("file"),
    _text("table_name"),
    _integer("rows_landed"),
    _integer("rows_quarantined"),
    _integer("position"),
    keys=(("file_id", "table_name"),),
)
applied_plans = _table(
    "applied_plans",
    _instant("as_of"),
    _text("plan_hash"),
    _text("counts"),
    _text("run_id", null=True),
    keys=(("as_of", "plan_hash"),),
)
alerts = _table(
    "alerts",
    _text("condition"),
    _integer("turn"),
    _text("state"),
    _text("message"),
    _text("undelivered", null=True),
    keys=(("condition", "turn"),),
)
delivery_events = _table(
    "delivery_events",
    _text("event_id"),
    _text("source"),
    _text("event_type"),
    _text("message_id", null=True),
    _text("provider_id", null=True),
    _text("channel", null=True),
    _text("address_hash", null=True),
    _instant("occurred_at"),
    _integer("is_machine"),
    _text("link", null=True),
    _text("reason", null=True),
    keys=(("event_id",),),
    indexes=(("message_id",), ("recorded_at",)),
)
Index(
    "delivery_events_resubscribed",
    delivery_events.c.address_hash,
    sqlite_where=text("event_type = 'resubscribed'"),
    postgresql_where=text("event_type = 'resubscribed'"),
)
audit_trail = _table(
    "audit_trail",
    _text("act"),
    _text("actor"),
    _text("subject"),
    _text("details"),
    _text("previous_hash"),
    _text("hash"),
    keys=(("hash",), ("previous_hash",)),
)


def natural_keys(table: Table) -> list[tuple[str, ...]]:
    """The unique keys of a table besides `seq`, first one first."""
    constraints = [item for item in table.constraints if isinstance(item, UniqueConstraint)]
    return [tuple(column.name for column in item.columns) for item in sorted(constraints, key=lambda item: str(item.name))]


def append_only_statements(table: Table, dialect: str) -> list[str]:
    """Triggers that refuse to change or remove a row.

    SQLite's REPLACE removes the old row without firing its triggers, so there a new row whose key exists is ignored.
    """
    name = table.name
    message = f"the ledger is append-only: {name}"
    if dialect == "sqlite":
        matches = [" and ".join(f"{column} = new.{column}" for column in key) for key in [("seq",), *natural_keys(table)]]
        exists = " or ".join(f"exists (select 1 from {name} where {match})" for match in matches)
        return [
            f"create trigger {name}_no_update before update on {name} begin select raise(abort, '{message}'); end",
            f"create trigger {name}_no_delete before delete on {name} begin select raise(abort, '{message}'); end",
            f"create trigger {name}_no_replace before insert on {name} when {exists} begin select raise(ignore); end",
        ]
    return [
        f"create trigger {name}_no_change before update or delete on {name} for each row execute function winback_append_only()",
        f"create trigger {name}_no_truncate before truncate on {name} for each statement execute function winback_append_only()",
    ]
