"""Dispatching inside a caller's own sqlite3 transaction: the job commits with the caller's rows, or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from jobledger.application.writes import NewJob, Outcome
from jobledger.domain.errors import InvalidInput

from .database import raise_as_ledger_error
from .ledger import LedgerTransaction


class SqliteTransactionWriter:
    """The `TransactionWriter`: the caller's connection must be to the ledger's own file."""

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()

    def dispatch(self, connection: object, new_jobs: Sequence[NewJob]) -> list[Outcome]:
        """Write on `connection`, inside its open transaction; commits or vanishes with it.

        `InvalidInput` for a connection of another kind, to another file, or without a transaction; `LedgerBusy` when
        another writer could not be waited for.
        """
        if not isinstance(connection, sqlite3.Connection):
            raise _refusal(f"a {type(connection).__name__} cannot write to a SQLite ledger")
        try:
            with _plain_rows(connection):
                self._require_ours(connection)
                if not connection.in_transaction:
                    connection.execute("BEGIN IMMEDIATE")  # where sqlite3 would begin by itself, but too late to wait
                return _dispatch(connection, new_jobs)
        except sqlite3.Error as error:
            raise_as_ledger_error(error)

    def _require_ours(self, connection: sqlite3.Connection) -> None:
        file = next((row[2] for row in connection.execute("PRAGMA database_list") if row[1] == "main"), "")
        if not file or Path(file).resolve() != self._path:
            raise _refusal(f"the connection is to {file or 'memory'}, the ledger is {self._path}")
        if not connection.in_transaction and _commits_each_statement(connection):
            raise InvalidInput(
                "the connection is in autocommit mode and no transaction was begun", field="connection",
                rule="has an open transaction", hint='connection.execute("BEGIN IMMEDIATE") first',
            )  # fmt: skip


def _dispatch(connection: sqlite3.Connection, new_jobs: Sequence[NewJob]) -> list[Outcome]:
    """In a savepoint: where it fails, the caller's own rows stay his to commit or roll back."""
    connection.execute("SAVEPOINT jobledger_dispatch")
    try:
        outcomes = LedgerTransaction(connection, careful=True).write(new_jobs)
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK TO jobledger_dispatch")
            connection.execute("RELEASE jobledger_dispatch")
        raise
    connection.execute("RELEASE jobledger_dispatch")
    return cast("list[Outcome]", outcomes)  # SQLite defers nothing


def _commits_each_statement(connection: sqlite3.Connection) -> bool:
    """`autocommit` came with Python 3.12."""
    return connection.isolation_level is None or getattr(connection, "autocommit", False) is True


@contextmanager
def _plain_rows(connection: sqlite3.Connection) -> Iterator[None]:
    """Whatever the caller makes of rows and text, here they are tuples and `str`."""
    factories = connection.row_factory, connection.text_factory
    connection.row_factory, connection.text_factory = None, str
    try:
        yield
    finally:
        connection.row_factory, connection.text_factory = factories


def _refusal(message: str) -> InvalidInput:
    return InvalidInput(message, field="connection", rule="is a sqlite3.Connection to the ledger's file")
