"""Spark as the engine, without Spark: what is missing is said, with the setting and the command."""

from __future__ import annotations

from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import pytest
from pydantic import SecretStr

from winback.engines import open_engine
from winback.errors import BadConfig
from winback.settings import Settings

needs_pyspark = pytest.mark.skipif(find_spec("pyspark") is None, reason="the extra `spark` is not installed")


def told(settings: Settings) -> str:
    with pytest.raises(BadConfig) as problem:
        open_engine(settings).check()
    return str(problem.value)


@pytest.mark.skipif(find_spec("pyspark") is not None, reason="the extra `spark` is installed")
def test_without_the_extra(tmp_path: Path) -> None:
    assert "uv sync --frozen --extra spark --inexact" in told(Settings(home=tmp_path, target="spark"))


@needs_pyspark
def test_without_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert told(Settings(home=tmp_path, target="spark")) == (
        "WINBACK_TARGET=spark: no Java was found; install Java 17 or 21, or set JAVA_HOME to it"
    )


@needs_pyspark
def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.touch()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    said = told(Settings(home=tmp_path, target="spark", engine_storage=in_the_way / "folder"))
    assert said.startswith(f"WINBACK_ENGINE_STORAGE: {in_the_way / 'folder'} cannot be written (Not a directory)")


@needs_pyspark
def test_a_server_that_does_not_answer(tmp_path: Path) -> None:
    said = told(Settings(home=tmp_path, target="spark", engine_url=SecretStr("thrift://127.0.0.1:1")))
    missing = "a Thrift server needs PyHive, which is not installed"
    assert said.startswith(f"WINBACK_ENGINE_URL: {missing if find_spec('pyhive') is None else 'no Thrift server answers at 127.0.0.1:1'}")


def test_dbt_gets_what_the_target_needs(tmp_path: Path) -> None:
    session = Settings(home=tmp_path, target="spark", memory_limit="3GiB").dbt_environment(datetime(2030, 1, 1))
    assert (session["WINBACK_DBT_TARGET"], session["WINBACK_SPARK_MEMORY"]) == ("spark", "3072m")
    assert session["WINBACK_ENGINE_STORAGE"] == str(tmp_path / "spark")
    assert "stg_programs__steps" in session["WINBACK_TAKEN_BACK"].split(",")
    thrift = Settings(home=tmp_path, target="spark", engine_url=SecretStr("thrift://spark.example.com")).dbt_environment(
        datetime(2030, 1, 1)
    )
    assert (thrift["WINBACK_DBT_TARGET"], thrift["WINBACK_ENGINE_HOST"], thrift["WINBACK_ENGINE_PORT"]) == (
        "spark_thrift",
        "spark.example.com",
        "10000",
    )


@pytest.mark.parametrize(("limit", "memory"), [("4GB", "3814m"), ("1.5 GB", "1430m"), ("512MiB", "512m"), ("2gib", "2048m")])
def test_java_gets_whole_megabytes(limit: str, memory: str, tmp_path: Path) -> None:
    session = Settings(home=tmp_path, target="spark", memory_limit=limit).dbt_environment(datetime(2030, 1, 1))
    assert session["WINBACK_SPARK_MEMORY"] == memory


def test_a_failure_is_told_without_javas_lines() -> None:
    from dagster_project.dbt_build import what_failed

    words = "Database Error\n  [PARSE] wrong near\n    cast("
    stack = "\n\n    \tat org.apache.spark.sql.Errors$.running(Errors.scala:43)\n\tat java.base/x.Y(Z.java)"
    assert what_failed(words + stack, Settings()) == words
    assert what_failed("Got 3 results, look at: it", Settings()) == "Got 3 results, look at: it"
