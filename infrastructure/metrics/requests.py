"""Counts the requests of a server: by route, never by what was asked for, nor by whom."""

from __future__ import annotations

from threading import Lock
from typing import NamedTuple

from .tally import OTHER, Histogram

REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Upper bounds of the histogram, inclusive."""
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class RequestKey(NamedTuple):
    """The labels of a series: the route as the API's description names it."""

    method: str
    route: str


class Requested(NamedTuple):
    """What was counted: answers by status class (`2xx`; `cut` where there was none), how long requests took, and how
    many are under way."""

    answers: dict[tuple[RequestKey, str], int]
    seconds: dict[RequestKey, Histogram]
    in_flight: int


class RequestTally:
    """Written by the event loop, read by who scrapes."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._answers: dict[tuple[RequestKey, str], int] = {}
        self._seconds: dict[RequestKey, Histogram] = {}
        self._in_flight = 0

    def begin(self) -> None:
        """A request came."""
        with self._lock:
            self._in_flight += 1

    def end(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """It is over; `route` None: there is none for its path. Status 0: no answer began."""
        key = RequestKey(method if method in _METHODS else OTHER, OTHER if route is None else route)
        answer = (key, f"{status // 100}xx" if status else "cut")
        with self._lock:
            self._in_flight -= 1
            self._answers[answer] = self._answers.get(answer, 0) + 1
            histogram = self._seconds.get(key)
            if histogram is None:
                histogram = self._seconds[key] = Histogram(REQUEST_SECONDS)
            histogram.observe(seconds)

    def snapshot(self) -> Requested:
        """As it is now."""
        with self._lock:
            seconds = {key: histogram.copy() for key, histogram in self._seconds.items()}
            return Requested(dict(self._answers), seconds, self._in_flight)


class ServerLoad(NamedTuple):
    """What a server has to do at a moment."""

    requests: Requested
    streams: int
    """Live streams of events that are open."""
    connections: int
    threads: int
    threads_used: int
    requests_waiting: int
    """For one of these threads."""
