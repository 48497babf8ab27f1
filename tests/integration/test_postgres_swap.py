"""A swap on PostgreSQL beside readers and runners: nobody misses a row, nobody waits long, nobody's batch is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from threading import Event, Thread
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from jobledger.domain.errors import InvalidSettings, LedgerBusy, LedgerUnavailable
from jobledger.infrastructure.postgres import shadows, swapping
from jobledger.infrastructure.postgres.connections import Connections, Role
from jobledger.infrastructure.postgres.shadows import PostgresShadows
from jobledger.projections.ports import Changes, CheckpointMoved
from jobledger.projections.shadow import RebuildState, shadow_of
from jobledger.projections.tenant_jobs import TENANT_JOBS
from tests.contract.conftest import postgres_ledger
from tests.contract.shadows_support import (
    begin,
    compare,
    fill,
    follow,
    job_row,
    make_shadow,
    populate,
    spoil,
    step,
    swap,
)
from tests.contract.support import LedgerUnderTest
from tests.contract.views_support import ReadSide, open_read_side, place_of

from .test_view_tables import catalogue

__all__ = ["postgres_ledger"]

SWAPS = 5


@pytest.fixture
def read_side(postgres_ledger: LedgerUnderTest) -> Iterator[ReadSide]:
    """A ledger with jobs of two tenants, whose views are current."""
    with open_read_side(postgres_ledger) as own:
        side = ReadSide(postgres_ledger, own)
        populate(side)
        own.project()
        yield side
        side.close()


def test_readers_with_prepared_statements_never_miss_a_row(read_side: ReadSide) -> None:
    """Before, during and after each of several swaps a statement finds all rows of its tenant, and no other's."""
    seen: set[tuple[int, int]] = set()
    reads, done = Event(), Event()

    def read() -> None:
        connections = Connections(place_of(read_side.ledger))
        while not done.is_set():
            with connections.tenant_transaction("acme") as connection:
                row = connection.execute(
                    "SELECT count(*), count(DISTINCT tenant_id) FROM tenant_jobs", prepare=True
                ).fetchone()
            assert row is not None
            seen.add((row[0], row[1]))
            reads.set()
        connections.close()

    reader = Thread(target=read)
    reader.start()
    try:
        for _ in range(SWAPS):
            rebuild = make_shadow(read_side.own)
            _swap_when_let_in(read_side, rebuild.rebuild_id)
            reads.clear()
            assert reads.wait(10)
    finally:
        done.set()
        reader.join()
    assert seen == {(18, 1)}


def _swap_when_let_in(read_side: ReadSide, rebuild_id: object) -> None:
    rebuild = read_side.own.shadows.unfinished("tenant_jobs")
    assert rebuild is not None and rebuild.rebuild_id == rebuild_id
    while True:
        try:
            swap(read_side.own, rebuild)
        except LedgerBusy:
            continue
        return


def test_the_table_behind_the_name_is_like_the_one_before(read_side: ReadSide) -> None:
    """Names of indexes and constraints, row-level security, policies, rights and options are those of the view."""
    with psycopg.connect(place_of(read_side.ledger)) as connection:
        before = catalogue(connection, "tenant_jobs")
    for _ in range(2):
        swap(read_side.own, make_shadow(read_side.own))
        with psycopg.connect(place_of(read_side.ledger)) as connection:
            assert catalogue(connection, "tenant_jobs") == before
            renamed = [name for kind, name, _ in catalogue(connection, "tenant_jobs__previous") if kind == "index"]
            assert all(name.startswith("tenant_jobs__previous_") for name in renamed)


def test_a_reader_that_stays_is_not_waited_for(read_side: ReadSide) -> None:
    """While somebody's transaction has the table the swap is refused, with nothing changed; then it is let in."""
    rebuild = make_shadow(read_side.own)
    with psycopg.connect(place_of(read_side.ledger)) as reader:
        reader.execute("SELECT FROM jobledger.tenant_jobs LIMIT 1")
        with pytest.raises(LedgerBusy):
            read_side.own.shadows.swap(rebuild, TENANT_JOBS)
        assert read_side.own.shadows.unfinished("tenant_jobs") == rebuild
        assert compare(read_side.own).is_equal
    swap(read_side.own, rebuild)
    read_side.own.assert_views_are_the_fold()


