"""The state machine of rebuilds: whatever dies when and whoever helps, the view is what the ledger says."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest
import structlog
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from jobledger.domain.errors import InvalidInput, NotFound, RebuildUnderWay, SchemaOutdated, SchemaTooNew, UnknownTopic
from jobledger.domain.identifiers import uuid7
from jobledger.projections.beginning import Joined, Wanted, begin_or_join, cancel
from jobledger.projections.pacing import Throttle
from jobledger.projections.ports import Checkpoint, Key
from jobledger.projections.projection import Projection, Row, SeenEvent, Value
from jobledger.projections.rebuild import Options, Outcome, Rebuilding, RebuildPorts, Standing
from jobledger.projections.runner import Runner
from jobledger.projections.shadow import Purpose, RebuildState, Scope
from jobledger.projections.tenant_jobs import TENANT_JOBS
from tests.support.given import completed, dispatched, started
from tests.support.seen import Cut, MemoryStore, as_seen, fold_all, histories, moves, seen
from tests.support.shadows import Dying, MemoryRecords, MemoryShadows, MemoryStreams, ports_of

WHOLE = Scope()
JOBS = [uuid7(1_760_000_000_000 + number, number) for number in range(6)]
BY_POSITION = TENANT_JOBS._replace(by_stream=False)


def some_history() -> list[SeenEvent]:
    """Six jobs of two tenants that were dispatched, started, and completed."""
    facts = [*((job, dispatched()) for job in JOBS), *((job, started()) for job in JOBS), (JOBS[0], completed())]
    versions = dict.fromkeys(JOBS, 0)
    events = []
    for position, (job, one) in enumerate(facts, start=1):
        versions[job] += 1
        tenant = f"tenant-{JOBS.index(job) % 2}"
        events.append(seen(one, position * 10, job=job, version=versions[job], tenant=tenant))
    return events


class World:
    """A ledger, a live view that follows it, and rebuilds."""

    def __init__(self, events: Sequence[SeenEvent], projection: Projection = TENANT_JOBS) -> None:
        self.projection = projection
        self.source = MemoryStreams(events)
        self.store = MemoryStore()
        self.shadows = MemoryShadows(self.store)
        self.records = MemoryRecords()
        self.told: list[Standing] = []
        self.project()

    @property
    def rows(self) -> dict[Key, Row]:
        """The live view."""
        return {**self.store.tables.get(self.projection.name, {})}

    @property
    def ports(self) -> RebuildPorts:
        """What a rebuild asks."""
        return ports_of(self.shadows, self.source, self.records)

    def project(self) -> None:
        """Bring the live view up to date."""
        runner = Runner(self.store, self.source, (self.projection,), batch_size=3)
        runner.run_until_current()
        runner.stop()

    def begin(
        self, purpose: Purpose = Purpose.REBUILD, scope: Scope = WHOLE, projection: Projection | None = None
    ) -> Joined:
        """Begin, or join."""
        number = len(self.shadows.rebuilds) + 1
        return begin_or_join(
            self.ports, Wanted(UUID(int=number), projection or self.projection, purpose, scope, "ana", "a drill")
        )

    def run(self, joined: Joined, ports: RebuildPorts | None = None, options: Options | None = None) -> Outcome:
        """Work on it until it is over."""
        rebuilding = Rebuilding(
            ports or self.ports, self.projection, joined.rebuild,
            options or Options(batch_events=2, stream_events=2, report=self.told.append),
        )  # fmt: skip
        try:
            return rebuilding.run()
        finally:
            rebuilding.close()

    def rebuild(self, purpose: Purpose = Purpose.REBUILD, scope: Scope = WHOLE) -> Outcome:
        """All of it."""
        return self.run(self.begin(purpose, scope))

    def damage(self, job: UUID = JOBS[0], **values: Value) -> None:
        """Change a row behind the runner's back."""
        self.store.tables[self.projection.name][job,].update(values)

    def assert_is_the_fold(self) -> None:
        """The live view is what folding everything comes to."""
        self.project()
        assert self.rows == fold_all(self.projection, self.source.events)


