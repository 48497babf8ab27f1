"""The storage of rebuilds on both engines: begun, filled by several, indexed, compared, given up."""

from __future__ import annotations

from contextlib import ExitStack
from uuid import UUID, uuid4

import pytest

from jobledger.domain.errors import NotFound, RebuildUnderWay
from jobledger.projections.job_short_ids import JOB_SHORT_IDS
from jobledger.projections.ports import CheckpointMoved, Parked
from jobledger.projections.shadow import SAMPLE_SIZE, Purpose, RebuildState, Scope, Slice, shadow_of
from jobledger.projections.tenant_jobs import TENANT_JOBS
from tests.support.seen import fold_all

from .shadows_support import (
    begin,
    compare,
    fill,
    follow,
    job_row,
    make_shadow,
    owning_process,
    populate,
    rows_of,
    spoil,
    step,
)
from .views_support import Opened, ReadSide

SHADOW = shadow_of(TENANT_JOBS)


@pytest.fixture
def jobs(read_side: ReadSide) -> list[UUID]:
    """Jobs of two tenants, whose views are current."""
    found = populate(read_side)
    read_side.own.project()
    return found


def assert_shadow_is_the_fold(opened: Opened) -> None:
    """The shadow holds what folding the whole ledger comes to."""
    expected = fold_all(TENANT_JOBS, opened.events())
    assert rows_of(opened, SHADOW, list(expected)) == expected
    assert opened.count_rows(SHADOW.name) == len(expected)


# --- beginning and going on ------------------------------------------------------------------------------------------


def test_a_rebuild_that_began_is_known_to_every_process(read_side: ReadSide, jobs: list[UUID]) -> None:
    """All that it was begun with is stored, and it is the one that is not over."""
    rebuild = begin(read_side.own, purpose=Purpose.DRY_RUN)
    other = read_side.open_again().shadows
    assert other.unfinished("tenant_jobs") == other.get(rebuild.rebuild_id) == rebuild
    assert rebuild.state is RebuildState.FILLING and not rebuild.is_over
    assert rebuild.slices[0].range.after is None and len(rebuild.slices) > 1
    assert other.recent(limit=5) == [rebuild._replace(slices=())]
    assert other.unfinished("dlq_jobs") is None
    with pytest.raises(NotFound):
        other.get(uuid4())


def test_a_view_has_one_rebuild_at_a_time(read_side: ReadSide, jobs: list[UUID]) -> None:
    """A second one is refused until the first is over; another view's is not."""
    rebuild = begin(read_side.own)
    with pytest.raises(RebuildUnderWay):
        begin(read_side.open_again())
    begin(read_side.own, JOB_SHORT_IDS)
    read_side.own.shadows.note(rebuild, RebuildState.CANCELLED)
    assert begin(read_side.own).rebuild_id != rebuild.rebuild_id


def test_two_processes_own_different_slices(read_side: ReadSide, jobs: list[UUID]) -> None:
    """Each slice has one owner at a time, in one process and across them; there is none for who comes when all are
    owned; an owner that is ready lets go."""
    rebuild, other = begin(read_side.own, slices=3), read_side.open_again()
    with ExitStack() as owning:
        owned = [owning.enter_context(opened.shadows.own_slice(rebuild)) for opened in (read_side.own, other, other)]
        assert sorted(part.number for part in owned if part is not None) == [0, 1, 2]
        with read_side.own.shadows.own_slice(rebuild) as none:
            assert none is None
    with other.shadows.own_slice(rebuild) as again:
        assert again is not None


