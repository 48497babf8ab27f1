"""Poison: what becomes of events that a fold cannot take.

Such an event is tried again with its whole batch; when that fails often enough it is parked with its error, and the
projection goes on without it. Later events of its key are parked behind it, so that they are folded after it or, where
somebody decides to skip it, without it: never in another order. Other keys notice nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from jobledger.domain.errors import LedgerError, UnknownTopic
from jobledger.domain.unreadable import said_by

from .fitting import require_key
from .ports import UNKNOWN_KEY, Key, Parked
from .projection import Projection, Row, SeenEvent

PARK_AFTER = 3
"""Tries that an event gets before it is parked."""
PARKED_KEYS_MAX = 1_000
"""A view of which more keys than that are parked is not poisoned but broken: it stops where it stands."""
ERROR_LENGTH_MAX = 2_000

EventId = tuple[UUID, int]
"""Stream and version."""


class FoldBroken(LedgerError):
    """A fold fails for so many keys that parking their events would be hiding that it is wrong."""

    code = "fold_broken"


class Failure(NamedTuple):
    """A fold could not take an event."""

    event: SeenEvent
    error: Exception


def describe(error: Exception) -> str:
    """An error as it is kept and shown: its type and what it says, of bounded length, without what no text holds."""
    text = f"{type(error).__name__}: {said_by(error)}"[:ERROR_LENGTH_MAX]
    return text.replace("\x00", "\ufffd").encode(errors="replace").decode()


def parked(projection: Projection, key: Key, event: SeenEvent, error: str | None) -> Parked:
    """The event as it is parked: with why, or (None) behind another one of its key."""
    return Parked(
        projection.name, key, event.originator_id, event.originator_version, event.tenant, event.position, event.topic,
        error,
    )  # fmt: skip


def without_events(projection: Projection, skipped: frozenset[EventId]) -> Projection:
    """The projection as it is without events that people decided it goes without.

    Where one of them would have begun a row, later events of its stream that cannot do without that row are left out
    with it, until one comes that begins a row again: nobody wants each of them parked anew.
    """
    if not skipped:
        return projection
    key_of, fold_row = projection.key, projection.fold
    first = first_skipped(projection, skipped)

    def key(event: SeenEvent) -> Key | None:
        return None if (event.originator_id, event.originator_version) in skipped else key_of(event)

    def fold(row: Row | None, event: SeenEvent) -> Row | None:
        if row is not None or not is_left_out(projection, first, event):
            return fold_row(row, event)
        try:
            return fold_row(None, event)
        except Exception as error:
            if not is_poison(error):
                raise
            return None

    return projection._replace(key=key, fold=fold)


def first_skipped(projection: Projection, skipped: Iterable[EventId]) -> Mapping[UUID, int]:
    """By stream the version of its first event that the view goes without; nothing where rows are made of many
    streams, so that no event needs a row that another one began."""
    first: dict[UUID, int] = {}
    for stream, version in skipped if projection.by_stream else ():
        first[stream] = min(version, first.get(stream, version))
    return first


def is_left_out(projection: Projection, first: Mapping[UUID, int], event: SeenEvent) -> bool:
    """Whether an event for which there is no row may be left out, because one before it in its stream was skipped."""
    skipped = first.get(event.originator_id)
    return skipped is not None and skipped < event.originator_version and event.topic not in projection.births


def key_to_park(projection: Projection, event: SeenEvent) -> Key | None:
    """The key under which an event is parked; None: it is not for this view.

    Where not even that can be made out: in a view of one row a stream, the stream's, so that its later events wait; in
    one that counts many streams' events, `UNKNOWN_KEY`. Raises the key's own error where neither is true.
    """
    try:
        key = projection.key(event)
        if key is not None:
            require_key(projection.key_columns, key)
        return key
    except Exception:
        if not projection.by_stream:
            return UNKNOWN_KEY
        if [column.type for column in projection.key_columns] == ["uuid"]:
            return (event.originator_id,)
        raise


def hold_back(
    projection: Projection, events: Iterable[SeenEvent], keys: frozenset[Key], given_up: Mapping[int, str]
) -> list[Parked]:
    """What of a batch is parked: the events at the positions that were given up, with their errors, and those that
    wait because their key is parked: before this batch (`keys`) or in it."""
    waiting = set(keys) - {UNKNOWN_KEY}
    held: list[Parked] = []
    for event in events:
        if event.topic not in projection.topics:
            continue
        error = given_up.get(event.position)
        key = key_to_park(projection, event)
        if key is not None and key in waiting:
            held.append(parked(projection, key, event, None))
        elif key is not None and error is not None:
            held.append(parked(projection, key, event, error))
            if key != UNKNOWN_KEY:
                waiting.add(key)
    if held and len(waiting) > PARKED_KEYS_MAX:
        raise FoldBroken(
            f"the fold of {projection.name} failed for more than {PARKED_KEYS_MAX} keys, the last time with: "
            f"{next((one.error for one in reversed(held) if one.error), 'nothing new')}", field="projection",
            hint="correct the fold, then rebuild the view: jobledger projections rebuild " + projection.name,
        )  # fmt: skip
    return held


class Tries:
    """How often a projection was tried with the batch at hand, and which of its events failed. A runner's memory: who
    takes over counts anew."""

    def __init__(self, park_after: int = PARK_AFTER) -> None:
        self._park_after = park_after
        self._failed: dict[int, int] = {}
        self.given_up: dict[int, str] = {}
        """The events that get no further try: positions and errors."""

    def note(self, failures: Sequence[Failure]) -> None:
        """One more try failed because of these events."""
        for event, error in failures:
            tries = self._failed[event.position] = self._failed.get(event.position, 0) + 1
            if tries >= self._park_after:
                self.given_up[event.position] = describe(error)

    def clear(self) -> None:
        """The batch was stored."""
        self._failed.clear()
        self.given_up.clear()


def is_poison(error: Exception) -> bool:
    """Whether an error says something about the event: not where the program is too old for it."""
    return not isinstance(error, UnknownTopic)
