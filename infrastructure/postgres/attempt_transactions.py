"""Transactions of attempts: a handler's effects and the completion of its job commit together, or not at all.

The handler gets a connection in the login's own role, with none of our session settings, so that it can write the
application's tables as the application does. Nothing of the ledger is touched before the handler has returned: no
ticket is held while it runs. Then the completion is written by the function that writes every ending, guarded by the
lease, and what it may have to wait for is bounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Any
from uuid import uuid4

import psycopg
import structlog
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from jobledger.application.writes import ChangeJob, Outcome, Write, WriteStatus
from jobledger.domain.errors import CommitUnknown, InvalidInput, JobledgerError, LedgerBusy, LedgerUnavailable

from ..group_commit import DEFERRED, Listener
from .changes import Changes
from .connections import Connections
from .driver_errors import translate
from .encoding import Encoder
from .lost_commit import Session, end_session, find_stored
from .statements import SQL, Row

_log = structlog.get_logger(__name__)

LOCKED_SECONDS, LOCKED_PAUSE_SECONDS = 5.0, 0.02
"""How long the completion waits for whoever is changing the job, a request to cancel it for example."""
COMPLETE_SECONDS = 30
"""How long the statement that completes the job may take."""
_RESOLVE_PAUSES_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)


class PostgresAttemptTransactions:
    """The `AttemptTransactions`. Each has a connection of its own, closed with it: what a handler leaves in a session
    (settings, temporary tables, locks) must not reach the next tenant. `committed` hears of what was stored."""

    def __init__(self, connections: Connections, committed: Listener) -> None:
        self._connections = connections
        self._committed = committed

    def begin(self, *, seconds: float) -> PostgresAttemptTransaction:
        """A new transaction; the server ends one that is left alone for `seconds`."""
        connection = self._connections.connect_plain(
            application_name="jobledger transaction", idle_seconds=seconds
        )  # fmt: skip
        try:
            return PostgresAttemptTransaction(connection, self._connections, self._committed)
        except psycopg.Error as error:
            connection.close()
            raise translate(error) from error


class PostgresAttemptTransaction:
    """One open transaction. The driver refuses `commit()` and `rollback()` of a handler inside of it."""

    def __init__(
        self, connection: psycopg.Connection[Any], connections: Connections, committed: Listener
    ) -> None:  # fmt: skip
        self.connection = connection
        self._connections = connections
        self._committed = committed
        self._token = str(uuid4())
        self._block = connection.transaction()
        self._block.__enter__()
        row = self._execute(SQL["begin_attempt"], (self._token,))
        self._session = Session(connection.info.backend_pid, row[0])

    def complete(self, change: ChangeJob, *, give_up: Callable[[], bool]) -> Outcome:
        """Write the completion and commit; see `AttemptTransaction`."""
        try:
            outcome = self._write(change)
            if outcome.status is WriteStatus.WRITTEN:
                outcome = self._commit(change, outcome, give_up)
        finally:
            self.roll_back()
        if outcome.status is WriteStatus.WRITTEN:
            self._committed([change], [outcome])
        return outcome

    def roll_back(self) -> None:
        """Undo everything and close the connection; harmless after a commit."""
        with suppress(psycopg.Error):
            if self.connection.info.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
                self._block.__exit__(psycopg.Rollback, psycopg.Rollback(), None)
        self.connection.close()

    def abandon(self) -> None:
        """Have the server end the session: the connection itself may only be touched by the handler's thread."""
        Thread(target=self._end, name="jobledger-transaction-end", daemon=True).start()

    def _end(self) -> None:
        try:
            end_session(self._connections, self._session)
        except JobledgerError as error:
            # what it could still commit, the guard of the lease refuses
            _log.warning("transaction.not_ended", pid=self._session.pid, error=str(error))

    def _write(self, change: ChangeJob) -> Outcome:
        self._require_open()
        ours, before = self._execute(SQL["act_as_worker"], (COMPLETE_SECONDS * 1_000,))
        if ours != self._token:
            raise InvalidInput(
                "the handler ended the transaction itself: what it wrote may be stored, the completion is not",
                field="transaction", rule="is ended by the worker", hint="run no COMMIT or ROLLBACK in a handler",
            )  # fmt: skip
        give_up_at = time.monotonic() + LOCKED_SECONDS
        while True:
            call = Changes(Encoder())
            call.add(0, change)
            answer = call.answers(self._execute(call.statement, call.parameters()))[0]
            if isinstance(answer, Outcome):
                break
            assert answer is DEFERRED, "a change is written, refused or locked elsewhere"
            if time.monotonic() >= give_up_at:
                raise LedgerBusy("another transaction holds the job", hint="try again")
            time.sleep(LOCKED_PAUSE_SECONDS)
        self._execute(SQL["act_again_as"], (before,))  # deferred constraints are checked in the handler's role
        return answer

    def _require_open(self) -> None:
        status = self.connection.info.transaction_status
        if status is TransactionStatus.INERROR:
            raise InvalidInput(
                "a statement failed inside the transaction and the handler returned as if nothing was",
                field="transaction", rule="every statement succeeded",
                hint="let the error pass, or try the statement in a savepoint: with connection.transaction()",
            )  # fmt: skip
        if status is not TransactionStatus.INTRANS and not self.connection.broken:
            raise InvalidInput(
                "the transaction is not open any more", field="transaction", rule="is ended by the worker",
                hint="leave the connection open, and its results read",
            )  # fmt: skip

    def _commit(self, change: ChangeJob, outcome: Outcome, give_up: Callable[[], bool]) -> Outcome:
        try:
            self._block.__exit__(None, None, None)
        except psycopg.Error as error:
            if not self.connection.broken:
                raise  # refused at the commit, by a deferred constraint for example: an error of the handler's
            return self._resolve(change, error, give_up)
        return outcome

    def _resolve(self, change: ChangeJob, lost: psycopg.Error, give_up: Callable[[], bool]) -> Outcome:
        """The answer to the COMMIT was lost: look what became of it, until it is known."""
        writes: list[Write] = [change]
        tries = 0
        while True:
            try:
                found = find_stored(self._connections, self._session, writes).get(0)
            except JobledgerError as error:
                if give_up():
                    raise CommitUnknown(
                        f"the answer to the COMMIT was lost, and nobody says what became of it: {error.message}"
                    ) from lost
                time.sleep(_RESOLVE_PAUSES_SECONDS[min(tries, len(_RESOLVE_PAUSES_SECONDS) - 1)])
                tries += 1
                continue
            _log.warning("transaction.commit_resolved", job_id=str(change.job_id), stored=found is not None)
            if found is None:
                raise LedgerUnavailable("PostgreSQL went away while it committed; nothing was stored") from lost
            return found

    def _execute(self, statement: str, parameters: tuple[object, ...]) -> Row:
        """One row, whatever the handler made of the connection's own cursors."""
        with psycopg.Cursor(self.connection, row_factory=tuple_row) as cursor:
            row = cursor.execute(statement, parameters, binary=True, prepare=False).fetchone()
        assert row is not None, "each of our statements returns one row"
        return row
