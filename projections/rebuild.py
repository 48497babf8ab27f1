"""Rebuilding a view: truncate and replay. While it runs, readers see what was replayed so far."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

from jobledger.domain.errors import LedgerBusy

from .ports import EventSource, ViewStore
from .projection import Projection
from .runner import BATCH_SIZE, Runner

Report = Callable[[int, int], None]
"""Told the position reached and the position to reach, after each batch."""

_RETRY_SECONDS = 0.01
_PAUSE = Event()
"""Never set."""


def _silent(position: int, target: int) -> None:
    pass


def rebuild(
    store: ViewStore,
    source: EventSource,
    projection: Projection,
    *,
    report: Report = _silent,
    batch_size: int = BATCH_SIZE,
) -> int:
    """Empty the view and fold the whole ledger again, up to the head at the start; returns the position reached.

    Runners may go on meanwhile: they share the work. An error of the fold is raised here. Waits for whoever owns the
    projection at this moment, or reads from it. `LedgerUnavailable` where the database went away; then call again.
    """
    runner = Runner(store, source, (projection,), batch_size=batch_size)
    try:
        target = source.head()
        while not _reset(store, projection):
            _PAUSE.wait(_RETRY_SECONDS)
        while runner.position(projection.name) < target:
            _advance(runner)
            if failure := runner.failures.get(projection.name):
                raise failure
            report(runner.position(projection.name), target)
        return runner.position(projection.name)
    finally:
        runner.stop()


def _reset(store: ViewStore, projection: Projection) -> bool:
    try:
        with store.begin((projection,)) as transaction:
            if transaction is not None:
                transaction.reset(projection)
            return transaction is not None
    except LedgerBusy:
        return False


def _advance(runner: Runner) -> None:
    try:
        if not runner.run_once():
            _PAUSE.wait(_RETRY_SECONDS)  # another runner is at it
    except LedgerBusy:
        _PAUSE.wait(_RETRY_SECONDS)
