"""Claims in memory: by the same rules as on the engines, over rows in a dict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from jobledger.application.flow_control import Allowance, Candidate, Rules, Running, Use
from jobledger.application.ports import Claim, ClaimRequest, OpenJob
from jobledger.application.turns import TenantTurns, choose
from jobledger.application.writes import LimitRow
from jobledger.domain.event import Event, Metadata
from jobledger.domain.job import JobStatus, evolve, start
from jobledger.domain.limit import Target

from .store import Store

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class MemoryClaims:
    """Takes jobs for workers, and remembers whose turn is next. Whoever calls holds the store's lock."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turns: dict[str, TenantTurns] = {}
        self._rounds = 0

    def claim(self, request: ClaimRequest) -> Claim:
        """See `Queue.claim`."""
        self._store.begin()
        allowed = self._allowance(request)
        inactive: dict[str, None] = {}
        chosen = self._choose(request, allowed, inactive)
        for target, use in allowed.used():
            self._store.limit_uses[target][use.ends_at] += use.tokens
        jobs = tuple(self._start(job, request) for job in chosen)
        return Claim(jobs, tuple(inactive), allowed.limited, allowed.again_seconds)

    def _allowance(self, request: ClaimRequest) -> Allowance:
        def running() -> Iterable[Running]:
            counted = Counter(
                (job.state.queue, job.tenant, job.state.persona, job.state.limit_key) for job in self._store.running()
            )
            return [Running(*those, jobs) for those, jobs in counted.items()]

        def uses(target: Target, after: int) -> Iterable[Use]:
            kept = Counter({end: tokens for end, tokens in self._store.limit_uses[target].items() if end > after})
            self._store.limit_uses[target] = kept
            return [Use(*use) for use in kept.items()]

        rules = Rules(LimitRow(target, state) for target, state in self._store.limits.items())
        return Allowance(
            rules, now=_microseconds(self._store.now()), at_once=request.at_once, running=running, uses=uses
        )

    def _choose(self, request: ClaimRequest, allowed: Allowance, inactive: dict[str, None]) -> list[OpenJob]:
        self._rounds += 1
        first = self._rounds % max(1, len(request.queues))
        chosen: list[Candidate] = []
        for queue in request.queues[first:] + request.queues[:first]:
            if len(chosen) == request.limit or allowed.room(queue) <= 0:
                continue
            ready = self._ready(queue, request, inactive)
            if not chosen and not request.except_tenants:
                stalled_ones = sorted(filter(self._has_stalled, ready), key=lambda job: (job.due_at, job.job_id))
                stalled = next(filter(allowed.take, stalled_ones), None)
                if stalled is not None:
                    chosen = [stalled]
                    break
            chosen += self._in_turns(queue, ready, allowed, request.limit - len(chosen))
        return [self._store.open_jobs[UUID(bytes=job.job_id)] for job in chosen]

    def _ready(self, queue: str, request: ClaimRequest, inactive: dict[str, None]) -> list[Candidate]:
        """The queue's jobs that this worker might take but for limits, in order of urgency."""
        held = {(job.tenant, job.state.lock_key) for job in self._store.running() if job.state.lock_key is not None}
        ready: list[Candidate] = []
        for job in self._store.open_jobs.values():
            if job.state.queue != queue or not self._is_wanted(job, request):
                continue
            if not self._store.is_active(job.tenant):
                inactive[job.tenant] = None
            elif (job.tenant, job.state.lock_key) not in held:
                ready.append(_candidate(job))
        return sorted(ready)

    def _in_turns(self, queue: str, ready: Sequence[Candidate], allowed: Allowance, limit: int) -> list[Candidate]:
        turns = self._turns.setdefault(queue, TenantTurns())
        lines: dict[str, list[Candidate]] = {}
        for job in ready:
            if not self._has_stalled(job):
                lines.setdefault(job.tenant, []).append(job)
        order = sorted(lines, key=lambda tenant: (tenant <= turns.served_last, tenant))
        chosen = choose({tenant: iter(lines[tenant]) for tenant in order}, turns, allowed, queue=queue, limit=limit)
        if chosen:
            turns.served_last = chosen[-1].tenant if len(chosen) == limit else order[0]
        return chosen

    def _is_wanted(self, job: OpenJob, request: ClaimRequest) -> bool:
        state = job.state
        is_due = state.status is JobStatus.DELAYED and state.due_at <= self._store.now()
        return (
            (state.status is JobStatus.PENDING or is_due)
            and state.job_type in request.job_types
            and (request.tenants is None or job.tenant in request.tenants)
            and (request.personas is None or state.persona in request.personas)
            and job.tenant not in request.except_tenants
        )

    def _has_stalled(self, job: Candidate) -> bool:
        return self._store.open_jobs[UUID(bytes=job.job_id)].state.stalls > 0

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


def _candidate(job: OpenJob) -> Candidate:
    state = job.state
    return Candidate(
        -state.priority, _microseconds(state.due_at), job.job_id.bytes, job.tenant, state.queue, state.persona,
        state.lock_key, state.limit_key,
    )  # fmt: skip


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
