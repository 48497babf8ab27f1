"""Every decision about a job, in every status it may be in."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from jobledger.domain import job as jobs
from jobledger.domain.errors import IllegalTransition, LeaseLost, ReasonRequired, Refusal
from jobledger.domain.job import (
    Decision,
    JobState,
    JobStatus,
)
from tests.support.given import (
    HISTORIES,
    NOW,
    given,
)
from tests.unit.domain.decisions import DECISIONS

NO, LOST = IllegalTransition, LeaseLost
Answer = type[Refusal] | tuple[str, ...]

_STATUSES = (
    "pending", "delayed", "blocked", "in_progress", "in_progress, asked to stop", "delayed for its retry", "completed",
    "dlq", "cancelled", "discarded",
)  # fmt: skip
_STARTED, _RESCHEDULED, _CANCELLED = ("job.started",), ("job.rescheduled",), ("job.cancelled",)
_DEAD = ("job.sent_to_dlq",)
_ANSWERS: Mapping[str, tuple[Answer, ...]] = {
    "start": (_STARTED, _STARTED, NO, NO, NO, _STARTED, NO, NO, NO, NO),
    "release": (NO, NO, ("job.released",), NO, NO, NO, NO, NO, NO, NO),
    "reschedule priority": (
        _RESCHEDULED, _RESCHEDULED, _RESCHEDULED, _RESCHEDULED, _RESCHEDULED, _RESCHEDULED, NO, NO, NO, NO,
    ),
    "reschedule time": (_RESCHEDULED, _RESCHEDULED, _RESCHEDULED, NO, NO, _RESCHEDULED, NO, NO, NO, NO),
    "cancel": (
        _CANCELLED, _CANCELLED, _CANCELLED, ("job.cancel_requested",), NO, _CANCELLED, NO, NO, NO, NO,
    ),
    "reject": (_DEAD, _DEAD, _DEAD, NO, NO, _DEAD, NO, NO, NO, NO),
    "progress": (LOST, LOST, LOST, ("job.progressed",), ("job.progressed",), LOST, LOST, LOST, LOST, LOST),
    "log": (LOST, LOST, LOST, ("job.logged",), ("job.logged",), LOST, LOST, LOST, LOST, LOST),
    "record step": (LOST, LOST, LOST, ("job.step_recorded",), ("job.step_recorded",), LOST, LOST, LOST, LOST, LOST),
    "complete": (LOST, LOST, LOST, ("job.completed",), ("job.completed",), LOST, LOST, LOST, LOST, LOST),
    "fail": (
        LOST, LOST, LOST, ("job.failed", "job.retried"), ("job.failed", "job.cancelled"), LOST, LOST, LOST, LOST, LOST,
    ),
    "snooze": (LOST, LOST, LOST, ("job.snoozed",), _CANCELLED, LOST, LOST, LOST, LOST, LOST),
    "interrupt": (
        LOST, LOST, LOST, ("job.interrupted",), ("job.interrupted", "job.cancelled"), LOST, LOST, LOST, LOST, LOST,
    ),
    "stall": (LOST, LOST, LOST, ("job.stalled",), ("job.stalled", "job.cancelled"), LOST, LOST, LOST, LOST, LOST),
    "stop cancelled": (LOST, LOST, LOST, NO, _CANCELLED, LOST, LOST, LOST, LOST, LOST),
    "requeue": (NO, NO, NO, NO, NO, NO, NO, ("job.requeued",), NO, NO),
    "discard": (NO, NO, NO, NO, NO, NO, NO, ("job.discarded",), NO, NO),
}  # fmt: skip
_CASES = [
    (decision, status, answer)
    for decision, answers in _ANSWERS.items()
    for status, answer in zip(_STATUSES, answers, strict=True)
]


def test_the_table_is_complete() -> None:
    """The table below has every decision, every history, and every status that exists."""
    assert _ANSWERS.keys() == DECISIONS.keys()
    assert HISTORIES.keys() == set(_STATUSES)
    assert {given(*history).state.status for history in HISTORIES.values()} == set(JobStatus)


@pytest.mark.parametrize(("decision", "status", "answer"), _CASES)
def test_every_decision_in_every_status(decision: str, status: str, answer: Answer) -> None:
    """Each decision brings the events of the table, or is refused as the table says."""
    when = given(*HISTORIES[status]).when(DECISIONS[decision])
    if isinstance(answer, tuple):
        when.then(*answer)
    else:
        when.refused(answer)


@pytest.mark.parametrize("decision", ["cancel", "requeue", "discard", "reject", "start"])
def test_an_illegal_move_names_both_statuses(decision: str) -> None:
    """Who is refused learns where the job is and where it cannot go (R0.3)."""
    refusal = given(*HISTORIES["completed"]).when(DECISIONS[decision]).refused(IllegalTransition)
    assert refusal.status == "completed"
    assert refusal.target in str(refusal) and "completed" in str(refusal)
    assert refusal.field == "status"


@pytest.mark.parametrize(
    "act",
    [
        lambda job: jobs.cancel(job, reason=" "),
        lambda job: jobs.reschedule(job, now=NOW, reason="", priority=1),
        lambda job: jobs.requeue(job, now=NOW, reason=""),
        lambda job: jobs.discard(job, reason="\n"),
    ],
)
def test_a_manual_act_without_a_reason_is_refused(act: Callable[[JobState], Decision]) -> None:
    """Whatever the status, the reason is asked for first (R4.13)."""
    for history in HISTORIES.values():
        given(*history).when(act).refused(ReasonRequired)
