"""Assertions in the conformance suite say what differs, as those in test files do."""

import pytest

pytest.register_assert_rewrite("tests.destinations.conformance.suite")
