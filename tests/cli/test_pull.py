"""`winback pull` says why it pulled nothing."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from tests.delivery.conftest import Shop
from winback.cli import app


@pytest.mark.parametrize(("clock", "said"), [("simulated", "simulated clock"), ("real", "neither sendgrid nor twilio")])
def test_the_true_reason_is_said(shop: Shop, monkeypatch: pytest.MonkeyPatch, clock: str, said: str) -> None:
    monkeypatch.setenv("WINBACK_CLOCK", clock)
    told = CliRunner().invoke(app, ["pull"])
    assert (told.exit_code, told.stdout.count("\n")) == (0, 1)
    assert said in told.stdout
