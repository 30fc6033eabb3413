"""destinations.yml: which channel is live, through which destination, how each destination is reached, and who is listened to.

A closed, typed schema: unknown keys are refused, errors name line, what was found and what is allowed. Credentials are never in the
file: `*_env` keys name environment variables, and what such a key (or an unknown one) holds is never shown in an error.

A destination is a module of this folder with `Config` (its keys here), `build(config, context)` and a class that `build` returns.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from winback.destinations.base import AudienceDestination, Channel, MessageDestination
from winback.errors import BadConfig

FILE_NAME = "destinations.yml"
_KEYS = ("channels", "destinations", "listen")
SUPPORT_MODULES = frozenset(
    {"__init__", "base", "checking", "config", "dkim_signature", "faults", "google_oauth", "http", "identifiers", "local", "mime"}
)
"""Modules of this folder that are no destination of this file (`local` is where everything goes that is not live)."""

EnvName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{1,79}$")]
"""The name of an environment variable, never its value."""


def _web_address(value: str) -> str:
    if not value.startswith(("https://", "http://127.0.0.1", "http://localhost", "http://[::1]")):
        raise ValueError("an https:// address is allowed (http:// only for 127.0.0.1 and localhost, for tests)")
    if "@" in value.split("?")[0]:
        raise ValueError("an address without credentials in it is allowed")
    return value.rstrip("/")


WebAddress = Annotated[str, AfterValidator(_web_address)]
_Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$")]


class DestinationConfig(BaseModel):
    """Keys of one destination. Subclass it as `Config` in the destination's module.

    `audience_key`: the key under which every program that uses the platform needs an id; "" where it needs none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    audience_key: ClassVar[str] = ""


class HttpConfig(DestinationConfig):
    """Keys that every HTTP destination has; `base_url` gets its default in the subclass."""

    base_url: WebAddress
    connect_timeout_seconds: float = Field(5.0, gt=0, le=120)
    read_timeout_seconds: float = Field(30.0, gt=0, le=600)


class ChannelConfig(BaseModel):
    """How one channel leaves the house. `outbox`: into files, whatever destination is named; `live`: through `destination`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal["outbox", "live"] = "outbox"
    destination: str | None = None


class AudiencesConfig(BaseModel):
    """Ad audiences, or lists: a program names platforms, and each platform is a destination of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal["outbox", "live"] = "outbox"
    destinations: tuple[str, ...] = ()


class ChannelsConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    email: ChannelConfig = ChannelConfig()
    sms: ChannelConfig = ChannelConfig()
    push: ChannelConfig = ChannelConfig()
    task: ChannelConfig = ChannelConfig()
    ads: AudiencesConfig = AudiencesConfig()
    lists: AudiencesConfig = AudiencesConfig()


