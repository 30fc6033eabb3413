"""What each destination can do, where it is used, and whether its provider accepts the credentials."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from winback.destinations import PLATFORMS, can, channel_of, context_for
from winback.destinations.base import Channel
from winback.destinations.config import FILE_NAME, Context, installed, line_of, load_destinations
from winback.errors import InDoubt, RejectItem, RetryLater, WinbackError
from winback.progress import tell
from winback.settings import Settings

OUTBOX = "outbox"


@dataclass(frozen=True, slots=True)
class DestinationView:
    """One destination. `channels` it takes, `live` those that destinations.yml sends through it now.

    `ok` is None until it was asked; `told` is its answer, or why there is none, without secrets.
    """

    name: str
    channels: tuple[str, ...]
    live: tuple[str, ...]
    is_configured: bool
    items_per_call: int
    calls_at_once: int
    calls_per_second: float | None
    after_a_lost_answer: str
    ok: bool | None = None
    told: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def abilities(self) -> str:
        """For people, in a line."""
        parts = [
            f"{self.items_per_call:,} a call" if self.items_per_call > 1 else "one at a time",
            f"after a lost answer: {self.after_a_lost_answer}",
        ]
        if self.calls_at_once > 1:
            parts.append(f"{self.calls_at_once} calls at once")
        if self.calls_per_second:
            parts.append(f"{self.calls_per_second:g} calls a second")
        return ", ".join(parts)


def not_live(found: Iterable[DestinationView]) -> list[str]:
    """Channels that no destination is live for: they go to the outbox."""
    live = {channel for one in found for channel in one.live}
    return [channel.value for channel in Channel if channel.value not in live]


def views(settings: Settings) -> list[DestinationView]:
    """Every destination of this installation, the outbox first. Asks nobody and needs no credentials.

    Raises
    ------
    BadConfig
        destinations.yml is wrong: all problems.
    """
    config = load_destinations(settings.project)
    live = {
        name: tuple(channel.value for channel in Channel if config.is_live(channel) and name in config.names(channel))
        for name in installed()
    }
    live[OUTBOX] = ()
    found = []
    for name in (OUTBOX, *installed()):
        able = can(name)
        found.append(
            DestinationView(
                name=name,
                channels=tuple(channel.value for channel in Channel if channel in able.channels),
                live=live[name],
                is_configured=name == OUTBOX or name in config.configs,
                items_per_call=able.batch_size,
                calls_at_once=able.concurrency,
                calls_per_second=able.rate_per_second,
                after_a_lost_answer="repeated" if able.idempotent else "asked" if able.can_ask else "left and counted",
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class Gap:
    """A program that uses a live platform for which destinations.yml has no id: its changes would wait. `message` names file and line."""

    program: str
    platform: str
    destination: str
    message: str


def gaps(settings: Settings, wanted: Mapping[str, Iterable[str]]) -> list[Gap]:
    """What destinations.yml lacks for the platforms that programs name: `wanted` is {program: platforms}. Asks nobody.

    Raises
    ------
    BadConfig
        destinations.yml is wrong: all problems.
    """
    config = load_destinations(settings.project)
    found = []
    for program, platforms in wanted.items():
        for platform in platforms:
            name, channel = PLATFORMS[platform], channel_of(platform)
            keys = config.configs.get(name)
            if keys is None or not keys.audience_key or not config.is_live(channel) or name not in config.names(channel):
                continue
            if program not in getattr(keys, keys.audience_key):
                line = line_of(config.file, "destinations", name, keys.audience_key)
                what = f"{config.file.name}:{line}: destinations.{name}.{keys.audience_key}"
                found.append(Gap(program, platform, name, f"{what}: no id for the program {program}, which uses {platform}; add it"))
    return found


def probe(settings: Settings, view: DestinationView, environment: Mapping[str, str] | None = None) -> DestinationView:
    """The view with the provider's answer. `environment` holds the secrets (default: that of this process)."""
    tell(f"asking {view.name}")
    try:
        return replace(view, ok=True, told=_ask(settings, view.name, context_for(settings, environment=environment)))
    except WinbackError as problem:
        return replace(view, ok=False, told=_with_line(settings, view.name, str(problem)))
    except (RetryLater, RejectItem, InDoubt) as problem:
        return replace(view, ok=False, told=problem.reason)


def _with_line(settings: Settings, name: str, text: str) -> str:
    """The text of a problem of a destination's key, with the line of that key."""
    match = re.match(rf"{re.escape(FILE_NAME)}: ({name})\.(\w+):", text)
    file = settings.project / FILE_NAME
    if match is None or not file.is_file():
        return text
    return text.replace(f"{FILE_NAME}:", f"{FILE_NAME}:{line_of(file, 'destinations', match[1], match[2])}:", 1)


def _ask(settings: Settings, name: str, context: Context) -> str:
    if name == OUTBOX:
        # Opening it would make its folder; looking makes no state.
        return f"writes files to {settings.outbox}; nothing leaves this machine"
    destination = load_destinations(settings.project).build(name, context)
    try:
        return destination.check()
    finally:
        destination.close()
