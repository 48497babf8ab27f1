"""Folding a batch: each event once for all projections, each row loaded once and written once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from .ports import Changes, Key
from .projection import Projection, Row, SeenEvent

Load = Callable[[Projection, Sequence[Key]], Callable[[], Mapping[Key, Row]]]
"""Asks for the stored rows of keys; calling what it returns waits for them."""


class Fold:
    """One projection over one batch. An event of the batch belongs to a slot, which holds the row of its key."""

    def __init__(self, projection: Projection, events: Iterable[SeenEvent], load: Load) -> None:
        self.projection = projection
        self.error: Exception | None = None
        self.slots: list[list[Row | None] | None] = []
        self._slot_of: dict[Key, list[Row | None]] = {}
        self._loaded: set[Key] = set()
        self._stored = load(projection, needed) if (needed := self._assign(events)) else None

    def _assign(self, events: Iterable[SeenEvent]) -> list[Key]:
        """Give each event its slot; returns the keys whose rows must be loaded: those not born in this batch."""
        topics, births, key_of = self.projection.topics, self.projection.births, self.projection.key
        slot_of, add = self._slot_of, self.slots.append
        needed: list[Key] = []
        for event in events:
            if event.topic not in topics or (key := key_of(event)) is None:
                add(None)
                continue
            slot = slot_of.get(key)
            if slot is None:
                slot = slot_of[key] = [None]
                if event.topic not in births:
                    needed.append(key)
            add(slot)
        return needed

    @property
    def is_idle(self) -> bool:
        """Whether no event of the batch is for this projection."""
        return not self._slot_of

    def receive(self) -> None:
        """Put the stored rows into their slots."""
        if self._stored is not None:
            rows = self._stored()
            self._loaded.update(rows)
            for key, row in rows.items():
                self._slot_of[key][0] = row

    def changes(self) -> Changes:
        """What the batch did to the view."""
        begun: list[Row] = []
        changed: list[Row] = []
        ended: list[Key] = []
        for key, (row,) in self._slot_of.items():
            if row is None:
                ended.append(key)
            elif key in self._loaded:
                changed.append(row)
            else:
                begun.append(row)
        return Changes(begun, changed, ended)


def fold_batch(folds: Sequence[Fold], events: Sequence[SeenEvent]) -> None:
    """Fold the events, in order, into the slots. A fold that raises ends with its `error`; the others go on."""
    going = [fold for fold in folds if not fold.is_idle and fold.error is None]
    for fold in going:
        fold.receive()
    for place, event in enumerate(events):
        for fold in going:
            slot = fold.slots[place]
            if slot is not None:
                try:
                    slot[0] = fold.projection.fold(slot[0], event)
                except Exception as error:  # noqa: BLE001 - one projection's trouble must not stop the others
                    fold.error = error
                    going = [other for other in going if other is not fold]
