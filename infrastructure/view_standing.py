"""How views stand: position, lag, who keeps them current, what is parked, what is under way, what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jobledger.application.message import Actor
from jobledger.domain.errors import LedgerBusy
from jobledger.projections.beginning import RECENT
from jobledger.projections.catalogue import ALL_PROJECTIONS
from jobledger.projections.filling import fraction_done
from jobledger.projections.ports import Checkpoint, LedgerLag, ProjectionLag
from jobledger.projections.projection import Projection
from jobledger.projections.shadow import Rebuild, RebuildState, Versions, shadow_of

from . import parked as parking
from .bootstrap import LedgerHandle


class View(NamedTuple):
    """One view. `lag` is None where measuring it would have taken too long. `parked` are events that failed, and those
    that wait behind them."""

    projection: Projection
    stored: Checkpoint | None
    lag: ProjectionLag | None
    parked: tuple[int, int]
    versions: Versions | None
    rebuild: Rebuild | None
    fraction: float
    skipped: int = 0
    """Events that people decided it goes without."""

    @property
    def is_current_version(self) -> bool:
        """Whether this program's fold wrote the rows."""
        return self.stored is None or self.stored.version == self.projection.version


class Overview(NamedTuple):
    """All views, and what they can read: `head`, and for how long the oldest committed event could not be read.
    `others` are rebuilds under way of views that this program does not have."""

    views: tuple[View, ...]
    head: int
    horizon_age_seconds: float | None
    others: tuple[Rebuild, ...] = ()


def overview(handle: LedgerHandle, actor: Actor, projections: Sequence[Projection] = ALL_PROJECTIONS) -> Overview:
    """Look at all views, as they are now."""
    skips = parking.skips(handle, actor, [projection.name for projection in projections])
    head, lag = handle.event_source.head(), _lag(handle, [projection.name for projection in projections])
    lags = {one.projection: one for one in lag.projections} if lag else {}
    stored, parked = handle.view_store.checkpoints(), handle.view_store.parked_counts()
    versions = {one.projection: one for one in handle.shadows.versions()}
    views = []
    for projection in projections:
        name, under_way = projection.name, handle.shadows.unfinished(projection.name)
        shadow = stored.get(shadow_of(projection).name)
        views.append(View(
            projection, stored.get(name), lags.get(name), parked.get(name, (0, 0)), versions.get(name), under_way,
            0.0 if under_way is None else fraction(under_way, shadow, stored.get(name)), len(skips.get(name, ())),
        ))  # fmt: skip
    known = {projection.name for projection in projections}
    others = tuple(
        rebuild
        for rebuild in handle.shadows.recent(limit=RECENT)
        if rebuild.projection not in known and not rebuild.is_over
    )
    return Overview(tuple(views), head, lag.horizon_age_seconds if lag else None, others)


def fraction(rebuild: Rebuild, shadow: Checkpoint | None, live: Checkpoint | None) -> float:
    """How much of its state's work is done, from 0 to 1."""
    if rebuild.state is RebuildState.FILLING:
        return sum(map(fraction_done, rebuild.slices)) / max(1, len(rebuild.slices))
    if rebuild.state is RebuildState.CATCHING_UP and shadow is not None and live is not None:
        way = max(1, live.position - rebuild.position)
        return max(0.0, min(1.0, (shadow.position - rebuild.position) / way))
    return 0.0


def _lag(handle: LedgerHandle, names: list[str]) -> LedgerLag | None:
    try:
        return handle.event_source.lag(names)
    except LedgerBusy:
        return None
