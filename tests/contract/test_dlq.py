"""The dead-letter queue on all adapters: filters, counts, and acts on many dead jobs at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from jobledger.application import dlq_control
from jobledger.application.commands import DiscardJob, RequeueJob
from jobledger.application.dispatcher import Dispatcher
from jobledger.application.dlq_messages import (
    CountDlq,
    DiscardDlq,
    DlqBulkDone,
    DlqCount,
    ListDlqActs,
    ListDlqErrors,
    RequeueDlq,
)
from jobledger.application.message import Actor
from jobledger.application.ports import DlqRow, JobViews
from jobledger.application.use_cases import Ports, use_cases
from jobledger.domain import job as jobs
from jobledger.domain.dlq import DlqFilter
from jobledger.domain.errors import CountChanged
from jobledger.domain.job import AttemptError, JobStatus, Lease, Measured
from jobledger.domain.retry import Retry
from jobledger.infrastructure.memory.statistics import MemoryStatistics
from jobledger.infrastructure.memory.store import Store
from jobledger.infrastructure.memory.views import MemoryJobViews
from jobledger.infrastructure.system import RandomIdentifiers, SystemClock, SystemKeyMint
from tests.support.given import NOW

from .support import LedgerUnderTest
from .views_support import Opened, open_read_side

ACTOR = Actor(id="person:ana")
TYPES = ("invoice.send", "report.make")


@dataclass
class DeadLetters:
    """A ledger whose jobs die on request, its list of them, and every use case."""

    ledger: LedgerUnderTest
    views: JobViews
    dispatcher: Dispatcher
    own: Opened | None

    def project(self) -> None:
        """Bring the lists up to date (in memory they always are)."""
        if self.own is not None:
            self.own.project()

    def die(self, *, error_type: str = "Broken", fingerprint: str = "f", for_good: bool = True, **options: Any) -> UUID:  # noqa: ANN401
        """A job that dies; its id."""
        ledger, queue = self.ledger, options.get("queue", "default")
        retry = {} if for_good else {"retry": Retry.fixed(max_attempts=1, base_seconds=0)}
        job_id = ledger.dispatch(**options, **retry)
        job = ledger.claim_one(queues=(queue,), job_types=TYPES)
        assert job.job_id == job_id
        lease = Lease("w1", job.state.attempt)
        error = AttemptError(error_type, "it broke", fingerprint, dlq_reason="unrecoverable" if for_good else None)
        facts = jobs.fail(job.state, lease, error, now=NOW, jitter=0, measured=Measured())
        assert ledger.change(job, *facts, lease=lease).position is not None
        return job_id

    def rows(self, where: DlqFilter, tenant: str = "acme", size: int = 500) -> list[DlqRow]:
        """All rows that match, page by page."""
        found: list[DlqRow] = []
        ask = partial(self.views.dlq, tenant, where, limit=size)
        page = ask(after=None)
        while page.next is not None:
            found += page.rows
            page = ask(after=page.next)
        return [*found, *page.rows]

    def send(self, message: Any, **fields: object) -> Any:  # noqa: ANN401
        """Carry a message out for `acme`."""
        return self.dispatcher.send(message, actor=ACTOR, tenant="acme", **fields)

    def status(self, job_id: UUID) -> JobStatus | None:
        """Where an open job stands; None: it ended."""
        row = self.ledger.queue.open_jobs("acme", [job_id]).get(job_id)
        return None if row is None else row.state.status

    def requeues(self, job_id: UUID) -> int:
        """How often a job was requeued."""
        return [event.topic for event in self.ledger.reader.stream("acme", job_id)].count("job.requeued")


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def dead_letters(request: pytest.FixtureRequest) -> Iterator[DeadLetters]:
    """Once per adapter."""
    ledger: LedgerUnderTest = request.getfixturevalue(f"{request.param}_ledger")
    with ExitStack() as closing:
        own = None
        if request.param == "memory":
            views: JobViews = MemoryJobViews(ledger.queue._store)  # type: ignore[attr-defined]
        else:
            own = closing.enter_context(open_read_side(ledger))
            views = own.views
        ports = Ports(
            writer=ledger.writer, transaction_writer=ledger.transaction_writer, reader=ledger.reader,
            queue=ledger.queue, catalogue=ledger.catalogue, views=views,
            statistics=MemoryStatistics(Store(lambda: NOW)), clock=SystemClock(),
            identifiers=RandomIdentifiers(),
            keys=ledger.keys, key_mint=SystemKeyMint(),
        )  # fmt: skip
        for tenant in ("acme", "other"):
            ledger.create_tenant(tenant)
        yield DeadLetters(ledger, views, use_cases(ports), own)


def a_mixed_lot(letters: DeadLetters) -> None:
    """Dead jobs that differ in everything a filter looks at."""
    letters.die()
    letters.die(persona="bot", error_type="TimeoutError", fingerprint="t1")
    letters.die(persona="bot", error_type="TimeoutError", fingerprint="t2", for_good=False)
    letters.die(job_type="report.make", queue="reports", kind="system", persona="clerk")
    letters.die(job_type="report.make", queue="reports", kind="ai", error_type="TimeoutError", fingerprint="t1")
    letters.die(for_good=False, error_type="Ünïcode'%_")
    letters.die(tenant="other", error_type="TimeoutError", fingerprint="t1")
    letters.project()


FILTERS = [
    DlqFilter(), DlqFilter(job_type="report.make"), DlqFilter(kind="ai"), DlqFilter(queue="reports"),
    DlqFilter(persona="bot"), DlqFilter(reason="attempts_exhausted"), DlqFilter(error_type="TimeoutError"),
    DlqFilter(fingerprint="t1"), DlqFilter(error_type="Ünïcode'%_"), DlqFilter(error_type="Timeout"),
    DlqFilter(fingerprint="t1", error_type="TimeoutError", persona="bot"), DlqFilter(persona="nobody"),
    DlqFilter(job_type="report.make", kind="system", queue="reports", persona="clerk", reason="unrecoverable"),
]  # fmt: skip


def matches(row: DlqRow, where: DlqFilter) -> bool:
    """Whether a filter means a row, said in Python."""
    return all(wanted is None or getattr(row, name) == wanted for name, wanted in where)


def test_each_filter_finds_and_counts_its_dead(dead_letters: DeadLetters) -> None:
    """Alone and together, in pages of any size; the count is that of the rows, its groups add up to it."""
    a_mixed_lot(dead_letters)
    everything = dead_letters.rows(DlqFilter())
    assert len(everything) == 6
    for where in FILTERS:
        expected = [row for row in everything if matches(row, where)]
        assert dead_letters.rows(where) == dead_letters.rows(where, size=1) == expected, where
        summary = dead_letters.views.dlq_summary("acme", where, groups=10)
        assert (summary.jobs, sum(group.jobs for group in summary.groups)) == (len(expected), len(expected))
        deaths = [row.dead_at for row in expected]
        assert (summary.first_dead_at, summary.last_dead_at) == (min(deaths, default=None), max(deaths, default=None))
        assert all(
            group.jobs == sum((row.job_type, row.reason, row.error_type) == group[:3] for row in expected)
            for group in summary.groups
        )


def test_times_bound_the_death(dead_letters: DeadLetters) -> None:
    """From inclusive, to exclusive, in the list and in the count."""
    a_mixed_lot(dead_letters)
    *_, third, second, first = dead_letters.rows(DlqFilter())
    where = DlqFilter(dead_from=second.dead_at, dead_to=third.dead_at)
    expected = [row for row in (third, second, first) if second.dead_at <= row.dead_at < third.dead_at]
    assert dead_letters.rows(where) == expected
    assert dead_letters.views.dlq_summary("acme", where, groups=1).jobs == len(expected)
    after_all = DlqFilter(dead_from=dead_letters.rows(DlqFilter())[0].dead_at + timedelta(microseconds=1))
    assert dead_letters.views.dlq_summary("acme", after_all, groups=1).jobs == 0


def test_a_summary_names_the_largest_groups_first(dead_letters: DeadLetters) -> None:
    """As many as asked for; the count is that of all, and of how many groups."""
    for error_type, times in (("Rare", 1), ("Common", 3), ("Usual", 2)):
        for _ in range(times):
            dead_letters.die(error_type=error_type)
    dead_letters.project()
    summary = dead_letters.views.dlq_summary("acme", DlqFilter(), groups=2)
    assert [(group.error_type, group.jobs) for group in summary.groups] == [("Common", 3), ("Usual", 2)]
    assert (summary.jobs, summary.group_count) == (6, 3)
    assert summary.freshness.position >= summary.freshness.head > 0


def test_errors_are_told_apart_by_fingerprint(dead_letters: DeadLetters) -> None:
    """The most frequent first, with how many jobs of how many types died of each and when, within a filter."""
    a_mixed_lot(dead_letters)
    rows = dead_letters.rows(DlqFilter())
    for where in FILTERS:
        matching = [row for row in rows if matches(row, where)]
        found = dead_letters.views.dlq_errors("acme", where, limit=10)
        assert (found.jobs, found.error_count) == (len(matching), len({row.fingerprint for row in matching})), where
        assert [error.jobs for error in found.errors] == sorted((e.jobs for e in found.errors), reverse=True)
        for error in found.errors:
            same = [row for row in matching if row.fingerprint == error.fingerprint]
            deaths = [row.dead_at for row in same]
            assert (error.jobs, error.job_types) == (len(same), len({row.job_type for row in same}))
            assert (error.first_dead_at, error.last_dead_at) == (min(deaths), max(deaths))
            assert error.error_type in {row.error_type for row in same}
    first = dead_letters.send(ListDlqErrors, limit=1).unwrap()
    assert (first.errors, first.jobs) == (dead_letters.views.dlq_errors("acme", DlqFilter(), limit=9).errors[:1], 6)


def test_acts_follow_the_filter_batch_by_batch(dead_letters: DeadLetters, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that match and nothing else, however many batches it takes; what was requeued can be claimed again."""
    monkeypatch.setattr(dlq_control, "BATCH", 3)
    wanted = {dead_letters.die(error_type="TimeoutError") for _ in range(8)}
    others = [dead_letters.die(), dead_letters.die(tenant="other", error_type="TimeoutError")]
    dead_letters.project()
    seen: DlqCount = dead_letters.send(CountDlq, error_type="TimeoutError").unwrap()
    fields = {"error_type": "TimeoutError", "dead_to": seen.until, "confirmed": 8, "reason": "fixed"}
    done: DlqBulkDone = dead_letters.send(RequeueDlq, **fields, attempts=1).unwrap()
    assert (done.changed, done.skipped, done.refused) == (8, 0, 0)
    assert set(dead_letters.ledger.claimed_ids(20)) == wanted
    assert dead_letters.status(others[0]) is JobStatus.DLQ
    (record,) = dead_letters.send(ListDlqActs).unwrap()
    assert record.event_id == done.event_id and record.ended is not None and record.ended.changed == 8
    causes = {dead_letters.ledger.reader.stream("acme", job)[-2].causation_id for job in wanted}
    assert causes == {done.event_id}


