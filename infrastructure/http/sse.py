"""Server-sent events: what happened to jobs, as it is recorded, from wherever one left off.

The id of an event is its position: `Last-Event-ID` goes on after it, and neither misses nor repeats anything. What has
passed is read by whoever asks, page by page as he takes it; what comes, by one thread for all (see `feed.py`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from typing import NamedTuple
from uuid import UUID

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from jobledger.domain.errors import LedgerError

from ..shapes.events import live_event
from .feed import OF_JOBS, PAGE, EventFeed, Happened, Listener, Wanted

MEDIA_TYPE = "text/event-stream"
_RETRY_MILLISECONDS = 1_000
"""How soon a client comes back that lost its connection."""

Known = Callable[[], Awaitable[bool]]
"""Whether who listens may go on."""

_log = structlog.get_logger("jobledger.http")


class Pace(NamedTuple):
    """How often a comment says that the connection lives, how often it is asked whether who listens may go on, and how
    long he may take nothing of what is sent, in seconds."""

    heartbeat_seconds: float = 15.0
    check_seconds: float = 3.0
    send_seconds: float = 30.0


PACE = Pace()


class Page(NamedTuple):
    """Events, and the position up to which there are no others."""

    events: Sequence[Happened]
    reached: int


class EventStream(StreamingResponse):
    """The answer to who listens. It ends when he has gone, or takes nothing for too long."""

    media_type = MEDIA_TYPE

    def __init__(
        self, told: AsyncIterator[bytes], pace: Pace = PACE, *, room: AbstractContextManager[None] | None = None,
        status_code: int = 200,
    ) -> None:  # fmt: skip
        """`room` is taken while it is sent, and may refuse. `status_code`: FastAPI reads its default for the OpenAPI
        document."""
        super().__init__(told, status_code, {"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._pace = pace
        self._room = room or nullcontext()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what there is to tell."""

        async def bounded(message: Message) -> None:
            async with asyncio.timeout(self._pace.send_seconds):
                await send(message)

        with self._room:
            try:
                await super().__call__(scope, receive, bounded)
            except TimeoutError:
                _log.info("http.listener_cut", why="took nothing", path=scope["path"])


async def follow(
    feed: EventFeed, wanted: Wanted, after: int | None, is_known: Known, pace: Pace = PACE
) -> AsyncGenerator[bytes]:
    """All that somebody wants, as server-sent events, after a position; None: of one job everything, else what comes.

    It ends when the feed is closed, when he is too slow, or may not know any more; and when the ledger does not answer:
    he comes back by himself, with the id of what he was told last."""
    try:
        async with aclosing(_everything(feed, wanted, after, _Checks(is_known, pace))) as everything:
            async for told in everything:
                yield told
    except LedgerError as error:
        _log.warning("http.listener_cut", why=str(error), tenant=wanted.tenant)


async def _everything(feed: EventFeed, wanted: Wanted, after: int | None, checks: _Checks) -> AsyncGenerator[bytes]:
    """What has passed, then what comes."""
    past = _Past(feed, wanted)
    position = 0 if after is None and wanted.job_id is not None else after
    if position is not None:
        async for page in past.pages(position):  # mostly all, and no faster than he takes it
            if not await checks.passed():
                return
            yield _told(feed, *page)
            position = page.reached
    async with feed.listening(wanted) as listener:
        position = listener.begun if position is None else position
        yield f"retry: {_RETRY_MILLISECONDS}\n".encode() + _reached(feed, position)
        async for page in past.pages(position, until=listener.begun):
            yield _told(feed, *page)
            position = page.reached
        async for told in _live(feed, listener, position, checks):
            yield told


async def _live(feed: EventFeed, listener: Listener, position: int, checks: _Checks) -> AsyncIterator[bytes]:
    """What comes after a position."""
    while not feed.is_closed and not listener.is_cut:
        came = await listener.next(checks.wait_seconds())
        if not await checks.passed():
            return
        if events := [event for event in came if event.position > position]:
            position = events[-1].position
            yield _told(feed, events, position)
        elif checks.is_silent():
            position = max(position, listener.reached)  # nothing that he wants lies before that
            yield b": still here\n" + _reached(feed, position)
    if listener.is_cut:
        _log.info("http.listener_cut", why="too slow", tenant=listener.wanted.tenant)


class _Checks:
    """What is to be done from time to time while somebody listens."""

    def __init__(self, is_known: Known, pace: Pace) -> None:
        self._is_known = is_known
        self._pace = pace
        self._now = asyncio.get_running_loop().time
        self._check_at = self._now() + pace.check_seconds
        self._beat_at = self._now() + pace.heartbeat_seconds

    def wait_seconds(self) -> float:
        """Until there is something to do."""
        return max(0.0, min(self._beat_at, self._check_at) - self._now())

    async def passed(self) -> bool:
        """Whether who listens may go on; asked where it is time to."""
        if self._now() < self._check_at:
            return True
        self._check_at = self._now() + self._pace.check_seconds
        return await self._is_known()

    def is_silent(self) -> bool:
        """Whether it is time for a heartbeat; then the next one is due later."""
        if self._now() < self._beat_at:
            return False
        self._beat_at = self._now() + self._pace.heartbeat_seconds
        return True


class _Past:
    """What was recorded before: of one job from its stream, else from what is the tenant's."""

    def __init__(self, feed: EventFeed, wanted: Wanted) -> None:
        self._feed = feed
        self._wanted = wanted
        self._version = 0

    async def pages(self, after: int, *, until: int | None = None) -> AsyncIterator[Page]:
        """What he wants after a position, up to another (None: to the end)."""
        position = after
        more = until is None or after < until or self._wanted.job_id is not None
        while more and not self._feed.is_closed:
            page, more = await run_in_threadpool(self._page, position, until)
            position = page.reached
            yield page

    def _page(self, after: int, until: int | None) -> tuple[Page, bool]:
        if self._wanted.job_id is not None:
            return self._page_of_job(self._wanted.job_id, after)
        batch = self._feed.reader.read_tenant(self._wanted.tenant, after, limit=PAGE, until=until, where=OF_JOBS)
        wanted = [Happened(event) for event in batch.events if self._wanted.takes(event)]
        reached = max(after, batch.position)
        return Page(wanted, reached), reached > after and (until is None or reached < until)

    def _page_of_job(self, job_id: UUID, after: int) -> tuple[Page, bool]:
        """Positions rise within a stream."""
        read = self._feed.reader.stream(self._wanted.tenant, job_id, after_version=self._version, limit=PAGE)
        if not read:
            return Page((), after), False
        self._version = read[-1].originator_version
        wanted = [Happened(event) for event in read if event.position > after and self._wanted.takes(event)]
        return Page(wanted, max(after, read[-1].position)), len(read) == PAGE


def _told(feed: EventFeed, events: Sequence[Happened], reached: int) -> bytes:
    """Events on their way; where the last of what was read is not among them, also how far that was."""
    told = b"".join(happened.told or _encoded(feed, happened) for happened in events)
    return told if events and events[-1].position == reached else told + _reached(feed, reached)


def _encoded(feed: EventFeed, happened: Happened) -> bytes:
    position = feed.positions.text(happened.position) or ""
    data = json.dumps(live_event(happened.event, position), ensure_ascii=False, separators=(",", ":"))
    happened.told = f"id: {position}\ndata: {data}\n\n".encode()
    return happened.told


def _reached(feed: EventFeed, position: int) -> bytes:
    """An id without an event: where to go on."""
    return f"id: {feed.positions.text(position)}\n\n".encode()
