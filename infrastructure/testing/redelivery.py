"""Delivers a completed job once more, as after a worker that died: does it happen twice?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple
from uuid import UUID

from jobledger.application.declared_job import DeclaredJob
from jobledger.application.job_repository import brings_payload
from jobledger.application.ports import OpenJob, StreamReader
from jobledger.application.worker.attempt import ChildDispatch
from jobledger.application.worker.inline import InlineWorker
from jobledger.application.worker.options import WorkerOptions
from jobledger.application.worker.worker import WorkerPorts
from jobledger.application.writes import Outcome, Write, WriteStatus
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import JobFailed, JobState, JobStatus, JobStepRecorded, evolve

_WORKER = "redelivery"


class Redelivery(NamedTuple):
    """A second delivery: with every step recorded, or with the record of one lost."""

    lost_step: str | None

    @property
    def name(self) -> str:
        """For messages."""
        if self.lost_step is None:
            return "delivered again after its ending was lost"
        return f"delivered again after the record of step {self.lost_step!r} was lost"

    @property
    def hint(self) -> str:
        """What would help."""
        if self.lost_step is None:
            return "an effect outside of a step happens with each delivery: wrap it in context.step(...)"
        return f"hand context.step_key({self.lost_step!r}) to the provider as its idempotency key"


def redeliveries(stream: Sequence[RecordedEvent]) -> list[Redelivery]:
    """The ways in which a job may be delivered again: its worker died before the ending was recorded, or between the
    effect of a step and its record."""
    steps = [event.facts.step for event in stream if isinstance(event.facts, JobStepRecorded)]
    return [Redelivery(None), *map(Redelivery, steps)]


def deliver_again(
    stream: Sequence[RecordedEvent],
    redelivery: Redelivery,
    *,
    jobs: Mapping[str, DeclaredJob],
    ports: WorkerPorts,
    dispatch_children: ChildDispatch,
) -> str | None:
    """Run the job's handler as its next attempt; None, or the error it failed with. Nothing of it is recorded, but
    jobs that it dispatches are dispatched."""
    recorder = _Recorder()
    worker = InlineWorker(
        jobs, ports._replace(writer=recorder, reader=_Forgetful(ports.reader, redelivery.lost_step)), WorkerOptions(),
        code_version="redelivery", name=_WORKER, dispatch_children=dispatch_children,
    )  # fmt: skip
    try:
        worker.run(_next_attempt(stream))
    finally:
        worker.close()
    return recorder.error


def _next_attempt(stream: Sequence[RecordedEvent]) -> OpenJob:
    state: JobState | None = None
    for event in stream:
        state = evolve(state, event.facts)
    assert state is not None
    first, payload = stream[0], [event.body for event in stream if brings_payload(event)][-1]
    running = state._replace(status=JobStatus.IN_PROGRESS, attempt=state.attempt + 1, worker=_WORKER)
    return OpenJob(
        first.originator_id, first.tenant, stream[-1].originator_version, running, None,
        first.metadata.correlation_id, first.metadata.trace_parent, payload or b"{}",
    )  # fmt: skip


class _Recorder:
    """A `LedgerWriter` that takes everything and keeps nothing but the error of the ending."""

    def __init__(self) -> None:
        self.error: str | None = None

    def submit(self, writes: Sequence[Write]) -> Future[list[Outcome]]:
        """Take the writes."""
        done: Future[list[Outcome]] = Future()
        done.set_result(self.write(writes))
        return done

    def write(self, writes: Sequence[Write]) -> list[Outcome]:
        """Take the writes."""
        for write in writes:
            for event in getattr(write, "events", ()):
                if isinstance(event.facts, JobFailed):
                    self.error = f"{event.facts.error_type}: {event.facts.message}"
        return [Outcome(WriteStatus.WRITTEN) for _ in writes]

    def add_listener(self, listener: Callable[[Sequence[Write], Sequence[Outcome]], None]) -> None:
        """Nobody is told of what did not happen."""


class _Forgetful:
    """An `StreamReader` that has lost the record of a step."""

    def __init__(self, reader: StreamReader, lost_step: str | None) -> None:
        self._reader = reader
        self._lost_step = lost_step

    def stream(
        self,
        tenant: str,
        originator_id: UUID,
        *,
        after_version: int = 0,
        limit: int | None = None,
        bodies: bool = False,
    ) -> list[RecordedEvent]:
        """The stream without that record."""
        events = self._reader.stream(tenant, originator_id, after_version=after_version, limit=limit, bodies=bodies)
        return [
            event for event in events if getattr(event.facts, "step", None) != self._lost_step or not self._lost_step
        ]

    def streams(self, tenant: str, originator_ids: Sequence[UUID]) -> dict[UUID, list[RecordedEvent]]:
        """As the reader behind it."""
        return self._reader.streams(tenant, originator_ids)
