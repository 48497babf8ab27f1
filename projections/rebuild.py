"""Rebuilding a view while it is read and written, or only comparing it with a fresh fold of the ledger.

A rebuild is a state machine whose state is stored, so any process goes on with it wherever another one died:

    filling -> indexing -> catching up -> comparing -> swapped (rebuild) or compared (dry run, verification)

Several processes may work on one rebuild. Slices have owners; every other step is guarded by compare-and-set, so that
it happens once though two may try.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import datetime
from typing import NamedTuple, Protocol

from jobledger.domain.errors import JobledgerError, LedgerBusy, LedgerUnavailable

from .catching_up import PAUSE_SECONDS, CatchingUp
from .filling import STREAM_EVENTS, Filling, fraction_done
from .pacing import Throttle
from .parking import EventId, without_events
from .ports import CheckpointMoved, StreamSource, ViewStore
from .projection import Projection
from .runner import BATCH_SIZE
from .shadow import Comparison, Purpose, Rebuild, RebuildState, Shadows, Slice, shadow_of

INDEXES_AT_ONCE = 2
"""Without a throttle. A server sorts for one index on little more than one core."""
WAIT_SECONDS = 0.2
"""Between two looks at slices that other processes fill."""
PATIENCE = 300
"""How often in a row the database may be unavailable, with `WAIT_SECONDS` between."""


class Records(Protocol):
    """Writes into the ledger what people do to views. Each act is recorded once, however often it is asked."""

    def begun(self, rebuild: Rebuild) -> int:
        """Record that the rebuild began; the version of the event in the projection's stream."""
        ...

    def ended(self, rebuild: Rebuild, end: End) -> None:
        """Record what came of it."""
        ...

    def cancelled(self, rebuild: Rebuild, reason: str) -> None:
        """Record that it was given up."""
        ...


class RebuildPorts(NamedTuple):
    """What a rebuild needs from the outside."""

    shadows: Shadows
    store: ViewStore
    source: StreamSource
    records: Records
    now: Callable[[], datetime]
    pause: Callable[[float], None]
    """Waits for so many seconds."""


class End(NamedTuple):
    """What came of a rebuild: `events` were folded for it, `parked` of them wait for a human."""

    swapped: bool
    events: int
    parked: int
    seconds: float
    comparison: Comparison


class Outcome(NamedTuple):
    """A rebuild that is over. `end` is None where it was given up."""

    rebuild: Rebuild
    end: End | None = None


class Standing(NamedTuple):
    """How far a rebuild has come in its state: `fraction` of the state's work is done, from 0 to 1."""

    state: RebuildState
    fraction: float
    events: int
    rows: int


def _silent(standing: Standing) -> None:
    pass


class Options(NamedTuple):
    """How a process works on a rebuild. `skipped` events are left out of the fresh fold."""

    throttle: Throttle = Throttle()
    skipped: frozenset[EventId] = frozenset()
    batch_events: int = BATCH_SIZE
    stream_events: int = STREAM_EVENTS
    report: Callable[[Standing], None] = _silent


