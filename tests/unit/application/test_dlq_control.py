"""Many dead jobs at once: counted, confirmed, decided one by one, and the act itself on record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from jobledger.application import dlq_control
from jobledger.application.commands import DiscardJob, RequeueJob, UpdateJobStatus
from jobledger.application.dispatcher import Dispatcher
from jobledger.application.dlq_control import BATCH, TRIES, TROUBLES_MAX, DlqControl
from jobledger.application.dlq_messages import (
    SILENT_SECONDS,
    BulkActOfDlq,
    CountDlq,
    DiscardDlq,
    DlqBulkDone,
    DlqCount,
    DlqProgress,
    GetDlqAct,
    ListDlqActs,
    RequeueDlq,
)
from jobledger.application.known import KnownTenants
from jobledger.application.ports import DlqPage, DlqSummary, JobViews, ViewName
from jobledger.application.positions import Positions
from jobledger.application.queries import ListDlq
from jobledger.application.writes import AppendEvents, ChangeJob, Outcome, Write, WriteStatus
from jobledger.domain.dlq import DlqBulkBegun, DlqBulkEnded, DlqBulkProgressed, DlqFilter, dlq_stream
from jobledger.domain.errors import (
    CorruptEvent,
    CountChanged,
    InvalidInput,
    LedgerBusy,
    LedgerUnavailable,
    NotFound,
    NotYetVisible,
    ReasonRequired,
    UnknownTenant,
)
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import JobDiscarded, JobRequeued, JobStatus
from tests.support.use_cases import ACTOR, UseCases


def some_dead(cases: UseCases, count: int = 3, **options: Any) -> list[UUID]:  # noqa: ANN401
    """Jobs that died, a second apart."""
    died = []
    for _ in range(count):
        died.append(cases.dead(**options).job_id)
        cases.clock.advance(1)
    return died


def exhausted(cases: UseCases, error_type: str) -> UUID:
    """A job whose attempts ran out."""
    job_id = cases.dispatch().job_id
    for attempt in (1, 2):
        cases.claim()
        update = {"worker": "w1", "attempt": attempt, "error_type": error_type, "reason": "no answer"}
        cases.ask(UpdateJobStatus, tenant="acme", job=job_id, status="failed", **update)
        cases.clock.advance(60)
    return job_id


def count_dead(cases: UseCases, **where: object) -> DlqCount:
    """What a filter matches."""
    return cases.ask(CountDlq, tenant="acme", **where)


def act(cases: UseCases, command: type[RequeueDlq] | type[DiscardDlq] = RequeueDlq, **fields: object) -> DlqBulkDone:
    """Do it to all that are dead now, or as the fields say."""
    seen = count_dead(cases)
    defaults = {"confirmed": max(1, seen.summary.jobs), "dead_to": seen.until, "reason": "gateway fixed"}
    return cases.ask(command, **{"tenant": "acme", **defaults, **fields})


def status_of(cases: UseCases, job_id: UUID) -> JobStatus | None:
    """Where an open job stands; None: it ended."""
    row = cases.ledger.queue.open_jobs("acme", [job_id]).get(job_id)
    return None if row is None else row.state.status


# --- counting --------------------------------------------------------------------------------------------------------


def test_a_count_says_how_many_of_what() -> None:
    """The number, the largest groups, a few rows, and until when they died."""
    cases = UseCases()
    dead = some_dead(cases, 3)
    cases.clock.advance(10)
    timed_out = exhausted(cases, "TimeoutError")
    seen = count_dead(cases, sample=2)
    assert (seen.summary.jobs, seen.summary.group_count) == (4, 2)
    assert [tuple(group) for group in seen.summary.groups] == [
        ("invoice.send", "unrecoverable", "Broken", 3), ("invoice.send", "attempts_exhausted", "TimeoutError", 1),
    ]  # fmt: skip
    assert [row.job_id for row in seen.sample] == [timed_out, dead[2]]
    assert seen.until is not None and seen.until > seen.sample[0].dead_at
    assert count_dead(cases, dead_to=seen.until).summary.jobs == 4
    assert count_dead(cases, dead_to=seen.sample[0].dead_at).summary.jobs == 3


def test_nothing_is_counted_where_nothing_is_dead() -> None:
    """No groups, no time."""
    cases = UseCases()
    cases.dispatch()
    seen = count_dead(cases)
    assert (seen.summary.jobs, seen.summary.groups, seen.sample, seen.until) == (0, (), (), None)
    cases.refused(UnknownTenant, CountDlq, tenant="ghost")


def test_each_filter_finds_its_dead() -> None:
    """Persona, reason, error, fingerprint, type, kind and queue: alone, together, in the count and in the list."""
    cases = UseCases()
    (plain,) = some_dead(cases, 1)
    (keyed,) = some_dead(cases, 1, job_type="invoice.keyed", persona="bot")
    timed_out = exhausted(cases, "TimeoutError")

    def found(**where: object) -> set[UUID]:
        rows = cases.ask(ListDlq, tenant="acme", **where).rows
        assert count_dead(cases, **where).summary.jobs == len(rows)
        return {row.job_id for row in rows}

    assert found(persona="bot") == {keyed}
    assert found(dlq_reason="attempts_exhausted") == {timed_out}
    assert found(error_type="Broken") == {plain, keyed}
    assert found(fingerprint="TimeoutError") == {timed_out}
    assert found(job_type="invoice.send") == {plain, timed_out}
    assert found(kind="ai") == found(queue="keyed") == {keyed}
    assert found(error_type="Broken", job_type="invoice.send") == {plain}
    assert found(error_type="broken") == set()
    refusal = cases.refused(InvalidInput, CountDlq, tenant="acme", dlq_reason="bored")
    assert refusal.field == "dlq_reason"


def test_a_count_waits_for_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is of all that was recorded when it was asked; a list that stands still is an error, not a small number."""
    cases = UseCases()
    some_dead(cases, 1)
    waited: list[int] = []

    def stands_still(position: int, _timeout_seconds: float, views: frozenset[ViewName]) -> bool:
        assert views == {ViewName.DLQ_JOBS}
        waited.append(position)
        return False

    monkeypatch.setattr(cases.ledger.ports.views, "wait_for", stands_still)
    cases.refused(NotYetVisible, CountDlq, tenant="acme", timeout_seconds=0)
    assert waited == [cases.ledger.reader.head()]


