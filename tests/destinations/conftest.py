"""Assertions in the conformance suite say what differs, as those in test files do."""

import pytest

pytest.register_assert_rewrite("tests.destinations.conformance.suite")

from tests.delivery.conftest import empty_ledger, shop  # noqa: E402 - after what it may import is registered

__all__ = ["empty_ledger", "shop"]
