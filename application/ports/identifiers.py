"""Where randomness comes in."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID


class Identifiers(Protocol):
    """Where randomness comes in."""

    def job_id(self) -> UUID:
        """A new UUIDv7."""
        ...

    def correlation_id(self) -> str:
        """A new correlation id."""
        ...

    def trace_parent(self) -> str:
        """A new W3C traceparent, `00-<32 hex>-<16 hex>-01`."""
        ...

    def jitter(self) -> float:
        """A draw from [0, 1)."""
        ...
