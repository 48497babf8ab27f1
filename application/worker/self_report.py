"""What a worker reports of itself with its heartbeats. Gathered on the heartbeat's thread only: nothing a job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..ports import Clock, WorkerReport
from .attempt import Attempt, LeaseKey
from .clock_skew import ClockSkew
from .held import Held
from .log import say
from .options import WorkerOptions

SAMPLE_SECONDS = 5.0
"""How long what the operating system said of this process is good for: long running jobs make beats far more often."""


class ResourceUse(NamedTuple):
    """What a process and its children use. `cpu_seconds` since they started, those included that have ended."""

    cpu_seconds: float
    rss_bytes: int


class WorkerState(NamedTuple):
    """What a worker does just now, for metrics of its own process."""

    report: WorkerReport
    concurrency: int
    running: int
    waiting: int
    """Jobs that were claimed ahead and have no slot yet."""
    unsettled: int
    """Endings that are not durable yet."""
    clock_skew_seconds: float
    ledger_errors: dict[str, int]
    """How often the ledger failed, by kind of error."""


class SelfReport:
    """Puts reports together: what is known once, what the system says, and what is under way."""

    def __init__(
        self, about: WorkerReport, options: WorkerOptions, resources: Callable[[], ResourceUse] | None, *, clock: Clock,
        skew: ClockSkew, held: Held, running: Mapping[LeaseKey, Attempt], quarantined: Callable[[], int],
    ) -> None:  # fmt: skip
        """`about` has what the worker cannot know: app, host and process id."""
        self._about = about._replace(tenants=options.tenants or (), personas=options.personas or ())
        self._resources = resources
        self._clock = clock
        self._skew = skew
        self._held = held
        self._running = running
        self._quarantined = quarantined
        self._sampled_at: float | None = None
        self._used = ResourceUse(0.0, 0)
        self._load = 0.0

    def make(self) -> WorkerReport:
        """The report of this moment."""
        self._sample()
        by_type = Counter(attempt.job.state.job_type for attempt in list(self._running.values()))
        return self._about._replace(
            cpu_seconds=round(self._used.cpu_seconds, 2), cpu_load=round(self._load, 2), rss_bytes=self._used.rss_bytes,
            held=len(self._held), running_by_type=dict(by_type.most_common()), quarantined=self._quarantined(),
            clock_skew_seconds=round(self._skew.seconds, 3),
        )  # fmt: skip

    def _sample(self) -> None:
        now = self._clock.monotonic()
        if self._resources is None or (self._sampled_at is not None and now - self._sampled_at < SAMPLE_SECONDS):
            return
        try:
            used = self._resources()
        except Exception as error:  # noqa: BLE001 - a strange /proc must cost nobody their leases
            say("warning", "worker.resources_unknown", error=repr(error))
            self._resources = None
            return
        # a child that ends between two looks may take some of its time with it: what was counted stays counted
        cpu_seconds = max(used.cpu_seconds, self._used.cpu_seconds)
        if self._sampled_at is not None:
            self._load = (cpu_seconds - self._used.cpu_seconds) / (now - self._sampled_at)
        self._used, self._sampled_at = ResourceUse(cpu_seconds, used.rss_bytes), now
