"""The read side on both engines: what runners store, and what the lists answer."""

from __future__ import annotations

from contextlib import closing
from threading import Event, Thread
from time import sleep
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as for_all
from hypothesis import strategies as st

from jobledger.application.ports import JobFilter, PageKey, ViewName
from jobledger.domain import job as jobs
from jobledger.domain.dlq import DlqFilter
from jobledger.domain.errors import UnknownTopic
from jobledger.domain.job import AttemptError, JobStatus, Lease, Measured
from jobledger.projections.beginning import Wanted, begin_or_join
from jobledger.projections.catalogue import ALL_PROJECTIONS, PROJECTIONS
from jobledger.projections.ports import Changes, Checkpoint, CheckpointMoved, ViewStore
from jobledger.projections.rebuild import Options, Rebuilding, RebuildPorts
from jobledger.projections.shadow import Purpose, Scope
from jobledger.projections.tenant_jobs import TENANT_JOBS
from tests.support.given import NOW
from tests.support.seen import Cut, Cutting, histories, moves
from tests.support.shadows import MemoryRecords

from .support import job_id
from .views_support import ReadSide


def fail_for_good(read_side: ReadSide, message: str = "it broke") -> UUID:
    """Claim the only job that is ready and send it to the DLQ; its id."""
    job = read_side.ledger.claim_one()
    lease = Lease("w1", job.state.attempt)
    error = AttemptError("Broken", message, "f", dlq_reason="unrecoverable")
    facts = jobs.fail(job.state, lease, error, now=NOW, jitter=0, measured=Measured())
    assert read_side.ledger.change(job, *facts, lease=lease).position is not None
    return job.job_id


# --- what runners store ----------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@for_all(chosen=moves, batch_size=st.integers(1, 30))
def test_tables_are_the_fold_of_the_ledger(
    read_side: ReadSide, chosen: list[tuple[int, str, float]], batch_size: int
) -> None:
    """Random histories of several jobs, in batches of any size: each table is the fold of the whole ledger."""
    read_side.append(histories(chosen, [job_id() for _ in range(6)]))
    read_side.own.project(batch_size)
    read_side.own.assert_views_are_the_fold()


