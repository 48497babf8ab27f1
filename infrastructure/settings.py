"""Every setting, and the only reader of the environment.

Each field is one variable `JOBLEDGER_<FIELD>`; its description gives unit and default. `docs/reference/settings.md`
is generated from here.
"""

from __future__ import annotations

import difflib
import getpass
import json
import os
import socket
from collections.abc import Iterable, MutableMapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from jobledger.domain.errors import InvalidInput, InvalidSettings
from jobledger.domain.limit import Rate
from jobledger.domain.options import (
    TIMEOUT_SECONDS_MAX,
    TIMEOUT_SECONDS_MIN,
    JobOptions,
    PersonaName,
    QueueName,
    TimeoutSeconds,
)
from jobledger.domain.priority import Priority
from jobledger.domain.retry import DAY_SECONDS, MAX_ATTEMPTS_LIMIT, Retry
from jobledger.domain.tenant import TenantName

from . import database_url
from .database_url import DatabaseUrl
from .networks import Network
from .oidc_settings import DEFAULT_ALGORITHMS, Algorithm, GrantsByValue, Mark, OidcSettings, Url
from .pooler import Pooler, not_through_a_pooler

PREFIX = "JOBLEDGER_"
_KUBERNETES_LINKS = ("JOBLEDGER_PORT", "JOBLEDGER_SERVICE_")
"""A Kubernetes service named `jobledger` puts variables that begin so into every pod of its namespace."""


class Actor(NamedTuple):
    """Who acts. Neither a variable nor a login name proves anything: both are unauthenticated."""

    name: str
    authenticated: bool


def _database(value: object) -> object:
    return database_url.parse(value) if isinstance(value, str) else value


def _names(value: object) -> object:
    return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value


def _rate(value: object) -> object:
    try:
        return Rate.parse(value) if isinstance(value, str) else value
    except InvalidInput as error:
        raise ValueError(f"{error.message}: {error.rule}, {error.hint}") from error


def _json(value: object) -> object:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from error


