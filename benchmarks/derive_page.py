"""What `benchmarks.derive` writes into docs/performance.md, from the results alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from benchmarks.chart import Panel, picture
from benchmarks.exports import COMPARED
from benchmarks.results import Middle, Result, Results
from winback.settings import Settings

CHART = "performance-derive.svg"
USUAL_LIMIT = str(Settings.model_fields["memory_limit"].default)

WHOLE = {"floor": "hand-written SQL", "models": "dbt, models", "models_and_tests": "dbt, models and data tests"}
NEXT = {"floor": "hand-written SQL, all again", "models": "dbt, models", "models_and_tests": "dbt, models and data tests"}
FRAMES = {
    "floor_of_compared": "hand-written SQL",
    "models_of_compared": "dbt, models",
    "pandas": "pandas",
    "polars": "polars",
}
LABELS = WHOLE | {"late": "landing late rows", "hand_over": "hand-over to PostgreSQL", "postgres": "dbt, models, on PostgreSQL"}
SHOWN_NODES = 15
MB = 1024
MILLION, FIVE_MILLION = 1_000_000, 5_000_000


@dataclass(frozen=True, slots=True)
class Target:
    """What a ratio of measured figures has to be. `of` gives it, None where something is not measured."""

    label: str
    wanted: str
    of: Callable[[Results], float | None]
    is_met: Callable[[float], bool]
    form: str = "{:.2f}"


def _time(results: Results, contender: str, size: int, day: str = "full") -> float | None:
    found = results.middle(contender, size, day, memory_limit=USUAL_LIMIT)
    return found.wall if found else None


def _peak(results: Results, contender: str, size: int, limit: str = USUAL_LIMIT) -> float | None:
    found = results.middle(contender, size, memory_limit=limit)
    return found.peak if found else None


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def _thrifty(results: Results, figure: Callable[[Middle], float]) -> float | None:
    """Of dbt's models of the marts compared, under the memory limit with which they took the least: time and memory are judged together."""
    found = [results.middle("models_of_compared", MILLION, memory_limit=limit) for limit in results.memory_limits()]
    measured = [one for one in found if one is not None]
    return figure(min(measured, key=lambda one: one.peak)) if measured else None


def exponent(results: Results, contender: str, small: int, large: int, day: str = "full") -> float | None:
    """The slope of time over size, both logarithmic: 1 means twice the customers, twice the time."""
    growth = _ratio(_time(results, contender, large, day), _time(results, contender, small, day))
    return math.log(growth) / math.log(large / small) if growth else None


TARGETS = (
    Target(
        "full build, 1 M customers: dbt's models to hand-written SQL, time",
        "≤ 2",
        lambda r: _ratio(_time(r, "models", MILLION), _time(r, "floor", MILLION)),
        lambda ratio: ratio <= 2,
    ),
    Target(
        "full build, 5 M customers: the same",
        "≤ 1.5",
        lambda r: _ratio(_time(r, "models", FIVE_MILLION), _time(r, "floor", FIVE_MILLION)),
        lambda ratio: ratio <= 1.5,
    ),
    Target(
        "full build, dbt's models: exponent of growth from 1 M to 5 M",
        "≤ 1.1",
        lambda r: exponent(r, "models", MILLION, FIVE_MILLION),
        lambda slope: slope <= 1.1,
    ),
    Target(
        "one more day, 5 M customers: dbt's models to their full build, time",
        "≤ 0.25",
        lambda r: _ratio(_time(r, "models", FIVE_MILLION, "next"), _time(r, "models", FIVE_MILLION)),
        lambda ratio: ratio <= 0.25,
    ),
    Target(
        "1 M customers: pandas to dbt's models, time",
        "≥ 2.5",
        lambda r: _ratio(_time(r, "pandas", MILLION), _thrifty(r, lambda one: one.wall)),
        lambda ratio: ratio >= 2.5,
    ),
    Target(
        "1 M customers: pandas to dbt's models, memory",
        "≥ 2.5",
        lambda r: _ratio(_peak(r, "pandas", MILLION), _thrifty(r, lambda one: one.peak)),
        lambda ratio: ratio >= 2.5,
    ),
    Target(
        "1 M customers: polars to dbt's models, time",
        "about level: ≥ 0.8",
        lambda r: _ratio(_time(r, "polars", MILLION), _thrifty(r, lambda one: one.wall)),
        lambda ratio: ratio >= 0.8,
    ),
    Target(
        "1 M customers: dbt's models on PostgreSQL to those on DuckDB, time",
        "≥ 5",
        lambda r: _ratio(_time(r, "postgres", MILLION), _time(r, "models", MILLION)),
        lambda ratio: ratio >= 5,
    ),
    Target(
        "full build, 5 M customers, memory limit of 4GB: peak memory in GB",
        "≤ 4",
        lambda r: _ratio(_peak(r, "models", FIVE_MILLION, "4GB"), MB),
        lambda peak: peak <= 4,
    ),
    Target(
        "full build, 5 M customers, memory limit of 2GB: peak memory in GB",
        "≤ 2, if it can",
        lambda r: _ratio(_peak(r, "models", FIVE_MILLION, "2GB"), MB),
        lambda peak: peak <= 2,
    ),
)


