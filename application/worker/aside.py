"""Lets jobs of tenants that have nothing waiting here in, while the claiming thread is busy with others' backlog.

A large claim takes a while, and what it brought a while more. On a thread of its own this follows the hints that come
meanwhile, and claims a few jobs, only of tenants that would otherwise wait behind others' hundreds.
"""

from __future__ import annotations

import threading

from jobledger.domain.errors import LedgerBusy, LedgerUnavailable

from ..ports import WakeUp
from .claiming import LONG_CLAIM_SECONDS, Claimer
from .trouble import Trouble

PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 0.003, 0.04
"""The least time between two looks; it doubles with each in vain, because hints may come without end."""
_WITHOUT_HINT_SECONDS = 0.25


class Aside:
    """The thread. It does nothing where nothing waits here."""

    def __init__(self, claimer: Claimer, wake_up: WakeUp, trouble: Trouble, *, name: str) -> None:
        self._claimer = claimer
        self._wake_up = wake_up
        self._trouble = trouble
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the look under way; what it brings is held like everything else. Harmless before `start`."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _loop(self) -> None:
        pause_seconds = PAUSE_SECONDS_MIN
        while not self._stop.is_set():
            hinted = self._wake_up.wait(_WITHOUT_HINT_SECONDS)
            if hinted and not self._claimer.has_others_to_let_in:
                # the claiming thread heard the same hint: if it is at a claim that takes long, it began before
                self._stop.wait(LONG_CLAIM_SECONDS)
            if self._stop.is_set() or not self._claimer.has_others_to_let_in:
                continue
            brought = self._look()
            pause_seconds = PAUSE_SECONDS_MIN if brought else min(PAUSE_SECONDS_MAX, 2 * pause_seconds)
            self._stop.wait(pause_seconds)

    def _look(self) -> bool:
        try:
            return self._claimer.look_aside()
        except (LedgerBusy, LedgerUnavailable) as error:
            self._stop.wait(self._trouble.pause(error))
            return False
        except Exception as error:  # noqa: BLE001 - the claiming thread meets the same, and knows what to do
            self._trouble.error("worker.looking_aside_failed", error)
            return False
