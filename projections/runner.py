"""Keeps views current: batch after batch, until it is stopped.

Any number of runners may run, in any number of processes. A batch is applied under ownership, and its rows and
checkpoint are stored in one transaction by compare-and-set: whatever dies when, each event is applied exactly once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Event, Thread
from time import monotonic
from typing import NamedTuple

import structlog

from jobledger.domain.errors import JobledgerError, SchemaOutdated, UnknownTopic

from .batch import TRY_AGAIN, Applied, GivenUp, Group, ReadAhead, apply_batch, group_by_position
from .fitting import RowRefused
from .parking import PARK_AFTER, Failure, Tries
from .ports import CheckpointMoved, EventSource, ViewStore
from .progress import Progress
from .projection import Projection
from .suspects import Skipped, Suspects, nothing_skipped
from .telling import say_failed, say_parked

BATCH_SIZE = 5_000
"""Events read at once, at most."""

log = structlog.get_logger(__name__)


class Pace(NamedTuple):
    """How often the runner looks, in seconds. Hints wake it earlier; polling alone suffices."""

    poll_seconds: float = 0.02
    """Between two looks when there was nothing to do."""
    awaited_poll_seconds: float = 0.002
    """The same, while somebody waits for a position."""
    gather_seconds: float = 0.05
    """Between two batches while nobody here waits for a position: a larger batch costs less an event, and a job that
    starts and completes within it costs one row instead of two."""
    retry_seconds: float = 0.25
    """After the database could not take a batch."""
    resume_seconds: float = 1.0
    """Between two looks whether a view that an older fold wrote has been rebuilt."""


DEFAULT_PACE = Pace()

QUICK_LOOKS = 10
"""How often the runner looks in quick succession after it was told that somebody waits, perhaps in another process."""


class Stopped(NamedTuple):
    """A projection that this runner does not run any more, and why."""

    projection: str
    error: Exception


Observation = Applied | Stopped


def _unobserved(observation: Observation) -> None:
    pass


class Runner:
    """Runs projections. `run_once` may be called by hand, or `start` a thread that does. Use it from one thread."""

    def __init__(
        self,
        store: ViewStore,
        source: EventSource,
        projections: Sequence[Projection],
        *,
        batch_size: int = BATCH_SIZE,
        pace: Pace = DEFAULT_PACE,
        park_after: int = PARK_AFTER,
        observe: Callable[[Observation], None] = _unobserved,
        progress: Progress | None = None,
        skipped: Skipped = nothing_skipped,
    ) -> None:
        """`progress` is told of each batch; share it with those who wait (default: one of the runner's own). An
        event that a fold cannot take is parked after `park_after` tries. `skipped` says which events people decided a
        projection goes without; it is asked when an event could not be taken, because that may follow from it."""
        self._store = store
        self._source = source
        self._projections = tuple(projections)
        self._pace = pace
        self._observe = observe
        self._reading = ReadAhead(source, batch_size)
        self._positions: dict[str, int] | None = None
        self._alone: set[str] = set()
        self._suspects = Suspects(batch_size, skipped)
        self._failures: dict[str, Exception] = {}
        self._outdated: dict[str, int] = {}
        self._look_again_at = 0.0
        self._tries = {projection.name: Tries(park_after) for projection in projections}
        self._wake, self._hurry, self._stopping = Event(), Event(), Event()
        self._busy = False
        self._thread: Thread | None = None
        self.progress = progress or Progress(projection.name for projection in projections)
        self.progress.hurry = self.make_haste
        self._quick_looks = 0

    # --- what others ask and say ---------------------------------------------------------------------------------

    @property
    def failures(self) -> Mapping[str, Exception]:
        """Projections that were stopped, and why."""
        return self._failures

    @property
    def has_died(self) -> bool:
        """Whether its thread was started and ended by itself."""
        thread = self._thread
        return thread is not None and thread.ident is not None and not thread.is_alive()

    def position(self, name: str) -> int:
        """The last position that the projection has read, as far as this process knows."""
        return self.progress.position(name)

    def wait_for(self, position: int, timeout_seconds: float) -> bool:
        """Wait until every projection that was not stopped has reached `position`; False when time ran out."""
        running = [projection.name for projection in self._projections if projection.name not in self._failures]
        return self.progress.wait_for(position, timeout_seconds, running)

    def hint(self) -> None:
        """Say that there may be something to do. Never blocks."""
        self._wake.set()

    def make_haste(self) -> None:
        """Say that somebody waits for what there is to do: no larger batch is gathered. Never blocks."""
        self._quick_looks = QUICK_LOOKS
        self._hurry.set()
        self._wake.set()

    # --- the loop --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Run in a thread of its own until `stop`."""
        self._stopping.clear()
        self._thread = Thread(target=self._run, name="projections", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the batch at hand and the thread."""
        self._stopping.set()
        self.make_haste()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._reading.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                more = self.run_once()
            except Exception as error:  # noqa: BLE001 - the loop outlives whatever goes wrong, and says so
                self._trouble(error)
                continue
            if not more:
                self._rest()

    def _rest(self) -> None:
        """Wait for a hint. After a batch, first let some more events gather, unless somebody waits for them."""
        if self._busy and not self.progress.awaited:
            self._hurry.wait(self._pace.gather_seconds)
        self._hurry.clear()
        self._busy = False
        is_awaited = self.progress.awaited or self._quick_looks > 0
        self._quick_looks = max(0, self._quick_looks - 1)
        if self._wake.wait(self._pace.awaited_poll_seconds if is_awaited else self._pace.poll_seconds):
            self._wake.clear()

    def _trouble(self, error: Exception) -> None:
        self._positions = None
        log.warning("projections.interrupted", error=str(error), error_type=type(error).__name__)
        self._stopping.wait(self._pace.retry_seconds)

    # --- one round -------------------------------------------------------------------------------------------------

    def run_once(self) -> bool:
        """Apply one batch to every group of projections; True while there is more to do at once.

        Raises `LedgerUnavailable` or `LedgerBusy`; then the batch at hand was not stored.
        """
        more = False
        if self._outdated and monotonic() >= self._look_again_at:
            self._resume()
        for group in self._groups():
            more |= self._advance(group)
        return more

    def run_until_current(self) -> None:
        """Apply batches until nothing is left to read."""
        while self.run_once():
            pass

    def _groups(self) -> list[Group]:
        if self._positions is None:
            self._look_up_positions()
        positions = self._positions or {}
        running = [self._suspects.seen_as(one) for one in self._projections if one.name not in self._failures]
        limits = {one.name: self._suspects.limit(one.name) for one in running}
        alone = [one for one in running if one.name in self._alone or limits[one.name] is not None]
        groups = group_by_position([one for one in running if one not in alone], positions)
        return groups + [Group(positions.get(one.name, 0), (one,), limit=limits[one.name]) for one in alone]

    def _look_up_positions(self) -> None:
        stored = self._store.checkpoints()
        self._positions = {name: checkpoint.position for name, checkpoint in stored.items()}
        for projection in self._projections:
            self.progress.reach(projection.name, self._positions.get(projection.name, 0))

    def _advance(self, group: Group) -> bool:
        if not self._reading.is_ahead(group) and self._source.head() <= group.position:
            return False
        try:
            with self._store.begin(group.projections) as transaction:
                if transaction is None:
                    self._positions = None  # another runner owns them and moves on
                    return False
                applied = apply_batch(group, self._reading, transaction, self._given_up())
        except CheckpointMoved:
            self._positions = None
            return False
        except TRY_AGAIN:
            raise
        except RowRefused as error:
            return self._look_closer(group, error)
        except Exception as error:  # noqa: BLE001 - find out which projection it was, one by one
            return self._isolate(group, error)
        self._busy = True
        self._record(applied)
        return applied.more or group.until is not None  # those who stood there may have gone on meanwhile

    def _given_up(self) -> GivenUp:
        return {name: tries.given_up for name, tries in self._tries.items() if tries.given_up}

    def _record(self, applied: Applied) -> None:
        positions = self._positions if self._positions is not None else {}
        self._positions = positions
        for name, checkpoint in applied.checkpoints.items():
            if positions.get(name) != checkpoint.position:
                self._tries[name].clear()
                self._suspects.widen((name,))
            positions[name] = checkpoint.position
            self.progress.reach(name, checkpoint.position)
        for name, failures in applied.failed.items():
            self._tries[name].note(failures)
            say_failed(name, failures)
            self._suspects.look_up_skipped(name)
        say_parked(applied.parked)
        for name, error in applied.stopped.items():
            self._stop_projection(name, error)
            if isinstance(error, SchemaOutdated):
                self._outdated[name] = applied.checkpoints[name].version
        self._observe(applied)

    def _resume(self) -> None:
        """Go on with views that an older fold had written, and that were rebuilt meanwhile."""
        self._look_again_at = monotonic() + self._pace.resume_seconds
        versions = {name: checkpoint.version for name, checkpoint in self._store.checkpoints().items()}
        for name in [name for name, version in self._outdated.items() if versions.get(name, 0) > version]:
            del self._outdated[name]
            del self._failures[name]
            self._positions = None
            log.info("projection.resumed", projection=name, version=versions[name])

    def _look_closer(self, group: Group, error: RowRefused) -> bool:
        """A row was refused, and nothing of the batch was stored: find out which event makes it."""
        if not self._suspects.narrow(group.projections):
            events = self._reading.read(group).events
            if not events:
                return self._isolate(group, error)
            failures = [Failure(events[0], error)]
            self._tries[group.projections[0].name].note(failures)
            say_failed(group.projections[0].name, failures)
        return True

    def _isolate(self, group: Group, error: Exception) -> bool:
        self._positions = None
        if len(group.projections) > 1:
            self._alone.update(projection.name for projection in group.projections)
        else:
            self._stop_projection(group.projections[0].name, error)
        return True

    def _stop_projection(self, name: str, error: Exception) -> None:
        self._failures[name] = error
        event = "projection.given_up" if isinstance(error, UnknownTopic) else "projection.stopped"
        trace = None if isinstance(error, JobledgerError) else error
        log.error(event, projection=name, error=str(error), error_type=type(error).__name__, exc_info=trace)
        self._observe(Stopped(name, error))
