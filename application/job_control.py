"""What people do to jobs: cancel, reschedule, requeue, discard, or bring to a status.

Each act reads the job from its stream, decides, and saves under the version it read; where the job moved on meanwhile
it is read and decided again, a bounded number of times.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

from jobledger.domain import job as decisions
from jobledger.domain.errors import IllegalTransition, InvalidInput, LedgerBusy, VersionConflict
from jobledger.domain.event import Event
from jobledger.domain.job import AttemptError, Decision, JobState, JobStatus, Lease, Measured, evolve
from jobledger.domain.manual_act import REJECTED_BY_HAND
from jobledger.domain.rate_card import Usage

from .commands import CancelJob, DiscardJob, JobChanged, JobCommand, RequeueJob, RescheduleJob, UpdateJobStatus
from .dispatcher import Dispatcher
from .flow import Flow
from .job_finder import JobFinder
from .known import KnownTenants, KnownTypes
from .payload_edits import EditedPayload, accept_edited, edited
from .ports import Identifiers, Job, JobRepository, Queue
from .positions import Positions
from .result import Accepted
from .writes import Outcome, WriteStatus

TRIES = 8
"""How often a decision is taken anew when the job moves on between reading and saving."""


class Decided(NamedTuple):
    """A decision with its body (of its first event), the payload it leaves in the queue, and the lease it holds."""

    facts: Decision
    body: bytes | None = None
    payload: bytes | None = None
    lease: Lease | None = None


class JobControl:
    """The handlers of the commands about one job."""

    def __init__(
        self,
        *,
        repository: JobRepository,
        queue: Queue,
        finder: JobFinder,
        tenants: KnownTenants,
        types: KnownTypes,
        positions: Positions,
        identifiers: Identifiers,
    ) -> None:
        self._repository = repository
        self._queue = queue
        self._finder = finder
        self._tenants = tenants
        self._types = types
        self._positions = positions
        self._identifiers = identifiers

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer the commands of this module."""
        dispatcher.register(CancelJob, self.cancel)
        dispatcher.register(RescheduleJob, self.reschedule)
        dispatcher.register(RequeueJob, self.requeue)
        dispatcher.register(DiscardJob, self.discard)
        dispatcher.register(UpdateJobStatus, self.update_status)

    def cancel(self, command: CancelJob, flow: Flow) -> Accepted[JobChanged]:
        """Cancel a job that waits; ask one that runs to stop."""
        return self._change(command, flow, lambda job: Decided(decisions.cancel(job.state, reason=command.reason)))

    def reschedule(self, command: RescheduleJob, flow: Flow) -> Accepted[JobChanged]:
        """Change priority or time."""
        return self._change(
            command, flow,
            lambda job: Decided(decisions.reschedule(
                job.state, now=flow.time, reason=command.reason, priority=command.priority, due_at=command.due_at
            )),
        )  # fmt: skip

    def requeue(self, command: RequeueJob, flow: Flow) -> Accepted[JobChanged]:
        """Give a dead job new attempts, and the edited payload if there is one."""

        def decide(job: Job) -> Decided:
            self._require_served(job)
            edit = self._edit(command, job)
            facts = decisions.requeue(
                job.state, now=flow.time, reason=command.reason, ticket=command.ticket,
                attempts_granted=command.attempts,
                payload_sha256_before=None if edit is None else job.payload_sha256 or "",
                payload_changes=None if edit is None else edit.changes,
            )  # fmt: skip
            payload = None if edit is None else edit.body
            return Decided(facts, body=payload, payload=payload)

        return self._change(command, flow, decide)

    def _require_served(self, job: Job) -> None:
        """A dead job of a suspended tenant would come straight back, and what it died of first would be forgotten."""
        if job.state.status is JobStatus.DLQ:
            self._tenants.require_not_suspended(job.tenant)

    def _edit(self, command: RequeueJob, job: Job) -> EditedPayload | None:
        """The edited payload that the command asks for; None where it asks for none, or it changes nothing."""
        if job.state.status is not JobStatus.DLQ:  # refused anyway, and not for what is wrong with the payload
            return None
        if command.payload is None and not (command.put or command.without):
            return None
        row = self._queue.open_jobs(job.tenant, [job.job_id]).get(job.job_id)
        before = None if row is None else row.payload
        payload = edited(before, command.put, command.without) if command.payload is None else command.payload
        return accept_edited(self._types.get(job.state.job_type), payload, before)

    def discard(self, command: DiscardJob, flow: Flow) -> Accepted[JobChanged]:
        """Give a dead job up."""
        return self._change(
            command, flow,
            lambda job: Decided(decisions.discard(job.state, reason=command.reason, ticket=command.ticket)),
        )  # fmt: skip

    def update_status(self, command: UpdateJobStatus, flow: Flow) -> Accepted[JobChanged]:
        """Take the decision that brings the job to the wanted status; refused where there is none."""
        return self._change(command, flow, lambda job: self._towards(command, flow, job))

    def _towards(self, command: UpdateJobStatus, flow: Flow, job: Job) -> Decided:
        state, reason = job.state, command.reason
        match command.status:
            case JobStatus.CANCELLED:
                return Decided(decisions.cancel(state, reason=reason))
            case JobStatus.DISCARDED:
                return Decided(decisions.discard(state, reason=reason))
            case JobStatus.PENDING if state.status is JobStatus.DLQ:
                self._require_served(job)
                return Decided(decisions.requeue(state, now=flow.time, reason=reason))
            case JobStatus.PENDING | JobStatus.DELAYED if state.status in (JobStatus.PENDING, JobStatus.DELAYED):
                return Decided(self._put_off(command, flow, state))
            case JobStatus.DLQ if state.status in decisions.WAITING:
                decisions.require_reason(reason, "sending a job to the DLQ")
                return Decided(decisions.reject(
                    state, reason="unrecoverable", error_type="RejectedByHand", message=reason,
                    fingerprint=REJECTED_BY_HAND,
                ))  # fmt: skip
            case JobStatus.COMPLETED | "failed":
                return self._end_attempt(command, flow, job)
            case target:
                raise IllegalTransition(state.status, target)

    def _put_off(self, command: UpdateJobStatus, flow: Flow, state: JobState) -> Decision:
        wants_delay = command.status is JobStatus.DELAYED
        if wants_delay and (command.due_at is None or command.due_at <= flow.time):
            raise InvalidInput("delayed until when?", field="due_at", rule="lies in the future")
        if not wants_delay and command.due_at is not None and command.due_at > flow.time:
            raise InvalidInput("a pending job is due now", field="due_at", rule="is for status delayed")
        due_at = command.due_at if wants_delay else flow.time
        return decisions.reschedule(state, now=flow.time, reason=command.reason, due_at=due_at)

    def _end_attempt(self, command: UpdateJobStatus, flow: Flow, job: Job) -> Decided:
        if job.state.status is not JobStatus.IN_PROGRESS:
            raise IllegalTransition(job.state.status, command.status, "no attempt is running")
        if command.worker is None or command.attempt is None:
            raise InvalidInput(
                "who ends the attempt?", field="worker" if command.worker is None else "attempt",
                rule="names the worker and attempt that hold the job",
            )  # fmt: skip
        lease = Lease(command.worker, command.attempt)
        measured = self._measured(job, flow)
        if command.status is JobStatus.COMPLETED:
            body = self._types.get(job.state.job_type).encode_result(command.result)
            return Decided(decisions.complete(job.state, lease, measured), body=body, lease=lease)
        error = AttemptError(command.error_type, command.reason or "reported as failed", command.error_type)
        facts = decisions.fail(
            job.state, lease, error, now=flow.time, jitter=self._identifiers.jitter(), measured=measured
        )
        return Decided(facts, lease=lease)

    def _measured(self, job: Job, flow: Flow) -> Measured:
        row = self._queue.open_jobs(job.tenant, [job.job_id]).get(job.job_id)
        if row is None or row.started_at is None:
            return Measured()
        rates = self._types.get(job.state.job_type).definition.rate_card
        return Measured(
            seconds_in_queue=max(0.0, (row.started_at - job.state.due_at).total_seconds()),
            seconds_running=max(0.0, (flow.time - row.started_at).total_seconds()),
            estimated_cost=rates.estimate(Usage()), rate_card_version=rates.version,
        )  # fmt: skip

    def _change(self, command: JobCommand, flow: Flow, decide: Callable[[Job], Decided]) -> Accepted[JobChanged]:
        job_id = self._finder.find(command.tenant, command.job)
        busy = False
        for _ in range(TRIES):
            job = self._repository.get(command.tenant, job_id)
            _require_version(command, job)
            decided = decide(job)
            after = reduce(_evolved, decided.facts, job.state)
            outcome = self._repository.save(
                _events(job, decided, flow), None if decided.lease else job.version, before=job, lease=decided.lease,
                payload=decided.payload,
            )  # fmt: skip
            if outcome.status is WriteStatus.WRITTEN:
                return self._changed(job, after, outcome)
            busy = outcome.status is WriteStatus.BUSY
        if busy:
            raise LedgerBusy(f"job {job_id} is held by another transaction", hint="try again")
        raise VersionConflict(f"job {job_id} kept changing", field="job", rule="holds still", hint="try again")

    def _changed(self, job: Job, after: JobState, outcome: Outcome) -> Accepted[JobChanged]:
        changed = JobChanged(job.job_id, after.status, outcome.version or job.version)
        return Accepted(changed, self._positions.text(outcome.position))


def _require_version(command: JobCommand, job: Job) -> None:
    if command.expected_version is not None and command.expected_version != job.version:
        raise VersionConflict(
            f"job {job.job_id} has version {job.version} by now, not {command.expected_version}",
            field="expected_version", rule="is the job's version", hint="look at the job again, then decide",
        )  # fmt: skip


def _evolved(state: JobState, facts: decisions.JobFacts) -> JobState:
    return evolve(state, facts)


def _events(job: Job, decided: Decided, flow: Flow) -> list[Event]:
    """What was decided, as events: the job's own flow goes on, the actor is who decided."""
    metadata = flow.metadata(correlation_id=job.correlation_id, trace_parent=job.trace_parent)
    return [
        Event(job.job_id, job.version + number, job.tenant, metadata, facts, decided.body if number == 1 else None)
        for number, facts in enumerate(decided.facts, start=1)
    ]
