"""The work queue as a view: the row that the history of one job comes to.

The queue is written in the transactions of its events, never by a runner. This fold says what it should hold, for
`projections verify open_jobs` and for its rebuild.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import (
    TERMINAL,
    JobCancelled,
    JobCompleted,
    JobDiscarded,
    JobRequeued,
    JobStarted,
    JobState,
    JobStatus,
    evolve,
)

NAME = "open_jobs"
"""The view's name, which is its table's."""

FOLD_VERSION = 1

ENDINGS = frozenset({JobCompleted.topic, JobCancelled.topic, JobDiscarded.topic})
"""A history whose last event is one of these has no row."""


class QueuedJob(NamedTuple):
    """An unfinished job as its stream tells it. `payload_version` is the version of the event whose body is the payload
    in force, and `payload_sha256` the hash of it (None: it had none)."""

    job_id: UUID
    tenant: str
    version: int
    state: JobState
    started_at: datetime | None
    correlation_id: str
    trace_parent: str
    payload_version: int
    payload_sha256: str | None


def fold_open_job(job: QueuedJob | None, event: RecordedEvent) -> QueuedJob | None:
    """The job after an event of its stream; None once it is finished. Raises `InvalidInput` where the history does not
    begin with `job.dispatched`."""
    facts = event.facts
    state = evolve(None if job is None else job.state, facts)
    if state.status in TERMINAL:
        return None
    if job is None:
        return _born(event, state)
    version, started_at = event.originator_version, job.started_at
    if isinstance(facts, JobStarted):
        started_at = event.recorded_at
    elif state.status is not JobStatus.IN_PROGRESS:
        started_at = None
    job = job._replace(version=version, state=state, started_at=started_at)
    if isinstance(facts, JobRequeued) and facts.payload_edited:
        job = job._replace(payload_version=version, payload_sha256=event.metadata.body_sha256)
    return job


def _born(event: RecordedEvent, state: JobState) -> QueuedJob:
    flow = event.metadata
    return QueuedJob(
        event.originator_id, event.tenant, event.originator_version, state, None, flow.correlation_id,
        flow.trace_parent, event.originator_version, flow.body_sha256,
    )  # fmt: skip