def test_a_batch_that_is_under_way_is_not_lost(read_side: ReadSide) -> None:
    """A runner that has not committed yet keeps the swap out; once it has, the shadow must take the batch, too."""
    rebuild, runner = make_shadow(read_side.own), read_side.open_again()
    read_side.ledger.dispatch()
    head = runner.source.head()
    with runner.store.begin((TENANT_JOBS,)) as transaction:
        assert transaction is not None
        at = transaction.checkpoint(TENANT_JOBS)
        transaction.save(TENANT_JOBS, Changes(), at, at._replace(position=head))
        transaction.load(TENANT_JOBS, [(rebuild.rebuild_id,)])()
        with pytest.raises(LedgerBusy):
            read_side.own.shadows.swap(rebuild, TENANT_JOBS)
        with read_side.own.shadows.hold(TENANT_JOBS) as held:
            assert held is None
    with pytest.raises(CheckpointMoved):
        read_side.own.shadows.swap(rebuild, TENANT_JOBS)
    follow(read_side.own, shadow_of(TENANT_JOBS))
    swap(read_side.own, rebuild)
    read_side.own.project()
    read_side.own.assert_views_are_the_fold()


@pytest.mark.parametrize("newer", [False, True], ids=["same fold", "newer fold"])
def test_a_runner_that_did_not_notice_the_swap_writes_into_the_new_table(read_side: ReadSide, newer: bool) -> None:
    """It looked where the view stands before the swap and stores its batch behind it: into the new table, or, where
    that is of a newer fold, not at all."""
    own, runner = read_side.own, read_side.open_again()
    projection = TENANT_JOBS._replace(version=2) if newer else TENANT_JOBS
    first = next(event for event in own.events() if event.topic == "job.dispatched")
    right = job_row(own, first.originator_id)
    spoil(own, changed=[{**right, "status": "odd"}])
    rebuild = make_shadow(own, projection)
    try:
        with runner.store.begin((TENANT_JOBS,)) as transaction:
            assert transaction is not None
            at = transaction.checkpoint(TENANT_JOBS)
            own.shadows.swap(rebuild, projection)
            loaded = transaction.load(TENANT_JOBS, [(first.originator_id,)])()
            assert loaded == {(first.originator_id,): right}
            changed = {**right, "priority": 9}
            transaction.save(TENANT_JOBS, Changes(changed=[changed]), at, at._replace(position=at.position + 1))
    except CheckpointMoved:
        assert newer
    stored = own.store.checkpoints()["tenant_jobs"]
    assert (stored.position, stored.version) == (at.position + (not newer), projection.version)
    assert job_row(own, first.originator_id) == (right if newer else changed)


