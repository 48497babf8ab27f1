"""What is parked beside a view, on both engines: it survives, in order, and is stored with its batch or not at all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from jobledger.projections.job_short_ids import JOB_SHORT_IDS
from jobledger.projections.ports import Changes, Checkpoint, CheckpointMoved, Key, Parked
from jobledger.projections.projection import Projection, Value
from jobledger.projections.tenant_jobs import TENANT_JOBS

from .support import job_id
from .views_support import Opened, ReadSide, open_read_side, place_of

ROOT = Path(__file__).parents[2]
ALL = 1_000
A, B = UUID(int=1), UUID(int=2)


def parked(position: int, error: str | None = None, key: Key = (A,), projection: Projection = TENANT_JOBS) -> Parked:
    """An event of the stream that is first in the key, at a position that is also its version."""
    return Parked(projection.name, key, A, position, "acme", position, "job.started", error)


def park(own: Opened, events: Sequence[Parked], projection: Projection = TENANT_JOBS) -> None:
    """Park events with a batch that changes no row."""
    with own.store.begin((projection,)) as transaction:
        assert transaction is not None
        before = transaction.checkpoint(projection)
        transaction.park(events)
        transaction.save(projection, Changes(), before, before._replace(position=before.position + 1))


def unpark(own: Opened, events: Sequence[Parked]) -> None:
    """Take what is parked, with nothing else."""
    with own.store.begin((TENANT_JOBS,)) as transaction:
        assert transaction is not None
        transaction.unpark(events)


def stored(own: Opened, projection: str | None = None, *, failed: bool = False, limit: int = ALL) -> list[Parked]:
    """What is parked, without the time."""
    found = own.store.parked(projection, failed=failed, limit=limit)
    return [event._replace(parked_at=None) for event in found]


def test_parked_events_are_listed_in_order(read_side: ReadSide) -> None:
    """By projection and position, whatever the order in which they were parked; the first so many where asked."""
    late, first, waits = parked(7, "late", key=(B,)), parked(3, "first"), parked(5)
    other = parked(4, "other", key=("acme", "00000001", A), projection=JOB_SHORT_IDS)
    park(read_side.own, [late, first, waits])
    park(read_side.own, [other], JOB_SHORT_IDS)
    with read_side.ledger.open_again(), open_read_side(read_side.ledger) as another_process:
        assert stored(another_process) == [other, first, waits, late]
        assert stored(another_process, "tenant_jobs") == [first, waits, late]
        assert stored(another_process, "tenant_jobs", limit=2) == [first, waits]
        assert stored(another_process, failed=True) == [other, first, late]
        assert stored(another_process, "tenant_jobs", failed=True) == [first, late]
        assert stored(another_process, "dlq_jobs") == []
        assert another_process.store.parked_counts() == {"tenant_jobs": (2, 1), "job_short_ids": (1, 0)}


def test_when_it_was_parked_is_known(read_side: ReadSide) -> None:
    """By the database's clock; an error that comes later does not change it."""
    before = datetime.now(UTC)
    park(read_side.own, [parked(3, "first")])
    (at_first,) = read_side.own.store.parked(limit=ALL)
    assert at_first.parked_at is not None
    assert abs((at_first.parked_at - before).total_seconds()) < 60
    park(read_side.own, [parked(3, "again")])
    (again,) = read_side.own.store.parked(limit=ALL)
    assert (again.error, again.parked_at) == ("again", at_first.parked_at)


KEYS: list[tuple[Value, ...]] = [
    (A,), ("acme", "deadbeef", A), ("o'brien \"x\" \\ ü \U0001f40d", 42),
    (datetime(2026, 3, 2, 12, 0, 0, 17, UTC), 2.5), (None, True, ""),
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=["id", "texts", "odd text", "time", "none"])
def test_a_key_comes_back_as_it_was(read_side: ReadSide, key: Key) -> None:
    """Of whatever types its columns are."""
    park(read_side.own, [parked(3, "broken", key=key), parked(4, None, key=key)])
    assert [event.key for event in read_side.own.store.parked(limit=ALL)] == [key, key]
    with read_side.own.store.begin((TENANT_JOBS,)) as transaction:
        assert transaction is not None
        assert transaction.parked_keys(TENANT_JOBS) == {key}
        assert [event.position for event in transaction.parked(TENANT_JOBS, key, limit=ALL)] == [3, 4]


def test_the_events_of_a_key_come_in_pages(read_side: ReadSide) -> None:
    """In order of position, those of other keys and views apart."""
    mine = [parked(3, "broken"), *(parked(position) for position in range(4, 9))]
    park(read_side.own, [*mine, parked(5, "not mine", key=(B,))])
    park(read_side.own, [parked(5, "nor this", projection=JOB_SHORT_IDS)], JOB_SHORT_IDS)
    with read_side.own.store.begin((TENANT_JOBS,)) as transaction:
        assert transaction is not None
        assert transaction.parked_keys(TENANT_JOBS) == {(A,), (B,)}
        assert transaction.parked_keys(JOB_SHORT_IDS) == {(A,)}
        assert [event.position for event in transaction.parked(TENANT_JOBS, (A,), limit=2)] == [3, 4]
        assert [event.position for event in transaction.parked(TENANT_JOBS, (A,), after=4, limit=ALL)] == [5, 6, 7, 8]
        assert transaction.parked(TENANT_JOBS, (job_id(),), limit=ALL) == []


