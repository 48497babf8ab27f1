"""Comparing a live view with its shadow: both are read once in the order of their key, a thousand rows at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from sqlite3 import Connection, Cursor
from typing import Any

from jobledger.projections.ports import Key
from jobledger.projections.projection import Projection, Row
from jobledger.projections.shadow import SAMPLE_SIZE, Comparison, Difference, Scope, shadow_of

from ..sql_blocks import load
from .view_rows import Stored, decode_rows
from .view_tables import quoted

SQL = load("jobledger.infrastructure.sqlite", "sql/shadows.sql")

_ROWS_AT_ONCE = 1_000

_StoredRow = tuple[Stored, ...]


def scope_condition(projection: Projection, scope: Scope) -> tuple[str, tuple[Stored, ...]]:
    """A condition that holds for the rows of the scope, and its values. It is looked up in the key, or row by row: any
    other index would bring the rows in another order than that of the key."""
    wanted: dict[str, Stored] = {}
    if scope.tenant is not None:
        wanted["tenant_id"] = scope.tenant
    if scope.job is not None:
        wanted["job_id"] = scope.job.bytes
    keys = {column.name for column in projection.key_columns}
    conditions = (f"{'' if name in keys else '+'}{quoted(name)} = ?" for name in wanted)
    return " AND ".join(conditions) or "true", tuple(wanted.values())


class SqliteSnapshot:
    """Live view and shadow in one read transaction."""

    def __init__(self, connection: Connection, projection: Projection, position: int) -> None:
        self._connection = connection
        self._projection = projection
        self._position = position

    def compare(self, scope: Scope) -> Comparison:
        """Compare all rows of the scope, with constant memory."""
        live = _Side(self._connection, self._projection, self._projection.name, scope)
        fresh = _Side(self._connection, self._projection, shadow_of(self._projection).name, scope)
        differences = _Differences(self._projection)
        while live.fetch() | fresh.fetch():
            if live.rows == fresh.rows:  # as nearly always
                live.take_all()
                fresh.take_all()
            else:
                _pair(live, fresh, differences)
        return Comparison(
            self._position, live.count, fresh.count, differences.count, live.digest(), fresh.digest(),
            tuple(differences.sample),
        )  # fmt: skip


def _pair(live: _Side, fresh: _Side, differences: _Differences) -> None:
    """Take rows from both in the order of their keys, until one of them has to read on."""
    while live.has_rows and fresh.has_rows:
        mine, other = live.key(), fresh.key()
        left = live.take() if mine <= other else None
        right = fresh.take() if other <= mine else None
        if left != right:
            differences.add(left, right)
    while live.has_rows and fresh.is_at_end:
        differences.add(live.take(), None)
    while fresh.has_rows and live.is_at_end:
        differences.add(None, fresh.take())


class _Side:
    """One of the two tables: its next rows, how many were taken, and their digest."""

    def __init__(self, connection: Connection, projection: Projection, table: str, scope: Scope) -> None:
        names = [column.name for column in projection.columns]
        self._key_places = [names.index(column.name) for column in projection.key_columns]
        self._cursor: Cursor = connection.execute(*read_in_order(connection, projection, table, scope))
        self._sha256 = hashlib.sha256()
        self.is_at_end = False
        self.rows: list[_StoredRow] = []
        self._next = 0
        self.count = 0

    @property
    def has_rows(self) -> bool:
        """Whether a row can be taken."""
        return self._next < len(self.rows)

    def fetch(self) -> bool:
        """Read on until the rows at hand are as many as they may be; whether there are any."""
        del self.rows[: self._next]
        self._next = 0
        if not self.is_at_end and len(self.rows) < _ROWS_AT_ONCE:
            found = self._cursor.fetchmany(_ROWS_AT_ONCE - len(self.rows))
            self.is_at_end = not found
            self.rows += found
        return bool(self.rows)

    def key(self) -> tuple[Any, ...]:
        """The key of the next row, in a form that sorts in Python as it does in SQLite."""
        row = self.rows[self._next]
        return tuple((row[place] is not None, row[place]) for place in self._key_places)

    def take(self) -> _StoredRow:
        """The next row."""
        row = self.rows[self._next]
        self._next += 1
        self.count += 1
        self._sha256.update(_line(row))
        return row

    def take_all(self) -> None:
        """All rows at hand."""
        self._sha256.update(b"".join(map(_line, self.rows)))
        self.count += len(self.rows)
        self._next = len(self.rows)

    def digest(self) -> str:
        """SHA-256 of all rows taken."""
        return self._sha256.hexdigest()


class _Differences:
    """How many rows differ, and the first of them."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self.count = 0
        self.sample: list[Difference] = []

    def add(self, live: _StoredRow | None, fresh: _StoredRow | None) -> None:
        """A row that is not on both sides, or not the same."""
        self.count += 1
        if len(self.sample) < SAMPLE_SIZE:
            rows = [self._row(live), self._row(fresh)]
            known = next(row for row in rows if row is not None)
            key: Key = tuple(known[column.name] for column in self._projection.key_columns)
            self.sample.append(Difference(key, *rows))

    def _row(self, stored: _StoredRow | None) -> Row | None:
        if stored is None:
            return None
        (values,) = decode_rows(self._projection.columns, [stored])
        return dict(zip((column.name for column in self._projection.columns), values, strict=True))


def _line(row: _StoredRow) -> bytes:
    return repr(row).encode() + b"\n"


def read_in_order(
    connection: Connection, projection: Projection, table: str, scope: Scope
) -> tuple[str, Sequence[Stored]]:
    """The statement that reads a table in the order of its key. Through no other index: then nothing is sorted, which
    would take memory. A column that only the other version of the view has is null in this one."""
    condition, values = scope_condition(projection, scope)
    there = {name for (name,) in connection.execute(SQL["columns_of"], (table,))}
    columns = ", ".join(
        quoted(column.name) if column.name in there else f"NULL AS {quoted(column.name)}"
        for column in projection.columns
    )
    keys = ", ".join(quoted(column.name) for column in projection.key_columns)
    return f"SELECT {columns} FROM {quoted(table)} WHERE {condition} ORDER BY {keys}", values
