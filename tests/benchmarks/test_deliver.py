"""The benchmark of delivery runs, and its page says what it measured. How fast anything is, is no test's business."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from benchmarks import deliver
from benchmarks.measuring import Measured
from benchmarks.page import PAGE, write_part
from benchmarks.provider import provider
from benchmarks.senders import ANSWERS, BARE_BATCH, CONTENDERS


def _measured(speed: float, **told: object) -> Measured:
    return Measured(1.0, 1.0, 100.0, {"count": 1_000, "seconds": 1_000 / speed, "cpu": 0.5, **told})


@pytest.mark.slow
def test_every_line_can_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.senders.BARE_BATCH", dict.fromkeys(BARE_BATCH, 20))
    with provider(ANSWERS) as at:
        for line in deliver.lines(40):
            found = CONTENDERS[line.contender](line.destination, line.size, at)
            assert found["count"] >= line.size
            assert found["seconds"] > 0
        found = CONTENDERS["activation"]("", 40, at)
    assert found["count"] == 40
    assert set(found["phases"]) == {"plan", "apply", "dispatch", "hash", "render"}


def test_the_page_says_which_targets_were_met() -> None:
    measured = {line.name: _measured(1_000.0) for line in deliver.lines(1_000)}
    measured["fcm"] = _measured(599.0)
    measured["sqlite"] = _measured(20_000.0, claiming=0.02, recording=0.03)
    phases = {phase: [2.0, 1.0] for phase in ("plan", "apply", "dispatch", "hash", "render")}
    measured |= {name: _measured(1.0, phases=phases) for name in deliver.ACTIVATIONS}

    page = deliver.report(measured, 1_000, 3, date(2026, 3, 2))

    table = {row.split(" | ")[0].removeprefix("| "): row for row in page.splitlines() if row.startswith("| ")}
    assert table["FCM: dispatched"] == "| FCM: dispatched | 599 messages | 0.60 | 500.0 µs | 1.00 | ≥ 0.6 of the bare loop | **no** |"
    assert table["Twilio: dispatched"].endswith("| ≥ 0.6 of the bare loop | yes |")
    assert table["ledger on SQLite"].endswith("| ≥ 20,000 a second | yes |")
    assert "Memory at 1,000 actions is 1.00 of that at 1,000; target: flat, at most 1.25; met: yes." in page


def test_a_part_is_written_between_its_marks_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n<!-- a -->\nold\n<!-- end of a -->\n\n<!-- b -->\nkept\n<!-- end of b -->\n")

    write_part(page, "a", "new\n")

    assert page.read_text() == "# Title\n\n<!-- a -->\n\nnew\n\n<!-- end of a -->\n\n<!-- b -->\nkept\n<!-- end of b -->\n"
    with pytest.raises(SystemExit, match="no marks"):
        write_part(page, "c", "new")


def test_the_page_has_a_place_for_every_part() -> None:
    text = PAGE.read_text(encoding="utf-8")

    assert all(mark in text for part in ("derive", "deliver") for mark in (f"<!-- {part} -->", f"<!-- end of {part} -->"))
