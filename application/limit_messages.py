"""What one can ask about limits, pauses and queues. A target is named as people name it, by queue, tenant, persona or
key; see `domain/limit.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, NamedTuple
from uuid import UUID

from pydantic import BaseModel, Field

from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import JobStatus
from jobledger.domain.limit import CONCURRENCY_MAX, WEIGHT_MAX, FlowState, Rate, Scope, Target, target_of
from jobledger.domain.options import Key, PersonaName, QueueName
from jobledger.domain.tenant import TenantName

from .commands import Reason
from .message import Command, JobReference, Query
from .writes import LimitRow

INSTALLATION = "the installation"
"""Who did what the installation did, as its tenants are told."""
HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX = 100, 1_000


class Targeted(BaseModel):
    """Names one target: a queue alone, a tenant alone, or a tenant with one of its personas or keys.

    A key that ends in `*` stands for each key with that beginning, separately.
    """

    queue: QueueName | None = None
    tenant: TenantName | None = None
    persona: PersonaName | None = None
    key: Key | None = None

    @property
    def target(self) -> Target:
        """The target. Raises `InvalidInput` where none is named, or more than one."""
        return target_of(queue=self.queue, tenant=self.tenant, persona=self.persona, key=self.key)


class ChangesTarget(Targeted):
    """Limits, pauses or resumes. `by_tenant`: whether one of the tenant's own asks for it, who may not undo what the
    installation did; authorization says so."""

    by_tenant: bool = False


class TargetChanged(NamedTuple):
    """A target after a command. `changed` is False where it was so already; `remark` says what looks like a slip (a
    queue that nothing uses)."""

    target: Target
    state: FlowState
    changed: bool = True
    remark: str | None = None


class SetLimits(ChangesTarget, Command[TargetChanged]):
    """Limit a target; what is not named stays as it is. `weight` is a tenant's share of the turns."""

    concurrency: Annotated[int, Field(ge=1, le=CONCURRENCY_MAX)] | None = None
    rate: Rate | None = None
    weight: Annotated[int, Field(ge=1, le=WEIGHT_MAX)] | None = None
    reason: Reason = ""


class RemoveLimits(ChangesTarget, Command[TargetChanged]):
    """Remove the limits that are named, or all of a target's where none is. A pause stays."""

    concurrency: bool = False
    rate: bool = False
    weight: bool = False
    reason: Reason = ""


class PauseTarget(ChangesTarget, Command[TargetChanged]):
    """Start nothing of a target until it is resumed: jobs are still taken, and what runs goes on."""

    reason: Reason = ""


class ResumeTarget(ChangesTarget, Command[TargetChanged]):
    """Start jobs of a paused target again."""

    reason: Reason = ""


class ListLimits(Query[tuple[LimitRow, ...]]):
    """Everything that is limited or paused: by scope, tenant and name. With `tenant`, what is that tenant's own."""

    tenant: TenantName | None = None
    scope: Scope | None = None


class LimitHistory(NamedTuple):
    """A target as it is, and what was done to it, oldest first. `next_version` begins the next page, or None."""

    target: Target
    state: FlowState
    events: tuple[RecordedEvent, ...]
    next_version: int | None


class GetLimitHistory(Targeted, Query[LimitHistory]):
    """Who limited, paused and resumed a target, when and why. `as_tenant`: of what the installation did, only that;
    authorization says so."""

    as_tenant: bool = False

    after_version: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1, le=HISTORY_LIMIT_MAX)] = HISTORY_LIMIT_DEFAULT


class QueueOverview(NamedTuple):
    """A queue as it is now. `jobs` counts open jobs by status; `job_types` are those whose own queue it is."""

    queue: str
    state: FlowState
    jobs: Mapping[JobStatus, int]
    job_types: tuple[str, ...]


class ListQueues(Query[tuple[QueueOverview, ...]]):
    """Every queue that a job type names, that has open jobs, or that is limited or paused; by name."""


class HoldKind(StrEnum):
    """Why a job waits."""

    DELAYED = "delayed"
    BLOCKED = "blocked"
    TENANT = "tenant"
    """Its tenant is suspended or unknown: it goes to the DLQ, not to a worker."""
    PAUSED = "paused"
    CONCURRENCY = "concurrency"
    RATE = "rate"
    LOCKED = "locked"
    NO_WORKER = "no_worker"
    TURN = "turn"
    """Nothing holds it: it starts when a worker has room for it."""
    HIDDEN = "hidden"
    """Limits, running jobs and workers are everybody's, and not for this login to the database to see."""


class Hold(NamedTuple):
    """One thing that keeps a job waiting. `used` of `allowed` where it is a limit, `job_id` where it is another job."""

    kind: HoldKind
    text: str
    target: Target | None = None
    used: int | None = None
    allowed: int | None = None
    job_id: UUID | None = None


class Explanation(NamedTuple):
    """Why a job is where it is, at this moment. `holds` is why one waits; empty for one that runs, is dead, or has
    ended. `account` says in a sentence where it stands, `since` when."""

    job_id: UUID
    status: JobStatus
    holds: tuple[Hold, ...]
    account: str
    since: datetime


class ExplainJob(Query[Explanation]):
    """Why a job does not run, or where it stands else. A snapshot: workers go on while it is taken.

    With `queues` other jobs are named only where they are in these; `as_tenant`: what the installation did has neither
    name nor reason. Authorization says both.
    """

    tenant: TenantName
    job: JobReference
    queues: frozenset[str] | None = None
    as_tenant: bool = False
