"""What a running handler sees of its job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

from .dispatch_item import Dispatch

T = TypeVar("T")


class JobContext(Protocol):
    """The first argument of every handler. All methods may be called from the handler's own thread or task.

    A method that records something raises `LeaseLost` once the attempt no longer belongs to this worker.
    """

    @property
    def tenant(self) -> str:
        """The tenant that the job belongs to; whatever the handler touches is this tenant's."""
        ...

    @property
    def persona(self) -> str | None:
        """The agent that the job is for."""
        ...

    @property
    def job_id(self) -> UUID:
        """The job's id."""
        ...

    @property
    def job_type(self) -> str:
        """The job's type."""
        ...

    @property
    def attempt(self) -> int:
        """The number of this execution, from 1; never falls."""
        ...

    @property
    def max_attempts(self) -> int:
        """How many attempts are allowed in all (grants by a requeue included)."""
        ...

    @property
    def deadline(self) -> datetime:
        """When the soft timeout passes: aware, UTC."""
        ...

    @property
    def correlation_id(self) -> str:
        """The id shared by everything that one request caused."""
        ...

    @property
    def trace_parent(self) -> str:
        """The W3C traceparent to hand on to whatever the handler calls."""
        ...

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to cancel the job, or the soft timeout passed, or the worker lost its lease."""
        ...

    def check_cancelled(self) -> None:
        """Raise `JobCancelledError` if `cancelled`."""
        ...

    def progress(self, fraction: float, note: str = "") -> None:
        """Say how far the work is, 0 to 1; recorded at most once a second."""
        ...

    def log(self, message: str, *, level: str = "info", **fields: object) -> None:
        """Record a log line of the job; lines are batched and capped in bytes."""
        ...

    def step(self, name: str, function: Callable[[], T]) -> T:
        """Run `function` and record its output (JSON); once recorded it never runs again, the output is returned."""
        ...

    async def step_async(self, name: str, function: Callable[[], Awaitable[T]]) -> T:
        """`step` for handlers that are coroutines."""
        ...

    def step_key(self, name: str) -> str:
        """The key of a step, the same in every attempt: hand it to a provider as its idempotency key."""
        ...

    def usage(self, **units: float) -> None:
        """Add what was used (for example `tokens=812`); priced by the job type's rate card."""
        ...

    def dispatch(self, *children: Dispatch) -> Sequence[UUID]:
        """Dispatch jobs of the same tenant, caused by this one; their ids. Raises the first refusal."""
        ...
