"""One batch of one group: projections that stand at the same position are fed by the same scan."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

from jobledger.domain.errors import LedgerBusy, LedgerUnavailable, SchemaOutdated, SchemaTooNew
from jobledger.domain.topics import TOPICS

from .folding import Fold, fold_batch
from .ports import Checkpoint, CheckpointMoved, EventSource, SeenBatch, ViewTransaction
from .projection import Projection

TRY_AGAIN = (LedgerUnavailable, LedgerBusy, CheckpointMoved)
"""Errors that say nothing about a projection: the same batch may work the next time."""


class Group(NamedTuple):
    """Projections at one position. `until`: where the next group stands, so that the two become one there."""

    position: int
    projections: tuple[Projection, ...]
    until: int | None = None

    @property
    def without(self) -> frozenset[str]:
        """Known topics that none of these projections wants."""
        return frozenset(TOPICS).difference(*(projection.topics for projection in self.projections))


class Applied(NamedTuple):
    """What became of a batch: how many events were read, where each projection stands now, and which may not go on.

    `more`: there is more to do at once.
    """

    events: int
    checkpoints: Mapping[str, Checkpoint]
    stopped: Mapping[str, Exception]
    more: bool


def group_by_position(projections: Sequence[Projection], positions: Mapping[str, int]) -> list[Group]:
    """The groups, furthest behind first."""
    standing: dict[int, list[Projection]] = {}
    for projection in projections:
        standing.setdefault(positions.get(projection.name, 0), []).append(projection)
    groups: list[Group] = []
    for position in sorted(standing, reverse=True):
        groups.insert(0, Group(position, tuple(standing[position]), groups[0].position if groups else None))
    return groups


def apply_batch(group: Group, reading: ReadAhead, transaction: ViewTransaction) -> Applied:
    """Read, fold and save one batch. A projection whose fold raises is left where it stands; the others go on."""
    before = {projection.name: transaction.checkpoint(projection) for projection in group.projections}
    if any(checkpoint.position != group.position for checkpoint in before.values()):
        return Applied(0, before, {}, more=True)  # somebody else was here: regroup
    batch = reading.read(group)
    with collector_paused():
        after, stopped = _fold_and_save(group, batch, before, transaction)
    stopped |= _stopped_by_unreadable(group, batch)
    return Applied(len(batch.events), after, stopped, batch.more or (batch.unreadable is not None))


def _fold_and_save(
    group: Group, batch: SeenBatch, before: Mapping[str, Checkpoint], transaction: ViewTransaction
) -> tuple[dict[str, Checkpoint], dict[str, Exception]]:
    after, stopped = dict(before), dict[str, Exception]()
    folds = _begin(group.projections, batch, before, transaction, stopped)
    fold_batch(folds, batch.events)
    for fold in folds:
        if fold.error is not None:
            stopped[fold.projection.name] = fold.error
        else:
            after[fold.projection.name] = _save(fold, batch, before[fold.projection.name], transaction)
    return after, stopped


@contextmanager
def collector_paused() -> Iterator[None]:
    """A batch makes tens of thousands of objects that die together by themselves. The garbage collector would visit
    them, and all of the process with them, several times over, for a third of the batch's time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _begin(
    projections: Sequence[Projection],
    batch: SeenBatch,
    before: Mapping[str, Checkpoint],
    transaction: ViewTransaction,
    stopped: dict[str, Exception],
) -> list[Fold]:
    """The folds of the projections that can take the batch; why the others cannot goes into `stopped`."""
    folds: list[Fold] = []
    for projection in projections:
        try:
            _require_version(projection, before[projection.name])
            folds.append(Fold(projection, batch.events, transaction.load))
        except TRY_AGAIN:
            raise
        except Exception as error:  # noqa: BLE001 - one projection's trouble must not stop the others
            stopped[projection.name] = error
    return folds


def _save(fold: Fold, batch: SeenBatch, before: Checkpoint, transaction: ViewTransaction) -> Checkpoint:
    if batch.position == before.position:
        return before
    recorded_at = batch.events[-1].recorded_at if batch.events else before.recorded_at
    after = Checkpoint(batch.position, fold.projection.version, recorded_at)
    transaction.save(fold.projection, fold.changes(), before, after)
    return after


def _require_version(projection: Projection, stored: Checkpoint) -> None:
    if stored.version > projection.version:
        raise SchemaTooNew(
            f"view {projection.name} was written by version {stored.version} of its fold; this program has "
            f"{projection.version}", field="projection", hint="upgrade jobledger",
        )  # fmt: skip
    if stored.version < projection.version:
        raise SchemaOutdated(
            f"view {projection.name} was written by version {stored.version} of its fold; this program has "
            f"{projection.version}", field="projection",
            hint="rebuild the view",
        )  # fmt: skip


def _stopped_by_unreadable(group: Group, batch: SeenBatch) -> dict[str, Exception]:
    """An event newer than this program ends its work on all of them: a newer program goes on from there."""
    if batch.unreadable is None or batch.events:
        return {}  # the events in front of it come first
    return {projection.name: batch.unreadable.error for projection in group.projections}


class ReadAhead:
    """Reads a group's batch; while one batch is folded and stored, the next full one is read and decoded."""

    def __init__(self, source: EventSource, batch_size: int) -> None:
        self._source = source
        self._batch_size = batch_size
        self._thread: ThreadPoolExecutor | None = None
        self._ahead: tuple[Group, Future[SeenBatch]] | None = None

    def is_ahead(self, group: Group) -> bool:
        """Whether the group's next batch is being read already."""
        return self._ahead is not None and self._ahead[0] == group

    def read(self, group: Group) -> SeenBatch:
        """The events after the group's position."""
        expected, self._ahead = self._ahead, None
        if expected is not None and expected[0] == group:
            batch = expected[1].result()
        else:
            if expected is not None:
                expected[1].exception()  # let it end: the source has one connection
            batch = self._read(group)
        if batch.more:
            self._begin(group._replace(position=batch.position))
        return batch

    def close(self) -> None:
        """End the reading thread."""
        self._ahead = None
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    def _read(self, group: Group) -> SeenBatch:
        return self._source.read_after(group.position, limit=self._batch_size, without=group.without, until=group.until)

    def _begin(self, group: Group) -> None:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="projections-read-ahead")
        self._ahead = group, self._thread.submit(self._read, group)
