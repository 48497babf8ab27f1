"""Bringing a shadow and its live view to one position: both follow the ledger as runners do, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jobledger.domain.errors import LedgerBusy

from .batch import Applied
from .pacing import Throttle
from .ports import Checkpoint, CheckpointMoved, StreamSource, ViewStore
from .projection import Projection
from .runner import Observation, Runner
from .scoped_source import ScopedSource
from .shadow import Scope, Shadows, shadow_of

PAUSE_SECONDS = 0.02
"""Before a batch is tried again that another process is at."""
APPROACHES = 50
"""Rounds of catching up before the live view is held, though it may still be a batch ahead."""

Report = Callable[[float], None]
"""Told how much of the way is done, from 0 to 1."""


class Following:
    """A projection that follows the ledger up to a position that is given, like a runner that stops there."""

    def __init__(self, store: ViewStore, projection: Projection, source: ScopedSource, batch_events: int) -> None:
        self._name = projection.name
        self._source = source
        self._runner = Runner(store, source, (projection,), batch_size=batch_events, observe=self._count)
        self.events = 0

    def advance(self, until: int, throttle: Throttle, pause: Callable[[float], None], report: Report) -> None:
        """Apply the events up to a position. Raises what stops the projection."""
        runner, name = self._runner, self._name
        self._source.until = max(until, self._source.until)
        begin = runner.position(name)
        while (position := runner.position(name)) < until:
            begun = throttle.begin()
            runner.run_once()
            if failure := runner.failures.get(name):
                raise failure
            if runner.position(name) == position:
                pause(PAUSE_SECONDS)
            else:
                report((runner.position(name) - begin) / max(1, until - begin))
                throttle.rest(begun)

    def close(self) -> None:
        """End its threads."""
        self._runner.stop()

    def _count(self, observation: Observation) -> None:
        if isinstance(observation, Applied):
            self.events += observation.events


class CatchingUp:
    """The shadow and the live view beside it."""

    def __init__(
        self,
        shadows: Shadows,
        store: ViewStore,
        source: StreamSource,
        projection: Projection,
        scope: Scope,
        *,
        throttle: Throttle,
        batch_events: int,
        pause: Callable[[float], None],
        report: Report,
    ) -> None:
        self._shadows = shadows
        self._store = store
        self._projection = projection
        self._shadow_name = shadow_of(projection).name
        self._throttle = throttle
        self._batch_events = batch_events
        self._pause = pause
        self._report = report
        shadow_source, live_source = ScopedSource(source, scope), ScopedSource(source, Scope())
        self._shadow = Following(store, shadow_of(projection), shadow_source, batch_events)
        self._live = Following(store, projection, live_source, batch_events)

    @property
    def events(self) -> int:
        """Events that were read for the shadow."""
        return self._shadow.events

    def approach(self) -> None:
        """Bring the shadow to where the live view is, or was a moment ago: while it stands still, little is left.

        A live view that is behind its shadow is helped. One that another version of the fold wrote is left alone:
        its shadow never goes beyond it.
        """
        for _ in range(APPROACHES):
            live, shadow = self._positions()
            before = self._shadow.events
            if live.position > shadow.position:
                self._advance(self._shadow, live.position)
            elif live.position < shadow.position:
                self._help_live(live, shadow.position)
            if self._shadow.events - before < self._batch_events and live.position >= shadow.position:
                return

    @contextmanager
    def at_one_position(self) -> Iterator[None]:
        """Keep the live view still, and the shadow at the same position. `LedgerBusy` where its runner could not be
        stopped in time."""
        self.approach()
        with self._shadows.hold(self._projection) as live:
            if live is None:
                raise LedgerBusy(f"{self._projection.name} is being written all the time", hint="try again")
            self._advance(self._shadow, live.position)
            yield

    def close(self) -> None:
        """End the threads."""
        self._shadow.close()
        self._live.close()

    def _positions(self) -> tuple[Checkpoint, Checkpoint]:
        """Of the live view and of the shadow."""
        stored = self._store.checkpoints()
        shadow = stored.get(self._shadow_name)
        if shadow is None:
            raise CheckpointMoved(f"there is no {self._shadow_name} any more", field="checkpoint")
        return stored.get(self._projection.name, Checkpoint(0, self._projection.version)), shadow

    def _help_live(self, live: Checkpoint, until: int) -> None:
        if live.version != self._projection.version:
            raise CheckpointMoved(f"{self._projection.name} went back behind its shadow", field="checkpoint")
        self._advance(self._live, until)

    def _advance(self, following: Following, until: int) -> None:
        following.advance(until, self._throttle, self._pause, self._report)