def targets(results: Results) -> Iterator[str]:
    """Lines of a Markdown table: what was wanted, what was found, and whether it is enough."""
    yield "| | target | found | met |"
    yield "|---|---|---:|---|"
    for target in TARGETS:
        found = target.of(results)
        if found is None:
            yield f"| {target.label} | {target.wanted} | not measured | |"
        else:
            yield f"| {target.label} | {target.wanted} | {target.form.format(found)} | {'yes' if target.is_met(found) else '**no**'} |"


def beside(results: Results, names: Mapping[str, str], day: str, base: str) -> Iterator[str]:
    """Lines of a Markdown table: contenders by size, each with its ratios to `base` of the same size."""
    yield "| customers | | runs | time | ratio | CPU time | ratio | peak memory | ratio | of it before the first model |"
    yield "|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    for size in results.sizes():
        yardstick = results.middle(base, size, day, memory_limit=USUAL_LIMIT)
        others = [limit for limit in results.memory_limits() if limit != USUAL_LIMIT and base == "models_of_compared"]
        for name, label, limit in (
            (name, label if limit == USUAL_LIMIT else f"{label}, memory limit of {limit}", limit)
            for name, label in names.items()
            for limit in (USUAL_LIMIT, *others)
        ):
            one = results.middle(name, size, day, memory_limit=limit)
            if one is None:
                continue
            fixed = f"{one.told['fixed']:.1f} s" if one.told.get("fixed") else ""
            pairs = [
                f"{_seconds(one.wall)} | {_share(one, yardstick, 'wall')}",
                f"{_seconds(one.cpu)} | {_share(one, yardstick, 'cpu')}",
                f"{one.peak:,.0f} MB | {_share(one, yardstick, 'peak')}",
            ]
            yield f"| {size:,} | {label} | {one.runs} | {' | '.join(pairs)} | {fixed} |"


def next_day(results: Results) -> Iterator[str]:
    """Lines of a Markdown table: one more day, beside the full build of the same contender and the hand-written script."""
    yield "| customers | | runs | time | of its full build | of the hand-written SQL | CPU time | of its full build | peak memory |"
    yield "|---:|---|---:|---:|---:|---:|---:|---:|---:|"
    for size in results.sizes():
        floor = results.middle("floor", size, "next", memory_limit=USUAL_LIMIT)
        for name, label in (NEXT | {"late": "landing what came late"}).items():
            one = results.middle(name, size, "next", memory_limit=USUAL_LIMIT)
            full = results.middle(name, size, memory_limit=USUAL_LIMIT)
            if one is not None:
                yield (
                    f"| {size:,} | {label} | {one.runs} | {_seconds(one.wall)} | {_share(one, full, 'wall')} "
                    f"| {_share(one, floor, 'wall')} | {_seconds(one.cpu)} | {_share(one, full, 'cpu')} "
                    f"| {one.peak:,.0f} MB |"
                )
            elif failure := results.failure(name, size, "next", memory_limit=USUAL_LIMIT):
                yield f"| {size:,} | {label} | | {_why(failure)} | | | | | |"


