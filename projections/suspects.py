"""Finding the event whose row a database refuses, after a batch was refused for it.

First every row of the batch is looked at while it is folded again (`fitting`): that names the event for whatever breaks
a column's rule. What no such rule says (an index that takes no text of this length, somebody's own constraint) is found
by ever smaller batches: half of it, half of that, until a single event is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from .fitting import fitting
from .parking import EventId, without_events
from .projection import Projection

Skipped = Callable[[str], frozenset[EventId]]
"""Says which events people decided a projection goes without."""


def nothing_skipped(_: str) -> frozenset[EventId]:
    """Nobody decided anything."""
    return frozenset()


class Suspects:
    """The projections of which a row was refused, or an event not taken, lately. A runner's memory, as the number of
    tries is."""

    def __init__(self, batch_size: int, skipped: Skipped = nothing_skipped) -> None:
        self._batch_size = batch_size
        self._ask_skipped = skipped
        self._skipped: dict[str, frozenset[EventId]] = {}
        self._looked_at: set[str] = set()
        self._limits: dict[str, int] = {}
        self._made: dict[str, tuple[object, Projection]] = {}

    def seen_as(self, projection: Projection) -> Projection:
        """The projection as it is to be folded: without what was skipped; one that is suspected looks at each row. The
        same object as long as nothing changes: what was read ahead is for it."""
        name = projection.name
        if name not in self._looked_at and name not in self._skipped:
            return projection
        how = (projection, self._skipped.get(name), name in self._looked_at)
        made = self._made.get(name)
        if made is None or made[0] != how:
            without = without_events(projection, self._skipped.get(name, frozenset()))
            made = self._made[name] = how, fitting(without) if name in self._looked_at else without
        return made[1]

    def look_up_skipped(self, name: str) -> None:
        """An event was not taken, perhaps because people decided since that the view goes without one before it."""
        if skipped := self._ask_skipped(name):
            self._skipped[name] = skipped
        else:
            self._skipped.pop(name, None)

    def limit(self, name: str) -> int | None:
        """How many events it is given at once, where that is less than a batch; it is then folded alone."""
        return self._limits.get(name)

    def narrow(self, projections: Sequence[Projection]) -> bool:
        """A row of one of these was refused: look closer from now on. False: there is no closer look, because it was a
        single event of a single projection."""
        unsuspected = [projection for projection in projections if projection.name not in self._looked_at]
        if unsuspected:
            self._looked_at.update(projection.name for projection in unsuspected)
            return True
        if len(projections) > 1:
            self._limits.update((projection.name, self._batch_size) for projection in projections)
            return True
        (projection,) = projections
        limit = self._limits.get(projection.name, self._batch_size)
        self._limits[projection.name] = max(1, limit // 2)
        return limit > 1

    def widen(self, names: Iterable[str]) -> None:
        """What was refused of these is behind them, or a part of the batch that held it."""
        for name in names:
            limit = self._limits.get(name, self._batch_size) * 2
            if limit >= self._batch_size:
                self._limits.pop(name, None)
                self._looked_at.discard(name)
            else:
                self._limits[name] = limit
