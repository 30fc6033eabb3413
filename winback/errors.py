"""Errors, named by what the caller does next."""

from __future__ import annotations


class WinbackError(Exception):
    """Something the user can act on: shown as it stands, without a traceback."""


class BadConfig(WinbackError):
    """A setting, mapping, program or template is wrong. Nothing was done; edit it and start again."""


class BadInput(WinbackError):
    """A source file or table cannot be used as a whole. Rows that can be used are never the reason."""


class StopRun(WinbackError):
    """Going on could do harm (a blocked check, a suddenly empty audience). Nothing more is sent today."""


class Busy(WinbackError):
    """Another process holds what this one needs. Trying again later is safe."""


class RetryLater(Exception):
    """A provider cannot take any of these items now.

    `after` is the number of seconds the provider asked for, or None where it named none.
    """

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


class RejectItem(Exception):
    """A provider will never take this item. `reason` holds no address, token or body."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class InDoubt(Exception):
    """An item was handed over and its fate is not known: the caller records `unknown` and never blindly repeats it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