def ports_that_die(world: World, at: int, *, after: bool, calls: list[str]) -> RebuildPorts:
    """A process that dies at the n-th thing that it asks."""
    ports = world.ports
    shadows, store, records = (
        Dying(port, at, after=after, calls=calls) for port in (ports.shadows, ports.store, ports.records)
    )
    return ports._replace(shadows=shadows, store=store, records=records)


@pytest.mark.parametrize("projection", [TENANT_JOBS, BY_POSITION], ids=["slices", "positions"])
def test_a_rebuild_mends_the_view_and_names_what_was_wrong(projection: Projection) -> None:
    """A changed row, a lost one and one that never was: replaced, listed and counted, and recorded."""
    world = World(some_history(), projection)
    world.damage(status="completed", priority=7)
    lost = world.store.tables["tenant_jobs"].pop((JOBS[5],))
    stray = UUID(int=7)
    world.store.tables["tenant_jobs"][stray,] = {**lost, "job_id": stray}
    outcome = world.rebuild()
    assert outcome.end is not None and outcome.end.swapped
    compared = outcome.end.comparison
    assert (compared.rows_live, compared.rows_fresh, compared.differing) == (6, 6, 3)
    named = {difference.key[0]: difference for difference in compared.sample}
    assert named[JOBS[0]].columns == ("priority",)
    assert named[JOBS[5]].live is None and named[stray].fresh is None
    assert compared.digest_live != compared.digest_fresh
    assert outcome.end.events == len(world.source.events)
    assert outcome.rebuild.state is RebuildState.SWAPPED and outcome.rebuild.is_over
    assert (stray,) in world.shadows.previous["tenant_jobs"]
    assert [act.split()[0] for act in world.records.acts] == ["begun", "ended"]
    world.assert_is_the_fold()


@pytest.mark.parametrize("purpose", [Purpose.DRY_RUN, Purpose.VERIFY])
def test_comparing_alone_changes_nothing(purpose: Purpose) -> None:
    """A dry run and a verification find what differs, and leave no trace but the record of the dry run."""
    world = World(some_history())
    world.damage(priority=7)
    before = world.rows
    outcome = world.rebuild(purpose)
    assert outcome.end is not None and not outcome.end.swapped
    assert outcome.end.comparison.differing == 1
    assert world.rows == before
    assert outcome.rebuild.state is RebuildState.COMPARED
    assert set(world.store.tables) == set(world.store.stored) == {"tenant_jobs"}
    assert len(world.records.acts) == (2 if purpose is Purpose.DRY_RUN else 0)


def test_a_view_that_is_right_is_found_equal() -> None:
    """The proof that a view was right: equal digests, no difference."""
    outcome = World(some_history()).rebuild(Purpose.VERIFY)
    assert outcome.end is not None and outcome.end.comparison.is_equal
    assert outcome.end.comparison.digest_live == outcome.end.comparison.digest_fresh


@pytest.mark.parametrize("projection", [TENANT_JOBS, BY_POSITION], ids=["slices", "positions"])
@pytest.mark.parametrize("purpose", [Purpose.REBUILD, Purpose.DRY_RUN])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_process_that_dies_anywhere_is_followed_by_one_that_goes_on(
    projection: Projection, purpose: Purpose, after: bool
) -> None:
    """Cut off before or after each thing that it asks for in turn, while jobs go on: the next process goes on with the
    same rebuild, nothing is stored twice, and it is recorded once."""
    at, died = 0, True
    while died:
        at, died = at + 1, False
        world, calls = World(some_history(), projection), list[str]()
        world.damage(priority=7)
        joined = world.begin(purpose)
        try:
            world.run(joined, ports_that_die(world, at, after=after, calls=calls))
        except Cut:
            died = True
        job = uuid7(1_770_000_000_000, at)
        world.source.events.append(seen(dispatched(), 1_000, job=job))
        world.project()
        if not world.shadows.get(joined.rebuild.rebuild_id).is_over:
            again = world.begin(purpose)
            assert again.rebuild.rebuild_id == joined.rebuild.rebuild_id and not again.fresh
            outcome = world.run(again)
            assert outcome.end is not None and outcome.end.comparison.differing == 1, calls
        assert [act.split()[0] for act in world.records.acts] == ["begun", "ended"], calls
        assert len(world.records.ends) == 1
        if purpose is Purpose.REBUILD:
            world.assert_is_the_fold()
        assert set(world.store.tables) == {"tenant_jobs"}
    assert at > 15


