"""The ledger: an append-only, transactional record of what was done. See docs/ledger.md."""

from winback.ledger.store import Ledger, Writer, open_ledger, open_ledger_at

__all__ = ["Ledger", "Writer", "open_ledger", "open_ledger_at"]
