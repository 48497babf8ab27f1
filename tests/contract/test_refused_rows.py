"""A row that the database refuses is its event's fault, as if the fold had raised; trouble of the database never is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import cast
from uuid import UUID

import psycopg
import pytest

from jobledger.domain.errors import LedgerUnavailable
from jobledger.projections.persona_jobs import PERSONA_JOBS
from jobledger.projections.projection import Projection, Row, SeenEvent, Value
from jobledger.projections.queue_statistics import QUEUE_STATISTICS
from jobledger.projections.rebuild import Options, Rebuilding, RebuildPorts
from jobledger.projections.retrying import Retried, Retrying
from jobledger.projections.shadow import RebuildState
from jobledger.projections.tenant_jobs import TENANT_JOBS
from tests.support.given import NOW
from tests.support.seen import fold_all
from tests.support.shadows import MemoryRecords

from .shadows_support import begin
from .support import LedgerUnderTest
from .views_support import Opened, OpenedPostgres, OpenedSqlite, ReadSide

Spoil = Callable[[Row], object]


def put(column: str, value: object) -> Spoil:
    """Writes a value into a column that does not take it."""
    return lambda row: row.update({column: cast("Value", value)})


SPOILED: dict[str, tuple[Spoil, str]] = {
    "NUL": (put("queue", "a\x00b"), "queue"),
    "a lone surrogate": (put("status", "\ud800"), "status"),
    "too large": (put("priority", 2**31), "priority"),
    "much too large": (put("attempt", 10**40), "attempt"),
    "text for a number": (put("priority", "three"), "priority"),
    "digits for a number": (put("attempt", "3"), "attempt"),
    "a fraction for an integer": (put("priority", 2.5), "priority"),
    "a number for text": (put("kind", 7), "kind"),
    "a list for text": (put("queue", ["default"]), "queue"),
    "no number": (put("progress", float("nan")), "progress"),
    "text for a yes": (put("failed", "yes"), "failed"),
    "no zone": (put("updated_at", datetime(2026, 3, 2)), "updated_at"),  # noqa: DTZ001 - that is the point
    "text for a time": (put("created_at", "today"), "created_at"),
    "text for an id": (put("job_id", "0199a0b0"), "job_id"),
    "nothing": (put("status", None), "status"),
    "no such column": (lambda row: row.pop("queue"), "queue"),
}  # fmt: skip
EACH = pytest.mark.parametrize("spoiled", SPOILED)


def spoiling(projection: Projection, spoil: Spoil, bad: UUID, version: int) -> Projection:
    """The projection, whose fold spoils the row of a job from one version on. It raises nothing."""

    def fold(row: Row | None, event: SeenEvent) -> Row | None:
        folded = projection.fold(row, event)
        if folded is not None and event.originator_id == bad and event.originator_version >= version:
            spoil(folded)
        return folded

    return projection._replace(fold=fold)


def parked(own: Opened, name: str) -> list[tuple[UUID, int, bool]]:
    """What is parked of a view: events, and whether each failed."""
    found = own.store.parked(name, limit=99)
    return [(one.originator_id, one.originator_version, one.error is not None) for one in found]


def assert_only_without(own: Opened, projection: Projection, bad: UUID, version: int) -> None:
    """The view is the fold of all events, but for those of the bad job from that version on, which are parked."""
    events = own.events()
    kept = [event for event in events if event.originator_id != bad or event.originator_version < version]
    assert own.stored_rows(projection, events) == fold_all(TENANT_JOBS, kept)
    assert parked(own, projection.name) == [(bad, number, number == version) for number in range(version, 4)]


# --- in a runner -----------------------------------------------------------------------------------------------------


@EACH
def test_the_event_is_parked_with_the_column_and_its_rule(read_side: ReadSide, spoiled: str) -> None:
    """Other jobs and other views of the same scan go on; the error names the column, and nothing that stands in it."""
    spoil, column = SPOILED[spoiled]
    first, bad, last = read_side.work(persona="bot"), read_side.work(persona="bot"), read_side.work(persona="bot")
    assert len({first, bad, last}) == 3
    read_side.own.run(spoiling(TENANT_JOBS, spoil, bad, 2), PERSONA_JOBS, QUEUE_STATISTICS)
    assert_only_without(read_side.own, TENANT_JOBS, bad, 2)
    failed, _ = read_side.own.store.parked("tenant_jobs", limit=9)
    assert failed.error is not None and failed.error.startswith(f"RowRefused: {column}: ")
    events = read_side.own.events()
    assert read_side.own.stored_rows(PERSONA_JOBS, events) == fold_all(PERSONA_JOBS, events)
    assert read_side.own.store.parked_counts() == {"tenant_jobs": (1, 1)}


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7])
def test_it_is_found_in_batches_of_any_size(read_side: ReadSide, batch_size: int) -> None:
    """Also where the row was begun by a batch before, or the refused row is the first one of its key."""
    bad, other = read_side.work(persona="bot"), read_side.work(persona="bot")
    read_side.own.run(spoiling(TENANT_JOBS, put("queue", "\x00"), bad, 1), batch_size=batch_size)
    assert_only_without(read_side.own, TENANT_JOBS, bad, 1)
    assert other != bad


@pytest.mark.parametrize("key", [("\x00",), ("a", 1), (None,), ("\ud800",), ([],), 7], ids=repr)
def test_a_key_that_no_database_takes_holds_back_its_job(read_side: ReadSide, key: object) -> None:
    """Such a key is no key: the event is parked under its stream, and later events of the job wait."""
    bad, other = read_side.work(persona="bot"), read_side.work(persona="bot")

    def broken(event: SeenEvent) -> tuple[Value, ...] | None:
        is_bad = (event.originator_id, event.originator_version) == (bad, 2)
        return cast("tuple[Value, ...]", key) if is_bad else TENANT_JOBS.key(event)

    read_side.own.run(TENANT_JOBS._replace(key=broken), PERSONA_JOBS)
    assert_only_without(read_side.own, TENANT_JOBS, bad, 2)
    assert {one.key for one in read_side.own.store.parked("tenant_jobs", limit=9)} == {(bad,)}
    assert other != bad


def test_what_a_statistic_cannot_store_is_parked_alone(read_side: ReadSide) -> None:
    """A row of many jobs: the event that spoils it is parked, with those that follow for the same row."""
    bad, other = read_side.work(persona="bot"), read_side.work(persona="bot")
    projection = spoiling(QUEUE_STATISTICS, put("dispatched", 2**31), other, 1)
    read_side.own.run(projection)
    assert parked(read_side.own, "queue_statistics")[0] == (other, 1, True)
    assert bad not in {job for job, _, failed in parked(read_side.own, "queue_statistics") if failed}


@pytest.mark.parametrize("count", [3, 40])
def test_what_only_the_database_knows_is_found_by_smaller_batches(read_side: ReadSide, count: int) -> None:
    """Somebody's own constraint, of which no column tells: the one event that breaks it is parked, all others are
    taken, and once it is gone a retry takes that one, too."""
    jobs = [read_side.ledger.dispatch(priority=number) for number in range(count)]
    twin = read_side.ledger.dispatch(priority=1)
    constrain(read_side.ledger, "CREATE UNIQUE INDEX mine ON {} (priority)")
    read_side.own.run(TENANT_JOBS, PERSONA_JOBS, batch_size=1_000)
    assert parked(read_side.own, "tenant_jobs") == [(twin, 1, True)]
    assert read_side.own.count_rows("tenant_jobs") == len(jobs)
    retrying = Retrying(read_side.own.store, read_side.own.source, TENANT_JOBS)
    (again,) = retrying.retry_all().failed
    assert again.error is not None and "RowRefused" in again.error
    constrain(read_side.ledger, "DROP INDEX {}mine")
    assert retrying.retry_all() == Retried(taken=1)
    events = read_side.own.events()
    assert read_side.own.stored_rows(TENANT_JOBS, events) == fold_all(TENANT_JOBS, events)


def test_a_text_that_is_too_long_for_an_index_is_parked(read_side: ReadSide) -> None:
    """PostgreSQL's indexes take no text of any length. SQLite's do: there it is a row like any other."""
    bad, other = read_side.work(persona="bot"), read_side.work(persona="bot")
    read_side.own.run(spoiling(TENANT_JOBS, put("status", Random(1).randbytes(9_000).hex()), bad, 2))
    if read_side.ledger.engine == "postgres":
        assert_only_without(read_side.own, TENANT_JOBS, bad, 2)
    else:
        assert parked(read_side.own, "tenant_jobs") == [] and read_side.own.count_rows("tenant_jobs") == 2
    assert other != bad


def constrain(ledger: LedgerUnderTest, statement: str) -> None:
    """Change the live table as somebody with a database client does."""
    with ledger.connect() as connection:
        schema = "" if ledger.engine == "sqlite" else "jobledger."
        table = schema if statement.startswith("DROP") else f"{schema}tenant_jobs"
        connection.execute(statement.format(table))
        connection.commit()


def test_what_is_refused_again_stays_parked(read_side: ReadSide) -> None:
    """A retry before the fold was corrected changes nothing but the error; afterwards all is taken."""
    bad = read_side.work(persona="bot")
    read_side.work(persona="bot")
    projection = spoiling(TENANT_JOBS, put("priority", 2**40), bad, 2)
    read_side.own.run(projection)
    answer = Retrying(read_side.own.store, read_side.own.source, projection).retry_all()
    assert (answer.taken, [one.originator_version for one in answer.failed]) == (0, [2])
    assert_only_without(read_side.own, TENANT_JOBS, bad, 2)
    assert Retrying(read_side.own.store, read_side.own.source, TENANT_JOBS).retry_all() == Retried(taken=2)
    events = read_side.own.events()
    assert read_side.own.stored_rows(TENANT_JOBS, events) == fold_all(TENANT_JOBS, events)


# --- in a rebuild ----------------------------------------------------------------------------------------------------


@EACH
def test_a_rebuild_parks_it_too(read_side: ReadSide, spoiled: str) -> None:
    """The fresh table holds what the others say; with the swap the parked events are the live view's."""
    bad = read_side.work(persona="bot")
    for _ in range(3):
        read_side.work(persona="bot")
    read_side.own.run(TENANT_JOBS)
    own, projection = read_side.own, spoiling(TENANT_JOBS, SPOILED[spoiled][0], bad, 2)
    ports = RebuildPorts(own.shadows, own.store, own.source, MemoryRecords(), lambda: NOW, lambda _: None)
    rebuilding = Rebuilding(ports, projection, begin(own, projection), Options(stream_events=4))
    outcome = rebuilding.run()
    rebuilding.close()
    assert outcome.rebuild.state is RebuildState.SWAPPED
    assert outcome.end is not None and outcome.end.parked == 2
    assert_only_without(own, TENANT_JOBS, bad, 2)


