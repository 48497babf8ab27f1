"""The work queue in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from uuid import UUID

from jobledger.application.ports import (
    Claim,
    ClaimRequest,
    ExpiredLease,
    HeldLease,
    OpenJob,
    QueueCount,
    Renewal,
    Standing,
    WorkerHeartbeat,
    WorkerRow,
)
from jobledger.domain.job import WAITING, JobStatus
from jobledger.domain.limit import Limits, Target

from .chores import Chores
from .claiming import MemoryClaims
from .standing import read_standing
from .store import Seen, Store


class MemoryQueue:
    """The `Queue`: tenants take turns, a lock key is held by one running job, a job that stalled is claimed alone."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._chores = Chores()
        self._claims = MemoryClaims(store)

    def claim(self, request: ClaimRequest) -> Claim:
        """Take up to `limit` due jobs; see `Queue`."""
        with self._store.lock:
            return self._claims.claim(request)

    def heartbeat(self, heartbeat: WorkerHeartbeat) -> Renewal:
        """Renew all leases of a worker; answers with them."""
        with self._store.lock:
            now = self._store.now()
            seen = self._store.workers.get(heartbeat.worker)
            self._store.workers[heartbeat.worker] = Seen(heartbeat, now, seen.since if seen else now)
            leases = tuple(
                HeldLease(job.job_id, job.state.attempt, job.state.cancel_reason is not None, job.tenant)
                for job in self._store.running()
                if job.state.worker == heartbeat.worker
            )
            return Renewal(leases, now)

    def workers(self) -> list[WorkerRow]:
        """The workers that have not said goodbye, the longest running first."""
        with self._store.lock:
            now = self._store.now()
            rows = [
                WorkerRow(seen.heartbeat, seen.since, seen.at, max(0.0, (now - seen.at).total_seconds()))
                for seen in self._store.workers.values()
            ]
        return sorted(rows, key=lambda row: (row.started_at, row.heartbeat.worker))

    def forget_workers(self, *, silent_seconds: float) -> int:
        """Forget workers that were not heard of for so long and hold nothing; how many."""
        with self._store.lock:
            holding = {job.state.worker for job in self._store.running()}
            silent_since = self._store.now() - timedelta(seconds=silent_seconds)
            silent = [
                name for name, seen in self._store.workers.items() if seen.at < silent_since and name not in holding
            ]
            for name in silent:
                del self._store.workers[name]
            return len(silent)

    def counts(self) -> list[QueueCount]:
        """Open jobs by queue and status."""
        with self._store.lock:
            counted = Counter((job.state.queue, job.state.status) for job in self._store.open_jobs.values())
        return [QueueCount(queue, status, jobs) for (queue, status), jobs in counted.items()]

    def turn(self, chore: str) -> AbstractContextManager[bool]:
        """Whether this process does `chore` now; see `Queue`."""
        return self._chores.turn(chore)

    def apply_limits(self) -> int:
        """Memory has no lanes: nothing is ever out of line."""
        return 0

    def standing(self, targets: Mapping[Target, Limits], *, tenant: str, lock_key: str | None) -> Standing:
        """How far targets are from their limits, and who holds a lock key; see `Queue`."""
        with self._store.lock:
            return read_standing(self._store, targets, tenant=tenant, lock_key=lock_key)

    def goodbye(self, worker: str) -> None:
        """The worker ended and holds nothing any more."""
        with self._store.lock:
            self._store.workers.pop(worker, None)

    def expired(self, *, limit: int) -> list[ExpiredLease]:
        """Running jobs whose worker's lease ran out, or whose worker is gone."""
        with self._store.lock:
            return [
                ExpiredLease(job, seen.at if seen is not None else None)
                for job in self._store.running()
                if self._has_ended(seen := self._store.workers.get(job.state.worker or ""))
            ][:limit]

    def waiting_of_inactive_tenants(self, *, limit: int) -> list[OpenJob]:
        """Waiting jobs of tenants that are suspended or unknown."""
        with self._store.lock:
            waiting = (job for job in self._store.open_jobs.values() if job.state.status in WAITING)
            return [job for job in waiting if not self._store.is_active(job.tenant)][:limit]

    def open_jobs(self, tenant: str, job_ids: Sequence[UUID]) -> dict[UUID, OpenJob]:
        """The rows of these jobs, as they are now."""
        with self._store.lock:
            rows = (self._store.open_jobs.get(job_id) for job_id in job_ids)
            return {row.job_id: row for row in rows if row is not None and row.tenant == tenant}

    def next_due_seconds(self, queues: Sequence[str]) -> float | None:
        """Seconds until the next job of these queues is due (0 when something is ready), None: nothing."""
        with self._store.lock:
            jobs = [job for job in self._store.open_jobs.values() if job.state.queue in queues]
            if any(job.state.status is JobStatus.PENDING for job in jobs):
                return 0.0
            due = [job.state.due_at for job in jobs if job.state.status is JobStatus.DELAYED]
            return max(0.0, (min(due) - self._store.now()).total_seconds()) if due else None

    def _has_ended(self, seen: Seen | None) -> bool:
        return seen is None or seen.at + timedelta(seconds=seen.heartbeat.lease_seconds) < self._store.now()
