"""Folding a batch: each event once for all projections, each row loaded once and written once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from .ports import Changes, Key
from .projection import Projection, Row, SeenEvent

Load = Callable[[Projection, Sequence[Key]], Callable[[], Mapping[Key, Row]]]
"""Asks for the stored rows of keys; calling what it returns waits for them."""


class Slot:
    """Where the row of one key stands during a batch."""

    __slots__ = ("loaded", "row")

    def __init__(self) -> None:
        self.row: Row | None = None
        self.loaded = False


class Fold:
    """One projection over one batch. Each event of the batch that is for it has the slot of its key."""

    def __init__(self, projection: Projection, events: Iterable[SeenEvent], load: Load) -> None:
        self.projection = projection
        self.error: Exception | None = None
        self.slots: list[Slot | None] = []
        self._slot_of: dict[Key, Slot] = {}
        needed = self._assign(events)
        self._stored = load(projection, needed) if needed else None

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
                slot = slot_of[key] = Slot()
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
            for key, row in self._stored().items():
                slot = self._slot_of[key]
                slot.row, slot.loaded = row, True

    def changes(self) -> Changes:
        """What the batch did to the view."""
        slots = self._slot_of.values()
        return Changes(
            begun=[slot.row for slot in slots if slot.row is not None and not slot.loaded],
            changed=[slot.row for slot in slots if slot.row is not None and slot.loaded],
            ended=[key for key, slot in self._slot_of.items() if slot.row is None],
        )


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
                    slot.row = fold.projection.fold(slot.row, event)
                except Exception as error:  # noqa: BLE001 - one projection's trouble must not stop the others
                    fold.error = error
                    going = [other for other in going if other is not fold]
