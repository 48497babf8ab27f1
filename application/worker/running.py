"""Runs one attempt's handler: payload in, result or error out, measured, and nothing a handler does gets past here."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable

from structlog.contextvars import bind_contextvars

from jobledger.domain.errors import JobCancelledError, Snooze
from jobledger.domain.job import AttemptError, Measured

from ..telemetry import Telemetry, mark_failed
from .attempt import Attempt, LeaseKey, Services
from .context import AttemptContext
from .events import WorkerEventName
from .failures import MAX_DELAY_SECONDS, clean, digest, failure, message_of, misfit, number_of, traceback_of
from .log import say
from .outcomes import Ending, Failed, GivenBack, PutOff, Stopped, Succeeded
from .pace import Pace

UNREADABLE_SECONDS = 60.0
"""How long a job that this program cannot read is put off: a deploy is under way, a newer worker may come first."""

Settle = Callable[[Attempt, Ending, Measured], None]
"""Takes an ending to be recorded."""


class Runner:
    """Runs handlers, in whatever thread or task calls it. `running` holds the attempts whose handler runs now."""

    def __init__(self, services: Services, telemetry: Telemetry, settle: Settle) -> None:
        self._services = services
        self._settle = settle
        self._telemetry = telemetry
        self._traced = telemetry.enabled
        self.running: dict[LeaseKey, Attempt] = {}
        self.pace = Pace()

    def run(self, attempt: Attempt) -> bool:
        """Run a handler that is a function. False if somebody else ended the attempt meanwhile."""
        if not self._begin(attempt):
            return True
        cpu_before = self._services.cpu_seconds()
        # A fresh context: what a handler leaves in context variables must not reach the next tenant.
        ending = contextvars.Context().run(self._call, attempt)
        return self._end(attempt, ending, self._services.cpu_seconds() - cpu_before)

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
        if not attempt.take_ending():
            return False
        measured = attempt.measure(self._services.clock.monotonic(), cpu_seconds)
        self.pace.add(measured.seconds_running)
        self._settle(attempt, ending, measured)
        return True

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
        declared = attempt.declared
        try:
            payload = declared.read(attempt.job.payload)
        except BaseException as error:  # noqa: BLE001 - validators are the user's code
            return Failed(misfit("payload", error, integrity=True), traceback_of(error))
        try:
            result = declared.handler(AttemptContext(attempt, self._services, trace_parent), payload)
        except BaseException as error:  # noqa: BLE001 - SystemExit in a handler is that job's failure, not ours
            return ending_of(error, attempt)
        return _encoded(attempt, result)

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
        declared = attempt.declared
        try:
            payload = declared.read(attempt.job.payload)
        except BaseException as error:  # noqa: BLE001 - validators are the user's code
            return Failed(misfit("payload", error, integrity=True), traceback_of(error))
        try:
            answer = declared.handler(AttemptContext(attempt, self._services, trace_parent), payload)
            result = await answer if inspect.isawaitable(answer) else answer
        except BaseException as error:  # noqa: BLE001 - SystemExit in a handler is that job's failure, not ours
            return ending_of(error, attempt)
        return _encoded(attempt, result)


def ending_of(error: BaseException, attempt: Attempt) -> Ending:
    """What an exception that left a handler means for its attempt. Whatever it is, it means something."""
    try:
        return _ending_of(error, attempt)
    except BaseException as second:  # noqa: BLE001 - looking at an exception calls its own code
        return Failed(AttemptError(type(error).__qualname__[:200], message_of(second), digest("unreadable")))


def _ending_of(error: BaseException, attempt: Attempt) -> Ending:
    if isinstance(error, Snooze):
        return _put_off(error)
    if isinstance(error, JobCancelledError) and attempt.cancel_requested:
        return Stopped()
    if attempt.stopping:
        return GivenBack("the worker stopped")
    if isinstance(error, asyncio.CancelledError) and attempt.cancel_requested:
        return Stopped()
    return Failed(failure(error), traceback_of(error))


def _put_off(error: Snooze) -> Ending:
    seconds = number_of(error.delay_seconds)
    if seconds is None or not 0 <= seconds <= MAX_DELAY_SECONDS:
        return Failed(failure(error), traceback_of(error))
    return PutOff(seconds, message_of(error))


def _encoded(attempt: Attempt, result: object) -> Ending:
    try:
        return Succeeded(attempt.declared.encode_result(result))
    except BaseException as error:  # noqa: BLE001 - validators and serializers are the user's code
        return Failed(misfit("result", error, integrity=False), traceback_of(error))


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
