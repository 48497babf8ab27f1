"""How much of the machine a rebuild takes: between two batches it rests in proportion to the time they took."""

from __future__ import annotations

import time
from collections.abc import Callable

QUARTER = 0.25
"""Of one core: what a throttled rebuild takes where nothing else is said."""


class Throttle:
    """Keeps a share of the time busy. Reading, folding and storing then follow each other, so that this program and
    the database together take about that share of one core."""

    def __init__(
        self,
        share: float = 1.0,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`share` of one core, above 0; 1 or more does not rest at all."""
        self._share = share
        self._monotonic = monotonic
        self._sleep = sleep

    @property
    def share(self) -> float:
        """Of one core; 1 or more does not rest."""
        return self._share

    @property
    def is_on(self) -> bool:
        """Whether it ever rests."""
        return self._share < 1.0

    def divided(self, workers: int) -> Throttle:
        """The throttle of one of several that share it."""
        return Throttle(self._share / workers, monotonic=self._monotonic, sleep=self._sleep) if self.is_on else self

    def begin(self) -> float:
        """When work begins: what `rest` is given."""
        return self._monotonic()

    def rest(self, begun: float) -> float:
        """Rest after work that began then; returns when the next work begins."""
        if self.is_on:
            busy_seconds = self._monotonic() - begun
            self._sleep(busy_seconds * (1 - self._share) / self._share)
        return self._monotonic()
