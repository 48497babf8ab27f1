"""A subscription that polls, for the recorders of both engines.

The library's own waits to be notified and can sleep past an event; polling alone must be enough. A poll reads up to
the head that it asked for just before, so that a stretch of other topics is passed over once, not again and again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from threading import Event

from eventsourcing.persistence import ApplicationRecorder, Notification, Subscription

POLL_SECONDS = 0.01
_BATCH = 500


class PollingSubscription(Subscription[ApplicationRecorder]):
    """Notifications after `gt`, of `topics` (all where there are none), as long as it is not stopped."""

    def __init__(self, recorder: ApplicationRecorder, gt: int | None = None, topics: Sequence[str] = ()) -> None:
        super().__init__(recorder, gt, topics)
        self._stopped = Event()
        self._read: deque[Notification] = deque()

    def stop(self) -> None:
        """End the iteration, also one that waits at this moment."""
        super().stop()
        self._stopped.set()

    def __next__(self) -> Notification:
        """The next notification, waited for."""
        while not self._stopped.is_set():
            if self._read:
                return self._read.popleft()
            if not self._poll():
                self._stopped.wait(POLL_SECONDS)
        raise StopIteration

    def _poll(self) -> bool:
        head = self._recorder.max_notification_id()
        if head is None or head <= (self._last_notification_id or 0):
            return False
        self._read.extend(
            self._recorder.select_notifications(
                start=self._last_notification_id, limit=_BATCH, stop=head, topics=self._topics, inclusive_of_start=False
            )
        )
        self._last_notification_id = self._read[-1].id if len(self._read) == _BATCH else head
        return True
