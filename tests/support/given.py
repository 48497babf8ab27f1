"""Given / when / then for decisions about a job, and a history that leads to each status.

given(dispatched(), started()).when(lambda job: complete(job, LEASE, Measured())).then("job.completed")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import TypeVar
from uuid import UUID

import pytest

from jobledger.domain.errors import Refusal
from jobledger.domain.event import Facts
from jobledger.domain.job import (
    Decision,
    JobCancelled,
    JobCancelRequested,
    JobCompleted,
    JobDiscarded,
    JobDispatched,
    JobFacts,
    JobFailed,
    JobRetried,
    JobSentToDlq,
    JobStarted,
    JobState,
    Lease,
    evolve,
)
from jobledger.domain.retry import Retry

RefusalT = TypeVar("RefusalT", bound=Refusal)

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
WORKER = "worker-1"
LEASE = Lease(WORKER, 1)
ABOUT = {"job_type": "invoice.send", "queue": "billing", "persona": "billing-bot"}
OTHER_JOB = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


class Given:
    """A job that has come so far."""

    def __init__(self, *history: Facts) -> None:
        state: JobState | None = None
        for facts in history:
            state = evolve(state, facts)
        assert state is not None, "a history has at least job.dispatched"
        self.state = state

    def when(self, decide: Callable[[JobState], Decision]) -> When:
        """Something is to be decided."""
        return When(self.state, decide)


class When:
    """A decision about to be taken."""

    def __init__(self, state: JobState, decide: Callable[[JobState], Decision]) -> None:
        self._state = state
        self._decide = decide

    def then(self, *expected: JobFacts | str) -> JobState:
        """These events follow (a text stands for any event of that topic); the state after them."""
        decided = self._decide(self._state)
        shown = [
            facts.topic if isinstance(wanted, str) else facts for facts, wanted in zip(decided, expected, strict=False)
        ]
        assert shown == list(expected) and len(decided) == len(expected), decided
        return reduce(_after, decided, self._state)

    def event(self) -> JobFacts:
        """The only event that follows."""
        (facts,) = self._decide(self._state)
        return facts

    def refused(self, refusal: type[RefusalT]) -> RefusalT:
        """It is refused, with this."""
        with pytest.raises(refusal) as caught:
            self._decide(self._state)
        assert type(caught.value) is refusal
        return caught.value


def _after(state: JobState, facts: JobFacts) -> JobState:
    return evolve(state, facts)


def given(*history: Facts) -> Given:
    """A job with this history."""
    return Given(*history)


# --- the events of a history -----------------------------------------------------------------------------------------


def dispatched(
    *,
    status: str = "pending",
    due_at: datetime = NOW,
    retry: Retry | None = None,
    max_stalled: int = 3,
    priority: int = 0,
) -> JobDispatched:
    """A dispatch."""
    return JobDispatched.model_validate(
        {
            **ABOUT, "status": status, "due_at": due_at, "retry": retry or Retry.fixed(3, 10),
            "max_stalled": max_stalled, "priority": priority,
        }
    )  # fmt: skip


def started(attempt: int = 1, worker: str = WORKER) -> JobStarted:
    """A claim."""
    return JobStarted(**ABOUT, attempt=attempt, worker=worker, code_version="v1", lease_seconds=30)


def completed(attempt: int = 1) -> JobCompleted:
    """A success."""
    return JobCompleted(**ABOUT, attempt=attempt, worker=WORKER, seconds_in_queue=0, seconds_running=0)


def failed(attempt: int = 1) -> JobFailed:
    """A failure."""
    return JobFailed(
        **ABOUT, attempt=attempt, worker=WORKER, error_type="Broken", message="it broke", fingerprint="f",
        recoverable=True,
    )  # fmt: skip


def retried(attempt: int = 1) -> JobRetried:
    """The decision to try again."""
    return JobRetried(
        **ABOUT, next_attempt=attempt + 1, due_at=NOW + timedelta(seconds=10), delay_seconds=10,
        policy=Retry.fixed(3, 10), jitter=0, attempts_counted=attempt,
    )  # fmt: skip


def cancel_requested(attempt: int = 1) -> JobCancelRequested:
    """Somebody asked the running job to stop."""
    return JobCancelRequested(**ABOUT, attempt=attempt, reason="not needed")


def cancelled() -> JobCancelled:
    """The end of a job that nobody wants."""
    return JobCancelled(**ABOUT, reason="not needed")


def sent_to_dlq(attempt: int = 1) -> JobSentToDlq:
    """Failed for good."""
    return JobSentToDlq(
        **ABOUT, reason="attempts_exhausted", attempt=attempt, error_type="Broken", message="it broke", fingerprint="f"
    )


def discarded() -> JobDiscarded:
    """Given up by a human."""
    return JobDiscarded(**ABOUT, reason="hopeless")


HISTORIES: Mapping[str, tuple[Facts, ...]] = {
    "pending": (dispatched(),),
    "delayed": (dispatched(status="delayed", due_at=NOW + timedelta(hours=1)),),
    "blocked": (dispatched(status="blocked"),),
    "in_progress": (dispatched(), started()),
    "in_progress, asked to stop": (dispatched(), started(), cancel_requested()),
    "delayed for its retry": (dispatched(), started(), failed(), retried()),
    "completed": (dispatched(), started(), completed()),
    "dlq": (dispatched(), started(), failed(), sent_to_dlq()),
    "cancelled": (dispatched(), cancelled()),
    "discarded": (dispatched(), started(), failed(), sent_to_dlq(), discarded()),
}
"""A history that ends in each status."""
