"""Which keys there are, for whoever has to tell a key from junk without asking the ledger for each."""

from __future__ import annotations

from threading import Lock

from .key_ports import KeyRegister
from .ports import Clock

RENEW_SECONDS = 2.0
"""How old what is known may be before it is read again."""
_PAGE_ROWS = 1_000


class KnownKeys:
    """The ids of all keys, as they were read last. Safe in any thread: one reads, the others go on with what is known.

    An id is no secret: whoever sends one has proved nothing yet."""

    def __init__(self, register: KeyRegister, clock: Clock) -> None:
        self._register = register
        self._clock = clock
        self._reading = Lock()
        self._ids: set[str] = set()
        self._read_at: float | None = None

    def has(self, key_id: str) -> bool:
        """Whether there is such a key, as far as that is known now."""
        return key_id in self._ids

    def add(self, key_id: str) -> None:
        """There is one."""
        self._ids.add(key_id)

    @property
    def is_old(self) -> bool:
        """Whether it is time to read them again."""
        return self._read_at is None or self._clock.monotonic() - self._read_at >= RENEW_SECONDS

    def renew(self) -> None:
        """Read them again where it is time to. Raises what the ledger raises."""
        if not self._reading.acquire(blocking=self._read_at is None):
            return
        try:
            if self.is_old:
                now = self._clock.monotonic()
                self._ids = self._all()
                self._read_at = now
        finally:
            self._reading.release()

    def _all(self) -> set[str]:
        ids: set[str] = set()
        after = ""
        while page := self._register.key_ids(after=after, limit=_PAGE_ROWS):
            ids.update(page)
            after = page[-1]
        return ids