# --- acting ----------------------------------------------------------------------------------------------------------


def test_what_a_filter_matches_is_requeued() -> None:
    """With new attempts; who, why and the ticket stand in each job's history, and the act is the cause."""
    cases = UseCases()
    wanted, other = some_dead(cases, 2), exhausted(cases, "TimeoutError")
    done = act(cases, error_type="Broken", confirmed=2, ticket="OPS-12", attempts=4)
    assert (done.act, done.confirmed, done.changed, done.skipped, done.refused) == ("requeue", 2, 2, 0, 0)
    assert [status_of(cases, job) for job in [*wanted, other]] == [JobStatus.PENDING, JobStatus.PENDING, JobStatus.DLQ]
    for job_id in wanted:
        event = cases.events(job_id)[-1]
        assert isinstance(event.facts, JobRequeued)
        assert (event.facts.reason, event.facts.ticket, event.facts.attempts_granted) == ("gateway fixed", "OPS-12", 4)
        assert (event.metadata.actor, event.causation_id) == (ACTOR.id, done.event_id)
        assert event.metadata.correlation_id == cases.events(job_id)[0].metadata.correlation_id


def test_what_a_filter_matches_is_discarded() -> None:
    """They leave the queue for good."""
    cases = UseCases()
    dead = some_dead(cases, 3)
    assert act(cases, DiscardDlq).changed == 3
    assert [status_of(cases, job) for job in dead] == [None, None, None]
    assert all(isinstance(cases.last_facts(job), JobDiscarded) for job in dead)


