"""Where views are stored on SQLite: one adapter for all projections, composed from their columns.

A batch is folded before the only writer is asked for, so that nobody waits for a fold. Ownership is therefore only
taken when the batch is stored: of two runners that folded the same events, compare-and-set refuses the second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from itertools import islice
from sqlite3 import Connection
from typing import NamedTuple, cast
from uuid import UUID

from jobledger.projections.ports import Changes, Checkpoint, CheckpointMoved, Key
from jobledger.projections.projection import Column, ColumnType, Projection, Row, Value

from ..sql_blocks import load
from .database import Database
from .types import database_now, microseconds, moment, optional_microseconds, optional_moment

SQL = load("jobledger.infrastructure.sqlite", "sql/views.sql")

Stored = bytes | str | int | float | None
"""What SQLite holds."""

_KEYS_AT_ONCE = 500
"""SQLite takes at least 999 parameters in one statement."""


def _ids_to_store(values: Sequence[Value]) -> list[Stored]:
    return [None if value is None else cast("UUID", value).bytes for value in values]


def _times_to_store(values: Sequence[Value]) -> list[Stored]:
    stored = {value: None if value is None else microseconds(cast("datetime", value)) for value in set(values)}
    return [stored[value] for value in values]


def _stored_ids(stored: Sequence[Stored]) -> list[Value]:
    return [None if value is None else UUID(bytes=cast("bytes", value)) for value in stored]


def _stored_times(stored: Sequence[Stored]) -> list[Value]:
    values: dict[Stored, Value] = {
        value: None if value is None else moment(cast("int", value)) for value in set(stored)
    }
    return [values[value] for value in stored]


def _stored_booleans(stored: Sequence[Stored]) -> list[Value]:
    return [None if value is None else bool(value) for value in stored]


# By column, not by value: a column has one type, and its times repeat themselves.
_ENCODE: Mapping[ColumnType, Callable[[Sequence[Value]], list[Stored]]] = {
    "uuid": _ids_to_store, "timestamp": _times_to_store,
}  # fmt: skip
_DECODE: Mapping[ColumnType, Callable[[Sequence[Stored]], list[Value]]] = {
    "uuid": _stored_ids, "timestamp": _stored_times, "boolean": _stored_booleans,
}  # fmt: skip


class Statements(NamedTuple):
    """The statements of one projection's table; columns are always named."""

    load: str
    """`{keys}` takes the placeholders of the keys that are sought."""
    update: str | None
    """None where nothing ever changes."""
    upsert: str
    delete: str
    truncate: str


class SqliteViewStore:
    """Stores views through the process's only writer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def checkpoints(self) -> Mapping[str, Checkpoint]:
        """The checkpoints of all projections by name."""
        with self._database.read() as connection:
            return _read_checkpoints(connection)

    @contextmanager
    def begin(self, projections: Sequence[Projection]) -> Iterator[SqliteViewTransaction]:
        """Collect what a batch does, then store it in one transaction."""
        transaction = SqliteViewTransaction(self._database)
        yield transaction
        transaction.commit()

    def close(self) -> None:
        """Nothing of its own to release."""


class SqliteViewTransaction:
    """One batch: reads at once, keeps writes until `commit`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stored: Mapping[str, Checkpoint] | None = None
        self._writes: list[Callable[[Connection], None]] = []

    def checkpoint(self, projection: Projection) -> Checkpoint:
        """Where the projection stands."""
        if self._stored is None:
            with self._database.read() as connection:
                self._stored = _read_checkpoints(connection)
        return self._stored.get(projection.name) or Checkpoint(0, projection.version)

    def load(self, projection: Projection, keys: Sequence[Key]) -> Callable[[], Mapping[Key, Row]]:
        """The stored rows of these keys. They are no older than the checkpoint; were they newer, it would have moved
        and nothing of this batch would be stored."""
        stored: list[tuple[Stored, ...]] = []
        with self._database.read() as connection:
            for sought in _in_chunks(_encoded(projection.key_columns, keys)):
                placeholders = _tuples(len(sought), len(projection.key_columns))
                statement = statements(projection).load.replace("{keys}", placeholders)
                stored += connection.execute(statement, [value for key in sought for value in key]).fetchall()
        found = _keyed_rows(projection, stored)
        return lambda: found

    def save(self, projection: Projection, changes: Changes, before: Checkpoint, after: Checkpoint) -> None:
        """Keep the changes and the move of the checkpoint for `commit`. Encoded here, not while others wait."""
        ours = statements(projection)
        begun = _rows(projection.columns, changes.begun)
        changed = _rows(_changing(projection.columns), changes.changed)
        ended = _encoded(projection.key_columns, changes.ended)

        def write(connection: Connection) -> None:
            _move(connection, projection, before, after)
            connection.executemany(ours.delete, ended)
            if ours.update is not None:
                connection.executemany(ours.update, changed)
            connection.executemany(ours.upsert, begun)

        self._writes.append(write)

    def reset(self, projection: Projection) -> None:
        """Remove all rows and begin again."""

        def write(connection: Connection) -> None:
            connection.execute(statements(projection).truncate)
            connection.execute(SQL["reset_checkpoint"], (projection.name, projection.version, database_now()))

        self._writes.append(write)

    def commit(self) -> None:
        """Store everything, or nothing."""
        if self._writes:
            with self._database.write() as connection:
                for write in self._writes:
                    write(connection)


