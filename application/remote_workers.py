"""Workers that are programs of somebody else's: they live as long as they say so, and are judged by what they say.

Nobody can stop a remote program. Its attempts end when their hard timeout passes and it is heard of, and by the rescue
of stalled jobs when it is not. What it no longer names it has lost sight of (it was started anew, or the answer to its
claim got lost): that counts as stalled, so that a job which kills its worker each time comes to an end.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from jobledger.domain import job as jobs
from jobledger.domain.job import AttemptError, Lease

from .dispatcher import Dispatcher
from .flow import Flow
from .held_leases import is_held, worker_of
from .lease_endings import EndingRecorder
from .lease_messages import HeldAttempt, HeldVerdict, LeasesRenewed, RenewLeases, RetireWorker, Verdict
from .lease_reports import LeaseReports
from .maintenance import changed_by
from .ports import Clock, HeldLease, LedgerWriter, OpenJob, Queue, WakeUp, WorkerHeartbeat
from .result import Accepted
from .worker.failures import digest
from .worker.outcomes import Failed, GivenBack, Stopped
from .writes import WriteStatus

UNKNOWN_SECONDS = 10.0
"""How long a claim's answer may take to arrive: what was claimed so lately need not be named yet."""
REMEMBERED_MAX = 10_000
_SUSPECT_STALLS = 2
_SHARE_RENEWED = 1 / 3
"""Of a lease: a claim renews where the last renewal is older."""

LeaseKey = tuple[UUID, int]


class _Known(NamedTuple):
    """A worker as it was last heard of, by this process."""

    heartbeat: WorkerHeartbeat
    renewed_at: float
    """Monotonic."""
    suspects: frozenset[LeaseKey] = frozenset()
    """Held jobs that are to run alone."""


