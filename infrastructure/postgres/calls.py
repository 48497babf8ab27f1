"""Writes as calls of our SQL functions: what goes in as arrays, what comes out as answers.

A group of writes becomes as few calls as possible, all in one transaction. Writes about one job come in their order:
the second of them is in a later *round*, whose statements see what the rounds before did.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from jobledger.application.writes import (
    AppendEvents,
    ChangeJob,
    JobTypeRow,
    NewJob,
    Outcome,
    TenantRow,
    Write,
    WriteStatus,
)
from jobledger.domain.event import Event, Metadata
from jobledger.domain.job import JobCompleted, JobState

from ..group_commit import DEFERRED, Answer
from ..mapper import PLAIN, encode_body, encode_facts, encode_metadata
from ..queue_row import encode_identity, encode_spec, encode_thread
from .arrays import Blobs, Booleans, Integers, Texts, Timestamps, Uuids
from .statements import SQL

TICKET_EVENTS = 4_096
"""At most so many events share a ticket."""

Parameters = tuple[object, ...]
Row = tuple[Any, ...]

_WRITTEN = WriteStatus.WRITTEN


class Call(Protocol):
    """One statement for some of a group's writes."""

    @property
    def indexes(self) -> list[int]:
        """Which writes of the group, in the order of the statement's arrays."""
        ...

    @property
    def statement(self) -> str:
        """What is executed."""
        ...

    def parameters(self) -> Parameters:
        """What the statement takes."""
        ...

    def answers(self, row: Row) -> list[Answer | None]:
        """What it answers for each of its writes; None: only a `Changes` call can say."""
        ...

    def writes_of(self, events: Sequence[int]) -> set[int]:
        """The indexes of the writes that brought these events (zero-based in the statement)."""
        ...


