"""Filling a shadow: whole streams are read, folded in memory, and only their final rows are stored.

Nothing is loaded and nothing is updated: that is why a rebuild is several times faster than the runner. It works for
views of which all events of a key are of one stream (`Projection.by_stream`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple
from uuid import UUID

import structlog

from jobledger.domain.errors import UnknownTopic
from jobledger.domain.topics import TOPICS

from .batch import collector_paused
from .pacing import Throttle
from .ports import Key, Parked, StreamBatch, StreamRange, StreamSource
from .projection import Projection, Row, SeenEvent
from .shadow import Rebuild, Shadows, Slice, Step, shadow_of

SLICES = 32
"""Into how many ranges of streams a rebuild is divided: enough that workers end together, however they share."""
STREAM_EVENTS = 10_000
"""Events of one batch, about."""

Skipped = frozenset[tuple[UUID, int]]
"""Events (stream, version) that people decided a view goes without."""

log = structlog.get_logger(__name__)


class Folded(NamedTuple):
    """What streams come to: their rows, and the events that could not be folded."""

    rows: list[Row]
    parked: list[Parked]


def fold_streams(
    projection: Projection, events: Sequence[SeenEvent], skipped: Skipped = frozenset(), *, parked_as: str = ""
) -> Folded:
    """Fold whole streams. An event that the fold cannot take is parked, under the name `parked_as`, with all that
    follows for its key; `UnknownTopic` is raised: that is this program's trouble, not the event's."""
    rows: dict[Key, Row | None] = {}
    parked: dict[Key, list[Parked]] = {}
    topics, key_of, fold = projection.topics, projection.key, projection.fold
    for place, event in enumerate(events):
        if event.topic not in topics or (key := key_of(event)) is None:
            continue
        if skipped and (event.originator_id, event.originator_version) in skipped:
            continue
        if parked and key in parked:
            parked[key].append(_parked(parked_as, key, event, None))
            continue
        try:
            rows[key] = fold(rows.get(key), event)
        except UnknownTopic:
            raise
        except Exception as error:  # noqa: BLE001 - a poisoned event is parked, whatever it does to the fold
            log.error("projection.event_parked", projection=parked_as, event=_name(event), error=str(error))
            parked[key] = [_parked(parked_as, key, event, f"{type(error).__name__}: {error}")]
            rows[key] = _row_before(projection, events, place, key, skipped)
    return Folded([row for row in rows.values() if row is not None], [one for some in parked.values() for one in some])


def _row_before(
    projection: Projection, events: Sequence[SeenEvent], place: int, key: Key, skipped: Skipped
) -> Row | None:
    """The row of a key before an event, anew: the fold that failed may have changed the one it was given."""
    first = place
    while first > 0 and events[first - 1].originator_id == events[place].originator_id:
        first -= 1
    row: Row | None = None
    for event in events[first:place]:
        is_skipped = (event.originator_id, event.originator_version) in skipped
        if event.topic in projection.topics and not is_skipped and projection.key(event) == key:
            row = projection.fold(row, event)
    return row


def _parked(name: str, key: Key, event: SeenEvent, error: str | None) -> Parked:
    return Parked(
        name, key, event.originator_id, event.originator_version, event.tenant, event.position, event.topic, error
    )


def _name(event: SeenEvent) -> str:
    return f"{event.originator_id}.{event.originator_version}"


class Filling:
    """Fills slices of one rebuild, one after the other. Any number of them may do so, in any number of processes."""

    def __init__(
        self,
        shadows: Shadows,
        source: StreamSource,
        projection: Projection,
        *,
        skipped: Skipped = frozenset(),
        throttle: Throttle,
        batch_events: int = STREAM_EVENTS,
        report: Callable[[Slice], None] = lambda _: None,
    ) -> None:
        """`report` is told of a slice after each of its batches."""
        self._shadows = shadows
        self._source = source
        self._projection = projection
        self._parked_as = shadow_of(projection).name
        self._without = unwanted(projection)
        self._skipped = skipped
        self._throttle = throttle
        self._batch_events = batch_events
        self._report = report

    def fill(self, rebuild: Rebuild) -> None:
        """Fill slices until there is none that nobody else owns. `CheckpointMoved` where the rebuild is not filling
        any more, or another process took a slice that this one was thought dead for."""
        while True:
            with self._shadows.own_slice(rebuild) as part:
                if part is None:
                    return
                self._fill_slice(rebuild, part)

    def _fill_slice(self, rebuild: Rebuild, part: Slice) -> None:
        before = part
        begun = self._throttle.begin()
        for batch in self._batches(rebuild, part):
            with collector_paused():
                folded = fold_streams(self._projection, batch.events, self._skipped, parked_as=self._parked_as)
                after = before._replace(
                    reached=batch.last, events=before.events + len(batch.events),
                    rows=before.rows + len(folded.rows), done=not batch.more,
                )  # fmt: skip
                self._shadows.fill(rebuild, self._projection, Step(before, after, folded.rows, folded.parked))
            self._report(after)
            before = after
            begun = self._throttle.rest(begun)

    def _batches(self, rebuild: Rebuild, part: Slice) -> Iterator[StreamBatch]:
        """The slice's batches. At full speed the next one is read while one is folded and stored."""
        if part.done:
            return
        if self._throttle.is_on:
            batch = self._read(rebuild, part, part.reached)
            yield batch
            while batch.more:
                batch = self._read(rebuild, part, batch.last)
                yield batch
            return
        with ThreadPoolExecutor(1, thread_name_prefix="rebuild-read-ahead") as thread:
            ahead: Future[StreamBatch] | None = thread.submit(self._read, rebuild, part, part.reached)
            while ahead is not None:
                batch = ahead.result()
                ahead = thread.submit(self._read, rebuild, part, batch.last) if batch.more else None
                yield batch

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
