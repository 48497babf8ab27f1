"""How attempts of remote workers end: the same endings, under the same guard, as those of workers in this program.

An ending whose answer got lost may be told again: where the attempt ended in just that way, that is said once more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import NamedTuple

from jobledger.domain.errors import JobledgerError, LeaseLost, LedgerBusy
from jobledger.domain.event import Facts, RecordedEvent
from jobledger.domain.job import (
    AttemptError,
    JobCancelled,
    JobCompleted,
    JobFacts,
    JobFailed,
    JobInterrupted,
    JobRetried,
    JobSentToDlq,
    JobSnoozed,
    JobStarted,
    JobStatus,
    Lease,
    Measured,
)
from jobledger.domain.rate_card import Usage

from .dispatcher import Dispatcher
from .flow import Flow
from .held_leases import HeldLeases, lease_of, lost
from .known import KnownTypes
from .lease_messages import (
    AttemptEnded,
    AttemptMessage,
    CompleteAttempt,
    FailAttempt,
    GiveBackAttempt,
    SnoozeAttempt,
    Used,
    is_covered,
)
from .lease_reports import WaitingProgress
from .ports import EventReader, Identifiers, LedgerWriter, OpenJob, StreamPart, WakeUp
from .positions import Positions
from .result import Accepted
from .worker.failures import MESSAGE_CHARACTERS, TRACEBACK_BYTES, TYPE_CHARACTERS, clean, digest, misfit
from .worker.outcomes import Ending, Failed, GivenBack, PutOff, Stopped, Succeeded, change_of
from .writes import Outcome, WriteStatus

TRIES = 8
"""How often an ending is decided anew when the row changes between reading and writing."""
_LOOK_BACK = 200
"""Events in which the ending of an attempt is looked for."""
_TURNS = frozenset(
    facts.topic for facts in (
        JobStarted, JobCompleted, JobFailed, JobRetried, JobSentToDlq, JobCancelled, JobInterrupted, JobSnoozed,
    )
)  # fmt: skip
_ENDINGS = (JobCompleted, JobFailed, JobInterrupted, JobSnoozed, JobCancelled)
_STATUS_AFTER: dict[type[Facts], JobStatus] = {
    JobCompleted: JobStatus.COMPLETED, JobRetried: JobStatus.DELAYED, JobSnoozed: JobStatus.DELAYED,
    JobSentToDlq: JobStatus.DLQ, JobCancelled: JobStatus.CANCELLED,
}  # fmt: skip


class Recorded(NamedTuple):
    """What became of an ending that was handed to the ledger: the topic that says how the attempt ended, and where the
    job stands then."""

    outcome: Outcome
    ending: str
    status: JobStatus

    @property
    def is_written(self) -> bool:
        """Whether it is durable; else the row was not as it had been read."""
        return self.outcome.status is WriteStatus.WRITTEN


class EndingRecorder:
    """Records endings that were decided on a row, guarded by the lease."""

    def __init__(
        self, *, writer: LedgerWriter, types: KnownTypes, identifiers: Identifiers, waiting: WaitingProgress,
        wake_up: WakeUp | None,
    ) -> None:  # fmt: skip
        self._writer = writer
        self._types = types
        self._identifiers = identifiers
        self._waiting = waiting
        self._wake_up = wake_up

    def record(self, job: OpenJob, ending: Ending, flow: Flow, used: Used | None = None) -> Recorded:
        """Write the ending of the attempt that `job` shows running, and progress that waits. Raises `LedgerBusy`."""
        lease = Lease(job.state.worker or "", job.state.attempt)
        reports = self._waiting.peek(job, lease)
        metadata = flow.metadata(correlation_id=job.correlation_id, trace_parent=job.trace_parent)
        measured = self._measured(job, flow, used or Used())
        change = change_of(
            job, lease, ending, measured, reports, metadata=metadata, jitter=self._identifiers.jitter()
        )  # fmt: skip
        (outcome,) = self._writer.write([change])
        if outcome.status is WriteStatus.BUSY:
            raise LedgerBusy(f"job {job.job_id} is held by another transaction", hint="try again")
        if outcome.status is WriteStatus.WRITTEN:
            self._ended(job, lease)
        assert change.change is not None
        return Recorded(outcome, change.events[len(reports)].facts.topic, change.change.status)

    def _ended(self, job: OpenJob, lease: Lease) -> None:
        self._waiting.forget(job, lease)
        if self._wake_up is not None:
            # a limit, or a key, that this attempt counted toward may let another job go
            self._wake_up.notify(frozenset((job.state.queue,)))

    def _measured(self, job: OpenJob, flow: Flow, used: Used) -> Measured:
        """As the server sees it: from the claim, by the database's clock, until now."""
        if job.started_at is None:
            return Measured()
        usage = Usage(cpu_seconds=used.cpu_seconds, units=used.units)
        card = self._types.get(job.state.job_type).definition.rate_card
        return Measured(
            seconds_in_queue=max(0.0, (job.started_at - job.state.due_at).total_seconds()),
            seconds_running=max(0.0, (flow.time - job.started_at).total_seconds()),
            usage=usage, estimated_cost=card.estimate(usage), rate_card_version=card.version,
        )  # fmt: skip


EndingOf = Callable[[str, bool], Ending]
"""The ending that a command asks for, by the job's type and whether somebody asked to cancel it."""


