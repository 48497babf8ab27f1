"""Going without the event that begins a row means going without the row: its later events are left out with it."""

from __future__ import annotations

from functools import partial
from uuid import UUID

import pytest

from jobledger.domain.job import JobProgressed
from jobledger.projections.catalogue import ALL_PROJECTIONS
from jobledger.projections.dlq import DLQ
from jobledger.projections.parking import EventId, without_events
from jobledger.projections.projection import Projection
from jobledger.projections.rebuild import Options, Rebuilding, RebuildPorts
from jobledger.projections.retrying import Retried, Retrying
from jobledger.projections.runner import Runner
from jobledger.projections.shadow import RebuildState
from jobledger.projections.tenant_jobs import TENANT_JOBS
from tests.support.given import NOW, discarded, dispatched, sent_to_dlq
from tests.support.poison import poisoned
from tests.support.seen import JOB, MemorySource, MemoryStore, fold_all, seen
from tests.support.shadows import MemoryRecords

from .shadows_support import begin
from .views_support import Opened, ReadSide

run = partial(Opened.run, batch_size=3)
"""Bring projections up to date, in small batches."""


def begun(read_side: ReadSide) -> UUID:
    """A job that was dispatched and started."""
    job = read_side.ledger.dispatch()
    assert read_side.ledger.claim_one().job_id == job
    return job


def go_on(read_side: ReadSide, job: UUID) -> None:
    """The job reports progress, twice."""
    ledger = read_side.ledger
    for fraction in (0.25, 0.75):
        state = ledger.open_job(job)
        progress = JobProgressed(
            job_type="invoice.send", queue=state.state.queue, persona=None, attempt=1, fraction=fraction
        )  # fmt: skip
        assert ledger.change(state, progress).position is not None


def assert_without(own: Opened, projection: Projection, *skipped: EventId) -> None:
    """Nothing is parked, and the view is what all events but those come to."""
    events = own.events()
    assert own.store.parked(limit=9) == []
    left = without_events(projection, frozenset(skipped))
    assert own.stored_rows(projection, events) == fold_all(left, events)


def test_what_waits_behind_a_birth_is_skipped_with_it(read_side: ReadSide) -> None:
    """It has no row to change. What comes later is left out, too, tried once by each process, and never parked."""
    job, other = begun(read_side), begun(read_side)
    bad = poisoned(TENANT_JOBS, {(job, 1)})
    run(read_side.own, bad)
    taking = Retrying(read_side.own.store, read_side.own.source, bad, skipped=frozenset({(job, 1)}))
    assert taking.retry((job,)) == Retried(taken=0, skipped=2)
    for _ in range(2):
        go_on(read_side, job)
        go_on(read_side, other)
        run(read_side.own, bad, skipped=[(job, 1)])
    assert_without(read_side.own, TENANT_JOBS, (job, 1))
    rows = read_side.own.stored_rows(TENANT_JOBS, read_side.own.events())
    assert set(rows) == {(other,)} and rows[other,]["progress"] == 0.75


def test_a_runner_learns_of_a_decision_while_it_runs(read_side: ReadSide) -> None:
    """It asks when it could not take an event; who does not know yet parks it, and a retry leaves it out."""
    job, own, decided = begun(read_side), read_side.own, set[EventId]()
    bad = poisoned(TENANT_JOBS, {(job, 1)})
    runner = Runner(own.store, own.source, [bad], skipped=lambda _: frozenset(decided))
    runner.run_until_current()
    assert len(own.store.parked(limit=9)) == 2
    decided.add((job, 1))
    Retrying(own.store, own.source, bad, skipped=frozenset(decided)).retry_all()
    go_on(read_side, job)
    runner.run_until_current()
    runner.stop()
    assert_without(own, TENANT_JOBS, (job, 1))


def test_poison_behind_a_skipped_event_is_still_poison(read_side: ReadSide) -> None:
    """Where there is a row, an event that its fold cannot take is parked, whatever was skipped before it."""
    job = begun(read_side)
    bad = poisoned(TENANT_JOBS, {(job, 2), (job, 4)})
    run(read_side.own, bad)
    Retrying(read_side.own.store, read_side.own.source, bad, skipped=frozenset({(job, 2)})).retry_all()
    go_on(read_side, job)
    run(read_side.own, bad, skipped=[(job, 2)])
    assert [one.originator_version for one in read_side.own.store.parked(limit=9)] == [4]


BY_STREAM = [projection for projection in ALL_PROJECTIONS if projection.by_stream]


@pytest.mark.parametrize("projection", BY_STREAM, ids=lambda projection: projection.name)
def test_a_rebuild_leaves_them_out_and_brings_them_back(read_side: ReadSide, projection: Projection) -> None:
    """It parks none of them, and finds the view as it is. Without the decision, and with a corrected fold, the next
    one brings the whole row."""
    own, job = read_side.own, begun(read_side)
    begun(read_side)
    skipped = frozenset({(job, 1)})
    bad = poisoned(projection, skipped)
    run(own, bad)
    Retrying(own.store, own.source, bad, skipped=skipped).retry_all()
    go_on(read_side, job)
    run(own, bad, skipped=sorted(skipped))
    assert rebuild(own, bad, skipped) == 0
    assert own.store.parked(limit=9) == []
    rebuild(own, projection, frozenset())
    events = own.events()
    assert own.stored_rows(projection, events) == fold_all(projection, events)


def rebuild(own: Opened, projection: Projection, skipped: frozenset[EventId]) -> int:
    """Rebuild a view; how many rows differed."""
    ports = RebuildPorts(own.shadows, own.store, own.source, MemoryRecords(), lambda: NOW, lambda _: None)
    rebuilding = Rebuilding(ports, projection, begin(own, projection), Options(skipped=skipped, stream_events=2))
    outcome = rebuilding.run()
    rebuilding.close()
    assert outcome.rebuild.state is RebuildState.SWAPPED and outcome.end is not None
    return outcome.end.comparison.differing


def test_a_later_birth_begins_a_row_again() -> None:
    """A job that dies again is in the list of dead jobs, though its first death was skipped."""
    lives = [dispatched(), sent_to_dlq(), discarded(), sent_to_dlq()]
    events = [seen(facts, number, version=number) for number, facts in enumerate(lives, start=1)]
    store, skipped = MemoryStore(), frozenset({(JOB, 2)})
    bad = poisoned(DLQ, skipped)
    Runner(store, MemorySource(events[:3]), [bad]).run_until_current()
    Retrying(store, MemorySource(events), bad, skipped=skipped).retry_all()
    Runner(store, MemorySource(events), [bad], skipped=lambda _: skipped).run_until_current()
    assert store.waiting == {} and store.tables["dlq_jobs"] == fold_all(DLQ, events[3:])
