"""Events that a view's fold could not take, as PostgreSQL keeps them. Functions over a connection of the projector."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from psycopg import Cursor

from jobledger.projections.ports import CheckpointMoved, Key, Parked

from ..sql_blocks import load
from ..stored_rebuild import decode_key, encode_key
from .connections import PgConnection

SQL = load("jobledger.infrastructure.postgres", "sql/parking.sql")

Sent = tuple[Cursor[tuple[Any, ...]], int]
"""A statement that was sent, and how many rows it must have touched."""


def held_keys(connection: PgConnection) -> Cursor[tuple[Any, ...]]:
    """Ask for the keys (view, key as JSON) of which something is parked."""
    return connection.execute(SQL["held_keys"], prepare=True)


def keys_of(held: Sequence[tuple[str, str]], projection: str) -> frozenset[Key]:
    """The keys among them that are of one view."""
    return frozenset(decode_key(key) for name, key in held if name == projection)


def parked_of_key(connection: PgConnection, projection: str, key: Key, *, after: int, limit: int) -> list[Parked]:
    """What is parked of a key, in order of position."""
    rows = connection.execute(SQL["parked_of_key"], (projection, encode_key(key), after, limit)).fetchall()
    return [_parked(*row) for row in rows]


def parked(connection: PgConnection, projection: str | None, *, failed: bool, limit: int) -> list[Parked]:
    """What is parked, in order of view and position."""
    wanted = {"projection": projection, "failed": failed, "limit": limit}
    return [_parked(*row) for row in connection.execute(SQL["parked"], wanted).fetchall()]


def parked_counts(connection: PgConnection) -> dict[str, tuple[int, int]]:
    """By view: how many failed, how many wait."""
    rows = connection.execute(SQL["parked_counts"]).fetchall()
    return {projection: (failed, waiting) for projection, failed, waiting in rows}


def park(connection: PgConnection, events: Sequence[Parked]) -> list[Sent]:
    """Send these events to be kept: first what failed, so that the rest has something to wait behind."""
    failed = [event for event in events if event.error is not None]
    waiting = [event for event in events if event.error is None]
    return [(connection.execute(SQL["park"], _columns(some)), len(some)) for some in (failed, waiting) if some]


def unpark(connection: PgConnection, events: Sequence[Parked]) -> list[Sent]:
    """Send that these are not parked any more."""
    if not events:
        return []
    rows = ((e.projection, encode_key(e.key), e.originator_id, e.originator_version) for e in events)
    return [(connection.execute(SQL["unpark"], _transposed(rows)), len(events))]


def verify(sent: Sequence[Sent]) -> None:
    """Raise `CheckpointMoved` unless every statement touched what it should."""
    if any(cursor.rowcount != expected for cursor, expected in sent):
        raise CheckpointMoved("somebody else took what was parked", field="parked")


def _columns(events: Sequence[Parked]) -> list[list[object]]:
    rows = (
        (
            e.projection,
            encode_key(e.key),
            e.originator_id,
            e.originator_version,
            e.tenant,
            e.position,
            e.topic,
            _shown(e),
        )
        for e in events
    )
    return _transposed(rows)


def _transposed(rows: Iterable[Sequence[object]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _shown(event: Parked) -> str | None:
    """PostgreSQL's text holds no NUL."""
    return None if event.error is None else event.error.replace("\x00", "\ufffd")


def _parked(projection: str, key: str, *rest: Any) -> Parked:  # noqa: ANN401 - the columns of the statements above
    return Parked(projection, decode_key(key), *rest)