class _Section(BaseModel):
    """What arrives from one kind of sender. Every key has a default: setting the variable that it names is enough."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SendGridListening(_Section):
    public_key_env: EnvName = "SENDGRID_WEBHOOK_PUBLIC_KEY"
    tolerance_seconds: float = Field(90_000, ge=60, le=604_800)


class TwilioListening(_Section):
    auth_token_env: EnvName = "TWILIO_AUTH_TOKEN"  # noqa: S105 - the name of a variable


class OneSignalListening(_Section):
    secret_env: EnvName = "ONESIGNAL_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
    header: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,60}$")] = "Authorization"


class WebhookListening(_Section):
    secret_env: EnvName = "LISTEN_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable


class MailboxListening(_Section):
    """Where bounces and complaints arrive as mail: a folder (a maildir, or .eml files), or an IMAP mailbox."""

    folder: Path | None = None
    host: _Host | None = None
    port: int = Field(993, ge=1, le=65_535)
    security: Literal["tls", "starttls", "none"] = "tls"
    ca_file: Path | None = None
    mailbox: Annotated[str, Field(pattern=r'^[^"\\\r\n]{1,200}$')] = "INBOX"
    username_env: EnvName = "BOUNCES_USERNAME"
    password_env: EnvName = "BOUNCES_PASSWORD"  # noqa: S105 - the name of a variable
    every_seconds: float = Field(60, ge=1, le=86_400)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.folder is None) == (self.host is None):
            raise ValueError("exactly one of folder and host is allowed")
        if self.security == "none" and self.host not in {None, "localhost", "127.0.0.1", "::1"}:
            raise ValueError("security none is allowed only for localhost")
        return self


class ListenConfig(_Section):
    """Keys of `listen:`. A sender whose secret is not set is not listened to."""

    sendgrid: SendGridListening = SendGridListening()
    twilio: TwilioListening = TwilioListening()
    onesignal: OneSignalListening = OneSignalListening()
    webhook: WebhookListening = WebhookListening()
    mailbox: MailboxListening | None = None


@dataclass(frozen=True, slots=True)
class Sender:
    """Who email comes from (brand.yml `sender`)."""

    email: str
    name: str = ""
    reply_to: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """What a destination is built with besides its keys. `environment` holds the secrets and is not shown."""

    environment: Mapping[str, str] = field(repr=False)
    sender: Sender | None = None

    def secret(self, destination: str, key: str, variable: str) -> str:
        """The value of the environment variable that `key` names.

        Raises
        ------
        BadConfig
            It is not set.
        """
        value = self.environment.get(variable, "").strip()
        if not value:
            raise BadConfig(
                f"{FILE_NAME}: {destination}.{key}: the environment variable {variable} is not set; "
                f"set it, or name another one, or set the channel's mode to outbox"
            )
        return value

    def require_sender(self, destination: str) -> Sender:
        if self.sender is None or not self.sender.email:
            raise BadConfig(f"{FILE_NAME}: {destination} sends email and needs a sender; set sender.email in programs/brand.yml")
        return self.sender


@dataclass(frozen=True, slots=True)
class DestinationsConfig:
    """destinations.yml, read and checked."""

    file: Path
    channels: ChannelsConfig
    configs: Mapping[str, DestinationConfig]
    listen: ListenConfig = field(default_factory=ListenConfig)

    def names(self, channel: Channel) -> tuple[str, ...]:
        """Destinations that a channel names, whether live or not."""
        one: ChannelConfig | AudiencesConfig = getattr(self.channels, channel.value)
        if isinstance(one, AudiencesConfig):
            return one.destinations
        return (one.destination,) if one.destination else ()

    def is_live(self, channel: Channel) -> bool:
        settings: ChannelConfig | AudiencesConfig = getattr(self.channels, channel.value)
        return settings.mode == "live"

    def live_names(self) -> list[str]:
        """Every destination that a live channel goes through, once each, sorted."""
        return sorted({name for channel in Channel if self.is_live(channel) for name in self.names(channel)})

    def build(self, name: str, context: Context) -> MessageDestination | AudienceDestination:
        """Open one configured destination. Touches no network.

        Raises
        ------
        BadConfig
            The destination is not configured, or a credential is not in the environment.
        """
        if name not in self.configs:
            raise BadConfig(f"{self.file.name}: destinations: {name} is not configured; add it under destinations:")
        destination: MessageDestination | AudienceDestination = _module(name).build(self.configs[name], context)
        return destination


def installed() -> list[str]:
    """Names of the destinations that this installation has: the modules of this folder."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in SUPPORT_MODULES)


def load_destinations(project: Path) -> DestinationsConfig:
    """Read destinations.yml of the project; without the file everything goes to the outbox.

    Raises
    ------
    BadConfig
        All problems of the file, a line each: where, what was found, what is allowed.
    """
    file = project / FILE_NAME
    if not file.is_file():
        return DestinationsConfig(file, ChannelsConfig(), {})
    return read_destinations(file)


def read_destinations(file: Path) -> DestinationsConfig:
    """Read one file of this format; see `load_destinations`."""
    try:
        root = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 1
        raise BadConfig(f"{file.name}:{line}: this is no YAML: {problem.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise BadConfig(f"{file.name}:1: this is no YAML text in UTF-8") from None
    reader = _Reader(file.name)
    content = reader.plain(root, ()) if root is not None else {}
    if not isinstance(content, dict):
        raise BadConfig(f"{file.name}:1: found {_kind(content)}; keys allowed here: {', '.join(_KEYS)}")
    for key in content:
        if key not in _KEYS:
            reader.problem((key,), f"unknown key; allowed: {', '.join(_KEYS)}{_suggestion(str(key), list(_KEYS))}")
    listen = reader.model(ListenConfig, content.get("listen") or {}, ("listen",))
    channels = reader.model(ChannelsConfig, content.get("channels") or {}, ("channels",))
    sections = content.get("destinations") or {}
    configs: dict[str, DestinationConfig] = {}
    if not isinstance(sections, dict):
        reader.problem(("destinations",), f"found {_kind(sections)}; allowed: one section per destination")
        sections = {}
    for name, section in sections.items():
        if name not in installed():
            reader.problem(
                ("destinations", name), f"unknown destination; allowed: {', '.join(installed())}{_suggestion(str(name), installed())}"
            )
            continue
        config = reader.model(_module(name).Config, section or {}, ("destinations", name))
        if config is not None:
            configs[name] = config
    if channels is not None:
        result = DestinationsConfig(file, channels, configs)
        for channel in Channel:
            _check_channel(result, reader, channel, set(sections))
    reader.finish()
    assert channels is not None  # noqa: S101 - finish() has raised otherwise
    return DestinationsConfig(file, channels, configs, listen)


def _check_channel(result: DestinationsConfig, reader: _Reader, channel: Channel, sections: set[str]) -> None:
    place = ("channels", channel.value)
    takes_many = channel in (Channel.ADS, Channel.LISTS)
    names = result.names(channel)
    if result.is_live(channel) and not names:
        key = "destinations: [..]" if takes_many else "destination"
        reader.problem((*place, "mode"), f"live needs a {key}; allowed: {', '.join(_able(channel)) or 'none installed'}")
    for name in names:
        key_place = (*place, "destinations" if takes_many else "destination")
        if name not in installed() or channel not in capabilities(name).channels:
            reader.problem(key_place, f"{name} takes no {channel.value}; allowed: {', '.join(_able(channel)) or 'none installed'}")
        elif result.is_live(channel) and name not in sections:
            reader.problem(key_place, f"{name} is not configured; add it under destinations:")


def _able(channel: Channel) -> list[str]:
    return [name for name in installed() if channel in capabilities(name).channels]


def capabilities(name: str) -> Any:
    """The typed `Capabilities` of an installed destination, without opening it."""
    return _module(name).CAPABILITIES


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"winback.destinations.{name}")