def test_a_login_that_is_no_owner_is_told_so(read_side: ReadSide) -> None:
    """Its error names the role that it lacks, and how to get it."""
    dsn = place_of(read_side.ledger)
    name = f"only_projector_{uuid4().hex}"  # roles are the cluster's, not the database's
    login = sql.Identifier(name)
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN IN ROLE jobledger_projector").format(login))
    connections = Connections(psycopg.conninfo.make_conninfo(dsn, user=name))
    try:
        with pytest.raises(InvalidSettings, match="jobledger_owner"):
            PostgresShadows(connections).drop_previous(TENANT_JOBS.name)
        connections.connect(Role.PROJECTOR).close()
    finally:
        connections.close()
        with psycopg.connect(dsn, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP ROLE {}").format(login))


def _read_by_api(read_side: ReadSide, table: str, tenant: str) -> set[str]:
    """Whose rows of a table a session of the API sees that acts for a tenant."""
    connections = Connections(place_of(read_side.ledger))
    try:
        with connections.tenant_transaction(tenant) as connection:
            statement = sql.SQL("SELECT DISTINCT tenant_id FROM {}").format(sql.Identifier(table))
            return {name for (name,) in connection.execute(statement)}
    finally:
        connections.close()


def test_no_version_of_a_view_shows_another_tenants_rows(read_side: ReadSide) -> None:
    """A shadow that is filled shows nothing to the API; from then on, also once it is live and once it was replaced,
    a session sees the rows of its tenant only."""
    own, tables = read_side.own, (shadow_of(TENANT_JOBS).name, TENANT_JOBS.name, "tenant_jobs__previous")
    rebuild = begin(own)
    fill(own, rebuild)
    with pytest.raises(LedgerUnavailable, match="permission denied for table tenant_jobs__new"):
        _read_by_api(read_side, tables[0], "acme")
    own.shadows.index(rebuild, TENANT_JOBS)
    follow(own, shadow_of(TENANT_JOBS))
    assert _read_by_api(read_side, tables[0], "acme") == {"acme"}
    swap(own, own.shadows.note(own.shadows.get(rebuild.rebuild_id), RebuildState.COMPARING))
    for table in tables[1:]:
        assert _read_by_api(read_side, table, "acme") == {"acme"}
        assert _read_by_api(read_side, table, "beta") == {"beta"}
        assert _read_by_api(read_side, table, "") == set()


def test_a_swap_whose_server_process_is_killed_changes_nothing(read_side: ReadSide) -> None:
    """Before its commit nothing of it is there: live view, shadow and rebuild are as they were, and the next one
    succeeds."""
    own, dsn = read_side.own, place_of(read_side.ledger)
    rebuild = make_shadow(own)
    with psycopg.connect(dsn) as owner, psycopg.connect(dsn, autocommit=True) as admin:
        owner.execute("SET ROLE jobledger_owner")
        owner.execute("SET search_path = jobledger")
        swapping.swap(owner, rebuild, TENANT_JOBS)
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", (owner.info.backend_pid,))
        owner.close()
    assert own.shadows.get(rebuild.rebuild_id).state is RebuildState.COMPARING
    assert all(version.previous is None for version in own.shadows.versions())
    assert compare(own).is_equal
    swap(own, rebuild)
    own.assert_views_are_the_fold()


def test_who_is_silent_for_long_owns_no_slice_any_more(read_side: ReadSide, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen, it keeps its connection, but not the slice: another takes it. Awake again, it stores nothing twice and
    helps with the rest."""
    monkeypatch.setattr(shadows, "SILENCE", "50ms")
    frozen, awake = read_side.own, read_side.open_again()
    rebuild = begin(frozen, slices=1)
    with ExitStack() as owning:
        part = owning.enter_context(frozen.shadows.own_slice(rebuild))
        assert part is not None
        monkeypatch.undo()
        added, taken = step(frozen, rebuild, part), None
        while taken is None:
            with awake.shadows.own_slice(rebuild) as taken:
                if taken is not None:
                    awake.shadows.fill(rebuild, TENANT_JOBS, step(awake, rebuild, taken))
        assert taken == part
        with pytest.raises(LedgerUnavailable):
            frozen.shadows.fill(rebuild, TENANT_JOBS, added)
        with pytest.raises(CheckpointMoved):
            frozen.shadows.fill(rebuild, TENANT_JOBS, added)
    fill(frozen, rebuild)
    frozen.shadows.index(rebuild, TENANT_JOBS)
    follow(frozen, shadow_of(TENANT_JOBS))
    assert compare(frozen).is_equal


def test_a_server_that_is_away_when_a_slice_is_given_back_loses_it_nobody(
    read_side: ReadSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection went, and with it the slice; once the server answers, the same process takes it again."""
    own = read_side.own
    rebuild = begin(own, slices=1)

    def away() -> None:
        raise LedgerUnavailable("PostgreSQL does not answer")

    session = own.shadows._session  # type: ignore[attr-defined]
    with own.shadows.own_slice(rebuild) as part:
        session.close()
        monkeypatch.setattr(session, "_connect", away)
    monkeypatch.undo()
    with own.shadows.own_slice(rebuild) as again:
        assert again == part
