"""The ledger's writes on SQLite: one transaction for a group, and the queue, keys and catalogue that change with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from jobledger.application.flow_control import lane_of
from jobledger.application.writes import (
    ApiKeyRow,
    AppendEvents,
    CatalogueRow,
    ChangeJob,
    JobTypeRow,
    LimitRow,
    NewJob,
    Outcome,
    TenantRow,
    Write,
    WriteStatus,
)
from jobledger.domain.errors import CorruptEvent
from jobledger.domain.event import Event
from jobledger.domain.job import JobState

from .. import mapper, queue_row
from ..group_commit import Answer
from .appender import SQL, Appender
from .database import Database
from .limits import limited_personas, save_limit
from .types import microseconds, optional_microseconds

_CONFLICT = Outcome(WriteStatus.CONFLICT)
_MISSING = Outcome(WriteStatus.MISSING)
_Key = tuple[str, str, str]


class SqliteEngine:
    """The engine of the group commit. Nothing is ever deferred: whoever writes has the whole file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def flush(self, writes: Sequence[Write]) -> list[Answer]:
        """Store the writes in one durable transaction; see `Engine`."""
        try:
            with self._database.write() as connection:
                return LedgerTransaction(connection, careful=False).write(writes)
        except sqlite3.IntegrityError:
            # rare: some job id or version exists. Again, asking before each write, to tell whose it is
            with self._database.write() as connection:
                return LedgerTransaction(connection, careful=True).write(writes)

    def close(self) -> None:
        """Nothing: the database belongs to who opened it."""


@dataclass(slots=True)
class _OpenRow:
    """A queue row as this transaction has left it so far."""

    tenant: str
    version: int
    worker: str | None
    attempt: int
    cancel_requested: bool


