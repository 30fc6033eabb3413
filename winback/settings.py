"""Where things are and how a run behaves: `WINBACK_*` environment variables over defaults. Secrets come from the environment only."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from collections.abc import Iterable
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import SplitResult, unquote, urlsplit

import yaml
from pydantic import ByteSize, Field, SecretStr, TypeAdapter, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from winback.errors import BadConfig

PROJECT_ROOT = Path(__file__).resolve().parent.parent

LISTEN_PORT = 3001
"""Where `winback listen` listens on this machine unless told otherwise."""

_BESIDE = ("WINBACK_LINK_KEYS", "WINBACK_ALERT_WEBHOOK", "WINBACK_ALERT_EMAIL_TO", "WINBACK_ALERT_SMTP_URL")
"""Variables for people that are no settings (docs/settings.md)."""


class Settings(BaseSettings):
    """Settings of one installation. Every path is absolute once read."""

    model_config = SettingsConfigDict(env_prefix="WINBACK_", frozen=True, extra="ignore")

    project: Path = Field(PROJECT_ROOT, description="Folder that holds programs/, sources/ and dbt_project/")
    home: Path = Field(Path("var/current"), description="Folder of this installation's state: warehouse, ledger, outbox, published marts")
    data: Path | None = Field(None, description="Folder of source files to land; default: the folder that this home was first run with")
    mapping: str = Field("standard", description="Name of a mapping in sources/ (standard, shopify, ...) or a path to one")
    ledger_url: str | None = Field(None, description="SQLAlchemy URL of the ledger; default: a SQLite file in the home")
    dagster_url: SecretStr | None = Field(
        None,
        description="Database of Dagster's runs, events and schedules: `postgresql://user:password@host:port/database` (a secret); "
        "default: SQLite files in the home",
    )
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[A-Za-z0-9.\[\]:_-]+(/[A-Za-z0-9._~/-]*)?$",
        examples=["https://mail.example.com"],
        description="Address at which people and providers reach `winback listen`, e.g. `https://mail.example.com`; messages link there",
    )
    clock: Literal["real", "simulated"] = Field(
        "real", description="real: act at the present time; simulated: every day acts at its own as_of (demo and replays, outbox only)"
    )
    approval: Literal["automatic", "required"] = Field(
        "automatic", description="required: a program version acts only after `winback programs approve`"
    )
    audience_guard_share: float = Field(
        0.5, gt=0, le=1, description="Share of an ad audience that one day may remove; more is held back. 1 switches the guard off"
    )
    audience_guard_minimum: int = Field(
        100, ge=1, description="The guard applies only to ad audiences with at least this many known members"
    )
    alert_minimum_tried: int = Field(20, ge=1, description="Smallest number of attempts before an alert may report failures or rejections")
    alert_rejected_share: float = Field(
        0.1, ge=0, le=1, description="Share of a channel's answers that may be rejections; more is an alert"
    )
    outbox_faults: str = Field("", description="Faults of the local outbox for trials, e.g. `throttled=0.1,error=0.05,drop=0.01,seed=7`")
    target: Literal["duckdb", "postgres", "spark"] = Field("duckdb", description="Where dbt computes; docs/engines.md")
    engine_url: SecretStr | None = Field(
        None,
        description="Address of the engine: `postgresql://user:password@host:port/database`, or `thrift://host:port` of Spark (a secret)",
    )
    engine_storage: Path | None = Field(
        None, description="Folder that this machine and Spark's workers see under the same path; default: `spark` in the home"
    )
    dispatch_shards: int = Field(
        1, ge=1, le=64, description="Runs that send what is due at the same time; more than 1 needs the ledger on PostgreSQL"
    )
    dispatch_locations: str = Field(
        "", description="Code locations whose workers help to send, e.g. `sender-0,sender-1`; default: the one that runs the days"
    )
    dispatch_storage: Path | None = Field(
        None, description="Private folder that all of these workers see under the same path; default: `handouts` in the home"
    )
    threads: int = Field(2, ge=1, description="Threads that dbt and DuckDB use")
    memory_limit: str = Field(
        "4GB",
        pattern=r"(?i)^\d+(\.\d+)? ?[KMGT]i?B$",
        examples=["4GB"],
        description="Memory that DuckDB may use before it spills to disk",
    )

    @field_validator("project", "home", "data", "engine_storage", "dispatch_storage")
    @classmethod
    def _in_the_checkout(cls, path: Path | None) -> Path | None:
        """Schedules, commands and helpers stand in folders of their own: a relative path may not depend on them."""
        return None if path is None else PROJECT_ROOT / path

    @field_validator("mapping")
    @classmethod
    def _mapping_in_the_checkout(cls, mapping: str) -> str:
        return str(PROJECT_ROOT / mapping) if is_path_of_mapping(mapping) else mapping

    @cached_property
    def root(self) -> Path:
        """The home, links resolved."""
        return self.home.resolve()

    @property
    def warehouse(self) -> Path:
        return self.root / "warehouse" / "winback.duckdb"

    @property
    def spill(self) -> Path:
        """Where DuckDB puts what does not fit into its memory."""
        return self.root / "warehouse" / "spill"

    @property
    def ledger(self) -> str:
        return self.ledger_url or f"sqlite:///{self.root / 'ledger.db'}"

    @property
    def listener_url(self) -> str | None:
        """`public_url` without a slash at its end. On the simulated clock it falls back to `winback listen` of this machine."""
        if self.public_url is not None:
            return self.public_url.rstrip("/")
        return f"http://127.0.0.1:{LISTEN_PORT}" if self.clock == "simulated" else None

    @property
    def storage(self) -> Path:
        """Where the workbench and Spark leave Parquet files for each other."""
        return self.engine_storage.resolve() if self.engine_storage else self.root / "spark"

    @property
    def handouts(self) -> Path:
        """Where a dispatch that is shared leaves what the others read."""
        return self.dispatch_storage.resolve() if self.dispatch_storage else self.root / "handouts"

    @property
    def manifest(self) -> Path:
        """What dbt knows of the project, as parsed for the target: relation names differ by engine."""
        return self.root / "dbt" / self.target / "manifest.json"

    @property
    def outbox(self) -> Path:
        return self.root / "outbox"

    @property
    def published(self) -> Path:
        return self.root / "published"

    @property
    def plans(self) -> Path:
        return self.root / "plans"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def dashboards(self) -> Path:
        return self.root / "dashboards"

    @property
    def dagster_home(self) -> Path:
        return self.root / "dagster"

    @property
    def programs_dir(self) -> Path:
        return self.project / "programs"

    @property
    def sources_dir(self) -> Path:
        return self.project / "sources"

    @property
    def dbt_project(self) -> Path:
        return self.project / "dbt_project"

    def acting_at(self, as_of: datetime, now: datetime) -> datetime:
        """The instant at which the day of `as_of` acts: the present, or on the simulated clock the day's own `as_of`."""
        return as_of if self.clock == "simulated" else now

    def audiences(self) -> list[str]:
        """Names of the audience models: one SQL file each, no list to edit."""
        return sorted(path.stem for path in (self.dbt_project / "models" / "marts" / "audiences").glob("*.sql"))

    def engine_address(self) -> SplitResult:
        """The engine's address.

        Raises
        ------
        BadConfig
            It is not set, or not of the form that the target needs. The message holds nothing of it, as it may hold a password.
        """
        scheme, form = {
            "postgres": ("postgresql", "postgresql://user:password@host:port/database"),
            "spark": ("thrift", "thrift://host:port"),
        }[self.target]
        if self.engine_url is None:
            raise BadConfig(f"WINBACK_ENGINE_URL is not set; target {self.target} needs {form}")
        address = urlsplit(self.engine_url.get_secret_value())
        try:
            misread = "@" in address.netloc.replace("@", "", 1) + address.path + address.query + address.fragment or address.port == 0
        except ValueError:
            misread = True
        if misread or address.scheme != scheme or not address.hostname or (scheme == "postgresql" and not address.path.strip("/")):
            raise BadConfig(
                f"WINBACK_ENGINE_URL is malformed; target {self.target} needs {form}; "
                "in user and password write @ : / ? # % as %40 %3A %2F %3F %23 %25"
            )
        if address.query:
            raise BadConfig("WINBACK_ENGINE_URL takes no options after `?`; set libpq's environment variables (PGSSLMODE, ...) instead")
        return address

    def _engine_environment(self) -> dict[str, str]:
        if self.target == "duckdb":
            return {"WINBACK_DBT_TARGET": "duckdb"}
        if self.target == "spark":
            from winback.engines.base import READ_BY_PYTHON

            # Java knows whole megabytes, neither "4GB" nor "1.5 GB".
            memory = int(TypeAdapter(ByteSize).validate_python(self.memory_limit).to("MiB"))
            spark = {
                "WINBACK_ENGINE_STORAGE": str(self.storage),
                "WINBACK_SPARK_MEMORY": f"{memory}m",
                "WINBACK_TAKEN_BACK": ",".join(name for _, name in READ_BY_PYTHON),
            }
            if self.engine_url is None:
                return {"WINBACK_DBT_TARGET": "spark", **spark}
            address = self.engine_address()
            place = {"WINBACK_ENGINE_HOST": str(address.hostname), "WINBACK_ENGINE_PORT": str(address.port or 10000)}
            return {"WINBACK_DBT_TARGET": "spark_thrift", **spark, **place}
        address = self.engine_address()
        return {
            "WINBACK_DBT_TARGET": "postgres",
            "WINBACK_ENGINE_HOST": address.hostname or "",
            "WINBACK_ENGINE_PORT": str(address.port or 5432),
            "WINBACK_ENGINE_USER": unquote(address.username or ""),
            "WINBACK_ENGINE_PASSWORD": unquote(address.password or ""),
            "WINBACK_ENGINE_DATABASE": address.path.strip("/"),
        }

    def dagster_storage_url(self) -> str | None:
        """Where Dagster's storage is; None: in the home.

        Raises
        ------
        BadConfig
            `dagster_url` is malformed. The message holds nothing of it, as it may hold a password.
        """
        if self.dagster_url is None:
            return None
        url = self.dagster_url.get_secret_value()
        if not re.fullmatch(r"postgresql://[^@/?#\s]+@[^@/?#\s]+/[^@/?#\s]+(\?[^@#\s]*)?", url):
            raise BadConfig(
                "WINBACK_DAGSTER_URL is malformed; it needs postgresql://user:password@host:port/database (options after `?`); "
                "in user and password write @ : / ? # % as %40 %3A %2F %3F %23 %25"
            )
        return url

    def dagster_environment(self) -> dict[str, str]:
        """Environment variables for a process of Dagster on this home."""
        return {
            "WINBACK_HOME": str(self.root),
            "DAGSTER_HOME": str(self.dagster_home),
            # A day has some thousand events: each alone would be a commit of its own.
            "DAGSTER_EVENT_BATCH_SIZE": "500",
            "PYTHONWARNINGS": "ignore",
        }

    def dbt_fingerprint(self) -> str:
        """Of all that dbt derives by: where one character of it changes, tables that it keeps from day to day are derived anew."""
        content = hashlib.blake2b(digest_size=16)
        for folder in ("models", "macros", "seeds", "dbt_project.yml"):
            entries = [self.dbt_project / folder, *sorted((self.dbt_project / folder).rglob("*"))]
            for path in entries:
                if path.is_file():
                    content.update(f"{path.relative_to(self.dbt_project)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
        return content.hexdigest()

    def dbt_environment(self, as_of: datetime, *, schema_prefix: str = "", drafts: str = "") -> dict[str, str]:
        """Environment variables that dbt_project reads.

        `schema_prefix` builds into schemas of their own and `drafts` names a program whose file is taken as it stands (previews).
        """
        return {
            "WINBACK_AS_OF": as_of.strftime("%Y-%m-%d %H:%M:%S"),
            "WINBACK_AUDIENCES": ",".join(self.audiences()),
            "WINBACK_DBT_FINGERPRINT": self.dbt_fingerprint(),
            "WINBACK_WAREHOUSE": str(self.warehouse),
            "WINBACK_THREADS": str(self.threads),
            "WINBACK_MEMORY_LIMIT": self.memory_limit,
            "WINBACK_SPILL_DIRECTORY": str(self.spill),
            "WINBACK_SCHEMA_PREFIX": schema_prefix,
            "WINBACK_DRAFTS": drafts,
            "DBT_PROFILES_DIR": str(self.dbt_project),
            "DBT_PROJECT_DIR": str(self.dbt_project),
            "DBT_TARGET_PATH": str(self.manifest.parent.with_name(schema_prefix + self.target)),
            "DBT_LOG_PATH": str(self.root / "dbt" / "logs"),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "DO_NOT_TRACK": "1",
            **self._engine_environment(),
        }


def is_path_of_mapping(mapping: str) -> bool:
    """Whether a mapping is given as the path of a file, not as a name in `sources/`."""
    return mapping.endswith((".yml", ".yaml"))


def read_remembered(file: Path) -> dict[str, Any]:
    """What `winback.yml` of a home says; nothing where it is missing.

    Raises
    ------
    BadConfig
        It is no YAML of known settings, or holds a secret. The message does not show the secret.
    """
    if not file.is_file():
        return {}
    try:
        remembered = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        mark = getattr(problem, "problem_mark", None)
        place = f"{file}:{mark.line + 1}" if mark else str(file)
        raise BadConfig(f"{place}: this is no YAML in UTF-8; allowed are lines such as `clock: real`") from None
    if remembered is None:
        return {}
    if not isinstance(remembered, dict):
        raise BadConfig(f"{file}: this holds no settings; allowed are lines such as `clock: real`")
    for name, value in remembered.items():
        if name not in Settings.model_fields:
            raise BadConfig(f"{file}: unknown setting {name!r}; allowed: {', '.join(sorted(Settings.model_fields))}")
        if SecretStr in get_args(Settings.model_fields[name].annotation) or re.search(r"://[^/@]*:[^/@]*@", str(value)):
            raise BadConfig(f"{file}: {name}: secrets come from the environment only; delete the line and set WINBACK_{name.upper()}")
    return remembered


def load_settings(home: Path | None = None) -> Settings:
    """Read the environment, then `winback.yml` of the home, then the defaults.

    Raises
    ------
    BadConfig
        Names each setting, what was found and what is allowed.
    """
    _refuse_misspelt(os.environ)
    where = PROJECT_ROOT / (home or os.environ.get("WINBACK_HOME") or Settings.model_fields["home"].default)
    remembered_in = where / "winback.yml"
    values: dict[str, Any] = {"home": where}
    remembered = read_remembered(remembered_in)
    values |= {key: value for key, value in remembered.items() if f"WINBACK_{key.upper()}" not in os.environ}
    try:
        return Settings(**values)
    except ValidationError as problem:
        lines = [
            f"{'.'.join(str(part) for part in error['loc'])}: {_found_and_allowed(error)} "
            f"(set it as WINBACK_{str(error['loc'][0]).upper()} or in {remembered_in})"
            for error in problem.errors()
        ]
        raise BadConfig("Settings are wrong:\n  " + "\n  ".join(lines)) from None


def _found_and_allowed(error: ErrorDetails) -> str:
    found = "something that may hold a password (not shown)" if "@" in str(error["input"]) else repr(error["input"])
    examples = Settings.model_fields[str(error["loc"][0])].examples
    return f"found {found}; " + (f"allowed is a form such as {examples[0]}" if examples else error["msg"])


def _refuse_misspelt(environment: Iterable[str]) -> None:
    """A misspelt variable would be ignored in silence. Other programs have variables of this prefix too: only a near miss is refused."""
    known = [*(f"WINBACK_{name.upper()}" for name in Settings.model_fields), *_BESIDE]
    for name in sorted(environment):
        if name.startswith("WINBACK_") and name not in known:
            # Without the prefix, which would make everything alike. WINBACK_ENGINE_USER, which is for dbt, is 0.86 like WINBACK_ENGINE_URL.
            near = difflib.get_close_matches(name.removeprefix("WINBACK_"), [one.removeprefix("WINBACK_") for one in known], 1, 0.87)
            if near:
                raise BadConfig(f"{name}: there is no such setting, so it would be ignored; did you mean WINBACK_{near[0]}?")
