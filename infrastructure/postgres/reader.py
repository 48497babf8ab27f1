"""Reads the ledger: streams of one tenant under row-level security, and the whole of it in order, below the horizon."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from threading import Lock
from uuid import UUID

from jobledger.application.ports import EVERY_EVENT, SCAN_EVENTS, EventBatch, EventFilter, StreamPart
from jobledger.domain.errors import LedgerNotFound
from jobledger.domain.event import RecordedEvent

from ..mapper import recorded_event
from .connections import READS_ALL, Connections, PgConnection, Role
from .statements import SQL

TICKET_BITS = 12
"""notification_id = ticket << 12 | ordinal."""

EventRow = tuple[UUID, int, str, int, datetime, str, bytes, bytes | None]

_ALL = 2_147_483_647
_READ_ORDER = (Role.PROJECTOR, Role.AUDITOR)
"""Who may read the ledger of all tenants."""


class Horizon:
    """The last finished ticket, asked at most every 5 ms for all readers of this process.

    An older answer is always right: it only hides what a newer one would show. `role`: as whom it asks; a program that
    looks at lists is a member of jobledger_api, and need be nothing else.
    """

    def __init__(
        self,
        connections: Connections,
        *,
        role: Role = Role.API,
        max_age_seconds: float = 0.005,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connections = connections
        self._role = role
        self._max_age_seconds = max_age_seconds
        self._monotonic = monotonic
        self._lock = Lock()
        self._asked_at = float("-inf")
        self._ticket = 0

    def ticket(self) -> int:
        """The ticket up to which all is finished. A statement that is sent later sees all of it."""
        with self._lock:
            if self._monotonic() - self._asked_at >= self._max_age_seconds:
                with self._connections.connection(self._connections.acting(self._role, *READS_ALL)) as connection:
                    row = connection.execute(SQL["horizon"], binary=True).fetchone()
                self._ticket = row[0] if row else 0
                self._asked_at = self._monotonic()
            return self._ticket

    def position(self) -> int:
        """The last position that can be read now."""
        return ((self.ticket() + 1) << TICKET_BITS) - 1


class PostgresEventReader:
    """The `EventReader` on PostgreSQL."""

    scan_events = SCAN_EVENTS

    def __init__(self, connections: Connections, horizon: Horizon | None = None) -> None:
        self._connections = connections
        self._horizon = horizon or Horizon(connections)
        self._incarnation: str | None = None

    def stream(
        self,
        tenant: str,
        originator_id: UUID,
        *,
        after_version: int = 0,
        limit: int | None = None,
        bodies: bool = False,
    ) -> list[RecordedEvent]:
        """The events of a stream in order of version; empty where the tenant has no such stream."""
        statement = SQL["stream_with_bodies"] if bodies else SQL["stream"]
        with self._connections.tenant_transaction(tenant) as connection:
            rows = connection.execute(
                statement, (tenant, originator_id, after_version, _ALL if limit is None else limit), binary=True
            ).fetchall()
        return _events(rows)

    def streams(self, tenant: str, originator_ids: Sequence[UUID]) -> dict[UUID, list[RecordedEvent]]:
        """Several streams at once; ids the tenant does not have are absent."""
        if not originator_ids:
            return {}
        with self._connections.tenant_transaction(tenant) as connection:
            rows = connection.execute(SQL["streams"], (list(set(originator_ids)), tenant), binary=True).fetchall()
        return _by_stream(rows)

    def beginnings(self, tenant: str, originator_ids: Sequence[UUID], *, limit: int) -> dict[UUID, list[RecordedEvent]]:
        """The first events of several streams; see the port."""
        if not originator_ids:
            return {}
        wanted = (list(set(originator_ids)), tenant, limit)
        with self._connections.tenant_transaction(tenant) as connection:
            return _by_stream(connection.execute(SQL["beginnings"], wanted, binary=True).fetchall())

    def stream_part(self, tenant: str, originator_id: UUID, part: StreamPart, *, limit: int) -> list[RecordedEvent]:
        """Events of a stream, at most so many; see the port."""
        wanted = {
            "tenant": tenant, "stream": originator_id, "after": part.after_version,
            "until": _ALL if part.until_version is None else part.until_version, "limit": limit,
            "topics": None if part.topics is None else sorted(part.topics), "without": sorted(part.without),
            "recorded_after": part.recorded_after,
        }  # fmt: skip
        statement = SQL["stream_part_newest_first"] if part.newest_first else SQL["stream_part"]
        with self._connections.tenant_transaction(tenant) as connection:
            return _events(connection.execute(statement, wanted, binary=True).fetchall())

    def topics(self, tenant: str, originator_id: UUID, after_version: int, until_version: int) -> list[str]:
        """What happened in a stream; see the port."""
        wanted = (tenant, originator_id, after_version, until_version)
        with self._connections.tenant_transaction(tenant) as connection:
            return [row[0] for row in connection.execute(SQL["topics"], wanted, binary=True).fetchall()]

    def last_version(self, tenant: str, originator_id: UUID) -> int:
        """The version of a stream's last event; 0 where the tenant has no such stream."""
        with self._connections.tenant_transaction(tenant) as connection:
            row = connection.execute(SQL["last_version"], (tenant, originator_id), binary=True).fetchone()
        return 0 if row is None else int(row[0])

    def read_after(self, position: int, *, limit: int, topics: frozenset[str] | None = None) -> EventBatch:
        """The next events of all tenants, only below the horizon: nothing will ever appear before what was returned."""
        head = self._horizon.position()
        if head <= position:
            return EventBatch((), position)
        with self._connections.connection(self._connections.acting(*_READ_ORDER)) as connection:
            if topics is None:
                cursor = connection.execute(SQL["read_after"], (position, head + 1, limit), binary=True)
            else:
                cursor = connection.execute(
                    SQL["read_topics_after"], (position, head + 1, sorted(topics), limit), binary=True
                )
            events = tuple(_events(cursor.fetchall()))
        return EventBatch(events, events[-1].position if len(events) == limit else head)

    def read_tenant(
        self,
        tenant: str | None,
        position: int,
        *,
        limit: int,
        until: int | None = None,
        where: EventFilter = EVERY_EVENT,
        bodies: bool = False,
    ) -> EventBatch:
        """The next events of a tenant (None: of all) in order of position, up to `until`, only below the horizon."""
        head = self._horizon.position()  # asked first: the statement below then sees all up to there
        last = head if until is None else min(head, until)
        if last <= position:
            return EventBatch((), position)
        marked, mark = where.marked or ("", "")
        wanted: dict[str, object] = {
            "tenant": tenant, "after": position, "until": last, "limit": limit,
            "topics": None if where.topics is None else sorted(where.topics),
            "recorded_from": where.recorded_from, "recorded_to": where.recorded_to,
            "families": sorted(where.families), "without": sorted(where.without),
            "marked": marked, "mark": mark.encode(),
        }  # fmt: skip
        of_tenant = SQL["tenant_events_with_bodies"] if bodies else SQL["tenant_events"]
        statements = (
            (SQL["events_of_all"], SQL["scan_end_of_all"]) if tenant is None else (of_tenant, SQL["scan_end_of_tenant"])
        )
        with self._reading(tenant) as connection:
            if where != EVERY_EVENT:
                end = connection.execute(statements[1], {**wanted, "scan": self.scan_events - 1}).fetchone()
                last = wanted["until"] = last if end is None else int(end[0])
            rows = connection.execute(statements[0], wanted, binary=True).fetchall()
        events = tuple(_events(rows))
        return EventBatch(events, events[-1].position if len(events) == limit else last)

    def _reading(self, tenant: str | None) -> AbstractContextManager[PgConnection]:
        if tenant is not None:
            return self._connections.tenant_transaction(tenant)
        return self._connections.transaction(self._connections.acting(*_READ_ORDER))

    def head(self) -> int:
        """The position up to which the ledger can be read now (at the horizon)."""
        return self._horizon.position()

    def given_out(self) -> int:
        """The last position of the last ticket that was drawn."""
        with self._connections.connection(self._connections.acting(Role.API, *READS_ALL)) as connection:
            row = connection.execute(SQL["last_ticket"], binary=True).fetchone()
        assert row is not None, "a sequence has one row"
        return ((int(row[0]) + 1) << TICKET_BITS) - 1

    def incarnation(self) -> str:
        """Changes when the ledger was restored to an earlier moment."""
        if self._incarnation is None:
            with self._connections.connection(self._connections.acting(Role.API, *READS_ALL)) as connection:
                row = connection.execute(SQL["incarnation"]).fetchone()
            if row is None:
                raise LedgerNotFound("the ledger has no incarnation", hint="run: jobledger migrate")
            self._incarnation = str(row[0])
        return self._incarnation


def _by_stream(rows: Iterable[tuple[object, ...]]) -> dict[UUID, list[RecordedEvent]]:
    found: dict[UUID, list[RecordedEvent]] = {}
    for event in _events(rows):
        found.setdefault(event.originator_id, []).append(event)
    return found


def _events(rows: Iterable[tuple[object, ...]]) -> list[RecordedEvent]:
    return [recorded_event(*row) for row in rows]  # type: ignore[arg-type]  # the columns of every reading statement