# --- what is the database's own trouble ------------------------------------------------------------------------------


def test_trouble_of_the_database_is_no_events_fault(read_side: ReadSide) -> None:
    """A connection that breaks or a disk that is full in the middle of a batch: nothing is parked, however often, and
    the same batch is stored once that is over."""
    for _ in range(100):  # more than fits into pages that are there
        read_side.ledger.dispatch()
    own = read_side.own
    for _ in range(5):
        trouble, over = break_storage(own)

        def fold(row: Row | None, event: SeenEvent, trouble: Callable[[], None] = trouble) -> Row | None:
            trouble()
            return TENANT_JOBS.fold(row, event)

        runner = own.runner(TENANT_JOBS._replace(fold=fold))
        with pytest.raises(LedgerUnavailable):
            runner.run_once()
        over()
        runner.stop()
    assert own.store.parked(limit=9) == [] and own.store.checkpoints().get("tenant_jobs") is None
    own.run(TENANT_JOBS)
    events = own.events()
    assert own.stored_rows(TENANT_JOBS, events) == fold_all(TENANT_JOBS, events)


def break_storage(own: Opened) -> tuple[Callable[[], None], Callable[[], None]]:
    """How the storage breaks, and how it is repaired."""
    if isinstance(own, OpenedSqlite):
        writer = own.database._writer
        (pages,) = writer.execute("PRAGMA page_count").fetchone()

        def fill_up() -> None:
            writer.execute(f"PRAGMA max_page_count = {pages}")

        def make_room() -> None:
            writer.execute("PRAGMA max_page_count = 1073741823")

        return fill_up, make_room
    assert isinstance(own, OpenedPostgres)

    def disconnect() -> None:
        with psycopg.connect(own.dsn) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
            )

    return disconnect, lambda: None