def test_the_slice_of_a_killed_process_is_free_and_stands_where_it_was_stored(
    read_side: ReadSide, jobs: list[UUID]
) -> None:
    """What is owned dies with its owner; who goes on begins where the last batch ended."""
    rebuild = begin(read_side.own, slices=1)
    (part,) = rebuild.slices
    first = step(read_side.own, rebuild, part)
    read_side.own.shadows.fill(rebuild, TENANT_JOBS, first)
    with owning_process(read_side.ledger, rebuild) as (process, number):
        assert number == 0
        with read_side.own.shadows.own_slice(rebuild) as none:
            assert none is None
        process.kill()
        process.wait()
        assert _wait_for_slice(read_side.own, rebuild.rebuild_id) == first.after
    fill(read_side.own, rebuild)
    read_side.own.shadows.index(rebuild, TENANT_JOBS)
    assert_shadow_is_the_fold(read_side.own)


def _wait_for_slice(opened: Opened, rebuild_id: UUID) -> Slice:
    """The server may notice the death of its client a moment later."""
    rebuild = opened.shadows.get(rebuild_id)
    while True:
        with opened.shadows.own_slice(rebuild) as part:
            if part is not None:
                return part


def test_a_batch_is_stored_once(read_side: ReadSide, jobs: list[UUID]) -> None:
    """Compare-and-set: who worked on from a place that the slice has left stores neither rows nor progress."""
    rebuild = begin(read_side.own, slices=1)
    first = step(read_side.own, rebuild, rebuild.slices[0])
    read_side.own.shadows.fill(rebuild, TENANT_JOBS, first)
    with pytest.raises(CheckpointMoved):
        read_side.open_again().shadows.fill(rebuild, TENANT_JOBS, first)
    assert read_side.own.count_rows(SHADOW.name) == len(first.rows) > 0
    stored = read_side.own.shadows.get(rebuild.rebuild_id)
    assert (stored.slices, stored.events, stored.rows) == ((first.after,), first.after.events, len(first.rows))


@pytest.mark.parametrize("state", [RebuildState.INDEXING, RebuildState.CANCELLED])
def test_nothing_is_filled_once_filling_is_over(read_side: ReadSide, jobs: list[UUID], state: RebuildState) -> None:
    """A process that was cut off for a while stores nothing into what others go on with, or have thrown away."""
    rebuild = begin(read_side.own, slices=1)
    late = step(read_side.own, rebuild, rebuild.slices[0])
    read_side.own.shadows.note(rebuild, state)
    with pytest.raises(CheckpointMoved):
        read_side.open_again().shadows.fill(rebuild, TENANT_JOBS, late)


def test_what_a_fold_cannot_take_is_parked_with_its_batch(read_side: ReadSide, jobs: list[UUID]) -> None:
    """Events that were parked while a slice was filled are parked under the shadow's name."""
    rebuild = begin(read_side.own, slices=1)
    first = step(read_side.own, rebuild, rebuild.slices[0])
    failed, waiting = read_side.own.events()[:2]
    parked = [
        Parked(SHADOW.name, (jobs[0],), event.originator_id, event.originator_version, event.tenant, event.position,
               event.topic, error)
        for event, error in ((failed, "ValueError: no"), (waiting, None))
    ]  # fmt: skip
    read_side.own.shadows.fill(rebuild, TENANT_JOBS, first._replace(parked=parked))
    stored = read_side.own.store.parked(SHADOW.name, limit=9)
    assert [one._replace(parked_at=None) for one in stored] == parked
    assert read_side.own.store.parked_counts() == {SHADOW.name: (1, 1)}


# --- indexing, and how far it is -------------------------------------------------------------------------------------


def test_a_filled_shadow_is_indexed_once_and_follows_the_ledger(read_side: ReadSide, jobs: list[UUID]) -> None:
    """It stands at the position up to which it was filled; a runner takes it from there. Indexing again is harmless."""
    rebuild = begin(read_side.own)
    fill(read_side.own, rebuild)
    late = read_side.ledger.dispatch()
    read_side.own.shadows.index(rebuild, TENANT_JOBS)
    read_side.open_again().shadows.index(rebuild, TENANT_JOBS)
    assert read_side.own.shadows.get(rebuild.rebuild_id).state is RebuildState.CATCHING_UP
    stored = read_side.own.store.checkpoints()[SHADOW.name]
    assert (stored.position, stored.version) == (rebuild.position, TENANT_JOBS.version)
    assert (late,) not in rows_of(read_side.own, SHADOW, [(late,)])
    follow(read_side.own, SHADOW)
    assert_shadow_is_the_fold(read_side.own)


