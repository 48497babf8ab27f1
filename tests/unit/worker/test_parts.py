"""Parts of the worker by themselves: pace, options, fingerprints, events."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobledger.application.ports import OpenJob
from jobledger.application.worker import WorkerEvent, WorkerEventName, WorkerEvents, WorkerOptions
from jobledger.application.worker.attempt import Attempt
from jobledger.application.worker.failures import (
    MAX_DELAY_SECONDS,
    TRACEBACK_BYTES,
    clean,
    failure,
    fingerprint,
    traceback_of,
)
from jobledger.application.worker.pace import Pace
from jobledger.application.worker.trouble import Trouble
from jobledger.domain.errors import InvalidInput, LedgerUnavailable, RetryAfter
from jobledger.domain.job import JobDispatched, evolve
from tests.support.sample_app import app


def test_a_late_answer_from_before_an_outage_does_not_end_it() -> None:
    """Several threads ask: an answer to a question from before the last failure is no recovery, and nothing is told of
    the same outage twice."""
    events, told = WorkerEvents(), list[WorkerEventName]()
    events.on_any(lambda event: told.append(event.name))
    trouble = Trouble("worker-1", events)
    early = trouble.asking
    trouble.pause(LedgerUnavailable("away"))
    trouble.over(early)
    trouble.pause(LedgerUnavailable("still away"))
    trouble.over(trouble.asking)
    assert told == [WorkerEventName.ERROR, WorkerEventName.RECOVERED]


def raised_by(function: Callable[[], object]) -> BaseException:
    """What calling the function raises, with its traceback."""
    try:
        function()
    except BaseException as error:  # noqa: BLE001 - any will do
        return error
    raise AssertionError("nothing was raised")


def test_nothing_is_claimed_ahead_before_anything_has_ended() -> None:
    """Without experience a worker claims only what can begin now."""
    assert Pace().ahead(16, 500, now=10.0) == 0


@pytest.mark.parametrize(("seconds", "ahead"), [(10.0, 1), (1.0, 16), (0.1, 160), (0.0001, 500), (0.0, 500)])
def test_what_begins_within_a_second_is_claimed_ahead(seconds: float, ahead: int) -> None:
    """Sixteen slots and a mean running time say how many jobs begin within a second."""
    pace = Pace()
    for _ in range(1_000):
        pace.add(seconds)
    assert pace.ahead(16, 500, now=1.0) == ahead


def test_a_few_quick_jobs_are_no_promise() -> None:
    """No more are claimed ahead than ended lately: those that come next may be slower."""
    pace = Pace()
    for _ in range(25):
        pace.add(0.001)
    assert pace.ahead(16, 500, now=1.0) == 25


def test_what_was_is_forgotten() -> None:
    """A worker that ended nothing for some looks claims nothing ahead: its next jobs may be slow ones."""
    pace = Pace()
    for _ in range(16):
        pace.add(0.001)
    looks = [pace.ahead(4, 500, now=float(second)) for second in range(1, 8)]
    assert looks == [16, 8, 4, 2, 1, 0, 0]


def test_waiting_on_the_worker_is_time_in_the_queue() -> None:
    """What was claimed ahead waits here: seconds in the queue end when the handler begins."""
    due_at = datetime(2026, 11, 22, tzinfo=UTC)
    state = evolve(None, JobDispatched(job_type="sample.ok", queue="default", due_at=due_at))
    job = OpenJob(UUID(int=7), "acme", 2, state, due_at + timedelta(seconds=2), "correlation", "trace", b"{}")
    waiting = Attempt(job, app.declared("sample.ok"), "worker-1", claimed_at=100.0)
    waiting.begun_at = 103.5
    measured = waiting.measure(105.0, 0.0)
    assert measured.seconds_in_queue == 2.0 + 3.5
    assert measured.seconds_running == 1.5


@pytest.mark.parametrize(
    "options",
    [
        {"concurrency": 0}, {"queues": ()}, {"fetch_size": 0}, {"poll_seconds": 0}, {"grace_seconds": -1},
        {"lease_seconds": 5, "lease_renew_buffer_seconds": 5}, {"max_quarantined": 0},
    ],
    ids=lambda options: next(iter(options)),
)  # fmt: skip
def test_options_out_of_bounds_are_refused(options: dict[str, Any]) -> None:
    """Each option names itself and its rule when it is out of bounds."""
    with pytest.raises(InvalidInput) as refused:
        WorkerOptions(**options)
    assert refused.value.field in options


def test_leases_are_renewed_before_the_buffer_begins() -> None:
    """Renewals come early enough that the buffer is never touched."""
    assert WorkerOptions().renewal_seconds == 10.0
    assert WorkerOptions(lease_seconds=30, lease_renew_buffer_seconds=25).renewal_seconds == 5.0


def test_a_fingerprint_tells_kinds_of_failures_apart() -> None:
    """The same type from the same place has one fingerprint, whatever its text; another place has another."""

    def here(text: str) -> None:
        raise ValueError(text)

    def there() -> None:
        raise ValueError("a")

    first, second = (raised_by(lambda text=text: here(text)) for text in ("a", "b"))  # type: ignore[misc]
    assert fingerprint(first) == fingerprint(second)
    assert fingerprint(first) != fingerprint(raised_by(there))


def test_a_traceback_is_capped_and_keeps_its_end() -> None:
    """A traceback of a deep recursion with a long text is cut, and still ends with the error."""

    def dive(depth: int) -> None:
        if depth == 0:
            raise ValueError("x" * 200_000 + " the end")
        dive(depth - 1)

    encoded = traceback_of(raised_by(lambda: dive(500)))
    assert len(encoded) <= TRACEBACK_BYTES + 4
    assert encoded.rstrip().endswith(b"the end")


@pytest.mark.parametrize(
    ("asked", "taken"),
    [(5, 5.0), (0, 0.0), (-1, None), (math.nan, None), (math.inf, MAX_DELAY_SECONDS), ("soon", None)],
)
def test_a_retry_after_that_makes_no_sense_falls_back_to_the_policy(asked: Any, taken: float | None) -> None:  # noqa: ANN401
    """A handler's wish is followed where it is a delay, up to the longest one."""
    assert failure(RetryAfter(asked)).retry_after_seconds == taken