def _move(connection: Connection, projection: Projection, before: Checkpoint, after: Checkpoint) -> None:
    now = database_now()
    if before.position == 0:
        connection.execute(SQL["begin_checkpoint"], (projection.name, projection.version, now))
    recorded_at = optional_microseconds(after.recorded_at)
    move = (after.position, after.version, recorded_at, now, projection.name, before.position)
    if connection.execute(SQL["move_checkpoint"], move).rowcount != 1:
        raise CheckpointMoved(f"another runner moved the checkpoint of {projection.name}", field="checkpoint")


def _read_checkpoints(connection: Connection) -> dict[str, Checkpoint]:
    rows = connection.execute(SQL["read_checkpoints"]).fetchall()
    return {name: Checkpoint(position, version, optional_moment(at)) for name, position, version, at in rows}


def _encoded(columns: Sequence[Column], rows: Sequence[Sequence[Value]]) -> list[tuple[Stored, ...]]:
    """Rows as SQLite holds them; column by column, because a column has one way to be encoded."""
    if not rows:
        return []
    return list(zip(*map(_encode_column, columns, zip(*rows, strict=True)), strict=True))


def _rows(columns: Sequence[Column], rows: Sequence[Row]) -> list[tuple[Stored, ...]]:
    values = ([row[column.name] for row in rows] for column in columns)
    return list(zip(*map(_encode_column, columns, values), strict=True))


def _changing(columns: Sequence[Column]) -> tuple[Column, ...]:
    """What an update sets, then the key by which it finds the row."""
    changing = [column for column in columns if not column.key and not column.constant]
    return (*changing, *(column for column in columns if column.key))


def _encode_column(column: Column, values: Sequence[Value]) -> Sequence[Stored]:
    encode = _ENCODE.get(column.type)
    return cast("Sequence[Stored]", values) if encode is None else encode(values)


def _decode_column(column: Column, stored: Sequence[Stored]) -> Sequence[Value]:
    decode = _DECODE.get(column.type)
    return cast("Sequence[Value]", stored) if decode is None else decode(stored)


def _keyed_rows(projection: Projection, stored: Sequence[tuple[Stored, ...]]) -> dict[Key, Row]:
    if not stored:
        return {}
    names = [column.name for column in projection.columns]
    columns = list(map(_decode_column, projection.columns, zip(*stored, strict=True)))
    keys = zip(*(columns[names.index(column.name)] for column in projection.key_columns), strict=True)
    return {key: dict(zip(names, row, strict=True)) for key, row in zip(keys, zip(*columns, strict=True), strict=True)}


def _in_chunks(keys: Sequence[tuple[Stored, ...]]) -> Iterator[list[tuple[Stored, ...]]]:
    remaining = iter(keys)
    while chunk := list(islice(remaining, _KEYS_AT_ONCE)):
        yield chunk


def _tuples(count: int, width: int) -> str:
    one = f"({', '.join('?' * width)})"
    return ", ".join([one] * count)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@cache
def _compose(table: str, columns: tuple[Column, ...]) -> Statements:
    names = [_quoted(column.name) for column in columns]
    keys = [_quoted(column.name) for column in columns if column.key]
    rest = [_quoted(column.name) for column in columns if not column.key]
    changing = [_quoted(column.name) for column in columns if not column.key and not column.constant]
    replacing = f"UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in rest)}" if rest else "NOTHING"
    where = " AND ".join(f"{key} = ?" for key in keys)
    return Statements(
        load=f"SELECT {', '.join(names)} FROM {_quoted(table)} WHERE ({', '.join(keys)}) IN (VALUES {{keys}})",
        update=f"UPDATE {_quoted(table)} SET {', '.join(f'{name} = ?' for name in changing)} WHERE {where}"
        if changing
        else None,
        upsert=f"INSERT INTO {_quoted(table)} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        f" ON CONFLICT ({', '.join(keys)}) DO {replacing}",
        delete=f"DELETE FROM {_quoted(table)} WHERE {where}",
        truncate=f"DELETE FROM {_quoted(table)}",
    )


def statements(projection: Projection) -> Statements:
    """The statements of the projection's table."""
    return _compose(projection.name, projection.columns)
