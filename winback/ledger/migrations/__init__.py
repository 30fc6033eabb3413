"""Alembic migrations of the ledger; run by `open_ledger` when the ledger is older than this code."""
