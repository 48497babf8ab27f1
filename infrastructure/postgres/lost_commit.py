"""What became of a COMMIT whose answer was lost.

A connection that dies while it commits says nothing about the transaction: it may be durable, it may be gone, it may
still be under way in a server process that has not noticed. So first that process is ended, then the ledger is asked
for the events themselves: a transaction stores all that it answers as written, or nothing.

Behind a pooler a session is no sign of ours: by now it may serve another program. There the transaction itself is
marked, by an advisory lock that it holds to its end, before any write is sent in it.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from jobledger.application.writes import ChangeJob, NewJob, Outcome, Write, WriteStatus
from jobledger.domain.errors import LedgerUnavailable
from jobledger.domain.event import Event

from .connections import Connections, PgConnection, Role
from .driver_errors import wrapped
from .encoding import Encoder
from .statements import SQL


class Session(NamedTuple):
    """A server process that serves a connection of ours."""

    pid: int
    started_at: datetime


class Mark(NamedTuple):
    """A number that tells a transaction of ours, begun behind a pooler."""

    number: int


class _Stored(NamedTuple):
    version: int
    position: int
    state: bytes


def own_session(connection: PgConnection, role: Role) -> Session:
    """The session of a connection. When it began is shown to the login, not to the role it acts in."""
    with wrapped():
        connection.execute("SET ROLE NONE")
        row = connection.execute(SQL["own_session"]).fetchone()
        connection.execute(f"SET ROLE {role.value}")
    if row is None:
        raise LedgerUnavailable("PostgreSQL does not show a connection its own session")
    return Session(*row)


def new_mark() -> Mark:
    """A mark that no other transaction has: one of two thousand million."""
    return Mark(secrets.randbelow(1 << 31))


def find_stored(connections: Connections, lost: Session | Mark, writes: Sequence[Write]) -> dict[int, Outcome]:
    """Ends the transaction, then says which of the writes it stored, by their index."""
    if isinstance(lost, Mark):
        _end_marked(connections, lost)
    else:
        end_session(connections, lost)
    streams = _streams(connections, writes)
    encoder = Encoder()
    found: dict[int, Outcome] = {}
    for index, write in enumerate(writes):
        outcome = _stored_as(write, streams.get(_stream(write), []), encoder)
        if outcome is not None:
            found[index] = outcome
    return found


def end_session(connections: Connections, session: Session) -> None:
    """Ends the session: from then on what it did is decided."""
    with wrapped(), connections.connect(None, application_name="jobledger resolves a commit") as connection:
        row = connection.execute(SQL["end_session"], session).fetchone()
    if row is not None and not row[0]:
        raise LedgerUnavailable(f"PostgreSQL process {session.pid} cannot be ended; it may still commit")


def _end_marked(connections: Connections, mark: Mark) -> None:
    """Ends the transaction with this mark, where it is still under way. (Should it end between the look and the
    signal, the pooler's next transaction of that session is told that its connection was lost.)"""
    with connections.connection(None) as connection:
        rows = connection.execute(SQL["end_marked"], mark).fetchall()
    if not all(ended for (ended,) in rows):
        raise LedgerUnavailable("a transaction behind the pooler cannot be ended; it may still commit")


def _streams(connections: Connections, writes: Sequence[Write]) -> dict[UUID, list[_Stored]]:
    """The stored streams that these writes are about; a tenant's under its own row-level security."""
    wanted: dict[str, set[UUID]] = {}
    for write in writes:
        wanted.setdefault(_tenant(write), set()).add(_stream(write))
    streams: dict[UUID, list[_Stored]] = {}
    for tenant, ids in wanted.items():
        with connections.tenant_transaction(tenant) as connection:
            rows = connection.execute(SQL["stored_events"], (tenant, list(ids)), binary=True).fetchall()
        for originator_id, version, position, state in rows:
            streams.setdefault(originator_id, []).append(_Stored(version, position, state))
    return streams


def _stored_as(write: Write, stream: list[_Stored], encoder: Encoder) -> Outcome | None:
    """Metadata hold the microsecond, worker and attempt: no other write of ours has the same first event."""
    events = write.events if not isinstance(write, NewJob) else (write.event,)
    state = encoder.state(events[0])
    for number, stored in enumerate(stream):
        if stored.state == state:
            last = stream[number + len(events) - 1]
            return Outcome(WriteStatus.WRITTEN, last.position, last.version, _stream(write))
    return None


def _first_event(write: Write) -> Event:
    return write.event if isinstance(write, NewJob) else write.events[0]


def _tenant(write: Write) -> str:
    return write.tenant if isinstance(write, ChangeJob) else _first_event(write).tenant


def _stream(write: Write) -> UUID:
    return write.job_id if isinstance(write, ChangeJob) else _first_event(write).originator_id
