"""How often one identity may ask, and how many streams it may have open: counted for each, in this process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


class Streams:
    """So many streams of each identity at a time."""

    RETRY_AFTER_SECONDS = 10

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._open: dict[str, int] = {}

    @contextmanager
    def opened(self, name: str) -> Iterator[None]:
        """One more during the block; raises the error of status 429 where that is one too many. In the event loop."""
        already = self._open.get(name, 0)
        if already >= self._at_once:
            raise ApiError(
                "too_many_requests", f"{already} streams of this identity are open at this server",
                rule=f"at most {self._at_once} at a time", hint="close one, or let many listen to one",
                headers={"Retry-After": str(self.RETRY_AFTER_SECONDS)},
            )  # fmt: skip
        self._open[name] = already + 1
        try:
            yield
        finally:
            self._open[name] -= 1
            if not self._open[name]:
                del self._open[name]
