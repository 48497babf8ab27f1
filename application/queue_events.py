"""Events of the queue, from whatever process caused them: the ledger itself, followed from its end (R3.7).

A worker's own events (`application/worker/events.py`) tell what happens inside one process and at once; these tell
what was recorded, in order, a moment later, and only while somebody listens.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import structlog

from jobledger.domain.errors import InvalidInput
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import JOB_FACTS, JobFacts
from jobledger.domain.limit import QueueLimited, QueuePaused, QueueResumed

from .ports import EventReader

POLL_SECONDS = 0.1
BATCH = 1_000

Listener = Callable[[RecordedEvent], None]

_OF_A_QUEUE = (QueueLimited, QueuePaused, QueueResumed)
_TOPICS = {
    **{facts.topic.removeprefix("job."): facts.topic for facts in JOB_FACTS},
    **{facts.topic.removeprefix("queue."): facts.topic for facts in _OF_A_QUEUE},
}
"""By the name that one listens to. What the ledger calls `job.completed` is `completed` here; `limited`, `paused` and
`resumed` are those of a queue itself."""
_RETRY_SECONDS_MAX = 5.0

_log = structlog.get_logger("jobledger.queue_events")


class QueueEvents:
    """Calls listeners for what happens to some queues (all, where none are named) and to their jobs, from now on.

    Listeners are called on one thread, in the order of the ledger; what they raise is logged and goes no further. The
    events carry no bodies.
    """

    def __init__(
        self, reader: EventReader, *, queues: Iterable[str] = (), poll_seconds: float = POLL_SECONDS
    ) -> None:  # fmt: skip
        self._reader = reader
        self._queues = frozenset(queues)
        self._poll_seconds = poll_seconds
        self._listeners: dict[str, tuple[Listener, ...]] = {}
        self._position = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def on(self, name: str, listener: Listener) -> None:
        """Call `listener` for every event of that name: `dispatched`, `completed`, `failed`, `sent_to_dlq` ... of jobs,
        `paused`, `resumed`, `limited` of queues. May be called at any time.

        Raises `InvalidInput` for a name that no such event has."""
        topic = _TOPICS.get(name)
        if topic is None:
            raise InvalidInput(
                f"no event of a job or queue is named {name!r}", field="name", rule=f"one of {', '.join(_TOPICS)}"
            )
        # replaced, never changed: the other thread may be looking at it
        self._listeners = {**self._listeners, topic: (*self._listeners.get(topic, ()), listener)}

    def on_any(self, listener: Listener) -> None:
        """Call `listener` for every event of a job or of a queue itself."""
        for name in _TOPICS:
            self.on(name, listener)

    def start(self) -> None:
        """Follow the ledger from its present end. Starting twice is harmless."""
        if self._thread is None:
            self._position = self._reader.head()
            self._stop.clear()
            self._thread = threading.Thread(target=self._loop, name="jobledger-queue-events", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Tell what was recorded so far, then end."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            thread.join()

    def _loop(self) -> None:
        ending, failures = False, 0
        while not ending:
            ending = self._stop.is_set()
            try:
                while self._tell_next():
                    pass
                failures = 0
            except Exception as error:  # noqa: BLE001 - listeners hear of what is recorded once it can be read again
                failures += 1
                if failures == 1:
                    _log.warning("queue_events.reading_failed", error=str(error), error_type=type(error).__name__)
            if not ending:
                pause_seconds = self._poll_seconds * 2.0 ** min(failures, 20)
                self._stop.wait(pause_seconds if not failures else min(pause_seconds, _RETRY_SECONDS_MAX))

    def _tell_next(self) -> bool:
        """Tell a batch; True if there may be more."""
        batch = self._reader.read_after(self._position, limit=BATCH, topics=frozenset(self._listeners))
        for event in batch.events:
            if not self._queues or _queue_of(event) in self._queues:
                self._tell(event)
        moved = batch.position > self._position
        self._position = max(self._position, batch.position)
        return moved

    def _tell(self, event: RecordedEvent) -> None:
        for listener in self._listeners.get(event.topic, ()):
            try:
                listener(event)
            except BaseException as error:  # noqa: BLE001 - a listener never ends the others: not by sys.exit() either
                _log.warning("queue_events.listener_failed", topic=event.topic, error=repr(error))


def _queue_of(event: RecordedEvent) -> str | None:
    """The queue that an event is about."""
    facts = event.facts
    if isinstance(facts, JobFacts):
        return facts.queue
    return facts.subject if isinstance(facts, _OF_A_QUEUE) else None
