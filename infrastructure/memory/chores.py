"""Turns in memory: who does a chore now, among the threads of this process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock


class Chores:
    """A lock for each chore."""

    def __init__(self) -> None:
        self._locks: defaultdict[str, Lock] = defaultdict(Lock)

    @contextmanager
    def turn(self, chore: str) -> Iterator[bool]:
        """See `Queue.turn`."""
        lock = self._locks[chore]
        mine = lock.acquire(blocking=False)
        try:
            yield mine
        finally:
            if mine:
                lock.release()
