"""Why a job waits: what holds it back at this moment, from the rows that claims look at, too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

from jobledger.domain.errors import LoginRefused
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import WAITING, JobDispatched, JobStatus
from jobledger.domain.limit import FlowState, Scope, Target
from jobledger.domain.tenant import TenantStatus

from .account import account_of
from .dispatcher import Dispatcher
from .flow import Flow
from .flow_control import Rules, targets_of
from .job_finder import JobFinder
from .job_repository import job_from, no_such_job
from .job_streams import JobStreams
from .limit_messages import INSTALLATION, ExplainJob, Explanation, Hold, HoldKind
from .ports import Catalogue, EventReader, Job, Queue, Standing, WorkerRow
from .result import Accepted

DEPENDENCIES_SHOWN = 20
"""Jobs that a blocked one waits for: those that are looked at."""
_ELSEWHERE = "a job in another queue"
_WORD = {Scope.QUEUE: "queue", Scope.TENANT: "tenant", Scope.PERSONA: "persona", Scope.KEY: "key"}


class Explaining:
    """The handler of `ExplainJob`."""

    def __init__(self, *, reader: EventReader, queue: Queue, catalogue: Catalogue, finder: JobFinder) -> None:
        self._reader = reader
        self._streams = JobStreams(reader)
        self._queue = queue
        self._catalogue = catalogue
        self._finder = finder

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer the query of this module."""
        dispatcher.register(ExplainJob, self.explain)

    def explain(self, query: ExplainJob, flow: Flow) -> Accepted[Explanation]:
        """Where a job stands and, of one that waits, what holds it back: everything that does, and where nothing does,
        that."""
        job_id = self._finder.find(query.tenant, query.job)
        events = self._streams.job(query.tenant, job_id)
        job = job_from(query.tenant, job_id, events)
        if job is None:
            raise no_such_job(query.tenant, query.job)
        holds = self._seen_holds(job, flow.time, query) if job.state.status in WAITING else ()
        account = account_of(events, job.state, self._holder(job), flow.time)
        return Accepted(Explanation(job.job_id, job.state.status, holds, *account))

    def _seen_holds(self, job: Job, now: datetime, asked: ExplainJob) -> tuple[Hold, ...]:
        """What holds it back, as far as the login to the database may see it."""
        try:
            return tuple(self._holds(job, now, asked))
        except LoginRefused:
            text = "limits and what runs are everybody's: this login to the database does not see whether they hold it"
            return (*self._of_its_own(job, now, asked), Hold(HoldKind.HIDDEN, text))

    def _holder(self, job: Job) -> WorkerRow | None:
        name = job.state.worker
        if name is None:
            return None
        return next((row for row in self._queue.workers() if row.heartbeat.worker == name), None)

    def _holds(self, job: Job, now: datetime, asked: ExplainJob) -> Iterator[Hold]:
        found = [*self._of_its_own(job, now, asked), *self._of_limits(job, asked)]
        yield from found
        near = [worker for worker in self._queue.workers() if _serves(worker, job)]
        known = self._catalogue.job_type(job.state.job_type)
        workers = [worker for worker in near if known is None or _runs(worker, known.app)]
        if not near:
            text = f"no worker that runs takes jobs of queue {job.state.queue} for {_whom(job)}"
            yield Hold(HoldKind.NO_WORKER, text)
        elif not workers:
            apps = ", ".join(sorted({worker.heartbeat.report.app for worker in near}))
            whose = "" if known is None else f" of app {known.app}, which published {job.state.job_type},"
            yield Hold(HoldKind.NO_WORKER, f"no worker{whose} runs; those of queue {job.state.queue} are of {apps}")
        elif not found:
            many = f"{len(workers)} workers take" if len(workers) > 1 else "1 worker takes"
            yield Hold(HoldKind.TURN, f"nothing holds it: {many} such jobs, it starts in its turn")

    def _of_its_own(self, job: Job, now: datetime, asked: ExplainJob) -> Iterator[Hold]:
        state = job.state
        tenant = self._catalogue.tenant(job.tenant)
        if tenant is None or tenant.status is not TenantStatus.ACTIVE:
            status = "unknown" if tenant is None else tenant.status.value
            yield Hold(HoldKind.TENANT, f"tenant {job.tenant} is {status}: maintenance sends the job to the DLQ")
        if state.status is JobStatus.BLOCKED:
            yield from self._dependencies(job, asked.queues)
        if state.status is JobStatus.DELAYED and state.due_at > now:
            yield Hold(HoldKind.DELAYED, f"not before {state.due_at:%Y-%m-%d %H:%M:%S} UTC")

    def _of_limits(self, job: Job, asked: ExplainJob) -> Iterator[Hold]:
        state, rules = job.state, Rules(self._catalogue.limits())
        targets = targets_of(state.queue, job.tenant, state.persona, state.limit_key)
        bound = {target: binding for target in targets if (binding := rules.state_of(target)) is not None}
        if not bound and state.lock_key is None:
            return
        standing = self._queue.standing(
            {target: binding.limits for target, binding in bound.items()}, tenant=job.tenant, lock_key=state.lock_key
        )
        for target, binding in bound.items():
            if binding.paused:
                yield self._paused(target, rules.named(target) or target, asked)
            yield from _reached(target, binding, standing)
        if standing.lock_holder is not None:
            yield self._locked(job.tenant, f"lock key {state.lock_key}", standing.lock_holder, asked.queues)

    def _locked(self, tenant: str, key: str, holder: UUID, queues: frozenset[str] | None) -> Hold:
        if queues is not None:
            other = job_from(tenant, holder, self._streams.job(tenant, holder))
            if other is None or other.state.queue not in queues:
                return Hold(HoldKind.LOCKED, f"{key} is held by {_ELSEWHERE}, which runs")
        return Hold(HoldKind.LOCKED, f"{key} is held by job {holder}, which runs", job_id=holder)

    def _dependencies(self, job: Job, queues: frozenset[str] | None) -> Iterator[Hold]:
        first = self._reader.stream(job.tenant, job.job_id, limit=1)[0].facts
        awaited = first.depends_on[:DEPENDENCIES_SHOWN] if isinstance(first, JobDispatched) else ()
        streams = self._reader.streams(job.tenant, awaited)
        others = [job_from(job.tenant, other, streams.get(other, ())) for other in awaited]
        unfinished = [other for other in others if other is not None and other.state.status is not JobStatus.COMPLETED]
        if not unfinished:
            yield Hold(HoldKind.BLOCKED, "waits for other jobs")
        for other in unfinished:
            if queues is not None and other.state.queue not in queues:
                yield Hold(HoldKind.BLOCKED, f"waits for {_ELSEWHERE}")
                continue
            text = f"waits for job {other.job_id} ({other.state.job_type}), which is {other.state.status.value}"
            yield Hold(HoldKind.BLOCKED, text, job_id=other.job_id)

    def _paused(self, target: Target, named: Target, asked: ExplainJob) -> Hold:
        events = self._reader.stream(named.tenant, named.stream)
        return Hold(HoldKind.PAUSED, f"{_name(target)} is paused{_by_whom(events, asked)}", target)


