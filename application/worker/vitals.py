"""Whether a worker lives and whether it is ready: what its probes answer, with the reasons. Asks the ledger nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..ports import Clock
from .options import WorkerOptions

STILL_SECONDS_MAX = 60.0
"""How long the main loop may take for one turn, beyond its longest wait: a look at the queue takes milliseconds, and a
ledger that does not answer fails long before."""
_ENDING_SECONDS = 30.0
"""Beyond the grace period, for recording what became of the jobs."""

_LINGER_SECONDS = 60.0
"""How long a process may go on after its worker ended: the lists catch up."""


class Check(NamedTuple):
    """One thing that was looked at; `detail` says more to people."""

    name: str
    passed: bool
    detail: str = ""


class Vitals:
    """Kept by the worker as it goes along, read by whoever probes it, from any thread."""

    def __init__(
        self, clock: Clock, options: WorkerOptions, *, threads: Mapping[str, Callable[[], bool]],
        beaten_at: Callable[[], float | None], in_trouble: Callable[[], bool],
    ) -> None:  # fmt: skip
        """`threads` tells of each thread whether it has died; `beaten_at` when the database last took a heartbeat
        (monotonic); `in_trouble` whether the ledger fails us just now."""
        self._clock = clock
        self._options = options
        self._threads = dict(threads)
        self._beaten_at = beaten_at
        self._in_trouble = in_trouble
        self._began_at: float | None = None
        self._turned_at = 0.0
        self._ending_at: float | None = None
        self._ended_at: float | None = None

    def begin(self) -> None:
        """The worker starts; its threads run."""
        self._began_at = self._turned_at = self._clock.monotonic()

    def turn(self) -> None:
        """The main loop goes round."""
        self._turned_at = self._clock.monotonic()

    def begin_ending(self) -> None:
        """The worker takes nothing any more, and finishes what it has."""
        self._ending_at = self._clock.monotonic()

    def end(self) -> None:
        """The worker has ended."""
        self._ended_at = self._clock.monotonic()

    # --- what probes ask -----------------------------------------------------------------------------------------

    def liveness(self) -> list[Check]:
        """Whether to go on with this process; if one failed, only a restart helps. A ledger that is away is no reason
        for one."""
        if self._began_at is None:
            return [Check("worker", passed=True, detail="has not begun")]
        if self._ended_at is not None:
            seconds = self._clock.monotonic() - self._ended_at
            return [Check("worker", seconds <= _LINGER_SECONDS, f"ended {seconds:.1f} s ago")]
        if self._ending_at is not None:
            return [self._is_ending_in_time(self._ending_at)]
        return [self._turns(), *(running(name, has_died()) for name, has_died in self._threads.items())]

    def readiness(self) -> list[Check]:
        """Whether the worker takes jobs just now."""
        stopping = self._ending_at is not None
        return [
            self._is_registered(),
            self._is_reachable(),
            Check("taking jobs", not stopping, "stopping" if stopping else ""),
        ]

    def _turns(self) -> Check:
        seconds = self._clock.monotonic() - self._turned_at
        most = STILL_SECONDS_MAX + self._options.poll_seconds
        return Check("main loop", seconds <= most, f"turned {seconds:.1f} s ago")

    def _is_ending_in_time(self, ending_at: float) -> Check:
        seconds = self._clock.monotonic() - ending_at
        most = self._options.grace_seconds + _ENDING_SECONDS
        return Check("ending", seconds <= most, f"for {seconds:.1f} s")

    def _is_reachable(self) -> Check:
        in_trouble = self._in_trouble()
        return Check("ledger", not in_trouble, "does not answer" if in_trouble else "answers")

    def _is_registered(self) -> Check:
        beaten_at = self._beaten_at()
        if beaten_at is None:
            return Check("heartbeat", passed=False, detail="none yet")
        seconds = self._clock.monotonic() - beaten_at
        return Check("heartbeat", seconds <= self._options.lease_seconds, f"{seconds:.1f} s ago")


def running(name: str, has_died: bool) -> Check:
    """Whether a thread of that name runs."""
    return Check(f"{name} thread", not has_died, "has died" if has_died else "runs")
