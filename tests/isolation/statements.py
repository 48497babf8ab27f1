"""Which statements a request runs: recorded in the driver, whatever the thread that runs them."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import psycopg
import pytest

_BACKGROUND: Final = ("projection", "jobledger-key-uses", "jobledger-feed", "jobledger-wake-up", "jobledger-doorbell")
"""Threads that do nothing for one request: they keep lists current, store uses of keys, wait for news."""
_FOR_ALL: Final = ("ledger_horizon", "pg_notify", "apply_limits")
"""What is asked at most every few milliseconds for all requests of a process, or follows a commit."""


class Statement(NamedTuple):
    """One that was executed."""

    sql: str
    parameters: tuple[Any, ...]
    thread: str


class Statements:
    """All that is executed while it is installed."""

    def __init__(self) -> None:
        self._recorded: list[Statement] = []

    def add(self, sql: object, parameters: object = ()) -> None:
        """It is executed now."""
        thread = threading.current_thread().name
        if not thread.startswith(_BACKGROUND) and not any(name in str(sql) for name in _FOR_ALL):
            given = tuple(parameters) if isinstance(parameters, tuple | list) else ()
            self._recorded.append(Statement(_normalised(str(sql)), given, thread))

    @contextmanager
    def of(self) -> Iterator[list[Statement]]:
        """Those of the block, once it is over."""
        found: list[Statement] = []
        before = len(self._recorded)
        yield found
        found += self._recorded[before:]


def _normalised(sql: str) -> str:
    """Without values (SQLite's trace shows them in the text) and white space."""
    sql = re.sub(r"x?'(?:[^']|'')*'", "?", sql, flags=re.IGNORECASE)
    sql = re.sub(r"\b\d+(\.\d+)?\b", "?", sql)
    sql = re.sub(r"\bNULL\b", "?", sql)
    return " ".join(sql.split())


@contextmanager
def recording(patch: pytest.MonkeyPatch) -> Iterator[Statements]:
    """Record what is executed on connections that are opened during the block."""
    statements = Statements()
    execute = psycopg.Cursor.execute
    connect = sqlite3.connect

    def executed(cursor: Any, query: Any, params: Any = None, **options: Any) -> Any:  # noqa: ANN401 - as psycopg's
        statements.add(query, params)
        return execute(cursor, query, params, **options)

    def connected(*arguments: Any, **options: Any) -> sqlite3.Connection:  # noqa: ANN401 - as sqlite3's
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_trace_callback(statements.add)
        return connection

    with patch.context() as within:
        within.setattr(psycopg.Cursor, "execute", executed)
        within.setattr(sqlite3, "connect", connected)
        yield statements
