"""The yardstick measures the same thing: the hand-written script and the dbt models give the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from benchmarks.generate import AS_OF, FIRST_DAY, generate
from benchmarks.measuring import run
from winback.settings import Settings
from winback.warehouse import open_warehouse

CUSTOMERS = 2_000

# What 2,000 customers would not fill otherwise: the programs' room of a day, and the cap on messages.
TIGHTER = """
update programs.versions set max_per_day = 60 where program in ('tier_drop', 'customer_lapsed');
update programs.sending_policies set max_messages = 1, patience_days = 0 where channel = 'push';
update programs.sending_policies set max_messages = 1 where channel = 'email';
"""


@pytest.fixture(scope="module")
def derived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """A warehouse in which both have derived the same day."""
    settings = generate(CUSTOMERS, tmp_path_factory.mktemp("shop"))
    with open_warehouse(settings) as warehouse:
        warehouse.execute(TIGHTER)
    for contender in ("floor", "models"):
        run(["benchmarks.contenders", contender, str(settings.root), AS_OF.isoformat()])
    with open_warehouse(settings, read_only=True) as warehouse:
        yield warehouse


# Made of what was sent, of which the ledger here has nothing, as is all of `measurement`: their own tests fill them.
MADE_OF_SENDS = {"ad_audience_removals", "deliverability_daily"}


def _marts() -> list[str]:
    """All that are made of the raw tables and the programs."""
    folder = Settings().dbt_project / "models" / "marts"
    return sorted(path.stem for path in folder.rglob("*.sql") if path.parent.name != "measurement" and path.stem not in MADE_OF_SENDS)


@pytest.mark.slow
@pytest.mark.parametrize("mart", _marts())
def test_both_give_the_same_rows(derived: duckdb.DuckDBPyConnection, mart: str) -> None:
    columns = ", ".join(name for name, *_ in derived.execute(f"describe marts.{mart}").fetchall())

    missing, invented = (
        derived.execute(
            f"select {columns} from {one}.{mart} except all select {columns} from {other}.{mart} order by all limit 3"
        ).fetchall()
        for one, other in (("marts", "floor"), ("floor", "marts"))
    )

    assert (missing, invented) == ([], [])


@pytest.mark.slow
def test_the_generated_shop_leaves_no_case_out(derived: duckdb.DuckDBPyConnection) -> None:
    """Equal and empty would prove little."""
    empty = [
        mart
        for mart in _marts()
        if derived.execute(f"select count(*) from marts.{mart}").fetchone() == (0,) and mart != "journey_followups"
    ]
    reasons = {reason for (reason,) in derived.execute("select distinct reason from marts.journey_admissions").fetchall()}
    decisions = {decision for (decision,) in derived.execute("select distinct decision from marts.journey_actions").fetchall()}
    unreachable = {reason for (reason,) in derived.execute("select distinct email_unreachable_reason from marts.customers").fetchall()}

    assert empty == []
    assert reasons == {
        None,
        "duplicate_contact",
        "purchased_recently",
        "engaged_recently",
        "higher_priority_program",
        "unreachable",
        "daily_cap",
    }
    assert decisions == {"send", "withhold", "defer", "skip"}
    assert unreachable >= {None, "no_address", "invalid_address", "no_consent", "consent_withdrawn", "unsubscribed", "bounced"}


def test_the_same_seed_gives_the_same_shop(tmp_path: Path) -> None:
    def rows(name: str, seed: int) -> list[tuple[object, ...]]:
        settings = generate(200, tmp_path / name, first_day=FIRST_DAY, as_of=FIRST_DAY + timedelta(days=90), seed=seed)
        with open_warehouse(settings, read_only=True) as warehouse:
            return warehouse.execute("select * from raw.message_events order by all").fetchall()

    assert rows("one", 7) == rows("other", 7)
    assert rows("one", 7) != rows("third", 8)


def test_events_lie_between_the_first_day_and_the_day_after(tmp_path: Path) -> None:
    as_of = datetime(2024, 3, 1)

    settings = generate(200, tmp_path, first_day=FIRST_DAY, as_of=as_of)

    with open_warehouse(settings, read_only=True) as warehouse:
        for table, column in (("orders", "ordered_at"), ("message_events", "occurred_at"), ("activity_events", "occurred_at")):
            earliest, latest = warehouse.execute(f"select min({column}), max({column}) from raw.{table}").fetchall()[0]
            assert earliest >= FIRST_DAY
            assert as_of < latest < as_of + timedelta(days=1)