class LeaseEndings:
    """The handlers of the commands that end an attempt."""

    def __init__(
        self, *, held: HeldLeases, recorder: EndingRecorder, reader: EventReader, types: KnownTypes,
        positions: Positions,
    ) -> None:  # fmt: skip
        self._held = held
        self._recorder = recorder
        self._reader = reader
        self._types = types
        self._positions = positions

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer the commands of this module."""
        dispatcher.register(CompleteAttempt, self.complete)
        dispatcher.register(FailAttempt, self.fail)
        dispatcher.register(SnoozeAttempt, self.snooze)
        dispatcher.register(GiveBackAttempt, self.give_back)

    def complete(self, command: CompleteAttempt, flow: Flow) -> Accepted[AttemptEnded]:
        """The attempt succeeded, or fails for a result that does not fit."""
        return self._end(command, flow, lambda job_type, _: self._succeeded(command, job_type), command)

    def fail(self, command: FailAttempt, flow: Flow) -> Accepted[AttemptEnded]:
        """The attempt failed."""
        return self._end(command, flow, lambda *_: _failed(command), command)

    def snooze(self, command: SnoozeAttempt, flow: Flow) -> Accepted[AttemptEnded]:
        """The job is put off."""
        return self._end(command, flow, lambda *_: PutOff(command.delay_seconds, command.reason))

    def give_back(self, command: GiveBackAttempt, flow: Flow) -> Accepted[AttemptEnded]:
        """The attempt is given back; a job that is to be cancelled is cancelled."""
        why = command.reason or "its worker gave it back"
        return self._end(command, flow, lambda _, cancel: Stopped() if cancel else GivenBack(why))

    def _succeeded(self, command: CompleteAttempt, job_type: str) -> Ending:
        try:
            return Succeeded(self._types.get(job_type).encode_result(command.result))
        except (JobledgerError, ValueError, RecursionError) as error:
            return Failed(misfit("result", error, integrity=False))

    def _end(
        self, message: AttemptMessage, flow: Flow, ending_of: EndingOf, used: Used | None = None
    ) -> Accepted[AttemptEnded]:
        for _ in range(TRIES):
            try:
                job = self._held.row(message, flow)
            except LeaseLost:
                return Accepted(self._repeated(message, flow, ending_of))
            ending = ending_of(job.state.job_type, job.state.cancel_reason is not None)
            recorded = self._recorder.record(job, ending, flow, used)
            if recorded.is_written:
                ended = AttemptEnded(
                    job.job_id, message.attempt, recorded.ending, recorded.status, _error_of(message, ending)
                )
                return Accepted(ended, self._positions.text(recorded.outcome.position))
        raise LedgerBusy(f"job {message.job_id} kept changing", hint="try again")

    def _repeated(self, message: AttemptMessage, flow: Flow, ending_of: EndingOf) -> AttemptEnded:
        """The attempt is not held: `LeaseLost`, unless it ended in just the way that is told."""
        turns = self._reader.stream_part(
            message.tenant, message.job_id, StreamPart(topics=_TURNS, newest_first=True), limit=_LOOK_BACK
        )
        past = past_ending(turns[::-1], lease_of(message, flow))
        if past is None or not is_covered(message.scopes, message.tenant, past.ended.queue):
            raise lost()
        ending = ending_of(past.ended.job_type, isinstance(past.ended, JobCancelled))
        if not past.is_of(ending):
            raise lost()
        return AttemptEnded(
            message.job_id, message.attempt, past.ended.topic, past.status, _error_of(message, ending), repeated=True
        )


class PastEnding(NamedTuple):
    """How an attempt ended: the event, the hash of its body, and where the job stood then."""

    ended: JobFacts
    body_sha256: str | None
    status: JobStatus

    def is_of(self, ending: Ending) -> bool:
        """Whether it is what this ending would have recorded."""
        ended = self.ended
        match ending:
            case Succeeded(result):
                return isinstance(ended, JobCompleted) and self.body_sha256 == sha256(result).hexdigest()
            case Failed(error, _):
                return isinstance(ended, JobFailed) and (ended.error_type, ended.message) == error[:2]
            case PutOff(_, why):
                return isinstance(ended, JobCancelled) or (isinstance(ended, JobSnoozed) and ended.why == why)
            case GivenBack(why):
                return isinstance(ended, JobInterrupted) and ended.why == why
            case _:
                return isinstance(ended, JobCancelled)


def past_ending(turns: Sequence[RecordedEvent], lease: Lease) -> PastEnding | None:
    """How the attempt of this lease ended, from what happened to the job, oldest first; None where it did not."""
    holder: Lease | None = None
    for number, event in enumerate(turns):
        facts = event.facts
        if isinstance(facts, JobStarted):
            holder = Lease(facts.worker, facts.attempt)
        elif isinstance(facts, _ENDINGS) and holder == lease and facts.attempt == lease.attempt:
            last = turns[number + 1].facts if number + 1 < len(turns) else facts
            status = _STATUS_AFTER.get(type(last)) or _STATUS_AFTER.get(type(facts)) or JobStatus.PENDING
            return PastEnding(facts, event.metadata.body_sha256, status)
    return None


def _failed(command: FailAttempt) -> Ending:
    error_type = clean(command.error_type, TYPE_CHARACTERS)
    error = AttemptError(
        error_type, clean(command.message, MESSAGE_CHARACTERS), digest(command.kind or error_type),
        "unrecoverable" if command.never_retry else None, command.retry_after_seconds,
    )  # fmt: skip
    return Failed(error, None if command.traceback is None else _traceback(command.traceback))


def _traceback(text: str) -> bytes:
    encoded = text.encode("utf-8", "backslashreplace")
    return encoded if len(encoded) <= TRACEBACK_BYTES else b"...\n" + encoded[-TRACEBACK_BYTES:]


def _error_of(message: AttemptMessage, ending: Ending) -> str | None:
    """What whoever told a success does not know: that it is none."""
    return ending.error.message if isinstance(message, CompleteAttempt) and isinstance(ending, Failed) else None
