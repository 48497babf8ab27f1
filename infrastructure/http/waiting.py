"""Waiting for work without a thread for each who waits: one thread hears hints for all of them.

Who waits for the same jobs looks one at a time, and once one looked in vain nobody looks again before the next hint,
or before the time for a look comes: a hundred idle workers cost what one does.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

import structlog
from starlette.concurrency import run_in_threadpool

from jobledger.application.lease_messages import Claimed
from jobledger.application.ports import WakeUp

POLL_SECONDS = 1.0
"""How often who waits looks anyway: hints are only ever hints."""
_LISTEN_SECONDS = 0.5

_log = structlog.get_logger("jobledger.http")


class Doorbell:
    """Rings in an event loop when the ledger hints that there may be work. Its thread listens while somebody waits."""

    def __init__(self, wake_up: WakeUp) -> None:
        self._wake_up = wake_up
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.Future[None], asyncio.AbstractEventLoop] = {}
        self._somebody = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None
        self.rung = 0
        """How often it rang."""

    async def wait(self, rung: int, seconds: float) -> None:
        """Until it has rung more often than `rung`, or time is out."""
        loop = asyncio.get_running_loop()
        ring: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if self._closed or self.rung != rung:
                return
            self._waiting[ring] = loop
            self._begin()
        try:
            await asyncio.wait((ring,), timeout=seconds)
        finally:
            with self._lock:
                self._waiting.pop(ring, None)

    @property
    def is_closed(self) -> bool:
        """Whether nobody is to wait any more."""
        return self._closed

    def close(self) -> None:
        """End every wait."""
        with self._lock:
            self._closed = True
            self._somebody.set()
        self._ring()
        if self._thread is not None:
            self._thread.join()

    def _begin(self) -> None:
        self._somebody.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._listen, name="jobledger-doorbell", daemon=True)
            self._thread.start()

    def _listen(self) -> None:
        while not self._closed:
            self._somebody.wait()
            try:
                rung = self._wake_up.wait(_LISTEN_SECONDS)
            except Exception as error:  # noqa: BLE001 - who waits looks again all the same
                _log.warning("http.hints_failed", error=repr(error))
                rung = threading.Event().wait(_LISTEN_SECONDS)
            if rung:
                self._ring()
            with self._lock:
                if not self._waiting and not self._closed:
                    self._somebody.clear()

    def _ring(self) -> None:
        with self._lock:
            self.rung += 1
            rings, self._waiting = self._waiting, {}
        for ring, loop in rings.items():
            loop.call_soon_threadsafe(_done, ring)


def _done(ring: asyncio.Future[None]) -> None:
    if not ring.done():
        ring.set_result(None)


class _Line:
    """Those who wait for the same jobs."""

    def __init__(self, poll_seconds: float) -> None:
        self.turn = asyncio.Lock()
        self._poll_seconds = poll_seconds
        self._in_vain = -1
        """How often the bell had rung when somebody last looked in vain."""
        self.look_at = 0.0
        """When to look again all the same; the loop's time."""

    def has_news(self, rung: int, now: float) -> bool:
        """Whether a look may bring something that the last one did not."""
        return self._in_vain != rung or now >= self.look_at

    def looked(self, found: Claimed, rung: int, now: float) -> None:
        """Somebody looked: where that was in vain, the others need not."""
        if not found.jobs and not found.is_held_back:
            again_seconds = self._poll_seconds if found.look_again_seconds is None else found.look_again_seconds
            self._in_vain, self.look_at = rung, now + min(self._poll_seconds, again_seconds)


class Waiting:
    """Claims that wait."""

    def __init__(self, bell: Doorbell, *, poll_seconds: float = POLL_SECONDS) -> None:
        self._bell = bell
        self._poll_seconds = poll_seconds
        self._lines: WeakValueDictionary[Hashable, _Line] = WeakValueDictionary()

    async def claim(
        self, claim: Callable[[], Claimed], line_of: Hashable, *, seconds: float, own_seconds: float,
        is_gone: Callable[[], Awaitable[bool]],
    ) -> Claimed:  # fmt: skip
        """Claim, and where that brings nothing wait and claim again, until time is out or whoever asks has gone.

        `line_of` is the same for claims that may bring the same jobs. Each looks itself every `own_seconds` at least:
        a claim says that its worker lives."""
        now = asyncio.get_running_loop().time
        end, own_at = now() + seconds, now() + own_seconds
        line = self._lines.setdefault(line_of, _Line(self._poll_seconds))
        rung = self._bell.rung
        found = await run_in_threadpool(claim)
        line.looked(found, rung, now())
        while not found.jobs and now() < end and not self._bell.is_closed and not await is_gone():
            if found.is_held_back:
                rung = self._bell.rung  # whatever is dispatched: it is its own job that has to end
            look_at = now() + self._poll_seconds if found.is_held_back else min(line.look_at, own_at)
            await self._bell.wait(rung, max(0.0, min(end, look_at) - now()))
            async with line.turn:
                rung = self._bell.rung
                has_news = found.is_held_back or now() >= own_at or line.has_news(rung, now())
                if has_news and not await is_gone():
                    own_at = now() + own_seconds
                    found = await run_in_threadpool(claim)
                    line.looked(found, rung, now())
        return found

    def close(self) -> None:
        """End every wait: who waits is told that there was nothing."""
        self._bell.close()


@contextmanager
def listening(wake_up: WakeUp) -> Iterator[Waiting]:
    """Waits that hear hints, during the block."""
    waiting = Waiting(Doorbell(wake_up))
    try:
        yield waiting
    finally:
        waiting.close()