def line_of(file: Path, *place: str) -> int:
    """The line of a key of the file, or of the nearest key above it that is there."""
    reader = _Reader(file.name)
    root = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    if root is not None:
        reader.plain(root, ())
    return reader.line(place)


class _Reader:
    """Collects problems, each with the line of the key it is about."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._lines: dict[tuple[Any, ...], int] = {}
        self._problems: list[tuple[int, str]] = []

    def plain(self, node: yaml.Node, place: tuple[Any, ...]) -> Any:
        """The node as plain values; notes the lines of all keys and refuses keys given twice."""
        self._lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            result: dict[Any, Any] = {}
            for key_node, value_node in node.value:
                key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
                self._lines[(*place, key)] = key_node.start_mark.line + 1
                if key in result:
                    self.problem((*place, key), "given twice; keep one")
                result[key] = self.plain(value_node, (*place, key))
            return result
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(child, (*place, position)) for position, child in enumerate(node.value)]
        loader = yaml.SafeLoader("")
        try:
            return loader.construct_object(node)
        except yaml.YAMLError:
            self.problem(place, f"a value with the tag {node.tag} is not allowed")
            return None
        finally:
            loader.dispose()

    def model(self, model: type[Any], content: object, place: tuple[Any, ...]) -> Any:
        try:
            return model.model_validate(content)
        except ValidationError as problem:
            for error in problem.errors(include_url=False, include_context=False):
                at = (*place, *error["loc"])
                self.problem(at, _explain(model, error["type"], error["loc"], error["input"], error["msg"]))
        return None

    def line(self, place: tuple[Any, ...]) -> int:
        return next((self._lines[place[:length]] for length in range(len(place), -1, -1) if place[:length] in self._lines), 1)

    def problem(self, place: tuple[Any, ...], text: str) -> None:
        line = self.line(place)
        self._problems.append((line, f"{self._file}:{line}: {'.'.join(str(part) for part in place)}: {text}"))

    def finish(self) -> None:
        if self._problems:
            raise BadConfig("\n".join(text for _, text in sorted(self._problems)))


def _explain(model: type[BaseModel], kind: str, location: tuple[int | str, ...], found: object, message: str) -> str:
    key = str(location[-1]) if location else ""
    if kind == "extra_forbidden":
        fields = _fields(model, location[:-1])
        secret = [name for name in fields if name.endswith("_env") and key and (key in name or name.removesuffix("_env") in key)]
        hint = f"; a credential stays in the environment: name its variable as {secret[0]}" if secret else _suggestion(key, fields)
        return f"unknown key; allowed: {', '.join(fields)}{hint}"
    if kind == "missing":
        return "missing; it has no default"
    if key.endswith("_env"):
        return (
            "found something that is no name of an environment variable (not shown: it may be the secret itself); "
            "allowed: capital letters, digits and _, for example " + key.removesuffix("_env").upper()
        )
    text = message.removeprefix("Value error, ")
    if isinstance(found, dict | list):
        return f"found {_kind(found)}; {text}"
    if isinstance(found, str) and ("@" in found or len(found) > 80):
        return f"found a text that may hold a credential or an address (not shown); {text}"
    return f"found {found!r}; {text}"


def _fields(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        inner = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return sorted(model.model_fields)


def _suggestion(found: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(found, allowed, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _kind(value: object) -> str:
    return {dict: "a section of keys", list: "a list", type(None): "nothing"}.get(type(value), f"a single {type(value).__name__}")
