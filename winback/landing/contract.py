"""The eight raw tables: what a file can bring, what it has to, and what is assumed where it does not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import duckdb

Kind = Literal[
    "id",
    "text",
    "lower",
    "status",
    "choice",
    "money",
    "amount",
    "quantity",
    "integer",
    "timestamp",
    "boolean",
    "country",
    "timezone",
    "currency",
    "json",
]

SQL_TYPES: dict[Kind, str] = {
    "id": "varchar",
    "text": "varchar",
    "lower": "varchar",
    "status": "varchar",
    "choice": "varchar",
    "money": "decimal(18, 4)",
    "amount": "decimal(18, 4)",
    "quantity": "decimal(18, 3)",
    "integer": "integer",
    "timestamp": "timestamp",
    "boolean": "boolean",
    "country": "varchar",
    "timezone": "varchar",
    "currency": "varchar",
    "json": "varchar",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a raw table.

    `needed`: a source without it is an error. `filled`: a row without a value is quarantined. `default`: SQL for a source or a row
    without a value. `allowed`: the words of a `choice`.
    """

    name: str
    kind: Kind = "text"
    needed: bool = False
    filled: bool = False
    default: str = "null"
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """One raw table. `key` decides which row a later one replaces; of each group in `one_of` a row needs one value.

    `concerns`: whose data a row is, as a kind and the column that says who; the first that has a value counts.
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    needed: bool = False
    one_of: tuple[str, ...] = ()
    concerns: tuple[tuple[str, str], ...] = (("customer", "customer_id"),)
    by_name: dict[str, Column] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {column.name: column for column in self.columns})


def _key(name: str, kind: Kind = "id", allowed: tuple[str, ...] = ()) -> Column:
    return Column(name, kind, needed=True, filled=True, allowed=allowed)


CHANNELS = ("email", "sms", "push", "ads")
MESSAGE_EVENTS = ("sent", "delivered", "opened", "clicked", "replied", "bounced", "complained", "unsubscribed")
ACTIVITY_EVENTS = ("visit", "login", "action")

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            "customers",
            ("customer_id",),
            (
                _key("customer_id"),
                Column("email"),
                Column("phone"),
                Column("first_name"),
                Column("last_name"),
                Column("country", "country"),
                Column("timezone", "timezone"),
                Column("language", "lower"),
                Column("brand"),
                Column("created_at", "timestamp"),
                Column("extras", "json"),
            ),
            needed=True,
        ),
        Table(
            "orders",
            ("order_id",),
            (
                _key("order_id"),
                Column("customer_id", "id", needed=True),
                _key("ordered_at", "timestamp"),
                Column("status", "status", default="'paid'"),
                _key("total", "money"),
                Column("refunded", "money", default="0"),
                Column("currency", "currency"),
                Column("coupon_code"),
                Column("sales_channel"),
            ),
            needed=True,
        ),
        Table(
            "order_lines",
            ("order_id", "line_no"),
            (
                _key("order_id"),
                _key("line_no", "integer"),
                Column("product_id", "id", needed=True),
                Column("quantity", "quantity", default="1"),
                Column("unit_price", "amount"),
            ),
            concerns=(("order", "order_id"),),
        ),
        Table(
            "products",
            ("product_id",),
            (
                _key("product_id"),
                Column("name"),
                Column("category"),
                Column("price", "money"),
                Column("launched_at", "timestamp"),
                Column("url"),
                Column("image_url"),
            ),
            concerns=(("product", "product_id"),),
        ),
        Table(
            "message_events",
            ("event_id",),
            (
                _key("event_id"),
                Column("customer_id", "id"),
                Column("address"),
                _key("channel", "choice", CHANNELS),
                _key("event_type", "choice", MESSAGE_EVENTS),
                _key("occurred_at", "timestamp"),
                Column("campaign"),
                Column("is_machine", "boolean", default="false"),
            ),
            one_of=("customer_id", "address"),
            concerns=(("customer", "customer_id"), ("address", "address")),
        ),
        Table(
            "activity_events",
            ("event_id",),
            (_key("event_id"), _key("customer_id"), _key("event_type", "choice", ACTIVITY_EVENTS), _key("occurred_at", "timestamp")),
        ),
        Table(
            "consents",
            ("customer_id", "channel", "changed_at"),
            (
                _key("customer_id"),
                _key("channel", "choice", CHANNELS),
                _key("changed_at", "timestamp"),
                _key("granted", "boolean"),
                Column("source"),
            ),
        ),
        Table(
            "devices",
            ("push_token", "updated_at"),
            (
                _key("push_token", "text"),
                _key("customer_id"),
                Column("platform", "lower"),
                Column("active", "boolean", default="true"),
                _key("updated_at", "timestamp"),
            ),
        ),
    )
}


def create_raw(connection: duckdb.DuckDBPyConnection) -> None:
    """Make schema `raw` with its tables where they are missing."""
    connection.execute("create schema if not exists raw")
    for table in TABLES.values():
        columns = ", ".join(f"{column.name} {SQL_TYPES[column.kind]}" for column in table.columns)
        connection.execute(f"create table if not exists raw.{table.name} ({columns}, _file_id varchar, _row_number bigint)")
    connection.execute(
        "create table if not exists raw.quarantine (file_id varchar, file varchar, table_name varchar, row_number bigint, "
        "column_name varchar, reason varchar, landed_at timestamp)"
    )
    connection.execute(
        "create table if not exists raw.landed_files (file_id varchar, file varchar, table_name varchar, rows_landed bigint, "
        "rows_quarantined bigint, landed_at timestamp, position integer, mapping_hash varchar)"
    )
    # Whose data each file changed: one row per file, table and key, and one for 'everybody' where the table was empty before the file.
    connection.execute(
        "create table if not exists raw.changed_keys (_file_id varchar, position bigint, table_name varchar, kind varchar, key varchar)"
    )
    connection.execute("create table if not exists raw.source_notes (note varchar)")
