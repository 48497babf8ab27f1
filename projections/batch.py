"""One batch of one group: projections that stand at the same position are fed by the same scan."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

from jobledger.domain.errors import LedgerBusy, LedgerUnavailable, SchemaOutdated, SchemaTooNew
from jobledger.domain.topics import TOPICS

from .fitting import RowRefused
from .folding import Fold, fold_batch
from .parking import Failure, hold_back
from .ports import Checkpoint, CheckpointMoved, EventSource, Parked, SeenBatch, ViewTransaction
from .projection import Projection

TRY_AGAIN = (LedgerUnavailable, LedgerBusy, CheckpointMoved)
"""Errors that say nothing about a projection: the same batch may work the next time."""


class Group(NamedTuple):
    """Projections at one position. `until`: where the next group stands, so that the two become one there. `limit`:
    at most so many events at a time."""

    position: int
    projections: tuple[Projection, ...]
    until: int | None = None
    limit: int | None = None

    @property
    def without(self) -> frozenset[str]:
        """Known topics that none of these projections wants."""
        return frozenset(TOPICS).difference(*(projection.topics for projection in self.projections))


class Applied(NamedTuple):
    """What became of a batch: how many events were read, where each projection stands now, and which may not go on.

    `more`: there is more to do at once. Projections with `failed` events stand where they stood and are to be tried
    again; `parked` says what others left aside.
    """

    events: int
    checkpoints: Mapping[str, Checkpoint]
    stopped: Mapping[str, Exception]
    more: bool
    failed: Mapping[str, Sequence[Failure]] = {}
    parked: Sequence[Parked] = ()


GivenUp = Mapping[str, Mapping[int, str]]
"""By projection the positions of events that were tried often enough, with their errors."""

NOTHING_GIVEN_UP: GivenUp = {}


def group_by_position(projections: Sequence[Projection], positions: Mapping[str, int]) -> list[Group]:
    """The groups, furthest behind first."""
    standing: dict[int, list[Projection]] = {}
    for projection in projections:
        standing.setdefault(positions.get(projection.name, 0), []).append(projection)
    groups: list[Group] = []
    for position in sorted(standing, reverse=True):
        groups.insert(0, Group(position, tuple(standing[position]), groups[0].position if groups else None))
    return groups


def apply_batch(
    group: Group, reading: ReadAhead, transaction: ViewTransaction, given_up: GivenUp = NOTHING_GIVEN_UP
) -> Applied:
    """Read, fold and save one batch. A projection whose fold raises is left where it stands, the others go on; events
    that were given up are parked. `RowRefused` (here or when the transaction ends) where a row fits no column."""
    before = {projection.name: transaction.checkpoint(projection) for projection in group.projections}
    if any(checkpoint.position != group.position for checkpoint in before.values()):
        return Applied(0, before, {}, more=True)  # somebody else was here: regroup
    batch = reading.read(group)
    with collector_paused():
        applied = _Batch(group, batch, before, transaction, given_up).apply()
    stopped = {**applied.stopped, **_stopped_by_unreadable(group, batch)}
    return applied._replace(stopped=stopped, more=applied.more or batch.unreadable is not None)


class _Batch:
    """A batch of events under ownership, and what becomes of it in each projection."""

    def __init__(
        self,
        group: Group,
        batch: SeenBatch,
        before: Mapping[str, Checkpoint],
        transaction: ViewTransaction,
        given_up: GivenUp,
    ) -> None:
        self._group = group
        self._batch = batch
        self._before = before
        self._transaction = transaction
        self._given_up = given_up
        self._stopped: dict[str, Exception] = {}
        self._held: dict[str, list[Parked]] = {}

    def apply(self) -> Applied:
        """Fold all, then save what went well."""
        folds = self._begin()
        fold_batch(folds, self._batch.events)
        after, failed, parked = dict(self._before), dict[str, Sequence[Failure]](), list[Parked]()
        for fold in folds:
            name = fold.projection.name
            if fold.error is not None:
                self._stopped[name] = fold.error
            elif fold.failures:
                failed[name] = fold.failures
            else:
                after[name] = self._save(fold)
                parked += self._held.get(name, ())
        more = self._batch.more or bool(failed)
        return Applied(len(self._batch.events), after, self._stopped, more, failed, parked)

    def _begin(self) -> list[Fold]:
        """The folds of the projections that can take the batch."""
        folds: list[Fold] = []
        for projection in self._group.projections:
            try:
                require_version(projection, self._before[projection.name])
                held = self._hold_back(projection)
                folds.append(Fold(projection, self._batch.events, self._transaction.load, held))
            except (*TRY_AGAIN, RowRefused):
                raise
            except Exception as error:  # noqa: BLE001 - one projection's trouble must not stop the others
                self._stopped[projection.name] = error
        return folds

    def _hold_back(self, projection: Projection) -> frozenset[int]:
        """The positions of what is parked instead of folded: nothing, but for days on which something is poisoned."""
        if not self._batch.events:
            return frozenset()
        keys = self._transaction.parked_keys(projection)
        given_up = self._given_up.get(projection.name, {})
        if not keys and not given_up:
            return frozenset()
        held = self._held[projection.name] = hold_back(projection, self._batch.events, keys, given_up)
        return frozenset(one.position for one in held)

    def _save(self, fold: Fold) -> Checkpoint:
        batch, projection = self._batch, fold.projection
        before, held = self._before[projection.name], self._held.get(projection.name)
        if batch.position == before.position:
            return before
        recorded_at = batch.events[-1].recorded_at if batch.events else before.recorded_at
        after = Checkpoint(batch.position, projection.version, recorded_at)
        if held:
            self._transaction.park(held)
        self._transaction.save(projection, fold.changes(), before, after)
        return after


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


def require_version(projection: Projection, stored: Checkpoint) -> None:
    """Raise `SchemaTooNew` or `SchemaOutdated` where another version of the fold wrote the rows."""
    if stored.version > projection.version:
        raise SchemaTooNew(
            f"view {projection.name} was written by version {stored.version} of its fold; this program has "
            f"{projection.version}", field="projection", hint="upgrade jobledger",
        )  # fmt: skip
    if stored.version < projection.version:
        raise SchemaOutdated(
            f"view {projection.name} was written by version {stored.version} of its fold; this program has "
            f"{projection.version}", field="projection",
            hint=f"jobledger projections rebuild {projection.name}",
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
        limit = self._batch_size if group.limit is None else group.limit
        return self._source.read_after(group.position, limit=limit, without=group.without, until=group.until)

    def _begin(self, group: Group) -> None:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="projections-read-ahead")
        self._ahead = group, self._thread.submit(self._read, group)
