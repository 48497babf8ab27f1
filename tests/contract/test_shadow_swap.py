"""A shadow takes the live view's place, whole or by the rows of a scope, on both engines."""

from __future__ import annotations

from uuid import UUID

import pytest

from jobledger.domain.errors import SchemaOutdated
from jobledger.projections.catalogue import ALL_PROJECTIONS
from jobledger.projections.job_short_ids import JOB_SHORT_IDS
from jobledger.projections.ports import CheckpointMoved, Parked
from jobledger.projections.projection import Column, Projection, Row, SeenEvent
from jobledger.projections.shadow import Kept, RebuildState, Scope, Versions, shadow_of
from jobledger.projections.tenant_jobs import TENANT_JOBS

from .shadows_support import (
    begin,
    compare,
    fill,
    follow,
    job_row,
    make_shadow,
    populate,
    rows_of,
    spoil,
    swap,
)
from .views_support import ReadSide

SHADOW = shadow_of(TENANT_JOBS)
PREVIOUS = TENANT_JOBS._replace(name="tenant_jobs__previous")


@pytest.fixture
def jobs(read_side: ReadSide) -> list[UUID]:
    """Jobs of two tenants, whose views are current."""
    found = populate(read_side)
    read_side.own.project()
    return found


def _fold_with_shout(row: Row | None, event: SeenEvent) -> Row | None:
    after = TENANT_JOBS.fold(row, event)
    return None if after is None else {**after, "shout": str(after["status"]).upper()}


NEWER: Projection = TENANT_JOBS._replace(
    columns=(*TENANT_JOBS.columns, Column("shout", "text")), fold=_fold_with_shout, version=TENANT_JOBS.version + 1
)
"""The list of jobs as the next version of this program makes it: one column more."""


def parked_of(read_side: ReadSide, projection: Projection, job: UUID, number: int) -> Parked:
    """An event of a job, as parked."""
    event = next(event for event in read_side.own.events() if event.originator_id == job)
    return Parked(projection.name, (job,), job, number, event.tenant, event.position, event.topic, "ValueError: no")


def park(read_side: ReadSide, projection: Projection, *parked: Parked) -> None:
    """Store what is parked of a projection."""
    with read_side.own.store.begin((projection,)) as transaction:
        assert transaction is not None
        transaction.park(parked)


def parked_names(read_side: ReadSide) -> list[tuple[str, UUID, int]]:
    """What is parked, and of which view."""
    return [(one.projection, one.originator_id, one.originator_version) for one in read_side.own.store.parked(limit=9)]


def test_the_shadow_becomes_the_view_and_the_view_the_previous_one(read_side: ReadSide, jobs: list[UUID]) -> None:
    """What was wrong is right afterwards, what was is kept, and runners go on from the same position."""
    own, right = read_side.own, job_row(read_side.own, jobs[2])
    spoil(own, changed=[{**right, "status": "odd"}], ended=[(jobs[5],)])
    rebuild = make_shadow(own)
    position = own.store.checkpoints()["tenant_jobs"].position
    own.shadows.swap(rebuild, TENANT_JOBS)
    swapped = own.shadows.get(rebuild.rebuild_id)
    assert swapped.state is RebuildState.SWAPPED and not swapped.is_over
    assert own.shadows.unfinished("tenant_jobs") == swapped
    assert own.shadows.note(swapped, RebuildState.SWAPPED).is_over
    assert own.store.checkpoints()["tenant_jobs"].position == position
    assert SHADOW.name not in own.store.checkpoints() and own.columns(SHADOW.name) == {}
    assert rows_of(own, PREVIOUS, [(jobs[2],), (jobs[5],)]) == {(jobs[2],): {**right, "status": "odd"}}
    own.assert_views_are_the_fold()
    read_side.ledger.dispatch()
    read_side.open_again().project()
    own.assert_views_are_the_fold()


def test_times_of_lists_do_not_go_back(read_side: ReadSide, jobs: list[UUID]) -> None:
    """A list says of what time it is also when nothing happened since the shadow was filled."""
    before = read_side.own.store.checkpoints()["tenant_jobs"]
    swap(read_side.own, make_shadow(read_side.own))
    after = read_side.own.store.checkpoints()["tenant_jobs"]
    assert (after.position, after.version, after.recorded_at) == (before.position, before.version, before.recorded_at)


