"""Measure a day's derivation beside what else could compute it, and write its part of docs/performance.md: `make bench PART=derive`.

python -m benchmarks.derive [--size 1000000 ...] [--contender floor ...] [--runs 3] [--memory-limit 4GB] [--only-report]

Results are added to var/bench/derive.jsonl, and the page is written from all that stand there for this machine: a long measurement can be
done in pieces. Where one thing was measured of several revisions of the code, the last one counts. Move that file away to begin anew.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import psycopg

from benchmarks.derive_page import CHART, chart, report
from benchmarks.generate import AS_OF, home_of
from benchmarks.measuring import Failed, Measured, cpu_of_server, run
from benchmarks.page import PAGE, machine, write_part
from benchmarks.results import Result, keep, kept
from tests.postgres import NoPostgres, cluster
from winback.clock import utc_now
from winback.settings import PROJECT_ROOT, Settings

RESULTS = PROJECT_ROOT / "var" / "bench" / "derive.jsonl"
SIZES = (100_000, 1_000_000, 5_000_000)
NEXT_DAY = AS_OF + timedelta(days=1)
# Half of the usual limit: what needs more memory has to spill.
LITTLE_MEMORY = "2GB"

# A quarter of this machine's memory and more is what a server of its own would be given; commits are on disk.
POSTGRES = {
    "shared_buffers": "4GB",
    "work_mem": "256MB",
    "hash_mem_multiplier": "2",
    "maintenance_work_mem": "1GB",
    "effective_cache_size": "12GB",
    "max_wal_size": "16GB",
    "checkpoint_timeout": "30min",
    "wal_compression": "on",
    "random_page_cost": "1.1",
    "jit": "off",
}


@dataclass(frozen=True)
class Bench:
    """The data of one size, and where what is measured of it goes."""

    settings: Settings
    size: int
    tell: Callable[[str, str, Measured | Failed], None]

    def run(self, name: str, as_of: datetime = AS_OF, environment: Mapping[str, str] | None = None) -> Measured:
        """One step of `benchmarks.contenders`, in a process of its own."""
        return run(["benchmarks.contenders", name, str(self.settings.root), as_of.isoformat()], environment)

    def measure(self, contender: str, day: str, take: Callable[[], Measured]) -> None:
        """Take one measurement and keep it, also that it failed."""
        try:
            self.tell(contender, day, take())
        except Failed as failed:
            self.tell(contender, day, failed)
            raise

    def prepare(self) -> None:
        """Drop what an earlier run derived, so that each begins with raw, programs and ledger alone.

        In a process of its own, as everything that needs memory: what the one that measures ever had counts as its children's.
        """
        self.run("prepare")


def floor(bench: Bench) -> None:
    """The hand-written script, and again a day later: it knows no other way."""
    bench.prepare()
    bench.measure("floor", "full", lambda: bench.run("floor"))
    bench.measure("floor", "next", lambda: bench.run("floor", NEXT_DAY))


def _both_days(bench: Bench, name: str) -> None:
    bench.prepare()
    # Before, unmeasured: a daily run finds dbt's parse of the day before.
    bench.run("parse")
    bench.measure(name, "full", lambda: bench.run(name))
    bench.measure("late", "next", lambda: bench.run("late", NEXT_DAY))
    bench.measure(name, "next", lambda: bench.run(name, NEXT_DAY))


def models(bench: Bench) -> None:
    """dbt's models, and one more day with what came late to it."""
    _both_days(bench, "models")


def models_and_tests(bench: Bench) -> None:
    """The same with data tests, which is what a daily run does."""
    _both_days(bench, "models_and_tests")


def compared(bench: Bench) -> None:
    """The hand-written script and dbt, cut down to the marts that data frames make too."""
    bench.prepare()
    bench.measure("floor_of_compared", "full", lambda: bench.run("floor_of_compared"))
    bench.prepare()
    bench.run("parse")
    bench.measure("models_of_compared", "full", lambda: bench.run("models_of_compared"))


def _data_frames(bench: Bench, name: str) -> None:
    exports = Path(bench.run("export").told["folder"])
    with tempfile.TemporaryDirectory(prefix="winback-bench-", dir=bench.settings.root) as marts:
        bench.measure(name, "full", lambda: run([f"benchmarks.with_{name}", str(exports), AS_OF.isoformat(), marts]))


def pandas(bench: Bench) -> None:
    """A data team's script in pandas."""
    _data_frames(bench, "pandas")


def polars(bench: Bench) -> None:
    """The same in polars."""
    _data_frames(bench, "polars")


