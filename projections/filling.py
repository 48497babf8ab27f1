"""Filling a shadow: whole streams are read, folded in memory, and only their final rows are stored.

Nothing is loaded and nothing is updated: that is why a rebuild is several times faster than the runner. It works for
views of which all events of a key are of one stream (`Projection.by_stream`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple
from uuid import UUID

from jobledger.domain.errors import UnknownTopic
from jobledger.domain.topics import TOPICS

from .batch import collector_paused
from .fitting import RowRefused, fitting
from .pacing import Throttle
from .parking import PARKED_KEYS_MAX, FoldBroken, describe, key_to_park, parked
from .ports import Key, Parked, StreamBatch, StreamRange, StreamSource
from .projection import Projection, Row, SeenEvent
from .shadow import Rebuild, Shadows, Slice, Step, shadow_of
from .telling import say_parked

SLICES = 32
"""Into how many ranges of streams a rebuild is divided: enough that workers end together, however they share."""
STREAM_EVENTS = 10_000
"""Events of one batch, about."""


class Folded(NamedTuple):
    """What streams come to: their rows, and by key the events that could not be folded or wait behind such a one."""

    rows: list[Row]
    held: Mapping[Key, list[Parked]]


def fold_streams(projection: Projection, events: Sequence[SeenEvent]) -> Folded:
    """Fold whole streams, for the shadow of a projection. An event that the fold cannot take is parked with all that
    follows for its key; `UnknownTopic` is raised: that is this program's trouble, not the event's."""
    rows: dict[Key, Row | None] = {}
    held: dict[Key, list[Parked]] = {}
    topics, key_of, fold = projection.topics, projection.key, projection.fold
    at: Key | None = None  # events of a key follow each other as a rule: it is looked up once for all of them
    row: Row | None = None
    for place, event in enumerate(events):
        if event.topic not in topics:
            continue
        try:
            key = key_of(event)
            if key is None:
                continue
            if held and key in held:
                held[key].append(parked(shadow_of(projection), key, event, None))
                continue
            if key != at:
                if at is not None:
                    rows[at] = row
                at, row = key, rows.get(key)
            row = fold(row, event)
        except UnknownTopic:
            raise
        except Exception as error:  # noqa: BLE001 - a poisoned event is parked, whatever it does to the fold
            if at is not None:
                rows[at] = row
                at = None
            if (stuck := key_to_park(projection, event)) is not None:
                held[stuck] = [parked(shadow_of(projection), stuck, event, describe(error))]
                rows[stuck] = _row_before(projection, events, place, stuck)
    if at is not None:
        rows[at] = row
    return Folded([row for row in rows.values() if row is not None], held)


def _row_before(projection: Projection, events: Sequence[SeenEvent], place: int, key: Key) -> Row | None:
    """The row of a key before an event, anew: the fold that failed may have changed the one it was given."""
    first = place
    while first > 0 and events[first - 1].originator_id == events[place].originator_id:
        first -= 1
    row: Row | None = None
    for event in events[first:place]:
        if event.topic in projection.topics and projection.key(event) == key:
            row = projection.fold(row, event)
    return row


Begin = Callable[[Callable[[], StreamBatch]], Callable[[], StreamBatch]]
"""Begins to read; returns what waits for it."""


class _Taken(NamedTuple):
    """A slice that is owned here, and what waits for its next batch."""

    part: Slice
    owning: ExitStack
    batch: Callable[[], StreamBatch]


class Filling:
    """Fills slices of one rebuild, one after the other. Any number of them may do so, in any number of processes."""

    def __init__(
        self,
        shadows: Shadows,
        source: StreamSource,
        projection: Projection,
        *,
        throttle: Throttle,
        batch_events: int = STREAM_EVENTS,
        report: Callable[[Slice], None] = lambda _: None,
    ) -> None:
        """`report` is told of a slice after each of its batches."""
        self._shadows = shadows
        self._source = source
        self._projection = projection
        self._without = unwanted(projection)
        self._held_keys = 0
        self._throttle = throttle
        self._batch_events = batch_events
        self._report = report

    def fill(self, rebuild: Rebuild) -> None:
        """Fill slices until there is none that nobody else owns. `CheckpointMoved` where the rebuild is not filling
        any more, or another process took a slice that this one was thought dead for."""
        with ExitStack() as owned:
            begin = self._reader(owned)
            taken = self._take(rebuild, owned, begin)
            while taken is not None:
                with taken.owning, collector_paused():  # also for what is read ahead
                    taken = self._fill_slice(rebuild, taken, lambda: self._take(rebuild, owned, begin), begin)

    def _reader(self, owned: ExitStack) -> Begin:
        """What begins to read: at full speed a thread, so that the next batch is read while one is folded and stored.
        With a throttle a batch is read when it is wanted: program and database never work at the same time."""
        if self._throttle.is_on:
            return lambda read: read
        thread = owned.enter_context(ThreadPoolExecutor(1, thread_name_prefix="rebuild-read-ahead"))
        return lambda read: thread.submit(read).result

    def _take(self, rebuild: Rebuild, owned: ExitStack, begin: Begin) -> _Taken | None:
        owning = owned.enter_context(ExitStack())
        part = owning.enter_context(self._shadows.own_slice(rebuild))
        return None if part is None else _Taken(part, owning, begin(partial(self._read, rebuild, part, part.reached)))

    def _fill_slice(
        self, rebuild: Rebuild, taken: _Taken, take_next: Callable[[], _Taken | None], begin: Begin
    ) -> _Taken | None:
        """Fill a slice; returns the one after it, whose first batch is read while the last one here is stored."""
        before, get_batch = taken.part, taken.batch
        begun = self._throttle.begin()
        while True:
            batch = get_batch()
            if batch.more:
                get_batch = begin(partial(self._read, rebuild, before, batch.last))
            following = None if batch.more else take_next()
            before = self._fold_and_store(rebuild, before, batch)
            self._report(before)
            begun = self._throttle.rest(begun)
            if not batch.more:
                return following

    def _fold_and_store(self, rebuild: Rebuild, before: Slice, batch: StreamBatch) -> Slice:
        try:
            return self._store(rebuild, before, batch, fold_streams(self._projection, batch.events))
        except RowRefused:  # look at each row, to find the event that makes it
            return self._store(rebuild, before, batch, fold_streams(fitting(self._projection), batch.events))

    def _store(self, rebuild: Rebuild, before: Slice, batch: StreamBatch, folded: Folded) -> Slice:
        after = before._replace(
            reached=batch.last, events=before.events + len(batch.events), rows=before.rows + len(folded.rows),
            done=not batch.more,
        )  # fmt: skip
        held = self._bounded(folded.held)
        self._shadows.fill(rebuild, self._projection, Step(before, after, folded.rows, held))
        say_parked(held)
        return after

    def _bounded(self, held: Mapping[Key, list[Parked]]) -> list[Parked]:
        self._held_keys += len(held)
        if self._held_keys > PARKED_KEYS_MAX:
            raise FoldBroken(
                f"the fold of {self._projection.name} failed for more than {PARKED_KEYS_MAX} keys", field="projection",
                hint="correct the fold, raise its version, and run the rebuild again",
            )  # fmt: skip
        return [one for some in held.values() for one in some]

    def _read(self, rebuild: Rebuild, part: Slice, after: UUID | None) -> StreamBatch:
        rest = StreamRange(part.range.after if after is None else after, part.range.until)
        return self._source.read_streams(
            rest, position=rebuild.position, limit=self._batch_events, without=self._without
        )


def unwanted(projection: Projection) -> frozenset[str]:
    """Known topics that the projection does not want."""
    return frozenset(TOPICS) - projection.topics


def fraction_done(part: Slice) -> float:
    """How much of a slice is stored, from 0 to 1: ids of jobs begin with their time of birth, so the place of the
    stream that was reached tells."""
    if part.done:
        return 1.0
    if part.reached is None:
        return 0.0
    if part.range.after is None:
        return 0.5  # where its first stream lies is not known
    begin, end = part.range.after.int, part.range.until.int
    return max(0.0, min(1.0, (part.reached.int - begin) / max(1, end - begin)))
