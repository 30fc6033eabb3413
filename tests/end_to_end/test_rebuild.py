"""The warehouse can be deleted, rows can come in any order and more than once, and a day can be run again or be killed."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.end_to_end.pipeline import Pipeline, make_project
from tests.end_to_end.shop import DAY, START, Row, Shop
from tests.end_to_end.trial_programs import FILES
from winback.day import dispatch_due
from winback.landing import TABLES, land
from winback.ledger import open_ledger
from winback.settings import PROJECT_ROOT
from winback.warehouse import open_warehouse

pytestmark = pytest.mark.slow

DAYS = 5
AS_OF = START + (DAYS - 1) * DAY
_PLANNED = ("enrolments", "steps", "messages", "audience_changes")
_RECORDED = ("enrolments", "steps", "messages", "claims", "outcomes", "audience_changes", "tags", "suppressions", "offer_codes")


@dataclass(frozen=True, slots=True)
class FiveDays:
    """A home after five days, and what it decided on the last of them. Tests work on copies."""

    pipeline: Pipeline
    shop: Shop
    marts: dict[str, bytes]
    plan: dict[str, bytes]
    before_last_act: Path

    def copy(self, folder: Path, *, of: Path | None = None, settings: Mapping[str, Any] | None = None) -> Pipeline:
        """A copy of the home (or of another state of it), with what dbt wrote."""
        shutil.copytree(of or self.pipeline.settings.root, folder, symlinks=True)
        return self.pipeline.on_home(folder)


@pytest.fixture(scope="module")
def five_days(tmp_path_factory: pytest.TempPathFactory) -> FiveDays:
    folder = tmp_path_factory.mktemp("rebuild")
    pipeline = Pipeline(make_project(folder / "project", FILES), folder / "home", threads=1)
    shop = Shop(7, 120)
    for day in range(DAYS):
        as_of = START + day * DAY
        pipeline.land(shop.arrive([day]))
        pipeline.sync(as_of)
        if day in (0, DAYS - 1):
            pipeline.derive(as_of)
        else:
            pipeline.derive_again(as_of)
        if day == DAYS - 1:
            shutil.copytree(pipeline.settings.root, folder / "before")
        pipeline.act(as_of)
    return FiveDays(pipeline, shop, pipeline.exports(), _plan(pipeline), folder / "before")


def _plan(pipeline: Pipeline) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((pipeline.settings.plans / f"{AS_OF:%Y-%m-%d}").iterdir())}


def _recorded(pipeline: Pipeline) -> dict[str, list[Row]]:
    return {table: pipeline.ledger_rows(table) for table in _RECORDED}


def _outbox(pipeline: Pipeline) -> dict[str, bytes]:
    return {
        str(path.relative_to(pipeline.settings.outbox)): path.read_bytes()
        for path in sorted(pipeline.settings.outbox.rglob("*"))
        if path.is_file() and not path.name.startswith("index.db")
    }


def _known_rows(shop: Shop) -> dict[str, list[Row]]:
    """Of each key the row that landed last."""
    found: dict[str, list[Row]] = {}
    for table, known in shop.landed.items():
        key = TABLES[table].key
        found[table] = list({tuple(one.row[column] for column in key): one.row for one in known}.values())
    return found


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def _decide_again(five_days: FiveDays, home: Path, data: Path) -> Pipeline:
    """The same day on a fresh warehouse, from files and the ledger alone."""
    home.mkdir()
    shutil.copy(five_days.pipeline.settings.root / "ledger.db", home / "ledger.db")
    pipeline = five_days.pipeline.on_home(home)
    with open_ledger(pipeline.settings) as ledger, open_warehouse(pipeline.settings) as connection:
        report = land(pipeline.settings, connection, ledger, data=data, now=AS_OF)
        assert not connection.execute("select * from raw.quarantine").fetchall(), report
    pipeline.seed(AS_OF)
    pipeline.sync(AS_OF)
    pipeline.derive_again(AS_OF)
    pipeline.plan(AS_OF)
    return pipeline


def test_a_rebuilt_warehouse_decides_the_same(five_days: FiveDays, tmp_path: Path) -> None:
    pipeline = five_days.copy(tmp_path / "home")
    shutil.rmtree(pipeline.settings.root / "warehouse")
    shutil.rmtree(pipeline.settings.plans)
    pipeline.create_raw()
    pipeline.land(_known_rows(five_days.shop))
    pipeline.sync(AS_OF)
    pipeline.seed(AS_OF)
    pipeline.derive(AS_OF)
    pipeline.plan(AS_OF)

    assert pipeline.exports() == five_days.marts
    assert _plan(pipeline) == five_days.plan


def test_the_order_of_files_and_rows_and_replays_change_nothing(five_days: FiveDays, tmp_path: Path) -> None:
    chance = Random(3)
    for table, rows in _known_rows(five_days.shop).items():
        shuffled = [*rows, *chance.sample(rows, len(rows) // 4)]
        chance.shuffle(shuffled)
        for part in range(3):
            _write_csv(tmp_path / "data" / table / f"{chance.randrange(10**6)}.csv", shuffled[part::3])

    pipeline = _decide_again(five_days, tmp_path / "home", tmp_path / "data")

    assert pipeline.exports() == five_days.marts
    assert _plan(pipeline) == five_days.plan


def test_what_happens_later_changes_nothing_before(five_days: FiveDays, tmp_path: Path) -> None:
    rows = _known_rows(five_days.shop)
    later = _later(five_days.shop)
    for table in rows:
        _write_csv(tmp_path / "data" / table / "a.csv", rows[table])
        if later[table]:
            _write_csv(tmp_path / "data" / table / "b.csv", later[table])

    pipeline = _decide_again(five_days, tmp_path / "home", tmp_path / "data")

    assert pipeline.exports() == five_days.marts
    assert _plan(pipeline) == five_days.plan


def _later(shop: Shop) -> dict[str, list[Row]]:
    """For everybody: an order, a visit, an unsubscribe, a withdrawn consent, a lost device, from as_of on."""
    rows: dict[str, list[Row]] = defaultdict(list)
    for number, customer in enumerate(shop.people):
        at = AS_OF + timedelta(hours=number % 48)
        rows["orders"].append(
            {"order_id": f"x{number}", "customer_id": customer, "ordered_at": at, "status": "paid", "total": 900, "refunded": 0}
        )
        rows["order_lines"].append({"order_id": f"x{number}", "line_no": 1, "product_id": "p1", "quantity": 1, "unit_price": 900})
        rows["activity_events"].append({"event_id": f"x{number}", "customer_id": customer, "event_type": "visit", "occurred_at": at})
        event = {"event_id": f"x{number}", "customer_id": customer, "channel": "email", "event_type": "unsubscribed", "occurred_at": at}
        rows["message_events"].append(event | {"campaign": "newsletter", "is_machine": False})
        rows["consents"].append({"customer_id": customer, "channel": "sms", "changed_at": at, "granted": False, "source": "form"})
        device = {"push_token": f"token-{customer}", "customer_id": customer, "platform": "ios", "active": False, "updated_at": at}
        rows["devices"].append(device)
    rows["customers"].append({"customer_id": "new", "email": "c0001@example.com", "created_at": AS_OF + timedelta(hours=1)})
    return rows


def test_days_that_are_run_again_send_nothing_twice(five_days: FiveDays, tmp_path: Path) -> None:
    pipeline = five_days.copy(tmp_path / "home")
    before = _recorded(pipeline), _outbox(pipeline)
    for as_of in (AS_OF, AS_OF - 2 * DAY, AS_OF - DAY, AS_OF):
        pipeline.sync(as_of)
        pipeline.derive_again(as_of)
        pipeline.act(as_of)

    assert (_recorded(pipeline), _outbox(pipeline)) == before
    assert pipeline.exports() == five_days.marts


def _run_apart(pipeline: Pipeline, kill_at: int, faults: str = "") -> subprocess.CompletedProcess[str]:
    settings = pipeline.settings
    arguments = [str(settings.project), str(settings.root), AS_OF.isoformat(), str(kill_at)]
    return subprocess.run(
        [sys.executable, "-m", "tests.end_to_end.killed_day", *arguments],
        env=os.environ | {"WINBACK_OUTBOX_FAULTS": faults},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_day_that_is_killed_and_run_again_sends_everything_once(five_days: FiveDays, tmp_path: Path) -> None:
    undisturbed = five_days.copy(tmp_path / "undisturbed", of=five_days.before_last_act)
    finished = _run_apart(undisturbed, 0)
    assert finished.returncode == 0, finished.stderr
    commits = int(finished.stdout)
    dispatch_due(undisturbed.settings, AS_OF + DAY, AS_OF + DAY)
    planned = {table: _without_times(undisturbed.ledger_rows(table)) for table in _PLANNED}
    accepted = _ended(undisturbed, "accepted")
    assert len(accepted) > 10
    # One in each part of the day's commits, from the first row of the plan to the last outcome; then a provider's last breath.
    chance = Random(commits)
    points = [(chance.randint(1 + part * commits // 4, (part + 1) * commits // 4), "") for part in range(4)]
    for number, (kill_at, faults) in enumerate([*points, (0, "die=1")]):
        pipeline = five_days.copy(tmp_path / f"killed{number}", of=five_days.before_last_act)
        killed = _run_apart(pipeline, kill_at, faults)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        pipeline.act(AS_OF)
        # What was claimed in the last hour is in doubt until its lease has run out: the next day's first hour finds out.
        dispatch_due(pipeline.settings, AS_OF + DAY, AS_OF + DAY)

        told = f"killed at commit {kill_at} of {commits} {faults}"
        assert {table: _without_times(pipeline.ledger_rows(table)) for table in _PLANNED} == planned, told
        left = _ended(pipeline, "accepted")
        assert left <= accepted, told
        # Some hours later somebody has bought, or has had enough messages: what was in doubt then is not repeated.
        in_doubt = _ended(pipeline, "unknown")
        assert accepted - left <= _ended(pipeline, "skipped") | in_doubt, told
        found = Counter(_outbox_ids(pipeline))
        assert set(found.values()) == {1}, told
        assert left <= found.keys() <= left | in_doubt, told


def _without_times(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    return sorted(tuple(str(value) for name, value in row.items() if name not in ("seq", "recorded_at")) for row in rows)


def _ended(pipeline: Pipeline, outcome: str) -> set[str]:
    """Ids of messages and audience changes that ended so."""
    last = {row["item_id"]: row["outcome"] for row in sorted(pipeline.ledger_rows("outcomes"), key=lambda row: row["attempt"])}
    return {item for item, ended in last.items() if ended == outcome}


def _outbox_ids(pipeline: Pipeline) -> list[str]:
    """Each time that a message or an audience change stands in the outbox."""
    outbox = pipeline.settings.outbox
    found = [path.stem for path in (outbox / "email").rglob("*.eml")]
    for path in outbox.rglob("*.jsonl"):
        found += [json.loads(line)["message_id"] for line in path.read_text(encoding="utf-8").splitlines()]
    for path in (outbox / "ads").rglob("*.csv"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) == len(set(lines)), f"{path} holds a line twice"
        # A change has a line for each identifier.
        found += {line.split(",")[0] for line in lines if not line.startswith("change_id")}
    return found
