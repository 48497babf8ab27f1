"""Job options and how they are resolved: job, then job type, then queue, then installation (R3.1)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .moment import Moment
from .priority import Priority
from .retry import Retry

TIMEOUT_SECONDS_MIN, TIMEOUT_SECONDS_MAX = 1.0, 86_400.0
SOFT_TIMEOUT_SHARE = 0.9
"""The soft timeout, where none is given, as a share of the hard one."""
DEFAULT_QUEUE = "default"

QueueName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
PersonaName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,126}$")]
Key = Annotated[str, Field(pattern=r"^[^\x00]*$", min_length=1, max_length=255)]
"""Any text but NUL, which PostgreSQL's `text` cannot hold."""
TimeoutSeconds = Annotated[float, Field(ge=TIMEOUT_SECONDS_MIN, le=TIMEOUT_SECONDS_MAX)]


class JobOptions(BaseModel):
    """Options of one level of precedence: what is None is left to the next level.

    `run_at` and `delay_seconds` exclude each other; both are for a single job only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    queue: QueueName | None = None
    priority: Priority | None = None
    retry: Retry | None = None
    timeout_seconds: TimeoutSeconds | None = None
    soft_timeout_seconds: TimeoutSeconds | None = None
    max_stalled: Annotated[int, Field(ge=0, le=100)] | None = None
    lock_key: Key | None = None
    limit_key: Key | None = None
    run_at: Moment | None = None
    delay_seconds: Annotated[float, Field(ge=0, le=400 * 86_400)] | None = None
    depends_on: tuple[UUID, ...] | None = None

    @model_validator(mode="after")
    def _one_way_to_wait(self) -> Self:
        if self.run_at is not None and self.delay_seconds is not None:
            raise ValueError("give run_at or delay_seconds, not both")
        return self


class ResolvedOptions(BaseModel):
    """Every option of a job, decided; recorded with its dispatch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queue: QueueName
    priority: Priority
    retry: Retry
    timeout_seconds: TimeoutSeconds
    soft_timeout_seconds: TimeoutSeconds
    max_stalled: int
    lock_key: str | None
    limit_key: str | None
    due_at: datetime
    delayed: bool
    depends_on: tuple[UUID, ...]


INSTALLATION_DEFAULTS = JobOptions(
    queue=DEFAULT_QUEUE, priority=0, retry=Retry(), timeout_seconds=300.0, max_stalled=3, depends_on=()
)


def merge(*levels: JobOptions) -> JobOptions:
    """The first level that says something wins, option by option; the timeouts count as one option."""
    merged: dict[str, object] = {}
    for level in levels:
        said = {name: value for name, value in level if value is not None}
        if "timeout_seconds" in merged:
            said.pop("soft_timeout_seconds", None)
        merged = {**said, **merged}
    return JobOptions.model_validate(merged)


def resolve(*levels: JobOptions, now: datetime) -> ResolvedOptions:
    """Every option decided at `now`, from the most specific level to the least."""
    merged = merge(*levels, INSTALLATION_DEFAULTS)
    assert merged.queue is not None and merged.retry is not None and merged.timeout_seconds is not None
    assert merged.priority is not None and merged.max_stalled is not None
    due_at = merged.run_at or now + timedelta(seconds=merged.delay_seconds or 0.0)
    soft = merged.soft_timeout_seconds or max(TIMEOUT_SECONDS_MIN, merged.timeout_seconds * SOFT_TIMEOUT_SHARE)
    return ResolvedOptions(
        queue=merged.queue, priority=merged.priority, retry=merged.retry, timeout_seconds=merged.timeout_seconds,
        soft_timeout_seconds=min(soft, merged.timeout_seconds), max_stalled=merged.max_stalled,
        lock_key=merged.lock_key, limit_key=merged.limit_key, due_at=due_at, delayed=due_at > now,
        depends_on=merged.depends_on or (),
    )  # fmt: skip
