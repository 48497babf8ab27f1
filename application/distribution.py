"""How long things took, as counts of classes: what can be said of them, and how exactly."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple


class Estimate(NamedTuple):
    """Where a quantile lies: above `over_seconds` and at `at_most_seconds` at most (None: nobody counted how far
    above)."""

    over_seconds: float
    at_most_seconds: float | None


class Distribution(NamedTuple):
    """Counts by classes of seconds. `bounds_seconds` are the upper bounds (inclusive) of all classes but the last,
    which has none; the first begins at 0."""

    bounds_seconds: tuple[float, ...]
    counts: tuple[int, ...]
    sum_seconds: float

    @property
    def measured(self) -> int:
        """How many were measured."""
        return sum(self.counts)

    @property
    def mean_seconds(self) -> float | None:
        """The mean, which is exact; None where nothing was measured."""
        return self.sum_seconds / self.measured if self.measured else None

    def quantile(self, share: float) -> Estimate | None:
        """Where the smallest value lies that at least this share (0..1) of all values do not exceed; None where nothing
        was measured. All that is known is its class."""
        rank = max(1, ceil(share * self.measured))
        reached = 0
        for number, counted in enumerate(self.counts):
            reached += counted
            if reached >= rank:
                over = self.bounds_seconds[number - 1] if number else 0.0
                return Estimate(over, self.bounds_seconds[number] if number < len(self.bounds_seconds) else None)
        return None
