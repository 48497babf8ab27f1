"""Runs one attempt's handler: payload in, result or error out, measured, and nothing a handler does gets past here."""

from __future__ import annotations

import contextvars
from collections.abc import Callable

from structlog.contextvars import bind_contextvars

from jobledger.domain.job import Measured

from ..telemetry import Telemetry, mark_failed
from .attempt import Attempt, LeaseKey, Services
from .context import AttemptContext
from .events import WorkerEventName
from .failures import clean
from .handling import MakeContext, handle, handle_async
from .log import say
from .outcomes import Ending, Failed, GivenBack, PutOff, Stopped, Succeeded
from .pace import Pace
from .transactions import finish, roll_back

UNREADABLE_SECONDS = 60.0
"""How long a job that this program cannot read is put off: a deploy is under way, a newer worker may come first."""

Settle = Callable[[Attempt, Ending, Measured], None]
"""Takes an ending to be recorded."""


class Runner:
    """Runs handlers, in whatever thread or task calls it. `running` holds the attempts whose handler runs now."""

    def __init__(
        self, services: Services, telemetry: Telemetry, settle: Settle, *, context: MakeContext = AttemptContext,
        processes: Callable[[Attempt, str], Ending] | None = None, look_after: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        """`processes` runs handlers of the types that ask for a child process; without it they run like any.
        `look_after` is called after each handler, to mend what it broke of what all share."""
        self._services = services
        self._settle = settle
        self._telemetry = telemetry
        self._traced = telemetry.enabled
        self._context = context
        self._processes = processes
        self._look_after = look_after
        self._told: set[str] = set()
        self.running: dict[LeaseKey, Attempt] = {}
        self.pace = Pace()

    def run(self, attempt: Attempt) -> bool:
        """Run a handler that is a function. False if somebody else ended the attempt meanwhile."""
        if not self._begin(attempt):
            return True
        cpu_before = self._services.cpu_seconds()
        # A fresh context: what a handler leaves in context variables must not reach the next tenant.
        ending = contextvars.Context().run(self._call, attempt)
        return self._end(attempt, ending, self._services.cpu_seconds() - cpu_before + attempt.cpu_seconds)

    async def run_async(self, attempt: Attempt) -> bool:
        """Run a handler that is a coroutine, in its own task. Its CPU seconds are not known: the loop is shared."""
        if not self._begin(attempt):
            return True
        return self._end(attempt, await self._call_async(attempt), 0.0)

    def _begin(self, attempt: Attempt) -> bool:
        if attempt.ended:
            return False
        if attempt.lost:
            self._end(attempt, GivenBack("lost"), 0.0)
            return False
        attempt.begun_at = self._services.clock.monotonic()
        self.running[attempt.key] = attempt
        if attempt.cancel_requested:
            self._end(attempt, Stopped(), 0.0)
            return False
        if not attempt.job.readable:
            self._end(attempt, PutOff(UNREADABLE_SECONDS, "its options are newer than this worker"), 0.0)
            return False
        self._services.tell(WorkerEventName.ACTIVE, attempt.job)
        return True

    def _end(self, attempt: Attempt, ending: Ending, cpu_seconds: float) -> bool:
        self.running.pop(attempt.key, None)
        if self._look_after is not None:
            self._look_after()
        if not attempt.take_ending():
            roll_back(attempt)
            return False
        measured = attempt.measure(self._services.clock.monotonic(), cpu_seconds)
        if attempt.transaction is not None:
            ending = finish(attempt, self._services, ending, measured)
        elif attempt.declared.definition.effects == "transaction":
            self._tell_no_transaction(attempt, ending)
        self.pace.add(measured.seconds_running)
        self._settle(attempt, ending, measured)
        return True

    def _tell_no_transaction(self, attempt: Attempt, ending: Ending) -> None:
        """Once for each type: it may be right, where there was nothing to do."""
        job_type = attempt.job.state.job_type
        if isinstance(ending, Succeeded) and job_type not in self._told:
            self._told.add(job_type)
            say("warning", "worker.no_transaction", job_type=job_type, job_id=str(attempt.job.job_id))

    def _call(self, attempt: Attempt) -> Ending:
        _bind(attempt)
        if not self._traced:
            return self._handle(attempt, attempt.job.trace_parent)
        ending: Ending | None = None
        try:
            with self._telemetry.attempt(
                attempt.job.state.job_type, attempt.job.trace_parent, _attributes(attempt)
            ) as span:
                ending = self._handle(attempt, span)
                _mark(ending)
        except BaseException as error:  # noqa: BLE001 - exporters are the user's code; they end no attempt
            _say_tracing_failed(attempt, error)
        return self._handle(attempt, attempt.job.trace_parent) if ending is None else ending

    def _handle(self, attempt: Attempt, trace_parent: str) -> Ending:
        if self._processes is not None and attempt.declared.in_process:
            return self._processes(attempt, trace_parent)
        return handle(attempt, self._services, trace_parent, self._context)

    async def _call_async(self, attempt: Attempt) -> Ending:
        _bind(attempt)
        if not self._traced:
            return await self._handle_async(attempt, attempt.job.trace_parent)
        ending: Ending | None = None
        try:
            with self._telemetry.attempt(
                attempt.job.state.job_type, attempt.job.trace_parent, _attributes(attempt)
            ) as span:
                ending = await self._handle_async(attempt, span)
                _mark(ending)
        except BaseException as error:  # noqa: BLE001 - exporters are the user's code; they end no attempt
            _say_tracing_failed(attempt, error)
        return await self._handle_async(attempt, attempt.job.trace_parent) if ending is None else ending

    async def _handle_async(self, attempt: Attempt, trace_parent: str) -> Ending:
        return await handle_async(attempt, self._services, trace_parent, self._context)


def _bind(attempt: Attempt) -> None:
    bind_contextvars(tenant=attempt.job.tenant, job_id=str(attempt.job.job_id), attempt=attempt.lease.attempt)


def _attributes(attempt: Attempt) -> dict[str, str | int | float | bool]:
    job = attempt.job
    return {
        "jobledger.tenant": job.tenant, "jobledger.job_id": str(job.job_id), "jobledger.attempt": job.state.attempt,
        "jobledger.job_type": job.state.job_type, "jobledger.queue": job.state.queue,
        "jobledger.worker": attempt.lease.worker,
    }  # fmt: skip


def _say_tracing_failed(attempt: Attempt, error: BaseException) -> None:
    say("warning", "worker.tracing_failed", job_id=str(attempt.job.job_id), error=repr(error))


def _mark(ending: Ending) -> None:
    if isinstance(ending, Failed):
        mark_failed(clean(f"{ending.error.error_type}: {ending.error.message}", 500))
