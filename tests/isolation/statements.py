"""Which statements a request runs: recorded in the driver, whatever the thread that runs them."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg

if TYPE_CHECKING:
    import pytest

_BACKGROUND: Final = ("projection", "jobledger-key-uses", "jobledger-feed", "jobledger-wake-up", "jobledger-doorbell")
"""Threads that do nothing for one request: they keep lists current, store uses of keys, wait for news."""
_FOR_ALL: Final = ("ledger_horizon", "pg_notify", "apply_limits")
"""What is asked at most every few milliseconds for all requests of a process, or follows a commit."""


_AROUND: Final = ("PRAGMA", "BEGIN", "COMMIT", "ROLLBACK")
"""What threads of one program say in any order: how a connection is to be, where a transaction begins and ends."""


class Statement(NamedTuple):
    """One that was executed: without values, as it was given, its parameters, and the role of its session."""

    shape: str
    text: str
    parameters: Any
    role: str


class Statements:
    """All that is executed while it is installed."""

    def __init__(self) -> None:
        self._recorded: list[Statement] = []

    def add(self, text: str, parameters: object = (), role: str = "") -> None:
        """It is executed now."""
        thread = threading.current_thread().name
        if not thread.startswith(_BACKGROUND) and not any(name in text for name in _FOR_ALL):
            self._recorded.append(Statement(_normalised(text), text, parameters, role))

    @contextmanager
    def of(self) -> Iterator[list[Statement]]:
        """Those of the block, once it is over."""
        found: list[Statement] = []
        before = len(self._recorded)
        yield found
        found += self._recorded[before:]


def _role(connection: psycopg.Connection) -> str:
    """The role that a session was opened for."""
    acting = re.search(r"role=(\w+)", connection.info.get_parameters().get("options", ""))
    return "" if acting is None else acting[1]


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
    with patch.context() as within:
        install(statements.add, within.setattr)
        yield statements


def install(add: Callable[..., None], setting: Callable[[Any, str, Any], None] = setattr) -> None:
    """From now on `add` is told of each statement, before it is executed."""
    execute = psycopg.Cursor.execute
    connect = sqlite3.connect

    def executed(cursor: Any, query: Any, params: Any = None, **options: Any) -> Any:  # noqa: ANN401 - as psycopg's
        add(str(query), params, _role(cursor.connection))
        return execute(cursor, query, params, **options)

    def connected(*arguments: Any, **options: Any) -> sqlite3.Connection:  # noqa: ANN401 - as sqlite3's
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_trace_callback(add)
        return connection

    setting(psycopg.Cursor, "execute", executed)
    setting(sqlite3, "connect", connected)


def record_into(path: Path) -> None:
    """In a process of its own: write the shape of each statement into a file."""
    lock = threading.Lock()

    def add(text: str, _parameters: object = (), _role: str = "") -> None:
        background = threading.current_thread().name.startswith(_BACKGROUND)
        if not background and not text.startswith(_AROUND) and not any(name in text for name in _FOR_ALL):
            with lock, path.open("a", encoding="utf-8") as file:
                file.write(f"{_normalised(text)}\n")

    install(add)
