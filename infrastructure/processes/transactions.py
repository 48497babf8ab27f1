"""Transactions of handlers that run in a child process: on connections of its own, opened when the first handler asks
for one."""

from __future__ import annotations

from jobledger.application.ports import AttemptTransaction, AttemptTransactions
from jobledger.domain.errors import LedgerUnavailable

from ..bootstrap import LedgerHandle, open_ledger
from ..settings import Settings

_CONNECTIONS_MAX = 2
"""Beside that of the transaction: for ending a session, and for looking what became of a COMMIT."""


def transactions_of(settings: Settings) -> AttemptTransactions | None:
    """The `AttemptTransactions` of a child; None where the engine has none."""
    return None if settings.database.engine == "sqlite" else _Transactions(settings)


class _Transactions:
    """Opens the ledger once, for as long as the child lives."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.model_copy(update={"pool_min_size": 0, "pool_max_size": _CONNECTIONS_MAX})
        self._handle: LedgerHandle | None = None

    def begin(self, *, seconds: float) -> AttemptTransaction:
        """See `AttemptTransactions`."""
        if self._handle is None:
            self._handle = open_ledger(self._settings)
        if self._handle.transactions is None:
            raise LedgerUnavailable("the ledger of this child process has no transactions", field="transaction")
        return self._handle.transactions.begin(seconds=seconds)
