"""The transaction of an attempt: what its handler writes commits together with its completion, or not at all (rule 10).

While it is open, steps, progress and log lines wait for its commit: no ticket of the ledger is held while a handler
runs, which would hold all readers back.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from jobledger.domain.errors import (
    CommitUnknown,
    InvalidInput,
    LeaseLost,
    PayloadTooLarge,
    TransactionUnavailable,
)
from jobledger.domain.job import Measured

from ..writes import WriteStatus
from .attempt import Attempt, Services
from .outcomes import Committed, Ending, Report, Succeeded, change_of
from .reporting import Reporter
from .verdict import failed

if TYPE_CHECKING:
    from ..ports import AttemptTransaction

STEPS_MAX, STEP_BYTES_MAX = 1_000, 16_000_000
"""Of one transaction: they travel in one statement."""
SPARE_SECONDS = 10.0
"""The worker ends a transaction at the hard timeout; the database itself so much later, should the worker be frozen."""


class HandlersTransaction:
    """What an attempt's transaction gathers; the attempt's `OpenTransaction`."""

    def __init__(self, opened: AttemptTransaction) -> None:
        self._opened = opened
        self._lock = threading.Lock()
        self._steps: list[Report] = []
        self._step_bytes = 0
        self.is_open = True

    @property
    def connection(self) -> object:
        """What the handler writes with."""
        return self._opened.connection

    def keep(self, step: Report) -> None:
        """Record a step with the completion."""
        with self._lock:
            self._step_bytes += len(step.body or b"")
            if len(self._steps) >= STEPS_MAX or self._step_bytes > STEP_BYTES_MAX:
                raise PayloadTooLarge(
                    "the steps inside the transaction are too many or too large", field="step",
                    rule=f"at most {STEPS_MAX} steps and {STEP_BYTES_MAX} bytes in a transaction",
                    hint="take steps before the transaction begins",
                )  # fmt: skip
            self._steps.append(step)

    def roll_back(self) -> None:
        """Undo everything; what is reported from here on is recorded as ever."""
        if self.is_open:
            self.is_open = False
            self._opened.roll_back()

    def abandon(self) -> None:
        """Somebody else ended the attempt: have everything undone. Never blocks."""
        if self.is_open:
            self._opened.abandon()

    def commit(self, attempt: Attempt, services: Services, succeeded: Succeeded, measured: Measured) -> Committed:
        """Write the completion and commit. Raises what went wrong; then everything was undone."""
        reporter = attempt.pending if isinstance(attempt.pending, Reporter) else None
        if reporter is not None:
            reporter.settle()
        reports = () if reporter is None else reporter.take_all()
        try:
            change = change_of(
                attempt.job, attempt.lease, succeeded, measured, (*self._steps, *reports),
                metadata=services.metadata(attempt.job), jitter=0.0,
            )  # fmt: skip
            outcome = self._opened.complete(change, give_up=lambda: attempt.stopping)
            if outcome.status is not WriteStatus.WRITTEN:
                raise LeaseLost("the attempt ended before its transaction was committed", field="lease")
        except BaseException:
            if reporter is not None:
                reporter.put_back(reports)
            raise
        finally:
            self.is_open = False
        return Committed()


def begin(attempt: Attempt, services: Services) -> HandlersTransaction:
    """Open the transaction of an attempt. Raises `TransactionUnavailable`, `LeaseLost`, or `InvalidInput` for a
    second one."""
    if services.transactions is None:
        raise TransactionUnavailable(
            "context.transaction() needs a ledger on PostgreSQL: on SQLite it would hold the only writer of all",
            field="transaction", rule="is on PostgreSQL", hint='declare effects="steps" and use context.step()',
        )  # fmt: skip
    if attempt.declared.is_async:
        raise TransactionUnavailable(
            "context.transaction() gives a connection that blocks its thread, which is the event loop's here",
            field="transaction", rule="is for handlers that are functions", hint="declare the handler with def",
        )  # fmt: skip
    if attempt.transaction is not None:
        raise InvalidInput(
            "the attempt has had its transaction", field="transaction", rule="one an attempt",
            hint="its connection stays open until the handler returns",
        )  # fmt: skip
    if attempt.lost or attempt.ended:
        raise LeaseLost("this worker no longer holds the attempt", field="lease", rule="held by this worker")
    left = attempt.begun_at + attempt.job.state.timeout_seconds - services.clock.monotonic()
    transaction = HandlersTransaction(services.transactions.begin(seconds=max(0.0, left) + SPARE_SECONDS))
    attempt.transaction = transaction
    return transaction


def roll_back(attempt: Attempt) -> None:
    """Somebody else ended the attempt: undo what its handler wrote. To be called by the handler's thread."""
    if isinstance(attempt.transaction, HandlersTransaction):
        attempt.transaction.roll_back()


def finish(attempt: Attempt, services: Services, ending: Ending, measured: Measured) -> Ending:
    """What the ending of an attempt that opened a transaction becomes: committed, or undone and recorded as ever.

    To be called by the handler's thread, by whoever took the ending.
    """
    transaction = attempt.transaction
    if not isinstance(transaction, HandlersTransaction) or not transaction.is_open:
        return ending
    if not isinstance(ending, Succeeded):
        transaction.roll_back()
        return ending
    try:
        return transaction.commit(attempt, services, ending, measured)
    except (LeaseLost, CommitUnknown):
        attempt.lost = True  # nothing else may be recorded: another attempt holds the job, or the completion stands
        return ending
    except BaseException as error:  # noqa: BLE001 - constraints that are checked at the commit are the user's
        return failed(error, attempt)
