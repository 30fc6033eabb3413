"""What is compared is the same thing: the hand-written script, the dbt models and the data frames give the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from benchmarks.derive import NEXT_DAY
from benchmarks.exports import COMPARED
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
    _assert_same(derived, mart)


def _assert_same(warehouse: duckdb.DuckDBPyConnection, mart: str) -> None:
    columns = ", ".join(name for name, *_ in warehouse.execute(f"describe marts.{mart}").fetchall())

    missing, invented = (
        warehouse.execute(
            f"select {columns} from {one}.{mart} except all select {columns} from {other}.{mart} order by all limit 3"
        ).fetchall()
        for one, other in (("marts", "floor"), ("floor", "marts"))
    )

    assert (missing, invented) == ([], [])


@pytest.fixture(scope="module", params=["pandas", "polars"])
def frames(request: pytest.FixtureRequest, derived: duckdb.DuckDBPyConnection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of marts that a data frame library has made of the same raw tables."""
    [(path,)] = derived.execute("select path from duckdb_databases() where path is not null").fetchall()
    exports = run(["benchmarks.contenders", "export", str(Path(path).parent.parent), AS_OF.isoformat()]).told["folder"]
    marts = tmp_path_factory.mktemp(request.param)
    run([f"benchmarks.with_{request.param}", exports, AS_OF.isoformat(), str(marts)])
    return marts


@pytest.mark.slow
@pytest.mark.parametrize("mart", COMPARED)
def test_data_frames_give_the_same_rows(derived: duckdb.DuckDBPyConnection, frames: Path, mart: str) -> None:
    """Sums of floating point numbers are compared with a tolerance of 1e-9."""
    described = derived.execute(f"describe marts.{mart}").fetchall()
    inexact = [name for name, kind, *_ in described if kind == "DOUBLE" or kind.startswith("DECIMAL")]
    exact = ", ".join(f"cast({name} as {kind}) as {name}" for name, kind, *_ in described if name not in inexact)

    def of(relation: str) -> str:
        return f"(select {exact}{''.join(f', cast({name} as double) as {name}' for name in inexact)} from {relation})"

    ours, theirs = of(f"marts.{mart}"), of(f"'{frames / mart}.parquet'")
    exact_names = ", ".join(name for name, *_ in described if name not in inexact)
    key = "using (customer_id)" if "customer_id" in exact_names else "using (month, lapse_threshold_days)"
    differing = [
        derived.execute(f"select {exact_names} from {one} except all select {exact_names} from {other} order by all limit 3").fetchall()
        for one, other in ((ours, theirs), (theirs, ours))
    ]
    apart = {}
    for name in inexact:
        one, other = f"ours.{name}", f"theirs.{name}"
        [apart[name]] = derived.execute(
            f"select count(*) filter (abs({one} - {other}) > 1e-9 * greatest(1, abs({one})) or ({one} is null) <> ({other} is null)) "
            f"from {ours} as ours join {theirs} as theirs {key}"
        ).fetchall()

    assert differing == [[], []]
    assert apart == dict.fromkeys(inexact, (0,))


@pytest.fixture(scope="module")
def one_more_day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """A warehouse in which dbt has derived a day on top of the one before, with late rows between, and the script that day alone."""
    settings = generate(CUSTOMERS, tmp_path_factory.mktemp("shop"))
    for contender, as_of in (("models", AS_OF), ("late", NEXT_DAY), ("models", NEXT_DAY), ("floor", NEXT_DAY)):
        run(["benchmarks.contenders", contender, str(settings.root), as_of.isoformat()])
    with open_warehouse(settings, read_only=True) as warehouse:
        yield warehouse


@pytest.mark.slow
@pytest.mark.parametrize("mart", _marts())
def test_one_more_day_gives_the_same_rows(one_more_day: duckdb.DuckDBPyConnection, mart: str) -> None:
    _assert_same(one_more_day, mart)


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
