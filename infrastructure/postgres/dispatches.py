"""New jobs, as the arrays of dispatch_jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jobledger.application.writes import NewJob, Outcome, WriteStatus
from jobledger.domain.event import Event
from jobledger.domain.job import JobState

from ..group_commit import DEFERRED, Answer
from ..mapper import PLAIN
from ..queue_row import encode_identity, encode_spec
from .arrays import Blobs, Integers, Texts, Timestamps, Uuids
from .encoding import Encoder
from .statements import SQL, Parameters, Row


class _Profile(NamedTuple):
    """What jobs of a batch share: sent once."""

    tenant: str
    job_type: str
    queue: str
    persona: str | None
    status: str
    priority: int
    attempts_allowed: int
    spec: bytes
    identity: bytes
    thread: bytes


class Dispatches:
    """New jobs."""

    statement = SQL["dispatch"]

    def __init__(self, encoder: Encoder, *, waits: bool = False) -> None:
        """`waits` for keys that others hold (in a caller's own transaction) instead of deferring those jobs."""
        self.indexes: list[int] = []
        self._encoder = encoder
        self._waits = waits
        self._jobs: list[NewJob] = []

    def add(self, index: int, job: NewJob) -> None:
        """Take a job in."""
        self.indexes.append(index)
        self._jobs.append(job)

    def parameters(self) -> Parameters:
        """The arrays of dispatch_jobs."""
        jobs = self._jobs
        events = [job.event for job in jobs]
        state_of = self._encoder.state
        profiles, numbers = self._profiles()
        return (
            Uuids([event.originator_id for event in events]),
            Integers(numbers),
            Blobs([state_of(event) for event in events]),
            Blobs([PLAIN + (event.body or b"") for event in events]),
            Timestamps([job.state.due_at for job in jobs]),
            Texts([job.state.lock_key for job in jobs]),
            Texts(_limit_keys(jobs)),
            Texts([None if job.idempotency is None else job.idempotency.key for job in jobs]),
            Texts([None if job.idempotency is None else job.idempotency.payload_sha256 for job in jobs]),
            *_profile_columns(profiles),
            self._waits,
        )

    def answers(self, row: Row) -> list[Answer | None]:
        """Written, but for those whose key was used before or is held."""
        base, refused, reasons, first_jobs, first_sha256 = row
        jobs = self._jobs
        if not refused:
            return [
                Outcome(WriteStatus.WRITTEN, position, 1, job.event.originator_id)
                for position, job in enumerate(jobs, base)
            ]
        answers: list[Answer | None] = [
            Outcome(WriteStatus.WRITTEN, (base or 0) + n, 1, job.event.originator_id) for n, job in enumerate(jobs)
        ]
        for number, reason, first_job, sha256 in zip(refused, reasons, first_jobs, first_sha256, strict=True):
            duplicate = Outcome(WriteStatus.DUPLICATE, job_id=first_job, payload_sha256=sha256)
            answers[number - 1] = DEFERRED if reason == "deferred" else duplicate
        return answers

    def writes_of(self, events: Sequence[int]) -> set[int]:
        """See `Call`: a write is an event."""
        return {self.indexes[event] for event in events}

    def _profiles(self) -> tuple[list[_Profile], list[int]]:
        """The distinct profiles, and the 1-based profile of each job."""
        by_identity: dict[tuple[object, ...], int] = {}
        by_value: dict[_Profile, int] = {}
        numbers: list[int] = []
        for job in self._jobs:
            event, state = job.event, job.state
            shared = (
                id(event.metadata), event.tenant, state.job_type, state.queue, state.persona, state.status,
                state.priority, state.attempts_allowed, id(state.retry), state.kind, state.timeout_seconds,
                state.soft_timeout_seconds, state.max_stalled,
            )  # fmt: skip
            number = by_identity.get(shared)
            if number is None:
                profile = self._profile(event, state)
                number = by_identity[shared] = by_value.setdefault(profile, len(by_value) + 1)
            numbers.append(number)
        return list(by_value), numbers

    def _profile(self, event: Event, state: JobState) -> _Profile:
        return _Profile(
            event.tenant, state.job_type, state.queue, state.persona, state.status.value, state.priority,
            state.attempts_allowed, encode_spec(state), encode_identity(state.job_type, state.queue, state.persona),
            self._encoder.thread(event.metadata),
        )  # fmt: skip


def _limit_keys(jobs: Sequence[NewJob]) -> list[str | None]:
    """The limit key of each job; nothing where none has one."""
    keys = [job.state.limit_key for job in jobs]
    return keys if any(key is not None for key in keys) else []


def _profile_columns(profiles: Sequence[_Profile]) -> Parameters:
    tenants, job_types, queues, personas, statuses, priorities, allowed, specs, identities, threads = zip(
        *profiles, strict=True
    )
    return (
        Texts(tenants), Texts(job_types), Texts(queues), Texts(personas), Texts(statuses), Integers(priorities),
        Integers(allowed), Blobs(specs), Blobs(identities), Blobs(threads),
    )  # fmt: skip
