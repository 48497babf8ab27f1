"""Poisoned events on both engines: parked with what follows for their key, retried, skipped, whoever dies when."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from threading import Event, Thread
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as for_all
from hypothesis import strategies as st

from jobledger.domain.job import JobProgressed
from jobledger.projections.catalogue import ALL_PROJECTIONS
from jobledger.projections.parking import without_events
from jobledger.projections.persona_jobs import PERSONA_JOBS
from jobledger.projections.ports import Checkpoint, CheckpointMoved, Key, Parked
from jobledger.projections.projection import Projection
from jobledger.projections.retrying import Retried, Retrying
from jobledger.projections.runner import Runner
from jobledger.projections.tenant_jobs import TENANT_JOBS
from tests.support.poison import fold_around, poisoned
from tests.support.seen import Cut, Cutting, fold_all, histories, moves

from .support import LedgerUnderTest, job_id
from .views_support import Opened, ReadSide

MANY = 100_000
WAITING, WRITTEN_AT_ONCE = 2_000, 500

run = partial(Opened.run, batch_size=3)
"""Bring projections up to date, in small batches."""


def retrying(own: Opened, projection: Projection, *skipped: tuple[UUID, int], page_events: int = 2) -> Retrying:
    """What takes parked events, a few in one transaction."""
    return Retrying(own.store, own.source, projection, skipped=frozenset(skipped), page_events=page_events)


def parked_of(own: Opened, projection: Projection) -> dict[tuple[Key, int], bool]:
    """What is parked of a projection, as `fold_around` tells it."""
    return {(one.key, one.position): one.error is not None for one in own.store.parked(projection.name, limit=MANY)}


def assert_around(own: Opened, *projections: Projection) -> None:
    """Each view is what folding around the poison comes to, and all that is missing in it is parked."""
    events = own.events()
    for projection in projections:
        expected = fold_around(projection, events)
        assert own.stored_rows(projection, events) == expected.rows, projection.name
        assert parked_of(own, projection) == expected.parked, projection.name
        failed = sum(expected.parked.values())
        counts = own.store.parked_counts().get(projection.name, (0, 0))
        assert counts == (failed, len(expected.parked) - failed)


# --- parking ---------------------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@for_all(chosen=moves, batch_size=st.integers(1, 30), versions=st.sets(st.integers(1, 5)))
def test_whatever_is_poisoned_the_rest_is_right(
    read_side: ReadSide, chosen: list[tuple[int, str, float]], batch_size: int, versions: set[int]
) -> None:
    """Random histories, every second job poisoned at random places: each view is the fold of all that nothing keeps it
    from, and the rest is parked, under its key."""
    jobs = [job_id() for _ in range(6)]
    read_side.append(histories(chosen, jobs))
    everything = {(e.originator_id, e.originator_version) for e in read_side.own.events()}
    bad = {one for one in everything if one[0].int % 2 and one[1] in versions}
    projections = [poisoned(projection, bad) for projection in ALL_PROJECTIONS]
    fresh_start(read_side.own)
    run(read_side.own, *projections, batch_size=batch_size)
    assert_around(read_side.own, *projections)


def fresh_start(own: Opened) -> None:
    """Empty all views: another example begins."""
    with own.store.begin(ALL_PROJECTIONS) as transaction:
        assert transaction is not None
        for projection in ALL_PROJECTIONS:
            transaction.reset(projection)


def test_parked_events_are_told_as_they_were_parked(read_side: ReadSide) -> None:
    """Which event of which tenant, for which row, why and since when; what waits behind it has no error."""
    job = read_side.work(persona="bot")
    bad = poisoned(PERSONA_JOBS, {(job, 2)})
    run(read_side.own, TENANT_JOBS, bad)
    first, second = read_side.own.store.parked(limit=9)
    assert first[:4] == ("persona_jobs", (job,), job, 2)
    assert (first.tenant, first.topic, first.error) == ("acme", "job.started", "Indigestible: version 2\ufffd")
    assert (second.topic, second.error, second.key) == ("job.completed", None, (job,))
    assert first.position < second.position and first.parked_at is not None
    assert read_side.own.store.parked("persona_jobs", failed=True, limit=9) == [first]
    assert read_side.own.store.parked("tenant_jobs", limit=9) == []


def test_facts_that_nobody_can_read_are_parked_by_every_view_that_looks_at_them(read_side: ReadSide) -> None:
    """A stored event that is damaged holds back its own job, even where not its key can be read; other jobs go on."""
    damaged, fine = read_side.work(persona="bot"), read_side.work(persona="bot")
    damage(read_side.ledger, damaged, 2)
    run(read_side.own, TENANT_JOBS, PERSONA_JOBS)
    for name in ("tenant_jobs", "persona_jobs"):
        found = read_side.own.store.parked(name, limit=9)
        assert [(one.key, one.originator_version) for one in found] == [((damaged,), 2), ((damaged,), 3)]
        assert found[0].error is not None and found[0].error.startswith("CorruptEvent: ")
    rows = read_side.own.stored_rows(PERSONA_JOBS, [e for e in read_side.own.events() if e.originator_version == 1])
    assert {key: row["status"] for key, row in rows.items()} == {(damaged,): "pending", (fine,): "completed"}


def damage(ledger: LedgerUnderTest, job: UUID, version: int) -> None:
    """Make what is stored of an event something that is no JSON."""
    with ledger.connect() as connection:
        if ledger.engine == "sqlite":
            where, values = "UPDATE ledger SET state = ? WHERE originator_id = ? AND originator_version = ?", (
                b"{damaged", job.bytes, version,
            )  # fmt: skip
            connection.execute(where, values)
        else:
            connection.execute(
                "UPDATE jobledger.ledger SET state = %b WHERE originator_id = %s AND originator_version = %s",
                (b"{damaged", job, version),
            )
        connection.commit()


def test_two_runners_at_once_park_each_event_once(read_side: ReadSide) -> None:
    """Two processes project around poison while a third appends: all is parked or in the view, once."""
    jobs = [read_side.work() for _ in range(4)]
    bad = poisoned(TENANT_JOBS, {(job, 2) for job in jobs[:2]})
    done = Event()
    others = [read_side.open_again() for _ in range(2)]

    def project(own: Opened) -> None:
        runner = own.runner(bad, batch_size=3)
        while not done.is_set():
            runner.run_once()
        runner.stop()
        assert runner.failures == {}

    threads = [Thread(target=project, args=(own,)) for own in others]
    for thread in threads:
        thread.start()
    for _ in range(30):
        read_side.work()
    done.set()
    for thread in threads:
        thread.join()
    run(read_side.own, bad)
    assert_around(read_side.own, bad)


# --- retrying and skipping -------------------------------------------------------------------------------------------


def test_a_corrected_fold_takes_what_was_parked(read_side: ReadSide) -> None:
    """Page after page, in order; the checkpoint does not move, and its owner stays."""
    jobs = [read_side.work(persona="bot") for _ in range(3)]
    projections = [poisoned(projection, {(job, 2) for job in jobs[:2]}) for projection in ALL_PROJECTIONS]
    run(read_side.own, *projections)
    before = read_side.own.store.checkpoints()
    for projection in ALL_PROJECTIONS:
        retrying(read_side.own, projection).retry_all()
    read_side.own.assert_views_are_the_fold()
    assert read_side.own.store.parked(limit=9) == []
    after = read_side.own.store.checkpoints()
    assert {name: one[:4] for name, one in after.items()} == {name: one[:4] for name, one in before.items()}


def test_a_skipped_event_is_left_out_and_the_rest_follows(read_side: ReadSide) -> None:
    """The view is then what the fold of all but that event comes to."""
    job = read_side.work()
    bad = poisoned(TENANT_JOBS, {(job, 2)})
    run(read_side.own, bad)
    assert retrying(read_side.own, bad, (job, 2)).retry((job,)) == Retried(taken=1, skipped=1)
    events = read_side.own.events()
    without = without_events(TENANT_JOBS, frozenset({(job, 2)}))
    assert read_side.own.stored_rows(TENANT_JOBS, events) == fold_all(without, events)
    read_side.work()
    run(read_side.own, bad)
    assert read_side.own.store.parked(limit=9) == []


def test_retries_beside_runners_keep_the_order(read_side: ReadSide) -> None:
    """While a job goes on, two processes retry it and two project: in the end its row is the fold of all its events."""
    ledger, own = read_side.ledger, read_side.own
    job = ledger.dispatch()
    claimed = ledger.claim_one()
    assert claimed.job_id == job
    bad = poisoned(TENANT_JOBS, {(job, 2)})
    run(own, bad)
    done = Event()

    def project(process: Opened) -> None:
        runner = process.runner(bad, batch_size=2)
        while not done.is_set():
            runner.run_once()
        runner.stop()

    def retry(process: Opened) -> None:
        while not done.is_set():
            retrying(process, TENANT_JOBS, page_events=1).retry((job,))

    with ExitStack() as joining:
        for act in (project, project, retry, retry):
            thread = Thread(target=act, args=(read_side.open_again(),))
            joining.callback(thread.join)
            thread.start()
        joining.callback(done.set)
        for number in range(60):
            assert ledger.change(ledger.open_job(job), _progressed(claimed.state.queue, number)).position is not None
    run(own, bad)
    retrying(own, TENANT_JOBS).retry_all()
    own_events = own.events()
    assert own.stored_rows(TENANT_JOBS, own_events) == fold_all(TENANT_JOBS, own_events)
    assert own.store.parked(limit=9) == []


def _progressed(queue: str, number: int) -> JobProgressed:
    return JobProgressed(
        job_type="invoice.send", queue=queue, persona=None, attempt=1, fraction=number / 100
    )  # fmt: skip


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_cut_off_at_any_statement_nothing_is_lost(read_side: ReadSide, after: bool) -> None:
    """Cut off before or after each call to the store in turn, while parking as while retrying: every event is in the
    view or parked, once."""
    own, at, died, bad = read_side.own, 0, True, set[tuple[UUID, int]]()
    projection = poisoned(TENANT_JOBS, bad)
    while died:
        at, died = at + 1, False
        bad.add((read_side.work(), 2))
        cutting = Cutting(own.store, at, after=after)
        runner = Runner(cutting, own.source, [projection], batch_size=3)
        try:
            runner.run_until_current()
            healed = poisoned(TENANT_JOBS, bad - {min(bad)})
            bad.discard(min(bad))
            Retrying(cutting, own.source, healed, page_events=1).retry_all()
        except Cut:
            died = True
        runner.stop()
        run(own, projection)
    retrying(own, projection).retry_all()
    assert at > 20
    assert_around(own, projection)


# --- what the store refuses ------------------------------------------------------------------------------------------


def parked_event(job: UUID, version: int, error: str | None) -> Parked:
    """An event as a runner parks it."""
    return Parked("tenant_jobs", (job,), job, version, "acme", version * 10, "job.started", error)


def store(own: Opened, *, park: Sequence[Parked], unpark: Sequence[Parked] = ()) -> None:
    """One transaction that changes nothing but what is parked."""
    with own.store.begin((TENANT_JOBS,)) as transaction:
        assert transaction is not None
        transaction.unpark(unpark)
        transaction.park(park)


def test_nothing_waits_behind_what_somebody_took(read_side: ReadSide) -> None:
    """An event that should wait is refused, with its batch, where nothing of its key is parked any more."""
    job = read_side.ledger.dispatch()
    run(read_side.own, TENANT_JOBS)
    before = read_side.own.store.checkpoints()
    with pytest.raises(CheckpointMoved):
        store(read_side.own, park=[parked_event(job, 2, None)])
    assert read_side.own.store.parked(limit=9) == []
    assert read_side.own.store.checkpoints() == before


def test_what_is_not_parked_any_more_cannot_be_taken(read_side: ReadSide) -> None:
    """Of two that take the same events the second stores nothing of what it folded."""
    job = read_side.ledger.dispatch()
    run(read_side.own, TENANT_JOBS)
    with pytest.raises(CheckpointMoved):
        store(read_side.own, unpark=[parked_event(job, 2, "gone")], park=[parked_event(job, 3, "new")])
    assert read_side.own.store.parked(limit=9) == []


def test_a_view_of_another_version_is_not_retried(read_side: ReadSide) -> None:
    """Rows that another version of the fold wrote are left alone, parked events too."""
    job = read_side.work()
    run(read_side.own, poisoned(TENANT_JOBS, {(job, 2)}))
    newer = TENANT_JOBS._replace(version=TENANT_JOBS.version + 1)
    with pytest.raises(Exception, match="rebuild") as refused:
        retrying(read_side.own, newer).retry((job,))
    assert getattr(refused.value, "code", "") == "schema_outdated"
    assert len(read_side.own.store.parked(limit=9)) == 2


def test_who_moves_a_view_leaves_its_name(read_side: ReadSide) -> None:
    """Host and process, with every move."""
    read_side.ledger.dispatch()
    run(read_side.own, TENANT_JOBS)
    checkpoint: Checkpoint = read_side.own.store.checkpoints()["tenant_jobs"]
    host, _, process = checkpoint.owner.rpartition(":")
    assert host and process.isdigit() and checkpoint.moved_at is not None


def test_many_events_that_wait_are_taken_in_pages(read_side: ReadSide) -> None:
    """However many wait behind one event, a transaction takes a bounded number of them, and a page is all that is
    held in memory; runners ask for the key, not for what waits."""
    ledger, own = read_side.ledger, read_side.own
    job = ledger.dispatch()
    queue = ledger.claim_one().state.queue
    for _ in range(WAITING // WRITTEN_AT_ONCE):
        facts = [_progressed(queue, number % 100) for number in range(WRITTEN_AT_ONCE)]
        assert ledger.change(ledger.open_job(job), *facts).position is not None
    run(own, poisoned(TENANT_JOBS, {(job, 2)}), batch_size=WRITTEN_AT_ONCE)
    assert own.store.parked_counts() == {"tenant_jobs": (1, WAITING)}
    with own.store.begin((TENANT_JOBS,)) as transaction:
        assert transaction is not None
        assert transaction.parked_keys(TENANT_JOBS) == {(job,)}
    pages: list[int] = []
    taking = Retrying(own.store, own.source, TENANT_JOBS, page_events=300, report=lambda page: pages.append(page.taken))
    assert taking.retry((job,)).taken == WAITING + 1
    assert max(pages) == 300 and sum(pages) == WAITING + 1
    events = own.events()
    assert own.stored_rows(TENANT_JOBS, events) == fold_all(TENANT_JOBS, events)
