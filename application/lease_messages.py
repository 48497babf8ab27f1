"""What workers in any language can ask: for jobs, for their leases to go on, and to record what became of an attempt.

A remote worker is named `<identity>/<name>`: whoever asks touches the leases of its own workers only. `scopes` says for
which tenants and queues whoever asks may work: where that is an identity, `Authorization` fills it in.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, NamedTuple
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SkipValidation

from jobledger.domain.job import JobStatus
from jobledger.domain.job_type import JobTypeName
from jobledger.domain.options import DEFAULT_QUEUE, PersonaName, QueueName
from jobledger.domain.tenant import TenantName

from .commands import Reason
from .message import NO_NUL, Command

CLAIM_MAX, HELD_MAX, LINES_MAX, UNITS_MAX = 100, 1_000, 1_000, 50
DELAY_SECONDS_MAX = 400 * 86_400.0

WorkerName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,99}$")]
"""New with each start of a worker: leases are held in it."""
Amount = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]
"""Bounded, so that sums of them stay numbers that JSON holds."""
DelaySeconds = Annotated[float, Field(ge=0, le=DELAY_SECONDS_MAX)]
UnitName = Annotated[str, Field(pattern=NO_NUL, min_length=1, max_length=100)]
ShortText = Annotated[str, Field(pattern=NO_NUL, max_length=200)]
LongText = Annotated[str, Field(max_length=1_000_000)]


_LATE = ConfigDict(defer_build=True)
"""Their validators are made when they are first needed: most programs never ask for a lease."""


class WorkScope(BaseModel):
    """Tenants and queues for which jobs may be worked on; None stands for all of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenants: frozenset[TenantName] | None = None
    queues: frozenset[QueueName] | None = None

    def covers(self, tenant: str, queue: str) -> bool:
        """Whether a job of that tenant in that queue is within it."""
        return (self.tenants is None or tenant in self.tenants) and self.has_queue(queue)

    def has_queue(self, queue: str) -> bool:
        """Whether some tenant's jobs in that queue are within it."""
        return self.queues is None or queue in self.queues


EVERYTHING = (WorkScope(),)


def is_covered(scopes: Iterable[WorkScope], tenant: str, queue: str) -> bool:
    """Whether a job of that tenant in that queue is within one of them."""
    return any(scope.covers(tenant, queue) for scope in scopes)


class HeldAttempt(BaseModel):
    """An attempt that a worker believes it holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_id: UUID
    attempt: Annotated[int, Field(ge=1)]


# --- claiming and renewing -------------------------------------------------------------------------------------------


class StepOutput(NamedTuple):
    """A step that an earlier attempt recorded; `output` is JSON. It is not to run again."""

    step: str
    key: str
    output: bytes


class LeasedJob(NamedTuple):
    """A job whose attempt has begun, with all that working on it needs. `payload` is JSON, in which references to
    secrets stand as they were dispatched."""

    job_id: UUID
    tenant: str
    persona: str | None
    job_type: str
    queue: str
    priority: int
    payload: bytes
    attempt: int
    attempts_allowed: int
    worker: str
    """The whole name: with the attempt it is the fencing token."""
    lease_seconds: float
    started_at: datetime
    soft_deadline: datetime
    deadline: datetime
    """When the attempt ends as timed out, whatever its worker does."""
    timeout_seconds: float
    correlation_id: str
    trace_parent: str
    alone: bool
    """It may have killed workers: it is to run when nothing else runs in the same process."""
    steps: tuple[StepOutput, ...] = ()


class Claimed(NamedTuple):
    """What a claim brought. Where that is nothing, `look_again_seconds` says when a job becomes due, or a rate allows
    one (None: nothing is foreseen); a hint may come earlier. `is_held_back`: the worker holds a job that runs alone."""

    jobs: tuple[LeasedJob, ...]
    look_again_seconds: float | None = None
    is_held_back: bool = False


class ClaimJobs(Command[Claimed]):
    """Take up to `limit` due jobs and begin their attempts; never waits. Timeouts count from here on, so a worker
    claims what it begins at once. `tenants`, `personas` and `job_types` narrow it (None: all that may be had)."""

    model_config = _LATE

    worker: WorkerName
    scopes: tuple[WorkScope, ...] = EVERYTHING
    queues: Annotated[tuple[QueueName, ...], Field(min_length=1, max_length=100)] = (DEFAULT_QUEUE,)
    tenants: Annotated[frozenset[TenantName], Field(min_length=1, max_length=1_000)] | None = None
    personas: Annotated[frozenset[PersonaName], Field(min_length=1, max_length=1_000)] | None = None
    job_types: Annotated[frozenset[JobTypeName], Field(min_length=1, max_length=1_000)] | None = None
    limit: Annotated[int, Field(ge=1, le=CLAIM_MAX)] = 1
    concurrency: Annotated[int, Field(ge=1, le=HELD_MAX)] | None = None
    """How many jobs the worker runs at the same time: shown with it, no more."""
    lease_seconds: Annotated[float, Field(ge=5, le=3_600)] = 30.0
    code_version: ShortText = ""


class Verdict(StrEnum):
    """What a worker is told about an attempt that it believes it holds."""

    GO_ON = "go_on"
    SOFT_TIMEOUT = "soft_timeout"
    """Come to an end soon: the hard timeout is near."""
    CANCEL = "cancel_requested"
    """Stop, then end the attempt (give it back, or complete it where the work is done)."""
    TIMED_OUT = "timed_out"
    """It ran for too long and was ended: stop."""
    LOST = "lost"
    """It is not this worker's (any more): stop."""