def _serves(worker: WorkerRow, job: Job) -> bool:
    """Whether a worker lives and takes jobs of this queue, tenant and persona. (It says no job types.)"""
    of, state = worker.heartbeat.report, job.state
    return (
        not worker.is_lost
        and state.queue in worker.heartbeat.queues
        and (not of.tenants or job.tenant in of.tenants)
        and (not of.personas or state.persona in of.personas)
    )


def _runs(worker: WorkerRow, app: str) -> bool:
    """Whether a worker is of the application that published the type last (others may, too, but nobody knows)."""
    return worker.heartbeat.report.app in ("", app)


def _whom(job: Job) -> str:
    return job.tenant if job.state.persona is None else f"{job.tenant}, {job.state.persona}"


def _reached(target: Target, binding: FlowState, standing: Standing) -> Iterator[Hold]:
    limits = binding.limits
    running, started = standing.running.get(target, 0), standing.started.get(target, 0)
    if limits.concurrency is not None and running >= limits.concurrency:
        text = f"{_name(target)} runs {running} of at most {limits.concurrency} at a time"
        yield Hold(HoldKind.CONCURRENCY, text, target, running, limits.concurrency)
    if limits.rate is not None and started >= limits.rate.count:
        text = f"{_name(target)} started {started} in its window, the rate allows {limits.rate}"
        yield Hold(HoldKind.RATE, text, target, started, limits.rate.count)


def _by_whom(events: Sequence[RecordedEvent], asked: ExplainJob) -> str:
    """Since when, by whom and why, from the target's history; of the installation's doing a tenant is told no more
    than that: its reason may be about others."""
    pauses = [event for event in events if event.topic.endswith(".paused")]
    if not pauses:
        return ""
    last = pauses[-1]
    since = f" since {last.recorded_at:%Y-%m-%d %H:%M:%S} UTC"
    if asked.as_tenant and not getattr(last.facts, "by_tenant", False):
        return f"{since} by {INSTALLATION}"
    return f"{since} by {last.metadata.actor}: {getattr(last.facts, 'reason', '')}"


def _name(target: Target) -> str:
    """`queue billing`, `tenant acme`, `persona billing-bot`."""
    return f"{_WORD[target.scope]} {target.subject}"