def test_the_act_is_on_record() -> None:
    """Before its first job and after its last, with filter, count, actor, reason and ticket: an auditor's answer to
    who emptied the dead-letter queue."""
    cases = UseCases()
    some_dead(cases, 2)
    done = act(cases, error_type="Broken", ticket="OPS-12")
    begun, ended = cases.events(dlq_stream("acme"))
    assert isinstance(begun.facts, DlqBulkBegun) and isinstance(ended.facts, DlqBulkEnded)
    assert (begun.event_id, begun.metadata.actor, ended.causation_id) == (done.event_id, ACTOR.id, begun.event_id)
    assert begun.facts.filter == DlqFilter(error_type="Broken", dead_to=begun.facts.filter.dead_to)
    assert (begun.facts.act, begun.facts.confirmed, begun.facts.reason, begun.facts.ticket) == (
        "requeue", 2, "gateway fixed", "OPS-12",
    )  # fmt: skip
    assert (ended.facts.changed, ended.facts.finished, ended.facts.begun_version) == (2, True, 1)
    (listed,) = cases.ask(ListDlqActs, tenant="acme")
    assert (listed.event_id, listed.begun, listed.ended) == (begun.event_id, begun.facts, ended.facts)


def test_the_latest_acts_are_listed_first() -> None:
    """As many as asked for, of this tenant."""
    cases = UseCases()
    for number in range(3):
        some_dead(cases, 1)
        act(cases, DiscardDlq, reason=f"reason {number}")
    acts = cases.ask(ListDlqActs, tenant="acme", limit=2)
    assert [one.begun.reason for one in acts] == ["reason 2", "reason 1"]
    assert cases.ask(ListDlqActs, tenant="other") == ()
    cases.refused(UnknownTenant, ListDlqActs, tenant="ghost")


def test_more_than_was_confirmed_is_refused_with_both_numbers() -> None:
    """Nothing is done, nothing recorded."""
    cases = UseCases()
    dead = some_dead(cases, 3)
    command = {"tenant": "acme", "confirmed": 2, "reason": "x"}
    refusal = cases.refused(CountChanged, RequeueDlq, **command)
    assert (refusal.confirmed, refusal.found) == (2, 3)
    assert "3 dead jobs match now, 2 were confirmed" in refusal.message
    assert all(status_of(cases, job) is JobStatus.DLQ for job in dead)
    assert cases.events(dlq_stream("acme")) == []


def test_who_dies_after_the_count_is_not_swept_along() -> None:
    """The count's `until` bounds the act."""
    cases = UseCases()
    early = some_dead(cases, 2)
    seen = count_dead(cases)
    late = some_dead(cases, 2)
    done = act(cases, confirmed=2, dead_to=seen.until)
    assert done.changed == 2
    assert [status_of(cases, job) for job in [*early, *late]] == [JobStatus.PENDING] * 2 + [JobStatus.DLQ] * 2


@pytest.mark.parametrize("command", [RequeueDlq, DiscardDlq])
def test_an_act_needs_a_reason_and_a_confirmed_count(command: type[Any]) -> None:
    """Without either nothing happens (R4.13)."""
    cases = UseCases()
    (dead,) = some_dead(cases, 1)
    cases.refused(ReasonRequired, command, tenant="acme", confirmed=1, reason=" ")
    assert cases.refused(InvalidInput, command, tenant="acme", reason="x").field == "confirmed"
    cases.refused(UnknownTenant, command, tenant="ghost", confirmed=1, reason="x")
    assert status_of(cases, dead) is JobStatus.DLQ and cases.events(dlq_stream("acme")) == []


def test_another_tenants_dead_stay_where_they_are() -> None:
    """A filter belongs to a tenant."""
    cases = UseCases()
    (ours,) = some_dead(cases, 1)
    (theirs,) = some_dead(cases, 1, tenant="other")
    assert act(cases, confirmed=10, dead_to=None).changed == 1
    assert status_of(cases, ours) is JobStatus.PENDING
    assert cases.ledger.queue.open_jobs("other", [theirs])[theirs].state.status is JobStatus.DLQ


