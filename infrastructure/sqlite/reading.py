"""Reading the ledger and the catalogue on SQLite."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID

from jobledger.application.ports import EVERY_EVENT, SCAN_EVENTS, EventBatch, EventFilter, StreamPart
from jobledger.application.writes import JobTypeRow, LimitRow, TenantRow
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job_type import JobTypeDefinition
from jobledger.domain.tenant import TenantStatus

from .. import mapper
from ..sql_blocks import load
from .database import Database
from .limits import limit_rows
from .types import moment, optional_microseconds

SQL = load("jobledger.infrastructure.sqlite", "sql/reading.sql")

_ALL = -1
"""SQLite's LIMIT that is none."""
_LAST = (1 << 63) - 1
_EventRow = tuple[bytes, int, str, int, int, str, bytes, bytes | None]


class SqliteEventReader:
    """The `EventReader`. There is one writer, so whatever is visible has everything before it visible too."""

    scan_events = SCAN_EVENTS

    def __init__(self, database: Database) -> None:
        self._database = database

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
        wanted = (originator_id.bytes, tenant, after_version, _ALL if limit is None else limit)
        with self._database.read() as connection:
            rows = connection.execute(statement, wanted).fetchall()
        return [_event(row) for row in rows]

    def streams(self, tenant: str, originator_ids: Sequence[UUID]) -> dict[UUID, list[RecordedEvent]]:
        """Several streams at one moment; ids the tenant does not have are absent."""
        return self.beginnings(tenant, originator_ids, limit=_ALL)

    def beginnings(self, tenant: str, originator_ids: Sequence[UUID], *, limit: int) -> dict[UUID, list[RecordedEvent]]:
        """The first events of several streams; see the port."""
        with self._database.read() as connection:
            rows = {
                stream: connection.execute(SQL["stream"], (stream.bytes, tenant, 0, limit)).fetchall()
                for stream in originator_ids
            }
        return {stream: [_event(row) for row in found] for stream, found in rows.items() if found}

    def stream_part(self, tenant: str, originator_id: UUID, part: StreamPart, *, limit: int) -> list[RecordedEvent]:
        """Events of a stream, at most so many; see the port."""
        wanted = (
            originator_id.bytes, tenant, part.after_version,
            _LAST if part.until_version is None else part.until_version,
            None if part.topics is None else json.dumps(sorted(part.topics)), json.dumps(sorted(part.without)),
            optional_microseconds(part.recorded_after), limit,
        )  # fmt: skip
        statement = SQL["stream_part_newest_first"] if part.newest_first else SQL["stream_part"]
        with self._database.read() as connection:
            rows = connection.execute(statement, wanted).fetchall()
        return [_event(row) for row in rows]

    def topics(self, tenant: str, originator_id: UUID, after_version: int, until_version: int) -> list[str]:
        """What happened in a stream; see the port."""
        with self._database.read() as connection:
            wanted = (originator_id.bytes, tenant, after_version, until_version)
            return [row[0] for row in connection.execute(SQL["topics"], wanted).fetchall()]

    def last_version(self, tenant: str, originator_id: UUID) -> int:
        """The version of a stream's last event; 0 where the tenant has no such stream."""
        with self._database.read() as connection:
            row = connection.execute(SQL["last_version"], (originator_id.bytes, tenant)).fetchone()
        return 0 if row is None else int(row[0])

    def read_after(self, position: int, *, limit: int, topics: frozenset[str] | None = None) -> EventBatch:
        """The next events of all tenants; with `topics`, others count as read but are left out, undecoded."""
        with self._database.read() as connection:
            rows: list[_EventRow] = connection.execute(SQL["read_after"], (position, limit)).fetchall()
        if not rows:
            return EventBatch((), position)
        return EventBatch(tuple(_event(row) for row in rows if topics is None or row[5] in topics), rows[-1][3])

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
        """The next events of a tenant (None: of all) in order of position, up to `until`."""
        of_tenant = SQL["tenant_events_with_bodies"] if bodies else SQL["tenant_events"]
        statement = SQL["events_of_all"] if tenant is None else of_tenant
        with self._database.read() as connection:
            head: int = connection.execute(SQL["head"]).fetchone()[0]
            last = head if until is None else min(head, until)
            if where != EVERY_EVENT:
                scan = SQL["scan_end_of_all"] if tenant is None else SQL["scan_end_of_tenant"]
                end = connection.execute(scan, (tenant, position, last, self.scan_events - 1)).fetchone()
                last = last if end is None else int(end[0])
            topics = None if where.topics is None else json.dumps(sorted(where.topics))
            recorded = (optional_microseconds(where.recorded_from), optional_microseconds(where.recorded_to))
            rows: list[_EventRow] = connection.execute(
                statement, (tenant, position, last, topics, *recorded, limit, *_left_out(where))
            ).fetchall()
        return EventBatch(tuple(map(_event, rows)), rows[-1][3] if len(rows) == limit else max(position, last))

    def head(self) -> int:
        """The last position that was given out; it never falls, whatever is deleted."""
        with self._database.read() as connection:
            head: int = connection.execute(SQL["head"]).fetchone()[0]
        return head

    def given_out(self) -> int:
        """The same: what is not committed has none yet."""
        return self.head()

    def incarnation(self) -> str:
        """Eight hexadecimal digits that change when the ledger was restored to an earlier moment."""
        with self._database.read() as connection:
            incarnation: str = connection.execute(SQL["incarnation"]).fetchone()[0]
        return incarnation


class SqliteCatalogue:
    """The `Catalogue`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def tenant(self, name: str) -> TenantRow | None:
        """A tenant, or None."""
        with self._database.read() as connection:
            row = connection.execute(SQL["tenant"], (name,)).fetchone()
        return None if row is None else _tenant(row)

    def tenants(self) -> list[TenantRow]:
        """All tenants by name."""
        with self._database.read() as connection:
            rows = connection.execute(SQL["tenants"]).fetchall()
        return [_tenant(row) for row in rows]

    def job_type(self, name: str) -> JobTypeRow | None:
        """A job type, or None."""
        with self._database.read() as connection:
            row = connection.execute(SQL["job_type"], (name,)).fetchone()
        return None if row is None else _job_type(row)

    def job_types(self) -> list[JobTypeRow]:
        """All job types by name."""
        with self._database.read() as connection:
            rows = connection.execute(SQL["job_types"]).fetchall()
        return [_job_type(row) for row in rows]

    def limits(self) -> list[LimitRow]:
        """All targets that are limited or paused: by scope, tenant and subject."""
        with self._database.read() as connection:
            return limit_rows(connection)


def _event(row: _EventRow) -> RecordedEvent:
    stream, version, tenant, position, recorded_at, topic, state, body = row
    return mapper.recorded_event(UUID(bytes=stream), version, tenant, position, moment(recorded_at), topic, state, body)


def _tenant(row: tuple[str, str, str]) -> TenantRow:
    name, status, display_name = row
    return TenantRow(name, TenantStatus(status), display_name)


def _job_type(row: tuple[str, str, str, str]) -> JobTypeRow:
    definition, fingerprint, code_version, app = row
    return JobTypeRow(JobTypeDefinition.model_validate_json(definition), fingerprint, code_version, app)


def _left_out(where: EventFilter) -> tuple[str, str, str, bytes]:
    topic, mark = where.marked or ("", "")
    return json.dumps(sorted(where.families)), json.dumps(sorted(where.without)), topic, mark.encode()
