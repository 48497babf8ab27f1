"""Opening a ledger on PostgreSQL: every adapter of it over the pools of this process."""

from __future__ import annotations

from dataclasses import dataclass

from ..group_commit import Engine, GroupCommit, Limits
from ..pooler import Pooler
from .attempt_transactions import PostgresAttemptTransactions
from .catalogue import PostgresCatalogue
from .connections import Connections, Role
from .ledger_writer import PostgresEngine
from .migrations import check_schema
from .pooled import PooledConnections
from .pooled_writer import PooledEngine
from .queue import PostgresQueue
from .reader import Horizon, PostgresEventReader
from .statements import SQL
from .transaction_writer import PostgresTransactionWriter
from .wake_up import PostgresWakeUp

MONTHS_AHEAD = 3


@dataclass(frozen=True)
class PostgresLedger:
    """The adapters of one open ledger; `connections` and `horizon` are for those of the read models."""

    connections: Connections
    horizon: Horizon
    writer: GroupCommit
    reader: PostgresEventReader
    queue: PostgresQueue
    catalogue: PostgresCatalogue
    wake_up: PostgresWakeUp
    transaction_writer: PostgresTransactionWriter
    attempt_transactions: PostgresAttemptTransactions

    def ensure_partitions(self) -> None:
        """Make sure that three months ahead have partitions: part of every worker's maintenance."""
        with self.connections.connection(Role.WORKER) as connection:
            connection.execute(SQL["ensure_partitions"], (MONTHS_AHEAD,))

    def close(self) -> None:
        """Flush what is buffered, end the threads, close the connections. Closing twice is harmless."""
        self.wake_up.close()
        self.writer.close()
        self.queue.close()
        self.connections.close()


def open_ledger(
    dsn: str,
    *,
    pool_min_size: int = 1,
    pool_max_size: int = 8,
    connect_timeout_seconds: float = 5.0,
    limits: Limits | None = None,
    notify_in_transactions: bool = True,
    pooler: Pooler = "none",
) -> PostgresLedger:
    """Open the ledger in the database `dsn`.

    `LedgerNotFound` where there is none, `SchemaOutdated` or `SchemaTooNew` where its schema is not this program's,
    `LedgerUnavailable` where the server does not answer. `pooler`: what the database is reached through; in transaction
    mode what needs sessions (workers, projections, rebuilds) is refused with `InvalidSettings`.
    """
    connect = PooledConnections if pooler == "transaction" else Connections
    connections = connect(
        dsn, min_size=pool_min_size, max_size=pool_max_size, connect_timeout_seconds=connect_timeout_seconds
    )
    try:
        check_schema(connections)
    except BaseException:
        connections.close()
        raise
    horizon, writer = Horizon(connections), GroupCommit(_engine(connections), limits)
    return PostgresLedger(
        connections, horizon, writer,
        PostgresEventReader(connections, horizon), PostgresQueue(connections), PostgresCatalogue(connections),
        PostgresWakeUp(connections), PostgresTransactionWriter(notifies=notify_in_transactions),
        PostgresAttemptTransactions(connections, writer.announce),
    )  # fmt: skip


def _engine(connections: Connections) -> Engine:
    return PooledEngine(connections) if isinstance(connections, PooledConnections) else PostgresEngine(connections)
