"""What a running handler sees of its job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, NoReturn, Protocol, TypeVar
from uuid import UUID

from .dispatch_item import Dispatch
from .secret_ref import SecretSource

T = TypeVar("T")


class JobContext(Protocol):
    """The first argument of every handler. All methods may be called from the handler's own thread or task.

    A method that records something raises `LeaseLost` once the attempt no longer belongs to this worker, and in a copy
    of the process that the handler forked.
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
        """Whether the handler should stop: somebody asked to cancel the job, the soft timeout passed, the worker lost
        its lease or is about to end.

        A request to cancel is known here within a second. A coroutine need not look: its task is cancelled, so that
        `asyncio.CancelledError` is raised where it waits. A handler that returns all the same has completed the job.
        """
        ...

    def check_cancelled(self) -> None:
        """Raise what says why the handler should stop: `JobCancelledError`, `SoftTimeout` or `LeaseLost`; let it
        pass. Does nothing unless `cancelled`."""
        ...

    def snooze(self, seconds: float, reason: str) -> NoReturn:
        """Not now: end the attempt by raising `Snooze`, put the job back for so many seconds. The attempt does not
        count."""
        ...

    @property
    def secrets(self) -> SecretSource:
        """The tenant's secrets by name: `context.secrets["payment-gateway"]` is the secret's text.

        Raises `UnknownSecret` (let it pass: the job goes to the DLQ) or `VaultUnavailable` (let it pass: the job is put
        off, the attempt does not count). What was given is taken out of everything that is recorded in words: log
        lines, notes, errors, tracebacks. A result, a step or a job to dispatch that holds it is refused.
        """
        ...

    def transaction(self) -> AbstractContextManager[Any]:
        """The attempt's own transaction: `with context.transaction() as connection:`. Once an attempt.

        `connection` is a `psycopg.Connection` to the ledger's database in the login's own role. What is written with it
        commits together with the job's completion once the handler has returned, and vanishes with every other ending;
        it stays open after the block. An error that leaves the block rolls back at once. From its beginning on, steps,
        progress and log lines wait for that commit, too. Jobs that `dispatch` makes do not: they stay, whatever
        becomes of the transaction. Raises `TransactionUnavailable` on SQLite and in coroutines.
        """
        ...

    def progress(self, fraction: float, note: str = "") -> None:
        """Say how far the work is, 0 to 1; recorded at most once a second. `InvalidInput` for anything else."""
        ...

    def log(self, message: str, *, level: str = "info", **fields: object) -> None:
        """Record a log line of the job (several, where the message holds line breaks); lines are batched, and capped
        at 1 MB a job. `level` is debug, info, warning, error or critical."""
        ...

    def step(self, name: str, function: Callable[[], T]) -> T:
        """Run `function` and record its output; once recorded it never runs again, the recorded output is returned.

        The output has been through JSON, the first time too. Raises `InvalidInput` for a name used before in this
        attempt and for an output that is not JSON, `PayloadTooLarge` for one that is too large.
        """
        ...

    async def step_async(self, name: str, function: Callable[[], Awaitable[T]]) -> T:
        """`step` for handlers that are coroutines."""
        ...

    def step_key(self, name: str) -> str:
        """The key of a step, the same in every attempt: hand it to a provider as its idempotency key."""
        ...

    def usage(self, unit: str = "", amount: float = 0.0, /, **units: float) -> None:
        """Add what was used: `usage("tokens", 812)` or `usage(tokens=812)`; priced by the job type's rate card.

        Raises `InvalidInput` for an amount that is not a finite number from 0 on, and for too many kinds of units.
        """
        ...

    def dispatch(self, *children: Dispatch) -> Sequence[UUID]:
        """Dispatch jobs of the same tenant, caused by this one; their ids. Raises the first refusal.

        A child that has no key of its own gets one of this job, so that a retry finds the same child again.
        """
        ...
