"""An in-memory ledger for the worker's unit tests: every port a worker needs, and switches to make it fail."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import datetime, timedelta
from uuid import UUID

from jobledger.application.app import App
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
    WorkerReport,
    WorkerRow,
)
from jobledger.application.worker.worker import WorkerPorts
from jobledger.application.writes import AppendEvents, ChangeJob, NewJob, Outcome, Write, WriteStatus
from jobledger.domain import job as jobs
from jobledger.domain.errors import LedgerUnavailable
from jobledger.domain.event import Event, Facts, Metadata, RecordedEvent
from jobledger.domain.job import JobDispatched, JobStatus, Lease
from jobledger.domain.limit import Limits, Target
from jobledger.domain.retry import Retry
from jobledger.infrastructure.system import RandomIdentifiers, SystemClock


class FakeWakeUp:
    """Hints within the process."""

    def __init__(self) -> None:
        self._hint = threading.Event()

    def notify(self, queues: frozenset[str]) -> None:
        """Say that jobs became ready."""
        self._hint.set()

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for a hint."""
        hinted = self._hint.wait(timeout_seconds)
        self._hint.clear()
        return hinted

    def close(self) -> None:
        """Nothing is held."""


class FakeLedger:
    """Writer, queue and reader in one, over a dict under a lock. Everything it writes is durable at once."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.identifiers = RandomIdentifiers()
        self.wake_up = FakeWakeUp()
        self.events: dict[UUID, list[RecordedEvent]] = {}
        self.rows: dict[UUID, OpenJob] = {}
        self.inactive: set[str] = set()
        self.last_seen: dict[str, tuple[datetime, float]] = {}
        self.unavailable = False
        self.heartbeats = 0
        self.out_of_line = 0
        """How many waiting jobs are not in line with limits."""
        self.reports: list[WorkerReport] = []
        """What workers said of themselves, in order."""
        self.reported = threading.Condition()
        self.clock_behind = timedelta(0)
        """How far the clock of this ledger is behind that of its workers."""
        self.taken: set[str] = set()
        """Chores that another process does just now."""
        self.refuse: Callable[[ChangeJob], Exception | None] = lambda change: None
        """What writing a change raises."""
        self._lock = threading.RLock()

    @property
    def ports(self) -> WorkerPorts:
        """What a worker is given."""
        return WorkerPorts(self, self, self, self.wake_up, self.clock, self.identifiers)

    def wait_for_report(self, wanted: Callable[[WorkerReport], bool], timeout_seconds: float = 20.0) -> WorkerReport:
        """The first report that is wanted, once there is one."""
        with self.reported:
            self.reported.wait_for(lambda: any(map(wanted, self.reports)), timeout_seconds)
            return next(report for report in self.reports if wanted(report))

    # --- for tests ---------------------------------------------------------------------------------------------------

    def dispatch(
        self, app: App, job_type: str, payload: bytes = b"{}", *, tenant: str = "acme", delay_seconds: float = 0.0,
        priority: int = 0, retry: Retry | None = None, timeout_seconds: float = 300.0,
        soft_timeout_seconds: float | None = None, lock_key: str | None = None, max_stalled: int = 3,
    ) -> UUID:  # fmt: skip
        """Put a job into the queue, past the checks of a real dispatch."""
        now = self.clock.now()
        due_at = now + timedelta(seconds=delay_seconds)
        facts = JobDispatched(
            job_type=job_type, queue="default", kind=app.declared(job_type).definition.kind,
            status="delayed" if delay_seconds else "pending", priority=priority, due_at=due_at,
            retry=retry or Retry.fixed(max_attempts=3, base_seconds=0), timeout_seconds=timeout_seconds,
            soft_timeout_seconds=soft_timeout_seconds or timeout_seconds * 0.9, max_stalled=max_stalled,
            lock_key=lock_key,
        )  # fmt: skip
        metadata = Metadata(
            correlation_id=self.identifiers.correlation_id(), trace_parent=self.identifiers.trace_parent(),
            actor="test", time=now,
        )  # fmt: skip
        event = Event(self.identifiers.job_id(), 1, tenant, metadata, facts, payload)
        self.write([NewJob(event, jobs.evolve(None, facts))])
        self.wake_up.notify(frozenset({"default"}))
        return event.originator_id

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Nobody claims in between."""
        with self._lock:
            yield

    def topics(self, job_id: UUID) -> list[str]:
        """The history of a job, without the prefix `job.`."""
        return [event.topic.removeprefix("job.") for event in self.events[job_id]]

    def facts(self, job_id: UUID) -> Facts:
        """The last fact of a job."""
        return self.events[job_id][-1].facts

    def change(self, job_id: UUID, decision: jobs.Decision) -> Outcome:
        """Record a decision as somebody else would."""
        with self._lock:
            job = self.rows[job_id]
            events = tuple(Event(job_id, 0, job.tenant, self._metadata(job), facts) for facts in decision)
            return self._change(ChangeJob(job_id, job.tenant, events, None, expected_version=job.version))

    def _metadata(self, job: OpenJob) -> Metadata:
        return Metadata(
            correlation_id=job.correlation_id, trace_parent=job.trace_parent, actor="test", time=self.clock.now()
        )

    # --- LedgerWriter ------------------------------------------------------------------------------------------------

    def submit(self, writes: Sequence[Write]) -> Future[list[Outcome]]:
        """Write at once."""
        future: Future[list[Outcome]] = Future()
        try:
            future.set_result(self.write(writes))
        except Exception as error:  # noqa: BLE001 - told through the future, as the port says
            future.set_exception(error)
        return future

    def write(self, writes: Sequence[Write]) -> list[Outcome]:
        """Write, each completely or not at all."""
        self._require_available()
        with self._lock:
            for write in writes:
                error = self.refuse(write) if isinstance(write, ChangeJob) else None
                if error is not None:
                    raise error
            return [self._write(write) for write in writes]

    def add_listener(self, listener: Callable[[Sequence[Write], Sequence[Outcome]], None]) -> None:
        """No test needs one."""

    def _write(self, write: Write) -> Outcome:
        if isinstance(write, AppendEvents):
            return Outcome(WriteStatus.WRITTEN, 0, 1)
        if isinstance(write, ChangeJob):
            return self._change(write)
        event, state = write.event, write.state
        self._append(event.originator_id, event.tenant, [event])
        self.rows[event.originator_id] = OpenJob(
            event.originator_id, event.tenant, 1, state, None, event.metadata.correlation_id,
            event.metadata.trace_parent, event.body or b"",
        )  # fmt: skip
        return Outcome(WriteStatus.WRITTEN, 0, 1)

    def _change(self, change: ChangeJob) -> Outcome:
        job = self.rows.get(change.job_id)
        if job is None or job.tenant != change.tenant:
            return Outcome(WriteStatus.MISSING)
        if change.expected_version not in (None, job.version) or not self._fits(change, job):
            return Outcome(WriteStatus.CONFLICT)
        self._append(change.job_id, change.tenant, change.events)
        state = job.state
        for event in change.events:
            state = jobs.evolve(state, event.facts)
        self.rows[change.job_id] = job._replace(state=state, version=job.version + len(change.events))
        if state.status in jobs.TERMINAL:
            del self.rows[change.job_id]
        return Outcome(WriteStatus.WRITTEN, 0, job.version + len(change.events))

    @staticmethod
    def _fits(change: ChangeJob, job: OpenJob) -> bool:
        held = change.lease is None or Lease(job.state.worker or "", job.state.attempt) == change.lease
        expected = change.cancel_expected
        return held and (expected is None or expected == (job.state.cancel_reason is not None))

    def _append(self, job_id: UUID, tenant: str, events: Sequence[Event]) -> None:
        stream = self.events.setdefault(job_id, [])
        for event in events:
            metadata = event.metadata.model_copy(update={"body_length": len(event.body) if event.body else None})
            stream.append(
                RecordedEvent(
                    job_id, len(stream) + 1, tenant, 0, self.clock.now(), event.facts.topic, event.facts, metadata,
                    event.body,
                )
            )  # fmt: skip

    def _require_available(self) -> None:
        if self.unavailable:
            raise LedgerUnavailable("the fake ledger was switched off")

    # --- Queue -------------------------------------------------------------------------------------------------------

    def claim(self, request: ClaimRequest) -> Claim:
        """Priority first, then due, then id; a job that stalled comes first and alone."""
        self._require_available()
        with self._lock:
            now = self.clock.now()
            ready = sorted(
                (job for job in self.rows.values() if self._is_ready(job, request, now)),
                key=lambda job: (-job.state.priority, job.state.due_at, job.job_id),
            )
            taken: list[OpenJob] = []
            for job in [job for job in ready if job.state.stalls][:1] or ready:
                if job.tenant not in self.inactive and not self._locked(job) and len(taken) < request.limit:
                    taken.append(self._start(job, request, now))
            inactive = {job.tenant for job in ready if job.tenant in self.inactive}
            return Claim(tuple(taken), tuple(inactive))

    def _is_ready(self, job: OpenJob, request: ClaimRequest, now: datetime) -> bool:
        waits = job.state.status in (JobStatus.PENDING, JobStatus.DELAYED) and job.state.due_at <= now
        wanted = request.tenants is None or job.tenant in request.tenants
        return waits and wanted and job.state.job_type in request.job_types and job.tenant not in request.except_tenants

    def _locked(self, job: OpenJob) -> bool:
        key = job.state.lock_key
        return key is not None and any(
            other.state.lock_key == key and other.tenant == job.tenant and other.state.status is JobStatus.IN_PROGRESS
            for other in self.rows.values()
        )

    def _start(self, job: OpenJob, request: ClaimRequest, now: datetime) -> OpenJob:
        decision = jobs.start(
            job.state, worker=request.worker, code_version=request.code_version, lease_seconds=request.lease_seconds
        )
        self.change(job.job_id, decision)
        self.rows[job.job_id] = self.rows[job.job_id]._replace(started_at=now)
        return self.rows[job.job_id]

    def heartbeat(self, heartbeat: WorkerHeartbeat) -> Renewal:
        """Renew, and tell what is held."""
        self._require_available()
        with self._lock:
            self.heartbeats += 1
            self.last_seen[heartbeat.worker] = (self.clock.now(), heartbeat.lease_seconds)
            with self.reported:
                self.reports.append(heartbeat.report)
                self.reported.notify_all()
            leases = tuple(
                HeldLease(job.job_id, job.state.attempt, job.state.cancel_reason is not None, job.tenant)
                for job in self.rows.values()
                if job.state.worker == heartbeat.worker
            )
            return Renewal(leases, self.clock.now() - self.clock_behind)

    @contextmanager
    def turn(self, chore: str) -> Iterator[bool]:
        """Nobody else is here."""
        yield chore not in self.taken

    def standing(self, targets: Mapping[Target, Limits], *, tenant: str, lock_key: str | None) -> Standing:
        """Nothing is limited here."""
        return Standing({}, {})

    def apply_limits(self) -> int:
        """Brings one job in line, of those that a test says are not."""
        if self.out_of_line:
            self.out_of_line -= 1
            return 1
        return 0

    def workers(self) -> list[WorkerRow]:
        """Nobody is listed."""
        return []

    def counts(self) -> list[QueueCount]:
        """Nobody counts."""
        return []

    def forget_workers(self, *, silent_seconds: float) -> int:
        """There are none to forget."""
        return 0

    def goodbye(self, worker: str) -> None:
        """Forget the worker."""
        self._require_available()
        self.last_seen.pop(worker, None)

    def expired(self, *, limit: int) -> list[ExpiredLease]:
        """Running jobs whose worker is unknown or was not seen in time."""
        with self._lock:
            now = self.clock.now()
            found = []
            for job in self.rows.values():
                if job.state.status is JobStatus.IN_PROGRESS:
                    seen = self.last_seen.get(job.state.worker or "")
                    if seen is None or seen[0] + timedelta(seconds=seen[1]) < now:
                        found.append(ExpiredLease(job, seen[0] if seen else None))
            return found[:limit]

    def waiting_of_inactive_tenants(self, *, limit: int) -> list[OpenJob]:
        """Waiting jobs of inactive tenants."""
        with self._lock:
            found = [job for job in self.rows.values() if job.tenant in self.inactive]
            return [job for job in found if job.state.status in jobs.WAITING][:limit]

    def open_jobs(self, tenant: str, job_ids: Sequence[UUID]) -> dict[UUID, OpenJob]:
        """The rows."""
        self._require_available()
        with self._lock:
            return {job_id: self.rows[job_id] for job_id in job_ids if job_id in self.rows}

    def next_due_seconds(self, queues: Sequence[str]) -> float | None:
        """Seconds until the next waiting job is due."""
        self._require_available()
        with self._lock:
            now = self.clock.now()
            waiting = [
                max(0.0, (job.state.due_at - now).total_seconds())
                for job in self.rows.values()
                if job.state.status in (JobStatus.PENDING, JobStatus.DELAYED)
            ]
            return min(waiting, default=None)

    # --- StreamReader ------------------------------------------------------------------------------------------------

    def stream(
        self, tenant: str, originator_id: UUID, *, after_version: int = 0, limit: int | None = None,
        bodies: bool = False,
    ) -> list[RecordedEvent]:  # fmt: skip
        """The events of a job."""
        with self._lock:
            return self.events.get(originator_id, [])[after_version:limit]

    def streams(self, tenant: str, originator_ids: Sequence[UUID]) -> dict[UUID, list[RecordedEvent]]:
        """Several streams."""
        return {job_id: self.stream(tenant, job_id) for job_id in originator_ids if job_id in self.events}
