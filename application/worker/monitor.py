"""Watches running attempts: soft and hard timeouts, and reports that have waited long enough."""

from __future__ import annotations

import threading
from collections.abc import Callable

from jobledger.domain.job import AttemptError

from .attempt import Attempt, LeaseKey, Services
from .events import WorkerEventName
from .failures import digest
from .log import say
from .outcomes import Failed
from .running import Settle

TICK_SECONDS = 0.2


class Monitor:
    """Looks at the running attempts several times a second, on a thread of its own."""

    def __init__(
        self, services: Services, running: dict[LeaseKey, Attempt], settle: Settle,
        abandon: Callable[[Attempt], None], tick: Callable[[], None], *,
        kill: Callable[[Attempt], float] | None = None,
    ) -> None:  # fmt: skip
        """`abandon` takes the slot from an attempt whose hard timeout passed; `tick` is called each time. `kill` ends
        the child process that runs an attempt, where there are such; the CPU seconds that it used."""
        self._services = services
        self._running = running
        self._settle = settle
        self._abandon = abandon
        self._tick = tick
        self._kill = kill
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=f"{services.worker}-monitor", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join(5.0)

    @property
    def has_died(self) -> bool:
        """Whether its thread ran, and does not any more."""
        return self._thread.ident is not None and not self._thread.is_alive()

    def _loop(self) -> None:
        while not self._stop.wait(TICK_SECONDS):
            try:
                self._tick()
            except Exception as error:  # noqa: BLE001 - timeouts are watched whatever happens
                say("error", "worker.monitor_failed", error=repr(error))
            self.look()

    def look(self) -> None:
        """Look at all running attempts once, on the calling thread."""
        now = self._services.clock.monotonic()
        for attempt in list(self._running.values()):
            try:
                self._look_at(attempt, now)
            except Exception as error:  # noqa: BLE001 - timeouts are watched whatever happens
                say("error", "worker.monitor_failed", job_id=str(attempt.job.job_id), error=repr(error))

    def _look_at(self, attempt: Attempt, now: float) -> None:
        state, elapsed = attempt.job.state, now - attempt.begun_at
        if elapsed >= state.timeout_seconds:
            self._time_out(attempt, now)
            return
        if elapsed >= state.soft_timeout_seconds:
            attempt.soft_timed_out = True
        if attempt.pending is not None:
            attempt.pending.flush_due(now)

    def _time_out(self, attempt: Attempt, now: float) -> None:
        if not attempt.take_ending():
            return
        attempt.abandoned = True
        self._running.pop(attempt.key, None)
        seconds = attempt.job.state.timeout_seconds
        error = AttemptError("Timeout", f"the handler ran longer than {seconds:g} seconds", digest("timeout"))
        killed = self._kill is not None and attempt.declared.in_process
        cpu_seconds = self._kill(attempt) if killed and self._kill is not None else 0.0
        self._settle(attempt, Failed(error), attempt.measure(now, cpu_seconds))
        if not killed:
            self._services.tell(WorkerEventName.QUARANTINED, attempt.job, error.message)
        self._abandon(attempt)
