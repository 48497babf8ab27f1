"""Taking parked events after all: a corrected fold is tried again, or people decided to go without what failed.

What waits of a key is folded in its order, page after page; each page is one transaction of rows and of what is not
parked any more, under the ownership that runners take turns with. What arrives meanwhile is parked behind the rest by
them, and is taken in its turn: the key is free once nothing of it is parked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from threading import Event
from time import monotonic
from typing import NamedTuple, Protocol, TypeVar
from uuid import UUID

from jobledger.domain.errors import CorruptEvent, LedgerBusy

from .batch import require_version
from .fitting import RowRefused, fitting
from .parking import EventId, describe, first_skipped, is_left_out, is_poison, without_events
from .ports import UNKNOWN_KEY, Changes, CheckpointMoved, Key, Parked, ViewStore, ViewTransaction
from .projection import Projection, Row, SeenEvent

T = TypeVar("T")

PAGE_EVENTS = 1_000
"""Parked events of one transaction: runners wait for no longer than that takes."""
PATIENCE_SECONDS = 30.0
"""For how long the view's runner may keep it from us at a time."""
_PAUSE_SECONDS = 0.002
_PAUSE = Event()
"""Never set."""


class EventFinder(Protocol):
    """Finds single events again."""

    def read_at(self, positions: Sequence[int]) -> Sequence[SeenEvent]:
        """The events at these positions; see `LedgerSource`."""
        ...


class Retried(NamedTuple):
    """What became of parked events: `taken` into the view, `skipped` for good, or `failed` again (what waits behind
    those still waits)."""

    taken: int = 0
    skipped: int = 0
    failed: tuple[Parked, ...] = ()

    def plus(self, other: Retried) -> Retried:
        """Both together."""
        return Retried(self.taken + other.taken, self.skipped + other.skipped, self.failed + other.failed)


class _Page(NamedTuple):
    """What became of a page, and the position behind which the next one begins; None: there is nothing more to do."""

    retried: Retried
    next: int | None


class Retrying:
    """Takes what is parked of one view. Any number may do so at once, beside any number of runners."""

    def __init__(
        self,
        store: ViewStore,
        source: EventFinder,
        projection: Projection,
        *,
        skipped: frozenset[EventId] = frozenset(),
        page_events: int = PAGE_EVENTS,
        patience_seconds: float = PATIENCE_SECONDS,
        report: Callable[[Retried], None] = lambda _: None,
    ) -> None:
        """`skipped` are the events that people decided the view goes without; `report` is told of each page."""
        self._store = store
        self._source = source
        self._projection = without_events(projection, skipped)
        self._first_skipped = first_skipped(projection, skipped)
        self._looks_at_rows = False
        self._skipped = skipped
        self._page_events = page_events
        self._patience_seconds = patience_seconds
        self._report = report

    def retry_all(self) -> Retried:
        """Take whatever can be taken of all keys."""
        retried = Retried()
        for key in sorted(self._patiently(lambda transaction: transaction.parked_keys(self._projection)), key=repr):
            retried = retried.plus(self.retry(key))
        return retried

    def retry(self, key: Key) -> Retried:
        """Take what is parked of a key, in order, up to the first event that fails again.

        Raises `LedgerBusy` while a runner cannot be brought to let us in, `SchemaOutdated` or `SchemaTooNew` where the
        view was written by another version of the fold. What was taken by then stays taken.
        """
        retried, after, limit = Retried(), 0, self._page_events
        while True:
            try:
                page = self._patiently(partial(self._take_page, key=key, after=after, limit=limit))
            except RowRefused as error:  # look at each row; where that tells nothing, smaller pages find the event
                if not self._looks_at_rows:
                    self._projection, self._looks_at_rows = fitting(self._projection), True
                    continue
                if limit > 1:
                    limit = limit // 2
                    continue
                page = self._patiently(partial(self._keep_first, key=key, after=after, error=error))
            retried = retried.plus(page.retried)
            self._report(page.retried)
            if page.next is None:
                return retried
            after = page.next

    def _patiently(self, act: Callable[[ViewTransaction], T]) -> T:
        """Own the view for one transaction, as soon as its runner lets us."""
        give_up_at = monotonic() + self._patience_seconds
        while True:
            try:
                with self._store.begin((self._projection,)) as transaction:
                    if transaction is not None:
                        return act(transaction)
            except (CheckpointMoved, LedgerBusy):
                pass  # nothing of it was stored
            if monotonic() >= give_up_at:
                raise LedgerBusy(f"the runner of {self._projection.name} does not let go of it", hint="try again")
            _PAUSE.wait(_PAUSE_SECONDS)

    def _keep_first(self, transaction: ViewTransaction, key: Key, after: int, error: RowRefused) -> _Page:
        """The first event that is parked of the key was refused by itself: it stays, with this error."""
        kept = tuple(
            one._replace(error=describe(error))
            for one in transaction.parked(self._projection, key, after=after, limit=1)
        )
        transaction.park(kept)
        return _Page(Retried(failed=kept), kept[0].position if kept and key == UNKNOWN_KEY else None)

    def _take_page(self, transaction: ViewTransaction, key: Key, after: int, limit: int) -> _Page:
        before = transaction.checkpoint(self._projection)
        require_version(self._projection, before)
        parked = transaction.parked(self._projection, key, after=after, limit=limit)
        if not parked:
            return _Page(Retried(), None)
        found = {event.position: event for event in self._source.read_at([one.position for one in parked])}
        placed = [self._place(one, found.get(one.position)) for one in parked]
        taking = _Taking(self._projection, transaction, placed, self._first_skipped)
        retried = taking.take()
        transaction.save(self._projection, taking.changes(), before, before)
        goes_on = len(parked) == limit and (not retried.failed or key == UNKNOWN_KEY)
        next_begin = parked[-1].position if key == UNKNOWN_KEY else 0  # what was taken is not there any more
        return _Page(retried, next_begin if goes_on else None)

    def _place(self, parked: Parked, event: SeenEvent | None) -> _Placed:
        if (parked.originator_id, parked.originator_version) in self._skipped:
            return _Placed(parked, skipped=True)
        try:
            if event is None:
                raise CorruptEvent("the ledger does not hold this event any more", field="position")
            key = self._projection.key(event)
            if key is not None and parked.key not in {UNKNOWN_KEY, key}:
                raise CorruptEvent("its key is another one now: rebuild the view", field="key")
        except Exception as error:
            if not is_poison(error):
                raise
            return _Placed(parked, error=error)
        return _Placed(parked, event=None if key is None else event, key=key or ())


