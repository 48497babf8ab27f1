"""Changes of open jobs, as the arrays of complete_jobs and change_jobs."""

from __future__ import annotations

from collections.abc import Sequence

from jobledger.application.writes import ChangeJob, Outcome, WriteStatus

from ..group_commit import DEFERRED, Answer
from ..mapper import encode_body
from .arrays import Blobs, Booleans, Integers, Texts, Timestamps, Uuids
from .encoding import Encoder
from .statements import SQL, Parameters, Row

_WRITTEN = WriteStatus.WRITTEN


class Completions:
    """Attempts of one worker that succeeded: the commonest change, with a function of its own."""

    statement = SQL["complete"]

    def __init__(self, encoder: Encoder, worker: str) -> None:
        self.indexes: list[int] = []
        self._encoder = encoder
        self._worker = worker
        self._changes: list[ChangeJob] = []
        self._attempts: list[int] = []

    def add(self, index: int, change: ChangeJob, attempt: int) -> None:
        """Take a completion in."""
        self.indexes.append(index)
        self._changes.append(change)
        self._attempts.append(attempt)

    def parameters(self) -> Parameters:
        """The arrays of complete_jobs."""
        state_of = self._encoder.state
        events = [change.events[0] for change in self._changes]
        return (
            self._worker,
            Uuids([change.job_id for change in self._changes]),
            Integers(self._attempts),
            Blobs([state_of(event) for event in events]),
            Blobs([encode_body(event.body) for event in events]),
        )

    def answers(self, row: Row) -> list[Answer | None]:
        """Written, or not: then `Changes` finds out why."""
        base, written, versions = row
        changes = self._changes
        if written is None:
            return [None] * len(changes)
        answers: list[Answer | None] = [None] * len(changes)
        for number, version in zip(written, versions, strict=True):
            answers[number - 1] = Outcome(_WRITTEN, base + number - 1, version, changes[number - 1].job_id)
        return answers

    def writes_of(self, events: Sequence[int]) -> set[int]:
        """None: this statement names nobody."""
        return set()


class Changes:
    """Any further events of open jobs, with what they do to the queue."""

    statement = SQL["change"]

    def __init__(self, encoder: Encoder) -> None:
        self.indexes: list[int] = []
        self.event_count = 0
        self._encoder = encoder
        self._changes: list[ChangeJob] = []

    def add(self, index: int, change: ChangeJob) -> None:
        """Take a change in."""
        self.indexes.append(index)
        self._changes.append(change)
        self.event_count += len(change.events)

    def parameters(self) -> Parameters:
        """The arrays of change_jobs."""
        changes = self._changes
        return (
            Uuids([change.job_id for change in changes]),
            Texts([change.tenant for change in changes]),
            Integers([change.expected_version for change in changes]),
            Texts([None if change.lease is None else change.lease.worker for change in changes]),
            Integers([None if change.lease is None else change.lease.attempt for change in changes]),
            Booleans([change.cancel_expected for change in changes]),
            *self._event_columns(),
            *_queue_columns(changes),
        )

    def answers(self, row: Row) -> list[Answer | None]:
        """Written, held by another transaction, not there, or not as expected."""
        base, written, versions, locked_elsewhere, missing = row
        answers: list[Answer | None] = [Outcome(WriteStatus.CONFLICT)] * len(self._changes)
        last = self._last_events()
        for number, version in zip(written or (), versions or (), strict=True):
            job_id = self._changes[number - 1].job_id
            answers[number - 1] = Outcome(_WRITTEN, base + last[number - 1], version, job_id)
        for number in locked_elsewhere or ():
            answers[number - 1] = DEFERRED
        for number in missing or ():
            answers[number - 1] = Outcome(WriteStatus.MISSING)
        return answers

    def writes_of(self, events: Sequence[int]) -> set[int]:
        """None: this statement names nobody."""
        return set()

    def _event_columns(self) -> Parameters:
        flat = [
            (number, offset, event)
            for number, change in enumerate(self._changes, 1)
            for offset, event in enumerate(change.events, 1)
        ]
        state_of = self._encoder.state
        return (
            Integers([number for number, _, _ in flat]),
            Integers([offset for _, offset, _ in flat]),
            Texts([event.facts.topic for _, _, event in flat]),
            Blobs([state_of(event) for _, _, event in flat]),
            Blobs([encode_body(event.body) for _, _, event in flat]),
        )

    def _last_events(self) -> list[int]:
        """Of each change, the zero-based number of its last event in the statement."""
        last: list[int] = []
        count = 0
        for change in self._changes:
            count += len(change.events)
            last.append(count - 1)
        return last


def _queue_columns(changes: Sequence[ChangeJob]) -> Parameters:
    rows = [change.change for change in changes]
    return (
        Texts([None if row is None else row.status.value for row in rows]),
        Booleans([row is not None and row.removes_row for row in rows]),
        Integers([None if row is None else row.attempts_counted for row in rows]),
        Integers([None if row is None else row.attempts_allowed for row in rows]),
        Integers([None if row is None else row.stalls for row in rows]),
        Texts([None if row is None else row.cancel_reason for row in rows]),
        Integers([None if row is None else row.priority for row in rows]),
        Timestamps([None if row is None else row.due_at for row in rows]),
        Blobs([None if row is None else encode_body(row.payload) for row in rows]),
    )