class Encoder:
    """Encodes events. What many events share, their metadata, is encoded once: it is told by its identity, so an
    encoder must not outlive the writes it encodes."""

    def __init__(self) -> None:
        self._metadata: dict[int, bytes] = {}
        self._threads: dict[int, bytes] = {}

    def state(self, event: Event) -> bytes:
        """The stored state of an event, as `mapper.encode_state` gives it."""
        metadata, facts, body = event.metadata, event.facts, event.body
        line = self._metadata.get(id(metadata))
        if line is None:
            line = self._metadata[id(metadata)] = encode_metadata(metadata)
        if body is None:
            return line + b"\n" + encode_facts(facts)
        return b'%b,"body_sha256":"%b","body_length":%d}\n%b' % (
            line[:-1], hashlib.sha256(body).hexdigest().encode(), len(body), encode_facts(facts),
        )  # fmt: skip

    def thread(self, metadata: Metadata) -> bytes:
        """The column `thread` of a job that begins with this metadata."""
        thread = self._threads.get(id(metadata))
        if thread is None:
            thread = self._threads[id(metadata)] = encode_thread(metadata)
        return thread


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
            return [Outcome(_WRITTEN, position, 1, job.event.originator_id) for position, job in enumerate(jobs, base)]
        answers: list[Answer | None] = [
            Outcome(_WRITTEN, (base or 0) + n, 1, job.event.originator_id) for n, job in enumerate(jobs)
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


def _profile_columns(profiles: Sequence[_Profile]) -> Parameters:
    tenants, job_types, queues, personas, statuses, priorities, allowed, specs, identities, threads = zip(
        *profiles, strict=True
    )
    return (
        Texts(tenants), Texts(job_types), Texts(queues), Texts(personas), Texts(statuses), Integers(priorities),
        Integers(allowed), Blobs(specs), Blobs(identities), Blobs(threads),
    )  # fmt: skip


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


class Appends:
    """Events of streams that are not jobs."""

    statement = SQL["append"]

    def __init__(self, encoder: Encoder) -> None:
        self.indexes: list[int] = []
        self.event_count = 0
        self._encoder = encoder
        self._appends: list[AppendEvents] = []

    def add(self, index: int, append: AppendEvents) -> None:
        """Take events in."""
        self.indexes.append(index)
        self._appends.append(append)
        self.event_count += len(append.events)

    def parameters(self) -> Parameters:
        """The arrays of ledger_append."""
        events = [event for append in self._appends for event in append.events]
        state_of = self._encoder.state
        return (
            Texts([event.tenant for event in events]),
            Uuids([event.originator_id for event in events]),
            Integers([event.originator_version for event in events]),
            Texts([event.facts.topic for event in events]),
            Blobs([state_of(event) for event in events]),
            Blobs([encode_body(event.body) for event in events]),
        )

    def answers(self, row: Row) -> list[Answer | None]:
        """Written: conflicts raise."""
        position = row[0] - 1
        answers: list[Answer | None] = []
        for append in self._appends:
            position += len(append.events)
            last = append.events[-1]
            answers.append(Outcome(_WRITTEN, position, last.originator_version, last.originator_id))
        return answers

    def writes_of(self, events: Sequence[int]) -> set[int]:
        """See `Call`: a write may bring several events."""
        owners = [index for index, append in zip(self.indexes, self._appends, strict=True) for _ in append.events]
        return {owners[event] for event in events}

    def rows(self) -> list[TenantRow | JobTypeRow]:
        """The catalogue rows that follow."""
        return [append.catalogue for append in self._appends if append.catalogue is not None]


class SaveTenant:
    """The catalogue's row of a tenant."""

    statement = SQL["save_tenant"]

    def __init__(self, row: TenantRow) -> None:
        self.indexes: list[int] = []
        self._row = row

    def parameters(self) -> Parameters:
        """The arguments of save_tenant."""
        return (self._row.name, self._row.status.value, self._row.display_name)

    def answers(self, row: Row) -> list[Answer | None]:
        """Nothing: the append answers."""
        return []

    def writes_of(self, events: Sequence[int]) -> set[int]:
        """None: this statement names nobody."""
        return set()


class SaveJobType:
    """The catalogue's row of a job type."""

    statement = SQL["save_job_type"]

    def __init__(self, row: JobTypeRow) -> None:
        self.indexes: list[int] = []
        self._row = row

    def parameters(self) -> Parameters:
        """The arguments of save_job_type."""
        row = self._row
        definition = row.definition.model_dump_json()
        return (row.definition.name, definition, row.fingerprint, row.code_version, row.app)

    def answers(self, row: Row) -> list[Answer | None]:
        """Nothing: the append answers."""
        return []

    def writes_of(self, events: Sequence[int]) -> set[int]:
        """None: this statement names nobody."""
        return set()


def plan(writes: Sequence[Write], indexes: Sequence[int], *, completions: bool = True) -> list[Call]:
    """The calls that carry out those writes, in order. Without `completions` every change goes to `Changes`, which
    says of each why it was not written."""
    encoder = Encoder()
    rounds: list[_Round] = []
    last_round: dict[UUID, int] = {}
    for index in indexes:
        write = writes[index]
        subject = _subject(write)
        number = last_round.get(subject, -1) + 1 if not isinstance(write, AppendEvents) else 0
        last_round[subject] = number
        if number == len(rounds):
            rounds.append(_Round(encoder))
        rounds[number].add(index, write, completions=completions)
    return [call for each in rounds for call in each.calls()]


def _subject(write: Write) -> UUID:
    if isinstance(write, NewJob):
        return write.event.originator_id
    return write.job_id if isinstance(write, ChangeJob) else write.events[0].originator_id


class _Round:
    """The calls of writes that are about different jobs."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._dispatches: list[Dispatches] = []
        self._changes: list[Changes] = []
        self._completions: dict[str, list[Completions]] = {}
        self._appends: list[Appends] = []

    def add(self, index: int, write: Write, *, completions: bool) -> None:
        if isinstance(write, NewJob):
            if not self._dispatches or len(self._dispatches[-1].indexes) == TICKET_EVENTS:
                self._dispatches.append(Dispatches(self._encoder))
            self._dispatches[-1].add(index, write)
        elif isinstance(write, AppendEvents):
            self._add_append(index, write)
        elif completions and write.lease is not None and _is_completion(write):
            self._completion(write.lease.worker).add(index, write, write.lease.attempt)
        else:
            if not self._changes or self._changes[-1].event_count + len(write.events) > TICKET_EVENTS:
                self._changes.append(Changes(self._encoder))
            self._changes[-1].add(index, write)

    def calls(self) -> list[Call]:
        saves = [
            SaveTenant(row) if isinstance(row, TenantRow) else SaveJobType(row)
            for append in self._appends
            for row in append.rows()
        ]
        completions = [call for calls in self._completions.values() for call in calls]
        return [*self._dispatches, *self._changes, *completions, *self._appends, *saves]

    def _add_append(self, index: int, write: AppendEvents) -> None:
        if not self._appends or self._appends[-1].event_count + len(write.events) > TICKET_EVENTS:
            self._appends.append(Appends(self._encoder))
        self._appends[-1].add(index, write)

    def _completion(self, worker: str) -> Completions:
        calls = self._completions.setdefault(worker, [])
        if not calls or len(calls[-1].indexes) == TICKET_EVENTS:
            calls.append(Completions(self._encoder, worker))
        return calls[-1]


def _is_completion(write: ChangeJob) -> bool:
    return (
        len(write.events) == 1
        and type(write.events[0].facts) is JobCompleted
        and write.cancel_expected is None
        and write.expected_version is None
        and write.change is not None
        and write.change.removes_row
    )
