"""Claims of workers in any language: the same claim, the same leases, over a message instead of a handler's call.

A claim never waits. Who has nothing to hand out may wait for a hint (`WakeUp`) and claim again; see the HTTP routes.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from itertools import count
from typing import NamedTuple

import structlog

from jobledger.domain.errors import InvalidInput, LedgerError, NotPermitted, Refusal
from jobledger.domain.identity import Permission

from .dispatcher import Dispatcher
from .flow import Flow
from .held_leases import HeldLeases, worker_of
from .known import KnownTypes
from .lease_endings import EndingRecorder, LeaseEndings
from .lease_messages import Claimed, ClaimJobs, LeasedJob
from .lease_reports import LeaseReports, WaitingProgress
from .maintenance import reject_inactive
from .ports import (
    Catalogue,
    Claim,
    ClaimRequest,
    Clock,
    EventReader,
    Identifiers,
    LedgerWriter,
    OpenJob,
    Queue,
    WakeUp,
    WorkerHeartbeat,
    WorkerReport,
)
from .positions import Positions
from .recorded_steps import LoggedBytes, RecordedSteps
from .remote_workers import UNKNOWN_SECONDS, RemoteWorkers, runs_alone
from .result import Accepted
from .transitions import TransitionLog
from .worker.failures import misfit
from .worker.outcomes import Ending, Failed, PutOff

UNREADABLE_SECONDS = 60.0
"""How long a job that this program cannot read is put off: a deploy is under way."""

_log = structlog.get_logger("jobledger.leasing")


class _Part(NamedTuple):
    """Queues of a claim in which the same tenants' jobs may be had; None: those of all tenants."""

    queues: tuple[str, ...]
    tenants: tuple[str, ...] | None


