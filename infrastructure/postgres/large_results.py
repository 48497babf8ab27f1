"""Large results, received while other threads have the interpreter.

A cursor of psycopg takes what is there and waits for more, hundreds of times for a result of megabytes, and each time
it has to get the interpreter back from the thread that folds the batch before; meanwhile the server, whose socket holds
some 200 kB, stands still. libpq's own blocking call needs the interpreter only when all is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import current_thread, main_thread
from typing import Any

import psycopg
from psycopg import errors
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import DiagnosticField, ExecStatus, Format

from .connections import PgConnection


def fetch_all(connection: PgConnection, statement: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
    """All rows of a statement whose parameters stand as `%b`, in binary form. In a thread that is not the main one it
    cannot be interrupted while it waits: for statements that end soon. (The main thread is never kept from signals.)"""
    if current_thread() is main_thread():
        with connection.cursor(binary=True) as cursor:
            return cursor.execute(statement.encode(), parameters, prepare=True).fetchall()
    return _received(connection, _numbered(statement), parameters)


def _received(connection: PgConnection, statement: bytes, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
    transformer = Transformer.from_context(connection)
    values = transformer.dump_sequence(parameters, [PyFormat.BINARY] * len(parameters))
    result = connection.pgconn.exec_params(
        statement, values, transformer.types, transformer.formats, result_format=Format.BINARY
    )  # fmt: skip
    if result.status != ExecStatus.TUPLES_OK:
        if not result.error_field(DiagnosticField.SQLSTATE):  # libpq says so, not the server: the connection is lost
            raise psycopg.OperationalError(connection.pgconn.get_error_message())
        raise errors.error_from_result(result)
    transformer.set_pgresult(result)
    return transformer.load_rows(0, result.ntuples, tuple)


def _numbered(statement: str) -> bytes:
    """The statement as the server wants it: `$1`, `$2` ..."""
    begin, *rest = statement.split("%b")
    return "".join([begin, *(f"${number}{part}" for number, part in enumerate(rest, 1))]).encode()
