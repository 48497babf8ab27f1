"""One row a job: the columns and the fold that the tenant's list and the persona's list share.

Times are `recorded_at`, the database's clock. `failed` follows the filter of the same name: the last attempt failed
and the job has not completed since. `progress` is what the latest attempt reported last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from jobledger.domain.errors import CorruptEvent
from jobledger.domain.job import (
    JobCancelled,
    JobCompleted,
    JobDiscarded,
    JobDispatched,
    JobFailed,
    JobInterrupted,
    JobProgressed,
    JobReleased,
    JobRequeued,
    JobRescheduled,
    JobRetried,
    JobSentToDlq,
    JobSnoozed,
    JobStalled,
    JobStarted,
)

from .projection import Column, Index, Row, SeenEvent

SHOWN_TEXT_LENGTH = 500
"""Longer messages are cut in lists; `jobs history` shows them whole."""

JOB_COLUMNS: tuple[Column, ...] = (
    Column("job_id", "uuid", key=True),
    Column("tenant_id", "text", constant=True),
    Column("persona", "text", nullable=True, constant=True),
    Column("status", "text"),
    Column("failed", "boolean"),
    Column("job_type", "text", constant=True),
    Column("kind", "text", constant=True),
    Column("queue", "text", constant=True),
    Column("priority", "integer"),
    Column("attempt", "integer"),
    Column("attempts_counted", "integer"),
    Column("attempts_allowed", "integer"),
    Column("created_at", "timestamp", constant=True),
    Column("updated_at", "timestamp"),
    Column("due_at", "timestamp", nullable=True),
    Column("started_at", "timestamp", nullable=True),
    Column("completed_at", "timestamp", nullable=True),
    Column("error_type", "text", nullable=True),
    Column("error_message", "text", nullable=True),
    Column("progress", "real", nullable=True),
)

JOB_BIRTHS = frozenset({JobDispatched.topic})

JOB_FILL_PERCENT = 70
"""A row changes several times while its job lives."""


def job_indexes(*leading: str) -> tuple[Index, ...]:
    """The indexes of a list of jobs whose pages all begin with these columns.

    The order of pages without a filter, and lanes: jobs that are alike in what can be asked for, each lane in the order
    of its pages. A page is made of the newest of each lane that is asked for, and few lanes have jobs, so that it costs
    the same whether a filter lets nearly everything through or nothing at all.
    """
    alike = (*leading, "status", "failed")
    return (
        Index("by_time", (*leading, "created_at", "job_id")),
        Index("by_lane", (*alike, "kind", "queue", "created_at", "job_id")),
        Index("by_type", (*alike, "job_type", "kind", "queue", "created_at", "job_id")),
    )


def shown(text: str) -> str:
    """Text as a list shows it: bounded, and without the NUL that PostgreSQL's text cannot hold."""
    return text[:SHOWN_TEXT_LENGTH].replace("\x00", "\ufffd")


def fold_job(row: Row | None, event: SeenEvent) -> Row:
    """The row after the event; every job's first event is `job.dispatched`."""
    if event.topic == JobDispatched.topic:
        return _dispatched(event)
    if row is None:
        raise CorruptEvent(
            f"{event.topic} {event.originator_id}.{event.originator_version} comes before job.dispatched", field="topic"
        )
    _FOLDS[event.topic](row, event)
    row["updated_at"] = event.recorded_at
    return row


def _dispatched(event: SeenEvent) -> Row:
    facts = event.facts
    assert isinstance(facts, JobDispatched)
    return {
        "job_id": event.originator_id,
        "tenant_id": event.tenant,
        "persona": facts.persona,
        "status": facts.status,
        "failed": False,
        "job_type": facts.job_type,
        "kind": facts.kind,
        "queue": facts.queue,
        "priority": facts.priority,
        "attempt": 0,
        "attempts_counted": 0,
        "attempts_allowed": facts.retry.max_attempts,
        "created_at": event.recorded_at,
        "updated_at": event.recorded_at,
        "due_at": facts.due_at,
        "started_at": None,
        "completed_at": None,
        "error_type": None,
        "error_message": None,
        "progress": None,
    }


