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

from starlette.concurrency import run_in_threadpool

from jobledger.application.lease_messages import Claimed
from jobledger.application.ports import WakeUp

POLL_SECONDS = 1.0
"""How often who waits looks anyway: hints are only ever hints."""
_LISTEN_SECONDS = 0.5


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
            if self._wake_up.wait(_LISTEN_SECONDS):
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


@contextmanager
def listening(wake_up: WakeUp) -> Iterator[Doorbell]:
    """A doorbell during the block."""
    bell = Doorbell(wake_up)
    try:
        yield bell
    finally:
        bell.close()


class _Line:
    """Those who wait for the same jobs, in one event loop."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.in_vain = -1
        """How often the bell had rung when somebody last looked in vain."""
        self.look_at = 0.0
        """When to look again all the same; the loop's time."""


class Waiting:
    """Claims that wait."""

    def __init__(self, bell: Doorbell) -> None:
        self._bell = bell
        self._lines: WeakValueDictionary[Hashable, _Line] = WeakValueDictionary()

    async def claim(
        self, claim: Callable[[], Claimed], line_of: Hashable, *, seconds: float, is_gone: Callable[[], Awaitable[bool]]
    ) -> Claimed:
        """Claim, and where that brings nothing wait and claim again, until time is out or whoever asks has gone.

        `line_of` is the same for claims that may bring the same jobs."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        rung = self._bell.rung
        found = await run_in_threadpool(claim)
        line = self._lines.setdefault(line_of, _Line())
        while True:
            if found.jobs or loop.time() >= end or self._bell.is_closed or await is_gone():
                return found
            self._vain(line, found, rung, loop.time())
            await self._bell.wait(rung, max(0.0, min(end, line.look_at) - loop.time()))
            async with line.turn:
                rung = self._bell.rung
                if line.in_vain != rung or loop.time() >= line.look_at:
                    if loop.time() < end and not await is_gone():
                        found = await run_in_threadpool(claim)
                        self._vain(line, found, rung, loop.time())

    @staticmethod
    def _vain(line: _Line, found: Claimed, rung: int, now: float) -> None:
        """Somebody looked: the others need not, where that was in vain."""
        if not found.jobs:
            again_seconds = POLL_SECONDS if found.look_again_seconds is None else found.look_again_seconds
            line.in_vain, line.look_at = rung, now + min(POLL_SECONDS, again_seconds)
