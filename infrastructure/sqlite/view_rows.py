"""Rows of views as SQLite holds them, and the statements of their tables, composed from the projections' columns."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from itertools import islice
from typing import NamedTuple, cast
from uuid import UUID

from jobledger.projections.fitting import RowRefused, broken_rule, encoding
from jobledger.projections.ports import Key
from jobledger.projections.projection import Column, ColumnType, Projection, Row, Value

from .types import microseconds, moment
from .view_tables import quoted

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
    insert: str
    """For a table that has none of these rows."""


@contextmanager
def refusing() -> Iterator[None]:
    """Raises what SQLite says of a row that it does not take as `RowRefused`; all else is the database's trouble."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.DataError, OverflowError, UnicodeEncodeError) as error:
        raise RowRefused(f"SQLite refused a row: {error}") from error


@encoding()
def encode_keys(columns: Sequence[Column], rows: Sequence[Sequence[Value]]) -> list[tuple[Stored, ...]]:
    """Keys as SQLite holds them. `RowRefused` for what does not fit, here and below."""
    if not rows:
        return []
    by_column = zip(columns, zip(*rows, strict=True), strict=True)
    return list(zip(*(_encode_column(column, values) for column, values in by_column), strict=True))


@encoding()
def encode_rows(columns: Sequence[Column], rows: Sequence[Row]) -> list[tuple[Stored, ...]]:
    """The values of these columns as SQLite holds them: column by column, since each has its own way."""
    values = ([row[column.name] for row in rows] for column in columns)
    return list(zip(*map(_encode_column, columns, values), strict=True))


def changing(columns: Sequence[Column]) -> tuple[Column, ...]:
    """What an update sets, then the key by which it finds the row."""
    rest = [column for column in columns if not column.key and not column.constant]
    return (*rest, *(column for column in columns if column.key))


def _encode_column(column: Column, values: Sequence[Value]) -> Sequence[Stored]:
    encode = _ENCODE.get(column.type)
    if encode is not None:
        return encode(values)
    for value in set(values):  # what SQLite would turn into something else, or take though no other database does
        if value is not None and broken_rule(column, value):
            raise ValueError(column.name)
    return cast("Sequence[Stored]", values)


def _decode_column(column: Column, stored: Sequence[Stored]) -> Sequence[Value]:
    decode = _DECODE.get(column.type)
    return cast("Sequence[Value]", stored) if decode is None else decode(stored)


def decode_rows(columns: Sequence[Column], stored: Sequence[tuple[Stored, ...]]) -> list[tuple[Value, ...]]:
    """Stored rows as values, in the order of the columns."""
    if not stored:
        return []
    return list(zip(*map(_decode_column, columns, zip(*stored, strict=True)), strict=True))


def keyed_rows(projection: Projection, stored: Sequence[tuple[Stored, ...]]) -> dict[Key, Row]:
    """Stored rows by their key."""
    names = [column.name for column in projection.columns]
    places = [names.index(column.name) for column in projection.key_columns]
    rows = decode_rows(projection.columns, stored)
    return {tuple(row[place] for place in places): dict(zip(names, row, strict=True)) for row in rows}


def in_chunks(keys: Sequence[tuple[Stored, ...]]) -> Iterator[list[tuple[Stored, ...]]]:
    """As many keys at once as a statement takes parameters for."""
    remaining = iter(keys)
    while chunk := list(islice(remaining, _KEYS_AT_ONCE)):
        yield chunk


def tuples(count: int, width: int) -> str:
    """The placeholders of so many keys of so many columns."""
    one = f"({', '.join('?' * width)})"
    return ", ".join([one] * count)


@cache
def _compose(table: str, columns: tuple[Column, ...]) -> Statements:
    names = [quoted(column.name) for column in columns]
    keys = [quoted(column.name) for column in columns if column.key]
    rest = [quoted(column.name) for column in columns if not column.key]
    updated = [quoted(column.name) for column in columns if not column.key and not column.constant]
    replacing = f"UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in rest)}" if rest else "NOTHING"
    where = " AND ".join(f"{key} = ?" for key in keys)
    return Statements(
        load=f"SELECT {', '.join(names)} FROM {quoted(table)} WHERE ({', '.join(keys)}) IN (VALUES {{keys}})",
        update=f"UPDATE {quoted(table)} SET {', '.join(f'{name} = ?' for name in updated)} WHERE {where}"
        if updated
        else None,
        upsert=f"INSERT INTO {quoted(table)} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        f" ON CONFLICT ({', '.join(keys)}) DO {replacing}",
        delete=f"DELETE FROM {quoted(table)} WHERE {where}",
        truncate=f"DELETE FROM {quoted(table)}",
        insert=f"INSERT INTO {quoted(table)} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
    )


def statements(projection: Projection) -> Statements:
    """The statements of the projection's table."""
    return _compose(projection.name, projection.columns)
