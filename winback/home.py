"""A home: the folder that holds one installation's state, and the small file in it that remembers what it was made from."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml

from winback.errors import BadConfig
from winback.settings import PROJECT_ROOT, load_settings, read_remembered

_DAGSTER_YAML = """\
# Written by winback when the home was made; edit it freely.
telemetry: {enabled: false}
storage:
  custom:
    module: dagster_project.storage
    class: KeptOpenStorage
    config: {base_dir: {env: DAGSTER_HOME}}
nux: {enabled: false}
concurrency:
  # DuckDB gives its file to one process at a time: whole runs that open the warehouse wait for each other.
  pools: {default_limit: 1, granularity: run}
run_monitoring: {enabled: true}
# A day whose process died is run again; one that failed for a reason is not.
run_retries: {enabled: true, retry_on_asset_or_op_failure: false}
retention:
  schedule: {purge_after_days: 90}
  sensor: {purge_after_days: {skipped: 7, failure: 30, success: 90}}
"""


def home_for_data(data: Path) -> Path:
    """The home for a folder of source files: `var/<folder name>`, so that two data sets never share customers."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", data.resolve().name).strip("-.") or "data"
    return PROJECT_ROOT / "var" / name


def prepare_home(home: Path, **remembered: Any) -> None:
    """Make the folder with its settings file and Dagster's, where they are missing.

    `remembered` are settings that belong to this home from its first run on: `data`, `mapping`, `clock`. A clock that the file has stays:
    a person may have set it. A file of which nothing changes is left as it is, comments too.

    Raises
    ------
    BadConfig
        The home was made from another data folder, or its file is wrong (`read_remembered`).
    """
    home.mkdir(parents=True, exist_ok=True)
    settings_file = home / "winback.yml"
    values = {key: str(value) for key, value in remembered.items() if value is not None}
    known = read_remembered(settings_file)
    if "data" in values and known.get("data", values["data"]) != values["data"]:
        raise BadConfig(
            f"{settings_file}: data: this home was made from {known['data']}, now asked for {values['data']}. "
            "Customers of two data sets must not share a ledger: set WINBACK_HOME to another folder."
        )
    values = known | values | {key: known[key] for key in ("clock",) if key in known}
    if values != known or not settings_file.exists():
        temporary = settings_file.with_name(f".winback.yml-{os.getpid()}")
        temporary.write_text(
            "# What this home was made from. WINBACK_* environment variables go before it.\n" + yaml.safe_dump(values, sort_keys=True),
            encoding="utf-8",
        )
        temporary.replace(settings_file)
    dagster_home = home / "dagster"
    dagster_home.mkdir(exist_ok=True)
    if not (dagster_home / "dagster.yaml").exists():
        (dagster_home / "dagster.yaml").write_text(_DAGSTER_YAML, encoding="utf-8")


def make_current(home: Path) -> None:
    """Point `var/current` at the home, so that later commands find it without being told."""
    link = PROJECT_ROOT / "var" / "current"
    if home.resolve() == link.resolve() or home.resolve().parent != link.parent.resolve():
        return
    temporary = link.with_name(f".current-{os.getpid()}")
    temporary.symlink_to(home.resolve().name)
    temporary.replace(link)


if __name__ == "__main__":
    # Containers make their home before anything runs on it.
    prepare_home(load_settings().root)
