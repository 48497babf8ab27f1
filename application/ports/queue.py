"""The work queue: what is claimed, who holds it, and what waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from jobledger.domain.job import JobState, JobStatus
from jobledger.domain.limit import Limits, Target

from .liveness import Renewal, WorkerHeartbeat, WorkerRow


class OpenJob(NamedTuple):
    """A row of the queue: an unfinished job with all that decisions need. `version` is its stream's version.

    `readable` is False where a newer program wrote options that this one does not know: then `state` holds defaults in
    their place, enough to give the job back but not to run it.
    """

    job_id: UUID
    tenant: str
    version: int
    state: JobState
    started_at: datetime | None
    correlation_id: str
    trace_parent: str
    payload: bytes
    readable: bool = True


class ClaimRequest(NamedTuple):
    """What a worker would take. Job types it does not know are left for a worker that does.

    `at_once` is how many of them begin as soon as they are claimed (None: all): jobs under a rate are claimed no
    further ahead than that, so that the rate holds for when they run, too. `except_tenants` are left out: the worker
    has jobs of theirs waiting, and takes none that stalled before beside them.
    """

    worker: str
    queues: tuple[str, ...]
    job_types: tuple[str, ...]
    limit: int
    code_version: str
    lease_seconds: float
    now: datetime
    tenants: tuple[str, ...] | None = None
    personas: tuple[str, ...] | None = None
    at_once: int | None = None
    except_tenants: tuple[str, ...] = ()


class Claim(NamedTuple):
    """What a claim brought: jobs with `job.started` durably recorded, and tenants that have ready jobs but are
    unknown or suspended (their jobs are not started; maintenance sends them to the DLQ)."""

    jobs: tuple[OpenJob, ...]
    inactive_tenants: tuple[str, ...] = ()
    limited: bool = False
    """Limits had a say: the ending of one of these jobs may let another one go."""
    again_seconds: float | None = None
    """When a rate that held jobs back allows the next one."""


COUNT_SECONDS_MAX = 2
"""How long counting the queue may take: metrics never weigh on the ledger."""


class QueueCount(NamedTuple):
    """How many open jobs of a queue have a status."""

    queue: str
    status: JobStatus
    jobs: int


class ExpiredLease(NamedTuple):
    """A running job whose worker was not heard of in time."""

    job: OpenJob
    last_seen_at: datetime | None


TURN_SECONDS_MAX = 30.0
"""How long a process that froze keeps others from a chore."""


class Standing(NamedTuple):
    """What stands in a job's way at a moment: jobs in progress of each target with a concurrency limit, starts that
    count in the window of each with a rate, and the running job of its tenant that holds its lock key."""

    running: Mapping[Target, int]
    started: Mapping[Target, int]
    lock_holder: UUID | None = None


class Queue(Protocol):
    """The work queue: claims, leases, liveness. Other changes of it travel with `LedgerWriter`."""

    def claim(self, request: ClaimRequest) -> Claim:
        """Take up to `limit` due jobs: priority counts within a tenant, tenants take turns. Durable on return.
        A job that stalled before is claimed alone."""
        ...

    def heartbeat(self, heartbeat: WorkerHeartbeat) -> Renewal:
        """Renew all leases of a worker, in one statement; answers with them as the database sees them."""
        ...

    def workers(self) -> list[WorkerRow]:
        """The workers that have not said goodbye, the longest running first."""
        ...

    def forget_workers(self, *, silent_seconds: float) -> int:
        """Forget workers that were not heard of for so long and hold nothing; how many."""
        ...

    def counts(self) -> list[QueueCount]:
        """Open jobs by queue and status, in no order; statuses that no job has are absent. Counts every open job: for
        metrics, not for every moment. `LedgerBusy` where that takes more than two seconds."""
        ...

    def turn(self, chore: str) -> AbstractContextManager[bool]:
        """Whether this process does `chore` now: True for one process of all at a time, until the block ends or the
        process dies. Never waits.

        A process that freezes loses its turn after `TURN_SECONDS_MAX`, so that nobody has to be there for the others to
        go on: what is done in a turn must bear being done twice at once."""
        ...

    def apply_limits(self) -> int:
        """Bring jobs that wait in line with limits of personas that came or went since they were dispatched; how many
        were changed. Does nothing to what may run: only to how fast it is found."""
        ...

    def standing(self, targets: Mapping[Target, Limits], *, tenant: str, lock_key: str | None) -> Standing:
        """How far targets are from their limits, and who holds a lock key of the tenant: for people who ask why a job
        waits, as it is now and without a lock. A key target is one key, never a prefix."""
        ...

    def goodbye(self, worker: str) -> None:
        """The worker ended and holds nothing any more."""
        ...

    def expired(self, *, limit: int) -> list[ExpiredLease]:
        """Running jobs whose worker's lease ran out by the database's clock."""
        ...

    def waiting_of_inactive_tenants(self, *, limit: int) -> list[OpenJob]:
        """Waiting jobs of tenants that are suspended or unknown."""
        ...

    def open_jobs(self, tenant: str, job_ids: Sequence[UUID]) -> dict[UUID, OpenJob]:
        """The rows of these jobs, as they are now."""
        ...

    def next_due_seconds(self, queues: Sequence[str]) -> float | None:
        """Seconds until the next delayed job of these queues is due (0 when something is ready), None: nothing."""
        ...