def _started(row: Row, event: SeenEvent) -> None:
    facts = event.facts
    assert isinstance(facts, JobStarted)
    row["status"] = "in_progress"
    row["attempt"] = facts.attempt
    row["attempts_counted"] = _counted(row) + 1
    row["started_at"] = event.recorded_at
    row["progress"] = None


def _completed(row: Row, event: SeenEvent) -> None:
    row["status"] = "completed"
    row["failed"] = False
    row["due_at"] = None
    row["completed_at"] = event.recorded_at
    row["error_type"] = row["error_message"] = None


def _failed(row: Row, event: SeenEvent) -> None:
    facts = event.facts
    assert isinstance(facts, JobFailed)
    _remember_error(row, facts.error_type, facts.message)


def _retried(row: Row, event: SeenEvent) -> None:
    facts = event.facts
    assert isinstance(facts, JobRetried)
    row["status"] = "delayed"
    row["due_at"] = facts.due_at


def _snoozed(row: Row, event: SeenEvent) -> None:
    facts = event.facts
    assert isinstance(facts, JobSnoozed)
    _give_back(row)
    row["status"] = "delayed"
    row["due_at"] = facts.due_at


def _pending_again(row: Row, event: SeenEvent) -> None:
    _give_back(row)
    row["status"] = "pending"


def _released(row: Row, event: SeenEvent) -> None:
    row["status"] = "pending"


def _rescheduled(row: Row, event: SeenEvent) -> None:
    facts = event.facts
    assert isinstance(facts, JobRescheduled)
    row["status"] = facts.status
    row["priority"] = facts.priority
    row["due_at"] = facts.due_at


def _progressed(row: Row, event: SeenEvent) -> None:
    facts = event.facts
    assert isinstance(facts, JobProgressed)
    row["progress"] = facts.fraction


def _sent_to_dlq(row: Row, event: SeenEvent) -> None:
    facts = event.facts
    assert isinstance(facts, JobSentToDlq)
    row["status"] = "dlq"
    row["due_at"] = None
    _remember_error(row, facts.error_type, facts.message)


def _requeued(row: Row, event: SeenEvent) -> None:
    facts = event.facts
    assert isinstance(facts, JobRequeued)
    row["status"] = "pending"
    row["due_at"] = facts.due_at
    row["attempts_allowed"] = _counted(row) + facts.attempts_granted


def _cancelled(row: Row, event: SeenEvent) -> None:
    row["status"] = "cancelled"
    row["due_at"] = None


def _discarded(row: Row, event: SeenEvent) -> None:
    row["status"] = "discarded"
    row["due_at"] = None


def _counted(row: Row) -> int:
    counted = row["attempts_counted"]
    assert isinstance(counted, int)
    return counted


def _give_back(row: Row) -> None:
    row["attempts_counted"] = max(0, _counted(row) - 1)


def _remember_error(row: Row, error_type: str, message: str) -> None:
    row["failed"] = True
    row["error_type"] = shown(error_type)
    row["error_message"] = shown(message)


_FOLDS: Mapping[str, Callable[[Row, SeenEvent], None]] = {
    JobReleased.topic: _released,
    JobStarted.topic: _started,
    JobProgressed.topic: _progressed,
    JobCompleted.topic: _completed,
    JobFailed.topic: _failed,
    JobRetried.topic: _retried,
    JobStalled.topic: _pending_again,
    JobInterrupted.topic: _pending_again,
    JobSnoozed.topic: _snoozed,
    JobRescheduled.topic: _rescheduled,
    JobCancelled.topic: _cancelled,
    JobSentToDlq.topic: _sent_to_dlq,
    JobRequeued.topic: _requeued,
    JobDiscarded.topic: _discarded,
}

JOB_TOPICS = JOB_BIRTHS | _FOLDS.keys()
"""Events that change what a list shows. Logs, recorded steps and requests to cancel do not."""
