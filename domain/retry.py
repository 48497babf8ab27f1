"""Retry policies: how long a failed job waits before its next attempt, and when it has had enough.

Pure: jitter comes in as a number between 0 and 1, so that a decision can be replayed from what was recorded.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_ATTEMPTS_LIMIT = 1_000
"""Unlimited retry is refused (R4.6)."""

DAY_SECONDS = 86_400.0


class Retry(BaseModel):
    """A retry policy. `delay_seconds(n, jitter)` is the wait after the n-th counted attempt failed.

    Full jitter draws the wait evenly between 0 and the computed delay, after the advice of AWS's architecture blog
    ("Exponential Backoff And Jitter"): it spreads a thundering herd best.
    """

    # no infinity: JSON has none, and a dispatch that nobody can read back would be recorded
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["exponential", "linear", "fixed", "list"] = "exponential"
    max_attempts: int = Field(default=5, ge=1, le=MAX_ATTEMPTS_LIMIT)
    base_seconds: float = Field(default=2.0, ge=0, le=DAY_SECONDS)
    cap_seconds: float = Field(default=3_600.0, ge=0, le=30 * DAY_SECONDS)
    delays_seconds: tuple[float, ...] = ()
    jitter: Literal["full", "none"] = "full"

    @model_validator(mode="after")
    def _list_has_delays(self) -> Self:
        if self.kind == "list" and not self.delays_seconds:
            raise ValueError("a retry list needs at least one delay")
        if any(delay < 0 for delay in self.delays_seconds):
            raise ValueError("delays are not negative")
        return self

    @classmethod
    def exponential(cls, max_attempts: int = 5, base_seconds: float = 2, cap_seconds: float = 3_600) -> Retry:
        """Doubling from `base_seconds` to `cap_seconds`, full jitter: the default."""
        return cls(max_attempts=max_attempts, base_seconds=base_seconds, cap_seconds=cap_seconds)

    @classmethod
    def linear(cls, max_attempts: int = 5, base_seconds: float = 10, cap_seconds: float = 3_600) -> Retry:
        """`base_seconds` more after each attempt, up to `cap_seconds`; no jitter."""
        return cls(
            kind="linear", max_attempts=max_attempts, base_seconds=base_seconds, cap_seconds=cap_seconds, jitter="none"
        )

    @classmethod
    def fixed(cls, max_attempts: int = 5, base_seconds: float = 10) -> Retry:
        """The same wait after each attempt; no jitter."""
        return cls(kind="fixed", max_attempts=max_attempts, base_seconds=base_seconds, jitter="none")

    @classmethod
    def delays(cls, *delays_seconds: float) -> Retry:
        """Exactly these waits, then no more: as many attempts as waits, plus one; no jitter."""
        return cls(kind="list", max_attempts=len(delays_seconds) + 1, delays_seconds=delays_seconds, jitter="none")

    @classmethod
    def never(cls) -> Retry:
        """One attempt."""
        return cls(max_attempts=1)

    def nominal_delay_seconds(self, failures: int) -> float:
        """The wait after `failures` counted attempts (1 or more), before jitter."""
        match self.kind:
            case "exponential":
                # beyond 2**40 the cap holds anyway, and floats would overflow at 2**1024
                delay = self.base_seconds * 2.0 ** min(failures - 1, 40)
            case "linear":
                delay = self.base_seconds * failures
            case "fixed":
                delay = self.base_seconds
            case "list":
                delay = self.delays_seconds[min(failures, len(self.delays_seconds)) - 1]
        return min(delay, self.cap_seconds)

    def delay_seconds(self, failures: int, jitter: float) -> float:
        """The wait in seconds; `jitter` is a draw from [0, 1] and counts only for policies with jitter."""
        nominal = self.nominal_delay_seconds(failures)
        return nominal * jitter if self.jitter == "full" else nominal
