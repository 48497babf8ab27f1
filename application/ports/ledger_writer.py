"""Writing to the ledger: through the group commit of this process, or inside a caller's own transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Protocol

from ..writes import NewJob, Outcome, Write


class LedgerWriter(Protocol):
    """Writes to the ledger through the group commit of this process.

    Raises `LedgerUnavailable`, `LedgerBusy` or `LedgerRestored` (through the future for `submit`); then nothing of
    the writes handed in was stored. Conflicts are outcomes, told to their own caller only.
    """

    def submit(self, writes: Sequence[Write]) -> Future[list[Outcome]]:
        """Hand writes in; the future is done once all of them are durable or refused. Blocks while the buffer is
        full, then raises `LedgerBusy`."""
        ...

    def write(self, writes: Sequence[Write]) -> list[Outcome]:
        """`submit(...).result()`."""
        ...

    def add_listener(self, listener: Callable[[Sequence[Write], Sequence[Outcome]], None]) -> None:
        """Call `listener` after each durable commit, on the flushing thread: it must be quick and never raise."""
        ...


class AtOnceWriter(Protocol):
    """A ledger writer for those who must not wait, not even for room: an event loop."""

    def submit_at_once(self, writes: Sequence[Write]) -> Future[list[Outcome]]:
        """As `LedgerWriter.submit`; raises `LedgerBusy` at once while the buffer is full."""
        ...


class TransactionWriter(Protocol):
    """Dispatches inside a caller's own open psycopg or sqlite3 transaction; bypasses the group commit."""

    def dispatch(self, connection: object, new_jobs: Sequence[NewJob]) -> list[Outcome]:
        """Write on `connection`; commits or vanishes with it. `InvalidInput` for a connection of another kind."""
        ...