class Rebuilding:
    """Works on one rebuild until it is over, wherever it stands. `close` it afterwards."""

    def __init__(self, ports: RebuildPorts, projection: Projection, rebuild: Rebuild, options: Options) -> None:
        self._ports = ports
        self._projection = projection = without_events(projection, options.skipped)
        self._shadow = shadow_of(projection)
        self._rebuild = rebuild
        self._options = options
        self._comparison: Comparison | None = None
        self._end: End | None = None
        self._slices: dict[int, Slice] = {}
        self._catching_up = CatchingUp(
            ports.shadows, ports.store, ports.source, projection, rebuild.scope,
            throttle=options.throttle, batch_events=options.batch_events, pause=ports.pause, report=self._report,
        )  # fmt: skip
        self._filling = Filling(
            ports.shadows, ports.source, projection, throttle=options.throttle,
            batch_events=options.stream_events, report=self._filled,
        )  # fmt: skip
        self._steps: Mapping[RebuildState, Callable[[Rebuild], None]] = {
            RebuildState.FILLING: self._fill,
            RebuildState.INDEXING: self._index,
            RebuildState.CATCHING_UP: self._catch_up,
            RebuildState.COMPARING: self._compare_and_settle,
            RebuildState.SWAPPED: self._record_swap,
        }

    # --- the machine -------------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Go on until the rebuild is over. Raises what neither waiting nor trying again helps against; then the rebuild
        stays as far as it has come."""
        unavailable = 0
        while True:
            try:
                if self._look().is_over:
                    return Outcome(self._rebuild, self._end or self._end_by_another())
                self._steps[self._rebuild.state](self._rebuild)
                unavailable = 0
            except (CheckpointMoved, LedgerBusy):  # somebody else did it, or was in the way: look again
                self._ports.pause(PAUSE_SECONDS)
            except LedgerUnavailable:
                unavailable += 1
                if unavailable > PATIENCE:
                    raise
                self._ports.pause(WAIT_SECONDS)
            except JobledgerError:
                if not self._look().is_over:  # else its shadow was taken away from under us
                    raise

    def help_filling(self) -> None:
        """Only fill slices, until none is left that nobody owns; another process does the rest."""
        try:
            self._filling.fill(self._rebuild)
        except CheckpointMoved:
            return  # it is not filling any more

    def close(self) -> None:
        """End the threads."""
        self._catching_up.close()

    def _look(self) -> Rebuild:
        self._rebuild = self._ports.shadows.get(self._rebuild.rebuild_id)
        self._slices = {part.number: part for part in self._rebuild.slices}
        return self._rebuild

    # --- filling and indexing ----------------------------------------------------------------------------------------

    def _fill(self, rebuild: Rebuild) -> None:
        if rebuild.begun_version == 0 and rebuild.purpose is not Purpose.VERIFY:
            version = self._ports.records.begun(rebuild)
            rebuild = self._ports.shadows.note(rebuild, RebuildState.FILLING, begun_version=version)
        self._report(self._filled_fraction())
        self._filling.fill(rebuild)
        if all(part.done for part in self._look().slices):
            self._ports.shadows.note(self._rebuild, RebuildState.INDEXING)
        else:
            self._report(self._filled_fraction())
            self._ports.pause(WAIT_SECONDS)

    def _filled(self, part: Slice) -> None:
        self._slices[part.number] = part
        self._report(self._filled_fraction())

    def _filled_fraction(self) -> float:
        return sum(map(fraction_done, self._slices.values())) / max(1, len(self._slices))

    def _index(self, rebuild: Rebuild) -> None:
        self._report(0.0)
        at_once = 1 if self._options.throttle.is_on else INDEXES_AT_ONCE
        self._ports.shadows.index(rebuild, self._projection, at_once=at_once)

    # --- catching up, comparing, swapping, recording -----------------------------------------------------------------

    def _catch_up(self, rebuild: Rebuild) -> None:
        self._catching_up.approach()
        self._ports.shadows.note(rebuild, RebuildState.COMPARING)

    def _compare_and_settle(self, rebuild: Rebuild) -> None:
        if self._comparison is None:
            self._report(0.0)
            self._comparison = self._compare(rebuild)
            rebuild = self._ports.shadows.note(rebuild, RebuildState.COMPARING, comparison=self._comparison)
        if rebuild.purpose is Purpose.REBUILD:
            self._swap(rebuild)
            return
        end = self._ending(rebuild, self._comparison, swapped=False)
        if rebuild.begun_version:
            self._ports.records.ended(rebuild, end)
        self._ports.shadows.note(rebuild, RebuildState.COMPARED)
        self._end = end

    def _compare(self, rebuild: Rebuild) -> Comparison:
        with ExitStack() as holding:
            holding.enter_context(self._catching_up.at_one_position())
            with self._ports.shadows.snapshot(self._projection) as snapshot:
                holding.close()  # what is in the snapshot stays; the live view goes on
                return snapshot.compare(rebuild.scope)

    def _swap(self, rebuild: Rebuild) -> None:
        with self._catching_up.at_one_position():
            self._ports.shadows.swap(rebuild, self._projection)

    def _record_swap(self, rebuild: Rebuild) -> None:
        assert rebuild.comparison is not None
        end = self._ending(rebuild, self._comparison or rebuild.comparison, swapped=True)
        self._ports.records.ended(rebuild, end)
        self._ports.shadows.note(rebuild, RebuildState.SWAPPED)
        self._end = end

    def _end_by_another(self) -> End | None:
        rebuild = self._rebuild
        if rebuild.comparison is None or rebuild.state not in (RebuildState.SWAPPED, RebuildState.COMPARED):
            return None
        return self._ending(
            rebuild, self._comparison or rebuild.comparison, swapped=rebuild.state is RebuildState.SWAPPED
        )

    def _ending(self, rebuild: Rebuild, comparison: Comparison, *, swapped: bool) -> End:
        name = self._projection.name if swapped else self._shadow.name
        parked = sum(self._ports.store.parked_counts().get(name, (0, 0)))
        seconds = max(0.0, (self._ports.now() - rebuild.begun_at).total_seconds())
        return End(swapped, rebuild.events + self._catching_up.events, parked, seconds, comparison)

    def _report(self, fraction: float) -> None:
        parts = self._slices.values()
        events = sum(part.events for part in parts) + self._catching_up.events
        rows = sum(part.rows for part in parts)
        self._options.report(Standing(self._rebuild.state, min(1.0, fraction), events, rows))