def test_a_long_act_commits_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bounded number of jobs a commit, and a word after each."""
    monkeypatch.setattr(dlq_control, "BATCH", 2)
    cases = UseCases()
    some_dead(cases, 5)
    writes: list[int] = []
    cases.ledger.writer.add_listener(lambda batch, _outcomes: writes.append(len(batch)))
    told: list[DlqProgress] = []
    act(cases, progress=told.append)
    assert [size for size in writes if size > 1] == [2, 2]
    assert [progress.seen for progress in told] == [2, 4, 5]
    assert BATCH <= 500


# --- when others are faster ------------------------------------------------------------------------------------------


class StaleViews:
    """A list of dead jobs that stopped at a moment, as a projection that lags does."""

    def __init__(self, views: JobViews) -> None:
        self._page = views.dlq("acme", DlqFilter(), after=None, limit=500)
        self._summary = views.dlq_summary("acme", DlqFilter(), groups=5)

    def dlq(self, *_: object, **__: object) -> DlqPage:
        return self._page

    def dlq_summary(self, *_: object, **__: object) -> DlqSummary:
        return self._summary


class Interfering:
    """The ledger's writer, with somebody who does something before each batch of changes."""

    def __init__(self, cases: UseCases, before: Callable[[Sequence[Write]], list[Outcome] | None]) -> None:
        self.inner = cases.ledger.writer
        self.before = before
        self.batches = 0

    def submit(self, writes: Sequence[Write]) -> Future[list[Outcome]]:
        future: Future[list[Outcome]] = Future()
        self.batches += 1
        try:
            answer = self.before(writes)
            future.set_result(self.inner.write(writes) if answer is None else answer)
        except Exception as error:  # noqa: BLE001 - told through the future, as the port says
            future.set_exception(error)
        return future

    def write(self, writes: Sequence[Write]) -> list[Outcome]:
        return self.inner.write(writes)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self.inner, name)


class UnreadableJob:
    """A reader that cannot read one job's stream."""

    def __init__(self, cases: UseCases, unreadable: UUID) -> None:
        self.inner = cases.ledger.reader
        self.unreadable = unreadable

    def streams(self, tenant: str, originator_ids: Sequence[UUID]) -> dict[UUID, list[RecordedEvent]]:
        if self.unreadable in originator_ids:
            raise CorruptEvent("half of it is missing")
        return self.inner.streams(tenant, originator_ids)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self.inner, name)


def control(cases: UseCases, **ports: Any) -> None:  # noqa: ANN401
    """Let the acts of these cases go through other ports."""
    own = cases.ledger.ports
    dispatcher = Dispatcher(own.clock, own.identifiers)
    DlqControl(
        views=ports.get("views", own.views), reader=ports.get("reader", own.reader),
        writer=ports.get("writer", own.writer), tenants=KnownTenants(own.catalogue, own.clock),
        positions=Positions(own.reader), clock=own.clock,
    ).register(dispatcher)  # fmt: skip
    cases.dispatcher = dispatcher


def test_a_list_that_lags_touches_no_job_that_left() -> None:
    """Requeued, discarded, died anew: what the list still shows is skipped, the others are done."""
    cases = UseCases()
    requeued, discarded, anew, still = some_dead(cases, 4)
    stale = StaleViews(cases.ledger.ports.views)
    cases.ask(RequeueJob, tenant="acme", job=requeued, reason="x")
    cases.ask(DiscardJob, tenant="acme", job=discarded, reason="x")
    cases.ask(RequeueJob, tenant="acme", job=anew, reason="x")
    cases.ask(UpdateJobStatus, tenant="acme", job=anew, status="dlq", reason="again")
    histories = {job: cases.topics(job) for job in (requeued, discarded, anew)}
    control(cases, views=stale)
    done = cases.ask(RequeueDlq, tenant="acme", confirmed=4, reason="x")
    assert (done.changed, done.skipped, done.refused) == (1, 3, 0)
    assert status_of(cases, still) is JobStatus.PENDING
    assert {job: cases.topics(job) for job in histories} == histories


