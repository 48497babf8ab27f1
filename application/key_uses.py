"""When keys were used: noted in memory while requests are answered, stored behind their backs."""

from __future__ import annotations

import threading

from jobledger.domain.errors import JobledgerError

from .key_ports import KeyRegister, KeyUse
from .logs import logger
from .ports import Clock

STORE_SECONDS = 60.0
"""How often the last use of one key is stored at most."""
LOOK_SECONDS = 5.0
"""How often the thread looks for uses to store."""


class KeyUses:
    """The uses that this process saw and has not stored yet: one of each key, the last. Safe in any thread."""

    def __init__(self, register: KeyRegister, clock: Clock) -> None:
        self._register = register
        self._clock = clock
        self._lock = threading.Lock()
        self._pending: dict[str, KeyUse] = {}
        self._stored: dict[str, float] = {}
        """When a use of a key was stored last, by the clock that never jumps."""

    def note(self, key_id: str, address: str | None) -> None:
        """A key was used now."""
        use = KeyUse(key_id, self._clock.now(), address)
        with self._lock:
            self._pending[key_id] = use

    def store(self, *, all_of_them: bool = False) -> int:
        """Store the uses of keys of which none was stored in the last minute; how many. What could not be stored is
        kept for the next time."""
        now = self._clock.monotonic()
        with self._lock:
            due = {
                key_id: use for key_id, use in self._pending.items()
                if all_of_them or now - self._stored.get(key_id, -STORE_SECONDS) >= STORE_SECONDS
            }  # fmt: skip
            for key_id in due:
                del self._pending[key_id]
        if due:
            self._record(due, now)
        return len(due)

    def _record(self, due: dict[str, KeyUse], now: float) -> None:
        try:
            self._register.record_uses(sorted(due.values()))
        except BaseException:
            with self._lock:
                self._pending = {**due, **self._pending}
            raise
        with self._lock:
            self._stored.update(dict.fromkeys(due, now))


class KeyUseThread:
    """Stores uses until it is closed."""

    def __init__(self, uses: KeyUses) -> None:
        self._uses = uses
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobledger-key-uses", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Store what is left, and end."""
        self._closed.set()
        self._thread.join()
        self._store(all_of_them=True)

    def _run(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            self._store()

    def _store(self, *, all_of_them: bool = False) -> None:
        try:
            self._uses.store(all_of_them=all_of_them)
        except JobledgerError as error:
            logger().warning("api_key.uses_not_stored", error=str(error))
