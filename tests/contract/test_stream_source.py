"""Reading the ledger for rebuilds, on both engines: whole streams, ranges of them, one tenant, single events."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import groupby
from uuid import UUID

import pytest

from jobledger.domain.errors import UnknownTopic
from jobledger.domain.job import JobCompleted, JobDispatched
from jobledger.domain.topics import TOPICS
from jobledger.projections.ports import SeenBatch, StreamRange
from jobledger.projections.projection import SeenEvent

from .support import job_id
from .views_support import ReadSide

ALL = 10_000
EVERYTHING = StreamRange(None, UUID(int=2**128 - 1))


@pytest.fixture
def busy(read_side: ReadSide) -> ReadSide:
    """Thirteen jobs of two tenants whose events lie among each other, one of them with more than all others."""
    for number in range(13):
        read_side.ledger.dispatch(tenant="acme" if number % 3 else "globex")
    for job in read_side.ledger.claim(limit=13).jobs[::2]:
        read_side.ledger.complete(job)
    return read_side


def by_stream(events: list[SeenEvent]) -> list[SeenEvent]:
    """In the order in which whole streams are read."""
    return sorted(events, key=lambda event: (event.originator_id, event.originator_version))


def read_range(side: ReadSide, within: StreamRange, limit: int, position: int | None = None) -> list[SeenEvent]:
    """All events of a range, batch after batch; each batch is made of whole streams."""
    events: list[SeenEvent] = []
    more = True
    while more:
        upto = side.own.source.head() if position is None else position
        batch = side.own.source.read_streams(within, position=upto, limit=limit)
        streams = [stream for stream, _ in groupby(event.originator_id for event in batch.events)]
        assert not {event.originator_id for event in events} & set(streams)
        assert sum(event.originator_id != streams[-1] for event in batch.events) <= limit
        assert all(stream <= batch.last for stream in streams)
        events += batch.events
        more, within = batch.more, StreamRange(batch.last, within.until)
    return events


@pytest.mark.parametrize("limit", [1, 2, 3, 7, ALL])
def test_streams_come_whole_and_in_order(busy: ReadSide, limit: int) -> None:
    """Whatever a batch takes, all streams come, each in one batch and from its first version to its last."""
    assert read_range(busy, EVERYTHING, limit) == by_stream(busy.own.events())


@pytest.mark.parametrize("count", [1, 2, 5, 100])
def test_ranges_hold_every_stream_once(busy: ReadSide, count: int) -> None:
    """Ranges follow each other without a gap; together they hold the ledger, in parts of about one size."""
    source, events = busy.own.source, by_stream(busy.own.events())
    ranges = source.ranges(source.head(), count)
    assert ranges[0].after is None
    assert [part.after for part in ranges[1:]] == [part.until for part in ranges[:-1]]
    found = [read_range(busy, part, 4) for part in ranges]
    assert [event for part in found for event in part] == events
    longest = max(len(list(group)) for _, group in groupby(events, key=lambda event: event.originator_id))
    assert len(ranges) <= count + 1 and max(map(len, found)) <= len(events) // count + 2 * longest


def test_an_empty_ledger_has_one_empty_range(read_side: ReadSide) -> None:
    """There is at least one range, and nothing in it."""
    (part,) = read_side.own.source.ranges(0, 32)
    assert part.after is None
    batch = read_side.own.source.read_streams(part, position=0, limit=5)
    assert (list(batch.events), batch.last, batch.more) == ([], part.until, False)


def until(condition: Callable[[], bool]) -> None:
    """How far one may read is asked every few milliseconds, so this looks again and again."""
    deadline = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.001)


def test_what_came_later_is_not_read(busy: ReadSide) -> None:
    """Events beyond the position are left out: of streams that went on, and streams that began, behind it."""
    before, position = by_stream(busy.own.events()), busy.own.source.head()
    busy.ledger.dispatch()
    busy.ledger.complete(busy.ledger.claim_one())
    until(lambda: len(busy.own.events()) > len(before))
    for limit in (2, ALL):
        assert read_range(busy, EVERYTHING, limit, position) == before
    ranges = busy.own.source.ranges(position, 5)
    assert [event for part in ranges for event in read_range(busy, part, 3, position)] == before


def test_streams_are_read_without_topics(busy: ReadSide) -> None:
    """What nobody wants is not handed out, and its streams are passed by."""
    source, unwanted = busy.own.source, frozenset({JobDispatched.topic, JobCompleted.topic})
    batch = source.read_streams(EVERYTHING, position=source.head(), limit=ALL, without=unwanted)
    assert list(batch.events) == [event for event in by_stream(busy.own.events()) if event.topic not in unwanted]
    nothing = source.read_streams(EVERYTHING, position=source.head(), limit=1, without=frozenset(TOPICS))
    assert (list(nothing.events), nothing.last, nothing.more) == ([], EVERYTHING.until, False)


@pytest.mark.parametrize("limit", [1, 3, ALL])
def test_one_tenant_is_read_in_order(busy: ReadSide, limit: int) -> None:
    """Only its events, in the order of the ledger, up to the position and no further."""
    source, events = busy.own.source, busy.own.events()
    own = [event for event in events if event.tenant == "globex"]
    assert _drain(lambda after: source.read_tenant("globex", after, position=source.head(), limit=limit)) == own
    middle = own[len(own) // 2].position
    assert _drain(lambda after: source.read_tenant("globex", after, position=middle, limit=limit)) == [
        event for event in own if event.position <= middle
    ]
    without = source.read_tenant("globex", 0, position=middle, limit=ALL, without=frozenset({JobDispatched.topic}))
    assert all(event.topic != JobDispatched.topic for event in without.events) and without.position == middle
    assert list(source.read_tenant("nobody", 0, position=source.head(), limit=limit).events) == []


def _drain(read: Callable[[int], SeenBatch]) -> list[SeenEvent]:
    events, position, more = list[SeenEvent](), 0, True
    while more:
        batch = read(position)
        assert batch.position > position or not batch.more
        events += batch.events
        position, more = batch.position, batch.more
    return events


def test_one_stream_is_read_after_a_version(busy: ReadSide) -> None:
    """From any version on, in order; of a stream that is not there, nothing."""
    source = busy.own.source
    completed = next(event for event in busy.own.events() if event.topic == JobCompleted.topic).originator_id
    whole = [event for event in busy.own.events() if event.originator_id == completed]
    assert [event.originator_version for event in whole] == [1, 2, 3]
    assert list(source.read_stream(completed)) == whole
    assert list(source.read_stream(completed, after_version=1)) == whole[1:]
    assert list(source.read_stream(completed, after_version=3)) == []
    assert list(source.read_stream(job_id())) == []


def test_single_events_are_found_by_position(busy: ReadSide) -> None:
    """In the order of positions, however they are asked for; a position without an event brings none."""
    source, events = busy.own.source, busy.own.events()
    wanted = [events[5], events[1], events[9]]
    assert list(source.read_at([event.position for event in wanted])) == sorted(wanted, key=lambda one: one.position)
    assert list(source.read_at([source.head() + 1])) == [] == list(source.read_at([]))


def test_an_event_newer_than_the_program_stops_reading(read_side: ReadSide) -> None:
    """A program that does not know an event folds nothing of its stream: it says so, whoever asks."""
    first, newer = (read_side.ledger.dispatch() for _ in range(2))
    position = read_side.own.events()[-1].position
    read_side.praise(newer)
    source = read_side.own.source
    with pytest.raises(UnknownTopic):
        source.read_streams(EVERYTHING, position=source.head(), limit=ALL, without=frozenset(TOPICS))
    with pytest.raises(UnknownTopic):
        source.read_stream(newer)
    with pytest.raises(UnknownTopic):
        source.read_at([position])
    batch = source.read_tenant("acme", 0, position=source.head(), limit=ALL)
    assert batch.unreadable is not None and batch.unreadable.position == position
    assert first in {event.originator_id for event in batch.events}
