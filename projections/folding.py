"""Folding a batch: each event once for all projections, each row loaded once and written once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set

from .parking import Failure, is_poison
from .ports import Changes, Key
from .projection import Projection, Row, SeenEvent

Load = Callable[[Projection, Sequence[Key]], Callable[[], Mapping[Key, Row]]]
"""Asks for the stored rows of keys; calling what it returns waits for them."""

FAILURES_MAX = 100
"""Events that one try may fail for: whatever comes then is found by the next ones."""


class Slot:
    """Where the row of one key stands during a batch."""

    __slots__ = ("failed", "loaded", "row")

    def __init__(self) -> None:
        self.row: Row | None = None
        self.loaded = False
        self.failed = False
        """An event of this key could not be taken: the row is worth nothing, and the batch will be tried again."""


class Fold:
    """One projection over one batch. Each event of the batch that is for it has the slot of its key, but for those at
    the positions `held`, which are parked instead."""

    def __init__(
        self, projection: Projection, events: Iterable[SeenEvent], load: Load, held: Set[int] = frozenset()
    ) -> None:
        self.projection = projection
        self.error: Exception | None = None
        """Why the projection may not go on at all."""
        self.failures: list[Failure] = []
        """The first event of each key that could not be taken."""
        self.slots: list[Slot | None] = []
        self._slot_of: dict[Key, Slot] = {}
        needed = self._assign(events, held)
        self._stored = load(projection, needed) if needed else None

    def _assign(self, events: Iterable[SeenEvent], held: Set[int]) -> list[Key]:
        """Give each event its slot; returns the keys whose rows must be loaded: those not born in this batch."""
        topics, births, key_of = self.projection.topics, self.projection.births, self.projection.key
        slot_of, add = self._slot_of, self.slots.append
        needed: list[Key] = []
        for event in events:
            if event.topic not in topics or (held and event.position in held):
                add(None)
                continue
            try:
                key = key_of(event)
                slot = None if key is None else slot_of.get(key)  # a key that cannot be one raises here
            except Exception as error:  # noqa: BLE001 - one event's trouble must not stop the others
                self._fail(event, error)
                key = None
            if key is None:
                add(None)
                continue
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

    @property
    def is_over(self) -> bool:
        """Whether going on with this try finds nothing new."""
        return self.error is not None or len(self.failures) >= FAILURES_MAX

    def receive(self) -> None:
        """Put the stored rows into their slots."""
        if self._stored is not None:
            for key, row in self._stored().items():
                slot = self._slot_of[key]
                slot.row, slot.loaded = row, True

    def fail(self, slot: Slot, event: SeenEvent, error: Exception) -> None:
        """The event could not be taken; only the first one of its key says why."""
        if not slot.failed:
            slot.failed = True
            self._fail(event, error)

    def _fail(self, event: SeenEvent, error: Exception) -> None:
        if is_poison(error):
            self.failures.append(Failure(event, error))
        else:
            self.error = error

    def changes(self) -> Changes:
        """What the batch did to the view."""
        slots = self._slot_of.values()
        return Changes(
            begun=[slot.row for slot in slots if slot.row is not None and not slot.loaded],
            changed=[slot.row for slot in slots if slot.row is not None and slot.loaded],
            ended=[key for key, slot in self._slot_of.items() if slot.row is None],
        )


def fold_batch(folds: Sequence[Fold], events: Sequence[SeenEvent]) -> None:
    """Fold the events, in order, into the slots. A fold that raises ends with `failures`, or with its `error` where it
    cannot go on at all; the others go on."""
    going = [fold for fold in folds if not fold.is_idle and not fold.is_over]
    for fold in going:
        fold.receive()
    for place, event in enumerate(events):
        for fold in going:
            slot = fold.slots[place]
            if slot is not None:
                try:
                    slot.row = fold.projection.fold(slot.row, event)
                except Exception as error:  # noqa: BLE001 - one projection's trouble must not stop the others
                    fold.fail(slot, event, error)
                    if fold.is_over:
                        going = [other for other in going if other is not fold]
