"""How often one identity may ask: a token bucket for each, in this process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from math import ceil
from threading import Lock

from .problem_documents import ApiError

_REMEMBERED_MAX = 10_000


class Rates:
    """`per_second` requests of each identity (None: as many as it likes), and that many at once."""

    def __init__(self, per_second: float | None, monotonic: Callable[[], float]) -> None:
        self._per_second = per_second
        self._monotonic = monotonic
        self._lock = Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> None:
        """Count one request; raises the error of status 429 where that is one too many."""
        if self._per_second is None:
            return
        now, size = self._monotonic(), max(self._per_second, 1.0)
        with self._lock:
            tokens, at = self._buckets.get(name, (size, now))
            tokens = min(size, tokens + (now - at) * self._per_second)
            allowed = tokens >= 1
            self._buckets[name] = (tokens - 1 if allowed else tokens, now)
            self._buckets.move_to_end(name)
            if len(self._buckets) > _REMEMBERED_MAX:
                self._buckets.popitem(last=False)
        if not allowed:
            raise ApiError(
                "too_many_requests", f"more than {self._per_second:g} requests a second", rule="a rate for each key",
                hint="wait as long as Retry-After says",
                headers={"Retry-After": str(ceil((1 - tokens) / self._per_second))},
            )  # fmt: skip