def test_what_is_parked_follows_the_tables(read_side: ReadSide, jobs: list[UUID]) -> None:
    """What was parked of the view is forgotten with its rows, what was parked of the shadow is parked of the view."""
    park(read_side, TENANT_JOBS, parked_of(read_side, TENANT_JOBS, jobs[0], 1))
    rebuild = make_shadow(read_side.own)
    park(read_side, SHADOW, parked_of(read_side, SHADOW, jobs[3], 2))
    swap(read_side.own, rebuild)
    assert parked_names(read_side) == [("tenant_jobs", jobs[3], 2)]


def test_a_swap_waits_until_both_stand_at_one_position(read_side: ReadSide, jobs: list[UUID]) -> None:
    """A batch that the live view took meanwhile is not lost: the swap is refused until the shadow has it too."""
    rebuild = make_shadow(read_side.own)
    read_side.ledger.dispatch()
    follow(read_side.own)
    with pytest.raises(CheckpointMoved):
        read_side.own.shadows.swap(rebuild, TENANT_JOBS)
    assert read_side.own.shadows.get(rebuild.rebuild_id) == rebuild
    follow(read_side.own, SHADOW)
    swap(read_side.own, rebuild)
    read_side.own.project()
    read_side.own.assert_views_are_the_fold()


def test_only_a_rebuild_that_was_compared_is_swapped(read_side: ReadSide, jobs: list[UUID]) -> None:
    """Neither one that still catches up, nor one that was swapped already, nor one that was given up."""
    own = read_side.own
    rebuild = begin(own)
    fill(own, rebuild)
    own.shadows.index(rebuild, TENANT_JOBS)
    with pytest.raises(CheckpointMoved):
        own.shadows.swap(rebuild, TENANT_JOBS)
    compared = own.shadows.note(own.shadows.get(rebuild.rebuild_id), RebuildState.COMPARING)
    own.shadows.swap(compared, TENANT_JOBS)
    with pytest.raises(CheckpointMoved):
        own.shadows.swap(compared, TENANT_JOBS)
    own.shadows.note(own.shadows.get(rebuild.rebuild_id), RebuildState.SWAPPED)
    given_up = make_shadow(own)
    own.shadows.note(given_up, RebuildState.CANCELLED)
    with pytest.raises(CheckpointMoved):
        own.shadows.swap(given_up, TENANT_JOBS)
    own.assert_views_are_the_fold()


def test_the_last_previous_version_is_kept_until_it_is_dropped(read_side: ReadSide, jobs: list[UUID]) -> None:
    """Each swap replaces the one before; dropping says how many rows went, once."""
    own = read_side.own
    swap(own, make_shadow(own))
    spoil(own, ended=[(jobs[0],), (jobs[1],)])
    swap(own, make_shadow(own))
    assert own.count_rows(PREVIOUS.name) == len(jobs) - 2
    begun = begin(own)
    (versions,) = (one for one in own.shadows.versions() if one.projection == "tenant_jobs")
    assert versions.fold_version == TENANT_JOBS.version
    assert versions.shadow == Kept(0, exact=True)
    assert versions.previous is not None and versions.previous.rows != 0
    assert versions.previous.rows == len(jobs) - 2 or not versions.previous.exact
    own.shadows.note(begun, RebuildState.CANCELLED)
    assert own.shadows.drop_previous(TENANT_JOBS.name) == len(jobs) - 2
    assert own.shadows.drop_previous(TENANT_JOBS.name) is None
    assert Versions("tenant_jobs", TENANT_JOBS.version, None, None) in own.shadows.versions()
    own.assert_views_are_the_fold()


def test_every_view_can_be_swapped_again_and_again(read_side: ReadSide, jobs: list[UUID]) -> None:
    """Whatever its columns, key and indexes are, the names of the tables are free for the next time."""
    for projection in ALL_PROJECTIONS:
        for _ in range(2):
            if projection.by_stream:
                swap(read_side.own, make_shadow(read_side.own, projection), projection)
            assert read_side.own.columns(shadow_of(projection).name) == {}
    read_side.own.assert_views_are_the_fold()


