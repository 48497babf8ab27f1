"""The engine under the group commit: one group of writes, one durable transaction, one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, NoReturn

import psycopg
import structlog
from psycopg import errors

from jobledger.application.writes import Outcome, Write, WriteStatus
from jobledger.domain.errors import JobledgerError, LedgerError, LedgerUnavailable

from ..group_commit import DEFERRED, Answer, GroupBlocked
from .calls import Call, plan
from .connections import Connections, PgConnection, Role
from .driver_errors import CONFLICT, FOREIGN_STREAM, translate
from .lost_commit import Mark, Session, find_stored, own_session
from .statements import Row

_log = structlog.get_logger(__name__)

_BLOCKED = (errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure)
_CONFLICT = Outcome(WriteStatus.CONFLICT)


class _Refused(Exception):
    """The database named writes that cannot be stored; nothing of the transaction was."""

    def __init__(self, indexes: set[int]) -> None:
        super().__init__()
        self.indexes = indexes


class _Unresolved(NamedTuple):
    """A transaction whose answer was lost: until its session is gone, or it itself, it may still commit."""

    writes: Sequence[Write]
    lost: Session | Mark


class PostgresEngine:
    """Stores groups of writes. Only one thread at a time may call it.

    It has a connection of its own, opened when needed.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._connection: PgConnection | None = None
        self._under_way: Session | Mark | None = None
        """What a transaction is found by after its answer was lost; None before anything was sent in it."""
        self._unresolved: _Unresolved | None = None

    def flush(self, writes: Sequence[Write]) -> list[Answer]:
        """Store the writes in one durable transaction; one answer each. See `group_commit.Engine`."""
        answers: dict[int, Answer] = {}
        if self._unresolved is not None:
            answers.update(self._resolve(writes))
        self._store(writes, answers, completions=True)
        if len(answers) < len(writes):
            self._store_rest(writes, answers)
        return [answers[index] for index in range(len(writes))]

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _store_rest(self, writes: Sequence[Write], answers: dict[int, Answer]) -> None:
        """Completions that were not as expected: `change_jobs` says why. What the transaction before stored stays
        stored, so trouble now is that of the rest, which is tried again."""
        try:
            self._store(writes, answers, completions=False)
        except Exception as error:  # noqa: BLE001 - see above
            _log.info("ledger.rest_deferred", reason=str(error.__cause__ or error))
            for index in range(len(writes)):
                answers.setdefault(index, DEFERRED)

    def _store(self, writes: Sequence[Write], answers: dict[int, Answer], *, completions: bool) -> None:
        """Store what has no answer yet, without those that the database refuses."""
        while missing := [index for index in range(len(writes)) if index not in answers]:
            try:
                if self._transact(writes, plan(writes, missing, completions=completions), answers):
                    return
            except _Refused as refused:
                answers.update(dict.fromkeys(refused.indexes, _CONFLICT))

    def _transact(self, writes: Sequence[Write], calls: list[Call], answers: dict[int, Answer]) -> bool:
        """One transaction. False where its answer was lost, though it stored something: the rest was refused."""
        connection = self._open()
        try:
            results = self._run(connection, calls)
        except _BLOCKED as error:
            raise GroupBlocked from error
        except psycopg.Error as error:
            if not connection.broken and not is_connection_error(error):
                _raise_known(error)
            self._after_loss(writes, answers, error)
            return False
        for call, row in zip(calls, results, strict=True):
            for index, answer in zip(call.indexes, call.answers(row), strict=True):
                if answer is not None:
                    answers[index] = answer
        return True

    def _open(self) -> PgConnection:
        if self._connection is None or self._connection.closed:
            role = self._connections.acting(Role.WORKER, Role.API)
            self._connection = self._connections.connect(role, application_name="jobledger writer")
            self._under_way = own_session(self._connection, role)
        return self._connection

    def _run(self, connection: PgConnection, calls: list[Call]) -> list[Row]:
        """One row for each call, committed. Without BEGIN a pipeline is one transaction, and one round trip."""
        return execute(connection, calls)

    # --- a commit whose answer was lost ------------------------------------------------------------------------------

    def _after_loss(self, writes: Sequence[Write], answers: dict[int, Answer], error: psycopg.Error) -> None:
        """Acknowledge what was stored; where nothing was, the group commit tries again."""
        lost = self._under_way
        self.close()
        if lost is None:
            raise translate(error) from error
        self._unresolved = _Unresolved(writes, lost)
        try:
            found = self._resolve(writes)
        except JobledgerError as unresolved:
            raise LedgerUnavailable(
                f"PostgreSQL went away while it committed, and does not answer: {unresolved.message}",
                hint="whether this was stored is not known; trying again with the same keys and ids is safe",
            ) from error
        stored = {index: outcome for index, outcome in found.items() if index not in answers}
        _log.warning("ledger.commit_resolved", stored=len(stored), writes=len(writes))
        if not stored:
            raise translate(error) from error
        answers.update(stored)

    def _resolve(self, writes: Sequence[Write]) -> dict[int, Outcome]:
        """What the lost transaction stored of these writes (not of others that only look like them)."""
        unresolved = self._unresolved
        assert unresolved is not None
        found = find_stored(self._connections, unresolved.lost, unresolved.writes)
        self._unresolved = None
        of_write = {id(unresolved.writes[index]): outcome for index, outcome in found.items()}
        return {index: of_write[id(write)] for index, write in enumerate(writes) if id(write) in of_write}


def execute(connection: PgConnection, calls: list[Call]) -> list[Row]:
    """One row for each call, in the transaction that was begun before. Where none was, a pipeline is one."""
    cursors = [connection.cursor(binary=True) for _ in calls]
    try:
        if len(calls) == 1:
            cursors[0].execute(calls[0].statement, calls[0].parameters(), prepare=True)
        else:
            with connection.pipeline():
                for call, cursor in zip(calls, cursors, strict=True):
                    # the server works on this one while the next is encoded
                    _send(connection, cursor, call)
    except psycopg.DatabaseError as error:
        if error.sqlstate in (CONFLICT, FOREIGN_STREAM):
            failed = next(call for call, cursor in zip(calls, cursors, strict=True) if cursor.pgresult is None)
            raise _Refused(_refused_writes(failed, error)) from error
        raise
    return [_row(cursor) for cursor in cursors]


def _send(connection: PgConnection, cursor: psycopg.Cursor[Row], call: Call) -> None:
    """Send one call of a pipeline. Where that fails on this side, the calls before it must not be committed by the
    pipeline's end: the connection goes, and they with it."""
    try:
        cursor.execute(call.statement, call.parameters(), prepare=True)
    except Exception as error:
        if getattr(error, "sqlstate", None) is None:
            connection.close()
        raise


def _refused_writes(call: Call, error: psycopg.Error) -> set[int]:
    """The writes that the database named: it counts events."""
    named = [int(number) for number in (error.diag.message_detail or "").split(",")]
    return call.writes_of(named)


def _row(cursor: psycopg.Cursor[Row]) -> Row:
    row = cursor.fetchone()
    assert row is not None, "our functions return one row"
    return row


def is_connection_error(error: psycopg.Error) -> bool:
    """Whether it was the connection that failed (a pooler says so in words of the protocol), not a statement."""
    return (error.sqlstate or "").startswith("08")


def _raise_known(error: psycopg.Error) -> NoReturn:
    """Raise what the group commit acts on: a value that the database refuses goes up as it is, to be told to one
    caller."""
    translated = translate(error)
    if type(translated) is LedgerError:
        raise error
    raise translated from error
