"""Process jobs count against the concurrency, and those that wait for a child hold no slot."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from uuid import UUID

import pytest
from pydantic import BaseModel

from jobledger.application.app import App
from jobledger.application.job_context import JobContext
from jobledger.application.worker.attempt import Attempt
from jobledger.application.worker.execution import Slots
from jobledger.application.worker.process_lane import ProcessLane
from tests.support.fake_ledger import FakeLedger

WAIT_SECONDS = 20.0


class Payload(BaseModel):
    """Anything."""


class Lane:
    """A lane whose children run until they are told to end."""

    def __init__(self, app: App, ledger: FakeLedger, *, size: int, slots: int) -> None:
        self._app, self._ledger = app, ledger
        self.begun: list[UUID] = []
        self._changed = threading.Condition()
        self._ending = threading.Semaphore(0)
        self.room_again = threading.Event()
        self.lane = ProcessLane(
            app.jobs, size=size, run=self._run, slots=lambda: self.slots, room_again=self.room_again.set, name="lane"
        )
        self.slots = Slots(slots, self.lane.begin)

    def claim(self, count: int) -> list[UUID]:
        """Claim so many process jobs and offer them to the slots."""
        attempts = []
        for _ in range(count):
            job_id = self._ledger.dispatch(self._app, "tested.process")
            job = self._ledger.open_jobs("acme", [job_id])[job_id]
            attempts.append(Attempt(job, self._app.jobs["tested.process"], "worker"))
        self.lane.claimed(attempts)
        self.slots.offer(attempts)
        return [attempt.job.job_id for attempt in attempts]

    def wait_for(self, begun: list[UUID]) -> None:
        """Wait until exactly these have begun, in this order."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.begun) >= len(begun), WAIT_SECONDS)
        assert self.begun == begun

    def end(self, count: int = 1) -> None:
        """Let so many of those that run end."""
        self._ending.release(count)

    def _run(self, attempt: Attempt) -> bool:
        with self._changed:
            self.begun.append(attempt.job.job_id)
            self._changed.notify_all()
        self._ending.acquire()
        return True


@pytest.fixture
def jobs(app: App) -> App:
    """One job type for processes and one for threads."""

    @app.job("tested.process", effects="none", isolation="process")
    def process(_context: JobContext, _: Payload) -> None: ...

    @app.job("tested.thread", effects="none")
    def thread(_context: JobContext, _: Payload) -> None: ...

    return app


@pytest.fixture
def lane(jobs: App, ledger: FakeLedger) -> Iterator[Lane]:
    """One child, four slots."""
    lane = Lane(jobs, ledger, size=1, slots=4)
    yield lane
    lane.end(100)
    lane.lane.close()


def test_those_that_wait_for_a_child_hold_no_slot(lane: Lane) -> None:
    """One runs, two are parked: three of four slots are free for others."""
    first, second, third = lane.claim(3)
    lane.wait_for([first])
    assert lane.slots.free == 3
    lane.end()
    lane.wait_for([first, second])
    lane.end()
    lane.wait_for([first, second, third])
    assert lane.slots.free == 3


def test_no_more_are_claimed_than_children_are_free(jobs: App, ledger: FakeLedger) -> None:
    """Each kind of types by itself while children are short; all types at once while they are not."""
    lane = Lane(jobs, ledger, size=2, slots=4)
    everything = ("tested.process", "tested.thread")
    assert lane.lane.shares(2) == ((everything, 2),)
    assert lane.lane.shares(4) == ((("tested.process",), 2), (("tested.thread",), 4))
    lane.claim(1)
    assert lane.lane.shares(4) == ((("tested.process",), 1), (("tested.thread",), 4))
    lane.claim(1)
    assert lane.lane.shares(4) == ((("tested.thread",), 4),)
    lane.end(2)
    assert lane.room_again.wait(WAIT_SECONDS)
    lane.lane.close()


def test_what_is_parked_can_be_given_back(lane: Lane) -> None:
    """At the end of a worker what waits for a child never begins."""
    first, *parked = lane.claim(3)
    lane.wait_for([first])
    assert [attempt.job.job_id for attempt in lane.lane.take_parked()] == parked
    lane.end()
    lane.wait_for([first])


def test_a_killed_child_makes_room_without_its_thread(lane: Lane) -> None:
    """After a hard timeout the next attempt begins though the thread of the first has not come back."""
    first, second = lane.claim(2)
    lane.wait_for([first])
    lane.lane.pass_on()
    lane.wait_for([first, second])
