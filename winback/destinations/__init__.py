"""Where messages and audience changes go. `open_destinations` opens what destinations.yml names; the outbox takes everything else."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self, cast

from winback.destinations.base import AudienceDestination, Capabilities, Channel, Contact, MessageDestination
from winback.destinations.config import Context, DestinationsConfig, Sender, capabilities, installed, load_destinations
from winback.destinations.identifiers import IDENTIFIERS
from winback.errors import BadConfig
from winback.settings import Settings

PLATFORMS = {"meta": "meta", "google": "google_data_manager", "tiktok": "tiktok", "klaviyo": "klaviyo"}
"""Platforms of ad audiences and of lists as programs name them: the destination that serves each."""

LISTS = frozenset({"klaviyo"})
"""Platforms whose audiences are lists to write to: email's consent holds there, and `ads` in no respect."""

Identify = Callable[[Contact], tuple[tuple[str, str], ...]]
_Live = dict[str, MessageDestination | AudienceDestination]


@dataclass(frozen=True, slots=True)
class Destinations:
    """Open destinations: one per channel of messages, one per platform of ad audiences or lists. Channels may share one."""

    messages: Mapping[Channel, MessageDestination] = field(default_factory=dict)
    audiences: Mapping[str, AudienceDestination] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        opened: dict[int, MessageDestination | AudienceDestination] = {}
        everything: list[MessageDestination | AudienceDestination] = [*self.messages.values(), *self.audiences.values()]
        for destination in everything:
            opened[id(destination)] = destination
        for one in opened.values():
            one.close()


def channel_of(platform: str) -> Channel:
    """The channel of destinations.yml that a platform goes through: ads or lists."""
    return Channel.LISTS if platform in LISTS else Channel.ADS


def lane_of(platform: str) -> str:
    """What a platform is called where people look: ads:meta, lists:klaviyo."""
    return f"{channel_of(platform)}:{platform}"


def open_destinations(settings: Settings, *, sender: Sender | None = None, environment: Mapping[str, str] | None = None) -> Destinations:
    """Open a destination for every channel and platform: the live one where destinations.yml says so, else the local outbox.

    With the simulated clock everything goes to the outbox, whatever the file says. `sender` is who email comes from (default: brand.yml's);
    `environment` holds the secrets (default: that of this process).

    Raises
    ------
    BadConfig
        destinations.yml or brand.yml is wrong, or a credential that they name is not in the environment.
    """
    from winback.destinations.faults import Faults
    from winback.destinations.local import LocalAudiences, LocalOutbox

    config = load_destinations(settings.project)
    context = context_for(settings, sender=sender, environment=environment)
    is_real = settings.clock == "real"
    outbox = LocalOutbox(settings.outbox, sender=context.sender, faults=Faults.parse(settings.outbox_faults))
    live: _Live = {}
    messages: dict[Channel, MessageDestination] = {}
    audiences: dict[str, AudienceDestination] = {}
    for channel in (Channel.EMAIL, Channel.SMS, Channel.PUSH, Channel.TASK):
        names = config.names(channel) if is_real and config.is_live(channel) else ()
        messages[channel] = _message_destination(config, names[0], context, live) if names else outbox
    for platform, name in PLATFORMS.items():
        channel = channel_of(platform)
        if is_real and config.is_live(channel) and name in config.names(channel):
            audiences[platform] = _audience_destination(config, name, context, live)
        else:
            audiences[platform] = LocalAudiences(settings.outbox, platform, faults=Faults.parse(settings.outbox_faults))
    if not any(destination is outbox for destination in messages.values()):
        outbox.close()
    return Destinations(messages, audiences)


def context_for(settings: Settings, *, sender: Sender | None = None, environment: Mapping[str, str] | None = None) -> Context:
    """What destinations are built with: the secrets of the environment, and brand.yml's sender unless another is given."""
    return Context(os.environ if environment is None else environment, sender or _brand_sender(settings))


def routes(settings: Settings, config: DestinationsConfig | None = None) -> dict[str, str]:
    """The name of the destination that each lane goes through now: email, sms, push, task, and each platform's (see `lane_of`).

    Opens nothing, so it needs no credentials.
    """
    config = config or load_destinations(settings.project)
    is_real = settings.clock == "real"
    lanes = {}
    for channel in (Channel.EMAIL, Channel.SMS, Channel.PUSH, Channel.TASK):
        names = config.names(channel) if is_real and config.is_live(channel) else ()
        lanes[channel.value] = names[0] if names else "outbox"
    for platform, name in PLATFORMS.items():
        channel = channel_of(platform)
        is_live = is_real and config.is_live(channel) and name in config.names(channel)
        lanes[lane_of(platform)] = name if is_live else f"outbox_{platform}"
    return lanes


def identify_as(settings: Settings) -> dict[str, Identify]:
    """How each platform's people are named and hashed: as destinations.yml asks for it, whether live yet or not, else by default.

    The plan hashes, and the same hashes are removed later: so it has to hash as the destination will.
    """
    configs = load_destinations(settings.project).configs
    found: dict[str, Identify] = dict(IDENTIFIERS)
    for platform, name in PLATFORMS.items():
        identify: Identify | None = getattr(configs.get(name), "identifiers", None)
        if identify is not None:
            found[platform] = identify
    return found


def can(name: str) -> Capabilities:
    """What the destination of this name can do, without opening it; nothing where this installation does not have it."""
    if name in installed():
        found: Capabilities = capabilities(name)
        return found
    from winback.destinations.local import LocalAudiences, LocalOutbox

    if name == LocalOutbox.name:
        return LocalOutbox.capabilities
    return LocalAudiences.capabilities if name.removeprefix("outbox_") in PLATFORMS else Capabilities(frozenset())


def _brand_sender(settings: Settings) -> Sender | None:
    if not (settings.programs_dir / "brand.yml").is_file():
        return None
    from winback.programs import brand_of

    sender = brand_of(settings).sender
    return Sender(sender.email, sender.name, sender.reply_to or "")


def _message_destination(config: DestinationsConfig, name: str, context: Context, live: _Live) -> MessageDestination:
    destination = live[name] if name in live else config.build(name, context)
    live[name] = destination
    if not hasattr(destination, "send"):
        raise BadConfig(f"{config.file.name}: {name} takes no messages")
    return cast(MessageDestination, destination)


def _audience_destination(config: DestinationsConfig, name: str, context: Context, live: _Live) -> AudienceDestination:
    destination = live[name] if name in live else config.build(name, context)
    live[name] = destination
    if not hasattr(destination, "change"):
        raise BadConfig(f"{config.file.name}: {name} takes no audience changes")
    return cast(AudienceDestination, destination)
