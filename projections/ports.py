"""What projections need from the outside: a place that holds their rows, and a source of events in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from jobledger.domain.errors import LedgerError, UnknownTopic

from .projection import Projection, Row, SeenEvent, Value

Key = tuple[Value, ...]
"""The values of a projection's key columns, in order."""


class CheckpointMoved(LedgerError):
    """Another runner moved the checkpoint meanwhile: nothing of this batch was stored."""

    code = "checkpoint_moved"


class Checkpoint(NamedTuple):
    """How far a projection has come: the last position read, `recorded_at` of the last event it took, the version of
    the fold that wrote its rows, and who moved it last (`host:process`) and when."""

    position: int
    version: int
    recorded_at: datetime | None = None
    owner: str = ""
    moved_at: datetime | None = None


UNKNOWN_KEY: Key = ()
"""The key of a parked event of which not even the key could be made out. Nothing waits behind it."""


class Parked(NamedTuple):
    """An event that a fold could not take, or that waits behind such a one of the same key (`error` is None)."""

    projection: str
    key: Key
    originator_id: UUID
    originator_version: int
    tenant: str
    position: int
    topic: str
    error: str | None
    parked_at: datetime | None = None
    """By the database's clock, once it is stored."""


class Unreadable(NamedTuple):
    """An event that this program cannot take, because it is older than the event."""

    position: int
    error: UnknownTopic


class SeenBatch(NamedTuple):
    """Events in order, and the last position *read*, which may lie beyond the last event. `more`: the batch was full.

    Reading stops in front of an event that is newer than this program, which is then named.
    """

    events: Sequence[SeenEvent]
    position: int
    more: bool = False
    unreadable: Unreadable | None = None


class StreamRange(NamedTuple):
    """Streams whose ids lie after `after` (None: from the first on), up to `until`, both in the order of ids."""

    after: UUID | None
    until: UUID


class StreamBatch(NamedTuple):
    """Whole streams in the order of their ids, each event after the one before it in its stream. `last` is the stream
    up to which the range was read; `more`: there may be others behind it."""

    events: Sequence[SeenEvent]
    last: UUID
    more: bool


class EventSource(Protocol):
    """The ledger as projections read it. Nothing ever appears at or below a position that was returned as read."""

    def head(self) -> int:
        """The position up to which the ledger can be read now."""
        ...

    def read_after(
        self, position: int, *, limit: int, without: frozenset[str] = frozenset(), until: int | None = None
    ) -> SeenBatch:
        """At most `limit` events after `position` (and up to `until`), of all tenants, leaving out the topics
        `without`. Topics that this program does not know are never left out."""
        ...


class StreamSource(EventSource, Protocol):
    """Reads whole streams, for rebuilds: what a stream-keyed view needs is together, and ranges are independent."""

    def ranges(self, position: int, count: int) -> list[StreamRange]:
        """About `count` ranges that together hold every stream with events up to `position`, with about as many events
        each. At least one."""
        ...

    def read_streams(
        self, within: StreamRange, *, position: int, limit: int, without: frozenset[str] = frozenset()
    ) -> StreamBatch:
        """Streams of the range from its beginning, with their events up to `position`: about `limit` events, at least
        one whole stream. Leaves the topics `without` out. `UnknownTopic` for an event newer than this program."""
        ...

    def read_tenant(
        self, tenant: str, after: int, *, position: int, limit: int, without: frozenset[str] = frozenset()
    ) -> SeenBatch:
        """As `read_after` up to `position`, of one tenant only."""
        ...

    def read_stream(self, stream: UUID, *, after_version: int = 0) -> Sequence[SeenEvent]:
        """All events of one stream after a version, in order, below the horizon."""
        ...


LAG_EVENTS_MAX = 10_000
"""Events that are counted at most, to say how far a projection is behind."""


class ProjectionLag(NamedTuple):
    """How far a projection is behind what can be read: events (counted up to `LAG_EVENTS_MAX`), and the age of the
    oldest of them in seconds by the database's clock; 0 for both when it is current."""

    projection: str
    events: int
    seconds: float


