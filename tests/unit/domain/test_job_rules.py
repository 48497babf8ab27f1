"""What follows from a decision: attempts, retries, cancellations, the DLQ."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from jobledger.domain import job as jobs
from jobledger.domain.errors import IllegalTransition, InvalidInput, LeaseLost, Refusal
from jobledger.domain.job import (
    AttemptError,
    Decision,
    JobCancelled,
    JobCompleted,
    JobDispatched,
    JobFailed,
    JobRequeued,
    JobRescheduled,
    JobRetried,
    JobSentToDlq,
    JobSnoozed,
    JobStalled,
    JobState,
    JobStatus,
    Lease,
    Measured,
    evolve,
)
from jobledger.domain.rate_card import Usage
from jobledger.domain.retry import Retry
from tests.support.given import (
    ABOUT,
    HISTORIES,
    LEASE,
    NOW,
    WORKER,
    cancel_requested,
    dispatched,
    failed,
    given,
    retried,
    sent_to_dlq,
    started,
)
from tests.unit.domain.decisions import BROKEN, DECISIONS

# --- beginning -------------------------------------------------------------------------------------------------------


def test_a_dispatch_decides_everything_about_the_job() -> None:
    """The state after the first event is what was dispatched, with no attempt yet."""
    state = given(dispatched(priority=7, retry=Retry.fixed(4, 1))).state
    assert state.status is JobStatus.PENDING
    assert (state.priority, state.attempts_allowed, state.attempt, state.attempts_counted) == (7, 4, 0, 0)
    assert not state.last_attempt_failed


def test_nothing_comes_before_the_dispatch() -> None:
    """A stream that begins otherwise is not a job's."""
    with pytest.raises(InvalidInput, match=r"begins with job\.dispatched"):
        evolve(None, started())


def test_attempts_are_numbered_and_counted_at_the_claim() -> None:
    """A job that kills its worker runs out of attempts, because they count when they begin."""
    state = given(dispatched(), started()).state
    assert (state.attempt, state.attempts_counted, state.worker) == (1, 1, WORKER)


def test_no_attempt_begins_beyond_those_allowed() -> None:
    """Where none remain the claim is refused."""
    spent = given(dispatched(retry=Retry.never()), started()).state._replace(status=JobStatus.PENDING)
    with pytest.raises(IllegalTransition, match="no attempts remain"):
        jobs.start(spent, worker=WORKER, code_version="v1", lease_seconds=30)


# --- an attempt ends -------------------------------------------------------------------------------------------------


def test_a_success_records_what_was_measured() -> None:
    """Seconds, usage and cost stand in the completion."""
    measured = Measured(1.5, 2.5, Usage(cpu_seconds=2, units={"tokens": 10}), 0.3, "2026-01")
    event = given(dispatched(), started()).when(lambda job: jobs.complete(job, LEASE, measured)).event()
    assert event == JobCompleted(
        **ABOUT, attempt=1, worker=WORKER, seconds_in_queue=1.5, seconds_running=2.5,
        usage=Usage(cpu_seconds=2, units={"tokens": 10}), estimated_cost=0.3, rate_card_version="2026-01",
    )  # fmt: skip


def test_work_that_is_done_stays_done_when_somebody_asked_to_cancel() -> None:
    """A request to cancel does not undo a success."""
    state = given(*HISTORIES["in_progress, asked to stop"]).when(DECISIONS["complete"]).then("job.completed")
    assert state.status is JobStatus.COMPLETED
    assert state.cancel_reason is None


def test_a_failure_is_retried_by_the_policy() -> None:
    """The retry names the time and the inputs of its decision, so that it can be replayed."""
    policy = Retry.exponential(max_attempts=3, base_seconds=8)

    def decide(job: JobState) -> Decision:
        return jobs.fail(job, LEASE, BROKEN, now=NOW, jitter=0.25, measured=Measured())

    history = (dispatched(retry=policy), started())
    retry = decide(given(*history).state)[1]
    assert retry == JobRetried(
        **ABOUT, next_attempt=2, due_at=NOW + timedelta(seconds=2), delay_seconds=2, policy=policy, jitter=0.25,
        attempts_counted=1,
    )  # fmt: skip
    state = given(*history).when(decide).then("job.failed", "job.retried")
    assert (state.status, state.due_at) == (JobStatus.DELAYED, NOW + timedelta(seconds=2))
    assert state.last_attempt_failed and state.last_error_type == "Broken"


def test_a_handler_may_say_when_to_retry() -> None:
    """ "Retry after" beats the policy's delay, not its number of attempts."""
    error = BROKEN._replace(retry_after_seconds=90)
    _, retry = jobs.fail(given(dispatched(), started()).state, LEASE, error, now=NOW, jitter=1, measured=Measured())
    assert isinstance(retry, JobRetried)
    assert (retry.delay_seconds, retry.asked_by_handler) == (90, True)


