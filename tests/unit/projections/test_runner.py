"""The runner: every event once, in batches, whatever dies when and whoever else runs."""

from __future__ import annotations

from threading import Event

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from jobledger.domain.errors import LedgerUnavailable, SchemaOutdated, SchemaTooNew, UnknownTopic
from jobledger.projections.batch import Applied
from jobledger.projections.catalogue import ALL_PROJECTIONS
from jobledger.projections.dlq import DLQ
from jobledger.projections.ports import Checkpoint, SeenBatch, Unreadable
from jobledger.projections.projection import SeenEvent
from jobledger.projections.runner import Observation, Pace, Runner
from jobledger.projections.tenant_jobs import TENANT_JOBS
from tests.support.given import completed, dispatched, failed, sent_to_dlq, started
from tests.support.seen import (
    Cut,
    Cutting,
    MemorySource,
    MemoryStore,
    as_seen,
    fold_all,
    histories,
    moves,
    seen,
)

HISTORY = [
    seen(facts, number * 10, version=number)
    for number, facts in enumerate([dispatched(), started(), failed(), sent_to_dlq()], start=1)
]


def assert_views(store: MemoryStore, events: list[SeenEvent]) -> None:
    """Each view is what folding everything, event by event, comes to."""
    for projection in ALL_PROJECTIONS:
        assert store.tables.get(projection.name, {}) == fold_all(projection, events)


class CountingSource(MemorySource):
    """Counts how often it was read."""

    reads = 0

    def read_after(
        self, position: int, *, limit: int, without: frozenset[str] = frozenset(), until: int | None = None
    ) -> SeenBatch:
        """See the port."""
        self.reads += 1
        return super().read_after(position, limit=limit, without=without, until=until)


@settings(max_examples=100, deadline=None)
@for_all(chosen=moves, batch_size=st.integers(1, 20))
def test_batches_come_to_what_single_events_come_to(chosen: list[tuple[int, str, float]], batch_size: int) -> None:
    """However the events are cut into batches, the views are the fold of all of them."""
    events, store = as_seen(histories(chosen)), MemoryStore()
    runner = Runner(store, MemorySource(events), ALL_PROJECTIONS, batch_size=batch_size)
    runner.run_until_current()
    runner.stop()
    assert_views(store, events)


@settings(max_examples=60, deadline=None)
@for_all(chosen=moves, turns=st.lists(st.integers(0, 2), max_size=30), batch_size=st.integers(1, 7))
def test_several_runners_apply_nothing_twice(
    chosen: list[tuple[int, str, float]], turns: list[int], batch_size: int
) -> None:
    """Three runners that take turns in any order, each with stale knowledge of the others, apply each event once."""
    events, store = as_seen(histories(chosen)), MemoryStore()
    source = MemorySource(events)
    runners = [Runner(store, source, ALL_PROJECTIONS, batch_size=batch_size) for _ in range(3)]
    for turn in turns:
        runners[turn].run_once()
    for runner in runners:
        runner.run_until_current()
        runner.stop()
    assert_views(store, events)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_runner_killed_at_any_call_loses_and_repeats_nothing(after: bool) -> None:
    """Killed before or after each call to the store in turn, the next runner brings the views to the same rows."""
    events = as_seen(histories([(0, "start", 0), (0, "start", 0), (1, "start", 0), (0, "fail", 0.5), (0, "start", 0)]))
    at, died = 0, True
    while died:
        at, store = at + 1, MemoryStore()
        runner = Runner(Cutting(store, at, after=after), MemorySource(events), ALL_PROJECTIONS, batch_size=2)
        try:
            runner.run_until_current()
            died = False
        except Cut:
            pass
        runner.stop()
        successor = Runner(store, MemorySource(events), ALL_PROJECTIONS, batch_size=2)
        successor.run_until_current()
        successor.stop()
        assert_views(store, events)
    assert at > 20, "the store is called that often at least"


def test_the_checkpoint_is_the_last_position_read() -> None:
    """Events that no projection wants move the checkpoint too; its time is that of the last event applied."""
    store, source = MemoryStore(), MemorySource(HISTORY)
    source.horizon = 4_095
    Runner(store, source, ALL_PROJECTIONS).run_until_current()
    assert store.stored["tenant_jobs"] == Checkpoint(4_095, 1, HISTORY[-1].recorded_at)


def test_rows_of_new_jobs_are_not_loaded() -> None:
    """Only jobs that were born in an earlier batch are looked up."""
    store = MemoryStore()
    runner = Runner(store, MemorySource(HISTORY), [TENANT_JOBS], batch_size=2)
    runner.run_once()
    assert store.loaded == []
    runner.run_until_current()
    runner.stop()
    assert store.loaded == [(HISTORY[0].originator_id,)]


def test_one_scan_feeds_all_projections_that_stand_together() -> None:
    """Three projections at one position read the ledger once; one that fell behind reads up to them and joins."""
    store, source = MemoryStore(), CountingSource(HISTORY)
    Runner(store, source, ALL_PROJECTIONS).run_until_current()
    assert source.reads == 1
    late = MemoryStore()
    Runner(late, MemorySource(HISTORY[:2]), [TENANT_JOBS]).run_until_current()
    source.reads = 0
    runner = Runner(late, source, ALL_PROJECTIONS)
    runner.run_until_current()  # the others catch up to where tenant_jobs stood, which goes on, and then to it
    assert source.reads == 3
    assert_views(late, HISTORY)


