"""Attempts on their way to a child process.

They count against the worker's concurrency like all others. Where fewer children are allowed than that, the attempts
that wait for one hold no slot, so they keep nothing else from running, and no more are claimed than children are free.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from ..declared_job import DeclaredJob
from .attempt import Attempt
from .execution import Run, Slots, ThreadExecutor
from .turns import Turns

Share = tuple[tuple[str, ...], int]
"""Job types, and how many jobs of them to claim at most."""


class ProcessLane:
    """The executor for process jobs: a thread for each child that runs one, which waits for what the child says."""

    def __init__(
        self, jobs: Mapping[str, DeclaredJob], *, size: int, run: Run, slots: Callable[[], Slots],
        room_again: Callable[[], None], name: str,
    ) -> None:  # fmt: skip
        """`size` is how many children there may be; `room_again` is called when one is free after there was none."""
        self._all = tuple(jobs)
        self._in_process = tuple(job_type for job_type, declared in jobs.items() if declared.in_process)
        self._others = tuple(job_type for job_type in self._all if job_type not in self._in_process)
        self._size = size
        self._slots = slots
        self._room_again = room_again
        self._threads = ThreadExecutor(run, lambda: self, self.begin, name, takes=lambda _: True)
        self._lock = threading.Lock()
        self._parked = Turns()
        self._running = 0
        self._claimed = 0
        self._was_short = False

    @property
    def others(self) -> tuple[str, ...]:
        """The job types that need no child."""
        return self._others

    def claimed(self, attempts: Iterable[Attempt]) -> None:
        """Count attempts that were claimed."""
        count = sum(attempt.declared.in_process for attempt in attempts)
        with self._lock:
            self._claimed += count

    def shares(self, room: int) -> Sequence[Share]:
        """What to claim where `room` more attempts may be: all at once, or each kind of types by itself."""
        with self._lock:
            free = self._size - self._claimed
            self._was_short = bool(self._others) and free < room
        if not self._was_short:
            return ((self._all, room),)
        others = (self._others, room)
        return (others,) if free <= 0 else ((self._in_process, free), others)

    def begin(self, attempt: Attempt) -> None:
        """Have a child run the attempt, which holds a slot; or park it, and let its slot go on."""
        with self._lock:
            has_room = self._running < self._size
            if has_room:
                self._running += 1
            else:
                self._parked.extend((attempt,))
        if has_room:
            try:
                self._threads.begin(attempt)
            except BaseException:
                with self._lock:
                    self._running -= 1
                raise
        else:
            self._slots().pass_on()

    def release(self) -> Attempt | None:
        """A child is free, with its slot: for the next that is parked, else the slot goes on."""
        with self._lock:
            self._claimed -= 1
            following = self._parked.popleft() if self._parked else None
            if following is None:
                self._running -= 1
            tell, self._was_short = self._was_short, False
        if following is None:
            self._slots().pass_on()
        if tell:
            self._room_again()
        return following

    def pass_on(self) -> None:
        """`release`, after an attempt whose thread does not come back."""
        following = self.release()
        if following is not None:
            self._threads.begin(following)

    def take_parked(self) -> list[Attempt]:
        """The attempts that wait for a child; they will not begin."""
        with self._lock:
            return self._parked.take_all()

    def close(self) -> None:
        """Let idle threads end."""
        self._threads.close()
