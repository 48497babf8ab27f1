"""What a test sees of a job: everything its stream tells, in plain values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload
from uuid import UUID

from pydantic_core import from_json

from jobledger.application.job_repository import brings_payload
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import (
    JobCompleted,
    JobFailed,
    JobLogged,
    JobProgressed,
    JobSentToDlq,
    JobState,
    JobStatus,
    JobStepRecorded,
    evolve,
)

_PAYLOAD_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class SeenJob:
    """A job as it was when it was looked at. `payload`, `result` and the outputs of `steps` are read from JSON."""

    job_id: UUID
    tenant: str
    state: JobState
    payload: Mapping[str, object]
    result: object
    steps: Mapping[str, object]
    """The outputs of its recorded steps, by name."""
    log_lines: tuple[str, ...]
    progress: tuple[tuple[float, str], ...]
    """Fraction and note, as recorded."""
    errors: tuple[str, ...]
    """`Type: message` of each failed attempt."""
    traceback: str
    """Of the last failed attempt; empty where there was none."""
    dlq_reason: str | None
    """Why it was sent to the dead-letter queue, while it is there."""
    events: tuple[str, ...]
    """The names of its events, in order."""

    @property
    def status(self) -> JobStatus:
        """Where the job stands; equals its text, too: `job.status == "completed"`."""
        return self.state.status

    @property
    def job_type(self) -> str:
        """Its type."""
        return self.state.job_type

    @property
    def persona(self) -> str | None:
        """The agent it is for."""
        return self.state.persona

    @property
    def queue(self) -> str:
        """Its queue."""
        return self.state.queue

    @property
    def attempt(self) -> int:
        """How many times it was begun."""
        return self.state.attempt

    def __str__(self) -> str:
        """One line, for failure messages."""
        payload = str(dict(self.payload))
        if len(payload) > _PAYLOAD_CHARACTERS:
            payload = f"{payload[: _PAYLOAD_CHARACTERS - 3]}..."
        whose = f"{self.tenant}/{self.persona}" if self.persona else self.tenant
        trouble = f"  ({self.errors[-1]})" if self.errors and self.status is not JobStatus.COMPLETED else ""
        return f"{self.job_type}  {whose}  {self.status}  {payload}{trouble}"


class SeenJobs(Sequence[SeenJob]):
    """Jobs in the order of their dispatch."""

    def __init__(self, jobs: Iterable[SeenJob], asked: str = "") -> None:
        self._jobs = tuple(jobs)
        self._asked = asked

    @property
    def only(self) -> SeenJob:
        """The one job there is. An AssertionError lists them where there are none or several."""
        __tracebackhide__ = True
        if len(self._jobs) != 1:
            raise AssertionError(f"{self.summary}, not one{self}")
        return self._jobs[0]

    @overload
    def __getitem__(self, index: int) -> SeenJob: ...

    @overload
    def __getitem__(self, index: slice) -> SeenJobs: ...

    def __getitem__(self, index: int | slice) -> SeenJob | SeenJobs:
        """By place, or a part of them."""
        return self._jobs[index] if isinstance(index, int) else SeenJobs(self._jobs[index], self._asked)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._jobs)

    def __iter__(self) -> Iterator[SeenJob]:
        """In the order of their dispatch."""
        return iter(self._jobs)

    @property
    def summary(self) -> str:
        """How many there are, and what was asked for."""
        return f"{len(self._jobs)} job{'' if len(self._jobs) == 1 else 's'}{self._asked}"

    def __str__(self) -> str:
        """One line a job."""
        return "".join(f"\n  {job}" for job in self._jobs)

    def __repr__(self) -> str:
        """As text: pytest shows it."""
        return f"<{self.summary}{self}>"


def seen_job(events: Sequence[RecordedEvent]) -> SeenJob:
    """A job from its stream, read with bodies."""
    state: JobState | None = None
    for event in events:
        state = evolve(state, event.facts)
    assert state is not None
    failed = [(event, event.facts) for event in events if isinstance(event.facts, JobFailed)]
    payload = from_json([event.body for event in events if brings_payload(event)][-1] or b"{}")
    return SeenJob(
        job_id=events[0].originator_id,
        tenant=events[0].tenant,
        state=state,
        payload=payload if isinstance(payload, dict) else {},
        result=_last_json(events, JobCompleted),
        steps={
            event.facts.step: from_json(event.body or b"null")
            for event in events
            if isinstance(event.facts, JobStepRecorded)
        },
        log_lines=tuple(
            line
            for event in events
            if isinstance(event.facts, JobLogged) and event.body is not None
            for line in event.body.decode().splitlines()
        ),
        progress=tuple(
            (event.facts.fraction, event.facts.note) for event in events if isinstance(event.facts, JobProgressed)
        ),
        errors=tuple(f"{facts.error_type}: {facts.message}" for _, facts in failed),
        traceback=(failed[-1][0].body or b"").decode() if failed else "",
        dlq_reason=_dlq_reason(events, state),
        events=tuple(event.topic for event in events),
    )


def _last_json(events: Sequence[RecordedEvent], facts: type[JobCompleted]) -> object:
    bodies = [event.body for event in events if isinstance(event.facts, facts)]
    found: object = from_json(bodies[-1]) if bodies and bodies[-1] is not None else None
    return found


def _dlq_reason(events: Sequence[RecordedEvent], state: JobState) -> str | None:
    if state.status is not JobStatus.DLQ:
        return None
    return [event.facts.reason for event in events if isinstance(event.facts, JobSentToDlq)][-1]