def test_a_shadow_that_is_not_filled_is_not_indexed(read_side: ReadSide, jobs: list[UUID]) -> None:
    """One that thinks that all is done, while a slice is not, changes nothing."""
    rebuild = begin(read_side.own)
    with pytest.raises(CheckpointMoved):
        read_side.own.shadows.index(rebuild, TENANT_JOBS)
    assert read_side.own.shadows.get(rebuild.rebuild_id) == rebuild
    fill(read_side.own, rebuild)
    read_side.own.shadows.index(rebuild, TENANT_JOBS)
    assert_shadow_is_the_fold(read_side.own)


def test_a_state_is_left_once(read_side: ReadSide, jobs: list[UUID]) -> None:
    """Of two who say how far a rebuild is, the one whose knowledge is old is refused; what is not said stays."""
    rebuild = begin(read_side.own)
    noted = read_side.own.shadows.note(rebuild, RebuildState.INDEXING, begun_version=7)
    assert (noted.state, noted.begun_version, noted.slices) == (RebuildState.INDEXING, 7, rebuild.slices)
    with pytest.raises(CheckpointMoved):
        read_side.own.shadows.note(rebuild, RebuildState.FAILED)
    failed = read_side.own.shadows.note(noted, RebuildState.FAILED, error="it broke")
    assert (failed.is_over, failed.error, failed.begun_version) == (True, "it broke", 7)
    with pytest.raises(CheckpointMoved):
        read_side.own.shadows.note(failed, RebuildState.CANCELLED)


def test_what_was_given_up_leaves_nothing_behind(read_side: ReadSide, jobs: list[UUID]) -> None:
    """Rows, checkpoint and parked events of the shadow go; the view is as it was."""
    rebuild = make_shadow(read_side.own)
    event = read_side.own.events()[0]
    with read_side.own.store.begin((SHADOW,)) as transaction:
        assert transaction is not None
        transaction.park(
            [Parked(SHADOW.name, (jobs[0],), event.originator_id, 1, "acme", event.position, event.topic, "no")]
        )
    assert compare(read_side.own).is_equal
    comparison = compare(read_side.own)
    over = read_side.own.shadows.note(rebuild, RebuildState.COMPARED, comparison=comparison)
    assert over.is_over and over.comparison == comparison
    assert read_side.own.columns(SHADOW.name) == {}
    assert SHADOW.name not in read_side.own.store.checkpoints()
    assert read_side.own.store.parked_counts() == {}
    assert read_side.own.shadows.unfinished("tenant_jobs") is None
    read_side.own.assert_views_are_the_fold()


# --- comparing -------------------------------------------------------------------------------------------------------


def test_a_view_that_is_held_keeps_still(read_side: ReadSide, jobs: list[UUID]) -> None:
    """Other processes' runners move it neither while it is held nor lose anything: they go on afterwards."""
    head = read_side.own.store.checkpoints()["tenant_jobs"].position
    runner = read_side.open_again().runner(TENANT_JOBS)
    with read_side.own.shadows.hold(TENANT_JOBS) as held:
        assert held is not None and held.position == head
        read_side.ledger.dispatch()
        runner.run_once()
        assert read_side.own.store.checkpoints()["tenant_jobs"].position == head
    runner.run_until_current()
    runner.stop()
    read_side.own.project()
    read_side.own.assert_views_are_the_fold()