@settings(max_examples=60, deadline=None)
@for_all(chosen=moves, more=moves, batch=st.integers(1, 5))
def test_any_history_is_rebuilt_while_it_goes_on(
    chosen: list[tuple[int, str, float]], more: list[tuple[int, str, float]], batch: int
) -> None:
    """Random histories that go on after the slices were laid out: the view is the fold of all of it."""
    events = as_seen(histories([*chosen, *more]))
    cut = len(as_seen(histories(chosen)))
    world = World(events[:cut])
    joined = world.begin()
    world.source.events[:] = events
    world.project()
    outcome = world.run(joined, options=Options(stream_events=batch, batch_events=batch))
    assert outcome.end is not None and outcome.end.comparison.is_equal
    world.assert_is_the_fold()


@pytest.mark.parametrize(
    ("scope", "mended"),
    [(Scope("tenant-0"), {JOBS[0]}), (Scope("tenant-0", JOBS[0]), {JOBS[0]}), (Scope("tenant-1"), {JOBS[1]})],
    ids=["tenant", "job", "other tenant"],
)
def test_a_part_of_a_view_is_rebuilt_alone(scope: Scope, mended: set[UUID]) -> None:
    """Only rows of the tenant, or of the job, are compared and replaced; damage elsewhere stays."""
    world = World(some_history())
    for job in JOBS[:2]:
        world.damage(job, priority=7)
    outcome = world.rebuild(scope=scope)
    assert outcome.end is not None and outcome.end.comparison.differing == 1
    assert {job for job in JOBS[:2] if world.rows[job,]["priority"] == 0} == mended
    assert world.store.stored["tenant_jobs"].position == world.source.head()


@pytest.mark.parametrize(
    ("projection", "scope", "field"),
    [
        (BY_POSITION, Scope("acme", JOBS[0]), "--job"),
        (TENANT_JOBS._replace(columns=TENANT_JOBS.columns[:1]), Scope("acme"), "--tenant"),
    ],
)
def test_a_scope_that_rows_do_not_know_is_refused(projection: Projection, scope: Scope, field: str) -> None:
    """A row of many jobs cannot be rebuilt for one; rows without a tenant not for a tenant."""
    with pytest.raises(InvalidInput) as refused:
        World(some_history()).begin(scope=scope, projection=projection)
    assert refused.value.field == field


def test_one_kind_of_rebuild_at_a_time() -> None:
    """Another scope or purpose is refused, with how to go on with, or give up, what is under way."""
    world = World(some_history())
    world.begin(scope=Scope("tenant-0"))
    with pytest.raises(RebuildUnderWay) as refused:
        world.begin()
    assert "rebuild of tenant_jobs that ana began" in refused.value.message
    assert "--tenant tenant-0" in str(refused.value.hint) and "projections cancel" in str(refused.value.hint)


def test_giving_up_leaves_the_live_view_as_it_is() -> None:
    """The shadow is gone, the live view untouched, the act recorded; then there is nothing left to give up."""
    world = World(some_history())
    joined, calls = world.begin(), list[str]()
    with pytest.raises(Cut):
        world.run(joined, ports_that_die(world, 9, after=True, calls=calls))
    before = world.rows
    cancel(world.ports, TENANT_JOBS.name, "not now")
    assert world.rows == before
    assert set(world.store.tables) == set(world.store.stored) == {"tenant_jobs"}
    assert world.records.acts[-1].endswith("not now")
    with pytest.raises(NotFound):
        cancel(world.ports, TENANT_JOBS.name, "not now")
    assert world.run(joined).end is None


def test_whoever_works_on_a_rebuild_that_is_given_up_stops() -> None:
    """Given up by another process in the middle: no end, no error, nothing swapped."""
    world = World(some_history())
    joined = world.begin()

    def give_up(standing: Standing) -> None:
        if standing.state is RebuildState.FILLING and standing.events > 4:
            cancel(world.ports, TENANT_JOBS.name, "not now")

    outcome = world.run(joined, options=Options(stream_events=2, report=give_up))
    assert outcome.end is None and outcome.rebuild.state is RebuildState.CANCELLED
    assert "tenant_jobs__new" not in world.store.tables


