"""What readers of `published/` see, while and after it is written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from winback.errors import BadInput, StopRun
from winback.publishing import one_version, publish
from winback.publishing.publication import STORAGE_VERSION, VERSIONS_KEPT
from winback.settings import PROJECT_ROOT, Settings

AS_OF = datetime(2017, 12, 1)
NOW = datetime(2017, 12, 1, 0, 20)

# Every mart of every form, over and over: in one opening each must be of one run.
READER = """
import sys, duckdb
from pathlib import Path
from winback.publishing import one_version
from winback.settings import PROJECT_ROOT, Settings
home = Path(sys.argv[1])
settings = Settings(home=home)
marts = "select table_name from duckdb_tables() where schema_name = 'marts' and table_name not like 'published_%'"
print("reading", flush=True)
reads, seen = 0, set()
while not (home / "stop").exists():
    with duckdb.connect(str(settings.published / "winback.duckdb"), read_only=True) as reader:
        names = [name for (name,) in reader.execute(marts).fetchall()]
        of_file = {reader.execute(f"select min(publication), max(publication) from marts.{name}").fetchone() for name in names}
        of_file.add(reader.execute("select min(run_id::int), max(run_id::int) from marts.published_run").fetchone())
    with one_version(settings) as folder, duckdb.connect() as reader:
        of_folder = {reader.execute(f"select min(publication), max(publication) from '{folder}/{n}.parquet'").fetchone() for n in names}
        of_folder.add(reader.execute(f"select min(run_id::int), max(run_id::int) from '{folder}/published_run.parquet'").fetchone())
    assert len(names) == 6, names
    assert len(of_file) == 1 and len(of_folder) == 1, (of_file, of_folder)
    seen |= of_file
    reads += 1