def test_the_same_act_twice_requeues_nobody_twice() -> None:
    """The guard decides, not the list."""
    cases = UseCases()
    dead = some_dead(cases, 3)
    stale = StaleViews(cases.ledger.ports.views)
    control(cases, views=stale)
    first, second = (cases.ask(RequeueDlq, tenant="acme", confirmed=3, reason="x") for _ in range(2))
    assert (first.changed, first.skipped, second.changed, second.skipped) == (3, 0, 0, 3)
    assert all(cases.topics(job).count("job.requeued") == 1 for job in dead)


class Undercounted:
    """A list to which rows come in between counting and reading it."""

    def __init__(self, views: JobViews, jobs: int) -> None:
        self.dlq = views.dlq
        self._summary = views.dlq_summary("acme", DlqFilter(), groups=1)._replace(jobs=jobs)

    def dlq_summary(self, *_: object, **__: object) -> DlqSummary:
        return self._summary


def test_never_more_jobs_than_were_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a list shows after it was counted."""
    monkeypatch.setattr(dlq_control, "BATCH", 2)
    cases = UseCases()
    dead = some_dead(cases, 5)
    control(cases, views=Undercounted(cases.ledger.ports.views, jobs=3))
    assert cases.ask(RequeueDlq, tenant="acme", confirmed=3, reason="x").changed == 3
    assert [status_of(cases, job) for job in dead].count(JobStatus.DLQ) == 2


def test_a_job_that_moves_on_between_reading_and_saving_is_decided_anew() -> None:
    """Somebody discards one just before the batch is saved: it is skipped, the others are requeued."""
    cases = UseCases()
    dead = some_dead(cases, 3)
    dispatcher = cases.dispatcher
    gone: list[UUID] = []

    def discard_one(writes: Sequence[Write]) -> None:
        if not gone:
            gone.append(dead[1])
            dispatcher.send(DiscardJob, actor=ACTOR, tenant="acme", job=dead[1], reason="faster").unwrap()

    writer = Interfering(cases, discard_one)
    control(cases, writer=writer)
    done = cases.ask(RequeueDlq, tenant="acme", confirmed=3, reason="x")
    assert (done.changed, done.skipped, done.refused) == (2, 1, 0)
    assert isinstance(cases.last_facts(dead[1]), JobDiscarded)


@pytest.mark.parametrize(
    ("status", "code"), [(WriteStatus.CONFLICT, "version_conflict"), (WriteStatus.BUSY, "ledger_busy")]
)
def test_a_job_that_never_holds_still_is_named(status: WriteStatus, code: str) -> None:
    """After a bounded number of tries it stays dead, with the reason; the others are done."""
    cases = UseCases()
    dead = some_dead(cases, 3)

    def hold_one(writes: Sequence[Write]) -> list[Outcome]:
        free = [write for write in writes if isinstance(write, ChangeJob) and write.job_id != dead[0]]
        written = dict(zip((write.job_id for write in free), cases.ledger.writer.write(free), strict=True))
        return [written.get(write.job_id, Outcome(status)) for write in writes if isinstance(write, ChangeJob)]

    writer = Interfering(cases, hold_one)
    control(cases, writer=writer)
    done = cases.ask(RequeueDlq, tenant="acme", confirmed=3, reason="x")
    assert (done.changed, done.skipped, done.refused) == (2, 0, 1)
    assert [(trouble.job_id, trouble.code) for trouble in done.troubles] == [(dead[0], code)]
    assert writer.batches == TRIES
    assert status_of(cases, dead[0]) is JobStatus.DLQ


def test_a_writer_that_is_busy_for_a_moment_is_asked_again() -> None:
    """`LedgerBusy` says that nothing was stored: trying again is safe."""
    cases = UseCases()
    some_dead(cases, 2)
    refusals = [LedgerBusy("not now")]

    def busy_once(writes: Sequence[Write]) -> None:
        if refusals:
            raise refusals.pop()

    control(cases, writer=Interfering(cases, busy_once))
    assert cases.ask(RequeueDlq, tenant="acme", confirmed=2, reason="x").changed == 2


def test_a_history_that_cannot_be_read_stops_only_its_own_job() -> None:
    """It is named, and stays dead."""
    cases = UseCases()
    dead = some_dead(cases, 5)
    control(cases, reader=UnreadableJob(cases, dead[3]))
    done = cases.ask(DiscardDlq, tenant="acme", confirmed=5, reason="x")
    assert (done.changed, done.refused) == (4, 1)
    assert (done.troubles[0].job_id, done.troubles[0].code) == (dead[3], "corrupt_event")


def test_troubles_are_named_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """All are counted, the first ones named."""
    monkeypatch.setattr(dlq_control, "TROUBLES_MAX", 2)
    cases = UseCases()
    some_dead(cases, 4)
    control(cases, writer=Interfering(cases, lambda writes: [Outcome(WriteStatus.BUSY)] * len(writes)))
    done = cases.ask(RequeueDlq, tenant="acme", confirmed=4, reason="x")
    assert (done.refused, len(done.troubles)) == (4, 2)
    assert TROUBLES_MAX >= 10


def test_an_act_that_breaks_off_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done by then is done and on record as unfinished; the error is raised."""
    monkeypatch.setattr(dlq_control, "BATCH", 2)
    cases = UseCases()
    dead = some_dead(cases, 5)
    writer = Interfering(cases, lambda writes: None)

    def fail_from_the_second(writes: Sequence[Write]) -> None:
        if writer.batches > 1:
            raise LedgerUnavailable("gone")

    writer.before = fail_from_the_second
    control(cases, writer=writer)
    with pytest.raises(LedgerUnavailable):
        cases.send(RequeueDlq, tenant="acme", confirmed=5, reason="x")
    ended = cases.events(dlq_stream("acme"))[-1].facts
    assert isinstance(ended, DlqBulkEnded)
    assert (ended.changed, ended.finished) == (2, False)
    assert sorted(str(status_of(cases, job)) for job in dead) == ["dlq"] * 3 + ["pending"] * 2


