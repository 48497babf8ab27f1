"""What other processes hear of queues and their jobs: the ledger, followed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from structlog.testing import capture_logs

from jobledger.application.limit_messages import PauseTarget, ResumeTarget, SetLimits
from jobledger.application.ports import EventBatch
from jobledger.application.queue_events import QueueEvents
from jobledger.domain.errors import InvalidInput, LedgerUnavailable
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import JOB_FACTS
from tests.support.use_cases import UseCases

WAIT_SECONDS = 20.0


class Heard:
    """What listeners were told, and a wait for more of it."""

    def __init__(self) -> None:
        self.topics: list[str] = []
        self._changed = threading.Condition()

    def __call__(self, event: RecordedEvent) -> None:
        """Take one."""
        with self._changed:
            self.topics.append(event.topic)
            self._changed.notify_all()

    def wait_for(self, count: int) -> list[str]:
        """The topics, once there are so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.topics) >= count, WAIT_SECONDS), self.topics
            return self.topics


class Moody:
    """A reader that fails when a test says so."""

    def __init__(self, cases: UseCases) -> None:
        self._reader = cases.ledger.reader
        self.error: Exception | None = None
        self.failed = threading.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._reader, name)

    def read_after(self, position: int, *, limit: int, topics: frozenset[str] | None = None) -> EventBatch:
        """The next events, or the error."""
        if self.error is not None:
            self.failed.set()
            raise self.error
        return self._reader.read_after(position, limit=limit, topics=topics)


@pytest.fixture
def cases() -> UseCases:
    """A ledger in memory."""
    return UseCases()


@pytest.fixture
def following(cases: UseCases) -> Iterator[Callable[..., QueueEvents]]:
    """Makes followers, and ends them."""
    made: list[QueueEvents] = []

    def follow(*queues: str, reader: object = None) -> QueueEvents:
        made.append(QueueEvents(reader or cases.ledger.reader, queues=queues, poll_seconds=0.005))  # type: ignore[arg-type]
        return made[-1]

    yield follow
    for events in made:
        events.close()


Following = Callable[..., QueueEvents]


def test_every_event_of_a_job_has_a_name(following: Following) -> None:
    """As the ledger calls it, without `job.`; an unknown one is refused with the names there are."""
    events = following()
    for facts in JOB_FACTS:
        events.on(facts.topic.removeprefix("job."), print)
    with pytest.raises(InvalidInput, match="nonsense") as refused:
        events.on("nonsense", print)
    assert "sent_to_dlq" in str(refused.value.rule) and "paused" in str(refused.value.rule)


def test_pauses_and_limits_of_a_queue_are_heard(cases: UseCases, following: Following) -> None:
    """Of the queues that were asked for; a tenant's are not a queue's."""
    events, heard = following("default"), Heard()
    events.on_any(heard)
    events.start()
    why = {"reason": "the gateway is down"}
    cases.ask(PauseTarget, queue="keyed", **why)
    cases.ask(PauseTarget, tenant="acme", **why)
    cases.ask(PauseTarget, queue="default", **why)
    cases.ask(ResumeTarget, queue="default", **why)
    cases.ask(SetLimits, queue="default", concurrency=3, **why)
    cases.dispatch()
    assert heard.wait_for(4) == ["queue.paused", "queue.resumed", "queue.limited", "job.dispatched"]


def test_a_listener_may_come_late(cases: UseCases, following: Following) -> None:
    """Added while others are told; it hears what comes after."""
    events, first, second = following(), Heard(), Heard()
    events.on("dispatched", first)
    events.start()
    cases.dispatch()
    first.wait_for(1)
    events.on("dispatched", second)
    cases.dispatch()
    first.wait_for(2)
    assert second.wait_for(1) == ["job.dispatched"]


def test_a_listener_that_raises_ends_nobody(cases: UseCases, following: Following) -> None:
    """Not even one that ends the program."""
    events, heard = following(), Heard()

    def broken(event: RecordedEvent) -> None:
        raise SystemExit("enough")

    events.on("dispatched", broken)
    events.on("dispatched", heard)
    events.start()
    cases.dispatch()
    cases.dispatch()
    assert heard.wait_for(2) == ["job.dispatched"] * 2


@pytest.mark.parametrize("error", [LedgerUnavailable("away"), RuntimeError("what nobody expected")])
def test_a_ledger_that_is_away_is_followed_again(cases: UseCases, following: Following, error: Exception) -> None:
    """Nothing is missed, and the trouble is told of once."""
    reader, heard = Moody(cases), Heard()
    events = following(reader=reader)
    events.on("dispatched", heard)
    with capture_logs() as logs:
        events.start()
        for _ in range(2):
            reader.failed.clear()
            reader.error = error
            assert reader.failed.wait(WAIT_SECONDS)
        cases.dispatch()
        reader.error = None
        assert heard.wait_for(1) == ["job.dispatched"]
    assert [log["event"] for log in logs] == ["queue_events.reading_failed"]


def test_what_was_recorded_before_the_end_is_told(cases: UseCases, following: Following) -> None:
    """Closing waits for it."""
    events, heard = following(), Heard()
    events.on("dispatched", heard)
    events.start()
    for _ in range(20):
        cases.dispatch()
    events.close()
    assert len(heard.topics) == 20
