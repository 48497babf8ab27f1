"""The eventsourcing library's recorders over our ledger.

They write and read the same table as the group commit does, one transaction a call. Streams of jobs are not to be
appended to with them: the queue would not hear of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    IntegrityError,
    Notification,
    OperationalError,
    ProcessRecorder,
    ProgrammingError,
    StoredEvent,
    Subscription,
    Tracking,
    TrackingRecorder,
)

from jobledger.domain.errors import LedgerBusy, LedgerError, LedgerUnavailable

from ..polling_subscription import PollingSubscription
from ..stored_event import LedgerStoredEvent, in_ledger_form
from .arrays import Blobs, Integers, Texts, Uuids
from .calls import TICKET_EVENTS
from .connections import Connections, PgConnection, Role
from .driver_errors import CONFLICT, FOREIGN_STREAM
from .reader import Horizon
from .statements import SQL

_LAST_VERSION, _LAST_POSITION = 2**31 - 1, 2**63 - 1


class PostgresAggregateRecorder(AggregateRecorder):
    """Records and selects the events of streams; they are `LedgerStoredEvent`s."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:  # noqa: ANN401 - the library's
        """Append the events, all or none; `IntegrityError` where a version exists or a tenant is not the stream's."""
        self._insert(stored_events, **kwargs)
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """The events of a stream after version `gt`, up to `lte`, with their bodies."""
        statement = SQL["select_events_backwards"] if desc else SQL["select_events"]
        bounds = (0 if gt is None else gt, _LAST_VERSION if lte is None else lte, limit)
        with _library_errors(), self._connections.connection(Role.PROJECTOR) as connection:
            rows = connection.execute(statement, (_uuid(originator_id), *bounds), binary=True).fetchall()
        return [LedgerStoredEvent(*row) for row in rows]

    def _insert(self, stored_events: Sequence[StoredEvent], tracking: Tracking | None = None) -> list[int]:
        """Append the events and, for a process, move its tracking in the same transaction."""
        events = [in_ledger_form(stored_event) for stored_event in stored_events]
        positions: list[int] = []
        with _library_errors(), self._connections.transaction(Role.WORKER) as connection:
            for begin in range(0, len(events), TICKET_EVENTS):
                positions += _append(connection, events[begin : begin + TICKET_EVENTS])
            if tracking is not None:
                self._track(connection, tracking)
        return positions

    def _track(self, connection: PgConnection, tracking: Tracking) -> None:
        raise ProgrammingError("this recorder does not track")


class PostgresApplicationRecorder(PostgresAggregateRecorder, ApplicationRecorder):
    """Also selects the events of all streams, in their global order and only below the horizon."""

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections)
        self._horizon = Horizon(connections, role=Role.PROJECTOR, max_age_seconds=0.0)
        """Asked each time: the library's callers expect to read at once what they wrote."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:  # noqa: ANN401 - the library's
        """Append the events, all or none, and return their positions."""
        return self._insert(stored_events, **kwargs)

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Up to `limit` events of these topics, from position `start` (or after it) to `stop`."""
        first = 0 if start is None else start if inclusive_of_start else start + 1
        wanted = list(topics) or None
        with _library_errors():
            last = min(_LAST_POSITION if stop is None else stop, self._horizon.position())
            with self._connections.connection(Role.PROJECTOR) as connection:
                rows = connection.execute(
                    SQL["select_notifications"], (first, last, wanted, wanted, limit), binary=True
                ).fetchall()
        return [Notification(*row) for row in rows]

    def max_notification_id(self) -> int | None:
        """The highest position that can be read now; None where there is none."""
        with _library_errors():
            readable_to = self._horizon.position()
            with self._connections.connection(Role.PROJECTOR) as connection:
                row = connection.execute(SQL["last_notification"], (readable_to,)).fetchone()
        return None if row is None else row[0]

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        """Events after position `gt`, and those to come."""
        return PollingSubscription(self, gt, topics)


class PostgresTrackingRecorder(TrackingRecorder):
    """How far `consumer` has come with each upstream application: consumers in one database do not collide."""

    def __init__(self, connections: Connections, consumer: str = "") -> None:
        self._connections = connections
        self._consumer = consumer

    def insert_tracking(self, tracking: Tracking) -> None:
        """Move forward; `IntegrityError` for what was processed before."""
        with _library_errors(), self._connections.transaction(Role.WORKER) as connection:
            self._track(connection, tracking)

    def max_tracking_id(self, application_name: str) -> int | None:
        """The position reached in an upstream application, or None."""
        with _library_errors(), self._connections.connection(Role.WORKER) as connection:
            row = connection.execute(SQL["max_tracking_id"], (self._consumer, application_name)).fetchone()
        return None if row is None else row[0]

    def _track(self, connection: PgConnection, tracking: Tracking) -> None:
        reached = (self._consumer, tracking.application_name, tracking.notification_id)
        if connection.execute(SQL["insert_tracking"], reached).fetchone() is None:
            raise IntegrityError(f"{tracking.application_name} {tracking.notification_id} was processed before")


class PostgresProcessRecorder(PostgresTrackingRecorder, PostgresApplicationRecorder, ProcessRecorder):
    """Records events and tracking in one transaction."""

    def __init__(self, connections: Connections, consumer: str = "") -> None:
        PostgresApplicationRecorder.__init__(self, connections)
        PostgresTrackingRecorder.__init__(self, connections, consumer)


def _append(connection: PgConnection, events: Sequence[LedgerStoredEvent]) -> list[int]:
    parameters = (
        Texts([event.tenant for event in events]),
        Uuids([_uuid(event.originator_id) for event in events]),
        Integers([event.originator_version for event in events]),
        Texts([event.topic for event in events]),
        Blobs([event.state for event in events]),
        Blobs([event.body for event in events]),
    )
    row = connection.execute(SQL["append"], parameters).fetchone()
    assert row is not None, "our functions return one row"
    return list(range(row[0], row[0] + len(events)))


@contextmanager
def _library_errors() -> Iterator[None]:
    """Errors as the library's callers expect them; the cause is kept."""
    try:
        yield
    except (LedgerBusy, LedgerUnavailable) as error:
        raise OperationalError(str(error)) from error
    except LedgerError as error:
        cause = error.__cause__
        if isinstance(cause, psycopg.IntegrityError) or getattr(cause, "sqlstate", "") in (CONFLICT, FOREIGN_STREAM):
            raise IntegrityError(str(error)) from error
        raise


def _uuid(originator_id: UUID | str) -> UUID:
    return originator_id if isinstance(originator_id, UUID) else UUID(originator_id)