def test_what_is_taken_is_gone(read_side: ReadSide) -> None:
    """Unparked events are not listed, counted or waited behind any more; the others are."""
    first, second, other = parked(3, "broken"), parked(4), parked(5, "too", key=(B,))
    park(read_side.own, [first, second, other])
    unpark(read_side.own, [first, second])
    assert stored(read_side.own) == [other]
    assert read_side.own.store.parked_counts() == {"tenant_jobs": (1, 0)}
    with read_side.own.store.begin((TENANT_JOBS,)) as transaction:
        assert transaction is not None
        assert transaction.parked_keys(TENANT_JOBS) == {(B,)}


def test_what_somebody_else_took_cannot_be_taken(read_side: ReadSide) -> None:
    """The second finds out when his transaction ends; nothing of it is stored."""
    first, second = parked(3, "broken"), parked(5, "too", key=(B,))
    park(read_side.own, [first, second])
    unpark(read_side.own, [first])
    with pytest.raises(CheckpointMoved):
        unpark(read_side.own, [second, first])
    assert stored(read_side.own) == [second]


def test_nothing_waits_behind_nothing(read_side: ReadSide) -> None:
    """An event that is to wait for another one is refused, batch and all, where that one is not parked any more."""
    before = read_side.own.store.checkpoints()
    with pytest.raises(CheckpointMoved):
        park(read_side.own, [parked(4)])
    assert stored(read_side.own) == [] and read_side.own.store.checkpoints().get("tenant_jobs") == before.get(
        "tenant_jobs"
    )


def test_parked_with_its_batch_or_not_at_all(read_side: ReadSide) -> None:
    """Rows, checkpoint and parked events are stored together; a batch that is refused parks nothing."""
    job = read_side.ledger.dispatch()
    read_side.own.project()
    standing = read_side.own.store.checkpoints()["tenant_jobs"]
    stale = Checkpoint(standing.position - 1, 1)
    with pytest.raises(CheckpointMoved):
        _park_and_end(read_side.own, job, stale)
    with pytest.raises(ZeroDivisionError):
        _park_and_end(read_side.own, job, standing, fail=True)
    assert stored(read_side.own) == []
    assert read_side.own.store.checkpoints()["tenant_jobs"] == standing
    assert read_side.own.count_rows("tenant_jobs") == 1


def _park_and_end(own: Opened, job: UUID, before: Checkpoint, *, fail: bool = False) -> None:
    with own.store.begin((TENANT_JOBS,)) as transaction:
        assert transaction is not None
        transaction.park([parked(3, "broken")])
        transaction.save(TENANT_JOBS, Changes(ended=[(job,)]), before, before._replace(position=99_999))
        if fail:
            raise ZeroDivisionError


def test_a_view_that_begins_again_has_nothing_parked(read_side: ReadSide) -> None:
    """Its events come again, all of them; what is parked of other views stays."""
    other = parked(5, "other", projection=JOB_SHORT_IDS)
    park(read_side.own, [parked(3, "broken"), parked(4)])
    park(read_side.own, [other], JOB_SHORT_IDS)
    with read_side.own.store.begin((TENANT_JOBS,)) as transaction:
        assert transaction is not None
        transaction.reset(TENANT_JOBS)
    assert stored(read_side.own) == [other]


def test_a_batch_that_did_not_know_what_was_taken_is_refused(read_side: ReadSide) -> None:
    """Somebody takes what is parked while a batch is folded that means to wait behind it, or the batch has to wait."""
    park(read_side.own, [parked(3, "broken")])
    other = read_side.open_again()
    refused = False
    try:
        with other.store.begin((TENANT_JOBS,)) as slow:
            assert slow is not None
            before = slow.checkpoint(TENANT_JOBS)
            assert slow.parked_keys(TENANT_JOBS) == {(A,)}
            with read_side.own.store.begin((TENANT_JOBS,)) as fast:
                taken = fast is not None
                if fast is not None:
                    fast.unpark([parked(3, "broken")])
            slow.park([parked(4)])
            slow.save(TENANT_JOBS, Changes(), before, before._replace(position=before.position + 1))
    except CheckpointMoved:
        refused = True
    assert taken is refused
    assert stored(read_side.own) == ([] if taken else [parked(3, "broken"), parked(4)])


def test_killed_amid_a_batch_nothing_is_parked(read_side: ReadSide) -> None:
    """A process is killed after it parked, before its transaction ended: neither rows nor parked events are there, and
    the next one parks them."""
    ledger = read_side.ledger
    ledger.dispatch()
    read_side.own.project()
    standing = read_side.own.store.checkpoints()["tenant_jobs"]
    command = [sys.executable, "-m", "tests.support.parking_process", ledger.engine, place_of(ledger)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "parked\n"
        process.kill()
    assert stored(read_side.own) == []
    assert read_side.own.store.checkpoints()["tenant_jobs"] == standing
    assert read_side.own.count_rows("tenant_jobs") == 1
    park(read_side.own, [parked(3, "broken")])
    assert stored(read_side.own) == [parked(3, "broken")]
