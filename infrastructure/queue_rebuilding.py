"""Verifying and rebuilding the work queue (`open_jobs`) from the ledger.

Verifying reads ledger and queue as they were at one moment, while everybody goes on: events and rows change in the same
transactions. Rebuilding keeps writers out, so workers have to be stopped. It replaces the rows that differ and no
others, in one transaction, and looks at the result before it commits. Jobs in progress stay so, as the ledger says:
their leases run out, and maintenance gives them back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from itertools import islice
from typing import NamedTuple, Protocol, TypeVar, cast
from uuid import UUID

import structlog

from jobledger.application.dispatcher import Dispatcher
from jobledger.application.message import Actor, Message
from jobledger.application.ports import Queue
from jobledger.application.projection_messages import BeginRebuild, CancelRebuild, EndRebuild
from jobledger.domain.errors import CorruptEvent, IllegalTransition, JobledgerError
from jobledger.domain.job import require_reason
from jobledger.projections.open_jobs import FOLD_VERSION, NAME, QueuedJob
from jobledger.projections.shadow import Comparison

from .queue_comparing import Compared, LedgerRow, Pair, Report, StoredRow, expected

ROWS_AT_ONCE = 500

_log = structlog.get_logger("jobledger.projections")
R = TypeVar("R")


class QueueRead(Protocol):
    """Ledger and queue at one moment. What it returns is read as it is asked for: constant memory."""

    @property
    def position(self) -> int:
        """The position up to which all events are part of it."""
        ...

    @property
    def now(self) -> datetime:
        """The database's clock at that moment."""
        ...

    def events(self) -> Iterator[LedgerRow]:
        """The events of all jobs by stream and version."""
        ...

    def rows(self) -> Iterator[StoredRow]:
        """The rows of the queue by id."""
        ...


class QueueWrite(QueueRead, Protocol):
    """The same, with all writers of the queue kept out until it ends."""

    def delete(self, job_ids: Sequence[UUID]) -> None:
        """Remove the rows of these jobs."""
        ...

    def insert(self, rows: Sequence[tuple[StoredRow, int]]) -> set[UUID]:
        """Store rows, each with the payload that is the body of that version of its stream (where it has a hash), in
        the lane that the limits in force ask for. Returns the jobs whose payload is not in the ledger any more, which
        are then not stored."""
        ...


class QueueTables(Protocol):
    """The storage of the queue, for looking at all of it."""

    def reading(self) -> AbstractContextManager[QueueRead]:
        """One moment of ledger and queue; nobody is disturbed."""
        ...

    def writing(self) -> AbstractContextManager[QueueWrite]:
        """The queue for oneself, in one transaction that commits at the end of the block. `LedgerBusy` where writers
        did not let it in, `LedgerUnavailable` where this login may not do it."""
        ...


class QueueRebuild(NamedTuple):
    """What a rebuild of the queue came to: how it was, and what was done."""

    before: Comparison
    after: Comparison
    events: int
    seconds: float
    begun_version: int


def verify_queue(tables: QueueTables, report: Report | None = None) -> Comparison:
    """Compare the queue with the ledger, as they are now, whoever works meanwhile."""
    with tables.reading() as read:
        compared, comparison = _compare(read, report)
    _log.info("queue.verified", events=compared.events, rows=comparison.rows_live, differing=comparison.differing)
    return comparison


