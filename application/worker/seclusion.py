"""Keeps a job that may have killed its workers away from all others.

A job that stalled once was perhaps only claimed, or ran beside the one to blame: it runs beside others again, but
nothing is claimed ahead meanwhile, so that few would stall with it. One that stalled twice, or whose next stall is its
last, runs when nothing else is held here and nothing else is claimed before it has ended. So an innocent job stalls
twice because of others at most, however often they kill a worker.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from .attempt import Attempt
from .execution import Slots
from .held import Held

_STALLS_SUSPECT = 2


class Seclusion:
    """Belongs to the claiming thread; others may ask whether it `is_careful`."""

    def __init__(self, held: Held, slots: Slots) -> None:
        self._held = held
        self._slots = slots
        self._suspect: Attempt | None = None
        self._begun = False
        self._on_probation: list[Attempt] = []
        self.gate = threading.Lock()
        """Held by whoever claims on another thread: until it is free, that may still bring something."""

    def admit(self, attempts: Sequence[Attempt]) -> Sequence[Attempt]:
        """Those of a claim that may begin now; the others begin later, by `is_on`."""
        for attempt in attempts:
            if attempt.job.state.stalls and attempt.declared.definition.isolation != "process":
                if _is_suspect(attempt):  # it was claimed alone
                    self._suspect, self._begun = attempt, False
                    return ()
                self._on_probation.append(attempt)
        return attempts

    def is_on(self, wait_seconds: float) -> bool:
        """Whether nothing may be claimed, after waiting for so long at most for the end of that."""
        suspect = self._suspect
        if suspect is None:
            return False
        if not self._begun:
            with self.gate:
                pass  # from here on nobody else claims
            if not self._held.wait_for_at_most(1, wait_seconds):
                return True
            self._begun = True
            self._slots.offer((suspect,))
        if not self._held.wait_for_at_most(0, wait_seconds):
            return True
        self._suspect = None
        return False

    @property
    def is_careful(self) -> bool:
        """Whether nothing should be claimed beside and ahead, as far as is known."""
        return self._suspect is not None or bool(self._on_probation)

    @property
    def has_begun(self) -> bool:
        """Whether there is a job that must run alone."""
        return self._suspect is not None

    @property
    def forbids_claiming_ahead(self) -> bool:
        """Whether a job that stalled once is held here."""
        if self._on_probation:
            held = self._held
            self._on_probation = [attempt for attempt in self._on_probation if held.get(attempt.key) is attempt]
        return bool(self._on_probation)

    def take_waiting(self) -> Sequence[Attempt]:
        """The attempt that waits to be alone; it will not begin."""
        waiting = () if self._suspect is None or self._begun else (self._suspect,)
        self._suspect = None
        return waiting


def _is_suspect(attempt: Attempt) -> bool:
    state = attempt.job.state
    return state.stalls >= min(_STALLS_SUSPECT, max(1, state.max_stalled))