@given(st.text(max_size=50), st.integers(min_value=3, max_value=60))
def test_cleaned_text_can_always_be_stored(text: str, limit: int) -> None:
    """Whatever a handler says becomes valid UTF-8 without NUL; text that was fine and short stays as it is."""
    cleaned = clean(text, limit)
    assert "\x00" not in cleaned
    cleaned.encode("utf-8")
    if len(text) <= limit and "\x00" not in text and not any("\ud800" <= char <= "\udfff" for char in text):
        assert cleaned == text


def test_listeners_hear_what_they_asked_for() -> None:
    """A listener is called for its event only; an unknown name is refused."""
    events = WorkerEvents()
    heard: list[WorkerEvent] = []
    events.on("active", heard.append)
    assert events.heard(WorkerEventName.ACTIVE)
    assert not events.heard(WorkerEventName.ERROR)
    events.emit(WorkerEvent(WorkerEventName.ACTIVE, "w"))
    events.emit(WorkerEvent(WorkerEventName.ERROR, "w"))
    assert [event.name for event in heard] == ["active"]
    with pytest.raises(InvalidInput, match="nonsense"):
        events.on("nonsense", heard.append)


@pytest.mark.parametrize(("either", "other"), [("processed", "completed"), ("errored", "failed")])
def test_an_ending_has_two_names(either: str, other: str) -> None:
    """Listening to the ledger's word or to the queue's is the same, and nobody hears an ending twice."""
    for asked in (either, other):
        events = WorkerEvents()
        heard: list[WorkerEvent] = []
        events.on(asked, heard.append)
        assert events.heard(WorkerEventName(other))
        events.emit(WorkerEvent(WorkerEventName(either), "w"))
        assert [event.name for event in heard] == [either]
    events = WorkerEvents()
    heard = []
    events.on_any(heard.append)
    events.emit(WorkerEvent(WorkerEventName(other), "w"))
    assert len(heard) == 1