def test_two_runners_at_once_apply_nothing_twice(read_side: ReadSide) -> None:
    """Two processes project while a third appends: afterwards each table is the fold of the whole ledger."""
    done = Event()
    others = [read_side.open_again() for _ in range(2)]

    def project(which: int) -> None:
        runner = others[which].runner(batch_size=3)
        while not done.is_set():
            runner.run_once()
        runner.run_until_current()
        runner.stop()
        assert runner.failures == {}

    threads = [Thread(target=project, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    for number in range(40):
        read_side.ledger.dispatch(persona="bot" if number % 2 else None)
        if number % 3 == 0:
            read_side.ledger.complete(read_side.ledger.claim_one())
    done.set()
    for thread in threads:
        thread.join()
    read_side.own.project()
    read_side.own.assert_views_are_the_fold()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_runner_cut_off_at_any_statement_loses_and_repeats_nothing(read_side: ReadSide, after: bool) -> None:
    """Cut off before or after each call to the store in turn, while jobs go on: nothing is skipped or repeated."""
    at, died = 0, True
    read_side.ledger.dispatch(persona="bot")
    while died:
        at += 1
        read_side.ledger.dispatch()
        fail_for_good(read_side)
        runner = read_side.own.runner(batch_size=3, store=Cutting(read_side.own.store, at, after=after))
        try:
            runner.run_until_current()
            died = False
        except Cut:
            pass
        runner.stop()
    assert at > 10
    read_side.own.project(batch_size=3)
    read_side.own.assert_views_are_the_fold()


def test_a_checkpoint_that_moved_stores_nothing(read_side: ReadSide) -> None:
    """Compare-and-set: rows folded from another position than the view's are refused with everything beside them."""
    read_side.ledger.dispatch()
    read_side.own.project()
    store, before = read_side.own.store, read_side.own.store.checkpoints()["tenant_jobs"]
    with pytest.raises(CheckpointMoved):
        _save_from(store, Checkpoint(before.position - 1, 1))
    assert store.checkpoints()["tenant_jobs"] == before
    assert store.checkpoints()["dlq_jobs"].position == before.position


def _save_from(store: ViewStore, stale: Checkpoint) -> None:
    with store.begin((TENANT_JOBS,)) as transaction:
        assert transaction is not None
        transaction.reset(ALL_PROJECTIONS[2])
        transaction.save(TENANT_JOBS, Changes(), stale, stale._replace(position=stale.position + 10))


@pytest.mark.parametrize("name", [projection.name for projection in ALL_PROJECTIONS])
def test_a_rebuild_brings_back_what_was_lost(read_side: ReadSide, name: str) -> None:
    """Every view, lost as a whole, is that of the ledger again, though jobs went on meanwhile."""
    projection, own = PROJECTIONS[name], read_side.own
    for _ in range(5):
        read_side.ledger.dispatch(persona="bot")
    fail_for_good(read_side)
    own.project()
    with own.store.begin((projection,)) as transaction:
        assert transaction is not None
        transaction.reset(projection)
    assert own.count_rows(name) == 0
    ports = RebuildPorts(
        own.shadows, own.store, own.source, MemoryRecords(), lambda: NOW, sleep
    )  # fmt: skip
    joined = begin_or_join(ports, Wanted(uuid4(), projection, Purpose.REBUILD, Scope(), "ana", "a drill"))
    read_side.ledger.dispatch(persona="bot")
    with closing(Rebuilding(ports, projection, joined.rebuild, Options(stream_events=2, batch_events=2))) as rebuilding:
        outcome = rebuilding.run()
    assert outcome.end is not None and outcome.end.swapped
    for _ in range(2):  # it joins the others where they were, and goes on with them
        own.project()
    own.assert_views_are_the_fold()


def test_an_event_newer_than_the_program_is_left_to_a_newer_one(read_side: ReadSide) -> None:
    """Views stand in front of an event of an unknown topic, although nobody here wants it; nothing is skipped."""
    first, newer, _ = (read_side.ledger.dispatch() for _ in range(3))
    read_side.praise(newer)
    runner = read_side.own.runner()
    runner.run_until_current()
    runner.stop()
    assert {type(error) for error in runner.failures.values()} == {UnknownTopic}
    rows = read_side.own.views.tenant_jobs("acme", JobFilter(), after=None, limit=9).rows
    assert [row.job_id for row in rows] == [first]


def test_the_tables_are_what_the_projections_say(read_side: ReadSide) -> None:
    """Columns, their order, null rules and keys of the migrations are those of the projections."""
    for projection in ALL_PROJECTIONS:
        expected = {column.name: (column.nullable, column.key) for column in projection.columns}
        assert read_side.own.columns(projection.name) == expected


# --- what the lists answer -------------------------------------------------------------------------------------------


def test_whoever_waits_names_views_that_there_are() -> None:
    """The application knows the names of the projections, and no others."""
    assert set(ViewName) == PROJECTIONS.keys()


def test_a_dispatched_job_is_listed_once_it_is_projected(read_side: ReadSide) -> None:
    """Nothing before, a full row after; `wait_for` tells which."""
    outcome_id = read_side.ledger.dispatch(persona="bot", priority=5)
    views, head = read_side.own.views, read_side.own.source.head()
    assert views.tenant_jobs("acme", JobFilter(), after=None, limit=10).rows == ()
    assert views.wait_for(head, 0.01) is False
    read_side.own.project()
    assert views.wait_for(head, 0) is True
    (row,) = views.tenant_jobs("acme", JobFilter(), after=None, limit=10).rows
    assert (row.job_id, row.tenant, row.persona, row.status, row.priority, row.kind) == (
        outcome_id, "acme", "bot", JobStatus.PENDING, 5, "work",
    )  # fmt: skip
    (event,) = read_side.ledger.reader.stream("acme", outcome_id)
    assert row.created_at == row.updated_at == event.recorded_at
    assert views.persona_jobs("acme", "bot", JobFilter(), after=None, limit=10).rows == (row,)


def test_waiting_readers_are_woken(read_side: ReadSide) -> None:
    """A reader that waits for a position goes on when a runner, started by another, has applied it."""
    read_side.ledger.dispatch()
    head = read_side.own.source.head()
    runner = read_side.open_again().runner()
    runner.start()
    try:
        assert read_side.own.views.wait_for(head, 10)
    finally:
        runner.stop()


def test_pages_hold_every_job_once_newest_first(read_side: ReadSide) -> None:
    """Page by page, with jobs dispatched in between, no row is repeated or left out."""
    ids = [read_side.ledger.dispatch(persona="bot") for _ in range(7)]
    read_side.own.project()
    listed: list[UUID] = []
    key: PageKey | None = None
    for size in (2, 2, 2, 2):
        page = read_side.own.views.persona_jobs("acme", "bot", JobFilter(), after=key, limit=size)
        listed += [row.job_id for row in page.rows]
        key = page.next
        read_side.ledger.dispatch(persona="bot")
        read_side.own.project()
    assert key is None
    rows = {row.job_id: row for row in read_side.own.views.tenant_jobs("acme", JobFilter(), after=None, limit=99).rows}
    assert sorted(listed) == sorted(ids)
    assert listed == sorted(listed, key=lambda job: (rows[job].created_at, job), reverse=True)


def test_each_filter_finds_its_jobs(read_side: ReadSide) -> None:
    """Status, failed, type, kind, queue and time, alone and together, in both lists."""
    ledger, views = read_side.ledger, read_side.own.views
    dead = ledger.dispatch(persona="bot")
    fail_for_good(read_side)
    plain = ledger.dispatch(persona="bot")
    other = ledger.dispatch(persona="bot", job_type="report.make", queue="reports", kind="system")
    read_side.own.project()

    def found(**fields: object) -> set[UUID]:
        where = JobFilter(**fields)  # type: ignore[arg-type]
        tenant = views.tenant_jobs("acme", where, after=None, limit=10).rows
        assert views.persona_jobs("acme", "bot", where, after=None, limit=10).rows == tenant
        return {row.job_id for row in tenant}

    born = {row.job_id: row.created_at for row in views.tenant_jobs("acme", JobFilter(), after=None, limit=10).rows}
    assert found(status=JobStatus.DLQ) == {dead}
    assert found(status=JobStatus.COMPLETED) == set()
    assert found(failed=True) == {dead}
    assert found(failed=False) == {plain, other}
    assert found(job_type="report.make") == {other}
    assert found(kind="system") == {other}
    assert found(queue="reports") == {other}
    assert found(status=JobStatus.PENDING, queue="default", kind="work", job_type="invoice.send") == {plain}
    assert found(failed=True, status=JobStatus.PENDING) == set()
    assert found(created_from=born[plain]) == {plain, other}
    assert found(created_to=born[plain]) == {dead}
    assert found(created_from=born[dead], created_to=born[other], failed=False) == {plain}


def test_the_dlq_lists_the_dead_by_their_death(read_side: ReadSide) -> None:
    """Most recently dead first, with reason and error, in pages; its times are those of death."""
    ids: list[UUID] = []
    for message in ("first", "second", "third"):
        read_side.ledger.dispatch()
        ids.append(fail_for_good(read_side, message))
    read_side.own.project()
    views = read_side.own.views
    page = views.dlq("acme", DlqFilter(), after=None, limit=2)
    assert [row.job_id for row in page.rows] == [ids[2], ids[1]]
    assert (page.rows[0].reason, page.rows[0].error_message) == ("unrecoverable", "third")
    rest = views.dlq("acme", DlqFilter(job_type="invoice.send"), after=page.next, limit=2)
    assert [row.job_id for row in rest.rows] == [ids[0]] and rest.next is None
    since = page.rows[1].dead_at
    assert len(views.dlq("acme", DlqFilter(dead_from=since), after=None, limit=9).rows) == 2
    assert len(views.dlq("acme", DlqFilter(dead_to=since), after=None, limit=9).rows) == 1
    assert views.dlq("acme", DlqFilter(queue="other"), after=None, limit=9).rows == ()


def test_lists_never_show_another_tenant(read_side: ReadSide) -> None:
    """The tenant that is asked for is the only one that answers, by any query."""
    foreign = read_side.ledger.dispatch(tenant="other", persona="bot")
    fail_for_good(read_side)
    read_side.own.project()
    views = read_side.own.views
    assert views.tenant_jobs("acme", JobFilter(), after=None, limit=10).rows == ()
    assert views.persona_jobs("acme", "bot", JobFilter(), after=None, limit=10).rows == ()
    assert views.dlq("acme", DlqFilter(), after=None, limit=10).rows == ()
    assert views.find_by_short_id("acme", foreign.hex[-8:]) == []
    assert views.find_by_short_id("other", foreign.hex[-8:]) == [foreign]


def test_short_ids_are_found_before_and_after_projecting(read_side: ReadSide) -> None:
    """The last 8 characters, or more of them, dashes or not; from the queue while the list does not know the job."""
    job = read_side.ledger.dispatch()
    short, long = job.hex[-8:], str(job)[-14:].upper()
    views = read_side.own.views
    for _ in range(2):
        assert views.find_by_short_id("acme", short) == [job]
        assert views.find_by_short_id("acme", long) == [job]
        assert views.find_by_short_id("acme", "0" * 8) == []
        assert views.find_by_short_id("acme", short[1:]) == []
        assert views.find_by_short_id("acme", "%' OR 1=1") == []
        read_side.own.project()
    late = read_side.ledger.dispatch()
    assert views.find_by_short_id("acme", late.hex[-8:]) == [late]


def test_lists_say_how_fresh_they_are(read_side: ReadSide) -> None:
    """Position and time of the last event applied, beside where the ledger stands now."""
    views = read_side.own.views
    job = read_side.ledger.dispatch()
    before = views.tenant_jobs("acme", JobFilter(), after=None, limit=1).freshness
    assert before.position == 0 and before.recorded_at is None and before.head > 0
    read_side.own.project()
    after = views.dlq("acme", DlqFilter(), after=None, limit=1).freshness
    (event,) = read_side.ledger.reader.stream("acme", job)
    assert after.position >= event.position and after.head >= after.position
    assert after.recorded_at == event.recorded_at