def test_a_swap_that_readers_keep_out_is_tried_again() -> None:
    """Busy five times, then in: compared once, recorded once."""
    world = World(some_history())
    world.shadows.busy = 5
    outcome = world.rebuild()
    assert outcome.end is not None and outcome.end.swapped
    assert world.shadows.held == 7
    assert len(world.records.ends) == 1


def test_two_processes_share_the_slices() -> None:
    """A helper fills what nobody owns; the other one goes on from there and stores nothing twice."""
    world = World(some_history())
    joined = world.begin()
    helper = Rebuilding(world.ports, TENANT_JOBS, joined.rebuild, Options(stream_events=2))
    helper.help_filling()
    helper.close()
    assert all(part.done for part in world.shadows.get(joined.rebuild.rebuild_id).slices)
    outcome = world.run(joined)
    assert outcome.end is not None and outcome.end.comparison.is_equal
    helper.help_filling()
    world.assert_is_the_fold()


def _poisoned(row: Row | None, event: SeenEvent) -> Row | None:
    if event.originator_id == JOBS[2] and event.originator_version == 1:
        raise ZeroDivisionError("nobody thought of that")
    return TENANT_JOBS.fold(row, event)


def test_poison_is_parked_with_all_that_waits_behind_it() -> None:
    """An event that the fold cannot take is parked under the shadow's name, later ones of its key behind it, others
    are rebuilt; after the swap they are the live view's."""
    world = World(some_history(), TENANT_JOBS._replace(fold=_poisoned))
    world.store.waiting.clear()
    outcome = world.rebuild()
    assert outcome.end is not None and outcome.end.parked == 2
    parked = sorted(world.store.waiting.values(), key=lambda one: one.position)
    assert [(one.projection, one.originator_version) for one in parked] == [("tenant_jobs", 1), ("tenant_jobs", 2)]
    assert parked[0].error == "ZeroDivisionError: nobody thought of that" and parked[1].error is None
    assert set(world.rows) == {(job,) for job in JOBS if job != JOBS[2]}


@pytest.mark.parametrize("projection", [TENANT_JOBS, BY_POSITION], ids=["slices", "positions"])
def test_what_a_shadow_could_not_take_is_said_with_where_to_look(projection: Projection) -> None:
    """Once in the log, under the shadow's name; the hint names the view, which commands know."""
    world = World(some_history(), projection._replace(fold=_poisoned))
    with structlog.testing.capture_logs() as logs:
        world.rebuild()
    told = [entry for entry in logs if entry["event"] == "projection.event_parked"]
    in_shadow = [entry for entry in told if entry["projection"] == "tenant_jobs__new"]
    assert [entry["event_id"] for entry in in_shadow] == [f"{JOBS[2]}.1"]
    assert {entry["hint"] for entry in told} == {"jobledger projections parked tenant_jobs"}


def _half_changed(row: Row | None, event: SeenEvent) -> Row | None:
    folded = TENANT_JOBS.fold(row, event)
    if event.originator_id == JOBS[2] and event.topic == "job.started":
        raise ZeroDivisionError("after it had changed the row")
    return folded


def test_a_row_is_what_it_was_before_the_poison() -> None:
    """A fold that changed its row and raised then: the row is that of the events before."""
    world = World(some_history(), TENANT_JOBS._replace(fold=_half_changed))
    world.rebuild()
    assert world.rows[JOBS[2],]["status"] == "pending"
    assert world.rows[JOBS[3],]["status"] == "in_progress"


@pytest.mark.parametrize("projection", [TENANT_JOBS, BY_POSITION], ids=["slices", "positions"])
def test_skipped_events_are_left_out(projection: Projection) -> None:
    """What people decided that the view goes without, it goes without after a rebuild, too."""
    world = World(some_history(), projection._replace(fold=_poisoned))
    world.store.waiting.clear()
    skipped = frozenset({(JOBS[2], 1), (JOBS[2], 2)})
    outcome = world.run(world.begin(), options=Options(skipped=skipped))
    assert outcome.end is not None and outcome.end.parked == 0
    assert set(world.rows) == {(job,) for job in JOBS if job != JOBS[2]}