def test_the_last_allowed_attempt_ends_in_the_dlq() -> None:
    """Attempts exhausted: the auditable error event carries the last error (R4.6)."""
    history = (dispatched(retry=Retry.never()), started())
    failure, dead = jobs.fail(given(*history).state, LEASE, BROKEN, now=NOW, jitter=0, measured=Measured())
    assert isinstance(failure, JobFailed) and failure.recoverable
    assert dead == JobSentToDlq(
        **ABOUT, reason="attempts_exhausted", attempt=1, error_type="Broken", message="it broke", fingerprint="f",
        kind="work",
    )  # fmt: skip


@pytest.mark.parametrize("reason", ["unrecoverable", "integrity_violation"])
def test_what_can_never_succeed_goes_to_the_dlq_at_once(reason: str) -> None:
    """Whatever attempts remain."""
    error = AttemptError("Hopeless", "no", "f", "unrecoverable" if reason == "unrecoverable" else "integrity_violation")
    failure, dead = jobs.fail(
        given(dispatched(), started()).state, LEASE, error, now=NOW, jitter=0, measured=Measured()
    )
    assert isinstance(failure, JobFailed) and not failure.recoverable
    assert isinstance(dead, JobSentToDlq) and dead.reason == reason


def test_a_snoozed_attempt_does_not_count() -> None:
    """It comes back at its time with as many attempts as before."""
    state = given(dispatched(), started()).when(DECISIONS["snooze"]).then(
        JobSnoozed(**ABOUT, attempt=1, due_at=NOW + timedelta(minutes=1), why="circuit open")
    )  # fmt: skip
    assert (state.status, state.attempt, state.attempts_counted) == (JobStatus.DELAYED, 1, 0)


def test_an_interrupted_attempt_does_not_count() -> None:
    """A deploy burns no attempt; the next one still has the next number."""
    state = given(dispatched(), started()).when(DECISIONS["interrupt"]).then("job.interrupted")
    assert (state.status, state.attempt, state.attempts_counted, state.worker) == (JobStatus.PENDING, 1, 0, None)


def test_a_stalled_job_goes_back_within_its_budget() -> None:
    """Stalls have a budget of their own and count no attempt."""
    state = given(dispatched(max_stalled=1), started()).when(DECISIONS["stall"]).then(
        JobStalled(**ABOUT, attempt=1, worker=WORKER, last_seen_at=NOW)
    )  # fmt: skip
    assert (state.status, state.stalls, state.attempts_counted) == (JobStatus.PENDING, 1, 0)


def test_a_job_that_stalls_too_often_is_dead() -> None:
    """One stall more than `max_stalled` ends in the DLQ, with where it was last."""
    state = given(dispatched(max_stalled=0), started()).when(DECISIONS["stall"]).then("job.stalled", "job.sent_to_dlq")
    assert state.status is JobStatus.DLQ
    assert WORKER in state.last_error_message


@pytest.mark.parametrize("lease", [Lease("worker-2", 1), Lease(WORKER, 2), Lease(WORKER, 0)])
@pytest.mark.parametrize("ending", [jobs.complete, jobs.fail, jobs.interrupt, jobs.stall, jobs.snooze])
def test_an_ending_is_only_accepted_from_who_holds_the_attempt(ending: Callable[..., Decision], lease: Lease) -> None:
    """Worker and attempt are the fencing token."""
    arguments: dict[object, tuple[tuple[object, ...], dict[str, object]]] = {
        jobs.complete: ((Measured(),), {}),
        jobs.fail: ((BROKEN,), {"now": NOW, "jitter": 0.0, "measured": Measured()}),
        jobs.interrupt: ((), {"why": "shutdown"}),
        jobs.stall: ((), {"last_seen_at": None}),
        jobs.snooze: ((), {"due_at": NOW, "why": "later"}),
    }
    positional, named = arguments[ending]
    refusal = (
        given(dispatched(), started()).when(lambda job: ending(job, lease, *positional, **named)).refused(LeaseLost)
    )
    assert WORKER in refusal.message


def test_other_events_may_land_while_an_attempt_runs() -> None:
    """Progress, a new priority and a request to cancel leave the lease where it is."""
    state = given(dispatched(), started()).when(DECISIONS["reschedule priority"]).then("job.rescheduled")
    assert (state.status, state.priority, state.worker) == (JobStatus.IN_PROGRESS, 5, WORKER)
    assert jobs.complete(evolve(state, cancel_requested()), LEASE, Measured())


# --- waiting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "minutes", "expected"),
    [("pending", 5, "delayed"), ("delayed", -5, "pending"), ("blocked", 5, "blocked")],
)
def test_a_new_time_moves_a_job_between_pending_and_delayed(status: str, minutes: int, expected: str) -> None:
    """A job in the future waits, one that is due is ready; a blocked one stays blocked. What has passed means now."""
    due_at = NOW + timedelta(minutes=minutes)
    event = given(*HISTORIES[status]).when(
        lambda job: jobs.reschedule(job, now=NOW, reason="moved", due_at=due_at)
    ).event()  # fmt: skip
    assert isinstance(event, JobRescheduled)
    assert (event.status, event.due_at, event.priority) == (expected, max(due_at, NOW), 0)


