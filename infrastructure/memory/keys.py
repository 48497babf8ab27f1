"""The keys of a ledger in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from jobledger.application.key_ports import KeyUse

from .store import Store


class MemoryKeyRegister:
    """The `KeyRegister`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def key_ids(self, *, after: str = "", limit: int) -> list[str]:
        """Ids of keys behind that one, in their order."""
        with self._store.lock:
            return sorted(key_id for key_id in self._store.api_keys if key_id > after)[:limit]

    def uses(self, key_ids: Sequence[str]) -> dict[str, KeyUse]:
        """The last uses of those keys."""
        with self._store.lock:
            return {key_id: use for key_id, use in self._store.api_key_uses.items() if key_id in set(key_ids)}

    def record_uses(self, uses: Sequence[KeyUse]) -> None:
        """Remember uses; of several of a key the latest stays."""
        with self._store.lock:
            for use in uses:
                before = self._store.api_key_uses.get(use.key_id)
                if before is None or before.last_used_at < use.last_used_at:
                    self._store.api_key_uses[use.key_id] = use

    def end_session(self, session_sha256: str, until: datetime, *, now: datetime) -> None:
        """A session is not good any more."""
        with self._store.lock:
            kept = {one: ends_at for one, ends_at in self._store.ended_sessions.items() if ends_at >= now}
            self._store.ended_sessions = {session_sha256: until, **kept}

    def is_session_ended(self, session_sha256: str) -> bool:
        """Whether somebody ended it before its time."""
        with self._store.lock:
            return session_sha256 in self._store.ended_sessions
