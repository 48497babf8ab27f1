"""How long things took, as counts: one integer column for each class of seconds, bounds fixed for ever.

A class counts what took longer than the bound before it, up to and including its own; the last one whatever took
longer than an hour. Counts of several rows add up, so quantiles of any group can be estimated: as the bound of the
class they fall into, never more exactly. To change the bounds, raise the `version` of the projections that have them.
"""

from __future__ import annotations

from .projection import Column

BOUNDS_SECONDS: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 120.0, 300.0, 900.0, 3_600.0)
"""The upper bounds of all classes but the last, which has none."""

SUFFIXES = (
    "10ms", "30ms", "100ms", "300ms", "1s", "3s", "10s", "30s", "2min", "5min", "15min", "1h", "more",
)  # fmt: skip
"""The classes, as their columns end."""


class Histogram:
    """The columns of one measure: `<name>_10ms` ... `<name>_more`, and the sum `<name>_seconds`."""

    def __init__(self, name: str) -> None:
        self.counts = tuple(f"{name}_{suffix}" for suffix in SUFFIXES)
        self.seconds = f"{name}_seconds"

    @property
    def columns(self) -> tuple[Column, ...]:
        """The counts, then the sum."""
        return (*(Column(name, "integer") for name in self.counts), Column(self.seconds, "real"))
