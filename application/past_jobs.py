"""A job as it was: its stream folded up to a moment or a version, as a whole or as a line of a list."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import takewhile
from typing import Annotated, NamedTuple
from uuid import UUID

from pydantic import BeforeValidator, Field

from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import (
    TERMINAL,
    JobCancelRequested,
    JobCompleted,
    JobDispatched,
    JobLogged,
    JobProgressed,
    JobStarted,
    JobState,
    JobStatus,
    JobStepRecorded,
    evolve,
)
from jobledger.domain.moment import Moment

from .ports import JobFilter, JobListRow

VERSION_MAX = 1 << 62
"""No job comes near; every database can hold it."""
Version = Annotated[int, Field(ge=1, le=VERSION_MAX, strict=True)]


def _no_number(value: object) -> object:
    """A number that is no version would else be taken for seconds since 1970."""
    if isinstance(value, int | float):
        raise ValueError("versions begin with 1")
    return value


AsOf = Version | Annotated[Moment, BeforeValidator(_no_number)]
"""Up to which event: by its version, or by the moment it was recorded at (inclusive)."""

SHOWN_TEXT_LENGTH = 500
"""What lists show of an error."""


class Past(NamedTuple):
    """That a job is shown as it was, and not as it is: what was asked for, how many events came later, and when the
    first of them was recorded (None: there is none)."""

    as_of: int | datetime
    later_events: int
    until: datetime | None


def up_to(events: Sequence[RecordedEvent], moment: datetime) -> Sequence[RecordedEvent]:
    """The events before the first one that was recorded later: a clock that was set back leaves no hole."""
    return list(takewhile(lambda event: event.recorded_at <= moment, events))


def list_row(job_id: UUID, tenant: str, events: Sequence[RecordedEvent]) -> JobListRow:
    """The line of a job in a list, from its events (at least the first): what the list showed when it had taken the
    last of them."""
    state = _state(events)
    started = [event.recorded_at for event in events if isinstance(event.facts, JobStarted)]
    completed = [event.recorded_at for event in events if isinstance(event.facts, JobCompleted)]
    shown = [event.recorded_at for event in events if not isinstance(event.facts, _NOT_SHOWN)]
    over = state.status in TERMINAL or state.status is JobStatus.DLQ
    failed = bool(state.last_error_type) and state.status is not JobStatus.COMPLETED
    return JobListRow(
        job_id=job_id, tenant=tenant, persona=state.persona, status=state.status, failed=state.last_attempt_failed,
        job_type=state.job_type, kind=state.kind, queue=state.queue, priority=state.priority, attempt=state.attempt,
        attempts_counted=state.attempts_counted, attempts_allowed=state.attempts_allowed,
        created_at=events[0].recorded_at, updated_at=shown[-1], due_at=None if over else state.due_at,
        started_at=started[-1] if started else None, completed_at=completed[-1] if completed else None,
        error_type=_text(state.last_error_type) if failed else None,
        error_message=_text(state.last_error_message) if failed else None, progress=progress_of(events),
    )  # fmt: skip


def progress_of(events: Sequence[RecordedEvent]) -> float | None:
    """What the latest attempt reported last, 0..1."""
    for event in reversed(events):
        if isinstance(event.facts, JobProgressed):
            return event.facts.fraction
        if isinstance(event.facts, JobStarted):
            break
    return None


def matches(row: JobListRow, where: JobFilter) -> bool:
    """Whether a line is wanted."""
    return (
        (where.status is None or row.status is where.status)
        and (where.failed is None or row.failed == where.failed)
        and (where.job_type is None or row.job_type == where.job_type)
        and (where.kind is None or row.kind == where.kind)
        and (where.queue is None or row.queue == where.queue)
        and (where.created_from is None or row.created_at >= where.created_from)
        and (where.created_to is None or row.created_at < where.created_to)
    )


_NOT_SHOWN = (JobLogged, JobStepRecorded, JobCancelRequested)
"""Events that change nothing a list shows."""


def _state(events: Sequence[RecordedEvent]) -> JobState:
    assert isinstance(events[0].facts, JobDispatched)
    state = evolve(None, events[0].facts)
    for event in events[1:]:
        state = evolve(state, event.facts)
    return state


def _text(text: str) -> str:
    """As the list stores it: bounded, and without NUL."""
    return text[:SHOWN_TEXT_LENGTH].replace("\x00", "\ufffd")