class QueueOptions(BaseModel):
    """The options that a queue decides for its jobs, where neither job nor job type says something."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    priority: Priority | None = None
    retry: Retry | None = None
    timeout_seconds: TimeoutSeconds | None = None
    soft_timeout_seconds: TimeoutSeconds | None = None
    max_stalled: Annotated[int, Field(ge=0, le=100)] | None = None


class Settings(BaseSettings):
    """What an installation decides, read once from `JOBLEDGER_*` variables. An empty value counts as not set."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True, arbitrary_types_allowed=True,
        hide_input_in_errors=True,
    )  # fmt: skip

    # --- where the ledger is, and who speaks -----------------------------------------------------------------------

    database: Annotated[DatabaseUrl, NoDecode, BeforeValidator(_database)] = Field(
        default_factory=lambda: database_url.parse("sqlite:///jobledger.db"),
        description="The ledger, as one URL: `sqlite:///path` (relative to the working directory), "
        "`sqlite:////absolute/path`, `postgresql://user:password@host/database`, or `embedded-postgres:///directory` "
        "(a server of our own, for development; an absolute directory has four slashes, too). Default `sqlite:///jobledger.db`.",
        json_schema_extra={"default": "sqlite:///jobledger.db"},
    )
    env: Literal["production", "development"] = Field(
        default="production",
        description="`development` lets workers run job types that break the conformance checklist. "
        "Default `production`.",
    )
    tenant: TenantName | None = Field(
        default=None, description="The tenant of commands that name none. Default: none, `--tenant` is then required."
    )
    actor: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="Who acts, as recorded with each event. Default `os:<user>@<host>`."
    )
    app: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][\w.]*(:[A-Za-z_][\w.]*)?$",
        description="The application whose job types run, as `module` or `module:attribute` (the attribute defaults "
        "to `app`). Default: none, `--app` is then required by `up` and `work`.",
    )
    pg_bin: Path | None = Field(
        default=None,
        description="The folder of `initdb`, `pg_ctl` and `postgres` for `embedded-postgres:` databases. "
        "Default: the `embedded-postgres` package, then `/usr/lib/postgresql/*/bin`, then PATH.",
    )

    secrets_file: Path | None = Field(
        default=None,
        description="The vault of workers: a JSON file of permission 0600 from names to secrets, or to objects with a "
        "secret for each tenant. Read again when it changes. Default: none, jobs that want a secret are put off.",
    )

    # --- logs ------------------------------------------------------------------------------------------------------

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severe log events that are written. Default `info`."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto",
        description="`json` writes one JSON object a line, `console` is for people, `auto` takes `console` on a "
        "terminal and `json` elsewhere. Default `auto`.",
    )

    # --- workers ---------------------------------------------------------------------------------------------------

    concurrency: int = Field(
        default=16, ge=1, le=1_000, description="Jobs that one worker runs at the same time. Default 16."
    )
    queues: Annotated[tuple[QueueName, ...], NoDecode, BeforeValidator(_names)] = Field(
        default=(),
        description="Queues that a worker takes jobs from, with commas between. Default: those of its job types.",
    )
    worker_tenants: Annotated[tuple[TenantName, ...], NoDecode, BeforeValidator(_names)] = Field(
        default=(),
        description="Tenants that a worker runs jobs of, with commas between. Default: all.",
    )
    worker_personas: Annotated[tuple[PersonaName, ...], NoDecode, BeforeValidator(_names)] = Field(
        default=(),
        description="Personas of `JOBLEDGER_WORKER_TENANTS` that a worker runs jobs for, with commas between. "
        "Default: all.",
    )
    worker_rate: Annotated[Rate | None, NoDecode, BeforeValidator(_rate)] = Field(
        default=None,
        description="Jobs that one worker begins at most in a window, as `50/1s` or `1000/1h`. Default: no limit.",
    )
    process_pool_size: int | None = Field(
        default=None, ge=1, le=1_000,
        description="Child processes of one worker that run jobs with `isolation=\"process\"`, at most. They are "
        "started as they are needed. Default: as many as `JOBLEDGER_CONCURRENCY`.",
    )  # fmt: skip
    process_max_jobs: int = Field(
        default=1_000, ge=1, le=1_000_000,
        description="Jobs that a child process runs before another one takes its place. Default 1000.",
    )  # fmt: skip
    process_memory_limit_mb: int | None = Field(
        default=None, ge=1, le=1_000_000,
        description="Megabytes that a child process may hold, the program included, where the job type says nothing. "
        "Default: no limit.",
    )  # fmt: skip
    lease_seconds: float = Field(
        default=30.0, ge=1, le=3_600,
        description="Seconds after which a worker that was not heard of loses its jobs. Default 30.",
    )  # fmt: skip
    lease_renew_buffer_seconds: float = Field(
        default=10.0, ge=0.1, le=1_800,
        description="Seconds before its lease ends that a worker renews it; less than the lease. Default 10.",
    )  # fmt: skip
    maintenance_interval_seconds: float = Field(
        default=10.0, ge=1, le=60,
        description="Seconds between two rounds of maintenance (stalled jobs, suspended tenants). Default 10.",
    )  # fmt: skip
    shutdown_grace_seconds: float = Field(
        default=25.0, ge=0, le=3_600,
        description="Seconds that running jobs get to finish at shutdown before they are given back. Default 25.",
    )  # fmt: skip
    poll_interval_seconds: float = Field(
        default=1.0, ge=0.01, le=60,
        description="Seconds after which an idle worker looks for jobs though nothing woke it. Default 1.",
    )  # fmt: skip

    metrics_port: int | None = Field(
        default=None, ge=0, le=65_535,
        description="The port of a worker or a server on which it serves `/metrics`, `/livez` and `/readyz`; 0 takes "
        "any that is free. Default: none, nothing is served or counted.",
    )  # fmt: skip
    metrics_host: str = Field(
        default="127.0.0.1", min_length=1,
        description="The address that the port is opened on; `0.0.0.0` is every one of the machine. There is neither a "
        "password nor encryption. Default `127.0.0.1`.",
    )  # fmt: skip
    http_host: str = Field(
        default="127.0.0.1", min_length=1,
        description="The address that the HTTP API listens on; `0.0.0.0` is every one of the machine. There is no "
        "encryption: beyond this machine, put a proxy that has it in front. Default `127.0.0.1`.",
    )  # fmt: skip
    http_port: int = Field(
        default=8321, ge=0, le=65_535,
        description="The port of the HTTP API; 0 takes any that is free. Default 8321.",
    )  # fmt: skip
    http_trusted_proxies: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_names)] = Field(
        default=(),
        description="The proxies in front of the HTTP API, as addresses and networks with commas between: of requests "
        "that come from there `X-Forwarded-For` says who asks, and `X-Forwarded-Proto` how. Of all others these are "
        "ignored. Behind a proxy that is not named here all requests have its address. Default: none.",
    )  # fmt: skip
    http_body_bytes_max: int = Field(
        default=8_000_000, ge=10_000, le=1_000_000_000,
        description="The most bytes of a request's body that holds a payload, a result, logs or job types (of a line, "
        "where it is JSON Lines); of any other body 1000000, or these where they are fewer. Default 8000000.",
    )  # fmt: skip
    http_connections_max: int = Field(
        default=1_000, ge=10, le=1_000_000,
        description="Connections to one server at a time; one more is answered 503 and closed. Never more than the "
        "files that the process may open (`ulimit -n`), less 256 for other things. Default 1000.",
    )  # fmt: skip
    http_streams_max: int = Field(
        default=20, ge=1, le=100_000,
        description="Streams of live events (server-sent events) that each identity may have open at one server; one "
        "more is answered 429. Default 20.",
    )  # fmt: skip
    http_requests_per_second: float | None = Field(
        default=None, gt=0, le=1_000_000,
        description="How many requests a second each identity may make of one server; more are answered 429. "
        "Default: as many as it likes.",
    )  # fmt: skip
    signing_key: SecretStr | None = Field(
        default=None, min_length=32,
        description="With it servers sign page cursors and console sessions; the same for all servers of an "
        "installation. Default: made at each start, so that both end with the server that gave them.",
    )  # fmt: skip
    metrics_tenant_label: bool = Field(
        default=False,
        description="Whether metrics of jobs carry a label `tenant`: 200 tenants at most, further ones are `(other)`. "
        "Default false.",
    )

    # --- who may come in: tokens of an OIDC issuer (API keys need no setting) --------------------------------------

    oidc_issuer: Url | None = Field(
        default=None,
        description="The issuer whose tokens the HTTP API takes beside API keys, as its tokens name it (`iss`): an "
        "https URL. Its keys are found by discovery. Default: none, only API keys are taken.",
    )
    oidc_audience: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None,
        description="What tokens must name as audience (`aud`). Default: none; needed with `JOBLEDGER_OIDC_ISSUER`.",
    )
    oidc_jwks_url: Url | None = Field(
        default=None, description="Where the issuer's keys are, where there is no discovery. Default: by discovery."
    )
    oidc_algorithms: Annotated[tuple[Algorithm, ...], NoDecode, BeforeValidator(_names), Field(min_length=1)] = Field(
        default=DEFAULT_ALGORITHMS,
        description="Algorithms that tokens may be signed with, with commas between: RS, PS and ES with 256, 384 or "
        "512, EdDSA, Ed25519. Default `RS256,ES256,EdDSA`.",
    )
    oidc_leeway_seconds: int = Field(
        default=60, ge=0, le=300,
        description="Seconds that the issuer's clock may be off when a token begins or ends. Default 60.",
    )  # fmt: skip
    oidc_identity_claim: Annotated[str, Field(min_length=1, max_length=200)] = Field(
        default="sub",
        description="The claim that names a person in the ledger, as `person:<claim>`: something that never changes "
        "hands. Default `sub`.",
    )
    oidc_technical_claim: Annotated[Mark, NoDecode] = Field(
        default=None,
        description="What marks the token of a service, which is `service:<sub>` and may run jobs: a claim that only "
        "they have, as `CLAIM`, or with its value, as `CLAIM=VALUE` (`gty=client-credentials`, `idtyp=app`). Default: "
        "none, every token is a person's.",
    )
    oidc_grants_claim: Annotated[str, Field(min_length=1, max_length=200)] = Field(
        default="groups",
        description="The claim whose values decide what a token may do; dots lead into objects "
        "(`realm_access.roles`). Default `groups`.",
    )
    oidc_grants: Annotated[GrantsByValue, NoDecode, BeforeValidator(_json)] = Field(
        default={},
        description=(
            "What each value of that claim grants, as JSON: "
            '`{"ops": {"role": "operator", "tenants": ["acme"], "extra": ["dlq.requeue"]}, "it": [{"role": "admin"}]}`.'
            " Default: nothing."
        ),
    )

    # --- defaults of job options (precedence: job, job type, queue, these) -----------------------------------------

    job_priority: int = Field(default=0, ge=-100, le=100, description="Priority, higher first, -100 to 100. Default 0.")
    job_max_attempts: int = Field(
        default=5, ge=1, le=MAX_ATTEMPTS_LIMIT, description="Attempts of a job, never unlimited. Default 5."
    )
    job_retry_base_seconds: float = Field(
        default=2.0, ge=0, le=DAY_SECONDS,
        description="Seconds before the first retry; doubles with each, with full jitter. Default 2.",
    )  # fmt: skip
    job_retry_cap_seconds: float = Field(
        default=3_600.0, ge=0, le=30 * DAY_SECONDS,
        description="Seconds that a retry waits at most. Default 3600.",
    )  # fmt: skip
    job_timeout_seconds: float = Field(
        default=300.0, ge=TIMEOUT_SECONDS_MIN, le=TIMEOUT_SECONDS_MAX,
        description="Seconds after which an attempt is ended. Default 300.",
    )  # fmt: skip
    job_max_stalled: int = Field(
        default=3,
        ge=0,
        le=100,
        description="Times that a job may lose its worker before it goes to the DLQ. Default 3.",
    )

    queue_defaults: Annotated[dict[QueueName, QueueOptions], NoDecode, BeforeValidator(_json)] = Field(
        default={},
        description=(
            'Job options that queues decide, as JSON: `{"billing": {"priority": 10, "timeout_seconds": 60}}`'
            " (priority, retry, timeout_seconds, soft_timeout_seconds, max_stalled). Default: none."
        ),
    )

    # --- writing and reading ---------------------------------------------------------------------------------------

    group_commit_max_writes: int = Field(
        default=1_000, ge=1, le=4_096, description="Writes that share one durable commit at most. Default 1000."
    )
    group_commit_buffer_writes: int = Field(
        default=10_000, ge=1, le=1_000_000,
        description="Writes that wait for a commit at most; beyond that, callers wait. Default 10000.",
    )  # fmt: skip
    group_commit_wait_seconds: float = Field(
        default=5.0, ge=0, le=300,
        description="Seconds that a caller waits for room in a full buffer before `LedgerBusy`. Default 5.",
    )  # fmt: skip
    pool_min_size: int = Field(
        default=1, ge=0, le=100, description="PostgreSQL connections kept open by a process. Default 1."
    )
    pool_max_size: int = Field(
        default=8, ge=2, le=200, description="PostgreSQL connections of a process at most. Default 8."
    )
    postgres_pooler: Pooler = Field(
        default="none",
        description="What `JOBLEDGER_DATABASE` reaches PostgreSQL through: `transaction` for PgBouncer in transaction "
        "mode: for programs that dispatch, ask and change. Workers, projections, rebuilds and migrations refuse "
        "to run through it. Default `none`.",
    )
    connect_timeout_seconds: float = Field(
        default=5.0, ge=1, le=300, description="Seconds to wait for a PostgreSQL connection. Default 5."
    )
    sqlite_busy_timeout_seconds: float = Field(
        default=10.0, ge=0.1, le=300,
        description="Seconds that a writer waits for SQLite's only writer before `LedgerBusy`. Default 10.",
    )  # fmt: skip
    projection_batch_events: int = Field(
        default=5_000, ge=1, le=100_000, description="Events that a projection folds in one transaction. Default 5000."
    )
    projection_poll_seconds: float = Field(
        default=0.02, ge=0.002, le=60,
        description="Seconds after which an idle projection looks for events though nothing woke it. Default 0.02.",
    )  # fmt: skip
    projection_park_after: int = Field(
        default=3, ge=1, le=100,
        description="Tries that an event gets which a projection cannot take, before it is parked: set aside, with "
        "later events of the same row, until somebody retries or skips it. Default 3.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        _require_less(
            self.lease_renew_buffer_seconds, self.lease_seconds, "lease_renew_buffer_seconds", "lease_seconds"
        )
        if self.oidc_issuer is not None and self.oidc_audience is None:
            raise ValueError(f"{variable('oidc_issuer')} needs {variable('oidc_audience')}: whom are its tokens for?")
        if self.worker_personas and not self.worker_tenants:
            raise ValueError(f"{variable('worker_personas')} needs {variable('worker_tenants')}: whose personas?")
        if self.job_retry_base_seconds > self.job_retry_cap_seconds:
            raise ValueError(
                f"{variable('job_retry_base_seconds')} must not be above {variable('job_retry_cap_seconds')}"
            )
        if self.pool_min_size > self.pool_max_size:
            raise ValueError(f"{variable('pool_min_size')} must not be above {variable('pool_max_size')}")
        if self.postgres_pooler != "none" and self.database.engine != "postgresql":
            raise ValueError(f"{variable('postgres_pooler')} needs a postgresql: URL in {variable('database')}")
        return self

    def require_sessions(self, what: str) -> None:
        """Raises InvalidSettings where `what` (a worker, a rebuild) needs sessions and a pooler has none for it."""
        if self.postgres_pooler != "none":
            raise not_through_a_pooler(what)

    @property
    def acting(self) -> Actor:
        """Who acts: JOBLEDGER_ACTOR, else the operating system's user and host."""
        return Actor(self.actor or f"os:{getpass.getuser()}@{socket.gethostname()}", authenticated=False)

    @property
    def oidc(self) -> OidcSettings | None:
        """The issuer whose tokens are taken, or None."""
        if self.oidc_issuer is None or self.oidc_audience is None:
            return None
        return OidcSettings(
            self.oidc_issuer, self.oidc_audience, self.oidc_jwks_url, self.oidc_algorithms, self.oidc_leeway_seconds,
            self.oidc_identity_claim, self.oidc_technical_claim, self.oidc_grants_claim, self.oidc_grants,
        )  # fmt: skip

    @property
    def job_defaults(self) -> JobOptions:
        """The installation's level of the precedence of job options."""
        retry = Retry(
            max_attempts=self.job_max_attempts, base_seconds=self.job_retry_base_seconds,
            cap_seconds=self.job_retry_cap_seconds,
        )  # fmt: skip
        return JobOptions(
            priority=self.job_priority, retry=retry, timeout_seconds=self.job_timeout_seconds,
            max_stalled=self.job_max_stalled,
        )  # fmt: skip

    @property
    def queue_options(self) -> dict[str, JobOptions]:
        """The queues' level of the precedence of job options."""
        return {queue: JobOptions.model_validate(said.model_dump()) for queue, said in self.queue_defaults.items()}


