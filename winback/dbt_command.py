"""dbt as a command, with the environment that dbt_project reads: for people, previews and linters.

The daily run has its own way, in one process (dagster_project); Winback itself never imports dbt.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

from winback.errors import WinbackError
from winback.settings import Settings, load_settings


@contextmanager
def in_environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the block, where dbt runs in this process, and put back what was there."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def run_dbt(
    settings: Settings, as_of: datetime, arguments: Sequence[str], *, schema_prefix: str = "", drafts: str = "", quiet: bool = True
) -> None:
    """Run dbt as of an instant, into schemas named with `schema_prefix`, with the file of program `drafts` as it stands.

    Raises
    ------
    WinbackError
        dbt failed; the message holds the end of what it said.
    """
    finished = subprocess.run(
        [sys.executable, "-m", "dbt.cli.main", *arguments],
        env=os.environ | settings.dbt_environment(as_of, schema_prefix=schema_prefix, drafts=drafts),
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
        text=True,
        check=False,
    )
    if finished.returncode != 0:
        said = "\n".join((finished.stdout or "").strip().splitlines()[-15:])
        from winback.warehouse import more_room

        said = more_room(finished.stdout or "", settings) or said
        raise WinbackError(f"dbt {arguments[0]} failed (exit code {finished.returncode}).\n{said}".rstrip())


def main(command: Sequence[str]) -> int:
    """Run any command in dbt's environment, as of a day that no data reaches."""
    settings = load_settings()
    settings.warehouse.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | settings.dbt_environment(datetime(2000, 1, 1))
    return subprocess.run(list(command), env=environment, check=False).returncode


def run_metricflow(settings: Settings, as_of: datetime, arguments: Sequence[str]) -> None:
    """Run MetricFlow's `mf` on the warehouse of this home, with what it prints shown.

    `mf` reads its manifest from `target/` of the folder that it runs in, wherever dbt writes it. So it gets a folder of the home in which
    everything but `target` leads to the dbt project.

    Raises
    ------
    WinbackError
        dbt or `mf` failed.
    """
    folder = settings.root / "dbt" / "semantic_layer"
    folder.mkdir(parents=True, exist_ok=True)
    for entry in settings.dbt_project.iterdir():
        link = folder / entry.name
        if entry.name != "target" and not link.exists():
            link.symlink_to(entry)
    where = {"DBT_PROJECT_DIR": str(folder), "DBT_TARGET_PATH": str(folder / "target")}
    environment = os.environ | settings.dbt_environment(as_of) | where
    for command in (["dbt.cli.main", "--quiet", "parse"], ["dbt_metricflow.cli.main", *arguments]):
        module, *rest = command
        finished = subprocess.run(
            [sys.executable, "-c", f"from {module} import cli; cli()", *rest], env=environment, cwd=folder, check=False
        )
        if finished.returncode != 0:
            raise WinbackError(
                f"{module.split('.')[0]} {' '.join(rest)} failed (exit code {finished.returncode}); what it said stands above."
            )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
