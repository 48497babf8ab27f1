"""Finding the event whose row a database refuses, after a batch was refused for it.

First every row of the batch is looked at while it is folded again (`fitting`): that names the event for whatever breaks
a column's rule. What no such rule says (an index that takes no text of this length, somebody's own constraint) is found
by ever smaller batches: half of it, half of that, until a single event is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .fitting import fitting
from .projection import Projection


class Suspects:
    """The projections of which a row was refused lately. A runner's memory, as the number of tries is."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._looked_at: dict[str, Projection] = {}
        self._limits: dict[str, int] = {}

    def seen_as(self, projection: Projection) -> Projection:
        """The projection as it is to be folded: one that is suspected looks at each row."""
        return self._looked_at.get(projection.name, projection)

    def limit(self, name: str) -> int | None:
        """How many events it is given at once, where that is less than a batch; it is then folded alone."""
        return self._limits.get(name)

    def narrow(self, projections: Sequence[Projection]) -> bool:
        """A row of one of these was refused: look closer from now on. False: there is no closer look, because it was a
        single event of a single projection."""
        unsuspected = [projection for projection in projections if projection.name not in self._looked_at]
        if unsuspected:
            self._looked_at.update((projection.name, fitting(projection)) for projection in unsuspected)
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
                self._looked_at.pop(name, None)
            else:
                self._limits[name] = limit
