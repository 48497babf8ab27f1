"""Telling workers that there may be work."""

from __future__ import annotations

from typing import Protocol


class WakeUp(Protocol):
    """Tells workers that there may be work. Only ever a hint: polling alone is enough."""

    def notify(self, queues: frozenset[str]) -> None:
        """Say that jobs became ready. Never blocks; the first goes out at once, later ones are coalesced."""
        ...

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for a hint, from this process or another; True if one came."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...