class NewerSource(MemorySource):
    """A ledger whose fourth event is of a topic that a newer program writes."""

    def read_after(
        self, position: int, *, limit: int, without: frozenset[str] = frozenset(), until: int | None = None
    ) -> SeenBatch:
        """See the port."""
        batch = super().read_after(position, limit=limit, without=without, until=until)
        events = [event for event in batch.events if event.position < 40]
        unreadable = Unreadable(40, UnknownTopic("the ledger holds 'job.praised' events"))
        return SeenBatch(events, events[-1].position if events else position, unreadable=unreadable)


def test_an_event_newer_than_the_program_ends_its_work() -> None:
    """Everything in front of it is applied, nothing is parked or skipped, and the runner gives up."""
    store = MemoryStore()
    runner = Runner(store, NewerSource(HISTORY), ALL_PROJECTIONS)
    runner.run_until_current()
    assert store.stored["tenant_jobs"].position == 30
    assert {type(error) for error in runner.failures.values()} == {UnknownTopic}
    assert runner.run_once() is False


@pytest.mark.parametrize(("stored", "error"), [(2, SchemaTooNew), (0, SchemaOutdated)])
def test_rows_of_another_version_of_the_fold_are_left_alone(stored: int, error: type[Exception]) -> None:
    """A view written by another version stops its projection: upgrade, or rebuild it."""
    store = MemoryStore()
    store.stored["tenant_jobs"] = Checkpoint(20, stored)
    runner = Runner(store, MemorySource(HISTORY), [TENANT_JOBS])
    runner.run_until_current()
    assert type(runner.failures["tenant_jobs"]) is error
    assert store.stored["tenant_jobs"].position == 20


def test_a_view_that_was_rebuilt_is_taken_up_again() -> None:
    """Of a newer program that runs meanwhile: nobody has to start it again. Until then it stands still."""
    store = MemoryStore()
    store.stored["tenant_jobs"] = Checkpoint(20, 1)
    newer = TENANT_JOBS._replace(version=2)
    runner = Runner(store, MemorySource(HISTORY), [newer, DLQ], pace=Pace(resume_seconds=0))
    runner.run_until_current()
    runner.run_until_current()
    assert set(runner.failures) == {"tenant_jobs"} and store.stored["dlq_jobs"].position == HISTORY[-1].position
    store.tables["tenant_jobs"] = fold_all(newer, HISTORY[:2])
    store.stored["tenant_jobs"] = Checkpoint(20, 2)
    runner.run_until_current()
    assert runner.failures == {} and runner.position("tenant_jobs") == HISTORY[-1].position
    assert store.tables["tenant_jobs"] == fold_all(newer, HISTORY)


def test_another_owner_is_left_alone_and_succeeded() -> None:
    """While another runner owns the projections nothing is applied; when it is gone the next round takes over."""
    store = MemoryStore()
    runner = Runner(store, MemorySource(HISTORY), ALL_PROJECTIONS)
    store.owned_elsewhere = True
    assert runner.run_once() is False
    assert store.tables == {}
    store.owned_elsewhere = False
    runner.run_until_current()
    assert_views(store, HISTORY)


class Flaky(MemorySource):
    """A source whose database is away at first."""

    away = True

    def head(self) -> int:
        """See the port."""
        if self.away:
            self.away = False
            raise LedgerUnavailable("the server restarts")
        return super().head()


def test_the_thread_outlives_a_database_that_goes_away() -> None:
    """Started once, the runner retries, catches up, wakes whoever waits for a position, and stops when asked."""
    store, applied = MemoryStore(), Event()

    def observe(observed: Observation) -> None:
        if isinstance(observed, Applied):
            applied.set()

    runner = Runner(store, Flaky(HISTORY), ALL_PROJECTIONS, observe=observe)
    runner.start()
    try:
        assert applied.wait(10)
        assert runner.wait_for(HISTORY[-1].position, 10)
    finally:
        runner.stop()
    assert runner.position("dlq_jobs") == HISTORY[-1].position
    assert_views(store, HISTORY)


def test_waiting_for_what_never_comes_ends() -> None:
    """A position that nobody writes is not reached; the caller is told after the timeout."""
    runner = Runner(MemoryStore(), MemorySource(HISTORY), ALL_PROJECTIONS)
    assert runner.wait_for(1, 0.01) is False


def test_news_are_applied_while_the_thread_runs() -> None:
    """What is appended later arrives without a hint, and with one."""
    source = MemorySource(HISTORY[:1])
    store = MemoryStore()
    runner = Runner(store, source, ALL_PROJECTIONS)
    runner.start()
    try:
        assert runner.wait_for(HISTORY[0].position, 10)
        source.events.append(HISTORY[1])
        assert runner.wait_for(HISTORY[1].position, 10)
        source.events += HISTORY[2:]
        runner.hint()
        assert runner.wait_for(HISTORY[-1].position, 10)
    finally:
        runner.stop()
    assert_views(store, HISTORY)


def test_completing_in_the_same_batch_writes_one_row() -> None:
    """Events of one job are folded together: its row is saved once, as it is at the end."""
    events = [
        seen(facts, number, version=number)
        for number, facts in enumerate([dispatched(), started(), completed()], start=1)
    ]
    store = MemoryStore()
    Runner(store, MemorySource(events), [TENANT_JOBS]).run_until_current()
    (row,) = store.tables["tenant_jobs"].values()
    assert row["status"] == "completed" and store.loaded == []
