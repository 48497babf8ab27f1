"""Dispatching inside a caller's own psycopg transaction: the job commits with the caller's rows, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from jobledger.application.writes import NewJob, Outcome, WriteStatus
from jobledger.domain.errors import InvalidInput

from .calls import TICKET_EVENTS
from .dispatches import Dispatches
from .driver_errors import CONFLICT, wrapped
from .encoding import Encoder
from .statements import SQL
from .wake_up import CHANNEL


class PostgresTransactionWriter:
    """The `TransactionWriter`. With `notifies`, workers are told when the caller commits; that takes a lock of the
    whole cluster, so installations with very many small transactions switch it off and rely on polling."""

    def __init__(self, *, notifies: bool = True) -> None:
        self._notifies = notifies

    def dispatch(self, connection: object, new_jobs: Sequence[NewJob]) -> list[Outcome]:
        """Write on `connection`; commits or vanishes with it. A key that another open transaction holds is waited for.

        The connection's role must be a member of `jobledger_api` or `jobledger_worker`. `InvalidInput` for a
        connection of another kind or without a transaction; where the database refuses, the caller's transaction is
        as it was before the call.
        """
        own = _require_ours(connection)
        outcomes: list[Outcome] = []
        for begin in range(0, len(new_jobs), TICKET_EVENTS):
            outcomes += self._dispatch(own, new_jobs[begin : begin + TICKET_EVENTS])
        return outcomes

    def _dispatch(self, connection: psycopg.Connection[Any], new_jobs: Sequence[NewJob]) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        with wrapped():
            while waiting := [index for index in range(len(new_jobs)) if index not in outcomes]:
                call = Dispatches(Encoder(), waits=True)
                for index in waiting:
                    call.add(index, new_jobs[index])
                outcomes.update(self._call(connection, call))
        return [outcomes[index] for index in range(len(new_jobs))]

    def _call(self, connection: psycopg.Connection[Any], call: Dispatches) -> dict[int, Outcome]:
        """In a savepoint, so that a refusal leaves the caller's transaction usable; then only conflicts are told."""
        try:
            with connection.transaction(), connection.cursor(binary=True, row_factory=tuple_row) as cursor:
                row = cursor.execute(call.statement, call.parameters()).fetchone()
                if self._notifies:
                    cursor.execute(SQL["notify"], (CHANNEL, ""))
        except psycopg.DatabaseError as error:
            if error.sqlstate != CONFLICT:
                raise
            named = [int(number) for number in (error.diag.message_detail or "").split(",")]
            return dict.fromkeys(call.writes_of(named), Outcome(WriteStatus.CONFLICT))
        assert row is not None, "our functions return one row"
        answers = cast("list[Outcome]", call.answers(row))  # keys are waited for: nothing is deferred
        return dict(zip(call.indexes, answers, strict=True))


def _require_ours(connection: object) -> psycopg.Connection[Any]:
    if not isinstance(connection, psycopg.Connection):
        raise InvalidInput(
            f"a {type(connection).__name__} cannot write to a PostgreSQL ledger", field="connection",
            rule="is a psycopg.Connection to the ledger's database",
        )  # fmt: skip
    if connection.info.transaction_status is TransactionStatus.IDLE:
        if connection.autocommit:
            raise InvalidInput(
                "the connection is in autocommit mode and no transaction was begun", field="connection",
                rule="has an open transaction", hint="with connection.transaction(): ...",
            )  # fmt: skip
        with wrapped():
            connection.execute("")  # begins the caller's transaction: ours would end with our savepoint
    return connection
