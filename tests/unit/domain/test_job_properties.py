"""Whatever is decided, in whatever order: what always holds of a job's history."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from jobledger.domain import job as jobs
from jobledger.domain.errors import Refusal
from jobledger.domain.job import (
    TERMINAL,
    AttemptError,
    Decision,
    JobCancelled,
    JobCompleted,
    JobDiscarded,
    JobFacts,
    JobFailed,
    JobInterrupted,
    JobRequeued,
    JobSnoozed,
    JobStalled,
    JobStarted,
    JobState,
    JobStatus,
    Lease,
    Measured,
    evolve,
)
from jobledger.domain.retry import Retry
from tests.support.given import NOW, OTHER_JOB, dispatched

ENDINGS = (JobCompleted, JobFailed, JobStalled, JobInterrupted, JobSnoozed)
NAMES = (
    "start", "release", "reschedule", "cancel", "reject", "progress", "complete", "fail", "fail for good", "snooze",
    "interrupt", "stall", "stop", "requeue", "discard",
)  # fmt: skip

moves = st.lists(st.tuples(st.sampled_from(NAMES), st.integers(1, 2), st.floats(0, 1)), max_size=60)
births = st.builds(
    dispatched,
    status=st.sampled_from(["pending", "delayed", "blocked"]),
    retry=st.builds(Retry.exponential, max_attempts=st.integers(1, 4)),
    max_stalled=st.integers(0, 2),
)


@settings(max_examples=400, deadline=None)
@for_all(birth=births, moves=moves)
def test_a_history_keeps_its_rules(birth: jobs.JobDispatched, moves: list[tuple[str, int, float]]) -> None:
    """One ending an attempt, attempts never above those allowed, nothing after a terminal status."""
    state, history = evolve(None, birth), list[JobFacts]()
    granted = birth.retry.max_attempts
    for name, worker, number in moves:
        before = state
        decided = _decide(state, name, worker, number)
        for facts in decided:
            state = evolve(state, facts)
            granted += facts.attempts_granted if isinstance(facts, JobRequeued) else 0
        history += decided
        assert not (decided and before.status in TERMINAL), "nothing follows a terminal status"
        assert state.attempt >= before.attempt, "attempts are numbered upwards"
        assert 0 <= state.attempts_counted <= state.attempts_allowed <= granted
        assert state.stalls <= birth.max_stalled + 1
        assert (state.worker is not None) == (state.status is JobStatus.IN_PROGRESS)
        assert state.cancel_reason is None or state.status is JobStatus.IN_PROGRESS
        if state.status is JobStatus.COMPLETED:
            assert not state.last_attempt_failed
    _assert_one_ending_an_attempt(history, state)
    assert _folded(birth, history) == state, "a history folds to the state that its decisions saw"


def _assert_one_ending_an_attempt(history: list[JobFacts], state: JobState) -> None:
    endings: dict[int, int] = {facts.attempt: 0 for facts in history if isinstance(facts, JobStarted)}
    assert list(endings) == list(range(1, len(endings) + 1)), "every attempt begins once, in order"
    for facts in history:
        if isinstance(facts, ENDINGS) or (isinstance(facts, JobCancelled) and facts.attempt is not None):
            endings[facts.attempt or 0] += 1
    running = state.attempt if state.status is JobStatus.IN_PROGRESS else None
    assert endings == {attempt: 0 if attempt == running else 1 for attempt in endings}


def _folded(birth: jobs.JobDispatched, history: list[JobFacts]) -> JobState:
    state = evolve(None, birth)
    for facts in history:
        state = evolve(state, facts)
    return state


def _decide(state: JobState, name: str, worker: int, number: float) -> Decision:
    """The decision by name, of a worker that may or may not hold the lease; refused: nothing follows."""
    try:
        return _attempt(state, name, Lease(f"worker-{worker}", max(1, state.attempt)), number)
    except Refusal:
        return ()


def _attempt(state: JobState, name: str, lease: Lease, number: float) -> Decision:
    error = AttemptError("Broken", "it broke", "f")
    soon = NOW + timedelta(seconds=60 * number)
    match name:
        case "start":
            return jobs.start(state, worker=lease.worker, code_version="v1", lease_seconds=30)
        case "release":
            return jobs.release(state, dependency=OTHER_JOB)
        case "reschedule":
            due_at = None if state.status is JobStatus.IN_PROGRESS else soon
            return jobs.reschedule(state, now=NOW, reason="moved", priority=int(number * 10), due_at=due_at)
        case "cancel":
            return jobs.cancel(state, reason="not needed")
        case "reject":
            return jobs.reject(state, reason="unrecoverable", error_type="E", message="m", fingerprint="f")
        case "progress":
            return jobs.progress(state, lease, fraction=number)
        case "complete":
            return jobs.complete(state, lease, Measured())
        case "fail":
            return jobs.fail(state, lease, error, now=NOW, jitter=number, measured=Measured())
        case "fail for good":
            hopeless = error._replace(dlq_reason="unrecoverable")
            return jobs.fail(state, lease, hopeless, now=NOW, jitter=number, measured=Measured())
        case "snooze":
            return jobs.snooze(state, lease, due_at=soon, why="later")
        case "interrupt":
            return jobs.interrupt(state, lease, why="shutdown")
        case "stall":
            return jobs.stall(state, lease, last_seen_at=None)
        case "stop":
            return jobs.stop_cancelled(state, lease)
        case "requeue":
            return jobs.requeue(state, now=NOW, reason="fixed", attempts_granted=1 + int(number * 2))
        case _:
            return jobs.discard(state, reason="hopeless")


def test_discarded_is_terminal() -> None:
    """The three terminal statuses are the three that the domain names."""
    assert {JobStatus.COMPLETED, JobStatus.CANCELLED, JobStatus.DISCARDED} == TERMINAL
    assert JobDiscarded.topic == "job.discarded"