class HeldVerdict(NamedTuple):
    """What is said about one attempt."""

    job_id: UUID
    attempt: int
    verdict: Verdict

    @property
    def is_held(self) -> bool:
        """Whether the worker holds it still."""
        return self.verdict not in (Verdict.TIMED_OUT, Verdict.LOST)


class LeasesRenewed(NamedTuple):
    """A verdict on each attempt that was named, in that order. `forgotten` are jobs whose attempt the worker did not
    name, though it had claimed them: others run them."""

    held: tuple[HeldVerdict, ...]
    forgotten: tuple[UUID, ...]
    lease_seconds: float

    @property
    def renew_within_seconds(self) -> float:
        """When to say so again, at the latest: two of three may get lost."""
        return self.lease_seconds / 3


class RenewLeases(Command[LeasesRenewed]):
    """A worker's heartbeat: it lives, and holds these attempts. What it does not name it has lost sight of."""

    worker: WorkerName
    held: Annotated[tuple[HeldAttempt, ...], Field(max_length=HELD_MAX)]


class RetireWorker(Command[int]):
    """A worker ends: what it still holds is given back, and it is no longer listed. How many were given back."""

    worker: WorkerName


# --- one attempt -----------------------------------------------------------------------------------------------------


class AttemptMessage(BaseModel):
    """Names an attempt by its worker; the lease must be held by it (`LeaseLost` else, whatever the reason)."""

    model_config = _LATE

    worker: WorkerName
    scopes: tuple[WorkScope, ...] = EVERYTHING
    tenant: TenantName
    job_id: UUID
    attempt: Annotated[int, Field(ge=1)]


class Used(BaseModel):
    """What the attempt used, for what it is estimated to cost."""

    cpu_seconds: Amount = 0.0
    units: Annotated[dict[UnitName, Amount], Field(max_length=UNITS_MAX)] = Field(default_factory=dict)


class Reported(NamedTuple):
    """`recorded` is False for progress that is recorded with the next report, heartbeat or ending, and for lines of a
    log that is full. `cancel_requested`: somebody asked for the job to stop."""

    recorded: bool
    cancel_requested: bool


class ReportProgress(AttemptMessage, Command[Reported]):
    """How far the work is, 0 to 1. Recorded at most once a second."""

    fraction: Annotated[float, Field(ge=0, le=1)]
    note: LongText = ""


class ReportLog(AttemptMessage, Command[Reported]):
    """Log lines of the job, durable on return. A job's log holds 1 MB; a report counts for 250 bytes at least."""

    lines: Annotated[tuple[LongText, ...], Field(min_length=1, max_length=LINES_MAX)]
    level: str = "info"


class StepRecorded(NamedTuple):
    """The output in force, as JSON; `already` where it had been recorded before."""

    key: str
    output: bytes
    already: bool


class RecordStep(AttemptMessage, Command[StepRecorded]):
    """A step of the work was done and must never be done again: this is its output."""

    step: str
    output: SkipValidation[object] = None


class AttemptEnded(NamedTuple):
    """How the attempt ended (the topic of the event that says so) and where the job stands since. `error` says why a
    result was not taken. `repeated`: it had ended so before, and this request told it once more."""

    job_id: UUID
    attempt: int
    ending: str
    status: JobStatus
    error: str | None = None
    repeated: bool = False


class CompleteAttempt(AttemptMessage, Used, Command[AttemptEnded]):
    """The work is done. A result that does not fit the job type fails the attempt."""

    result: SkipValidation[object] = Field(default=None, repr=False)


class FailAttempt(AttemptMessage, Used, Command[AttemptEnded]):
    """The work failed: another attempt follows by the job's policy, or `retry_after_seconds` from now, or none
    (`never_retry`). Failures of one `kind` (default: of one error type) are shown together."""

    error_type: Annotated[str, Field(min_length=1, max_length=1_000)]
    message: LongText = ""
    traceback: LongText | None = Field(default=None, repr=False)
    kind: ShortText | None = None
    retry_after_seconds: DelaySeconds | None = None
    never_retry: bool = False


class SnoozeAttempt(AttemptMessage, Command[AttemptEnded]):
    """Not now: the job waits for so long, and the attempt does not count."""

    delay_seconds: DelaySeconds
    reason: Reason = ""


class GiveBackAttempt(AttemptMessage, Command[AttemptEnded]):
    """The worker cannot go on (it ends, or was asked to stop): the attempt does not count. Where somebody asked to
    cancel the job, it is cancelled."""

    reason: Reason = ""
