"""What a handler gets: the `JobContext` of a running attempt."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, NoReturn, TypeVar
from uuid import UUID

from pydantic_core import to_json

from jobledger.domain.errors import InvalidInput, JobCancelledError, LeaseLost, Snooze, SoftTimeout
from jobledger.domain.event import event_id

from ..dispatch_item import Dispatch
from ..secret_ref import SecretSource
from .attempt import Attempt, Services
from .failures import clean, is_number
from .reporting import Reporter
from .secrets import Secrets
from .steps import Steps
from .transactions import begin

T = TypeVar("T")

_UNITS_MAX = 50


class AttemptContext:
    """The `JobContext` of one attempt; parts that a handler does not use are never made."""

    __slots__ = ("_attempt", "_children", "_reporter", "_services", "_steps", "trace_parent")

    def __init__(self, attempt: Attempt, services: Services, trace_parent: str) -> None:
        self._attempt = attempt
        self._services = services
        self._reporter: Reporter | None = None
        self._steps: Steps | None = None
        self._children: Counter[str] = Counter()
        self.trace_parent = trace_parent
        """The W3C traceparent to hand on to whatever the handler calls."""

    @property
    def tenant(self) -> str:
        """The tenant that the job belongs to."""
        return self._attempt.job.tenant

    @property
    def persona(self) -> str | None:
        """The agent that the job is for."""
        return self._attempt.job.state.persona

    @property
    def job_id(self) -> UUID:
        """The job's id."""
        return self._attempt.job.job_id

    @property
    def job_type(self) -> str:
        """The job's type."""
        return self._attempt.job.state.job_type

    @property
    def attempt(self) -> int:
        """The number of this execution, from 1."""
        return self._attempt.lease.attempt

    @property
    def max_attempts(self) -> int:
        """How many attempts are allowed in all."""
        return self._attempt.job.state.attempts_allowed

    @property
    def correlation_id(self) -> str:
        """The id shared by everything that one request caused."""
        return self._attempt.job.correlation_id

    @property
    def deadline(self) -> datetime:
        """When the soft timeout passes: aware, UTC."""
        clock = self._services.clock
        elapsed = clock.monotonic() - self._attempt.begun_at
        return clock.now() + timedelta(seconds=self._attempt.job.state.soft_timeout_seconds - elapsed)

    @property
    def cancelled(self) -> bool:
        """Whether the handler should stop: asked to, soft timeout passed, lease lost, or the worker is ending."""
        attempt = self._attempt
        return (
            attempt.cancel_requested or attempt.soft_timed_out or attempt.lost or attempt.stopping or attempt.abandoned
        )

    def check_cancelled(self) -> None:
        """Raise what says why the handler should stop: `JobCancelledError`, `SoftTimeout` or `LeaseLost`."""
        attempt = self._attempt
        if attempt.lost or attempt.stopping or attempt.abandoned:
            raise LeaseLost("this worker no longer holds the attempt", field="lease", rule="held by this worker")
        if attempt.cancel_requested:
            raise JobCancelledError("the job was asked to stop", hint="let this exception pass")
        if attempt.soft_timed_out:
            raise SoftTimeout(attempt.job.state.soft_timeout_seconds)

    def snooze(self, seconds: float, reason: str) -> NoReturn:
        """Not now: end the attempt, put the job back for so many seconds; the attempt does not count. Raises `Snooze`,
        which is to pass."""
        raise Snooze(seconds, reason)

    @property
    def secrets(self) -> SecretSource:
        """The secrets of the job's tenant, by name."""
        self._require_original()
        return self._attempt.secrets_from(self._services.vault)

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """The attempt's own transaction; see `JobContext`."""
        self._require_original()
        transaction = begin(self._attempt, self._services)
        try:
            yield transaction.connection
        except BaseException:
            if not self._attempt.origin.is_copy:
                transaction.roll_back()
            raise

    def progress(self, fraction: float, note: str = "") -> None:
        """Say how far the work is, 0 to 1; recorded at most once a second, while the handler runs."""
        self._reports().progress(fraction, note)

    def log(self, message: str, *, level: str = "info", **fields: object) -> None:
        """Record a log line of the job; lines are batched, and capped at 1 MB a job."""
        extra = "".join(f" {name}={value!r}" for name, value in fields.items())
        self._reports().log(f"{message}{extra}", level)

    def step(self, name: str, function: Callable[[], T]) -> T:
        """Run `function` and record its output; once recorded it never runs again. What is returned has been through
        JSON, the first time too, so that a handler sees the same in every attempt."""
        return self._recorded_steps().run(name, function, self._reporter)

    async def step_async(self, name: str, function: Callable[[], Awaitable[T]]) -> T:
        """`step` for handlers that are coroutines."""
        return await self._recorded_steps().run_async(name, function, self._reporter)

    def step_key(self, name: str) -> str:
        """The key of a step, the same in every attempt: hand it to a provider as its idempotency key."""
        return self._recorded_steps().key(name)

    def usage(self, unit: str = "", amount: float = 0.0, /, **units: float) -> None:
        """Add what was used: `usage("tokens", 812)` or `usage(tokens=812)`; priced by the type's rate card."""
        added = {unit: amount, **units} if unit else units
        totals = self._attempt.units if self._attempt.units is not None else {}
        for given, value in added.items():
            name = clean(self._attempt.redact(given), 100)
            if not is_number(value) or not math.isfinite(value) or value < 0:
                raise InvalidInput(f"{value!r} of {name}", field=f"usage.{name}", rule="a finite number, 0 or more")
            if name not in totals and len(totals) >= _UNITS_MAX:
                raise InvalidInput("too many kinds of units", field="usage", rule=f"at most {_UNITS_MAX} a job")
            total = totals.get(name, 0.0) + value
            if not math.isfinite(total):
                raise InvalidInput(
                    f"{name} add up to {total}", field=f"usage.{name}", rule="a finite number, 0 or more"
                )
            totals[name] = total
        self._attempt.units = totals

    def dispatch(self, *children: Dispatch) -> Sequence[UUID]:
        """Dispatch jobs of the same tenant, caused by this attempt; their ids. Raises the first refusal.

        A child whose item and type give no key gets one of this job and the child's payload: a retry that dispatches
        it again gets the same job. The n-th of equal children is told apart by its number.
        """
        self._require_original()
        job = self._attempt.job
        for child in children:
            refuse_secret(self._attempt.secrets, child)
            if child.tenant not in ("", job.tenant):
                raise InvalidInput(
                    "a job dispatches for its own tenant only", field="tenant", rule="the tenant of the job"
                )
        return self._services.dispatch_children(
            [
                child._replace(
                    tenant=job.tenant, correlation_id=job.correlation_id, trace_parent=self.trace_parent,
                    causation_id=child.causation_id or event_id(job.job_id, job.version),
                    key_prefix=self._key_prefix(child),
                )
                for child in children
            ]
        )  # fmt: skip

    def _key_prefix(self, child: Dispatch) -> str:
        alike = f"{child.job_type} {child.payload!r}"
        self._children[alike] += 1
        return f"{self.job_id}/{self._children[alike]}"

    def _require_original(self) -> None:
        if self._attempt.origin.is_copy:
            raise LeaseLost(
                "this process is a copy that the handler forked: it has no part in the attempt", field="lease",
                rule="held by this worker",
            )  # fmt: skip

    def _reports(self) -> Reporter:
        self._require_original()
        if self._reporter is None:
            reporter = Reporter(self._attempt, self._services)
            if self.attempt > 1:
                reporter.already_logged(self._recorded_steps().logged_bytes())
            self._reporter = reporter
        return self._reporter

    def _recorded_steps(self) -> Steps:
        self._require_original()
        if self._steps is None:
            self._steps = Steps(self._attempt, self._services)
        return self._steps


def refuse_secret(secrets: Secrets | None, child: Dispatch) -> None:
    """What a child is dispatched with is recorded."""
    name = None if secrets is None else secrets.named_in(to_json(child, fallback=repr, inf_nan_mode="constants"))
    if name is not None:
        raise InvalidInput(
            f"the job to dispatch holds the secret {name!r}, and is recorded", field="payload",
            rule="payloads hold no secrets", hint=f'pass {{"$secret": "{name}"}}',
        )  # fmt: skip