def rebuild_queue(
    tables: QueueTables, queue: Queue, dispatcher: Dispatcher, *, actor: Actor, reason: str,
    report: Report | None = None,
) -> QueueRebuild:  # fmt: skip
    """Make the queue what the ledger says, and record so. Raises `IllegalTransition` while workers are alive, and
    `CorruptEvent` where a history or a payload cannot be read; then the queue is as it was."""
    require_reason(reason, "rebuilding the work queue")
    require_no_workers(queue)

    def send(message: type[Message[R]], **fields: object) -> R:
        return dispatcher.send(message, actor=actor, projection=NAME, **fields).unwrap()

    began_at = time.monotonic()
    begun = send(BeginRebuild, fold_version=FOLD_VERSION, reason=reason).version
    try:
        before, after, events = _rewrite(tables, queue, report)
    except JobledgerError as error:
        _log.error("queue.rebuild_failed", error=str(error), error_type=type(error).__name__)
        with suppress(JobledgerError):
            send(CancelRebuild, begun_version=begun, reason=f"it failed: {error}"[:500])
        raise
    seconds = time.monotonic() - began_at
    send(
        EndRebuild, begun_version=begun, swapped=True, events=events, rows_before=before.rows_live,
        rows_after=after.rows_live, differing=before.differing, digest_before=before.digest_live,
        digest_after=after.digest_live, position=before.position, seconds=seconds,
    )  # fmt: skip
    _log.info("queue.rebuilt", events=events, rows=after.rows_live, differing=before.differing)
    return QueueRebuild(before, after, events, seconds, begun)


def require_no_workers(queue: Queue) -> None:
    """Raises `IllegalTransition` naming the workers that are alive: they hold jobs by rows of the queue."""
    alive = [row.heartbeat.worker for row in queue.workers() if not row.is_lost]
    if alive:
        named = ", ".join(alive[:10]) + (f" and {len(alive) - 10} more" if len(alive) > 10 else "")
        raise IllegalTransition(
            "in use", "rebuilt", f"workers are alive: {named}", what="work queue",
            hint="stop them (SIGTERM), then try again; `jobledger workers` shows them. A worker that was killed counts "
            "as alive until its lease has run out",
        )  # fmt: skip


def _compare(read: QueueRead, report: Report | None) -> tuple[Compared, Comparison]:
    compared = Compared(read.events(), read.rows(), now=read.now, report=report)
    for _ in compared.pairs():
        pass
    return compared, compared.comparison(read.position)


def _rewrite(tables: QueueTables, queue: Queue, report: Report | None) -> tuple[Comparison, Comparison, int]:
    """Remove what differs, then add what is missing: a row that is right never meets a wrong one that is in its way
    (of two jobs with one lock key, only one may be in progress)."""
    with tables.writing() as write:
        require_no_workers(queue)  # one may have started since
        compared = Compared(write.events(), write.rows(), now=write.now, report=report)
        wrong = (pair for pair in compared.pairs() if pair.differs)
        _in_chunks(wrong, lambda pairs: write.delete(_ids(pairs)))
        before = compared.comparison(write.position)
        if not before.is_equal:
            missing = (pair for pair in Compared(write.events(), write.rows(), now=write.now).pairs() if pair.differs)
            _in_chunks(missing, lambda pairs: _insert(write, pairs))
        _, after = _compare(write, None) if not before.is_equal else (None, before)
        if not after.is_equal:
            raise CorruptEvent(f"{after.differing} rows of the queue cannot be stored as the ledger says them")
    return before, after, compared.events


def _insert(write: QueueWrite, pairs: Sequence[Pair]) -> None:
    jobs: list[QueuedJob] = [pair.job for pair in pairs if pair.job is not None]
    lost = write.insert([(expected(job), job.payload_version) for job in jobs])
    if lost:
        named = ", ".join(str(job) for job in sorted(lost)[:5])
        raise CorruptEvent(
            f"the ledger does not hold the payload of {len(lost)} unfinished jobs any more: {named}", field="body",
            rule="an unfinished job has its payload", hint="restore the queue's table, or cancel those jobs",
        )  # fmt: skip


def _ids(pairs: Sequence[Pair]) -> list[UUID]:
    return [cast("UUID", pair.live["job_id"]) for pair in pairs if pair.live is not None]


def _in_chunks(pairs: Iterator[Pair], act: Callable[[Sequence[Pair]], None]) -> None:
    while chunk := list(islice(pairs, ROWS_AT_ONCE)):
        act(chunk)
