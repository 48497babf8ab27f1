"""One structured log event for each transition (R4.8), from one place: what was committed is told here.

Called on the thread that commits, after the commit, for all events of all writers of the process; where the log level
filters it, it costs one comparison a commit.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from uuid import UUID

import structlog
from structlog.typing import FilteringBoundLogger

from jobledger.domain.event import Event, Metadata
from jobledger.domain.job import (
    JobFacts,
    JobFailed,
    JobLogged,
    JobProgressed,
    JobSentToDlq,
    JobStalled,
    JobStarted,
    JobStepRecorded,
)
from jobledger.domain.refusal import DispatchRefused

from .ports import OpenJob
from .writes import ChangeJob, NewJob, Outcome, Write, WriteStatus

_LEVELS: Mapping[str, int] = {
    JobProgressed.topic: logging.DEBUG, JobLogged.topic: logging.DEBUG, JobStepRecorded.topic: logging.DEBUG,
    JobFailed.topic: logging.WARNING, JobStalled.topic: logging.WARNING, DispatchRefused.topic: logging.WARNING,
    JobSentToDlq.topic: logging.ERROR,
}  # fmt: skip
_TOLD = (
    "attempt", "worker", "status", "due_at", "reason", "error_type", "message", "fingerprint", "delay_seconds",
    "seconds_in_queue", "seconds_running", "estimated_cost", "code", "tenant_claimed", "type_claimed", "name", "why",
)  # fmt: skip
"""The facts that are told, where an event has them. Bodies are never logged."""


class TransitionLog:
    """A listener of the ledger's writer; the worker tells it of claims, which go another way."""

    def __init__(self, logger: FilteringBoundLogger | None = None) -> None:
        self._logger = logger

    def committed(self, writes: Sequence[Write], outcomes: Sequence[Outcome]) -> None:
        """Log every event of the writes that were stored."""
        log = self._bound()
        if not log.is_enabled_for(logging.ERROR):
            return
        everything = log.is_enabled_for(logging.INFO)
        for write, outcome in zip(writes, outcomes, strict=True):
            if outcome.status is WriteStatus.WRITTEN and (everything or not isinstance(write, NewJob)):
                _tell_write(log, write, outcome)

    def started(self, jobs: Sequence[OpenJob], *, worker: str) -> None:
        """Log the attempts that a claim began."""
        log = self._bound()
        if not log.is_enabled_for(logging.INFO):
            return
        for job in jobs:
            state = job.state
            log.info(
                JobStarted.topic, tenant=job.tenant, job_id=str(job.job_id), version=job.version,
                job_type=state.job_type, queue=state.queue, persona=state.persona, attempt=state.attempt,
                worker=worker, actor=f"worker:{worker}", correlation_id=job.correlation_id,
                trace_id=job.trace_parent.split("-")[1],
            )  # fmt: skip

    def _bound(self) -> FilteringBoundLogger:
        # bound anew for each commit: the program may configure structlog after this object was made
        log: FilteringBoundLogger = self._logger or structlog.get_logger("jobledger").bind()
        return log


def _tell_write(log: FilteringBoundLogger, write: Write, outcome: Outcome) -> None:
    events = (write.event,) if isinstance(write, NewJob) else write.events
    version = (outcome.version or len(events)) - len(events) + 1
    for number, event in enumerate(events):
        level = _LEVELS.get(event.facts.topic, logging.INFO)
        if log.is_enabled_for(level):
            position = outcome.position if number == len(events) - 1 else None
            is_job = isinstance(write, NewJob | ChangeJob)
            log.log(level, event.facts.topic, **_fields(event, version + number, position, is_job=is_job))


def _fields(event: Event, version: int, position: int | None, *, is_job: bool) -> dict[str, object]:
    facts, metadata = event.facts, event.metadata
    fields: dict[str, object] = {
        "tenant": event.tenant,
        **_subject(event.originator_id, is_job=is_job),
        "version": version,
    }
    if position is not None:
        fields["position"] = position
    if isinstance(facts, JobFacts):
        fields.update(job_type=facts.job_type, queue=facts.queue, persona=facts.persona)
    values = facts.__dict__
    fields.update({name: _plain(values[name]) for name in _TOLD if name in values})
    return {**fields, **_flow(metadata)}


def _subject(originator_id: UUID, *, is_job: bool) -> dict[str, object]:
    return {"job_id" if is_job else "stream_id": str(originator_id)}


def _flow(metadata: Metadata) -> dict[str, object]:
    return {"actor": metadata.actor, "correlation_id": metadata.correlation_id, "trace_id": metadata.trace_id}


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