class LedgerTransaction:
    """Writes inside a transaction that somebody began. What they read is read at once, what they store is stored
    together at the end.

    `careful` looks whether a stream's version exists before relying on it; without it, `sqlite3.IntegrityError` says
    that some version did.
    """

    def __init__(self, connection: sqlite3.Connection, *, careful: bool) -> None:
        self._connection = connection
        self._careful = careful
        self._events = Appender(connection)
        self._ends: dict[UUID, tuple[int, str]] = {}
        """Version and tenant of streams at the end of what was written here."""
        self._rows: dict[UUID, _OpenRow | None] = {}
        self._keys: dict[_Key, tuple[UUID, str]] = {}
        self._limited: frozenset[tuple[str, str]] | None = None
        """Personas that are limited; read when a job has one."""
        self._inserted: list[tuple[object, ...]] = []
        self._changed: list[tuple[object, ...]] = []
        self._deleted: list[tuple[bytes]] = []

    def write(self, writes: Sequence[Write]) -> list[Answer]:
        """Store the writes, in their order; those that their guards refuse leave nothing."""
        answers: list[Answer] = [self._write(write) for write in writes]
        self._events.finish()
        execute = self._connection.executemany
        recorded_at = self._events.recorded_at
        execute(SQL["insert_key"], [(*key, job.bytes, sha, recorded_at) for key, (job, sha) in self._keys.items()])
        execute(SQL["insert_open_job"], self._inserted)
        execute(SQL["change_open_job"], self._changed)
        execute(SQL["delete_open_job"], self._deleted)
        return answers

    def _write(self, write: Write) -> Outcome:
        if isinstance(write, NewJob):
            return self._dispatch(write)
        if isinstance(write, ChangeJob):
            return self._change(write)
        return self._append_events(write)

    # --- dispatches --------------------------------------------------------------------------------------------------

    def _dispatch(self, new: NewJob) -> Outcome:
        event, job_id = new.event, new.event.originator_id
        key = None
        if new.idempotency is not None:
            key = (event.tenant, new.idempotency.job_type, new.idempotency.key)
            first = self._first_of(key)
            if first is not None:
                return Outcome(WriteStatus.DUPLICATE, job_id=first[0], payload_sha256=first[1])
        if self._careful and self._end_of(job_id) is not None:
            return _CONFLICT
        position = self._append(event, job_id, 1)
        self._insert_row(new)
        if key is not None and new.idempotency is not None:
            self._keys[key] = (job_id, new.idempotency.payload_sha256)
        return Outcome(WriteStatus.WRITTEN, position, 1, job_id)

    def _first_of(self, key: _Key) -> tuple[UUID, str] | None:
        """The job that used a key first, and the hash of its payload."""
        first = self._keys.get(key)
        if first is None:
            row = self._connection.execute(SQL["find_key"], key).fetchone()
            first = None if row is None else (UUID(bytes=row[0]), row[1])
        return first

    def _insert_row(self, new: NewJob) -> None:
        event, state = new.event, new.state
        self._rows[event.originator_id] = _OpenRow(event.tenant, 1, None, 0, cancel_requested=False)
        self._inserted.append(
            (
                event.originator_id.bytes, event.tenant, state.status.value, state.queue, state.job_type, state.persona,
                state.priority, microseconds(state.due_at), state.attempts_allowed, state.lock_key,
                state.limit_key, self._lane(event.tenant, state),
                queue_row.encode_spec(state),
                queue_row.encode_identity(state.job_type, state.queue, state.persona),
                queue_row.encode_thread(event.metadata), mapper.encode_body(event.body or b""),
            )
        )  # fmt: skip

    def _lane(self, tenant: str, state: JobState) -> str | None:
        persona = state.persona
        if persona is not None:
            if self._limited is None:
                self._limited = limited_personas(self._connection)
            if (tenant, persona) not in self._limited:
                persona = None
        return lane_of(state.lock_key, state.limit_key, persona)

    # --- changes of open jobs ----------------------------------------------------------------------------------------

    def _change(self, change: ChangeJob) -> Outcome:
        row = self._row(change.job_id)
        if row is None or row.tenant != change.tenant:
            return _MISSING
        if not _holds(change, row):
            return _CONFLICT
        if self._careful and self._end_of(change.job_id) != (row.version, row.tenant):
            return _CONFLICT  # the row lags behind the stream: the ledger is the truth
        position = None
        for event in change.events:
            row.version += 1
            position = self._append(event, change.job_id, row.version)
        self._change_row(change, row)
        return Outcome(WriteStatus.WRITTEN, position, row.version, change.job_id)

    def _row(self, job_id: UUID) -> _OpenRow | None:
        if job_id not in self._rows:
            found = self._connection.execute(SQL["find_open_job"], (job_id.bytes,)).fetchone()
            self._rows[job_id] = None if found is None else _OpenRow(*found)
        return self._rows[job_id]

    def _change_row(self, change: ChangeJob, row: _OpenRow) -> None:
        job_id, queue = change.job_id.bytes, change.change
        if queue is None:
            self._changed.append((job_id, row.version, *(None,) * 8))
        elif queue.removes_row:
            self._rows[change.job_id] = None
            self._deleted.append((job_id,))
        else:
            if queue.status.value != "in_progress":
                row.worker = None
            row.cancel_requested = queue.cancel_reason is not None
            self._changed.append(
                (
                    job_id, row.version, queue.status.value, queue.attempts_counted, queue.attempts_allowed,
                    queue.stalls, queue.cancel_reason, queue.priority, optional_microseconds(queue.due_at),
                    mapper.encode_body(queue.payload),
                )
            )  # fmt: skip

    # --- other streams -----------------------------------------------------------------------------------------------

    def _append_events(self, append: AppendEvents) -> Outcome:
        first = append.events[0]
        stream = first.originator_id
        version, tenant = self._end_of(stream) or (0, first.tenant)
        if any(event.tenant != tenant or event.originator_id != stream for event in append.events):
            raise CorruptEvent(
                f"events for stream {stream} name another tenant than its own", field="tenant",
                rule="an event's tenant is its stream's",
            )  # fmt: skip
        if first.originator_version != version + 1:
            return _CONFLICT
        position = None
        for event in append.events:
            version += 1
            position = self._append(event, stream, version)
        self._save_catalogue(append.catalogue)
        return Outcome(WriteStatus.WRITTEN, position, version, stream)

    def _save_catalogue(self, row: CatalogueRow | None) -> None:
        now = self._events.recorded_at
        if isinstance(row, TenantRow):
            self._connection.execute(SQL["save_tenant"], (row.name, row.status.value, row.display_name, now))
        elif isinstance(row, JobTypeRow):
            saved = (row.definition.name, row.definition.model_dump_json(), row.fingerprint, row.code_version, row.app)
            self._connection.execute(SQL["save_job_type"], (*saved, now))
        elif isinstance(row, LimitRow):
            save_limit(self._connection, row)
            self._limited = None
        elif isinstance(row, ApiKeyRow):
            self._connection.execute(SQL["save_api_key"], row)

    # --- shared ------------------------------------------------------------------------------------------------------

    def _append(self, event: Event, stream: UUID, version: int) -> int:
        facts = event.facts
        self._ends[stream] = (version, event.tenant)
        return self._events.append(
            event.tenant, stream, version, facts.topic, mapper.encode_state(event.metadata, facts, event.body),
            mapper.encode_body(event.body),
        )  # fmt: skip

    def _end_of(self, stream: UUID) -> tuple[int, str] | None:
        """Last version and tenant of a stream, with what was written here."""
        end = self._ends.get(stream)
        if end is None:
            end = self._connection.execute(SQL["stream_end"], (stream.bytes,)).fetchone()
        return end


def _holds(change: ChangeJob, row: _OpenRow) -> bool:
    """Whether the guard of a change holds for the row."""
    if change.expected_version is not None:
        return row.version == change.expected_version
    if change.lease is None or (row.worker, row.attempt) != change.lease:
        return False
    return change.cancel_expected is None or change.cancel_expected == row.cancel_requested
