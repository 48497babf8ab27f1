"""Where views are stored on PostgreSQL: one adapter for all projections, composed from their columns."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple

from psycopg import Cursor, sql

from jobledger.projections.fitting import encoding
from jobledger.projections.ports import Changes, Checkpoint, CheckpointMoved, Key, Parked
from jobledger.projections.projection import Column, Projection, Row, Value

from ..sql_blocks import load
from . import parking
from .binary_arrays import FORMS, columns_of, encode_array, register
from .connections import Connections, PgConnection, Role
from .event_source import INDEXES_ONLY
from .refusing import refusing
from .session import open_session

SQL = load("jobledger.infrastructure.postgres", "sql/views.sql")


_SETTINGS = {**INDEXES_ONLY, "synchronous_commit": "off"}
"""Rows and checkpoint are committed together, after the events that they come from: what a crash of the server takes
back is projected again, so no batch waits for the disk."""


class Statements(NamedTuple):
    """The statements of one projection's table; columns are always named. Put together once: they
    are executed for every batch."""

    load: bytes
    update: bytes
    upsert: bytes
    delete: bytes
    truncate: bytes


class PostgresViewStore:
    """Stores views as `jobledger_projector`, on one connection; threads take turns."""

    def __init__(self, connections: Connections) -> None:
        self.session = open_session(connections, Role.PROJECTOR, _SETTINGS, register)

    def checkpoints(self) -> Mapping[str, Checkpoint]:
        """The checkpoints of all projections by name."""
        with self.session.use() as connection:
            return _checkpoints(connection.execute(SQL["read_checkpoints"], prepare=True).fetchall())

    def parked(self, projection: str | None = None, *, failed: bool = False, limit: int) -> list[Parked]:
        """What is parked, in order of projection and position."""
        with self.session.use() as connection:
            return parking.parked(connection, projection, failed=failed, limit=limit)

    def parked_counts(self) -> Mapping[str, tuple[int, int]]:
        """By projection: how many events failed, how many wait behind them."""
        with self.session.use() as connection:
            return parking.parked_counts(connection)

    @contextmanager
    def begin(self, projections: Sequence[Projection]) -> Iterator[PostgresViewTransaction | None]:
        """Own the projections for one transaction, or None; see the port."""
        with self.session.use() as connection, refusing(), connection.transaction():
            if not _own(connection, projections):
                yield None
                return
            transaction = PostgresViewTransaction(connection)
            with connection.pipeline():
                yield transaction
            transaction.verify()

    def close(self) -> None:
        """Close the connection."""
        self.session.close()


class _Standing(NamedTuple):
    """Where projections stand, and the keys (projection, key as JSON) of which something is parked."""

    checkpoints: Mapping[str, Checkpoint]
    held: Sequence[tuple[str, str]]


class PostgresViewTransaction:
    """One batch. Statements that write are sent without waiting for their answers, which are checked at the end."""

    def __init__(self, connection: PgConnection) -> None:
        self._connection = connection
        self._standing: _Standing | None = None
        self._moves: list[tuple[str, Cursor[tuple[Any, ...]]]] = []
        self._parking: list[parking.Sent] = []

    def checkpoint(self, projection: Projection) -> Checkpoint:
        """Where the projection stands; read after it is owned."""
        stored = self._look().checkpoints.get(projection.name)
        if stored is not None:
            return stored
        self._connection.execute(SQL["begin_checkpoint"], (projection.name, projection.version))
        return Checkpoint(0, projection.version)

    def load(self, projection: Projection, keys: Sequence[Key]) -> Callable[[], Mapping[Key, Row]]:
        """Ask for the stored rows of these keys; the server looks for them while the caller goes on."""
        cursor = self._connection.cursor(binary=True)
        cursor.execute(statements(projection).load, _arrays(projection.key_columns, keys), prepare=True)

        def receive() -> Mapping[Key, Row]:
            names = [column.name for column in projection.columns]
            places = [names.index(column.name) for column in projection.key_columns]
            return {tuple([row[place] for place in places]): dict(zip(names, row, strict=True)) for row in cursor}

        return receive

    def save(self, projection: Projection, changes: Changes, before: Checkpoint, after: Checkpoint) -> None:
        """Send the changes and the move of the checkpoint; `verify` looks at the answers."""
        if changes.ended:
            self._send(statements(projection).delete, _arrays(projection.key_columns, changes.ended))
        if changes.changed and len(changing(projection)) > len(projection.key_columns):
            self._send(statements(projection).update, _columns(changing(projection), changes.changed))
        if changes.begun:
            self._send(statements(projection).upsert, _columns(projection.columns, changes.begun))
        move = (
            after.position, after.version, after.recorded_at, after.owner or _this_process(), projection.name,
            before.position, before.version,
        )  # fmt: skip
        self._moves.append((projection.name, self._connection.execute(SQL["move_checkpoint"], move, prepare=True)))

    def parked_keys(self, projection: Projection) -> frozenset[Key]:
        """The keys of which an event is parked; they came with the checkpoints."""
        return parking.keys_of(self._look().held, projection.name)

    def parked(self, projection: Projection, key: Key, *, after: int = 0, limit: int) -> list[Parked]:
        """What is parked of a key, in order of position."""
        return parking.parked_of_key(self._connection, projection.name, key, after=after, limit=limit)

    def park(self, parked: Sequence[Parked]) -> None:
        """Send these events to be kept; `verify` looks at the answers."""
        self._parking += parking.park(self._connection, parked)

    def unpark(self, parked: Sequence[Parked]) -> None:
        """Send that these are not parked any more; `verify` looks at the answers."""
        self._parking += parking.unpark(self._connection, parked)

    def reset(self, projection: Projection) -> None:
        """Remove all rows and begin again."""
        self._connection.execute(statements(projection).truncate)
        self._connection.execute(SQL["reset_checkpoint"], (projection.name, projection.version))
        self._connection.execute(SQL["forget_parked"], (projection.name,))

    def verify(self) -> None:
        """Raise unless every checkpoint stood, and all that was parked was, as expected."""
        parking.verify(self._parking)
        for name, cursor in self._moves:
            if cursor.rowcount != 1:
                raise CheckpointMoved(f"another runner moved the checkpoint of {name}", field="checkpoint")

    def _look(self) -> _Standing:
        """Both are asked for together: one round trip for every batch."""
        if self._standing is None:
            checkpoints = self._connection.execute(SQL["read_checkpoints"], prepare=True)
            held = parking.held_keys(self._connection)
            self._standing = _Standing(_checkpoints(checkpoints.fetchall()), held.fetchall())
        return self._standing

    def _send(self, statement: bytes, parameters: Sequence[bytes]) -> None:
        self._connection.execute(statement, parameters, prepare=True)


def _own(connection: PgConnection, projections: Sequence[Projection]) -> bool:
    names = [projection.name for projection in projections]
    row = connection.execute(SQL["own_projections"], (names,), prepare=True).fetchone()
    return row is not None and bool(row[0])


def _checkpoints(rows: Sequence[tuple[Any, ...]]) -> dict[str, Checkpoint]:
    return {
        name: Checkpoint(position, version, recorded_at, owner, moved_at)
        for name, position, version, recorded_at, owner, moved_at in rows
    }


def _this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


@encoding()
def _arrays(columns: Sequence[Column], rows: Sequence[Sequence[Value]]) -> list[bytes]:
    return [encode_array(column.type, values) for column, values in zip(columns, columns_of(rows), strict=True)]


@encoding()
def _columns(columns: Sequence[Column], rows: Sequence[Row]) -> list[bytes]:
    if len(columns) == 1:
        return _arrays(columns, [(row[columns[0].name],) for row in rows])
    return _arrays(columns, list(map(itemgetter(*(column.name for column in columns)), rows)))


def changing(projection: Projection) -> tuple[Column, ...]:
    """What an update is sent: the key, by which it finds the row, and the columns that it sets."""
    rest = (column for column in projection.columns if not column.key and not column.constant)
    return (*projection.key_columns, *rest)


@cache
def _compose(table: str, columns: tuple[Column, ...]) -> Statements:
    keys = [column for column in columns if column.key]
    rest = [column for column in columns if not column.key]
    changing = [column for column in rest if not column.constant]
    parts = {
        "table": sql.Identifier(table),
        "columns": _names(columns),
        "keys": _names(keys),
        "sought": _names(keys, "sought"),
        "stored": _names(columns, "stored"),
        "stored_keys": _names(keys, "stored"),
        "key_arrays": _placeholders(keys),
        "arrays": _placeholders(columns),
        "replacing": sql.SQL("UPDATE SET ") + _assignments(rest, "excluded") if rest else sql.SQL("NOTHING"),
        "changing": _assignments(changing, "changed"),
        "changed": _names([*keys, *changing]),
        "changed_keys": _names(keys, "changed"),
        "changed_arrays": _placeholders([*keys, *changing]),
    }
    return Statements(
        load=sql.SQL(
            "SELECT {stored} FROM unnest({key_arrays}) AS sought ({keys})"
            " JOIN {table} AS stored ON ({stored_keys}) = ({sought})"
        )
        .format(**parts)
        .as_bytes(),
        update=sql.SQL(
            "UPDATE {table} AS stored SET {changing} FROM unnest({changed_arrays}) AS changed ({changed})"
            " WHERE ({stored_keys}) = ({changed_keys})"
        )
        .format(**parts)
        .as_bytes(),
        upsert=sql.SQL(
            "INSERT INTO {table} ({columns}) SELECT * FROM unnest({arrays}) ON CONFLICT ({keys}) DO {replacing}"
        )
        .format(**parts)
        .as_bytes(),
        delete=sql.SQL(
            "DELETE FROM {table} AS stored USING unnest({key_arrays}) AS sought ({keys})"
            " WHERE ({stored_keys}) = ({sought})"
        )
        .format(**parts)
        .as_bytes(),
        truncate=sql.SQL("TRUNCATE {table}").format(**parts).as_bytes(),
    )


def statements(projection: Projection) -> Statements:
    """The statements of the projection's table."""
    return _compose(projection.name, projection.columns)


def _names(columns: Sequence[Column], *table: str) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(*table, column.name) for column in columns)


def _assignments(columns: Sequence[Column], source: str) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(column.name), sql.Identifier(source, column.name))
        for column in columns
    )


def _placeholders(columns: Sequence[Column]) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL(f"%b::{FORMS[column.type].type_name}[]") for column in columns)
