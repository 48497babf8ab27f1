"""Events of the queue, from whatever process caused them: the ledger itself, followed from its end (R3.7).

A worker's own events (`application/worker/events.py`) tell what happens inside one process and at once; these tell
what was recorded, in order, a moment later, and only while somebody listens.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import structlog

from jobledger.domain.errors import InvalidInput, JobledgerError
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import JOB_FACTS, JobFacts

from .ports import EventReader

POLL_SECONDS = 0.1
BATCH = 1_000

Listener = Callable[[RecordedEvent], None]

_TOPICS = tuple(facts.topic for facts in JOB_FACTS)
_NAMES = tuple(topic.removeprefix("job.") for topic in _TOPICS)

_log = structlog.get_logger("jobledger.queue_events")


class QueueEvents:
    """Calls listeners for what happens to jobs of some queues (all, where none are named), from now on.

    Listeners are called on one thread, in the order of the ledger; what they raise is logged and goes no further. The
    events carry no bodies.
    """

    def __init__(
        self, reader: EventReader, *, queues: Iterable[str] = (), poll_seconds: float = POLL_SECONDS
    ) -> None:  # fmt: skip
        self._reader = reader
        self._queues = frozenset(queues)
        self._poll_seconds = poll_seconds
        self._listeners: dict[str, list[Listener]] = {}
        self._position = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def on(self, name: str, listener: Listener) -> None:
        """Call `listener` for every event of that name: `dispatched`, `completed`, `failed`, `sent_to_dlq` ...

        Raises `InvalidInput` for a name that no event of a job has."""
        if name not in _NAMES:
            raise InvalidInput(f"no event of a job is named {name!r}", field="name", rule=f"one of {', '.join(_NAMES)}")
        self._listeners.setdefault(f"job.{name}", []).append(listener)

    def on_any(self, listener: Listener) -> None:
        """Call `listener` for every event of a job."""
        for name in _NAMES:
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
        ending = False
        while not ending:
            ending = self._stop.is_set()
            try:
                while self._tell_next():
                    pass
            except JobledgerError as error:
                _log.warning("queue_events.reading_failed", error=str(error))
            if not ending:
                self._stop.wait(self._poll_seconds)

    def _tell_next(self) -> bool:
        """Tell a batch; True if there may be more."""
        batch = self._reader.read_after(self._position, limit=BATCH, topics=frozenset(self._listeners))
        for event in batch.events:
            facts = event.facts
            if isinstance(facts, JobFacts) and (not self._queues or facts.queue in self._queues):
                self._tell(event)
        moved = batch.position > self._position
        self._position = max(self._position, batch.position)
        return moved

    def _tell(self, event: RecordedEvent) -> None:
        for listener in self._listeners.get(event.topic, ()):
            try:
                listener(event)
            except Exception as error:  # noqa: BLE001 - a listener never ends the others
                _log.warning("queue_events.listener_failed", topic=event.topic, error=repr(error))
