from __future__ import annotations

from tests.ledger.conftest import ledger, ledger_url
from tests.postgres import postgres_server, postgres_url

__all__ = ["ledger", "ledger_url", "postgres_server", "postgres_url"]