class InterruptedOnce(Future[list[Outcome]]):
    """Ctrl-C comes while somebody waits for it."""

    interrupted = False

    def result(self, timeout: float | None = None) -> list[Outcome]:
        if not self.interrupted:
            self.interrupted = True
            raise KeyboardInterrupt
        return super().result(timeout)


def test_an_interrupted_act_counts_the_batch_under_way() -> None:
    """It is stored all the same: the record says what really happened."""
    cases = UseCases()
    dead = some_dead(cases, 3)

    class Interrupting(Interfering):
        def submit(self, writes: Sequence[Write]) -> Future[list[Outcome]]:
            future = InterruptedOnce()
            future.set_result(self.inner.write(writes))
            return future

    control(cases, writer=Interrupting(cases, lambda writes: None))
    with pytest.raises(KeyboardInterrupt):
        cases.send(RequeueDlq, tenant="acme", confirmed=3, reason="x")
    ended = cases.events(dlq_stream("acme"))[-1].facts
    assert isinstance(ended, DlqBulkEnded)
    assert (ended.changed, ended.finished) == (3, False)
    assert all(status_of(cases, job) is JobStatus.PENDING for job in dead)


def test_two_acts_at_once_share_the_stream() -> None:
    """Whoever comes second takes the next version; both are on record with their ends."""
    cases = UseCases()
    some_dead(cases, 1)
    inner = cases.dispatcher
    others: list[int] = []

    class Faster(Interfering):
        def write(self, writes: Sequence[Write]) -> list[Outcome]:
            if isinstance(writes[0], AppendEvents) and not others:
                others.append(1)
                inner.send(RequeueDlq, actor=ACTOR, tenant="acme", confirmed=1, reason="faster").unwrap()
            return super().write(writes)

    control(cases, writer=Faster(cases, lambda writes: None))
    done = cases.ask(RequeueDlq, tenant="acme", confirmed=1, reason="slower")
    assert (done.changed, done.event_id) == (0, f"{dlq_stream('acme')}.3")
    cases.dispatcher = inner
    assert [one.begun.reason for one in cases.ask(ListDlqActs, tenant="acme")] == ["slower", "faster"]


