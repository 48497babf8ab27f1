"""The eventsourcing library's factory for our ledger on SQLite."""

from __future__ import annotations

from typing import cast

from eventsourcing.domain import TAggregateID
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    InfrastructureFactoryError,
    Mapper,
    ProcessRecorder,
    Transcoder,
)
from eventsourcing.utils import Environment, EnvType, resolve_topic, strtobool

from ..mapper import LedgerMapper
from .database import BUSY_TIMEOUT_SECONDS, Database
from .migrations import migrate
from .recorders import (
    SqliteAggregateRecorder,
    SqliteApplicationRecorder,
    SqliteProcessRecorder,
    SqliteTrackingRecorder,
    path_of,
)


class Factory(InfrastructureFactory[SqliteTrackingRecorder]):
    """Found by `PERSISTENCE_MODULE=jobledger.infrastructure.sqlite`.

    Reads `SQLITE_DBNAME` (the ledger's file), `SQLITE_LOCK_TIMEOUT` (seconds) and `CREATE_TABLE` (migrate the file
    first; default yes, as with the library's own factories). State is never compressed or encrypted: folds, leaves
    and claims read it; what may be sealed is the body.
    """

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        name = self.env.get("SQLITE_DBNAME")
        if not name:
            raise InfrastructureFactoryError("SQLITE_DBNAME is not set: the ledger's file")
        path = path_of(name)
        if strtobool(self.env.get("CREATE_TABLE", "yes")):
            migrate(path)
        timeout = float(self.env.get("SQLITE_LOCK_TIMEOUT", "") or BUSY_TIMEOUT_SECONDS)
        self.database = Database(path, busy_timeout_seconds=timeout)

    def mapper(
        self, transcoder: Transcoder | None = None, mapper_class: type[Mapper[TAggregateID]] | None = None
    ) -> Mapper[TAggregateID]:
        """Our mapper, whatever is asked for: the ledger holds events in our form only."""
        del transcoder, mapper_class
        return cast("Mapper[TAggregateID]", LedgerMapper())

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        """A recorder of events; there are no snapshots, jobs are short."""
        if purpose != "events":
            raise InfrastructureFactoryError(f"the ledger keeps no {purpose}")
        return SqliteAggregateRecorder(self.database)

    def application_recorder(self) -> ApplicationRecorder:
        """A recorder of events that also gives them in their global order."""
        return SqliteApplicationRecorder(self.database)

    def tracking_recorder(
        self, tracking_recorder_class: type[SqliteTrackingRecorder] | None = None
    ) -> SqliteTrackingRecorder:
        """A recorder of tracking, for the application that the environment names."""
        topic = self.env.get(self.TRACKING_RECORDER_TOPIC)
        chosen: type[SqliteTrackingRecorder] = tracking_recorder_class or (
            resolve_topic(topic) if topic else SqliteTrackingRecorder
        )
        return chosen(self.database, self.env.name)

    def process_recorder(self) -> ProcessRecorder:
        """A recorder of events and tracking, together."""
        return SqliteProcessRecorder(self.database, self.env.name)

    def close(self) -> None:
        """Close the connections."""
        self.database.close()
