"""The tenant's list: one row a job, as its history tells it."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import settings

from jobledger.domain.errors import CorruptEvent
from jobledger.domain.event import Facts
from jobledger.domain.job import (
    TERMINAL,
    JobFacts,
    JobInterrupted,
    JobLogged,
    JobProgressed,
    JobRequeued,
    JobStatus,
    evolve,
)
from jobledger.projections.job_row import SHOWN_TEXT_LENGTH
from jobledger.projections.projection import Row
from jobledger.projections.tenant_jobs import TENANT_JOBS
from tests.support.given import (
    ABOUT,
    HISTORIES,
    NOW,
    WORKER,
    completed,
    discarded,
    dispatched,
    failed,
    retried,
    sent_to_dlq,
    started,
)
from tests.support.seen import BEGINNING, JOB, as_seen, fold_all, fold_one, histories, moves


def row_after(*history: Facts) -> Row:
    row = fold_one(TENANT_JOBS, *history)
    assert row is not None
    return row


def test_a_dispatched_job_is_listed_with_everything_that_was_resolved() -> None:
    """The row of a new job holds all columns of the list, timed by the database's clock."""
    assert row_after(dispatched(priority=7)) == {
        "job_id": JOB, "tenant_id": "acme", "persona": "billing-bot", "status": "pending",
        "failed": False, "job_type": "invoice.send", "kind": "work", "queue": "billing", "priority": 7, "attempt": 0,
        "attempts_counted": 0, "attempts_allowed": 3, "created_at": BEGINNING + timedelta(seconds=1),
        "updated_at": BEGINNING + timedelta(seconds=1), "due_at": NOW, "started_at": None, "completed_at": None,
        "error_type": None, "error_message": None, "progress": None,
    }  # fmt: skip


@pytest.mark.parametrize("name", HISTORIES)
def test_the_row_has_a_value_for_each_column(name: str) -> None:
    """In every status a row holds exactly the projection's columns, null only where that is allowed."""
    row = row_after(*HISTORIES[name])
    assert set(row) == {column.name for column in TENANT_JOBS.columns}
    assert [c.name for c in TENANT_JOBS.columns if row[c.name] is None and not c.nullable] == []


def test_a_running_attempt_shows_its_number_start_and_progress() -> None:
    """Started: in progress since the start was recorded; what the handler reported last is the progress."""
    row = row_after(dispatched(), started(), JobProgressed(**ABOUT, attempt=1, fraction=0.25))
    assert (row["status"], row["attempt"], row["attempts_counted"], row["progress"]) == ("in_progress", 1, 1, 0.25)
    assert row["started_at"] == BEGINNING + timedelta(seconds=2)
    assert row["updated_at"] == BEGINNING + timedelta(seconds=3)


def test_a_failed_attempt_is_askable_until_the_job_completes() -> None:
    """`failed` holds while the retry waits and runs, with the error; completing clears both."""
    history = [dispatched(), started(), failed(), retried(), started(2)]
    waiting, running, done = (
        row_after(*history[:4]), row_after(*history), row_after(*history, completed(2)),
    )  # fmt: skip
    assert (waiting["status"], waiting["failed"], waiting["due_at"]) == ("delayed", True, NOW + timedelta(seconds=10))
    assert (running["status"], running["failed"], running["error_message"]) == ("in_progress", True, "it broke")
    assert (done["status"], done["failed"], done["error_type"], done["due_at"]) == ("completed", False, None, None)
    assert done["completed_at"] == BEGINNING + timedelta(seconds=6)


def test_an_attempt_that_was_given_back_does_not_count() -> None:
    """Interrupted: pending again, the attempt numbered but not counted."""
    row = row_after(dispatched(), started(), JobInterrupted(**ABOUT, attempt=1, worker=WORKER, why="shutdown"))
    assert (row["status"], row["attempt"], row["attempts_counted"]) == ("pending", 1, 0)


def test_a_requeued_job_has_new_attempts() -> None:
    """Out of the DLQ a job is pending, still marked failed, with the attempts that were granted."""
    requeued = JobRequeued(**ABOUT, reason="fixed", attempts_granted=2, due_at=NOW)
    row = row_after(dispatched(), started(), failed(), sent_to_dlq(), requeued)
    assert (row["status"], row["failed"], row["attempts_allowed"]) == ("pending", True, 3)


def test_a_discarded_job_stays_listed() -> None:
    """A job that was given up keeps its row."""
    assert row_after(dispatched(), started(), failed(), sent_to_dlq(), discarded())["status"] == "discarded"


def test_a_long_message_is_cut_and_loses_what_no_text_column_holds() -> None:
    """A message is bounded, and a NUL in it does not stop the projection."""
    long = failed().model_copy(update={"message": "a\x00" + "b" * 10_000})
    message = row_after(dispatched(), started(), long)["error_message"]
    assert message == "a\ufffd" + "b" * (SHOWN_TEXT_LENGTH - 2)


def test_log_lines_do_not_touch_the_list() -> None:
    """Logs, steps and requests to cancel are no topics of the list."""
    assert JobLogged.topic not in TENANT_JOBS.topics


def test_a_history_without_its_beginning_is_corrupt() -> None:
    """An event in front of job.dispatched stops the fold and is named."""
    with pytest.raises(CorruptEvent, match=f"job.started {JOB}.1"):
        fold_one(TENANT_JOBS, started())


@settings(max_examples=200, deadline=None)
@for_all(chosen=moves)
def test_the_row_agrees_with_the_state_that_decisions_see(chosen: list[tuple[int, str, float]]) -> None:
    """Whatever happened to several jobs, the list says of each what its own state says."""
    decisions = histories(chosen)
    rows = fold_all(TENANT_JOBS, as_seen(decisions))
    own: dict[UUID, list[JobFacts]] = {}
    for decision in decisions:
        for job, _, facts in decision:
            own.setdefault(job, []).append(facts)
    assert {key[0] for key in rows} == own.keys()
    for job, history in own.items():
        _assert_same(rows[(job,)], history)


def _assert_same(row: Row, history: list[JobFacts]) -> None:
    state = evolve(None, history[0])
    for facts in history[1:]:
        state = evolve(state, facts)
    assert row["status"] == state.status.value
    assert row["failed"] == state.last_attempt_failed
    assert (row["attempt"], row["attempts_counted"], row["attempts_allowed"], row["priority"]) == (
        state.attempt, state.attempts_counted, state.attempts_allowed, state.priority,
    )  # fmt: skip
    ended = state.status in TERMINAL or state.status is JobStatus.DLQ
    assert row["due_at"] == (None if ended else state.due_at)
