"""Takes the time and the CPU of what scenarios do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from . import machine
from .measures import Sample


class Meter:
    """From its making on, counts seconds and the CPU of some processes and of the database server."""

    def __init__(self, server_cpu: Callable[[], float], pids: Iterable[int] = (), *, here: bool = False) -> None:
        """`here`: this process counts as one of jobledger's."""
        self._server_cpu = server_cpu
        self._pids = tuple(pids)
        self._here = here
        self._own_before = self._own()
        self._server_before = server_cpu()
        self.began_at = time.monotonic()

    def sample(
        self, scenario: str, engine: str, units: int, *, ended_at: float, listed_at: float | None = None,
        batch: int | None = None, unit: str = "jobs",
    ) -> Sample:  # fmt: skip
        """The figures of `units` units of work. Moments are `time.monotonic()`'s; CPU counts until now."""
        own, server = self._own() - self._own_before, self._server_cpu() - self._server_before
        return Sample(
            scenario, engine, batch, unit,
            rate=units / (ended_at - self.began_at),
            lists_rate=None if listed_at is None else units / (listed_at - self.began_at),
            own_cpu=1_000 * own / units,
            server_cpu=1_000 * server / units,
        )  # fmt: skip

    def _own(self) -> float:
        return machine.cpu_seconds(self._pids) + (machine.own_cpu_seconds() if self._here else 0.0)
