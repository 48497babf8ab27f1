"""The decisions about a job by name, as the tests of every status and the properties take them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

from jobledger.domain import job as jobs
from jobledger.domain.job import (
    AttemptError,
    Decision,
    JobState,
    Measured,
)
from tests.support.given import (
    LEASE,
    NOW,
    OTHER_JOB,
    WORKER,
)

BROKEN = AttemptError("Broken", "it broke", "f")

DECISIONS: Mapping[str, Callable[[JobState], Decision]] = {
    "start": lambda job: jobs.start(job, worker=WORKER, code_version="v1", lease_seconds=30),
    "release": lambda job: jobs.release(job, dependency=OTHER_JOB),
    "reschedule priority": lambda job: jobs.reschedule(job, now=NOW, reason="urgent", priority=5),
    "reschedule time": lambda job: jobs.reschedule(job, now=NOW, reason="later", due_at=NOW + timedelta(hours=2)),
    "cancel": lambda job: jobs.cancel(job, reason="not needed"),
    "reject": lambda job: jobs.reject(
        job, reason="unrecoverable", error_type="UnknownTenant", message="gone", fingerprint="f"
    ),
    "progress": lambda job: jobs.progress(job, LEASE, fraction=0.5),
    "log": lambda job: jobs.log(job, LEASE, level="info", line_count=2),
    "record step": lambda job: jobs.record_step(job, LEASE, step="render", key="k"),
    "complete": lambda job: jobs.complete(job, LEASE, Measured()),
    "fail": lambda job: jobs.fail(job, LEASE, BROKEN, now=NOW, jitter=0.5, measured=Measured()),
    "snooze": lambda job: jobs.snooze(job, LEASE, due_at=NOW + timedelta(minutes=1), why="circuit open"),
    "interrupt": lambda job: jobs.interrupt(job, LEASE, why="shutdown"),
    "stall": lambda job: jobs.stall(job, LEASE, last_seen_at=NOW),
    "stop cancelled": lambda job: jobs.stop_cancelled(job, LEASE),
    "requeue": lambda job: jobs.requeue(job, now=NOW, reason="fixed"),
    "discard": lambda job: jobs.discard(job, reason="hopeless"),
}  # fmt: skip
