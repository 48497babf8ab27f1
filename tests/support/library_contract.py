"""The eventsourcing library's own contract tests over our recorders.

The tests know neither tenants nor our ids, begin some streams at version 0, and expect positions 1, 2, 3. `InOurForm`
stands between: it gives every event a tenant, moves versions up by one, and ranks positions densely. Ids are ours
because the test cases here mint them (`OurIds`).
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Sequence
from threading import Lock
from typing import Any
from uuid import UUID

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    Notification,
    ProcessRecorder,
    StoredEvent,
    Subscription,
    Tracking,
)

from jobledger.domain.identifiers import uuid7
from jobledger.infrastructure.stored_event import LedgerStoredEvent

TENANT = "acme"
STATE_IS_PLAIN = "state is read by folds, leaves and claims: it is never compressed or encrypted, bodies may be sealed"


class OurIds:
    """Mixed into a test case: streams are UUIDv7."""

    def new_originator_id(self) -> UUID:
        """A new id."""
        return uuid7(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10), "big"))


class AggregatesInOurForm(AggregateRecorder):
    """A recorder of ours behind the form that the library's tests expect."""

    def __init__(self, recorder: AggregateRecorder) -> None:
        self._recorder = recorder

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:  # noqa: ANN401
        """Insert them for one tenant, versions counted from 1."""
        return self._recorder.insert_events([_in(event) for event in stored_events], **kwargs)

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """Select them as they were inserted."""
        after, last = (None if bound is None else bound + 1 for bound in (gt, lte))
        events = self._recorder.select_events(originator_id, gt=after, lte=last, desc=desc, limit=limit)
        return [_out(event) for event in events]


class ApplicationsInOurForm(AggregatesInOurForm, ApplicationRecorder):
    """As above, with positions ranked densely from 1 (ours rise, but promise no more)."""

    def __init__(self, recorder: ApplicationRecorder) -> None:
        super().__init__(recorder)
        self._notifications = recorder
        self._positions: list[int] = []
        self._ranking = Lock()

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:  # noqa: ANN401
        """Insert them and rank their positions."""
        positions = super().insert_events(stored_events, **kwargs)
        return None if positions is None else [self._rank(position) for position in positions]

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Select by ranks, and rank what was found."""
        self._look()
        found = self._notifications.select_notifications(
            self._position(start), limit, self._position(stop), topics, inclusive_of_start=inclusive_of_start
        )
        return [self._ranked(notification) for notification in found]

    def max_notification_id(self) -> int | None:
        """The rank of the last position."""
        self._look()
        return len(self._positions) or None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        """A subscription of the recorder's own, its notifications ranked."""
        self._look()
        return _RankedSubscription(self, self._notifications.subscribe(self._position(gt), topics))

    def _ranked(self, notification: Notification) -> Notification:
        return Notification(
            notification.originator_id, notification.originator_version - 1, notification.topic, notification.state,
            self._rank(notification.id),
        )  # fmt: skip

    def _look(self) -> None:
        """Learn all positions that there are, in order."""
        with self._ranking:
            last = self._positions[-1] if self._positions else 0
            for notification in self._notifications.select_notifications(last, 1_000_000, inclusive_of_start=False):
                self._positions.append(notification.id)

    def _rank(self, position: int) -> int:
        while not self._positions or self._positions[-1] < position:
            self._look()  # PostgreSQL shows a position once all transactions that began before it have ended
        return bisect_left(self._positions, position) + 1

    def _position(self, rank: int | None) -> int | None:
        if not rank:
            return rank
        return self._positions[rank - 1] if rank <= len(self._positions) else (1 << 62) + rank


class ProcessesInOurForm(ApplicationsInOurForm, ProcessRecorder):
    """As above, with tracking."""

    def __init__(self, recorder: ProcessRecorder) -> None:
        super().__init__(recorder)
        self._tracking = recorder

    def insert_tracking(self, tracking: Tracking) -> None:
        """As the recorder does."""
        self._tracking.insert_tracking(tracking)

    def max_tracking_id(self, application_name: str) -> int | None:
        """As the recorder does."""
        return self._tracking.max_tracking_id(application_name)


class _RankedSubscription(Subscription[ApplicationRecorder]):
    def __init__(self, ranking: ApplicationsInOurForm, subscription: Subscription[ApplicationRecorder]) -> None:
        super().__init__(ranking)
        self._ranking = ranking
        self._subscription = subscription

    def stop(self) -> None:
        super().stop()
        self._subscription.stop()

    def __next__(self) -> Notification:
        return self._ranking._ranked(next(self._subscription))


def _in(event: StoredEvent) -> LedgerStoredEvent:
    return LedgerStoredEvent(event.originator_id, event.originator_version + 1, event.topic, event.state, TENANT)


def _out(event: StoredEvent) -> StoredEvent:
    return StoredEvent(event.originator_id, event.originator_version - 1, event.topic, event.state)