def load(**overrides: object) -> Settings:
    """The settings of this process: what `overrides` say (None: nothing), then the environment, then the defaults.

    Raises InvalidSettings: one line with the variable and the rule; for an unknown variable, which was meant.
    """
    _refuse_unknown(os.environ)
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        raise _invalid(error.errors(include_url=False, include_input=False)) from None


def variable(field: str) -> str:
    """The environment variable of a field: `lease_seconds` is JOBLEDGER_LEASE_SECONDS."""
    return f"{PREFIX}{field.upper()}"


def environment() -> MutableMapping[str, str]:
    """The environment of this process, for a child process that brings it back after each job. Settings are not read
    from here."""
    return os.environ


def _require_less(low: float, high: float, low_field: str, high_field: str) -> None:
    if low >= high:
        raise ValueError(f"{variable(low_field)} ({low:g}) must be less than {variable(high_field)} ({high:g})")


def _refuse_unknown(names: Iterable[str]) -> None:
    known = [variable(field) for field in Settings.model_fields]
    for name in names:
        if name.startswith(PREFIX) and name not in known and not name.startswith(_KUBERNETES_LINKS):
            fields = list(Settings.model_fields)
            close = [variable(field) for field in difflib.get_close_matches(name[len(PREFIX) :].lower(), fields, n=1)]
            raise InvalidSettings(
                "there is no such setting", field=name, rule="must be a known setting",
                hint=f"did you mean {close[0]}?" if close else "docs/reference/settings.md lists them all",
            )  # fmt: skip


def _invalid(details: list[ErrorDetails]) -> InvalidSettings:
    first, *others = details
    field = variable(str(first["loc"][0])) if first["loc"] else None
    rule = first["msg"].removeprefix("Value error, ")
    more = f"{len(others)} more: {', '.join(_named(other) for other in others)}" if others else None
    return InvalidSettings(rule[0].lower() + rule[1:] if field else rule, field=field, rule=rule, hint=more)


def _named(detail: ErrorDetails) -> str:
    return variable(str(detail["loc"][0])) if detail["loc"] else detail["msg"]
