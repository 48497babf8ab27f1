"""Reading the ledger: streams of one tenant, and all events in order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from jobledger.domain.event import RecordedEvent


class EventBatch(NamedTuple):
    """Events in order of position, and the last position *read* (which may lie beyond the last event returned)."""

    events: tuple[RecordedEvent, ...]
    position: int


class EventFilter(NamedTuple):
    """Which events are read; None does not filter. Times bound `recorded_at` (from inclusive, to exclusive).

    What is read and unknown to this program is an `UnknownTopic`: `families` and `without` therefore reach topics that
    are newer than the program, `topics` names those that it knows.
    """

    topics: frozenset[str] | None = None
    recorded_from: datetime | None = None
    recorded_to: datetime | None = None
    families: frozenset[str] = frozenset()
    """With `topics`: also all topics that begin with one of these and a dot."""
    without: frozenset[str] = frozenset()
    """Topics that are left out."""
    marked: tuple[str, str] | None = None
    """A topic, and what the stored facts of its events must contain: the others of it are left out, undecoded."""


EVERY_EVENT = EventFilter()
SCAN_EVENTS = 20_000
"""Events that one statement looks at for those that match: it ends soon, however few do."""


class StreamPart(NamedTuple):
    """Which events of a stream: after one version and up to another (None: its last), of some topics, without others,
    recorded later than a moment; oldest first or newest first."""

    after_version: int = 0
    until_version: int | None = None
    topics: frozenset[str] | None = None
    without: frozenset[str] = frozenset()
    recorded_after: datetime | None = None
    newest_first: bool = False


class StreamReader(Protocol):
    """Reads streams of one tenant: all that a worker needs of the ledger."""

    def stream(
        self,
        tenant: str,
        originator_id: UUID,
        *,
        after_version: int = 0,
        limit: int | None = None,
        bodies: bool = False,
    ) -> list[RecordedEvent]:
        """The events of a stream in order of version; empty where the tenant has no such stream."""
        ...

    def streams(self, tenant: str, originator_ids: Sequence[UUID]) -> dict[UUID, list[RecordedEvent]]:
        """Several streams at once; ids the tenant does not have are absent."""
        ...


class EventReader(StreamReader, Protocol):
    """Reads streams, and the whole ledger in order (for projections and auditors)."""

    def last_version(self, tenant: str, originator_id: UUID) -> int:
        """The version of a stream's last event; 0 where the tenant has no such stream."""
        ...

    def beginnings(self, tenant: str, originator_ids: Sequence[UUID], *, limit: int) -> dict[UUID, list[RecordedEvent]]:
        """The first events of several streams, at most so many of each; ids the tenant does not have are absent."""
        ...

    def stream_part(self, tenant: str, originator_id: UUID, part: StreamPart, *, limit: int) -> list[RecordedEvent]:
        """Events of a stream, at most so many: what is left out is neither fetched nor decoded."""
        ...

    def topics(self, tenant: str, originator_id: UUID, after_version: int, until_version: int) -> list[str]:
        """What happened in a stream after one version and up to another, oldest first: topics only."""
        ...

    def read_after(self, position: int, *, limit: int, topics: frozenset[str] | None = None) -> EventBatch:
        """The next events of all tenants, only below the horizon: nothing will ever appear before what was returned.
        With `topics`, events of others are left out but count as read."""
        ...

    def read_tenant(
        self,
        tenant: str | None,
        position: int,
        *,
        limit: int,
        until: int | None = None,
        where: EventFilter = EVERY_EVENT,
        bodies: bool = False,
    ) -> EventBatch:
        """The next events of a tenant (None: of all) in order, up to and including position `until`, below the horizon.
        What `where` leaves out counts as read; a statement looks at `SCAN_EVENTS` at most, so a batch may be empty
        and still have got on: there are no more where its position has reached `until`, or is the one asked after."""
        ...

    def head(self) -> int:
        """The position up to which the ledger can be read now (at the horizon)."""
        ...

    def given_out(self) -> int:
        """The last position that was given out, or may be by now: no event has a later one, also none that `head` does
        not show yet."""
        ...

    def incarnation(self) -> str:
        """Changes when the ledger was restored to an earlier moment."""
        ...
