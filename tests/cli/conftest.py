"""The command line on a small shop's real ledger: one journey's messages, sent or not by the real dispatcher."""

from __future__ import annotations

import pytest

from tests.delivery.conftest import Shop, empty_ledger
from tests.delivery.conftest import shop as plain_shop

__all__ = ["empty_ledger", "plain_shop"]


@pytest.fixture
def shop(plain_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A shop whose home the command line finds. Its clock is simulated, as that of `winback run` is."""
    monkeypatch.setenv("WINBACK_HOME", str(plain_shop.settings.home))
    monkeypatch.setenv("WINBACK_CLOCK", "simulated")
    monkeypatch.setenv("USER", "ada")
    return plain_shop
