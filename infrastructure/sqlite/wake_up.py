"""Hints that there may be work: from this process at once, from others by watching the file's data version."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

from .database import connect

POLL_SECONDS = 0.005


class SqliteWakeUp:
    """The `WakeUp`. One thread looks at `PRAGMA data_version` every few milliseconds, only while somebody waits.

    The version changes with every commit of another connection, whatever it wrote: a hint, no more.
    """

    def __init__(self, path: Path, poll_seconds: float = POLL_SECONDS) -> None:
        self._path = path
        self._poll_seconds = poll_seconds
        self._changed = threading.Condition()
        self._generation = 0
        self._waiting = 0
        self._closed = False
        self._seen = threading.local()
        """The generation that each waiting thread knows of: a hint between two waits is not lost."""
        self._watcher = threading.Thread(target=self._watch, name="jobledger-wake-up", daemon=True)
        self._watcher.start()

    def notify(self, queues: frozenset[str]) -> None:
        """Wake whoever waits in this process; other processes see the commit itself."""
        del queues  # who waits looks at his own
        self._hint()

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for a hint, from this process or another; True if one came since this thread's last wait."""
        with self._changed:
            seen = getattr(self._seen, "generation", 0)
            self._waiting += 1
            self._changed.notify_all()  # the watcher may be asleep
            try:
                self._changed.wait_for(lambda: self._closed or self._generation != seen, timeout_seconds)
            finally:
                self._waiting -= 1
            self._seen.generation = self._generation
            return self._generation != seen

    def close(self) -> None:
        """End the watcher, and every wait."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._watcher.join()

    def _hint(self) -> None:
        with self._changed:
            self._generation += 1
            self._changed.notify_all()

    def _watch(self) -> None:
        version = None
        with closing(connect(self._path, busy_timeout_seconds=1.0)) as connection:
            while self._somebody_waits():
                current = _data_version(connection)
                if version is not None and current != version:
                    self._hint()
                version = current
                time.sleep(self._poll_seconds)

    def _somebody_waits(self) -> bool:
        """Block until somebody waits; False when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting > 0)
            return not self._closed


def _data_version(connection: sqlite3.Connection) -> int | None:
    try:
        version: int = connection.execute("PRAGMA data_version").fetchone()[0]
    except sqlite3.Error:
        return None  # a hint less: workers also look by themselves
    return version