def test_only_what_stands_at_one_position_is_compared(read_side: ReadSide, jobs: list[UUID]) -> None:
    """A live view that went on is not compared with a shadow that did not."""
    make_shadow(read_side.own)
    read_side.ledger.dispatch()
    follow(read_side.own)
    with pytest.raises(CheckpointMoved), read_side.own.shadows.snapshot(TENANT_JOBS):
        pass
    follow(read_side.own, SHADOW)
    assert compare(read_side.own).is_equal


def test_a_snapshot_stays_as_it_was(read_side: ReadSide, jobs: list[UUID]) -> None:
    """While both tables go on, what is compared are their rows at the position where the snapshot was opened."""
    make_shadow(read_side.own)
    position = read_side.own.store.checkpoints()["tenant_jobs"].position
    with read_side.own.shadows.snapshot(TENANT_JOBS) as snapshot:
        read_side.ledger.dispatch()
        follow(read_side.open_again())
        comparison = snapshot.compare(Scope())
    assert comparison.is_equal and comparison.position == position
    assert comparison.rows_live == comparison.rows_fresh == len(jobs)
    assert comparison.digest_live == comparison.digest_fresh


def test_rows_that_differ_are_found(read_side: ReadSide, jobs: list[UUID]) -> None:
    """Changed, missing and superfluous rows, each with both sides and what they differ in, in the order of the key."""
    make_shadow(read_side.own)
    right = {job: job_row(read_side.own, job) for job in jobs}
    wrong, extra = {**right[jobs[2]], "status": "odd", "error_type": "E"}, {**right[jobs[0]], "job_id": UUID(int=1)}
    spoil(read_side.own, begun=[extra], changed=[wrong], ended=[(jobs[5],)])
    found = compare(read_side.own)
    assert (found.differing, found.rows_live, found.rows_fresh) == (3, len(jobs), len(jobs))
    assert found.digest_live != found.digest_fresh
    assert [(one.key, one.live, one.fresh) for one in found.sample] == [
        ((UUID(int=1),), extra, None),
        ((jobs[2],), wrong, right[jobs[2]]),
        ((jobs[5],), None, right[jobs[5]]),
    ]
    assert found.sample[1].columns == ("status", "error_type")


def test_a_scope_is_compared_alone(read_side: ReadSide, jobs: list[UUID]) -> None:
    """Rows of other tenants and other jobs are neither counted nor found wrong."""
    make_shadow(read_side.own)
    acme, beta = jobs[0], jobs[3]
    spoil(read_side.own, changed=[{**job_row(read_side.own, acme), "status": "odd"}])
    assert compare(read_side.own, Scope("acme")).differing == 1
    assert compare(read_side.own, Scope("beta")).rows_live == len(jobs) // 4
    assert compare(read_side.own, Scope("beta")).is_equal
    assert compare(read_side.own, Scope("acme", acme)).rows_live == 1
    assert compare(read_side.own, Scope("beta", beta)).is_equal


def test_all_that_differs_is_counted_and_some_is_shown(read_side: ReadSide) -> None:
    """The sample is bounded: the first rows in the order of the key."""
    jobs = populate(read_side, SAMPLE_SIZE + 5)
    read_side.own.project()
    make_shadow(read_side.own)
    spoil(read_side.own, ended=[(job,) for job in jobs])
    found = compare(read_side.own)
    assert (found.differing, found.rows_live, found.rows_fresh) == (len(jobs), 0, len(jobs))
    assert [one.key for one in found.sample] == [(job,) for job in sorted(jobs)[:SAMPLE_SIZE]]


def test_a_view_whose_rows_are_all_key_is_compared(read_side: ReadSide, jobs: list[UUID]) -> None:
    """There a row can only be missing or superfluous."""
    make_shadow(read_side.own, JOB_SHORT_IDS)
    assert compare(read_side.own, projection=JOB_SHORT_IDS).rows_live == len(jobs)
    assert compare(read_side.own, projection=JOB_SHORT_IDS).is_equal
