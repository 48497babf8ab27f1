"""The ports of API keys: which there are, when they were used, which sessions of theirs were ended, and where their
randomness comes from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol


class KeyUse(NamedTuple):
    """When a key was used last, and from where (None: not known)."""

    key_id: str
    last_used_at: datetime
    address: str | None


class KeyRegister(Protocol):
    """The keys that there are (what they are, their streams say), and their uses, which are no history: the last one of
    each, told with a minute's delay."""

    def key_ids(self, *, after: str = "", limit: int) -> list[str]:
        """Ids of keys behind that one, in their order; revoked and expired ones, too."""
        ...

    def uses(self, key_ids: Sequence[str]) -> dict[str, KeyUse]:
        """The last uses of those keys; one that was never used is absent."""
        ...

    def record_uses(self, uses: Sequence[KeyUse]) -> None:
        """Remember uses. Of several of a key the latest stays, in whatever order they come."""
        ...


class EndedSessions(Protocol):
    """Sessions of the console that somebody ended, as long as they would be good else."""

    def end_session(self, session_sha256: str, until: datetime, *, now: datetime) -> None:
        """A session of the console that would be good until then is not any more, on all servers: told once that is
        durable. What is over by now is forgotten."""
        ...

    def is_session_ended(self, session_sha256: str) -> bool:
        """Whether somebody ended that session before its time."""
        ...


class KeyStore(KeyRegister, EndedSessions, Protocol):
    """What a ledger keeps of keys."""


class KeyMint(Protocol):
    """Makes what nobody may guess."""

    def key_id(self) -> str:
        """A new `KeyId`."""
        ...

    def secret(self) -> str:
        """256 bits from the system's generator, as 43 characters of base64url."""
        ...
