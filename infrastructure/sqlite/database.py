"""Connections to one SQLite file: one writer a process, as many readers as there are threads that read.

WAL lets readers go on while somebody writes; `synchronous=FULL` makes a commit durable before it returns. Writers
begin with `BEGIN IMMEDIATE`: a transaction that read first and wants to write later could only fail. Another
process's writer is waited for, up to the busy timeout; then, and only then, `LedgerBusy`.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import NoReturn

from jobledger.domain.errors import LedgerBusy, LedgerError, LedgerNotFound, LedgerUnavailable, SchemaOutdated

SQLITE_VERSION_MIN = (3, 37, 0)
"""STRICT tables came with it."""

BUSY_TIMEOUT_SECONDS = 10.0
_STATEMENTS_CACHED = 256
_PAUSE_SECONDS_MIN, _PAUSE_SECONDS_MAX = 0.0002, 0.001
"""Between two attempts to become the writer."""
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_SCHEMA = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_SCHEMA})
_PRIMARY_CODE = 0xFF
_STEPS_BETWEEN_LOOKS = 50_000
"""Of SQLite's machine, about a millisecond's worth: how often a reader looks whether its time is over."""


def connect(path: Path, *, busy_timeout_seconds: float, create: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode, for any thread, one at a time."""
    if sqlite3.sqlite_version_info < SQLITE_VERSION_MIN:
        raise LedgerUnavailable(
            f"this Python has SQLite {sqlite3.sqlite_version}", rule="SQLite 3.37 or newer", hint="upgrade Python"
        )
    uri = f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
    try:
        connection = sqlite3.connect(
            uri, uri=True, timeout=busy_timeout_seconds, isolation_level=None, check_same_thread=False,
            cached_statements=_STATEMENTS_CACHED,
        )  # fmt: skip
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA temp_store = MEMORY")
    except sqlite3.Error as error:
        raise_as_ledger_error(error)
    return connection


class Database:
    """One SQLite file, opened by this process. All its writes go through `write`, one at a time.

    `LedgerNotFound` where there is no file. Safe to use from any thread.
    """

    def __init__(self, path: Path, *, busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS) -> None:
        if not path.is_file():
            raise LedgerNotFound(
                f"there is no ledger at {path.absolute()}", field="database", hint="make one with: jobledger migrate"
            )
        self.path = path.absolute()
        self.busy_timeout_seconds = busy_timeout_seconds
        self._writer = connect(path, busy_timeout_seconds=busy_timeout_seconds)
        self._writer.execute("PRAGMA cache_size = -65536")  # KiB: indexes that are written to stay in memory
        self._writer.execute("PRAGMA busy_timeout = 0")  # we wait ourselves, see _begin_immediate
        self._write_lock, self._next_in_line = Lock(), Lock()
        self._readers: deque[sqlite3.Connection] = deque()
        self._closed = False

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """The writer in a transaction that commits at the end of the block, durably, or leaves nothing.

        `LedgerBusy` when this or another process's writer could not be waited for any longer, `LedgerUnavailable`
        when the disk is full or the file cannot be written. `sqlite3.IntegrityError` passes through.
        """
        self._take_turn()
        try:
            self._require_open()
            with _transaction(self._writer, self._begin_immediate):
                yield self._writer
        finally:
            self._write_lock.release()

    @contextmanager
    def read(self, *, at_most_seconds: float | None = None) -> Iterator[sqlite3.Connection]:
        """A reader in a transaction: all statements of the block see one moment of the database. `LedgerBusy` once
        they have taken `at_most_seconds`."""
        connection = self._reader()
        try:
            if at_most_seconds is not None:
                give_up_at = time.monotonic() + at_most_seconds
                connection.set_progress_handler(lambda: time.monotonic() >= give_up_at, _STEPS_BETWEEN_LOOKS)
            with _transaction(connection, _begin):
                yield connection
        finally:
            if at_most_seconds is not None:
                connection.set_progress_handler(None, 0)
            self._give_back(connection)

    def close(self) -> None:
        """Close all connections; who reads at this moment closes his own at the end."""
        with self._write_lock:
            self._closed = True
            self._writer.close()
        while self._readers:
            self._readers.pop().close()

    def _take_turn(self) -> None:
        """Who waits stands in line, so that a thread that writes again and again does not overtake the others."""
        if not self._next_in_line.acquire(timeout=self.busy_timeout_seconds):
            raise _busy()
        try:
            if not self._write_lock.acquire(timeout=self.busy_timeout_seconds):
                raise _busy()
        finally:
            self._next_in_line.release()

    def _begin_immediate(self, connection: sqlite3.Connection) -> None:
        """Become the file's writer. SQLite's own waiting looks ever less often, every 100 ms in the end: beside a
        process that writes without a pause it takes seconds to find a gap."""
        give_up_at = time.monotonic() + self.busy_timeout_seconds
        pause_seconds = _PAUSE_SECONDS_MIN
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() >= give_up_at:
                    raise
            time.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 1.5, _PAUSE_SECONDS_MAX)

    def _reader(self) -> sqlite3.Connection:
        self._require_open()
        try:
            return self._readers.pop()
        except IndexError:
            connection = connect(self.path, busy_timeout_seconds=self.busy_timeout_seconds)
            connection.execute("PRAGMA query_only = ON")
            return connection

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if self._closed:
            connection.close()
        else:
            self._readers.append(connection)

    def _require_open(self) -> None:
        if self._closed:
            raise LedgerUnavailable("the ledger was closed")


def _begin(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN")


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: Callable[[sqlite3.Connection], None]) -> Iterator[None]:
    try:
        begin(connection)
        yield
        connection.execute("COMMIT")
    except sqlite3.IntegrityError:
        _roll_back(connection)
        raise
    except sqlite3.Error as error:
        _roll_back(connection)
        raise_as_ledger_error(error)
    except BaseException:
        _roll_back(connection)
        raise


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def raise_as_ledger_error(error: sqlite3.Error) -> NoReturn:
    """Raise what this error of SQLite means to us; the cause is kept."""
    primary = _primary_code(error)
    if primary in _BUSY:
        raise _busy() from error
    if primary == sqlite3.SQLITE_INTERRUPT:
        raise LedgerBusy("the ledger was not read in time", hint="try again") from error
    if primary in _SCHEMA and "no such" in str(error):
        raise SchemaOutdated(f"the ledger lacks something: {error}", hint="run: jobledger migrate") from error
    if primary in _SCHEMA or isinstance(error, sqlite3.ProgrammingError):
        raise LedgerError(f"SQLite refused a statement: {error}") from error
    raise LedgerUnavailable(
        f"SQLite cannot do it: {error}", hint="look at the disk and at the file that JOBLEDGER_DATABASE names"
    ) from error


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection held the lock that was asked for."""
    return _primary_code(error) in _BUSY


def _primary_code(error: sqlite3.Error) -> int | None:
    """The kind of error, without the detail in the upper bits; None where sqlite3 raised it by itself."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & _PRIMARY_CODE


def _busy() -> LedgerBusy:
    return LedgerBusy("others have been writing to the ledger for too long", hint="try again")
