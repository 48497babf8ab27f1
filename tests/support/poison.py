"""Projections that cannot take some events, and what a view then holds."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from jobledger.projections.parking import EventId
from jobledger.projections.ports import Key
from jobledger.projections.projection import Projection, Row, SeenEvent

POISON = "poison"
"""A job type whose `job.started` a poisoned projection cannot take: known to all processes of a test."""


class Indigestible(ValueError):
    """What a poisoned fold raises."""


def poisoned(projection: Projection, bad: Collection[EventId]) -> Projection:
    """The projection, with a fold that takes none of these events. It spoils the row first, as a real one may."""

    def fold(row: Row | None, event: SeenEvent) -> Row | None:
        if (event.originator_id, event.originator_version) in bad:
            if row is not None:
                row.clear()
            raise Indigestible(f"version {event.originator_version}\x00")
        return projection.fold(row, event)

    return projection._replace(fold=fold)


def poisoned_type(projection: Projection) -> Projection:
    """The projection, with a fold that takes no second event of jobs whose type is `POISON`."""

    def fold(row: Row | None, event: SeenEvent) -> Row | None:
        if event.originator_version == 2 and event.identity.job_type == POISON:
            if row is not None:
                row.clear()
            raise Indigestible("the second event")
        return projection.fold(row, event)

    return projection._replace(fold=fold)


class Around(NamedTuple):
    """A view without what was parked: its rows, and the events that are parked, failed or (False) waiting."""

    rows: dict[Key, Row]
    parked: dict[tuple[Key, int], bool]


def fold_around(projection: Projection, events: Iterable[SeenEvent]) -> Around:
    """Fold event by event; what a key's fold cannot take, and all that follows for that key, is parked."""
    rows: dict[Key, Row] = {}
    parked: dict[tuple[Key, int], bool] = {}
    waiting: set[Key] = set()
    for event in events:
        if event.topic not in projection.topics or (key := projection.key(event)) is None:
            continue
        if key in waiting:
            parked[key, event.position] = False
            continue
        before = rows.get(key)
        try:
            row = projection.fold(None if before is None else dict(before), event)
        except Indigestible:
            parked[key, event.position] = True
            waiting.add(key)
            continue
        if row is None:
            rows.pop(key, None)
        else:
            rows[key] = row
    return Around(rows, parked)
