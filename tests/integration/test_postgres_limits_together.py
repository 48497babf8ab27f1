"""Claims, endings of all kinds, changes of limits and maintenance at the same time: what stays limited holds."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

from jobledger.application.flow_control import targets_of
from jobledger.application.ports import ClaimRequest, OpenJob
from jobledger.application.writes import AppendEvents, LimitRow, TenantRow, WriteStatus
from jobledger.domain.event import Event
from jobledger.domain.identifiers import stream_id
from jobledger.domain.job import JobDispatched, JobFacts, Lease, Measured, complete, interrupt, snooze, stall
from jobledger.domain.limit import (
    FlowState,
    KeyLimited,
    Limits,
    PersonaLimited,
    QueueLimited,
    Rate,
    Scope,
    Target,
    TenantLimited,
    queue_target,
    tenant_target,
)
from jobledger.domain.tenant import TenantCreated, TenantStatus
from jobledger.infrastructure.postgres.connect import PostgresLedger, open_ledger
from tests.contract.support import change_of, metadata, new_job

SEED = 20_261_122
JOBS, WORKERS = 240, 4
RATE = Rate(count=20, seconds=0.3)
CONCURRENCY = {
    queue_target("first"): 4, tenant_target("a"): 3, Target(Scope.PERSONA, "b", "bot"): 1,
    Target(Scope.KEY, "b", "gpt-*"): 2,
}  # fmt: skip
CHANGING = (queue_target("second"), tenant_target("b"), Target(Scope.PERSONA, "a", "bot"), Target(Scope.KEY, "a", "*"))
_LIMITED = {
    Scope.QUEUE: QueueLimited, Scope.TENANT: TenantLimited, Scope.PERSONA: PersonaLimited, Scope.KEY: KeyLimited
}  # fmt: skip
_Bound = Target | tuple[str, str]
"""What limits jobs: a target, or a tenant and a lock key."""
_ENDINGS = {"job.completed", "job.stalled", "job.interrupted", "job.snoozed"}


class _Installation:
    """A ledger with limits, jobs that wait, and those who work on it, each with connections of its own."""

    def __init__(self, dsn: str, ledger: PostgresLedger) -> None:
        self._dsn = dsn
        self._ledger = ledger
        self._versions = {target: count(1) for target in (*CONCURRENCY, *CHANGING, tenant_target("c"))}
        self.done: list[UUID] = []
        for tenant in ("a", "b", "c"):
            event = Event(stream_id(tenant, "tenant", tenant), 1, tenant, metadata(), TenantCreated(name=tenant))
            ledger.writer.write([AppendEvents((event,), TenantRow(tenant, TenantStatus.ACTIVE))])
        for target, concurrency in CONCURRENCY.items():
            self._limit(target, Limits(concurrency=concurrency))
        self._limit(tenant_target("c"), Limits(rate=RATE))
        dice = random.Random(SEED)
        self._ledger.writer.write(
            [
                new_job(
                    tenant=dice.choice("abc"), queue=dice.choice(("first", "second")), max_stalled=1000,
                    persona=dice.choice((None, "bot")), limit_key=dice.choice((None, "gpt-1", "gpt-2")),
                    lock_key=dice.choice((None, None, "k1", "k2\x1fkgpt-1")),
                )
                for _ in range(JOBS)
            ]
        )  # fmt: skip

    def _limit(self, target: Target, limits: Limits) -> None:
        facts = _LIMITED[target.scope](subject=target.subject, reason="test", limits=limits)
        event = Event(target.stream, next(self._versions[target]), target.tenant, metadata(), facts)
        self._ledger.writer.write([AppendEvents((event,), LimitRow(target, FlowState(limits)))])

    def work(self, number: int) -> None:
        """Claim and end attempts until all jobs are done."""
        dice = random.Random(SEED + number)
        worker, held = f"w{number}", list[OpenJob]()
        with closing(open_ledger(self._dsn)) as ledger:
            while held or len(self.done) < JOBS:
                request = ClaimRequest(
                    worker, ("first", "second"), ("invoice.send",), dice.choice((1, 3, 20)), "v1", 30.0,
                    datetime.now(UTC), at_once=dice.choice((None, 1, 20)),
                )  # fmt: skip
                held += ledger.queue.claim(request).jobs
                while held and dice.random() < 0.7:
                    self._end(ledger, held.pop(dice.randrange(len(held))), dice)

    def _end(self, ledger: PostgresLedger, job: OpenJob, dice: random.Random) -> None:
        lease = Lease(job.state.worker or "", job.state.attempt)
        soon = datetime.now(UTC) + timedelta(milliseconds=dice.randrange(50))
        endings: list[Callable[[], tuple[JobFacts, ...]]] = [
            lambda: complete(job.state, lease, Measured()),
            lambda: interrupt(job.state, lease, why="shutdown"),
            lambda: snooze(job.state, lease, due_at=soon, why="later"),
            lambda: stall(job.state, lease, last_seen_at=None),
        ]
        (number,) = dice.choices(range(4), (7, 1, 1, 1))
        change = change_of(job, endings[number](), lease=lease, body=None if number else b"null")
        assert ledger.writer.write([change])[0].status is WriteStatus.WRITTEN
        if not number:
            self.done.append(job.job_id)

    def change_limits(self) -> None:
        """Set, change and remove limits of other targets; the last of them holds nobody back."""
        dice = random.Random(SEED)
        while len(self.done) < JOBS:
            limits = dice.choice(
                (Limits(), Limits(concurrency=2), Limits(concurrency=50), Limits(rate=Rate(count=50, seconds=0.1)))
            )
            self._limit(dice.choice(CHANGING), limits)

    def maintain(self) -> None:
        """Bring lanes in line with limits, as maintenance does."""
        while len(self.done) < JOBS:
            self._ledger.queue.apply_limits()


def test_what_stays_limited_holds_whatever_else_changes(postgres_dsn: str) -> None:
    """Nobody fails, all jobs end once, and no limit that stands is exceeded by any claim."""
    with closing(open_ledger(postgres_dsn)) as ledger, ThreadPoolExecutor(WORKERS + 2) as threads:
        installation = _Installation(postgres_dsn, ledger)
        acting = [threads.submit(installation.work, number) for number in range(WORKERS)]
        acting += [threads.submit(installation.change_limits), threads.submit(installation.maintain)]
        for each in acting:
            each.result(120)
        assert len(set(installation.done)) == len(installation.done) == JOBS
        _assert_within_limits(ledger)


def _assert_within_limits(ledger: PostgresLedger) -> None:
    bounds: dict[UUID, set[_Bound]] = {}
    running, starts = Counter[_Bound](), list[datetime]()
    for event in ledger.reader.read_after(0, limit=100_000).events:
        if isinstance(event.facts, JobDispatched):
            bounds[event.originator_id] = set(_bounds_of(event.tenant, event.facts))
        elif event.topic == "job.started":
            running.update(bounds[event.originator_id])
            starts += [event.recorded_at] if event.tenant == "c" else []
            assert all(jobs <= _allowed(bound) for bound, jobs in running.items())
        elif event.topic in _ENDINGS:
            running.subtract(bounds[event.originator_id])
    starts.sort()
    windows = zip(starts, starts[RATE.count :], strict=False)
    assert all((late - early).total_seconds() >= RATE.seconds for early, late in windows)


def _bounds_of(tenant: str, job: JobDispatched) -> Iterator[_Bound]:
    yield from targets_of(job.queue, tenant, job.persona, job.limit_key)
    if job.lock_key is not None:
        yield (tenant, job.lock_key)


def _allowed(bound: _Bound) -> int:
    if not isinstance(bound, Target):
        return 1
    if bound.scope is Scope.KEY:
        bound = bound._replace(subject="gpt-*")
    return CONCURRENCY.get(bound, JOBS)