def test_discarded_jobs_leave_for_good(dead_letters: DeadLetters) -> None:
    """From the queue and from the list."""
    dead = [dead_letters.die() for _ in range(3)]
    dead_letters.project()
    assert dead_letters.send(DiscardDlq, confirmed=3, reason="hopeless").unwrap().changed == 3
    dead_letters.project()
    assert [dead_letters.status(job) for job in dead] == [None] * 3
    assert dead_letters.rows(DlqFilter()) == []


def test_a_list_that_lags_is_only_a_proposal(dead_letters: DeadLetters) -> None:
    """Requeued, discarded, or dead anew since the list was made: the stream decides, nothing happens twice."""
    requeued, discarded, anew, still = (dead_letters.die() for _ in range(4))
    dead_letters.project()
    shown = dead_letters.rows(DlqFilter())
    dead_letters.send(RequeueJob, job=requeued, reason="faster").unwrap()
    assert dead_letters.ledger.claimed_ids() == [requeued]
    dead_letters.send(DiscardJob, job=discarded, reason="faster").unwrap()
    dead_letters.send(RequeueJob, job=anew, reason="faster").unwrap()
    (job,) = dead_letters.ledger.claim().jobs
    lease = Lease("w1", job.state.attempt)
    error = AttemptError("Other", "another trouble", "o", dlq_reason="unrecoverable")
    dead_letters.ledger.change(
        job, *jobs.fail(job.state, lease, error, now=NOW, jitter=0, measured=Measured()), lease=lease
    )
    if dead_letters.own is not None:  # what is in memory never lags: there the list itself is right
        assert dead_letters.rows(DlqFilter()) == shown
    until = shown[0].dead_at + timedelta(microseconds=1)
    done = dead_letters.send(RequeueDlq, confirmed=4, dead_to=until, reason="late").unwrap()
    assert done.changed == 1 and done.skipped == (3 if dead_letters.own else 0) and done.refused == 0
    assert dead_letters.status(still) is JobStatus.PENDING
    assert dead_letters.status(anew) is JobStatus.DLQ
    assert [dead_letters.requeues(job) for job in (requeued, discarded, anew, still)] == [1, 0, 1, 1]
    again = dead_letters.send(RequeueDlq, confirmed=4, dead_to=until, reason="again").unwrap()
    assert (again.changed, dead_letters.requeues(still)) == (0, 1)


def test_who_dies_after_the_count_stays(dead_letters: DeadLetters) -> None:
    """And where more match than were confirmed, nothing is done at all."""
    early = dead_letters.die()
    dead_letters.project()
    seen: DlqCount = dead_letters.send(CountDlq).unwrap()
    late = dead_letters.die()
    dead_letters.project()
    refused = dead_letters.send(RequeueDlq, confirmed=1, reason="fixed")
    assert isinstance(refused.error, CountChanged) and refused.error.found == 2
    assert dead_letters.send(RequeueDlq, confirmed=1, dead_to=seen.until, reason="fixed").unwrap().changed == 1
    assert (dead_letters.status(early), dead_letters.status(late)) == (JobStatus.PENDING, JobStatus.DLQ)