def growth(results: Results) -> Iterator[str]:
    """Lines of a Markdown table: exponents between neighbouring sizes."""
    pairs = list(zip(results.sizes(), results.sizes()[1:], strict=False))
    if not pairs:
        yield "One size was measured."
        return
    yield "| | " + " | ".join(f"{small:,} to {large:,}" for small, large in pairs) + " |"
    yield "|---" + "|---:" * len(pairs) + "|"
    rows = [(name, "full", label) for name, label in WHOLE.items()]
    rows += [(name, "next", f"{label}, one more day") for name, label in WHOLE.items() if name != "floor"]
    rows += [(name, "full", f"{label}, marts compared") for name, label in FRAMES.items()]
    rows += [("postgres", "full", LABELS["postgres"])]
    for name, day, label in rows:
        slopes = [exponent(results, name, small, large, day) for small, large in pairs]
        if any(slope is not None for slope in slopes):
            yield f"| {label} | " + " | ".join("" if slope is None else f"{slope:.2f}" for slope in slopes) + " |"


def on_postgres(results: Results) -> Iterator[str]:
    """Lines of a Markdown table: the same models on both engines."""
    yield "| customers | | runs | time | ratio | CPU time | ratio |"
    yield "|---:|---|---:|---:|---:|---:|---:|"
    for size in results.sizes():
        if results.middle("postgres", size, memory_limit=USUAL_LIMIT) is None:
            continue
        for day, suffix in (("full", ""), ("next", ", one more day")):
            duck = results.middle("models", size, day, memory_limit=USUAL_LIMIT)
            for name, label in (("models", "DuckDB"), ("postgres", "PostgreSQL"), ("hand_over", "hand-over to PostgreSQL, not counted")):
                one = results.middle(name, size, day, memory_limit=USUAL_LIMIT)
                if one is not None:
                    wall, cpu = (_share(one, duck, kind) if name != "hand_over" else "" for kind in ("wall", "cpu"))
                    yield f"| {size:,} | {label}{suffix} | {one.runs} | {_seconds(one.wall)} | {wall} | {_seconds(one.cpu)} | {cpu} |"


def within_memory(results: Results) -> Iterator[str]:
    """Lines of a Markdown table: the full build under several memory limits."""
    yield "| customers | memory limit | runs | time | peak memory | |"
    yield "|---:|---|---:|---:|---:|---|"
    for size in results.sizes():
        for limit in results.memory_limits():
            one = results.middle("models", size, memory_limit=limit)
            failure = results.failure("models", size, memory_limit=limit)
            if one is not None:
                yield f"| {size:,} | {limit} | {one.runs} | {_seconds(one.wall)} | {one.peak:,.0f} MB | built |"
            elif failure:
                yield f"| {size:,} | {limit} | | | | {_why(failure)} |"


def _why(failure: str) -> str:
    return next((line.strip() for line in failure.splitlines() if "Error" in line), "failed").replace("|", "/")[:160]


def slowest(told: Mapping[str, float]) -> Iterator[str]:
    """Lines of a Markdown table: the models or tables that took longest."""
    yield "| | seconds |"
    yield "|---|---:|"
    for name, seconds in sorted(told.items(), key=lambda item: -item[1])[:SHOWN_NODES]:
        yield f"| {name} | {seconds:.2f} |"


def chart(results: Results) -> str:
    """Time by size of every contender as SVG: left where every mart is derived, right where only those that data frames make too."""

    def line(name: str, day: str = "full") -> list[tuple[int, float]]:
        found = [(size, _time(results, name, size, day)) for size in results.sizes()]
        return [(size, seconds) for size, seconds in found if seconds is not None]

    whole = {
        "hand-written SQL": line("floor"),
        "dbt": line("models"),
        "dbt with tests": line("models_and_tests"),
        "one more day*": line("models", "next"),
        "dbt, PostgreSQL": line("postgres"),
    }
    parts = {"hand-written SQL": "floor_of_compared", "dbt": "models_of_compared", "polars": "polars", "pandas": "pandas"}
    few = {label: line(name) for label, name in parts.items()}
    return picture([Panel("every mart", whole), Panel("marts of customers and audiences", few)])


def _seconds(value: float) -> str:
    return f"{value:,.1f} s"


def _share(one: Middle, other: Middle | None, figure: Literal["wall", "cpu", "peak"]) -> str:
    return f"{getattr(one, figure) / getattr(other, figure):.2f}" if other else ""


