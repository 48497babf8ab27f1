"""What earlier reports left in a job's stream: outputs of steps, and how much was logged."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from typing import NamedTuple
from uuid import UUID

from jobledger.domain.errors import InvalidInput, PayloadTooLarge
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import JobLogged, JobStepRecorded
from jobledger.domain.job_type import PAYLOAD_BYTES_MAX

from .lease_messages import StepOutput
from .ports import EventReader, StreamPart

STEPS_MAX = 1_000
"""Steps of a job that are read."""
REPORT_BYTES_MIN = 250
"""What a report of log lines counts for at least: a job's log holds a bounded number of them."""
_EVENTS_AT_ONCE = 1_000
_REMEMBERED_MAX = 1_000


def step_key(job_id: UUID, step: str) -> str:
    """The key of a step: the same in every attempt of the job."""
    return f"{job_id}/{step}"


def encoded_output(step: str, output: object) -> bytes:
    """The output of a step as JSON. Raises `InvalidInput` or `PayloadTooLarge`."""
    try:
        encoded = json.dumps(output, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(
            f"the output of step {step!r} cannot be recorded as JSON", field="output", rule="an output is JSON"
        ) from error
    if len(encoded) > PAYLOAD_BYTES_MAX:
        raise PayloadTooLarge(
            f"the output of step {step!r} has {len(encoded)} bytes", field="output",
            rule=f"at most {PAYLOAD_BYTES_MAX} bytes", hint="store it elsewhere and record where",
        )  # fmt: skip
    return encoded


class RecordedSteps:
    """Reads steps from a job's stream."""

    def __init__(self, reader: EventReader) -> None:
        self._reader = reader

    def all(self, tenant: str, job_id: UUID) -> tuple[StepOutput, ...]:
        """All of them, in the order in which they were recorded."""
        return tuple(self._with_output(event) for event in self._events(tenant, job_id))

    def find(self, tenant: str, job_id: UUID, step: str) -> StepOutput | None:
        """One of them, or None: it was not recorded."""
        for event in self._events(tenant, job_id):
            if _facts(event).step == step:
                return self._with_output(event)
        return None

    def _events(self, tenant: str, job_id: UUID) -> list[RecordedEvent]:
        part = StreamPart(topics=frozenset({JobStepRecorded.topic}))
        return self._reader.stream_part(tenant, job_id, part, limit=STEPS_MAX)

    def _with_output(self, event: RecordedEvent) -> StepOutput:
        facts = _facts(event)
        (read,) = self._reader.stream(
            event.tenant, event.originator_id, after_version=event.originator_version - 1, limit=1, bodies=True
        )
        return StepOutput(facts.step, facts.key, b"null" if read.body is None else read.body)


def _facts(event: RecordedEvent) -> JobStepRecorded:
    assert isinstance(event.facts, JobStepRecorded)
    return event.facts


class _Counted(NamedTuple):
    version: int = 0
    size: int = 0


class LoggedBytes:
    """How much the logs of jobs hold. What was counted is remembered: only what came since is read."""

    def __init__(self, reader: EventReader) -> None:
        self._reader = reader
        self._lock = threading.Lock()
        self._counted: OrderedDict[UUID, _Counted] = OrderedDict()

    def of(self, tenant: str, job_id: UUID) -> int:
        """The bytes of all lines that were recorded; a report counts for `REPORT_BYTES_MIN` at least."""
        with self._lock:
            version, size = self._counted.get(job_id, _Counted())
        while True:
            part = StreamPart(version, topics=frozenset({JobLogged.topic}))
            events = self._reader.stream_part(tenant, job_id, part, limit=_EVENTS_AT_ONCE)
            size += sum(max(REPORT_BYTES_MIN, event.metadata.body_length or 0) for event in events)
            version = events[-1].originator_version if events else version
            if len(events) < _EVENTS_AT_ONCE:
                break
        with self._lock:
            self._counted[job_id] = _Counted(version, size)
            self._counted.move_to_end(job_id)
            if len(self._counted) > _REMEMBERED_MAX:
                self._counted.popitem(last=False)
        return size
