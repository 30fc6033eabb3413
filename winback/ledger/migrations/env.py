"""Alembic's entry point: runs on the connection, and inside the transaction, that `open_ledger` hands over."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