def postgres(bench: Bench) -> None:
    """The same dbt models on a PostgreSQL server of its own, whose CPU time is counted too, and one more day with what came late to it.

    Handing the raw tables over is told apart.
    """
    bench.prepare()
    with cluster(durable=True, options=POSTGRES) as url:
        environment = {"WINBACK_TARGET": "postgres", "WINBACK_ENGINE_URL": f"{url}/postgres"}
        with psycopg.connect(environment["WINBACK_ENGINE_URL"]) as connection:
            server = int(connection.execute("select split_part(pg_read_file('postmaster.pid'), chr(10), 1)").fetchall()[0][0])

        def counted(name: str, as_of: datetime = AS_OF) -> Measured:
            before = cpu_of_server(server)
            one = bench.run(name, as_of, environment)
            return replace(one, cpu=one.cpu + (cpu_of_server(server) or 0) - (before or 0))

        bench.measure("hand_over", "full", lambda: counted("hand_over"))
        bench.run("parse", environment=environment)
        bench.measure("postgres", "full", lambda: counted("models"))
        bench.run("late", NEXT_DAY)
        bench.measure("hand_over", "next", lambda: counted("hand_over", NEXT_DAY))
        bench.measure("postgres", "next", lambda: counted("models", NEXT_DAY))


@dataclass(frozen=True, slots=True)
class Contender:
    """What is measured under a name, and up to which size unless asked for by name. `spills`: with little memory too."""

    measure: Callable[[Bench], None]
    most: int = max(SIZES)
    spills: bool = False


CONTENDERS = {
    "floor": Contender(floor),
    "models": Contender(models, spills=True),
    "models_and_tests": Contender(models_and_tests),
    "compared": Contender(compared, spills=True),
    # Beyond, pandas needs more memory than this benchmark's machine has, and PostgreSQL hours.
    "pandas": Contender(pandas, 1_000_000),
    "polars": Contender(polars, 1_000_000),
    "postgres": Contender(postgres, 1_000_000),
}


def _revision() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def measure(size: int, names: list[str], runs: int, results: Path) -> None:
    """Run each contender `runs` times in turn, so that a busy machine slows all of them; a failure is kept and the next one tried."""
    settings = Settings(home=home_of(size))
    run(["benchmarks.generate", "--customers", str(size), "--once"])
    on_machine, revision = this_machine(), _revision()

    def tell(contender: str, day: str, found: Measured | Failed) -> None:
        failed = str(found) if isinstance(found, Failed) else ""
        one = found if isinstance(found, Measured) else Measured(0, 0, 0, {})
        keep(
            results,
            Result(
                contender=contender,
                size=size,
                day=day,
                memory_limit=settings.memory_limit,
                threads=settings.threads,
                wall=one.wall,
                cpu=one.cpu,
                peak=one.peak,
                told=one.told,
                failed=failed,
                on=utc_now().date().isoformat(),
                revision=revision,
                machine=on_machine,
            ),
        )
        said = failed or f"{one.wall:.1f} s, cpu {one.cpu:.1f} s, peak {one.peak:,.0f} MB"
        print(f"{size:,}, {contender}, {day}: {said}", flush=True)

    bench = Bench(settings, size, tell)
    for _ in range(runs):
        for name in names:
            try:
                CONTENDERS[name].measure(bench)
            except Failed:
                continue
            except NoPostgres as missing:
                print(f"PostgreSQL is left out: {missing}", flush=True)


def this_machine() -> str:
    """What figures of this part are compared on."""
    return machine("duckdb", "dbt-core", "dbt-duckdb", "pandas", "polars")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, action="append", help=f"customers; may be given several times (default: {SIZES})")
    parser.add_argument("--contender", choices=list(CONTENDERS), action="append", help="may be given several times (default: all)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--memory-limit", default=None, help=f"DuckDB's (default: the setting's, then {LITTLE_MEMORY})")
    parser.add_argument("--clean", action="store_true", help="delete the generated data of each size once it is measured")
    parser.add_argument("--only-report", action="store_true", help="measure nothing, write the page from the results that are kept")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--report", type=Path, default=PAGE, help="page to write its part of (default: docs/performance.md)")
    asked = parser.parse_args()
    limits = [asked.memory_limit] if asked.memory_limit else list(dict.fromkeys([Settings().memory_limit, LITTLE_MEMORY]))
    for size in () if asked.only_report else asked.size or SIZES:
        names = asked.contender or [name for name, one in CONTENDERS.items() if size <= one.most]
        for limit in limits:
            os.environ["WINBACK_MEMORY_LIMIT"] = limit
            measure(size, [name for name in names if limit == limits[0] or CONTENDERS[name].spills], asked.runs, asked.results)
        if asked.clean:
            shutil.rmtree(home_of(size))
    found = kept(asked.results, this_machine())
    (asked.report.parent / CHART).write_text(chart(found), encoding="utf-8")
    write_part(asked.report, "derive", report(found, this_machine()))
    print(f"written: {asked.report}")


if __name__ == "__main__":
    main()
