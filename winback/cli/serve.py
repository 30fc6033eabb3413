"""`winback serve`: the Dagster UI on this home's state, with the dashboard and the receiver beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Annotated

import typer

from winback.cli.dashboard import DASHBOARD_PORT
from winback.settings import LISTEN_PORT


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 3000,
    dashboard_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the dashboard on this machine; 0: without it.")
    ] = DASHBOARD_PORT,
    listen_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the receiver on this machine; 0: without it.")] = LISTEN_PORT,
) -> None:
    """Open the Dagster UI (assets, checks, runs, schedules, the daily report), the dashboard of what was won back, and the receiver."""
    from winback.cli.beside import start_beside
    from winback.errors import WinbackError
    from winback.home import prepare_home
    from winback.settings import PROJECT_ROOT, load_settings

    settings = load_settings()
    prepare_home(settings.root)
    environment = os.environ | settings.dagster_environment()
    # Two servers on a fresh Dagster home would each create its database: make it once, first.
    made = subprocess.run(
        [sys.executable, "-m", "dagster", "instance", "migrate"], env=environment, check=False, capture_output=True, text=True
    )
    if made.returncode != 0:
        raise WinbackError(f"Dagster's home {settings.dagster_home} cannot be made or brought up to date:\n{made.stderr.strip()[-2000:]}")
    if dashboard_port:
        start_beside(environment, "dashboard", "--no-browser", "--port", str(dashboard_port))
    if listen_port:
        start_beside(environment, "listen", "--port", str(listen_port))
    typer.echo(f"Dagster UI: http://{host}:{port}  (state: {settings.root}; stop with Ctrl+C)")
    command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-h", host, "-p", str(port)]
    os.chdir(PROJECT_ROOT)
    os.execve(sys.executable, command, environment)