def _unknown(row: Row | None, event: SeenEvent) -> Row | None:
    raise UnknownTopic("job.praised", hint="upgrade jobledger")


@pytest.mark.parametrize("projection", [TENANT_JOBS, BY_POSITION], ids=["slices", "positions"])
def test_an_event_newer_than_the_program_stops_it_where_it_stands(projection: Projection) -> None:
    """Nothing is parked; a newer program goes on with the same rebuild."""
    world = World(some_history(), projection)
    joined = world.begin()
    world.projection = projection._replace(fold=_unknown)
    with pytest.raises(UnknownTopic):
        world.run(joined)
    assert world.store.waiting == {}
    world.projection = projection
    assert not world.begin().fresh
    assert world.run(joined).end is not None


def test_a_view_of_an_older_fold_is_replaced_where_it_stands() -> None:
    """The old rows stand still at their position; the fresh ones are compared there, take their place and go on."""
    world = World(some_history()[:6])
    world.projection = TENANT_JOBS._replace(version=2)
    world.source.events[:] = some_history()
    outcome = world.rebuild()
    assert outcome.end is not None and outcome.end.swapped
    assert outcome.end.comparison.position == world.source.events[5].position
    assert world.store.stored["tenant_jobs"].version == 2
    world.assert_is_the_fold()


def test_a_part_of_an_older_folds_view_is_refused_at_once() -> None:
    """Rows of two versions never stand in one table: that is said before anything is filled, not at the end."""
    world = World(some_history())
    world.projection = TENANT_JOBS._replace(version=2)
    with pytest.raises(SchemaOutdated, match="rebuild tenant_jobs"):
        world.begin(scope=Scope("tenant-0"))
    assert world.shadows.unfinished("tenant_jobs") is None
    assert world.begin(scope=Scope("tenant-0"), purpose=Purpose.DRY_RUN).fresh, "comparing changes nothing"


def test_a_view_of_a_newer_fold_is_left_alone() -> None:
    """An older program does not rebuild what a newer one wrote."""
    world = World(some_history())
    world.store.stored["tenant_jobs"] = Checkpoint(10, 2)
    with pytest.raises(SchemaTooNew):
        world.begin()


def test_a_rebuild_by_an_older_fold_is_given_up_for_a_new_one() -> None:
    """Interrupted, then the program was upgraded: what the older fold filled is thrown away, and that is recorded."""
    world = World(some_history())
    first = world.begin()
    with pytest.raises(Cut):
        world.run(first, ports_that_die(world, 9, after=True, calls=[]))
    world.projection = TENANT_JOBS._replace(version=2)
    second = world.begin()
    assert second.fresh
    assert world.shadows.get(first.rebuild.rebuild_id).state is RebuildState.FAILED
    assert world.records.acts[-1].endswith("the fold is of version 2 now")
    world.run(second)
    world.assert_is_the_fold()


def test_an_empty_ledger_is_rebuilt_at_once() -> None:
    """Nothing to fold: an empty view."""
    world = World([])
    outcome = world.rebuild()
    assert outcome.end is not None and outcome.end.comparison.rows_fresh == 0
    assert world.rows == {}


def test_it_is_told_how_far_it_has_come() -> None:
    """Fractions rise within a state, from nothing to everything; the states follow each other."""
    world = World(some_history())
    world.rebuild()
    states = list(dict.fromkeys(standing.state for standing in world.told))
    assert states == [RebuildState.FILLING, RebuildState.INDEXING, RebuildState.COMPARING]
    filling = [standing.fraction for standing in world.told if standing.state is RebuildState.FILLING]
    assert filling == sorted(filling) and filling[0] == 0 and filling[-1] == 1
    assert world.told[-1].events == len(world.source.events)


def test_a_throttle_rests_in_proportion() -> None:
    """A quarter of the time busy means three quarters at rest, shared among workers."""
    now, slept = [0.0], list[float]()
    throttle = Throttle(0.25, monotonic=lambda: now[0], sleep=slept.append)
    begun = throttle.begin()
    now[0] = 2.0
    throttle.rest(begun)
    throttle.divided(2).rest(begun)
    Throttle(monotonic=lambda: now[0], sleep=slept.append).rest(begun)
    assert slept == [6.0, 14.0]
