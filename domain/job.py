"""What a job is: its events, its state, how events change it, and what may be decided about it.

Read from top to bottom: statuses, the facts of every `job.*` event, `JobState` with `evolve`, then the decisions.
A decision takes the state and returns the events that follow, or raises a `Refusal`. Everything here is pure: times,
ids and jitter come in as arguments. Where a decision has a body (payload, result, traceback), it belongs to the first
event the decision returns.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, Literal, NamedTuple
from uuid import UUID

from pydantic import AwareDatetime, Field

from .difference import Change
from .errors import IllegalTransition, InvalidInput, LeaseLost, ReasonRequired
from .event import Facts
from .priority import Priority
from .rate_card import Usage
from .retry import Retry


class JobStatus(StrEnum):
    """Where a job stands. Terminal: completed, cancelled, discarded. `dlq` leaves only by a human."""

    PENDING = "pending"
    DELAYED = "delayed"
    BLOCKED = "blocked"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    DLQ = "dlq"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"


TERMINAL = frozenset({JobStatus.COMPLETED, JobStatus.CANCELLED, JobStatus.DISCARDED})
WAITING = frozenset({JobStatus.PENDING, JobStatus.DELAYED, JobStatus.BLOCKED})

JobKind = Literal["system", "orchestration", "reactive", "ai", "work"]
DlqReason = Literal["attempts_exhausted", "unrecoverable", "integrity_violation", "stalled"]

# --- events --------------------------------------------------------------------------------------------------------


class JobFacts(Facts):
    """Every event of a job repeats what views are keyed by. These come first: claims build them in SQL."""

    job_type: str
    queue: str
    persona: str | None = None


class JobDispatched(JobFacts):
    """A job came to be, with every option resolved. Body: the payload.

    Version 2 has `limit_key`.
    """

    topic: ClassVar[str] = "job.dispatched"
    schema_version: ClassVar[int] = 2

    kind: JobKind = "work"
    status: Literal["pending", "delayed", "blocked"] = "pending"
    priority: Priority = 0
    due_at: AwareDatetime
    retry: Retry = Retry()
    timeout_seconds: float = 300.0
    soft_timeout_seconds: float = 270.0
    max_stalled: int = 3
    lock_key: str | None = None
    limit_key: str | None = None
    """A custom key that concurrency and rate may be limited by."""
    depends_on: tuple[UUID, ...] = ()
    idempotency_key: str | None = None
    payload_schema: str = ""
    """Fingerprint of the payload schema that the payload was validated against."""
    rate_card_version: str = "none"
    manual: bool = False
    reason: str | None = None


class JobReleased(JobFacts):
    """The last dependency let the job go: blocked to pending."""

    topic: ClassVar[str] = "job.released"

    dependency: UUID


class JobStarted(JobFacts):
    """A worker claimed the job: an attempt begins."""

    topic: ClassVar[str] = "job.started"

    attempt: int
    worker: str
    code_version: str
    lease_seconds: float


class JobProgressed(JobFacts):
    """The running handler reported progress."""

    topic: ClassVar[str] = "job.progressed"

    attempt: int
    fraction: float = Field(ge=0, le=1)
    note: str = ""


class JobLogged(JobFacts):
    """The running handler logged lines. Body: the lines, UTF-8, one a line."""

    topic: ClassVar[str] = "job.logged"

    attempt: int
    level: str
    line_count: int


class JobStepRecorded(JobFacts):
    """A step of the handler ended; it never runs again. Body: its output as JSON."""

    topic: ClassVar[str] = "job.step_recorded"

    attempt: int
    step: str
    key: str


class JobCancelRequested(JobFacts):
    """A person asked to cancel a running job; its handler is told."""

    topic: ClassVar[str] = "job.cancel_requested"

    attempt: int
    reason: str


class JobCompleted(JobFacts):
    """The attempt succeeded. Body: the result as JSON."""

    topic: ClassVar[str] = "job.completed"

    attempt: int
    worker: str
    seconds_in_queue: float
    seconds_running: float
    usage: Usage = Usage()
    estimated_cost: float = 0.0
    rate_card_version: str = "none"


class JobFailed(JobFacts):
    """The attempt failed. Body: the traceback."""

    topic: ClassVar[str] = "job.failed"

    attempt: int
    worker: str
    error_type: str
    message: str
    fingerprint: str
    recoverable: bool
    seconds_in_queue: float = 0.0
    seconds_running: float = 0.0
    usage: Usage = Usage()
    estimated_cost: float = 0.0
    rate_card_version: str = "none"


class JobRetried(JobFacts):
    """Another attempt was decided: when, and the inputs of that decision."""

    topic: ClassVar[str] = "job.retried"

    next_attempt: int
    due_at: AwareDatetime
    delay_seconds: float
    policy: Retry
    jitter: float
    attempts_counted: int
    asked_by_handler: bool = False


class JobStalled(JobFacts):
    """The worker of an attempt was not heard of in time. Counts toward `max_stalled`, not toward attempts."""

    topic: ClassVar[str] = "job.stalled"

    attempt: int
    worker: str
    last_seen_at: AwareDatetime | None = None
    why: str = "lease expired"


class JobInterrupted(JobFacts):
    """The attempt was given back (shutdown, a lost claim): it does not count."""

    topic: ClassVar[str] = "job.interrupted"

    attempt: int
    worker: str
    why: str


class JobSnoozed(JobFacts):
    """The handler, or an open circuit, put the job off: the attempt does not count."""

    topic: ClassVar[str] = "job.snoozed"

    attempt: int
    due_at: AwareDatetime
    why: str


class JobRescheduled(JobFacts):
    """Somebody changed when or how urgently the job runs."""

    topic: ClassVar[str] = "job.rescheduled"

    priority: Priority
    due_at: AwareDatetime
    status: Literal["pending", "delayed", "blocked", "in_progress"]
    reason: str


class JobCancelled(JobFacts):
    """The job will not run (again). `attempt` is set where this ended a running attempt."""

    topic: ClassVar[str] = "job.cancelled"

    attempt: int | None = None
    reason: str


class JobSentToDlq(JobFacts):
    """The job failed for good; only a human gets it out. This is the auditable error event (R4.6)."""

    topic: ClassVar[str] = "job.sent_to_dlq"

    kind: JobKind = "work"
    reason: DlqReason
    attempt: int
    error_type: str
    message: str
    fingerprint: str


class JobRequeued(JobFacts):
    """A human took the job out of the DLQ. Body: the new payload, where it was edited.

    Version 2 has `payload_changes`.
    """

    topic: ClassVar[str] = "job.requeued"
    schema_version: ClassVar[int] = 2

    reason: str
    ticket: str | None = None
    attempts_granted: int
    payload_edited: bool = False
    payload_sha256_before: str | None = None
    payload_changes: tuple[Change, ...] | None = None
    """Where the edited payload differs from the one before: the first hundred places, without values, which stand in
    the bodies. None: not edited, or before version 2."""
    due_at: AwareDatetime


class JobDiscarded(JobFacts):
    """A human gave the job up: out of the DLQ for good."""

    topic: ClassVar[str] = "job.discarded"

    reason: str
    ticket: str | None = None


JOB_FACTS: tuple[type[JobFacts], ...] = (
    JobDispatched, JobReleased, JobStarted, JobProgressed, JobLogged, JobStepRecorded, JobCancelRequested,
    JobCompleted, JobFailed, JobRetried, JobStalled, JobInterrupted, JobSnoozed, JobRescheduled, JobCancelled,
    JobSentToDlq, JobRequeued, JobDiscarded,
)  # fmt: skip

# --- state ---------------------------------------------------------------------------------------------------------


class JobState(NamedTuple):
    """All that decisions need to know. `attempt` numbers executions and never falls; `attempts_counted` is what is
    held against `attempts_allowed` (a stalled, interrupted or snoozed attempt is not)."""

    status: JobStatus
    job_type: str
    queue: str
    persona: str | None
    kind: JobKind
    priority: int
    due_at: datetime
    retry: Retry
    timeout_seconds: float
    soft_timeout_seconds: float
    lock_key: str | None
    max_stalled: int
    attempts_allowed: int
    attempt: int = 0
    attempts_counted: int = 0
    stalls: int = 0
    worker: str | None = None
    cancel_reason: str | None = None
    """Set while a running attempt has been asked to stop."""
    last_attempt_failed: bool = False
    """The filter `failed`: the last attempt failed and the job has not completed since."""
    last_error_type: str = ""
    last_error_message: str = ""
    last_fingerprint: str = ""
    limit_key: str | None = None


def evolve(state: JobState | None, facts: Facts) -> JobState:
    """The state after an event. The first event of a job is `job.dispatched`."""
    if isinstance(facts, JobDispatched):
        return _dispatched(facts)
    if state is None:
        raise InvalidInput(f"a job begins with job.dispatched, not {facts.topic}", field="topic")
    match facts:
        case JobStarted():
            return state._replace(
                status=JobStatus.IN_PROGRESS, attempt=facts.attempt, worker=facts.worker,
                attempts_counted=state.attempts_counted + 1,
            )  # fmt: skip
        case JobCompleted():
            return _ended(state, JobStatus.COMPLETED)._replace(last_attempt_failed=False)
        case JobFailed():
            return state._replace(
                worker=None, last_attempt_failed=True, last_error_type=facts.error_type,
                last_error_message=facts.message, last_fingerprint=facts.fingerprint,
            )  # fmt: skip
        case JobRetried():
            return _ended(state, JobStatus.DELAYED)._replace(due_at=facts.due_at)
        case JobSnoozed():
            return _given_back(state, JobStatus.DELAYED)._replace(due_at=facts.due_at)
        case JobInterrupted():
            return _given_back(state, JobStatus.PENDING)
        case JobStalled():
            return _given_back(state, JobStatus.PENDING)._replace(stalls=state.stalls + 1)
        case JobReleased():
            return state._replace(status=JobStatus.PENDING)
        case JobRescheduled():
            return state._replace(status=JobStatus(facts.status), priority=facts.priority, due_at=facts.due_at)
        case JobCancelRequested():
            return state._replace(cancel_reason=facts.reason)
        case JobCancelled():
            return _ended(state, JobStatus.CANCELLED)
        case JobSentToDlq():
            return _ended(state, JobStatus.DLQ)._replace(
                last_attempt_failed=True, last_error_type=facts.error_type, last_error_message=facts.message,
                last_fingerprint=facts.fingerprint,
            )  # fmt: skip
        case JobRequeued():
            return state._replace(
                status=JobStatus.PENDING, due_at=facts.due_at, stalls=0,
                attempts_allowed=state.attempts_counted + facts.attempts_granted,
            )  # fmt: skip
        case JobDiscarded():
            return _ended(state, JobStatus.DISCARDED)
        case JobProgressed() | JobLogged() | JobStepRecorded():
            return state
        case _:
            raise InvalidInput(f"{facts.topic} is not an event of a job", field="topic")


def _dispatched(facts: JobDispatched) -> JobState:
    return JobState(
        status=JobStatus(facts.status), job_type=facts.job_type, queue=facts.queue, persona=facts.persona,
        kind=facts.kind, priority=facts.priority, due_at=facts.due_at, retry=facts.retry,
        timeout_seconds=facts.timeout_seconds, soft_timeout_seconds=facts.soft_timeout_seconds,
        lock_key=facts.lock_key, max_stalled=facts.max_stalled, attempts_allowed=facts.retry.max_attempts,
        limit_key=facts.limit_key,
    )  # fmt: skip


def add_limit_key(stored: dict[str, Any]) -> dict[str, Any]:
    """Version 1 to 2 of `job.dispatched`: no job had a key of its own to be limited by."""
    return {**stored, "limit_key": None}


def add_payload_changes(stored: dict[str, Any]) -> dict[str, Any]:
    """Version 1 to 2 of `job.requeued`: where an edited payload differed was not recorded."""
    return {**stored, "payload_changes": None}


def _ended(state: JobState, status: JobStatus) -> JobState:
    return state._replace(status=status, worker=None, cancel_reason=None)


def _given_back(state: JobState, status: JobStatus) -> JobState:
    return _ended(state, status)._replace(attempts_counted=max(0, state.attempts_counted - 1))


# --- decisions about a job that waits --------------------------------------------------------------------------------

Decision = tuple[JobFacts, ...]


def start(state: JobState, *, worker: str, code_version: str, lease_seconds: float) -> Decision:
    """A worker claims a job that is ready. (The claim statement takes this decision for a whole batch in SQL.)"""
    if state.status not in (JobStatus.PENDING, JobStatus.DELAYED):
        raise IllegalTransition(state.status, JobStatus.IN_PROGRESS)
    if state.attempts_counted >= state.attempts_allowed:
        raise IllegalTransition(state.status, JobStatus.IN_PROGRESS, "no attempts remain")
    return (
        JobStarted(
            **_about(state), attempt=state.attempt + 1, worker=worker, code_version=code_version,
            lease_seconds=lease_seconds,
        ),
    )  # fmt: skip


def release(state: JobState, *, dependency: UUID) -> Decision:
    """The last dependency of a blocked job ended."""
    if state.status is not JobStatus.BLOCKED:
        raise IllegalTransition(state.status, JobStatus.PENDING, "only a blocked job is released")
    return (JobReleased(**_about(state), dependency=dependency),)


def reschedule(
    state: JobState, *, now: datetime, reason: str, priority: int | None = None, due_at: datetime | None = None
) -> Decision:
    """Change priority or time; a time that has passed means now. A running job takes a new priority for its next
    attempt, but no new time."""
    require_reason(reason, "rescheduling")
    if state.status not in WAITING and state.status is not JobStatus.IN_PROGRESS:
        raise IllegalTransition(state.status, "rescheduled")
    if priority is None and due_at is None:
        raise InvalidInput("nothing to change", field="priority", rule="give a priority, a time, or both")
    if due_at is not None and state.status is JobStatus.IN_PROGRESS:
        raise IllegalTransition(state.status, JobStatus.DELAYED, "its attempt is running")
    new_due_at = state.due_at if due_at is None else max(due_at, now)
    status = state.status
    if status in (JobStatus.PENDING, JobStatus.DELAYED):
        status = JobStatus.DELAYED if new_due_at > now else JobStatus.PENDING
    new_priority = state.priority if priority is None else priority
    return (
        JobRescheduled.model_validate(
            {**_about(state), "priority": new_priority, "due_at": new_due_at, "status": status.value, "reason": reason}
        ),
    )


def cancel(state: JobState, *, reason: str) -> Decision:
    """A job that waits is cancelled; a running one is asked to stop and is cancelled once its attempt has ended."""
    require_reason(reason, "cancelling")
    if state.status in WAITING:
        return (JobCancelled(**_about(state), reason=reason),)
    if state.status is not JobStatus.IN_PROGRESS:
        why = "discard it instead" if state.status is JobStatus.DLQ else ""
        raise IllegalTransition(state.status, JobStatus.CANCELLED, why)
    if state.cancel_reason is not None:
        raise IllegalTransition(state.status, JobStatus.CANCELLED, "it was already asked to stop")
    return (JobCancelRequested(**_about(state), attempt=state.attempt, reason=reason),)


def reject(state: JobState, *, reason: DlqReason, error_type: str, message: str, fingerprint: str) -> Decision:
    """A job that waits can never run (its tenant is unknown or suspended, its payload fits no more): to the DLQ."""
    if state.status not in WAITING:
        raise IllegalTransition(state.status, JobStatus.DLQ)
    return (_to_dlq(state, reason, error_type, message, fingerprint),)


# --- decisions about a running attempt -------------------------------------------------------------------------------


class Lease(NamedTuple):
    """What an ending must name: the worker and the attempt it holds. This is the fencing token."""

    worker: str
    attempt: int


class Measured(NamedTuple):
    """What was measured of one attempt."""

    seconds_in_queue: float = 0.0
    seconds_running: float = 0.0
    usage: Usage = Usage()
    estimated_cost: float = 0.0
    rate_card_version: str = "none"


class AttemptError(NamedTuple):
    """Why an attempt failed. `dlq_reason` is set where no further attempt can help."""

    error_type: str
    message: str
    fingerprint: str
    dlq_reason: Literal["unrecoverable", "integrity_violation"] | None = None
    retry_after_seconds: float | None = None


def progress(state: JobState, lease: Lease, *, fraction: float, note: str = "") -> Decision:
    """The handler is at `fraction` (0..1) of its work."""
    _require_lease(state, lease)
    return (JobProgressed(**_about(state), attempt=lease.attempt, fraction=fraction, note=note),)


def log(state: JobState, lease: Lease, *, level: str, line_count: int) -> Decision:
    """The handler logged; the lines are the body."""
    _require_lease(state, lease)
    return (JobLogged(**_about(state), attempt=lease.attempt, level=level, line_count=line_count),)


def record_step(state: JobState, lease: Lease, *, step: str, key: str) -> Decision:
    """A step of the handler ended; its output is the body."""
    _require_lease(state, lease)
    return (JobStepRecorded(**_about(state), attempt=lease.attempt, step=step, key=key),)


def complete(state: JobState, lease: Lease, measured: Measured) -> Decision:
    """The attempt succeeded, even where somebody asked to cancel meanwhile: its work is done."""
    _require_lease(state, lease)
    seconds_in_queue, seconds_running, usage, estimated_cost, rate_card_version = measured
    return (
        JobCompleted(  # the decision taken most often: keyword by keyword, which is faster than two dictionaries
            job_type=state.job_type, queue=state.queue, persona=state.persona, attempt=lease.attempt,
            worker=lease.worker, seconds_in_queue=seconds_in_queue, seconds_running=seconds_running, usage=usage,
            estimated_cost=estimated_cost, rate_card_version=rate_card_version,
        ),
    )  # fmt: skip


def fail(
    state: JobState, lease: Lease, error: AttemptError, *, now: datetime, jitter: float, measured: Measured
) -> Decision:
    """The attempt failed: then another attempt is decided, or the DLQ, or the cancellation that was asked for."""
    _require_lease(state, lease)
    failed = JobFailed(
        **_about(state), attempt=lease.attempt, worker=lease.worker, error_type=error.error_type,
        message=error.message, fingerprint=error.fingerprint, recoverable=error.dlq_reason is None,
        **measured._asdict(),
    )  # fmt: skip
    if state.cancel_reason is not None:
        return (failed, JobCancelled(**_about(state), reason=state.cancel_reason))
    if error.dlq_reason is not None:
        return (failed, _to_dlq(state, error.dlq_reason, error.error_type, error.message, error.fingerprint))
    if state.attempts_counted >= state.attempts_allowed:
        return (failed, _to_dlq(state, "attempts_exhausted", error.error_type, error.message, error.fingerprint))
    return (failed, _retry(state, error, now, jitter))


def snooze(state: JobState, lease: Lease, *, due_at: datetime, why: str) -> Decision:
    """Not now: back until `due_at`, the attempt does not count."""
    _require_lease(state, lease)
    if state.cancel_reason is not None:
        return (JobCancelled(**_about(state), attempt=lease.attempt, reason=state.cancel_reason),)
    return (JobSnoozed(**_about(state), attempt=lease.attempt, due_at=due_at, why=why),)


def interrupt(state: JobState, lease: Lease, *, why: str) -> Decision:
    """The attempt is given back and does not count."""
    _require_lease(state, lease)
    interrupted = JobInterrupted(**_about(state), attempt=lease.attempt, worker=lease.worker, why=why)
    return (interrupted, *_cancellation_asked_for(state))


def stall(state: JobState, lease: Lease, *, last_seen_at: datetime | None, why: str = "lease expired") -> Decision:
    """The worker was not heard of in time: back to pending, or to the DLQ once `max_stalled` is exceeded."""
    _require_lease(state, lease)
    stalled = JobStalled(
        **_about(state), attempt=lease.attempt, worker=lease.worker, last_seen_at=last_seen_at, why=why
    )
    if state.cancel_reason is not None:
        return (stalled, *_cancellation_asked_for(state))
    if state.stalls + 1 <= state.max_stalled:
        return (stalled,)
    message = f"stalled {state.stalls + 1} times, more than the {state.max_stalled} allowed; last on {lease.worker}"
    return (stalled, _to_dlq(state, "stalled", "Stalled", message, "stalled"))


def stop_cancelled(state: JobState, lease: Lease) -> Decision:
    """The handler stopped because it was asked to."""
    _require_lease(state, lease)
    if state.cancel_reason is None:
        raise IllegalTransition(state.status, JobStatus.CANCELLED, "nobody asked to cancel it")
    return (JobCancelled(**_about(state), attempt=lease.attempt, reason=state.cancel_reason),)


# --- decisions about a job in the DLQ --------------------------------------------------------------------------------


def requeue(
    state: JobState,
    *,
    now: datetime,
    reason: str,
    ticket: str | None = None,
    attempts_granted: int | None = None,
    payload_sha256_before: str | None = None,
    payload_changes: tuple[Change, ...] | None = None,
) -> Decision:
    """A human gives the job new attempts (default: as many as its policy has). With an edited payload, the hash of
    the old one goes along, and where they differ; the new one is the body."""
    require_reason(reason, "requeueing")
    _require_dlq(state, JobStatus.PENDING)
    return (
        JobRequeued(
            **_about(state), reason=reason, ticket=ticket, due_at=now,
            attempts_granted=attempts_granted or state.retry.max_attempts,
            payload_edited=payload_sha256_before is not None, payload_sha256_before=payload_sha256_before,
            payload_changes=payload_changes,
        ),
    )  # fmt: skip


def discard(state: JobState, *, reason: str, ticket: str | None = None) -> Decision:
    """A human gives the job up."""
    require_reason(reason, "discarding")
    _require_dlq(state, JobStatus.DISCARDED)
    return (JobDiscarded(**_about(state), reason=reason, ticket=ticket),)


# --- shared by the decisions -----------------------------------------------------------------------------------------


def _about(state: JobState) -> dict[str, Any]:
    return {"job_type": state.job_type, "queue": state.queue, "persona": state.persona}


def _require_lease(state: JobState, lease: Lease) -> None:
    if state.status is not JobStatus.IN_PROGRESS or (state.worker, state.attempt) != lease:
        holder = f"attempt {state.attempt} on {state.worker}" if state.worker else f"nobody (it is {state.status})"
        raise LeaseLost(
            f"attempt {lease.attempt} on {lease.worker} no longer holds the job: {holder} does",
            field="lease", rule="worker and attempt hold the lease",
        )  # fmt: skip


def require_reason(reason: str, act: str) -> None:
    """A manual act carries a reason (R4.13); raises `ReasonRequired`."""
    if not reason.strip():
        raise ReasonRequired(act)


def _require_dlq(state: JobState, target: JobStatus) -> None:
    if state.status is not JobStatus.DLQ:
        raise IllegalTransition(state.status, target, "only a job in the DLQ")


def _cancellation_asked_for(state: JobState) -> Decision:
    return () if state.cancel_reason is None else (JobCancelled(**_about(state), reason=state.cancel_reason),)


def _retry(state: JobState, error: AttemptError, now: datetime, jitter: float) -> JobRetried:
    asked = error.retry_after_seconds
    delay = state.retry.delay_seconds(state.attempts_counted, jitter) if asked is None else max(0.0, asked)
    return JobRetried(
        **_about(state), next_attempt=state.attempt + 1, due_at=now + timedelta(seconds=delay), delay_seconds=delay,
        policy=state.retry, jitter=jitter, attempts_counted=state.attempts_counted, asked_by_handler=asked is not None,
    )  # fmt: skip


def _to_dlq(state: JobState, reason: DlqReason, error_type: str, message: str, fingerprint: str) -> JobSentToDlq:
    return JobSentToDlq(
        **_about(state), kind=state.kind, reason=reason, attempt=state.attempt, error_type=error_type,
        message=message, fingerprint=fingerprint,
    )  # fmt: skip