# --- an act by its id ------------------------------------------------------------------------------------------------


def test_whoever_begins_an_act_is_told_its_id() -> None:
    """Before the first job is touched; by it the act is found, and what came of it."""
    cases = UseCases()
    (job,) = some_dead(cases, 1)
    told: list[tuple[str, JobStatus | None]] = []
    done = act(cases, begun=lambda name: told.append((name, status_of(cases, job))))
    assert told == [(done.event_id, JobStatus.DLQ)]
    found = cases.ask(GetDlqAct, tenant="acme", act=done.event_id)
    assert found == cases.ask(ListDlqActs, tenant="acme")[0]
    assert found.ended is not None and found.progress == DlqProgress(1, 1, 0, 0)
    assert found.last_seen_at == found.ended_at


def test_an_act_that_takes_long_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every few seconds it is on record how far it has come: who looks from elsewhere knows that it lives."""
    cases = UseCases()
    some_dead(cases, 3)
    monkeypatch.setattr(dlq_control, "BATCH", 1)
    seen: list[BulkActOfDlq] = []

    def a_slow_batch(_far: DlqProgress) -> None:
        cases.clock.advance(dlq_control.PROGRESS_SECONDS)
        seen.append(cases.ask(ListDlqActs, tenant="acme")[0])

    done = act(cases, progress=a_slow_batch)
    assert [one.progress and one.progress.changed for one in seen] == [None, 1, 2]
    assert all(one.ended is None and one.event_id == done.event_id for one in seen)
    topics = [event.topic for event in cases.events(dlq_stream("acme"))]
    assert topics == ["dlq.bulk_begun", *3 * [DlqBulkProgressed.topic], "dlq.bulk_ended"]


def test_an_act_that_fell_silent_has_died(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an end, and without a word for a while; one that ended has not."""
    cases = UseCases()
    some_dead(cases, 2)
    monkeypatch.setattr(dlq_control, "BATCH", 1)
    seen: list[tuple[bool, bool]] = []

    def look(_far: DlqProgress) -> None:
        (found,) = cases.ask(ListDlqActs, tenant="acme")
        assert found.last_seen_at is not None
        silence = timedelta(seconds=SILENT_SECONDS)
        seen.append((found.has_died(found.last_seen_at + silence / 2), found.has_died(found.last_seen_at + silence)))

    act(cases, progress=look)
    (ended,) = cases.ask(ListDlqActs, tenant="acme")
    assert seen == 2 * [(False, True)]
    assert not ended.has_died(ended.begun_at + timedelta(days=1))


def test_who_follows_an_act_may_break_it_off() -> None:
    """What the callback raises ends it; the record says that it was not finished."""
    cases = UseCases()
    some_dead(cases, 1)

    class Enough(Exception):
        """Stop."""

    def stop(_far: DlqProgress) -> None:
        raise Enough

    with pytest.raises(Enough):
        act(cases, progress=stop)
    ended = cases.events(dlq_stream("acme"))[-1].facts
    assert isinstance(ended, DlqBulkEnded) and (ended.changed, ended.finished) == (1, False)


def test_an_act_of_nobody_is_not_found() -> None:
    """Another tenant's, one that never was, an id that is none, one about another queue than is named."""
    cases = UseCases()
    some_dead(cases, 1)
    done = act(cases, queue="default")
    assert done.event_id is not None
    stream, _, _ = done.event_id.rpartition(".")
    for name in (f"{stream}.2", f"{stream}.7", f"{stream}.0", f"{stream}.01", "x", f"{dlq_stream('other')}.1"):
        cases.refused(NotFound, GetDlqAct, tenant="acme", act=name)
    cases.refused(NotFound, GetDlqAct, tenant="acme", act=done.event_id, queue="mail")
    cases.refused(UnknownTenant, GetDlqAct, tenant="ghost", act=done.event_id)
    assert cases.ask(GetDlqAct, tenant="acme", act=done.event_id, queue="default").event_id == done.event_id
