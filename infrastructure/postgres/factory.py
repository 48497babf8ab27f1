"""The eventsourcing library's factory for our ledger on PostgreSQL."""

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
from psycopg.conninfo import make_conninfo

from ..mapper import LedgerMapper
from .connections import Connections
from .migrations import migrate
from .recorders import (
    PostgresAggregateRecorder,
    PostgresApplicationRecorder,
    PostgresProcessRecorder,
    PostgresTrackingRecorder,
)

_VARIABLES = {
    "host": "POSTGRES_HOST",
    "port": "POSTGRES_PORT",
    "user": "POSTGRES_USER",
    "password": "POSTGRES_PASSWORD",
}
_POOL_SIZE = "POSTGRES_POOL_SIZE"


class Factory(InfrastructureFactory[PostgresTrackingRecorder]):
    """Found by `PERSISTENCE_MODULE=jobledger.infrastructure.postgres`.

    Reads `POSTGRES_DBNAME` (a name, or a whole URL), `POSTGRES_HOST`, `POSTGRES_PORT`, `POSTGRES_USER` and
    `POSTGRES_PASSWORD`, `POSTGRES_POOL_SIZE` (connections at most, default 8) and `CREATE_TABLE` (migrate the
    database first; default yes, as with the library's own factories). State is never compressed or encrypted: folds,
    leaves and claims read it; what may be sealed is the body.
    """

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        name = self.env.get("POSTGRES_DBNAME")
        if not name:
            raise InfrastructureFactoryError("POSTGRES_DBNAME is not set: the ledger's database")
        parts = {part: self.env.get(variable) for part, variable in _VARIABLES.items()}
        dsn = (
            name
            if "://" in name
            else make_conninfo(dbname=name, **{key: value for key, value in parts.items() if value})
        )
        if strtobool(self.env.get("CREATE_TABLE", "yes")):
            migrate(dsn)
        self.connections = Connections(dsn, max_size=int(self.env.get(_POOL_SIZE, "") or 8))

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
        return PostgresAggregateRecorder(self.connections)

    def application_recorder(self) -> ApplicationRecorder:
        """A recorder of events that also gives them in their global order."""
        return PostgresApplicationRecorder(self.connections)

    def tracking_recorder(
        self, tracking_recorder_class: type[PostgresTrackingRecorder] | None = None
    ) -> PostgresTrackingRecorder:
        """A recorder of tracking, for the application that the environment names."""
        topic = self.env.get(self.TRACKING_RECORDER_TOPIC)
        chosen: type[PostgresTrackingRecorder] = tracking_recorder_class or (
            resolve_topic(topic) if topic else PostgresTrackingRecorder
        )
        return chosen(self.connections, self.env.name)

    def process_recorder(self) -> ProcessRecorder:
        """A recorder of events and tracking, together."""
        return PostgresProcessRecorder(self.connections, self.env.name)

    def close(self) -> None:
        """Close the connections."""
        self.connections.close()
