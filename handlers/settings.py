"""Settings: environment variables with the prefix TENANTS_, or a file of them named by TENANTS_ENV_FILE.

Every limit stands here with its reason; `tenantctl settings` lists them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from handlers.consistency import contradictions
from handlers.setting_forms import check, listed
from handlers.unknown_settings import Unknown, unknown_among
from tenant_domain.catalogue import DEFAULT_REGION, REGIONS, RESERVED_SUBDOMAINS, Policy

PREFIX = "TENANTS_"
ENV_FILE = "TENANTS_ENV_FILE"
SUPERVISED = "TENANTS_SUPERVISED"
"""Set for a process whose supervisor holds the other end of its standard input."""

DAY = 24 * 3600.0
MIB = 1024 * 1024
GIB = 1024 * MIB
EVERYWHERE = "0.0.0.0"  # noqa: S104 - a server behind a gateway; `dev` listens on loopback only

PARTITIONS = 64
"""As many workers can share the commands at most; each partition costs the server a consumer."""

Names = Annotated[tuple[str, ...], NoDecode]
"""Several names in one variable, with commas between them."""

StepLimits = Annotated[dict[str, Annotated[int, Field(ge=1)]], NoDecode]
"""Names with a number each in one variable, as name=number, with commas between them."""

STEP_LIMITS = {
    **dict.fromkeys(("close_access", "open_access", "suspend", "backup_state"), 12),
    "cleanup": 8,
    "data_preservation": 4,
    "secure_deletion": 4,
}
"""The steps that open connections to PostgreSQL of their own: so many at a time, all of them together 64."""


class Settings(BaseSettings):
    """All settings of the service. Durations are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    # where things are
    nats_url: SecretStr = Field(
        SecretStr("nats://127.0.0.1:4222"),
        description="NATS, with the credentials of a trusted service; several servers with commas between"
        " them, each with its credentials",
    )
    postgres_url: SecretStr = Field(
        SecretStr("postgresql://127.0.0.1:5432/tenants"),
        description="PostgreSQL: a database of our own, a role that may create schemas and roles",
    )
    objects_url: str = Field(
        "file:.data/objects", description="object store: file:<folder>, or s3://?endpoint=…&region=…"
    )
    objects_access_key: SecretStr | None = Field(
        None, description="access key id of the object store (S3); none: of environment, profile or role"
    )
    objects_secret_key: SecretStr | None = Field(
        None, description="secret access key of the object store (S3)"
    )
    smtp_url: SecretStr | None = Field(
        None, description="smtp://user:password@host:port for notices; none: only on the bus"
    )
    smtp_sender: str = Field("tenants@localhost", description="the address that notices come from")
    http_host: str = Field(
        EVERYWHERE, description="the address that the HTTP edge listens on; loopback in dev"
    )
    http_port: int = Field(8085, ge=0, le=65535, description="the port of the HTTP edge; 0 picks a free one")
    subject_prefix: str = Field(
        "tenants",
        pattern=r"^[a-z0-9_-]{1,64}$",
        description="the first token of every subject; 64 characters at most, for it stands in every event",
    )
    cors_origins: Names = Field((), description="origins that browsers may call from; none by default")

    # keys
    master_key_file: Path | None = Field(
        None,
        description="32 random bytes in hex; it wraps tenants' data keys, and their passwords derive from it;"
        " none: master.key in the working folder",
    )
    signing_key_file: Path | None = Field(
        None,
        description="Ed25519 private key (PEM) that signs tokens; none: signing.pem in the working folder",
    )
    certificate_key_file: Path | None = Field(
        None,
        description="Ed25519 private key (PEM) that signs certificates of deletion; none: certificates.pem"
        " in the working folder",
    )
    create_keys: bool = Field(False, description="create missing key files; for development")
    token_issuer: str = Field("tenants", description="the `iss` of tokens")
    token_audience: str = Field("tenants", description="the `aud` of tokens")

    # policy
    regions: Names = Field(REGIONS, description="regions that are served")
    default_region: str = Field(DEFAULT_REGION, description="the region of a tenant that names none")
    reserved_subdomains: Names = Field(
        tuple(sorted(RESERVED_SUBDOMAINS)), description="subdomains that no tenant gets"
    )

    settings_bytes: int = Field(
        64 * 1024,
        ge=1024,
        le=256 * 1024,
        description="most bytes of a tenant's own settings: an answer must fit into one message",
    )

    # streams
    replicas: int = Field(1, ge=1, le=5, description="replicas of each JetStream stream; 3 on a cluster")
    commands_max_bytes: int = Field(
        2 * GIB,
        ge=MIB,
        description="size of TENANT_COMMANDS; beyond it publishers are refused, nothing is dropped",
    )
    dead_letters_max_bytes: int = Field(
        1 * GIB,
        ge=MIB,
        description="size of TENANT_DEAD_LETTERS; the oldest go first (PostgreSQL keeps them a while)",
    )
    partitions: int = Field(
        PARTITIONS, ge=1, le=1024, description="partitions of TENANT_COMMANDS; fixed once the stream exists"
    )

    # command path
    batch_size: int = Field(
        500,
        ge=1,
        le=5000,
        description="most commands in one transaction: larger gains little and delays more",
    )
    waiting_commands: int = Field(
        10_000, ge=1, description="most answered commands that wait in a process: bounds its memory"
    )
    unavailable_after: float = Field(
        2.0, gt=0, description="how long a command or a query waits for a database before `unavailable`"
    )
    command_retention: float = Field(7 * DAY, gt=0, description="how long a command's outcome is remembered")
    dead_letter_retention: float = Field(
        30 * DAY,
        ge=0,
        description="how long PostgreSQL keeps a letter that the stream has; a lost stream gets these again",
    )
    command_tries: int = Field(
        5,
        ge=1,
        description="tries of a durable command that fails for a technical reason, then it is a dead letter",
    )
    partition_lease: float = Field(
        3.0, gt=0.2, description="a worker that does not renew for this long loses its partitions"
    )

    # sagas
    saga_lease: float = Field(
        3.0, gt=0.2, description="a worker that does not renew for this long loses its runs"
    )
    saga_runs_per_tenant: int = Field(
        8, ge=1, description="most runs of one tenant at work at a time: the others get their turn"
    )
    saga_step_limits: StepLimits = Field(
        STEP_LIMITS,
        description="most runs of one process at a step, as name=number,…: bounds what costly steps take, and"
        " the connections that steps open; a step that is not named keeps its default",
    )
    saga_concurrency: int = Field(512, ge=1, description="most runs at work in one process: bounds memory")

    # reading
    snapshot_every: int = Field(
        100, ge=2, description="events of a stream between two snapshots: bounds the cost of loading it"
    )
    cached_states: int = Field(50_000, ge=1, description="states kept by the command path, some 2 KB each")
    query_concurrency: int = Field(
        256, ge=1, description="most queries at work in one process; beyond it `rate-limited`"
    )
    poll_interval: float = Field(
        1.0, gt=0, description="how long an engine waits for a hint before it looks by itself"
    )
    relay_window: int = Field(1000, ge=1, description="most events published and not yet acknowledged")

    # PostgreSQL connections
    pool_size: int = Field(8, ge=1, description="most pooled connections of one process for reads and steps")

    # tenants' own sessions in PostgreSQL
    tenant_connections: int = Field(
        20, ge=1, description="most connections of one tenant's role: no tenant takes those of all others"
    )
    tenant_transaction_limit: float = Field(
        30.0,
        gt=0,
        description="longest transaction, and statement, of a tenant's session, then the session is ended:"
        " what it sees cannot be cleared away, so nobody's erasure ends meanwhile",
    )
    tenant_idle_limit: float = Field(
        10.0,
        gt=0,
        description="how long a tenant's session may be idle in a transaction: it holds the same for nothing",
    )
    tenant_watch_interval: float = Field(
        1.0, gt=0, description="how often tenants' sessions and roles are looked at"
    )

    # what can be seen
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least level that is logged"
    )
    log_format: Literal["json", "console"] | None = Field(
        None, description="form of the log; by default console on a terminal, else json"
    )
    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="a port for this process's metrics and /health/ready; with the role http also /metrics",
    )
    metrics_of: Names = Field(
        (), description="other processes whose metrics /metrics shows as well, as name=URL,…; `dev` sets it"
    )
    standstill_after: float = Field(
        15.0,
        gt=1.0,
        description="how long an engine may not go round its loop before the process is not ready: longer"
        " than any of them waits",
    )
    otlp_endpoint: str | None = Field(None, description="where traces go (OTLP over HTTP); none: nowhere")
    environment: str = Field("production", description="a name that stands in every trace")

    @field_validator("cors_origins", "metrics_of", "regions", "reserved_subdomains", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(filter(None, listed(value))) if isinstance(value, str) else value

    @field_validator("*")
    @classmethod
    def _usable(cls, value: object, about: ValidationInfo) -> object:
        check(about.field_name or "", value)
        return value

    @property
    def nats_servers(self) -> list[str]:
        """The URL of each NATS server."""
        return listed(self.nats_url.get_secret_value())

    @field_validator("saga_step_limits", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = (part.partition("=") for part in value.split(",") if part)
        return {**STEP_LIMITS, **{name.strip(): number for name, _, number in pairs}}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if wrong := contradictions(dict(self)):
            raise ValueError("; ".join(wrong))
        return self

    def policy(self) -> Policy:
        """Return the policy that commands are decided by."""
        return Policy(
            regions=self.regions,
            default_region=self.default_region,
            reserved_subdomains=frozenset(self.reserved_subdomains),
            settings_bytes=self.settings_bytes,
        )


def unit(name: str) -> str | None:
    """Return what a setting is counted in: seconds and bytes have names, other numbers are counts."""
    if Settings.model_fields[name].annotation is float:
        return "seconds"
    return "bytes" if name.endswith("_bytes") else None


class NoSettingsFile(Exception):
    """TENANTS_ENV_FILE names no file: to go on with the defaults would be to run on other servers."""


def unknown() -> list[Unknown]:
    """Return the variables with our prefix that nobody reads, of the environment and of TENANTS_ENV_FILE."""
    known = [name.upper() for name in Settings.model_fields]
    file = os.environ.get(ENV_FILE)
    given = {*os.environ, *(dotenv_values(file) if file and Path(file).is_file() else ())}
    return unknown_among(given - {ENV_FILE, SUPERVISED}, PREFIX, known)


def load() -> Settings:
    """Return the settings of this process.

    Raises NoSettingsFile, and pydantic.ValidationError, which names every variable that does not fit.
    """
    file = os.environ.get(ENV_FILE)
    if file and not Path(file).is_file():
        raise NoSettingsFile(f"TENANTS_ENV_FILE names {file!r}, and there is no such file")
    return Settings(_env_file=file or None)  # pyright: ignore[reportCallIssue]
