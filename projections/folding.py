"""Folding a batch: events of one key together, each row loaded once and written once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .ports import Changes, Key
from .projection import Projection, Row, SeenEvent

Load = Callable[[Sequence[Key]], Mapping[Key, Row]]


def fold_batch(projection: Projection, events: Sequence[SeenEvent], load: Load) -> Changes:
    """What the events, in order, do to the view. Rows that a birth begins in this batch are not loaded."""
    topics, key_of, fold = projection.topics, projection.key, projection.fold
    of_key: dict[Key, list[SeenEvent]] = {}
    for event in events:
        if event.topic in topics and (key := key_of(event)) is not None:
            found = of_key.get(key)
            if found is None:
                of_key[key] = [event]
            else:
                found.append(event)
    births = projection.births
    needed = [key for key, own in of_key.items() if own[0].topic not in births]
    stored = load(needed) if needed else {}
    rows: list[Row] = []
    ended: list[Key] = []
    for key, own in of_key.items():
        row = stored.get(key) if own[0].topic not in births else None
        for event in own:
            row = fold(row, event)
        if row is None:
            ended.append(key)
        else:
            rows.append(row)
    return Changes(rows, ended)
