"""What a projection is: which events it takes, its key, its columns, and a pure fold from events to rows.

A projection knows no SQL. Its storage (`ViewStore`) is a port with one generic adapter per engine; the runner reads
thousands of events at a time, folds those of one key together and writes rows and checkpoint in one transaction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Literal, NamedTuple, Protocol, Self
from uuid import UUID

from jobledger.domain.errors import InvalidInput
from jobledger.domain.event import Facts
from jobledger.domain.job import JobCompleted, JobFacts, JobFailed

ColumnType = Literal["uuid", "text", "integer", "real", "boolean", "timestamp"]
Value = UUID | str | int | float | bool | datetime | None
Row = dict[str, Value]

IDENTIFIER_LENGTH_MAX = 63
"""Of PostgreSQL: it cuts longer names, silently."""
NAME_LENGTH_MAX = 30
"""Of a view: `__previous` and an index's suffix stand behind it."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_OF_THE_SYSTEM = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})


class JobIdentity(NamedTuple):
    """What every event of a job repeats, because views are keyed by it."""

    job_type: str
    queue: str
    persona: str | None


class Figures(NamedTuple):
    """What was measured of an attempt that completed or failed."""

    seconds_in_queue: float
    seconds_running: float
    estimated_cost: float


class Cause(NamedTuple):
    """Because of what an event happened: the request it is part of, as its caller named it, and the id of the message
    that directly caused it, where it names one."""

    correlation_id: str
    causation_id: str | None = None


class StoredFacts(Protocol):
    """Reads facts out of their stored form, when somebody looks at them."""

    def facts(self, topic: str, stored: bytes) -> Facts:
        """The facts; `CorruptEvent` where they cannot be read."""
        ...

    def identity(self, topic: str, stored: bytes) -> JobIdentity:
        """What a job's event repeats, without decoding the rest."""
        ...

    def figures(self, topic: str, stored: bytes) -> Figures:
        """What a `job.completed` or `job.failed` measured, without decoding the rest."""
        ...

    def cause(self, stored: bytes) -> Cause:
        """What its metadata says of its cause, without decoding the rest; `CorruptEvent` where that cannot be read."""
        ...


class SeenEvent(NamedTuple):
    """What a fold sees of an event: never a body. Facts are decoded when they are looked at, which costs more than
    anything else here: a fold that can do without does."""

    originator_id: UUID
    originator_version: int
    tenant: str
    position: int
    recorded_at: datetime
    topic: str
    stored: bytes
    reader: StoredFacts

    @property
    def facts(self) -> Facts:
        """What the event says."""
        return self.reader.facts(self.topic, self.stored)

    @property
    def identity(self) -> JobIdentity:
        """Type, queue and persona of a job's event."""
        return self.reader.identity(self.topic, self.stored)

    @property
    def persona(self) -> str | None:
        """The persona of a job's event."""
        return self.reader.identity(self.topic, self.stored).persona

    @property
    def figures(self) -> Figures:
        """What was measured of the attempt that a `job.completed` or `job.failed` ended."""
        return self.reader.figures(self.topic, self.stored)

    @property
    def cause(self) -> Cause:
        """Because of what it happened."""
        return self.reader.cause(self.stored)


class KnownFacts(NamedTuple):
    """`StoredFacts` of an event whose facts are at hand."""

    known: Facts
    known_cause: Cause = Cause("")

    def facts(self, topic: str, stored: bytes) -> Facts:
        """The facts at hand."""
        return self.known

    def identity(self, topic: str, stored: bytes) -> JobIdentity:
        """What they repeat."""
        assert isinstance(self.known, JobFacts)
        return JobIdentity(self.known.job_type, self.known.queue, self.known.persona)

    def figures(self, topic: str, stored: bytes) -> Figures:
        """What they measured."""
        assert isinstance(self.known, JobCompleted | JobFailed)
        return Figures(self.known.seconds_in_queue, self.known.seconds_running, self.known.estimated_cost)

    def cause(self, stored: bytes) -> Cause:
        """The cause at hand."""
        return self.known_cause


class Column(NamedTuple):
    """A column of a view; `key` columns make its primary key. The DDL stands in the migrations, a test compares.

    A `constant` column keeps the value that its row began with: updates leave it, and its indexes, alone.
    """

    name: str
    type: ColumnType
    nullable: bool = False
    key: bool = False
    constant: bool = False


class Index(NamedTuple):
    """An index of a view, in the order of a list's pages; the name is made of the view's and `suffix`.

    `where` names a boolean column that must be true, or a nullable one that must not be null. An index that only one
    engine needs says so: each costs every change of a row.
    """

    suffix: str
    columns: tuple[str, ...]
    where: str | None = None
    engine: Literal["postgres", "sqlite"] | None = None


