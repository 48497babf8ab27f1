"""A row of the queue (`open_jobs`), as both engines store it.

What never changes about a job is encoded once, at dispatch: `spec` (JSON: what decisions need), `identity` and
`thread` (fragments of JSON without braces). A claim only puts the fragments together, in SQL or here, and what comes
out is byte for byte what the mapper would have written:

    state of job.started = '{' thread START.head identity ',"attempt":' attempt START.tail
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json, to_json

from jobledger.application.ports import ClaimRequest, OpenJob
from jobledger.domain.event import Metadata
from jobledger.domain.job import JobKind, JobState, JobStatus
from jobledger.domain.retry import Retry

STATUS = {status.value: status for status in JobStatus}
"""Faster than calling the enum, in a loop over rows."""


class Spec(BaseModel):
    """The part of a job's state that never changes and that no statement looks at."""

    model_config = ConfigDict(frozen=True)

    kind: JobKind
    retry: Retry
    timeout_seconds: float
    soft_timeout_seconds: float
    max_stalled: int


UNREADABLE = Spec(kind="work", retry=Retry(), timeout_seconds=300.0, soft_timeout_seconds=270.0, max_stalled=3)
"""In place of what a newer program wrote. One such row must not keep a claim, or a rescue, from all the others."""


def encode_spec(state: JobState) -> bytes:
    """The column `spec`. Jobs of one type share it, so it is cached."""
    return _encode_spec(state.kind, state.retry, state.timeout_seconds, state.soft_timeout_seconds, state.max_stalled)


@lru_cache(maxsize=1024)
def _encode_spec(
    kind: JobKind, retry: Retry, timeout_seconds: float, soft_timeout_seconds: float, max_stalled: int
) -> bytes:
    spec = Spec(
        kind=kind, retry=retry, timeout_seconds=timeout_seconds, soft_timeout_seconds=soft_timeout_seconds,
        max_stalled=max_stalled,
    )  # fmt: skip
    return to_json(spec)


@lru_cache(maxsize=1024)
def decode_spec(spec: bytes) -> Spec:
    """What `encode_spec` wrote; `UNREADABLE` where a newer program did and this one does not know its words."""
    try:
        return Spec.model_validate_json(spec)
    except ValidationError:
        return UNREADABLE


@lru_cache(maxsize=4096)
def encode_identity(job_type: str, queue: str, persona: str | None) -> bytes:
    """The column `identity`: what every event of the job repeats."""
    return to_json({"job_type": job_type, "queue": queue, "persona": persona})[1:-1]


def encode_thread(metadata: Metadata) -> bytes:
    """The column `thread`: the correlation id and trace that the job's events belong to."""
    return encode_correlation(metadata.correlation_id, metadata.trace_parent)


def encode_correlation(correlation_id: str, trace_parent: str) -> bytes:
    """`encode_thread` of the two texts."""
    return to_json({"correlation_id": correlation_id, "trace_parent": trace_parent})[1:-1]


def decode_thread(thread: bytes) -> tuple[str, str]:
    """Correlation id and traceparent."""
    members: dict[str, str] = from_json(b"{" + thread + b"}")
    return members["correlation_id"], members["trace_parent"]


class StartFragments(NamedTuple):
    """What all `job.started` of one claim have in common, around what each job brings."""

    head: bytes
    tail: bytes

    def state(self, thread: bytes, identity: bytes, attempt: int) -> bytes:
        """The stored state of one `job.started`."""
        return b'{%b%b%b,"attempt":%d%b' % (thread, self.head, identity, attempt, self.tail)


def start_fragments(request: ClaimRequest) -> StartFragments:
    """The fragments of a claim; its actor is the worker."""
    head = {"actor": f"worker:{request.worker}", "authenticated": True, "time": request.now}
    tail = {
        "worker": request.worker, "code_version": request.code_version, "lease_seconds": float(request.lease_seconds)
    }  # fmt: skip
    return StartFragments(head=b"," + to_json(head)[1:] + b"\n{", tail=b"," + to_json(tail)[1:])


def open_job(  # noqa: PLR0917 - a row is positional, and this is the hot path
    job_id: UUID,
    tenant: str,
    version: int,
    status: str,
    queue: str,
    job_type: str,
    persona: str | None,
    priority: int,
    due_at: datetime,
    attempt: int,
    attempts_counted: int,
    attempts_allowed: int,
    stalls: int,
    worker: str | None,
    started_at: datetime | None,
    lock_key: str | None,
    limit_key: str | None,
    cancel_reason: str | None,
    spec: bytes,
    thread: bytes,
    payload: bytes,
) -> OpenJob:
    """The job in a row; the arguments are its columns, in this order (times aware, in UTC).

    The queue does not hold how the last attempt ended: those fields of the state keep their defaults.
    """
    fixed = decode_spec(spec)
    correlation_id, trace_parent = decode_thread(thread)
    state = JobState(
        STATUS[status], job_type, queue, persona, fixed.kind, priority, due_at, fixed.retry, fixed.timeout_seconds,
        fixed.soft_timeout_seconds, lock_key, fixed.max_stalled, attempts_allowed, attempt, attempts_counted, stalls,
        worker, cancel_reason, limit_key=limit_key,
    )  # fmt: skip
    return OpenJob(
        job_id, tenant, version, state, started_at, correlation_id, trace_parent, payload, fixed is not UNREADABLE
    )