class _Placed(NamedTuple):
    """A parked event as it is found again. Without `event` and `error` the view goes without it."""

    parked: Parked
    event: SeenEvent | None = None
    key: Key = UNKNOWN_KEY
    error: Exception | None = None
    skipped: bool = False


class _Taking:
    """A page of parked events, folded into the rows of their keys as far as that goes."""

    def __init__(
        self,
        projection: Projection,
        transaction: ViewTransaction,
        placed: Sequence[_Placed],
        first_skipped: Mapping[UUID, int],
    ) -> None:
        self._projection = projection
        self._transaction = transaction
        self._placed = placed
        self._blocked: set[Key] = set()
        if any(one.parked.key == UNKNOWN_KEY for one in placed):
            self._blocked |= transaction.parked_keys(projection)
        wanted = list(dict.fromkeys(one.key for one in placed if one.event is not None))
        self._loaded: Mapping[Key, Row] = transaction.load(projection, wanted)() if wanted else {}
        self._rows: dict[Key, Row | None] = {}
        self._born: set[Key] = set()
        self._first_skipped = first_skipped
        self._left_out: set[int] = set()

    def take(self) -> Retried:
        """Fold in order, up to the first event that fails; where keys were unknown, all that can be folded."""
        gone, kept, taken, skipped = list[Parked](), list[Parked](), 0, 0
        for one in self._placed:
            error = one.error or self._fold(one)
            if error is None:
                gone.append(one.parked)
                without = one.skipped or one.parked.position in self._left_out
                skipped += without
                taken += not without
                continue
            kept.append(one.parked._replace(key=one.key or one.parked.key, error=describe(error)))
            self._blocked.add(kept[-1].key)
            if one.parked.key != UNKNOWN_KEY:
                break
            if one.key != UNKNOWN_KEY:
                gone.append(one.parked)  # its key is known by now: what comes later waits behind it
        if gone:
            self._transaction.unpark(gone)
        if kept:
            self._transaction.park(kept)
        return Retried(taken, skipped, tuple(kept))

    def _fold(self, placed: _Placed) -> Exception | None:
        event, key = placed.event, placed.key
        if event is None:
            return None
        if placed.parked.key == UNKNOWN_KEY and key in self._blocked:
            return CorruptEvent("an earlier event of its key is parked", field="key")
        row = self._rows[key] if key in self._rows else self._loaded.get(key)
        try:
            self._rows[key] = self._projection.fold(None if row is None else dict(row), event)
        except Exception as error:
            if not is_poison(error):
                raise
            return error
        if event.topic in self._projection.births:
            self._born.add(key)
        if row is None and self._rows[key] is None and is_left_out(self._projection, self._first_skipped, event):
            self._left_out.add(event.position)
        return None

    def changes(self) -> Changes:
        """What that did to the view."""
        rows = self._rows.items()
        renewed = self._born | (self._rows.keys() - self._loaded.keys())
        return Changes(
            begun=[row for key, row in rows if row is not None and key in renewed],
            changed=[row for key, row in rows if row is not None and key not in renewed],
            ended=[key for key, row in rows if row is None],
        )
