"""The work queue in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
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
    WorkerHeartbeat,
    WorkerRow,
)
from jobledger.domain.event import Event, Metadata
from jobledger.domain.job import WAITING, JobStatus, evolve, start
from jobledger.domain.tenant import TenantStatus

from .chores import Chores
from .store import Seen, Store


class MemoryQueue:
    """The `Queue`: tenants take turns, a lock key is held by one running job, a job that stalled is claimed alone."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._chores = Chores()
        self._served_last = ("", "")
        """Tenant and queue."""

    def claim(self, request: ClaimRequest) -> Claim:
        """Take up to `limit` due jobs; see `Queue`."""
        with self._store.lock:
            self._store.begin()
            ready = [job for job in self._store.open_jobs.values() if self._is_wanted(job, request)]
            inactive = tuple(sorted({job.tenant for job in ready if not self._is_active(job.tenant)}))
            ready = self._with_free_keys([job for job in ready if job.tenant not in inactive])
            stalled = [job for job in ready if job.state.stalls > 0]
            chosen = stalled[:1] or self._in_turns(ready, request.limit)
            return Claim(tuple(self._start(job, request) for job in chosen), inactive)

    def heartbeat(self, heartbeat: WorkerHeartbeat) -> Renewal:
        """Renew all leases of a worker; answers with them."""
        with self._store.lock:
            now = self._store.now()
            seen = self._store.workers.get(heartbeat.worker)
            self._store.workers[heartbeat.worker] = Seen(heartbeat, now, seen.since if seen else now)
            leases = tuple(
                HeldLease(job.job_id, job.state.attempt, job.state.cancel_reason is not None, job.tenant)
                for job in self._running()
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
            holding = {job.state.worker for job in self._running()}
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

    def goodbye(self, worker: str) -> None:
        """The worker ended and holds nothing any more."""
        with self._store.lock:
            self._store.workers.pop(worker, None)

    def expired(self, *, limit: int) -> list[ExpiredLease]:
        """Running jobs whose worker's lease ran out, or whose worker is gone."""
        with self._store.lock:
            return [
                ExpiredLease(job, seen.at if seen is not None else None)
                for job in self._running()
                if self._has_ended(seen := self._store.workers.get(job.state.worker or ""))
            ][:limit]

    def waiting_of_inactive_tenants(self, *, limit: int) -> list[OpenJob]:
        """Waiting jobs of tenants that are suspended or unknown."""
        with self._store.lock:
            waiting = (job for job in self._store.open_jobs.values() if job.state.status in WAITING)
            return [job for job in waiting if not self._is_active(job.tenant)][:limit]

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

    def _is_wanted(self, job: OpenJob, request: ClaimRequest) -> bool:
        state = job.state
        is_due = state.status is JobStatus.DELAYED and state.due_at <= self._store.now()
        return (
            (state.status is JobStatus.PENDING or is_due)
            and state.queue in request.queues
            and state.job_type in request.job_types
            and (request.tenants is None or job.tenant in request.tenants)
            and (request.personas is None or state.persona in request.personas)
        )

    def _is_active(self, tenant: str) -> bool:
        row = self._store.tenants.get(tenant)
        return row is not None and row.status is TenantStatus.ACTIVE

    def _with_free_keys(self, ready: Iterable[OpenJob]) -> list[OpenJob]:
        """In order of urgency, the best job of each lock key that nothing running holds."""
        held = {(job.tenant, job.state.lock_key) for job in self._running()}
        free: list[OpenJob] = []
        for job in sorted(ready, key=_urgency):
            key = (job.tenant, job.state.lock_key)
            if job.state.lock_key is None or key not in held:
                held.add(key)
                free.append(job)
        return free

    def _in_turns(self, ready: Sequence[OpenJob], limit: int) -> list[OpenJob]:
        """One job of each tenant in turn, in each queue, beginning after what was served last."""
        lanes: dict[tuple[str, str], list[OpenJob]] = {}
        for job in ready:
            lanes.setdefault((job.tenant, job.state.queue), []).append(job)
        order = sorted(lanes, key=lambda lane: (lane <= self._served_last, lane))
        chosen: list[OpenJob] = []
        while len(chosen) < limit and any(lanes.values()):
            for lane in order:
                if lanes[lane] and len(chosen) < limit:
                    chosen.append(lanes[lane].pop(0))
        if chosen:
            self._served_last = (chosen[-1].tenant, chosen[-1].state.queue)
        return chosen

    def _start(self, job: OpenJob, request: ClaimRequest) -> OpenJob:
        ready = job.state._replace(status=JobStatus.PENDING)
        (facts,) = start(
            ready, worker=request.worker, code_version=request.code_version, lease_seconds=request.lease_seconds
        )
        metadata = Metadata(
            correlation_id=job.correlation_id, trace_parent=job.trace_parent, actor=f"worker:{request.worker}",
            time=request.now,
        )  # fmt: skip
        self._store.append(Event(job.job_id, job.version + 1, job.tenant, metadata, facts), job.version + 1)
        started = job._replace(
            version=job.version + 1, state=evolve(ready, facts), started_at=self._store.events[-1].recorded_at
        )
        self._store.open_jobs[job.job_id] = started
        return started

    def _running(self) -> list[OpenJob]:
        return [job for job in self._store.open_jobs.values() if job.state.status is JobStatus.IN_PROGRESS]

    def _has_ended(self, seen: Seen | None) -> bool:
        return seen is None or seen.at + timedelta(seconds=seen.heartbeat.lease_seconds) < self._store.now()


def _urgency(job: OpenJob) -> tuple[int, object, UUID]:
    return (-job.state.priority, job.state.due_at, job.job_id)