class RemoteWorkers:
    """The handlers of heartbeats and farewells, and what a claim asks about its worker."""

    def __init__(
        self, *, queue: Queue, writer: LedgerWriter, clock: Clock, recorder: EndingRecorder, reports: LeaseReports,
        wake_up: WakeUp | None, unknown_seconds: float = UNKNOWN_SECONDS,
    ) -> None:  # fmt: skip
        self._queue = queue
        self._writer = writer
        self._clock = clock
        self._recorder = recorder
        self._reports = reports
        self._wake_up = wake_up
        self._unknown_seconds = unknown_seconds
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer the commands of this module."""
        dispatcher.register(RenewLeases, self.renew)
        dispatcher.register(RetireWorker, self.retire)

    # --- claims ------------------------------------------------------------------------------------------------------

    def sign_on(self, heartbeat: WorkerHeartbeat, flow: Flow) -> bool:
        """A worker is about to claim: have it listed and alive. False where it must not, for it holds a job that runs
        alone."""
        known = self._remembered(heartbeat.worker)
        recent = self._clock.monotonic() - heartbeat.lease_seconds * _SHARE_RENEWED
        if known is None or known.suspects or known.renewed_at < recent or not _is_alike(known.heartbeat, heartbeat):
            running = 0 if known is None else known.heartbeat.running
            known = self._renew(heartbeat._replace(running=running), None, flow).known
        return not known.suspects

    def claimed(self, worker: str, claimed: Iterable[OpenJob]) -> None:
        """A claim brought these."""
        suspects = frozenset((job.job_id, job.state.attempt) for job in claimed if runs_alone(job))
        known = self._remembered(worker)
        if suspects and known is not None:
            self._remember(known._replace(suspects=known.suspects | suspects))

    # --- heartbeats --------------------------------------------------------------------------------------------------

    def renew(self, command: RenewLeases, flow: Flow) -> Accepted[LeasesRenewed]:
        """Renew a worker's leases, and say what became of each that it names."""
        worker = worker_of(command.worker, flow)
        heartbeat = self._heartbeat(worker)._replace(running=len(command.held))
        renewed = self._renew(heartbeat, command.held, flow)
        verdicts = tuple(
            HeldVerdict(one.job_id, one.attempt, renewed.verdicts.get((one.job_id, one.attempt), Verdict.LOST))
            for one in command.held
        )
        return Accepted(LeasesRenewed(verdicts, renewed.forgotten, heartbeat.lease_seconds))

    def retire(self, command: RetireWorker, flow: Flow) -> Accepted[int]:
        """Give back what a worker holds, then forget it."""
        worker = worker_of(command.worker, flow)
        renewal = self._queue.heartbeat(self._heartbeat(worker)._replace(running=0))
        given_back = 0
        for job in self._rows(worker, renewal.leases).values():
            ending = GivenBack("its worker ended") if job.state.cancel_reason is None else Stopped()
            given_back += self._recorder.record(job, ending, flow).is_written
        self._queue.goodbye(worker)
        with self._lock:
            self._known.pop(worker, None)
        return Accepted(given_back)

    def _renew(self, heartbeat: WorkerHeartbeat, named: Sequence[HeldAttempt] | None, flow: Flow) -> _Renewed:
        """Renew, then end what ran for too long and, where the worker says what it holds, what it does not name."""
        worker = heartbeat.worker
        sent_at = self._clock.monotonic()
        renewal = self._queue.heartbeat(heartbeat)
        rows = self._rows(worker, renewal.leases)
        names = None if named is None else {(one.job_id, one.attempt) for one in named}
        verdicts: dict[LeaseKey, Verdict] = {}
        forgotten: list[UUID] = []
        for key, job in rows.items():
            if names is not None and key not in names and _is_older(job, renewal.database_now, self._unknown_seconds):
                if self._stall(job, heartbeat, flow):
                    forgotten.append(job.job_id)
                continue
            verdicts[key] = self._judge(job, renewal.database_now, flow)
        suspects = frozenset(key for key, job in rows.items() if key in verdicts and runs_alone(job))
        known = self._remember(_Known(heartbeat, sent_at, suspects))
        return _Renewed(known, verdicts, tuple(forgotten))

    def _judge(self, job: OpenJob, now: datetime, flow: Flow) -> Verdict:
        state = job.state
        if _is_older(job, now, state.timeout_seconds):
            return self._time_out(job, flow)
        self._reports.flush(job, Lease(state.worker or "", state.attempt), flow)
        if state.cancel_reason is not None:
            return Verdict.CANCEL
        return Verdict.SOFT_TIMEOUT if _is_older(job, now, state.soft_timeout_seconds) else Verdict.GO_ON

    def _time_out(self, job: OpenJob, flow: Flow) -> Verdict:
        """As the monitor of a worker in this program does."""
        seconds = job.state.timeout_seconds
        error = AttemptError("Timeout", f"the handler ran longer than {seconds:g} seconds", digest("timeout"))
        recorded = self._recorder.record(job, Failed(error), flow)
        return Verdict.TIMED_OUT if recorded.is_written else Verdict.LOST

    def _stall(self, job: OpenJob, heartbeat: WorkerHeartbeat, flow: Flow) -> bool:
        lease = Lease(heartbeat.worker, job.state.attempt)
        why = "its worker does not know of it any more"
        decision = jobs.stall(job.state, lease, last_seen_at=flow.time, why=why)
        metadata = flow.metadata(correlation_id=job.correlation_id, trace_parent=job.trace_parent)
        (outcome,) = self._writer.write([changed_by(decision, job, metadata, lease=lease)])
        if outcome.status is WriteStatus.WRITTEN and self._wake_up is not None:
            self._wake_up.notify(frozenset((job.state.queue,)))
        return outcome.status is WriteStatus.WRITTEN

    def _rows(self, worker: str, leases: Iterable[HeldLease]) -> Mapping[LeaseKey, OpenJob]:
        """The rows of the leases that are in force still."""
        ids: dict[str, list[UUID]] = defaultdict(list)
        for lease in leases:
            ids[lease.tenant].append(lease.job_id)
        rows = [row for tenant, of_tenant in ids.items() for row in self._queue.open_jobs(tenant, of_tenant).values()]
        return {(row.job_id, row.state.attempt): row for row in rows if is_held(row, Lease(worker, row.state.attempt))}

    # --- what is remembered ------------------------------------------------------------------------------------------

    def _heartbeat(self, worker: str) -> WorkerHeartbeat:
        """What a worker said of itself when it claimed: remembered, or else as it is listed."""
        known = self._remembered(worker)
        if known is not None:
            return known.heartbeat
        for row in self._queue.workers():
            if row.heartbeat.worker == worker:
                return row.heartbeat
        return WorkerHeartbeat(worker, "", (), 1, 0, 30.0)

    def _remembered(self, worker: str) -> _Known | None:
        with self._lock:
            return self._known.get(worker)

    def _remember(self, known: _Known) -> _Known:
        with self._lock:
            self._known[known.heartbeat.worker] = known
            self._known.move_to_end(known.heartbeat.worker)
            if len(self._known) > REMEMBERED_MAX:
                self._known.popitem(last=False)
        return known


class _Renewed(NamedTuple):
    known: _Known
    verdicts: Mapping[LeaseKey, Verdict]
    forgotten: tuple[UUID, ...]


def runs_alone(job: OpenJob) -> bool:
    """Whether a job may have killed its workers so often that nothing else should run beside it (decision 0010)."""
    state = job.state
    return state.stalls >= min(_SUSPECT_STALLS, max(1, state.max_stalled))


def _is_alike(one: WorkerHeartbeat, other: WorkerHeartbeat) -> bool:
    """Whether a worker says the same of itself as before."""
    return one._replace(running=0, report=other.report) == other._replace(running=0)


def _is_older(job: OpenJob, now: datetime, seconds: float) -> bool:
    """Whether the attempt began so long ago, by the database's clock."""
    return job.started_at is not None and job.started_at + timedelta(seconds=seconds) <= now