def test_rescheduling_says_what_to_change() -> None:
    """Neither priority nor time is no command."""
    refusal = given(dispatched()).when(lambda job: jobs.reschedule(job, now=NOW, reason="x")).refused(InvalidInput)
    assert refusal.field == "priority"


def test_a_priority_stays_within_its_bounds() -> None:
    """-100 to 100, as everywhere."""
    with pytest.raises(ValueError, match="less than or equal to 100"):
        jobs.reschedule(given(dispatched()).state, now=NOW, reason="x", priority=101)


def test_a_running_job_is_asked_to_stop_once() -> None:
    """The request is recorded; the job is cancelled when its attempt has ended."""
    state = given(dispatched(), started()).when(DECISIONS["cancel"]).then("job.cancel_requested")
    assert (state.status, state.cancel_reason) == (JobStatus.IN_PROGRESS, "not needed")
    after = jobs.stop_cancelled(state, LEASE)
    assert after == (JobCancelled(**ABOUT, attempt=1, reason="not needed"),)


def test_a_cancelled_job_was_not_a_failure_unless_it_failed_before() -> None:
    """The filter `failed` looks at the last attempt."""
    assert not given(*HISTORIES["cancelled"]).state.last_attempt_failed
    assert given(*HISTORIES["delayed for its retry"]).state.last_attempt_failed


def test_only_what_waits_is_rejected() -> None:
    """A job whose tenant is gone is dead without having run."""
    state = given(dispatched()).when(DECISIONS["reject"]).then("job.sent_to_dlq")
    assert (state.status, state.attempt, state.last_error_type) == (JobStatus.DLQ, 0, "UnknownTenant")


# --- out of the DLQ --------------------------------------------------------------------------------------------------


def test_a_requeued_job_has_new_attempts() -> None:
    """As many as its policy, on top of those it has had; stalls are forgiven."""
    state = given(*HISTORIES["dlq"]).when(DECISIONS["requeue"]).then("job.requeued")
    assert (state.status, state.attempts_counted, state.attempts_allowed) == (JobStatus.PENDING, 1, 4)
    assert state.stalls == 0 and state.due_at == NOW


def test_a_human_may_grant_fewer_attempts_and_edit_the_payload() -> None:
    """The hash of the payload before goes on record, the new payload is the body."""
    event = given(*HISTORIES["dlq"]).when(
        lambda job: jobs.requeue(
            job, now=NOW, reason="fixed", ticket="OPS-12", attempts_granted=1, payload_sha256_before="ab" * 32
        )
    ).event()  # fmt: skip
    assert event == JobRequeued(
        **ABOUT, reason="fixed", ticket="OPS-12", attempts_granted=1, payload_edited=True,
        payload_sha256_before="ab" * 32, due_at=NOW,
    )  # fmt: skip


def test_completed_after_a_requeue_is_not_failed() -> None:
    """The filter `failed` forgets what was repaired."""
    history = (*HISTORIES["dlq"], *jobs.requeue(given(*HISTORIES["dlq"]).state, now=NOW, reason="fixed"), started(2))
    state = given(*history).when(lambda job: jobs.complete(job, Lease(WORKER, 2), Measured())).then("job.completed")
    assert not state.last_attempt_failed


def test_every_event_repeats_type_queue_and_persona() -> None:
    """Views are keyed by them, so no event leaves them out."""
    for name, decide in DECISIONS.items():
        for history in HISTORIES.values():
            try:
                decided = decide(given(*history).state)
            except Refusal:
                continue
            for facts in decided:
                assert (facts.job_type, facts.queue, facts.persona) == tuple(ABOUT.values()), name


def test_events_of_other_streams_are_no_events_of_a_job() -> None:
    """A job's fold refuses what it does not know."""
    from jobledger.domain.tenant import TenantCreated

    with pytest.raises(InvalidInput, match="not an event of a job"):
        evolve(given(dispatched()).state, TenantCreated(name="acme"))


def test_a_history_of_many_attempts_folds_to_its_end() -> None:
    """Three failures of three: dead, with the last error, and every attempt counted."""
    history = [
        dispatched(), started(1), failed(1), retried(1), started(2), failed(2), retried(2), started(3), failed(3),
        sent_to_dlq(3),
    ]  # fmt: skip
    state = given(*history).state
    assert (state.status, state.attempt, state.attempts_counted) == (JobStatus.DLQ, 3, 3)


def test_a_dispatch_may_not_name_a_priority_out_of_bounds() -> None:
    """Facts are checked too, not only commands."""
    with pytest.raises(ValueError, match="greater than or equal to -100"):
        JobDispatched(**ABOUT, due_at=NOW, priority=-101)
