"""`winback dashboard`: what was really won back, to look at."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

DASHBOARD_PORT = 3002


def dashboard(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any that is free.")] = DASHBOARD_PORT,
    browser: Annotated[bool, typer.Option(help="Open a browser on it.")] = True,
    explore: Annotated[
        bool, typer.Option("--explore", help="Open Streamlit on the same figures instead (needs the extra `explore`).")
    ] = False,
) -> None:
    """Show the evaluation dashboard of the last run, until Ctrl+C. It can be opened at any time, also while a run is under way."""
    from winback.settings import load_settings

    settings = load_settings()
    if explore:
        _explore(str(settings.root), port, browser=browser)
    from winback.dashboard.server import newest, serve

    path = newest(settings)

    def ready(actual: int) -> None:
        address = f"http://127.0.0.1:{actual}"
        typer.echo(f"Dashboard: {address}  (newest file: {path}; stop with Ctrl+C)")
        if browser:
            typer.launch(address)

    serve(settings, port=port, ready=ready)


def _explore(home: str, port: int, *, browser: bool) -> None:
    """Become Streamlit."""
    from importlib.util import find_spec
    from pathlib import Path

    from winback import dashboard as package
    from winback.errors import BadConfig

    if find_spec("streamlit") is None:
        raise BadConfig("--explore needs Streamlit, which is not installed; in the checkout: uv sync --frozen --extra explore --inexact")
    script = Path(package.__file__).parent / "explore.py"
    options = {"server.address": "127.0.0.1", "server.port": port, "server.headless": not browser, "browser.gatherUsageStats": False}
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        str(script),
        *(f"--{name}={str(value).lower()}" for name, value in options.items()),
    ]
    os.execve(sys.executable, command, os.environ | {"WINBACK_HOME": home})
