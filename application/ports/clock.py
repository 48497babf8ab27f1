"""Where time comes in."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Where time comes in. `domain` and `application` never read a clock (rule 16)."""

    def now(self) -> datetime:
        """This moment, timezone-aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump, for measuring durations and waiting."""
        ...
