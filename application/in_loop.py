"""Futures of other threads, awaited in an event loop that is woken once for all that end together.

`asyncio.wrap_future` wakes the loop (a system call) for each: of a group commit's thirty writes, thirty times.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


class _Bell:
    """One loop's: what has ended and is not told yet."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ended: deque[tuple[asyncio.Future[Any], Future[Any]]] = deque()
        self._is_rung = False

    def ring(self, waiting: asyncio.Future[Any], ended: Future[Any]) -> None:
        """From any thread. What is appended before a look at the flag is found by whoever clears it before a look."""
        self._ended.append((waiting, ended))
        if not self._is_rung:
            self._is_rung = True
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._is_rung = False
        while self._ended:
            waiting, ended = self._ended.popleft()
            if waiting.done():  # nobody waits any more
                continue
            try:
                error = ended.exception()
            except CancelledError:
                waiting.cancel()
                continue
            if error is None:
                waiting.set_result(ended.result())
            else:
                waiting.set_exception(error)


_bells: WeakKeyDictionary[asyncio.AbstractEventLoop, _Bell] = WeakKeyDictionary()


def awaited(future: Future[T]) -> asyncio.Future[T]:
    """To be awaited in the running loop. Who stops waiting does not stop what goes on."""
    loop = asyncio.get_running_loop()
    bell = _bells.get(loop)
    if bell is None:
        bell = _bells[loop] = _Bell(loop)
    waiting: asyncio.Future[T] = loop.create_future()
    future.add_done_callback(partial(bell.ring, waiting))
    return waiting
