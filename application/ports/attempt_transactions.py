"""Transactions in which an attempt's effects and its completion commit together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..writes import ChangeJob, Outcome


class AttemptTransaction(Protocol):
    """An open transaction on the ledger's database, in which an attempt's effects and its completion commit together.

    Belongs to the thread that began it; only `abandon` may be called by others.
    """

    @property
    def connection(self) -> object:
        """What the handler writes its effects with: a `psycopg.Connection` in the login's own role."""
        ...

    def complete(self, change: ChangeJob, *, give_up: Callable[[], bool]) -> Outcome:
        """Write the completion and commit. Anything but WRITTEN: everything was rolled back, the lease is lost.

        Where it raises, everything was rolled back, too; `CommitUnknown` is the exception: the answer to the COMMIT
        was lost and what became of it could not be found out before `give_up` said to stop trying.
        """
        ...

    def roll_back(self) -> None:
        """Undo everything. Harmless where it is over."""
        ...

    def abandon(self) -> None:
        """Have everything undone while the handler may still be using the connection. Never blocks."""
        ...


class AttemptTransactions(Protocol):
    """Opens transactions for attempts (rule 10); only where the engine can."""

    def begin(self, *, seconds: float) -> AttemptTransaction:
        """A new transaction, which the database itself rolls back where it is left alone for `seconds`. Raises
        `LedgerUnavailable` or `LedgerBusy`."""
        ...