class Leasing:
    """The handler of claims."""

    def __init__(
        self, *, queue: Queue, writer: LedgerWriter, catalogue: Catalogue, clock: Clock, types: KnownTypes,
        workers: RemoteWorkers, recorder: EndingRecorder, steps: RecordedSteps,
    ) -> None:  # fmt: skip
        self._queue = queue
        self._writer = writer
        self._catalogue = catalogue
        self._clock = clock
        self._types = types
        self._workers = workers
        self._recorder = recorder
        self._steps = steps
        self._transitions = TransitionLog()
        self._rounds = count()

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer the command of this module."""
        dispatcher.register(ClaimJobs, self.claim)

    def claim(self, command: ClaimJobs, flow: Flow) -> Accepted[Claimed]:
        """Begin attempts of due jobs. `NotPermitted` for a queue or tenant that no scope covers."""
        parts = _parts(command, flow)
        job_types = self._job_types(command)
        heartbeat = _heartbeat(command, flow)
        if not self._workers.sign_on(heartbeat, flow):
            return Accepted(Claimed((), is_held_back=True))
        if not job_types:
            return Accepted(Claimed(()))
        again: list[float] = []
        first = next(self._rounds) % len(parts)
        for part in parts[first:] + parts[:first]:
            claim = self._queue.claim(_request(command, heartbeat, part, job_types, flow))
            jobs = self._begun(claim, heartbeat, flow)
            if jobs:  # of one part at a time: a job that stalled before comes alone
                return Accepted(Claimed(jobs))
            again += [0.0] if claim.jobs else () if claim.again_seconds is None else [claim.again_seconds]
        everybodys = all(part.tenants is None for part in parts)  # when jobs of others are due is not to be told
        due_seconds = self._queue.next_due_seconds(command.queues) if everybodys else None
        if due_seconds:  # what is due now, and was not to be had, is for others
            again.append(due_seconds)
        return Accepted(Claimed((), min(again, default=None)))

    def _job_types(self, command: ClaimJobs) -> tuple[str, ...]:
        """Those that were asked for, or all of the registry. Raises `UnknownJobType`."""
        if command.job_types is None:
            return tuple(row.definition.name for row in self._catalogue.job_types())
        for name in command.job_types:
            self._types.get(name)
        return tuple(sorted(command.job_types))

    def _begun(self, claim: Claim, heartbeat: WorkerHeartbeat, flow: Flow) -> tuple[LeasedJob, ...]:
        """The jobs of a claim that can be worked on; the attempts of the others end at once (rule 5)."""
        worker = heartbeat.worker
        if claim.inactive_tenants:
            reject_inactive(self._queue, self._writer, self._clock, actor=f"worker:{worker}")
        self._transitions.started(claim.jobs, worker=worker)
        unfit = {job.job_id: ending for job in claim.jobs if (ending := self._unfit(job)) is not None}
        fit = [job for job in claim.jobs if job.job_id not in unfit]
        self._workers.claimed(worker, fit)
        for job in claim.jobs:
            if job.job_id in unfit:
                self._record(job, unfit[job.job_id], flow)
        return tuple(self._leased(job, heartbeat.lease_seconds) for job in fit)

    def _unfit(self, job: OpenJob) -> Ending | None:
        if not job.readable:
            return PutOff(UNREADABLE_SECONDS, "its options are newer than this server")
        known = self._types.get(job.state.job_type)
        try:
            known.accept(job.payload)
        except Refusal as error:
            return Failed(misfit("payload", error, integrity=True))
        return None

    def _record(self, job: OpenJob, ending: Ending, flow: Flow) -> None:
        try:
            self._recorder.record(job, ending, flow)
        except LedgerError as error:  # it is not handed out: its worker is told that it lost sight of it
            _log.warning("leasing.ending_not_recorded", job_id=str(job.job_id), error=str(error))

    def _leased(self, job: OpenJob, lease_seconds: float) -> LeasedJob:
        state = job.state
        started_at = job.started_at or state.due_at
        return LeasedJob(
            job.job_id, job.tenant, state.persona, state.job_type, state.queue, state.priority, job.payload,
            state.attempt, state.attempts_allowed, state.worker or "", lease_seconds, started_at,
            started_at + timedelta(seconds=state.soft_timeout_seconds),
            started_at + timedelta(seconds=state.timeout_seconds), state.timeout_seconds, job.correlation_id,
            job.trace_parent, runs_alone(job),
            self._steps.all(job.tenant, job.job_id) if state.attempt > 1 else (),
        )  # fmt: skip


def _parts(command: ClaimJobs, flow: Flow) -> list[_Part]:
    """What may be claimed, queue by queue. Raises `NotPermitted`, whether there is such a queue or tenant or not."""
    if command.personas is not None and command.tenants is None:
        raise InvalidInput("whose personas?", field="personas", rule="a persona belongs to a tenant: name the tenant")
    queues: dict[frozenset[str] | None, list[str]] = defaultdict(list)
    for queue in dict.fromkeys(command.queues):
        queues[_tenants(command, queue, flow)].append(queue)
    parts = [
        _Part(tuple(of), None if who is None else tuple(sorted(who))) for who, of in queues.items() if who != _NOBODY
    ]
    had = [part.tenants for part in parts]
    for tenant in command.tenants or ():
        if not any(tenants is None or tenant in tenants for tenants in had):
            raise NotPermitted(flow.actor, Permission.WORK, f"for tenant {tenant!r}")
    return parts


_NOBODY: frozenset[str] = frozenset()


def _tenants(command: ClaimJobs, queue: str, flow: Flow) -> frozenset[str] | None:
    """The tenants whose jobs in a queue may be had, of those that were asked for."""
    scopes = [scope.tenants for scope in command.scopes if scope.has_queue(queue)]
    if not any(tenants is None or tenants for tenants in scopes):
        raise NotPermitted(flow.actor, Permission.WORK, f"in queue {queue!r}")
    if None in scopes:
        return command.tenants
    allowed = _NOBODY.union(*(tenants for tenants in scopes if tenants is not None))
    return allowed if command.tenants is None else allowed & command.tenants


def _heartbeat(command: ClaimJobs, flow: Flow) -> WorkerHeartbeat:
    return WorkerHeartbeat(
        worker_of(command.worker, flow), command.code_version, command.queues, command.concurrency or command.limit, 0,
        command.lease_seconds,
        WorkerReport(
            host=flow.by.address or "", tenants=tuple(sorted(command.tenants or ())),
            personas=tuple(sorted(command.personas or ())),
        ),
    )  # fmt: skip


def _request(
    command: ClaimJobs, heartbeat: WorkerHeartbeat, part: _Part, job_types: tuple[str, ...], flow: Flow
) -> ClaimRequest:
    return ClaimRequest(
        heartbeat.worker, part.queues, job_types, command.limit, command.code_version, command.lease_seconds, flow.time,
        part.tenants, None if command.personas is None else tuple(sorted(command.personas)),
    )  # fmt: skip


def register_leasing(
    dispatcher: Dispatcher, *, queue: Queue, writer: LedgerWriter, reader: EventReader, catalogue: Catalogue,
    clock: Clock, identifiers: Identifiers, types: KnownTypes, positions: Positions, wake_up: WakeUp | None,
    unknown_seconds: float = UNKNOWN_SECONDS,
) -> None:  # fmt: skip
    """Answer everything that remote workers ask. `wake_up` hears when an ending may let another job go;
    `unknown_seconds`: see `UNKNOWN_SECONDS`."""
    held, waiting, steps = HeldLeases(queue), WaitingProgress(clock), RecordedSteps(reader)
    recorder = EndingRecorder(writer=writer, types=types, identifiers=identifiers, waiting=waiting, wake_up=wake_up)
    reports = LeaseReports(held=held, waiting=waiting, writer=writer, steps=steps, logged=LoggedBytes(reader))
    workers = RemoteWorkers(
        queue=queue, writer=writer, clock=clock, recorder=recorder, reports=reports, wake_up=wake_up,
        unknown_seconds=unknown_seconds,
    )  # fmt: skip
    leasing = Leasing(
        queue=queue, writer=writer, catalogue=catalogue, clock=clock, types=types, workers=workers, recorder=recorder,
        steps=steps,
    )  # fmt: skip
    endings = LeaseEndings(held=held, recorder=recorder, reader=reader, types=types, positions=positions)
    for part in (leasing, workers, reports, endings):
        part.register(dispatcher)
