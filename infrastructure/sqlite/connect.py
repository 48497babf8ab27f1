"""Opening a SQLite ledger: every adapter of it over one writer and the readers of this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..group_commit import GroupCommit, Limits
from .database import BUSY_TIMEOUT_SECONDS, Database
from .ledger import SqliteEngine
from .migrations import require_current
from .queue import SqliteQueue
from .reading import SqliteCatalogue, SqliteEventReader
from .transaction_writer import SqliteTransactionWriter
from .wake_up import SqliteWakeUp


@dataclass(frozen=True)
class SqliteLedger:
    """The adapters of one open ledger; `database` is for those of the read models."""

    database: Database
    writer: GroupCommit
    reader: SqliteEventReader
    queue: SqliteQueue
    catalogue: SqliteCatalogue
    wake_up: SqliteWakeUp
    transaction_writer: SqliteTransactionWriter

    def close(self) -> None:
        """Flush what is buffered, end the threads, close the connections."""
        self.wake_up.close()
        self.writer.close()
        self.database.close()


def open_ledger(
    path: Path, *, busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS, limits: Limits | None = None
) -> SqliteLedger:
    """Open the ledger in the file `path`.

    `LedgerNotFound` where there is none, `SchemaOutdated` or `SchemaTooNew` where its schema is not this program's,
    `LedgerUnavailable` where the file cannot be read.
    """
    database = Database(path, busy_timeout_seconds=busy_timeout_seconds)
    try:
        with database.read() as connection:
            require_current(connection)
    except BaseException:
        database.close()
        raise
    return SqliteLedger(
        database, GroupCommit(SqliteEngine(database), limits), SqliteEventReader(database), SqliteQueue(database),
        SqliteCatalogue(database), SqliteWakeUp(database.path), SqliteTransactionWriter(database.path),
    )  # fmt: skip
