"""Turns on SQLite: who does a chore now, among the processes that have a ledger's file open.

A lock on an empty file beside the ledger, which the system releases when its process dies, however it dies. Nothing
is written, so whose turn it is costs no commit. There are two files for each chore, for odd and for even times: a
process that froze with its turn keeps the others from theirs at most every other time.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from jobledger.application.ports import TURN_SECONDS_MAX
from jobledger.domain.errors import LedgerUnavailable

from .database import is_busy, raise_as_ledger_error


class Chores:
    """Takes turns beside one ledger's file. Safe in any thread."""

    def __init__(self, ledger: Path) -> None:
        self._folder = ledger.with_name(f"{ledger.name}-turns")

    @contextmanager
    def turn(self, chore: str) -> Iterator[bool]:
        """See `Queue.turn`."""
        number = int(time.time() // TURN_SECONDS_MAX) % 2
        with closing(self._open(f"{chore}-{number}")) as connection:
            yield _try_lock(connection)  # closing it releases the lock

    def _open(self, name: str) -> sqlite3.Connection:
        try:
            self._folder.mkdir(exist_ok=True)
            # SQLite's own locks: they are let go with the process on every system, and two in one process count
            return sqlite3.connect(
                self._folder / name, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=0
            )
        except OSError as error:
            raise LedgerUnavailable(
                f"{self._folder} cannot be made: {error}", hint="a ledger's folder must be writable"
            ) from error
        except sqlite3.Error as error:
            raise_as_ledger_error(error)


def _try_lock(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        if is_busy(error):
            return False
        raise_as_ledger_error(error)
    return True