def is_view_name(name: str) -> bool:
    """Whether a view may be called so."""
    return _NAME.fullmatch(name) is not None and len(name) <= NAME_LENGTH_MAX and "__" not in name


def _require_names(name: str, columns: tuple[Column, ...], indexes: tuple[Index, ...]) -> None:
    if not is_view_name(name):
        raise InvalidInput(
            f"{name[:80]!r} cannot be the name of a view", field="name",
            rule=f"at most {NAME_LENGTH_MAX} of a-z, 0-9 and single _, a letter first (other versions of its table "
            "have longer names)",
        )  # fmt: skip
    names = [column.name for column in columns]
    for column in columns:
        _require_column(name, column, names)
    if not any(column.key for column in columns):
        raise InvalidInput(f"{name} has no key", field="columns", rule="one column or more is the key")
    for index in indexes:
        _require_index(name, index, names)


def _require_column(view: str, column: Column, names: list[str]) -> None:
    rule = None
    if not _NAME.fullmatch(column.name) or len(column.name) > IDENTIFIER_LENGTH_MAX or column.name in _OF_THE_SYSTEM:
        rule = f"at most {IDENTIFIER_LENGTH_MAX} of a-z, 0-9 and _, a letter first, and no column of PostgreSQL's own"
    elif names.count(column.name) > 1:
        rule = "each column once"
    elif column.key and column.nullable:
        rule = "a key is never null"
    if rule:
        raise InvalidInput(f"{view} cannot have a column {column.name[:80]!r}", field="columns", rule=rule)


def _require_index(view: str, index: Index, names: list[str]) -> None:
    rule, longest = None, IDENTIFIER_LENGTH_MAX - len(f"{view}__previous_")
    if not _NAME.fullmatch(index.suffix) or len(index.suffix) > longest or index.suffix == "pkey":
        rule = f"at most {longest} of a-z, 0-9 and _, a letter first, not pkey"
    elif not index.columns or not {*index.columns, index.where or index.columns[0]} <= set(names):
        rule = "of columns that the view has"
    if rule:
        raise InvalidInput(f"{view} cannot have an index {index.suffix[:80]!r}", field="indexes", rule=rule)


class _Projection(NamedTuple):
    """The fields of a `Projection`."""

    name: str
    topics: frozenset[str]
    columns: tuple[Column, ...]
    key: Callable[[SeenEvent], tuple[Value, ...] | None]
    fold: Callable[[Row | None, SeenEvent], Row | None]
    births: frozenset[str] = frozenset()
    version: int = 1
    indexes: tuple[Index, ...] = ()
    by_stream: bool = True
    fill_percent: int = 100


class Projection(_Projection):
    """A read model. `fold(row, event)` returns the row after the event; None: there is no row (any more). The row it
    is given is its own: it may change and return it.

    `key` says which row an event belongs to (the values of the key columns, in order); None: the event is not for
    this view. `births` are the topics that always begin a new row: for them no stored row needs to be loaded.

    - `version` is raised when the fold changes what it writes; a stored view of another version must be rebuilt.
    - `by_stream`: whether all events of a key are of one stream (as where the key holds the job's id): then a rebuild
      reads stream after stream, in parallel. Else it reads in the order of positions.
    - `fill_percent`: how full a page of the table is packed; less leaves room for new versions of rows that change.

    `InvalidInput`, with field and rule, for names that a table, its shadow and their indexes cannot have.
    """

    __slots__ = ()

    def __new__(  # noqa: PLR0917 - the fields
        cls,
        name: str,
        topics: frozenset[str],
        columns: tuple[Column, ...],
        key: Callable[[SeenEvent], tuple[Value, ...] | None],
        fold: Callable[[Row | None, SeenEvent], Row | None],
        births: frozenset[str] = frozenset(),
        version: int = 1,
        indexes: tuple[Index, ...] = (),
        by_stream: bool = True,
        fill_percent: int = 100,
    ) -> Self:
        """What is made of it with `_replace` (a shadow, a fold of a test) is not looked at again."""
        _require_names(name, columns, indexes)
        return super().__new__(
            cls, name, topics, columns, key, fold, births, version, indexes, by_stream, fill_percent
        )  # fmt: skip

    @property
    def key_columns(self) -> tuple[Column, ...]:
        """The primary key."""
        return tuple(column for column in self.columns if column.key)


Registry = Mapping[str, Projection]