assert reads > 1
print(len(seen))
"""


def tables(path: Path) -> dict[str, list[str]]:
    with duckdb.connect(str(path), read_only=True) as reader:
        rows = reader.execute("select schema_name || '.' || table_name, column_name from duckdb_columns() where not internal").fetchall()
    found: dict[str, list[str]] = {}
    for table, column in rows:
        found.setdefault(table, []).append(column)
    return found


def test_only_marts_are_published_with_their_words(settings: Settings, warehouse: duckdb.DuckDBPyConnection) -> None:
    report = publish(settings, warehouse, "run-1", AS_OF, now=NOW)
    assert report.rows == {"customers": 1000, "flows": 10}
    assert set(tables(report.duckdb)) == {"marts.customers", "marts.flows", "marts.published_run", "marts.published_notes"}
    assert {path.name for path in report.parquet.iterdir()} == {
        "customers.parquet",
        "flows.parquet",
        "published_run.parquet",
        "published_notes.parquet",
        "data_dictionary.md",
        "data_dictionary.json",
        "run.json",
    }
    with duckdb.connect(str(report.duckdb), read_only=True) as reader:
        assert reader.execute("from marts.published_run").fetchall() == [("run-1", AS_OF, NOW, "USD")]
        assert reader.execute("from marts.published_notes").fetchall() == [("Contact details are invented (seed 7)",)]
        comments = dict(reader.execute("select column_name, comment from duckdb_columns() where table_name = 'customers'").fetchall())
        assert comments["lifetime_value"] == "Net value of all purchases (GBP)"
        assert reader.execute("select comment from duckdb_tables() where table_name = 'customers'").fetchall() == [
            ("Who they are and how they shop. One row per customer.",)
        ]
    with duckdb.connect() as reader:
        types = f"select column_name, column_type from (describe from '{report.parquet}/customers.parquet')"
        assert dict(reader.execute(types).fetchall())["lifetime_value"] == "DECIMAL(18,4)"
        metadata = reader.execute(f"select key, value from parquet_kv_metadata('{report.parquet}/flows.parquet')").fetchall()
        assert (b"run_id", b"run-1") in [(bytes(key, "utf-8") if isinstance(key, str) else key, value) for key, value in metadata]
    assert json.loads((settings.published / "run.json").read_text())["run_id"] == "run-1"


def test_dictionary(settings: Settings, warehouse: duckdb.DuckDBPyConnection) -> None:
    report = publish(settings, warehouse, "run-1", AS_OF, now=NOW)
    text = report.dictionary.read_text(encoding="utf-8")
    assert "> **Notice:** Contact details are invented (seed 7)" in text
    assert "- [customers](#customers): One row per customer." in text
    assert "| customer_id | varchar |  | Key \\| of the shop |" in text
    assert "| days_since_last_order | bigint | days |  |" in text
    assert "| lifetime_value | decimal(18,4) | GBP | Net value of all purchases |" in text
    assert "| last_ordered_at | timestamp | UTC |  |" in text
    assert "| win_back_percentage | double | percent |  |" in text
    marts = {mart["name"]: mart for mart in json.loads(report.dictionary.with_suffix(".json").read_text(encoding="utf-8"))["marts"]}
    assert set(marts) == {"published_run", "published_notes", "customers", "flows"}
    assert marts["customers"]["grain"] == "One row per customer."
    assert {name: [column["name"] for column in mart["columns"]] for name, mart in marts.items()} == {
        name.removeprefix("marts."): columns for name, columns in tables(report.duckdb).items()
    }


def test_without_a_manifest_the_marts_are_published_without_words(settings: Settings, warehouse: duckdb.DuckDBPyConnection) -> None:
    settings.manifest.unlink()
    report = publish(settings, warehouse, "run-1", AS_OF, now=NOW)
    assert "| lifetime_value | decimal(18,4) | currency |  |" in report.dictionary.read_text(encoding="utf-8")


@pytest.mark.parametrize("column", ["email", "phone", "first_name", "push_token", "Address"])
def test_personal_columns_are_refused_and_the_last_run_stays(settings: Settings, warehouse: duckdb.DuckDBPyConnection, column: str) -> None:
    publish(settings, warehouse, "run-1", AS_OF, now=NOW)
    warehouse.execute(f"alter table marts.flows add column {column} varchar")
    with pytest.raises(StopRun, match=f"flows.{column} would show who somebody is"):
        publish(settings, warehouse, "run-2", AS_OF, now=NOW)
    assert json.loads((settings.published / "run.json").read_text())["run_id"] == "run-1"
    assert list(settings.published.glob(".publishing-*")) == []


def test_no_marts_is_said_so(settings: Settings, warehouse: duckdb.DuckDBPyConnection) -> None:
    warehouse.execute("drop schema marts cascade")
    with pytest.raises(BadInput, match="nothing has been derived"):
        publish(settings, warehouse, "run-1", AS_OF, now=NOW)


def test_a_failure_on_the_way_leaves_the_last_run_and_the_next_one_works(settings: Settings, warehouse: duckdb.DuckDBPyConnection) -> None:
    publish(settings, warehouse, "run-1", AS_OF, now=NOW)
    warehouse.execute("create view marts.broken as select cast(tier as integer) as number from marts.flows")
    with pytest.raises(duckdb.ConversionException):
        publish(settings, warehouse, "run-2", AS_OF, now=NOW)
    assert json.loads((settings.published / "run.json").read_text())["run_id"] == "run-1"
    (settings.published / ".publishing-1").mkdir()
    warehouse.execute("drop view marts.broken")
    publish(settings, warehouse, "run-3", AS_OF, now=NOW)
    assert json.loads((settings.published / "run.json").read_text())["run_id"] == "run-3"
    assert list(settings.published.glob(".publishing-*")) == []
    assert list(settings.published.glob("*.wal")) == []


def test_last_years_clients_can_open_the_file(settings: Settings, warehouse: duckdb.DuckDBPyConnection) -> None:
    report = publish(settings, warehouse, "run-1", AS_OF, now=NOW)
    # Bytes 12 to 20 of a DuckDB file: 64 is the storage format of every 1.x client, whatever wrote the file.
    assert int.from_bytes(report.duckdb.read_bytes()[12:20], "little") == 64
    assert STORAGE_VERSION == "v1.0.0"


def test_a_reader_with_the_old_file_open_goes_on(settings: Settings, warehouse: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    report = publish(settings, warehouse, "1", AS_OF, now=NOW)
    with report.duckdb.open("rb") as held:
        inode = report.duckdb.stat().st_ino
        warehouse.execute("delete from marts.customers")
        publish(settings, warehouse, "2", AS_OF, now=NOW.replace(minute=30))
        assert report.duckdb.stat().st_ino != inode
        old = tmp_path / "held.duckdb"
        old.write_bytes(held.read())
    with duckdb.connect(str(old), read_only=True) as reader:
        assert reader.execute("select count(*), (select run_id from marts.published_run) from marts.customers").fetchall() == [(1000, "1")]


def test_old_versions_go_after_a_while(settings: Settings, warehouse: duckdb.DuckDBPyConnection) -> None:
    for minute in range(VERSIONS_KEPT + 3):
        report = publish(settings, warehouse, str(minute), AS_OF, now=NOW.replace(minute=minute))
    versions = sorted(path.name for path in (settings.published / "versions").iterdir())
    assert len(versions) == VERSIONS_KEPT
    assert report.parquet.resolve().name == versions[-1]


def test_without_symbolic_links_the_files_are_replaced(
    settings: Settings, warehouse: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(f"{self} -> {target}: not here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    for run in ("1", "2"):
        report = publish(settings, warehouse, run, AS_OF, now=NOW.replace(minute=int(run)))
    assert not report.parquet.is_symlink()
    with duckdb.connect() as reader:
        assert reader.execute(f"select run_id from '{report.parquet}/published_run.parquet'").fetchall() == [("2",)]


def test_a_version_that_is_held_outlives_those_that_are_kept(settings: Settings, warehouse: duckdb.DuckDBPyConnection) -> None:
    publish(settings, warehouse, "0", AS_OF, now=NOW)
    with one_version(settings) as folder:
        first = set(folder.iterdir())
        for number in range(1, VERSIONS_KEPT + 3):
            publish(settings, warehouse, str(number), AS_OF, now=NOW.replace(second=number))
        assert set(folder.iterdir()) == first
        with duckdb.connect() as reader:
            assert reader.execute(f"select run_id from '{folder}/published_run.parquet'").fetchall() == [("0",)]
    publish(settings, warehouse, "last", AS_OF, now=NOW.replace(second=59))
    assert not folder.exists()
    assert len(list((settings.published / "versions").iterdir())) == VERSIONS_KEPT


def test_a_version_cannot_be_held_before_there_is_one(settings: Settings) -> None:
    with pytest.raises(BadInput, match="nothing has been published yet"), one_version(settings):
        pass


def test_readers_loop_while_runs_publish(settings: Settings, warehouse: duckdb.DuckDBPyConnection) -> None:
    """No read fails, none sees two runs at once. The full size: WINBACK_TEST_READERS=20 WINBACK_TEST_PUBLICATIONS=100."""
    number_of_readers = int(os.environ.get("WINBACK_TEST_READERS", "3"))
    publications = int(os.environ.get("WINBACK_TEST_PUBLICATIONS", "12"))
    for name in ("orders", "journeys", "tiers", "lift"):
        warehouse.execute(f"create table marts.{name} as select range as number, 0 as publication from range(2000)")
    tables = [name for (name,) in warehouse.execute("select table_name from duckdb_tables() where schema_name = 'marts'").fetchall()]
    publish(settings, warehouse, "0", AS_OF, now=NOW.replace(second=0))
    command = [sys.executable, "-c", READER, str(settings.root)]
    readers = [
        subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(number_of_readers)
    ]
    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
    for number in range(1, publications + 1):
        for name in tables:
            warehouse.execute(f"update marts.{name} set publication = {number}")
        publish(settings, warehouse, str(number), AS_OF, now=NOW + timedelta(seconds=number))
    (settings.root / "stop").touch()
    for reader in readers:
        out, problem = reader.communicate(timeout=120)
        assert (reader.returncode, problem) == (0, "")
        assert int(out) > 1, "the reader must have seen runs change"
