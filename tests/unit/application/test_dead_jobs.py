"""Why a job is dead."""

from __future__ import annotations

from jobledger.application.attempts import ATTEMPTS_SHOWN
from jobledger.application.commands import RequeueJob
from jobledger.application.dlq_messages import GetDeadJob
from jobledger.domain import job as jobs
from jobledger.domain.errors import InvalidInput, NotFound
from jobledger.domain.job import Lease
from tests.support.use_cases import UseCases


def test_a_dead_job_says_why() -> None:
    """The reason, the last error, each attempt and how it ended, how often people took it out before."""
    cases = UseCases()
    job_id = cases.dispatch(persona="bot").job_id
    cases.fail(cases.claim()[0])
    cases.clock.advance(60)
    cases.fail(cases.claim()[0])
    dead = cases.ask(GetDeadJob, tenant="acme", job=job_id)
    assert (dead.death.reason, dead.death.error_type, dead.death.message) == (
        "attempts_exhausted",
        "Broken",
        "it broke",
    )
    assert [(one.number, one.worker, one.ending, one.error) for one in dead.attempts] == [
        (1, "w1", "failed", "Broken: it broke"), (2, "w1", "failed", "Broken: it broke"),
    ]  # fmt: skip
    assert dead.attempts[0].started_at < dead.attempts[1].started_at
    assert (dead.times_requeued, dead.job.state.persona) == (0, "bot")
    assert (dead.traceback, dead.job.payload) == (None, None)
    shown = cases.ask(GetDeadJob, tenant="acme", job=job_id.hex[-8:], bodies=True)
    assert shown.traceback == b"Traceback ..." and shown.job.payload is not None


def test_other_endings_are_told() -> None:
    """An attempt that stalled or was given back."""
    cases = UseCases()
    job_id = cases.dispatch().job_id
    for decide in ("interrupt", "stall"):
        (job,) = cases.claim()
        lease = Lease("w1", job.state.attempt)
        facts = (
            jobs.interrupt(job.state, lease, why="deploy")
            if decide == "interrupt"
            else jobs.stall(job.state, lease, last_seen_at=None)
        )
        cases._settle(job, facts, lease, b"")
    cases.fail(cases.claim()[0], for_good=True)
    attempts = cases.ask(GetDeadJob, tenant="acme", job=job_id).attempts
    assert [(one.ending, one.error) for one in attempts] == [
        ("interrupted", "deploy"), ("stalled", "lease expired"), ("failed", "Broken: it broke"),
    ]  # fmt: skip


def test_the_last_attempts_are_told() -> None:
    """Of a long life the end; requeues are counted."""
    cases = UseCases()
    job_id = cases.dead().job_id
    for _ in range(ATTEMPTS_SHOWN + 3):
        cases.ask(RequeueJob, tenant="acme", job=job_id, reason="again")
        cases.fail(cases.claim()[0], for_good=True)
    dead = cases.ask(GetDeadJob, tenant="acme", job=job_id)
    assert [one.number for one in dead.attempts] == list(range(5, ATTEMPTS_SHOWN + 5))
    assert dead.times_requeued == ATTEMPTS_SHOWN + 3


def test_a_job_that_is_not_dead_is_refused() -> None:
    """The hint shows it as what it is; one that is not there is not found."""
    cases = UseCases()
    job_id = cases.dispatch().job_id
    refusal = cases.refused(InvalidInput, GetDeadJob, tenant="acme", job=job_id)
    assert "pending" in refusal.message and f"jobs show {job_id}" in str(refusal.hint)
    cases.refused(NotFound, GetDeadJob, tenant="other", job=job_id)
