"""`winback listen`: the receiver of what comes back after sending."""

from __future__ import annotations

from typing import Annotated

import typer

from winback.settings import LISTEN_PORT


def listen(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any that is free.")] = LISTEN_PORT,
) -> None:
    """Receive delivery events, replies and unsubscriptions, until Ctrl+C. Says which addresses are open."""
    from winback.inbox.serving import listen as serve
    from winback.inbox.serving import opened
    from winback.settings import load_settings

    settings = load_settings()
    found = opened(settings)

    def ready(actual: int) -> None:
        typer.echo(f"Receiver: http://{host}:{actual}  (state: {settings.root}; stop with Ctrl+C)")
        if found.public_url:
            typer.echo(f"  reached from outside as {found.public_url}")
        if settings.listener_url:
            typer.echo(f"  open    links of messages: {settings.listener_url}")
        for source in found.sources:
            typer.echo(f"  open    {source.name}: {', '.join(source.paths)}")
        for name, reason in found.closed.items():
            typer.echo(f"  closed  {name}: {reason}")

    serve(settings, host=host, port=port, ready=ready)
