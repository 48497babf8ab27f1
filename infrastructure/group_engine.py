"""What a group commit asks of an engine, and its limits."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final, Literal, NamedTuple, Protocol

from jobledger.application.writes import Outcome, Write


class Deferral(Enum):
    """The type of `DEFERRED`."""

    DEFERRED = "deferred"


DEFERRED: Final = Deferral.DEFERRED
"""What an engine answers for a write that another transaction blocks: nothing of it was stored."""

Answer = Outcome | Literal[Deferral.DEFERRED]


class GroupBlocked(Exception):
    """Raised by an engine's `flush`: some write is blocked, which one is not known, and nothing was stored."""


class Engine(Protocol):
    """What an engine brings. Only the flushing thread calls it."""

    def flush(self, writes: Sequence[Write]) -> list[Answer]:
        """Store the writes in one durable transaction, each completely or not at all; one answer each, in order.

        Raises `GroupBlocked`; `LedgerUnavailable` (tried again), `LedgerBusy` and `LedgerRestored` (told to all
        callers): then nothing was stored. Whether a COMMIT without an answer took place is the engine's to find out.
        """
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


class Limits(NamedTuple):
    """Bounds of a group commit: of one flush, of the buffer, and of waiting (in seconds)."""

    max_writes: int = 1_000
    max_bytes: int = 8_000_000
    buffer_writes: int = 10_000
    wait_seconds: float = 5.0
    """How long a caller waits for room in the buffer."""
    deferred_seconds: float = 5.0
    """How long a deferred write is tried again before it is `LedgerBusy`."""
    retry_seconds: tuple[float, ...] = (0.05, 0.2, 0.5)
    """Waits before the retries of a group that the database did not take."""
