"""Which failures are worth another try: what a person has to put right is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from winback.errors import Busy, WinbackError


@contextmanager
def told_plainly() -> Iterator[None]:
    """Turn errors that a person has to act on into failures that are not retried, shown as they stand."""
    try:
        yield
    except Busy:
        raise
    except WinbackError as problem:
        raise dg.Failure(description=str(problem), allow_retries=False) from None
