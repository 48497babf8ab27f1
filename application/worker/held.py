"""The attempts that this worker holds: claimed, and their ending not durable yet."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from .attempt import Attempt, LeaseKey


class Held:
    """A thread-safe set of attempts by job and number; single operations on a dict are atomic."""

    def __init__(self, became_empty: Callable[[], None] | None = None) -> None:
        """`became_empty` is called when the last one is let go."""
        self._became_empty = became_empty
        self._attempts: dict[LeaseKey, Attempt] = {}
        self.empty = threading.Event()
        """Set while nothing is held."""
        self.empty.set()
        self._few = -1
        self._are_few = threading.Event()
        self.claims_begun = 0
        """Claims are numbered from 1: a lease of a claim under way is not known here yet."""
        self._claims_under_way: set[int] = set()
        self._claims_lock = threading.Lock()

    @contextmanager
    def claiming(self) -> Iterator[None]:
        """A claim takes place, and what it brings is added, during the block."""
        with self._claims_lock:
            self.claims_begun += 1
            number = self.claims_begun
            self._claims_under_way.add(number)
        try:
            yield
        finally:
            with self._claims_lock:
                self._claims_under_way.discard(number)

    @property
    def claims_ended(self) -> int:
        """The number up to which all claims have ended."""
        with self._claims_lock:
            return min(self._claims_under_way, default=self.claims_begun + 1) - 1

    def add(self, attempts: Iterable[Attempt]) -> None:
        """Hold these from now on."""
        self._attempts.update({attempt.key: attempt for attempt in attempts})
        if self._attempts:
            self.empty.clear()

    def remove(self, attempt: Attempt) -> None:
        """The attempt's ending is durable, or somebody else's."""
        self._attempts.pop(attempt.key, None)
        if len(self._attempts) <= self._few:
            self._are_few.set()
        if not self._attempts and not self.empty.is_set():
            self.empty.set()
            if self._became_empty is not None:
                self._became_empty()

    def wait_for_at_most(self, count: int, timeout_seconds: float) -> bool:
        """Wait until no more than so many are held; for one thread at a time."""
        self._are_few.clear()
        self._few = count
        try:
            return len(self._attempts) <= count or self._are_few.wait(timeout_seconds)
        finally:
            self._few = -1

    def get(self, key: LeaseKey) -> Attempt | None:
        """The attempt, if it is held."""
        return self._attempts.get(key)

    def snapshot(self) -> dict[LeaseKey, Attempt]:
        """What is held now."""
        return self._attempts.copy()

    def __len__(self) -> int:
        """How many are held."""
        return len(self._attempts)
