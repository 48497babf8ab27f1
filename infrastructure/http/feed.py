"""Live events: one thread reads the ledger for all who listen, in order of position, below the horizon.

It reads each tenant that somebody listens to by itself, as that tenant, so that the database keeps tenants apart here,
too. Who listens has a buffer of bounded size; who does not empty it in time is cut, and goes on where he was.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final, NamedTuple
from uuid import UUID

import structlog
from starlette.concurrency import run_in_threadpool

from jobledger.application.ports import EventFilter, EventReader
from jobledger.application.positions import Positions
from jobledger.domain.errors import JobledgerError
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import JOB_FACTS, JobFacts

POLL_SECONDS = 0.1
"""How often the ledger is asked whether it has grown, while somebody listens."""
PAGE = 500
"""Events that one statement reads."""
BUFFERED_MAX = 1_000
"""Events that wait for one who listens; with one more he is cut."""
_RETRY_SECONDS = 1.0

JOB_TOPICS: Final = frozenset(facts.topic for facts in JOB_FACTS)
OF_JOBS: Final = EventFilter(topics=JOB_TOPICS)

_log = structlog.get_logger("jobledger.http")


class Happened:
    """An event on its way. How it is told is found out once, for all who are told."""

    __slots__ = ("event", "told")

    def __init__(self, event: RecordedEvent) -> None:
        self.event = event
        self.told: bytes | None = None

    @property
    def position(self) -> int:
        """Where it stands."""
        return self.event.position


class Wanted(NamedTuple):
    """Which events of jobs somebody listens to; None does not filter. `queues` are those that he may see."""

    tenant: str
    job_id: UUID | None = None
    job_type: str | None = None
    persona: str | None = None
    topics: frozenset[str] | None = None
    queues: frozenset[str] | None = None

    def takes(self, event: RecordedEvent) -> bool:
        """Whether he wants to hear of it."""
        facts = event.facts
        return (
            isinstance(facts, JobFacts)
            and self.job_id in (None, event.originator_id)
            and self.job_type in (None, facts.job_type)
            and self.persona in (None, facts.persona)
            and (self.topics is None or event.topic in self.topics)
            and (self.queues is None or facts.queue in self.queues)
        )


class Listener:
    """One who listens, in an event loop. He is told everything after position `begun`."""

    def __init__(self, wanted: Wanted, begun: int, buffered_max: int) -> None:
        self.wanted = wanted
        self.begun = self.reached = begun
        """All that he wants up to `reached` he was told, once his buffer is empty."""
        self.is_cut = False
        self._buffered_max = buffered_max
        self._loop = asyncio.get_running_loop()
        self._buffer: list[Happened] = []
        self._news = asyncio.Event()

    async def next(self, seconds: float) -> Sequence[Happened]:
        """What came; empty where time is out, or nothing more comes: he was cut, or the feed was closed."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), seconds)
        self._news.clear()
        events, self._buffer = self._buffer, []
        return events

    def tell(self, events: Sequence[Happened], position: int) -> None:
        """From another thread: these came, and it is read up to there."""
        with suppress(RuntimeError):  # his loop has ended
            self._loop.call_soon_threadsafe(self._take, events, position)

    def wake(self) -> None:
        """From another thread: end his wait."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._news.set)

    def _take(self, events: Sequence[Happened], position: int) -> None:
        wanted = [happened for happened in events if self.wanted.takes(happened.event)]
        if self.is_cut or len(self._buffer) + len(wanted) > self._buffered_max:
            self.is_cut, self._buffer = True, []
            self._news.set()
            return
        self.reached = position
        if wanted:
            self._buffer += wanted
            self._news.set()


class EventFeed:
    """The thread that reads; it rests while nobody listens."""

    def __init__(
        self, reader: EventReader, *, poll_seconds: float = POLL_SECONDS, buffered_max: int = BUFFERED_MAX
    ) -> None:
        self.reader = reader
        self.positions = Positions(reader)
        self._poll_seconds = poll_seconds
        self._buffered_max = buffered_max
        self._lock = threading.Lock()
        self._reached: dict[str, int] = {}
        """Of each tenant that is listened to: how far it was read and told."""
        self._listeners: dict[str, list[Listener]] = {}
        self._somebody = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_closed(self) -> bool:
        """Whether nothing will be told any more."""
        return self._closed.is_set()

    @property
    def is_listened_to(self) -> bool:
        """Whether anybody is there to be told."""
        return bool(self._listeners)

    @asynccontextmanager
    async def listening(self, wanted: Wanted) -> AsyncIterator[Listener]:
        """Somebody listens during the block: to all that comes after `Listener.begun`, however soon."""
        head = await run_in_threadpool(self._head)
        listener = self._join(wanted, head)
        try:
            yield listener
        finally:
            self._leave(listener)

    def close(self) -> None:
        """End all listening."""
        self._closed.set()
        self._somebody.set()
        with self._lock:
            listeners = [listener for of_tenant in self._listeners.values() for listener in of_tenant]
        for listener in listeners:
            listener.wake()
        if self._thread is not None:
            self._thread.join()

    def _head(self) -> int:
        self.positions.text(0)  # learns the incarnation, here where it may wait
        return self.reader.head()

    def _join(self, wanted: Wanted, head: int) -> Listener:
        with self._lock:
            begun = self._reached.setdefault(wanted.tenant, head)
            listener = Listener(wanted, begun, self._buffered_max)
            self._listeners.setdefault(wanted.tenant, []).append(listener)
            if self._thread is None and not self.is_closed:
                self._thread = threading.Thread(target=self._run, name="jobledger-feed", daemon=True)
                self._thread.start()
            self._somebody.set()
        return listener

    def _leave(self, listener: Listener) -> None:
        tenant = listener.wanted.tenant
        with self._lock:
            self._listeners[tenant].remove(listener)
            if not self._listeners[tenant]:
                del self._listeners[tenant], self._reached[tenant]
            if not self._listeners and not self.is_closed:
                self._somebody.clear()

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self.is_closed:
            self._somebody.wait()
            try:
                self._read()
                self._closed.wait(self._poll_seconds)
            except JobledgerError as error:
                _log.warning("http.feed_interrupted", error=str(error), retry_in_seconds=_RETRY_SECONDS)
                self._closed.wait(_RETRY_SECONDS)

    def _read(self) -> None:
        """Tell everybody what has come."""
        head = self.reader.head()
        with self._lock:
            behind = [(tenant, reached) for tenant, reached in self._reached.items() if reached < head]
        for tenant, reached in behind:
            self._read_tenant(tenant, reached, head)

    def _read_tenant(self, tenant: str, reached: int, head: int) -> None:
        while reached < head and not self.is_closed:
            batch = self.reader.read_tenant(tenant, reached, limit=PAGE, until=head, where=OF_JOBS)
            events = [Happened(event) for event in batch.events]
            if batch.position <= reached or not self._tell(tenant, reached, events, batch.position):
                return
            reached = batch.position

    def _tell(self, tenant: str, before: int, events: Sequence[Happened], position: int) -> bool:
        """Whether those are still there who were told what was before."""
        with self._lock:
            if self._reached.get(tenant) != before:
                return False
            self._reached[tenant] = position
            for listener in self._listeners[tenant]:
                listener.tell(events, position)
        return True


@contextmanager
def feeding(reader: EventReader) -> Iterator[EventFeed]:
    """A feed during the block."""
    feed = EventFeed(reader)
    try:
        yield feed
    finally:
        feed.close()
