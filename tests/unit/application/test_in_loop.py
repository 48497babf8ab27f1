"""Futures of other threads, awaited in an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from random import Random
from typing import Any

import pytest

from jobledger.application.in_loop import awaited

SEED = 20_261_123


@pytest.fixture
def elsewhere() -> Iterator[ThreadPoolExecutor]:
    """Other threads."""
    with ThreadPoolExecutor(4) as threads:
        yield threads


def test_each_is_told_its_own(elsewhere: ThreadPoolExecutor) -> None:
    """However many end at once, on however many threads, in whatever order, before or after they are waited for."""
    futures: list[Future[int]] = [Future() for _ in range(2_000)]
    order = list(enumerate(futures))
    Random(SEED).shuffle(order)

    async def wait() -> list[int]:
        for number, future in order[:100]:
            future.set_result(number)
        waiting = [awaited(future) for future in futures]
        for begin in range(4):
            elsewhere.submit(_end, order[100 + begin :: 4])
        return list(await asyncio.gather(*waiting))

    assert asyncio.run(asyncio.wait_for(wait(), 60)) == list(range(2_000))


def _end(futures: list[tuple[int, Future[int]]]) -> None:
    for number, future in futures:
        future.set_result(number)


def test_an_error_is_raised(elsewhere: ThreadPoolExecutor) -> None:
    """The one that it ended with; a future that was cancelled cancels who waits."""
    failed: Future[Any] = elsewhere.submit(lambda: 1 // 0)
    cancelled: Future[Any] = Future()
    cancelled.cancel()

    async def wait(future: Future[Any]) -> None:
        await awaited(future)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(wait(failed))
    cancelled.set_running_or_notify_cancel()
    with pytest.raises((asyncio.CancelledError, CancelledError)):
        asyncio.run(wait(cancelled))


def test_who_stops_waiting_stops_nothing() -> None:
    """The write goes on, and others are told."""
    left: Future[int] = Future()
    other: Future[int] = Future()

    async def wait() -> int:
        waiting = awaited(left)
        waiting.cancel()
        rest = awaited(other)
        left.set_result(1)
        other.set_result(2)
        return await rest

    assert asyncio.run(wait()) == 2
    assert left.result() == 1


def test_loops_are_told_apart() -> None:
    """A program may run one after the other."""
    for number in range(3):
        future: Future[int] = Future()

        async def wait(future: Future[int] = future, number: int = number) -> int:
            waiting = awaited(future)
            future.set_result(number)
            return await waiting

        assert asyncio.run(wait()) == number
