"""The eventsourcing library's recorders over our ledger, and the factory that its `PERSISTENCE_MODULE` finds.

They write and read the same table as the group commit does, one transaction a call. Streams of jobs are not to be
appended to with them: the queue would not hear of it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

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

from jobledger.domain.errors import LedgerBusy, LedgerUnavailable

from ..polling_subscription import PollingSubscription
from ..sql_blocks import load
from ..stored_event import LedgerStoredEvent, in_ledger_form
from .appender import SQL as LEDGER_SQL
from .appender import Appender
from .database import Database

SQL = load("jobledger.infrastructure.sqlite", "sql/recording.sql")
_LAST = 2**63 - 1
_ALL = -1


class SqliteAggregateRecorder(AggregateRecorder):
    """Records and selects the events of streams; they are `LedgerStoredEvent`s."""

    def __init__(self, database: Database) -> None:
        self._database = database

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
        bounds = (0 if gt is None else gt, _LAST if lte is None else lte, _ALL if limit is None else limit)
        with _library_errors(), self._database.read() as connection:
            rows = connection.execute(statement, (_uuid(originator_id).bytes, *bounds)).fetchall()
        return [LedgerStoredEvent(UUID(bytes=row[0]), *row[1:]) for row in rows]

    def _insert(self, stored_events: Sequence[StoredEvent], tracking: Tracking | None = None) -> list[int]:
        """Append the events and, for a process, move its tracking in the same transaction."""
        events = [in_ledger_form(stored_event) for stored_event in stored_events]
        with _library_errors(), self._database.write() as connection:
            appender = Appender(connection)
            self._require_own_tenants(connection, events)
            positions = [
                appender.append(
                    event.tenant, _uuid(event.originator_id), event.originator_version, event.topic, event.state,
                    event.body,
                )
                for event in events
            ]  # fmt: skip
            appender.finish()
            if tracking is not None:
                self._track(connection, tracking)
        return positions

    def _track(self, connection: sqlite3.Connection, tracking: Tracking) -> None:
        raise ProgrammingError("this recorder does not track")

    def _require_own_tenants(self, connection: sqlite3.Connection, events: Sequence[LedgerStoredEvent]) -> None:
        """An event's tenant is its stream's, whether the stream is stored or begins here."""
        tenants: dict[UUID, str] = {}
        for event in events:
            stream = _uuid(event.originator_id)
            if stream not in tenants:
                end = connection.execute(LEDGER_SQL["stream_end"], (stream.bytes,)).fetchone()
                tenants[stream] = event.tenant if end is None else end[1]
            if tenants[stream] != event.tenant:
                raise IntegrityError(f"an event for stream {stream} names another tenant than its own")


class SqliteApplicationRecorder(SqliteAggregateRecorder, ApplicationRecorder):
    """Also selects the events of all streams, in their global order."""

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
        wanted = (first, _LAST if stop is None else stop, json.dumps(list(topics)) if topics else None, limit)
        with _library_errors(), self._database.read() as connection:
            rows = connection.execute(SQL["select_notifications"], wanted).fetchall()
        return [Notification(UUID(bytes=row[0]), *row[1:]) for row in rows]

    def max_notification_id(self) -> int | None:
        """The highest position that was given out; None where none was."""
        with _library_errors(), self._database.read() as connection:
            last: int = connection.execute(LEDGER_SQL["last_position"]).fetchone()[0]
        return last or None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        """Events after position `gt`, and those to come."""
        return PollingSubscription(self, gt, topics)


class SqliteTrackingRecorder(TrackingRecorder):
    """How far `consumer` has come with each upstream application: consumers in one file do not collide."""

    def __init__(self, database: Database, consumer: str = "") -> None:
        self._database = database
        self._consumer = consumer

    def insert_tracking(self, tracking: Tracking) -> None:
        """Move forward; `IntegrityError` for what was processed before."""
        with _library_errors(), self._database.write() as connection:
            self._track(connection, tracking)

    def max_tracking_id(self, application_name: str) -> int | None:
        """The position reached in an upstream application, or None."""
        with _library_errors(), self._database.read() as connection:
            row = connection.execute(SQL["max_tracking_id"], (self._consumer, application_name)).fetchone()
        return None if row is None else row[0]

    def _track(self, connection: sqlite3.Connection, tracking: Tracking) -> None:
        reached = (self._consumer, tracking.application_name, tracking.notification_id)
        if connection.execute(SQL["insert_tracking"], reached).fetchone() is None:
            raise IntegrityError(f"{tracking.application_name} {tracking.notification_id} was processed before")


class SqliteProcessRecorder(SqliteTrackingRecorder, SqliteApplicationRecorder, ProcessRecorder):
    """Records events and tracking in one transaction."""


@contextmanager
def _library_errors() -> Iterator[None]:
    """Errors as the library's callers expect them; the cause is kept."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise IntegrityError(str(error)) from error
    except (LedgerBusy, LedgerUnavailable) as error:
        raise OperationalError(str(error)) from error


def _uuid(originator_id: UUID | str) -> UUID:
    return originator_id if isinstance(originator_id, UUID) else UUID(originator_id)


def path_of(name: str) -> Path:
    """The file that a `SQLITE_DBNAME` names: a path, or a `file:` URI with one."""
    return Path(name.removeprefix("file:").partition("?")[0])
