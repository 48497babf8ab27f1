"""Keeps a job that may have killed its workers away from all others.

A job that stalled once was perhaps only claimed, or ran beside the one to blame: it runs beside others again, but
nothing is claimed ahead meanwhile, so that few would stall with it. One that stalled twice, or whose next stall is its
last, runs when nothing else is held here and nothing else is claimed before it has ended. So an innocent job stalls
twice because of others at most, however often they kill a worker.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from .attempt import Attempt
from .execution import Slots
from .held import Held

_STALLS_SUSPECT = 2


class Seclusion:
    """Belongs to the claiming thread; whoever claims on another one may `admit` what that brings, and ask whether it
    `is_careful`."""

    def __init__(self, held: Held, slots: Slots) -> None:
        self._held = held
        self._slots = slots
        self._suspects: deque[Attempt] = deque()
        """Two threads may bring one each at the same time. The first is the one that waits to be alone, or is."""
        self._begun = False
        self._on_probation: list[Attempt] = []
        self.gate = threading.Lock()
        """Held by whoever claims on another thread: until it is free, that may still bring something."""

    def admit(self, attempts: Sequence[Attempt]) -> Sequence[Attempt]:
        """Those of a claim that may begin now; the others begin later, by `is_on`."""
        for attempt in attempts:
            if attempt.job.state.stalls and attempt.declared.definition.isolation != "process":
                if _is_suspect(attempt):  # it was claimed alone
                    self._suspects.append(attempt)
                    return ()
                self._on_probation.append(attempt)
        return attempts

    def is_on(self, wait_seconds: float) -> bool:
        """Whether nothing may be claimed, after waiting for so long at most for the end of that."""
        while self._suspects:
            if not self._begun:
                self.wait_for_others()
                if not self._held.wait_for_at_most(len(self._suspects), wait_seconds):
                    return True
                self._begun = True
                self._slots.offer((self._suspects[0],))
            if not self._held.wait_for_at_most(len(self._suspects) - 1, wait_seconds):
                return True
            self._suspects.popleft()
            self._begun = False
        return False

    def wait_for_others(self) -> None:
        """Wait until nobody claims on another thread, and what that brought is held. While the claiming thread claims
        nothing and nothing waits here, nobody begins to."""
        with self.gate:
            pass

    @property
    def is_careful(self) -> bool:
        """Whether nothing should be claimed beside and ahead, as far as is known."""
        return bool(self._suspects or self._on_probation)

    @property
    def has_begun(self) -> bool:
        """Whether there is a job that must run alone."""
        return bool(self._suspects)

    @property
    def forbids_claiming_ahead(self) -> bool:
        """Whether a job that stalled once is held here."""
        for attempt in self._on_probation.copy():
            if self._held.get(attempt.key) is not attempt:
                self._on_probation.remove(attempt)  # (another thread may add to the list meanwhile)
        return bool(self._on_probation)

    def take_waiting(self) -> Sequence[Attempt]:
        """The attempts that wait to be alone; they will not begin."""
        waiting = list(self._suspects)[1 if self._begun else 0 :]
        self._suspects.clear()
        return waiting


def _is_suspect(attempt: Attempt) -> bool:
    state = attempt.job.state
    return state.stalls >= min(_STALLS_SUSPECT, max(1, state.max_stalled))