PART = """## A day's derivation beside what else could compute it

Everything is generated (`benchmarks/generate.sql`): for each customer ten orders, twelve order lines, thirty message events and seven
visits, logins or actions over three years. Each run is a process of its own, counted from its start to its end; figures are medians of so
many runs as the tables say, taken in turn. Where time and CPU time tell different stories, other work had the machine.

{targets}

![Time by number of customers, both logarithmic; the figures stand in the tables below]({chart})

### Full build

Every mart from raw: by `dbt build`, in one process as a daily run does it, and by `benchmarks/floor.sql`, which is what an expert would
write by hand for DuckDB alone. A test holds both to the same rows. dbt's time includes Python, imports and parsing, shown apart in the last
column. Data tests, which a daily run makes too, count only in rows that name them; the hand-written script tests nothing.

{full}

### One more day

The day after, on top of the full build, in a new process; between the two, landing brought a few rows that came late, and others that
correct known ones (`benchmarks/late.py`). The hand-written script knows no other way than to derive everything again, and the scripts with
data frames below neither: their next day costs what the first one does.

{next}

### Growth

The exponent is the slope of time over customers, both logarithmic: 1 means that twice the customers take twice the time.

{growth}

### Data frames

pandas (`benchmarks/with_pandas.py`) and polars (`benchmarks/with_polars.py`) compute {compared}.
dbt (`build --select` of these with their ancestors) and the hand-written script are cut down to the same; a test holds all of them to the
same rows. Data frames read Parquet exports with only the needed columns, money as floating point, and write Parquet; what the exports took
is not counted. DuckDB takes as much memory as its limit allows ({limit} where nothing else is said) before it spills; the other two have no
limit. Targets judge time and memory of the same runs, those under the limit with which dbt took the least memory.

{frames}

### PostgreSQL

The same models, without data tests, on a PostgreSQL server on the same machine, settings as in `benchmarks/derive.py` (commits on disk,
4 GB of shared buffers, 256 MB for each sort or hash). CPU time is that of dbt and of the server together.

{postgres}

### Bigger than memory

The full build, models alone, under several settings of `memory_limit` (`WINBACK_MEMORY_LIMIT`). Python and dbt come on top of what DuckDB
may use.

{memory}

### Where the time goes

The slowest models at {where:,} customers; two run at a time:

{nodes}

The slowest tables of the hand-written script:

{floor_nodes}

Measured {on} (revision {revision}); {machine}; DuckDB with {threads} threads and, where nothing else is said, a memory limit of {limit}.
"""


def report(results: Results, machine: str) -> str:
    """Its part of docs/performance.md, from the results alone."""
    days = sorted({one.on for one in results.all})
    where = max((size for size in results.sizes() if _time(results, "models", size)), default=0)
    audiences = Settings().audiences()
    return PART.format(
        targets="\n".join(targets(results)),
        chart=CHART,
        full="\n".join(beside(results, WHOLE, "full", "floor")),
        next="\n".join(next_day(results)),
        growth="\n".join(growth(results)),
        compared=", ".join(f"`{mart}`" for mart in COMPARED if mart not in audiences)
        + f" and the members of the {len(audiences)} audiences",
        limit=USUAL_LIMIT,
        frames="\n".join(beside(results, FRAMES, "full", "models_of_compared")),
        postgres="\n".join(on_postgres(results)),
        memory="\n".join(within_memory(results)),
        where=where,
        nodes="\n".join(slowest(_nodes(results, "models", where))),
        floor_nodes="\n".join(slowest(_nodes(results, "floor", where))),
        on=" to ".join(dict.fromkeys((days[0], days[-1]))) if days else "never",
        revision=", ".join(_revisions(results.all)),
        machine=machine,
        threads=" or ".join(str(threads) for threads in sorted({one.threads for one in results.all})),
    )


def _nodes(results: Results, contender: str, size: int) -> Mapping[str, float]:
    found: Middle | None = results.middle(contender, size, memory_limit=USUAL_LIMIT)
    nodes: Mapping[str, float] = found.told["nodes"] if found else {}
    return nodes


def _revisions(results: list[Result]) -> list[str]:
    return list(dict.fromkeys(one.revision for one in results))
