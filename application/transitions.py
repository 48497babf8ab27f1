"""One structured log event for each transition (R4.8), from one place: what was committed is told here.

Called on the thread that commits, after the commit, for all events of all writers of the process; where the log level
filters it, it costs one comparison a commit.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple, Protocol, runtime_checkable

from structlog.typing import FilteringBoundLogger

from jobledger.domain.event import Event, Facts
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

from .logs import logger
from .ports import OpenJob
from .writes import AppendEvents, NewJob, Outcome, Write, WriteStatus

_LEVELS: Mapping[str, int] = {
    JobProgressed.topic: logging.DEBUG, JobLogged.topic: logging.DEBUG, JobStepRecorded.topic: logging.DEBUG,
    JobFailed.topic: logging.WARNING, JobStalled.topic: logging.WARNING, DispatchRefused.topic: logging.WARNING,
    JobSentToDlq.topic: logging.ERROR,
}  # fmt: skip
_TOLD = (
    "attempt", "worker", "status", "due_at", "reason", "error_type", "message", "fingerprint", "delay_seconds",
    "seconds_in_queue", "seconds_running", "estimated_cost", "code", "tenant_claimed", "type_claimed", "name", "why",
    "subject", "limits", "act", "confirmed", "changed", "skipped", "refused", "finished",
)  # fmt: skip
"""The facts that are told, where an event has them. Bodies are never logged."""


class Told(NamedTuple):
    """A log event."""

    level: int
    event: str
    fields: dict[str, object]


@runtime_checkable
class TakesMany(Protocol):
    """A logger that takes many events at once, for less than one by one."""

    def log_many(self, told: Sequence[Told]) -> None:
        """Log them; all have passed the logger's level."""
        ...


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
        told: list[Told] = []
        for write, outcome in zip(writes, outcomes, strict=True):
            if outcome.status is WriteStatus.WRITTEN and (everything or not isinstance(write, NewJob)):
                told.extend(_of_write(log, write, outcome))
        _log(log, told)

    def started(self, jobs: Sequence[OpenJob], *, worker: str) -> None:
        """Log the attempts that a claim began."""
        log = self._bound()
        if log.is_enabled_for(logging.INFO):
            _log(log, [_of_claim(job, worker) for job in jobs])

    def _bound(self) -> FilteringBoundLogger:
        # looked up for each commit: the program may configure structlog after this object was made
        return logger() if self._logger is None else self._logger


def _log(log: FilteringBoundLogger, told: Sequence[Told]) -> None:
    if isinstance(log, TakesMany):
        if told:
            log.log_many(told)
        return
    for level, event, fields in told:
        log.log(level, event, **fields)


def _of_claim(job: OpenJob, worker: str) -> Told:
    state = job.state
    return Told(
        logging.INFO, JobStarted.topic,
        {
            "tenant": job.tenant, "job_id": str(job.job_id), "version": job.version, "job_type": state.job_type,
            "queue": state.queue, "persona": state.persona, "attempt": state.attempt, "worker": worker,
            "actor": f"worker:{worker}", "correlation_id": job.correlation_id,
            "trace_id": job.trace_parent.split("-")[1],
        },
    )  # fmt: skip


def _of_write(log: FilteringBoundLogger, write: Write, outcome: Outcome) -> list[Told]:
    events = (write.event,) if isinstance(write, NewJob) else write.events
    subject = "stream_id" if isinstance(write, AppendEvents) else "job_id"
    version = (outcome.version or len(events)) - len(events) + 1
    told = []
    for number, event in enumerate(events):
        level = _LEVELS.get(event.facts.topic, logging.INFO)
        if log.is_enabled_for(level):
            position = outcome.position if number == len(events) - 1 else None
            told.append(Told(level, event.facts.topic, _fields(event, subject, version + number, position)))
    return told


def _fields(event: Event, subject: str, version: int, position: int | None) -> dict[str, object]:
    facts, metadata = event.facts, event.metadata
    fields: dict[str, object] = {"tenant": event.tenant, subject: str(event.originator_id), "version": version}
    if position is not None:
        fields["position"] = position
    values = facts.__dict__
    for name in _told_of(type(facts)):
        value = values[name]
        fields[name] = value if value is None or isinstance(value, _PLAIN) else str(value)
    fields["actor"] = metadata.actor
    fields["correlation_id"] = metadata.correlation_id
    fields["trace_id"] = metadata.trace_id
    return fields


@cache
def _told_of(facts: type[Facts]) -> tuple[str, ...]:
    """The facts of a type of event that are told."""
    names = (("job_type", "queue", "persona") if issubclass(facts, JobFacts) else ()) + _TOLD
    return tuple(name for name in names if name in facts.model_fields)


_PLAIN = (str, int, float, bool)
