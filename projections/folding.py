"""Folding a batch: events of one key together, each row loaded once and written once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .ports import Changes, Key
from .projection import Projection, Row, SeenEvent

Load = Callable[[Sequence[Key]], Mapping[Key, Row]]


def fold_batch(projection: Projection, events: Sequence[SeenEvent], load: Load) -> Changes:
    """What the events, in order, do to the view. Rows that a birth begins in this batch are not loaded."""
    topics, births, key_of = projection.topics, projection.births, projection.key
    keyed: list[tuple[Key, SeenEvent]] = []
    needed: dict[Key, bool] = {}
    for event in events:
        if event.topic in topics and (key := key_of(event)) is not None:
            keyed.append((key, event))
            if key not in needed:
                needed[key] = event.topic not in births
    missing = [key for key, is_needed in needed.items() if is_needed]
    rows: dict[Key, Row | None] = dict(load(missing)) if missing else {}
    fold = projection.fold
    for key, event in keyed:
        rows[key] = fold(rows.get(key), event)
    return Changes([row for row in rows.values() if row is not None], [key for key, row in rows.items() if row is None])