# --- scopes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of_job", [False, True], ids=["tenant", "job"])
def test_only_rows_of_the_scope_are_replaced(read_side: ReadSide, jobs: list[UUID], of_job: bool) -> None:
    """Wrong, missing and superfluous rows of a tenant (or a job) are put right; everything else stays as it is."""
    own, scope = read_side.own, Scope("acme", jobs[2] if of_job else None)
    right = {job: job_row(own, job) for job in jobs}
    extra = {**right[jobs[0]], "job_id": UUID(int=1)}
    wrong = {job: {**right[job], "status": "odd"} for job in (jobs[2], jobs[3])}
    spoil(own, begun=[extra], changed=list(wrong.values()), ended=[(jobs[5],)])
    rebuild = make_shadow(own, scope=scope)
    assert compare(own, scope).differing == (1 if of_job else 3)
    swap(own, rebuild)
    keys = [(job,) for job in (jobs[2], jobs[3], jobs[5], UUID(int=1))]
    found = {key[0]: row for key, row in rows_of(own, TENANT_JOBS, keys).items()}
    expected = {jobs[2]: right[jobs[2]], jobs[3]: wrong[jobs[3]]}
    expected |= {UUID(int=1): extra} if of_job else {jobs[5]: right[jobs[5]]}
    assert found == expected
    assert own.columns(SHADOW.name) == {} and own.columns(PREVIOUS.name) == {}
    assert SHADOW.name not in own.store.checkpoints()


def test_rows_that_are_all_key_are_replaced_by_scope(read_side: ReadSide, jobs: list[UUID]) -> None:
    """A row that is missing comes back."""
    own = read_side.own
    with own.store.begin((JOB_SHORT_IDS,)) as transaction:
        assert transaction is not None
        transaction.reset(JOB_SHORT_IDS)
    follow(own, JOB_SHORT_IDS)
    swap(own, make_shadow(own, JOB_SHORT_IDS, scope=Scope("beta")), JOB_SHORT_IDS)
    own.assert_views_are_the_fold()


def test_what_is_parked_of_a_scope_follows_its_rows(read_side: ReadSide, jobs: list[UUID]) -> None:
    """What is parked of others stays."""
    park(read_side, TENANT_JOBS, *(parked_of(read_side, TENANT_JOBS, jobs[number], 1) for number in (0, 3)))
    rebuild = make_shadow(read_side.own, scope=Scope("acme"))
    park(read_side, SHADOW, parked_of(read_side, SHADOW, jobs[1], 2))
    swap(read_side.own, rebuild)
    assert sorted(parked_names(read_side)) == sorted([("tenant_jobs", jobs[3], 1), ("tenant_jobs", jobs[1], 2)])


# --- another version of the fold -------------------------------------------------------------------------------------


def test_a_new_version_of_a_fold_brings_its_columns(read_side: ReadSide, jobs: list[UUID]) -> None:
    """The shadow is made from the new definition; what the old version wrote differs in what it lacks; after the swap
    old programs stop and new ones go on."""
    own = read_side.own
    swapping = make_shadow(own, NEWER)
    comparison = compare(own, projection=NEWER)
    assert comparison.differing == comparison.rows_live == comparison.rows_fresh == len(jobs)
    assert comparison.sample[0].columns == ("shout",)
    swap(own, swapping, NEWER)
    assert list(own.columns("tenant_jobs")) == [column.name for column in NEWER.columns]
    assert own.store.checkpoints()["tenant_jobs"].version == NEWER.version
    late = read_side.ledger.dispatch()
    runner = own.runner(TENANT_JOBS)
    runner.run_until_current()
    runner.stop()
    assert "tenant_jobs" in runner.failures
    follow(own, NEWER)
    rows = rows_of(own, NEWER, [(jobs[0],), (late,)])
    assert {row["shout"] for row in rows.values()} == {"COMPLETED", "PENDING"}


def test_rows_of_two_versions_are_never_mixed(read_side: ReadSide, jobs: list[UUID]) -> None:
    """A scope of a view that another version of the fold wrote is not replaced."""
    rebuild = make_shadow(read_side.own, TENANT_JOBS._replace(version=TENANT_JOBS.version + 1), scope=Scope("acme"))
    with pytest.raises(SchemaOutdated):
        read_side.own.shadows.swap(rebuild, TENANT_JOBS._replace(version=TENANT_JOBS.version + 1))
    read_side.own.assert_views_are_the_fold()
