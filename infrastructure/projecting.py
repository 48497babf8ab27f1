"""Keeping the read models of a ledger current: all the time, or once, now."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from threading import Event, Thread

import structlog

from jobledger.application.message import Actor
from jobledger.application.ports import EVERY_VIEW, WakeUp
from jobledger.domain.errors import LedgerBusy, LedgerUnavailable, LoginRefused
from jobledger.projections.catalogue import ALL_PROJECTIONS
from jobledger.projections.projection import Projection
from jobledger.projections.runner import Pace, Runner

from .bootstrap import LedgerHandle
from .skipped_events import skipped_events

_LISTEN_SECONDS = 0.5

_ACTOR = Actor(id="service:projections")

_log = structlog.get_logger("jobledger.projecting")


def make_runner(handle: LedgerHandle, views: Collection[str] = EVERY_VIEW) -> Runner:
    """What keeps the read models current (or only these); commits of this process wake it."""
    settings = handle.settings
    settings.require_sessions("keeping the lists current")
    runner = Runner(
        handle.view_store, handle.event_source, _named(views), batch_size=settings.projection_batch_events,
        pace=Pace(poll_seconds=settings.projection_poll_seconds), park_after=settings.projection_park_after,
        progress=handle.progress, skipped=partial(skipped_events, handle, _ACTOR),
    )  # fmt: skip
    handle.ports.writer.add_listener(lambda _writes, _outcomes: runner.hint())
    return runner


class Hurrying:
    """Tells a runner at once that somebody in another process waits for the lists, until `stop`."""

    def __init__(self, handle: LedgerHandle, runner: Runner) -> None:
        self._awaited = handle.awaited
        self._runner = runner
        self._stopping = Event()
        if self._awaited is not None:
            Thread(target=self._listen, args=(self._awaited,), name="projections-awaited", daemon=True).start()

    def stop(self) -> None:
        """End soon; never blocks."""
        self._stopping.set()

    def _listen(self, awaited: WakeUp) -> None:
        while not self._stopping.is_set():
            if awaited.wait(_LISTEN_SECONDS):
                self._runner.make_haste()


def catch_up(handle: LedgerHandle, seconds: float, views: Collection[str] = EVERY_VIEW) -> bool:
    """Bring these read models up to date here and now, for at most about `seconds`; whether they are.

    For a ledger on which nothing else runs just now. Where another process does it already, or the database is busy,
    nothing is forced; nor where this login may not keep read models, or a pooler is in the way.
    """
    if handle.settings.postgres_pooler != "none":
        return False
    try:
        head = handle.event_source.head()
        if _reached(handle, head, views):
            return True
    except LoginRefused as error:
        _log.info("service.not_caught_up", error=str(error))
        return False
    runner = make_runner(handle, views)
    give_up_at = handle.ports.clock.monotonic() + seconds
    try:
        while runner.run_once() and handle.ports.clock.monotonic() < give_up_at:
            pass
    except (LedgerBusy, LedgerUnavailable) as error:
        _log.info("service.not_caught_up", error=str(error))
    finally:
        runner.stop()
    return _reached(handle, head, views)


def _named(views: Collection[str]) -> list[Projection]:
    return [projection for projection in ALL_PROJECTIONS if projection.name in views]


def _reached(handle: LedgerHandle, position: int, views: Collection[str]) -> bool:
    checkpoints = handle.view_store.checkpoints()
    stored = [checkpoints.get(projection.name) for projection in _named(views)]
    return all(checkpoint is not None and checkpoint.position >= position for checkpoint in stored)
