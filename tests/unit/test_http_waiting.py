"""Claims that wait: who looks when, in an event loop, with hints that a test gives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from threading import Condition
from uuid import UUID

from jobledger.application.lease_messages import Claimed, LeasedJob
from jobledger.infrastructure.http.waiting import Doorbell, Waiting
from tests.support.watched_worker import WAIT_SECONDS

NOW = datetime(2026, 3, 2, tzinfo=UTC)
FOR_EVER = 3_600.0


class Hints:
    """A `WakeUp` whose hints come from a test."""

    def __init__(self) -> None:
        self._hints: SimpleQueue[None] = SimpleQueue()

    def notify(self, queues: frozenset[str]) -> None:
        """Give one."""
        self._hints.put(None)

    def wait(self, timeout_seconds: float) -> bool:
        """Whether one came."""
        try:
            self._hints.get(timeout=timeout_seconds)
        except Empty:
            return False
        return True

    def close(self) -> None:
        """Nothing is held."""


class Desk:
    """Hands out jobs, and counts who asked."""

    def __init__(self) -> None:
        self.jobs = 0
        self.looks = 0
        self._looked = Condition()

    def claim(self) -> Claimed:
        """One job, while there are any."""
        with self._looked:
            self.looks += 1
            self._looked.notify_all()
            if not self.jobs:
                return Claimed(())
            self.jobs -= 1
        job = LeasedJob(
            UUID(int=self.jobs), "acme", None, "t", "q", 0, b"{}", 1, 5, "w", 30.0, NOW, NOW, NOW, 300.0, "flow", "",
            alone=False,
        )  # fmt: skip
        return Claimed((job,))

    def wait_for(self, looks: int) -> None:
        """Until it was asked so often."""
        with self._looked:
            assert self._looked.wait_for(lambda: self.looks >= looks, WAIT_SECONDS)


def held_back() -> Claimed:
    """What a worker gets that holds a job which runs alone."""
    return Claimed((), is_held_back=True)


class Waiters:
    """Many claims on one desk, in one event loop."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.hints = Hints()
        self.gone = False
        self.own_seconds = FOR_EVER
        self.waiting = Waiting(Doorbell(self.hints), poll_seconds=FOR_EVER)

    async def _is_gone(self) -> bool:
        return self.gone

    def claim(self, seconds: float = FOR_EVER, ask: Callable[[], Claimed] | None = None) -> asyncio.Task[Claimed]:
        """Begin to wait."""
        return asyncio.create_task(
            self.waiting.claim(
                ask or self.desk.claim, "line", seconds=seconds, own_seconds=self.own_seconds, is_gone=self._is_gone
            )
        )

    async def looked(self, times: int) -> None:
        """Until the desk was asked so often."""
        await asyncio.to_thread(self.desk.wait_for, times)

    def hint(self) -> None:
        """There may be work."""
        self.hints.notify(frozenset())


def run(story: Callable[[Waiters], Awaitable[None]]) -> None:
    """Tell a story of waiters, in an event loop of its own."""

    async def told() -> None:
        waiters = Waiters()
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await story(waiters)
        finally:
            await asyncio.to_thread(waiters.waiting.close)

    asyncio.run(told())


def test_idle_workers_cost_what_one_does() -> None:
    """After a hint one of them looks; where that is in vain, nobody else does."""

    async def story(waiters: Waiters) -> None:
        claims = [waiters.claim() for _ in range(50)]
        await waiters.looked(50)
        for hints in range(1, 4):
            waiters.hint()
            await waiters.looked(50 + hints)
        waiters.desk.jobs = 1
        waiters.hint()
        done, waiting = await asyncio.wait(claims, return_when=asyncio.FIRST_COMPLETED)
        await waiters.looked(55)  # the one that found it, and the next, in vain
        assert (len(done), len(waiting), waiters.desk.looks) == (1, 49, 55)
        await asyncio.to_thread(waiters.waiting.close)
        assert [claim.jobs for claim in await asyncio.gather(*waiting)] == [()] * 49

    run(story)


def test_each_job_finds_somebody_who_waits() -> None:
    """One hint for many jobs wakes as many as there are jobs."""

    async def story(waiters: Waiters) -> None:
        claims = [waiters.claim() for _ in range(20)]
        await waiters.looked(20)
        waiters.desk.jobs = 20
        waiters.hint()
        found = await asyncio.gather(*claims)
        assert len({claim.jobs[0].job_id for claim in found}) == 20

    run(story)


def test_who_waits_is_heard_of() -> None:
    """Each looks itself now and then, hints or not: that says that its worker lives."""

    async def story(waiters: Waiters) -> None:
        waiters.own_seconds = 0.01
        claim = waiters.claim()
        await waiters.looked(5)
        waiters.desk.jobs = 1
        assert len((await claim).jobs) == 1

    run(story)


def test_time_runs_out() -> None:
    """Then the answer is that there was nothing."""

    async def story(waiters: Waiters) -> None:
        assert await waiters.claim(seconds=0.05) == Claimed(())

    run(story)


def test_who_has_gone_takes_nothing() -> None:
    """A hint wakes it, and it does not look any more."""

    async def story(waiters: Waiters) -> None:
        claim = waiters.claim()
        await waiters.looked(1)
        waiters.gone, waiters.desk.jobs = True, 1
        waiters.hint()
        assert (await claim).jobs == ()
        assert (waiters.desk.jobs, waiters.desk.looks) == (1, 1)

    run(story)


def test_who_is_held_back_keeps_nobody_from_looking() -> None:
    """A worker that holds a job which runs alone gets nothing; the others of its line do."""

    async def story(waiters: Waiters) -> None:
        other = waiters.claim()
        await waiters.looked(1)
        waiting = waiters.claim(ask=held_back)
        waiters.desk.jobs = 1
        waiters.hint()
        assert len((await other).jobs) == 1
        await asyncio.to_thread(waiters.waiting.close)
        assert await waiting == held_back()

    run(story)
