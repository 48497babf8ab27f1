"""The ledger as an application of the eventsourcing library: for programs that are built on it.

    LedgerApplication({"PERSISTENCE_MODULE": "jobledger.infrastructure.postgres", "POSTGRES_DBNAME": "postgresql://..."})
    LedgerApplication({"PERSISTENCE_MODULE": "jobledger.infrastructure.sqlite", "SQLITE_DBNAME": "jobledger.db"})

Its notification log, its subscriptions and the library's tracking work on it. Jobs are dispatched with
`jobledger.Ledger`, which also writes the queue: here their streams are read, and streams of other kinds written.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import Notification, Recording

from jobledger.domain.errors import InvalidInput
from jobledger.domain.event import Event

_JOB_TOPICS = "job."


class LedgerApplication(Application[UUID]):
    """Appends and reads events of the ledger through the library's event store."""

    name = "jobledger"

    def append(self, events: Sequence[Event]) -> list[Recording[UUID]]:
        """Append events of streams that are not jobs, all or none.

        The library's `IntegrityError` where a version exists; `InvalidInput` for events of jobs.
        """
        for event in events:
            if event.facts.topic.startswith(_JOB_TOPICS):
                raise InvalidInput(
                    f"{event.facts.topic} changes the queue, too", field="topic", rule="no events of jobs",
                    hint="use jobledger.Ledger",
                )  # fmt: skip
        # not save(): that looks at every event with isinstance against a Protocol
        return self.events.put(events)

    def history(self, originator_id: UUID) -> list[DomainEventProtocol[UUID]]:
        """The events of a stream, in order of version, with their bodies."""
        return list(self.events.get(originator_id))

    def notifications(self, after: int = 0, limit: int = 1_000) -> Sequence[Notification]:
        """The next events of all streams after a position, in their global order."""
        return self.recorder.select_notifications(after, limit, inclusive_of_start=False)
