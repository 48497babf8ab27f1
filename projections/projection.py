"""What a projection is: which events it takes, its key, its columns, and a pure fold from events to rows.

A projection knows no SQL. Its storage (`ViewStore`) is a port with one generic adapter per engine; the runner reads
thousands of events at a time, folds those of one key together and writes rows and checkpoint in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

from jobledger.domain.event import Facts

ColumnType = Literal["uuid", "text", "integer", "real", "boolean", "timestamp"]
Value = UUID | str | int | float | bool | datetime | None
Row = dict[str, Value]


class SeenEvent(NamedTuple):
    """What a fold sees of an event: never a body."""

    originator_id: UUID
    originator_version: int
    tenant: str
    position: int
    recorded_at: datetime
    topic: str
    facts: Facts


class Column(NamedTuple):
    """A column of a view; `key` columns make its primary key. The DDL stands in the migrations, a test compares."""

    name: str
    type: ColumnType
    nullable: bool = False
    key: bool = False


class Projection(NamedTuple):
    """A read model. `fold(row, event)` returns the row after the event; None: there is no row (any more).

    `key` says which row an event belongs to (the values of the key columns, in order); None: the event is not for
    this view. `births` are the topics that always begin a new row: for them no stored row needs to be loaded.
    """

    name: str
    topics: frozenset[str]
    columns: tuple[Column, ...]
    key: Callable[[SeenEvent], tuple[Value, ...] | None]
    fold: Callable[[Row | None, SeenEvent], Row | None]
    births: frozenset[str] = frozenset()
    version: int = 1
    """Raised when the fold changes what it writes; a stored view of another version must be rebuilt."""

    @property
    def key_columns(self) -> tuple[Column, ...]:
        """The primary key."""
        return tuple(column for column in self.columns if column.key)


Registry = Mapping[str, Projection]