class LedgerLag(NamedTuple):
    """How far readers are behind writers. The horizon's age: for how long the oldest committed event has not been
    readable, in seconds, because a transaction that appended before it is still open; 0 when none waits."""

    projections: tuple[ProjectionLag, ...]
    horizon_age_seconds: float


class LedgerSource(StreamSource, Protocol):
    """An event source that also says how far its readers are behind, and finds single events again."""

    def read_at(self, positions: Sequence[int]) -> Sequence[SeenEvent]:
        """The events at these positions, in order of position; where there is none, nothing. `UnknownTopic` for an
        event newer than this program."""
        ...

    def lag(self, projections: Sequence[str]) -> LedgerLag:
        """The lag of these projections. `LedgerBusy` where that takes more than two seconds."""
        ...


class Changes(NamedTuple):
    """What a batch does to a view: rows that begin, rows that were loaded and now differ (in columns that are not
    constant), keys whose row ends."""

    begun: Sequence[Row] = ()
    changed: Sequence[Row] = ()
    ended: Sequence[Key] = ()


class ViewTransaction(Protocol):
    """One batch under ownership. Everything saved is stored together when the transaction ends well, or not at all."""

    def checkpoint(self, projection: Projection) -> Checkpoint:
        """Where the projection stands; a new one stands at position 0 with its own version."""
        ...

    def load(self, projection: Projection, keys: Sequence[Key]) -> Callable[[], Mapping[Key, Row]]:
        """Ask for the stored rows of these keys (at least one); calling the answer waits for them."""
        ...

    def save(self, projection: Projection, changes: Changes, before: Checkpoint, after: Checkpoint) -> None:
        """Store the changes and move the checkpoint from `before` to `after`. `CheckpointMoved` (here or when the
        transaction ends) unless it stands at `before`."""
        ...

    def parked_keys(self, projection: Projection) -> frozenset[Key]:
        """The keys of which an event is parked: what comes for them later waits behind it. Asked with every batch: it
        costs next to nothing where nothing is parked, and little however many events wait behind few keys."""
        ...

    def parked(self, projection: Projection, key: Key, *, after: int = 0, limit: int) -> list[Parked]:
        """What is parked of a key at positions after `after`, in order of position: the first `limit`."""
        ...

    def park(self, parked: Sequence[Parked]) -> None:
        """Keep these events for later, with the rest of the batch; one that is parked already takes the new error. For
        one that waits (`error` is None), its key must be parked, before this or by this: `CheckpointMoved` (here or
        when the transaction ends) where somebody took what it should wait behind."""
        ...

    def unpark(self, parked: Sequence[Parked]) -> None:
        """Forget that these were parked. `CheckpointMoved` (here or when the transaction ends) where one of them is not
        parked any more: somebody else took it meanwhile, and nothing of this is stored."""
        ...

    def reset(self, projection: Projection) -> None:
        """Remove all rows and put the checkpoint back to the beginning, for a rebuild."""
        ...


class ViewStore(Protocol):
    """Where views are stored. Raises `LedgerUnavailable` or `LedgerBusy` where trying again is all one can do."""

    def checkpoints(self) -> Mapping[str, Checkpoint]:
        """The checkpoints of all projections by name; one that never ran is absent."""
        ...

    def parked(self, projection: str | None = None, *, failed: bool = False, limit: int) -> list[Parked]:
        """What is parked, in order of projection and position: of one projection, or of all. With `failed`, only what a
        fold could not take, without those that wait behind it."""
        ...

    def parked_counts(self) -> Mapping[str, tuple[int, int]]:
        """How many events are parked, by projection: those that failed, and those that wait behind them."""
        ...

    def begin(self, projections: Sequence[Projection]) -> AbstractContextManager[ViewTransaction | None]:
        """Own these projections for one batch; None while another runner owns one of them. Leaving the block commits,
        an exception rolls back."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...
