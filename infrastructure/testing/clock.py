"""Time and identifiers that a test decides about, behind the ports `Clock` and `Identifiers`."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from jobledger.domain.errors import InvalidInput
from jobledger.domain.identifiers import uuid7

START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
"""Where a clock stands unless a test says otherwise: a Monday morning."""
_MONOTONIC_START = 1_000.0
"""Not zero: an attempt that began at zero has not begun."""
_RANDOM_BITS = 42


class FrozenClock:
    """A clock that stands still until somebody moves it, forward only."""

    def __init__(self, start: datetime = START) -> None:
        """`start` is aware. Raises `InvalidInput` for a naive one."""
        if start.tzinfo is None:
            raise InvalidInput(f"{start} has no time zone", field="start", rule="is aware", hint="add tzinfo=UTC")
        self._start = self._now = start.astimezone(UTC)
        self._listeners: list[Callable[[], None]] = []

    def now(self) -> datetime:
        """This moment, in UTC."""
        return self._now

    def monotonic(self) -> float:
        """Seconds; they move with `now`."""
        return _MONOTONIC_START + (self._now - self._start).total_seconds()

    def advance(self, seconds: float = 0.0, *, minutes: float = 0.0, hours: float = 0.0, days: float = 0.0) -> datetime:
        """Let time pass; the new time. A handler (or a fake it calls) may do so: that is how long it takes."""
        return self.move_to(self._now + timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds))

    def move_to(self, moment: datetime) -> datetime:
        """Let time pass until an aware moment. Raises `InvalidInput` for one that has passed."""
        if moment < self._now:
            raise InvalidInput(f"{moment.isoformat()} has passed", field="moment", rule="time moves forward only")
        self._now = moment.astimezone(UTC)
        for listener in tuple(self._listeners):
            listener()
        return self._now

    def on_move(self, listener: Callable[[], None]) -> None:
        """Call `listener` each time the clock was moved."""
        self._listeners.append(listener)


class SeededIdentifiers:
    """The same ids and the same jitter in every run. Job ids sort in the order in which they were made, so that jobs
    dispatched at one moment run in that order."""

    def __init__(self, clock: FrozenClock, seed: int = 0) -> None:
        self._clock = clock
        self._random = random.Random(seed)
        self._jobs = 0

    def job_id(self) -> UUID:
        """A UUIDv7 of the clock's moment."""
        self._jobs += 1
        milliseconds = int(self._clock.now().timestamp() * 1000)
        return uuid7(milliseconds, (self._jobs << _RANDOM_BITS) | self._random.getrandbits(_RANDOM_BITS))

    def correlation_id(self) -> str:
        """32 hexadecimal digits."""
        return f"{self._random.getrandbits(128):032x}"

    def trace_parent(self) -> str:
        """A sampled W3C traceparent."""
        return f"00-{self._random.getrandbits(128) or 1:032x}-{self._random.getrandbits(64) or 1:016x}-01"

    def jitter(self) -> float:
        """A draw from [0, 1)."""
        return self._random.random()
