"""`sources/checks.yml` is closed, and its errors say where, what was found and what is allowed."""

from __future__ import annotations

import pytest

from winback.errors import BadConfig
from winback.quality.limits import Limits, load_limits
from winback.settings import Settings

NAMES = {"orders_status_known", "orders_fresh"}


def write(settings: Settings, text: str) -> None:
    (settings.sources_dir / "checks.yml").write_text(text, encoding="utf-8")


def test_defaults_without_a_file(settings: Settings) -> None:
    assert load_limits(settings, NAMES) == Limits()


def test_an_empty_file_means_the_defaults(settings: Settings) -> None:
    write(settings, "# nothing yet\n")
    assert load_limits(settings, NAMES) == Limits()


def test_own_limits(settings: Settings) -> None:
    write(settings, "stale_blocking_days: 5\nknown_statuses: [annulled]\nlevels:\n  orders_status_known: blocking\n")
    assert load_limits(settings, NAMES) == Limits(
        stale_blocking_days=5, known_statuses=["annulled"], levels={"orders_status_known": "blocking"}
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stale_days: 5\n", r"checks\.yml:1: stale_days: found 5; there is no such field; allowed: earliest, future_hours"),
        ("\nstale_warning_days: soon\n", r"checks\.yml:2: stale_warning_days: found 'soon'; input should be a valid integer"),
        ("implausible_percent: 120\n", r"checks\.yml:1: implausible_percent: found 120; input should be less than or equal to 100"),
        (
            "levels:\n  orders_fresh: loud\n",
            r"checks\.yml:2: levels\.orders_fresh: found 'loud'; input should be 'blocking', 'warning' or 'off'",
        ),
        (
            "levels:\n  orders_rich: 'off'\n",
            r"checks\.yml:2: levels: no check is called 'orders_rich'; allowed: orders_fresh, orders_status_known",
        ),
        ("- a\n", r"checks\.yml:1: found list; expected fields"),
        ("a: [\n", r"checks\.yml:2: not readable as YAML"),
    ],
)
def test_errors(settings: Settings, text: str, message: str) -> None:
    write(settings, text)
    with pytest.raises(BadConfig, match=message):
        load_limits(settings, NAMES)
