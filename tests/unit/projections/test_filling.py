"""Filling at full speed reads ahead, also beyond the end of a slice; with a throttle nothing happens at once."""

from __future__ import annotations

from threading import Semaphore
from uuid import UUID

from jobledger.domain.identifiers import uuid7
from jobledger.projections.beginning import Wanted, begin_or_join
from jobledger.projections.filling import Filling
from jobledger.projections.pacing import Throttle
from jobledger.projections.ports import StreamBatch, StreamRange
from jobledger.projections.projection import Projection
from jobledger.projections.shadow import Purpose, Rebuild, Scope, Step
from jobledger.projections.tenant_jobs import TENANT_JOBS
from tests.support.given import dispatched
from tests.support.seen import MemoryStore, seen
from tests.support.shadows import MemoryRecords, MemoryShadows, MemoryStreams, ports_of

JOBS = [uuid7(1_760_000_000_000 + number, number) for number in range(6)]
"""Each of them is a slice here."""
PATIENCE_SECONDS = 60.0


class Streams(MemoryStreams):
    """Tells of each read, and of each but the first through `ahead`."""

    def __init__(self) -> None:
        super().__init__([seen(dispatched(), number, job=job) for number, job in enumerate(JOBS, start=1)])
        self.ahead = Semaphore(0)
        self.told: list[str] = []

    def read_streams(
        self, within: StreamRange, *, position: int, limit: int, without: frozenset[str] = frozenset()
    ) -> StreamBatch:
        """Whole streams."""
        if "read" in self.told:
            self.ahead.release()
        self.told.append("read")
        return super().read_streams(within, position=position, limit=limit, without=without)


class Shadows(MemoryShadows):
    """Tells what is stored; `overlapping`: not before the slice after it is being read."""

    def __init__(self, streams: Streams, *, overlapping: bool) -> None:
        super().__init__(MemoryStore())
        self._streams = streams
        self._overlapping = overlapping

    def fill(self, rebuild: Rebuild, projection: Projection, step: Step) -> None:
        """See the port."""
        is_last = sum(part.done for part in self.get(rebuild.rebuild_id).slices) == len(JOBS) - 1
        if self._overlapping and not is_last:
            assert self._streams.ahead.acquire(timeout=PATIENCE_SECONDS), "nothing was read ahead"
        self._streams.told.append("stored")
        super().fill(rebuild, projection, step)


def fill(streams: Streams, shadows: Shadows, throttle: Throttle) -> None:
    """Fill all slices of a rebuild."""
    wanted = Wanted(UUID(int=1), TENANT_JOBS, Purpose.REBUILD, Scope(), "ana", "a drill")
    rebuild = begin_or_join(ports_of(shadows, streams, MemoryRecords()), wanted).rebuild
    assert len(rebuild.slices) == len(JOBS)
    Filling(shadows, streams, TENANT_JOBS, throttle=throttle).fill(rebuild)
    assert all(part.done for part in shadows.get(rebuild.rebuild_id).slices)
    assert not shadows.owned


def test_the_next_slice_is_read_while_the_last_batch_of_one_is_stored() -> None:
    """Nobody waits for the first batch of a slice but that of the first one."""
    streams = Streams()
    fill(streams, Shadows(streams, overlapping=True), Throttle())
    assert streams.told.count("read") == streams.told.count("stored") == len(JOBS)


def test_with_a_throttle_reading_and_storing_take_turns() -> None:
    """Neither begins before the other ended."""
    streams = Streams()
    fill(streams, Shadows(streams, overlapping=False), Throttle(0.5, sleep=lambda _: None))
    assert streams.told == ["read", "stored"] * len(JOBS)
