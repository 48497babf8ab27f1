"""What workers in any language are promised, on every ledger: the leases, the fencing and the endings of any worker."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest
from pydantic_core import from_json

from jobledger.application.lease_messages import (
    ClaimJobs,
    CompleteAttempt,
    FailAttempt,
    GiveBackAttempt,
    RecordStep,
    ReportLog,
    ReportProgress,
    RetireWorker,
    SnoozeAttempt,
)
from jobledger.application.result import Accepted, Refused
from jobledger.domain import job as decisions
from jobledger.domain.errors import InvalidInput, LeaseLost, NotPermitted, UnknownJobType
from jobledger.domain.job import JobCompleted, JobFailed, JobProgressed, JobRetried, JobStalled, JobStarted
from jobledger.domain.limit import queue_target
from jobledger.domain.retry import Retry

from .leasing_support import RemoteWorker, Server, history, register_type, scope, topics
from .limits_support import limit
from .support import LedgerUnderTest

DONE = {"result": {"sent": 1}}
ENDINGS: dict[type[Any], dict[str, Any]] = {
    CompleteAttempt: DONE, FailAttempt: {"error_type": "Broken"}, SnoozeAttempt: {"delay_seconds": 60},
    GiveBackAttempt: {},
}  # fmt: skip
REPORTS: dict[type[Any], dict[str, Any]] = {
    ReportProgress: {"fraction": 0.5}, ReportLog: {"lines": ["hello"]}, RecordStep: {"step": "charge", "output": 1},
}  # fmt: skip


@pytest.fixture
def server(ledger: LedgerUnderTest) -> Server:
    """A process over an empty ledger that knows the type `invoice.send`."""
    register_type(ledger)
    return Server(ledger)


@pytest.fixture
def worker(server: Server) -> RemoteWorker:
    """Worker `w1` of identity `key:one`."""
    return server.worker()


# --- claiming --------------------------------------------------------------------------------------------------------


def test_a_claim_brings_all_that_working_needs(server: Server, worker: RemoteWorker) -> None:
    """Payload, attempt, the fencing token, deadlines by the database's clock, and the flow that the job belongs to."""
    job_id = server.ledger.dispatch(persona="bot", timeout_seconds=60.0, soft_timeout_seconds=50.0, priority=7)
    job = worker.claim_one(code_version="node-3", lease_seconds=45)
    assert (job.job_id, job.tenant, job.persona, job.job_type) == (job_id, "acme", "bot", "invoice.send")
    assert (job.queue, job.priority, job.payload) == ("default", 7, b'{"invoice":"42"}')
    assert (job.attempt, job.attempts_allowed, job.worker) == (1, 5, "key:one/w1")
    assert (job.correlation_id, job.alone, job.steps, job.lease_seconds) == ("flow-1", False, (), 45)
    assert job.trace_parent.startswith("00-")
    assert ((job.deadline - job.started_at).seconds, (job.soft_deadline - job.started_at).seconds) == (60, 50)
    started = history(server.ledger, job_id)[-1].facts
    assert isinstance(started, JobStarted)
    assert (started.worker, started.code_version, started.lease_seconds) == ("key:one/w1", "node-3", 45)


def test_two_workers_share_what_there_is(server: Server, worker: RemoteWorker) -> None:
    """No job is handed out twice, and none beyond the limit."""
    dispatched = {server.ledger.dispatch() for _ in range(5)}
    first, second = worker.claim(3), server.worker("w2", "key:two").claim(3)
    assert (len(first), len(second)) == (3, 2)
    assert {job.job_id for job in [*first, *second]} == dispatched


def test_a_worker_is_listed_from_its_first_claim_on(server: Server, worker: RemoteWorker) -> None:
    """Under its identity, with what it asked for; it lives for as long as its lease from there on."""
    worker.claim(queues=("default", "other"), concurrency=4, code_version="v9")
    (row,) = server.ledger.queue.workers()
    assert (row.heartbeat.worker, row.heartbeat.code_version) == ("key:one/w1", "v9")
    assert (row.heartbeat.queues, row.heartbeat.concurrency) == (("default", "other"), 4)
    assert (row.heartbeat.report.host, row.is_lost) == ("203.0.113.7", False)


def test_what_another_process_knows_of_a_worker_is_kept(server: Server, worker: RemoteWorker) -> None:
    """A heartbeat may reach another process than the claim did: the worker stays what it said it is."""
    worker.claim(queues=("default", "other"), code_version="v9")
    Server(server.ledger).worker().renew()
    (row,) = server.ledger.queue.workers()
    assert (row.heartbeat.queues, row.heartbeat.code_version) == (("default", "other"), "v9")


def test_only_types_that_were_asked_for(server: Server, worker: RemoteWorker) -> None:
    """Other types are left to others; with none named, all of the registry are taken; one that is none is refused."""
    register_type(server.ledger, "report.make")
    report = server.ledger.dispatch(job_type="report.make")
    assert worker.claim(job_types=("invoice.send",)) == []
    assert [job.job_id for job in worker.claim()] == [report]
    refused = worker.send(ClaimJobs, job_types=("no.such",))
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, UnknownJobType)


def test_only_tenants_and_queues_that_are_permitted(server: Server) -> None:
    """An identity that works for one tenant in one queue and another in another gets no other combination."""
    wanted = {server.ledger.dispatch(), server.ledger.dispatch(tenant="other", queue="side")}
    server.ledger.dispatch(queue="side")
    server.ledger.dispatch(tenant="other")
    worker = server.worker(
        scopes=(scope(["acme"], ["default"]), scope(["other"], ["side"])), queues=("default", "side")
    )
    assert {job.job_id for _ in range(3) for job in worker.claim()} == wanted


@pytest.mark.parametrize("wish", [{"queues": ("side",)}, {"tenants": ("other",)}, {"tenants": ("nobody",)}])
def test_what_is_not_permitted_is_refused(server: Server, wish: dict[str, Any]) -> None:
    """A queue or tenant outside of all scopes, whether there is one or not."""
    server.ledger.dispatch(tenant="other", queue="side")
    result = server.worker(scopes=(scope(["acme"], ["default"]),)).send(
        ClaimJobs, scopes=(scope(["acme"], ["default"]),), **wish
    )
    assert isinstance(result, Refused)
    assert isinstance(result.error, NotPermitted)


def test_a_claim_can_be_narrowed(server: Server) -> None:
    """To tenants, and to personas of tenants that are named."""
    mine = server.ledger.dispatch(persona="bot")
    server.ledger.dispatch()
    server.ledger.dispatch(tenant="other", persona="bot")
    worker = server.worker()
    assert [job.job_id for job in worker.claim(tenants=("acme",), personas=("bot",))] == [mine]
    assert {job.tenant for job in worker.claim(tenants=("other",))} == {"other"}
    refused = worker.send(ClaimJobs, personas=("bot",))
    assert isinstance(refused, Refused)
    assert refused.error.field == "personas"


def test_a_claim_says_when_to_look_again(server: Server, worker: RemoteWorker) -> None:
    """When the next job is due; nothing where nothing is foreseen."""
    assert worker.send(ClaimJobs).unwrap().look_again_seconds is None
    server.ledger.dispatch(status="delayed", due_in_seconds=3_600)
    seconds = worker.send(ClaimJobs).unwrap().look_again_seconds
    assert seconds is not None
    assert 3_000 < seconds <= 3_600


def test_limits_count_remote_attempts(server: Server, worker: RemoteWorker) -> None:
    """A queue limited to one runs one, whoever works; its ending wakes who waits for the next."""
    limit(server.ledger, queue_target("default"), concurrency=1)
    first, second = server.ledger.dispatch(), server.ledger.dispatch()
    other = server.worker("w2", "key:two")
    job = worker.claim_one()
    assert job.job_id == first
    assert other.claim() == []
    server.ledger.wake_up.wait(0)
    worker.tell(CompleteAttempt, job, **DONE)
    assert server.ledger.wake_up.wait(30)
    assert [job.job_id for job in other.claim()] == [second]


def test_a_payload_that_fits_no_more_goes_to_the_dlq(server: Server, worker: RemoteWorker) -> None:
    """It is not handed out; the others of the claim are."""
    unfit = server.ledger.dispatch(payload=b'{"invoice":42}')
    fit = server.ledger.dispatch()
    assert [job.job_id for job in worker.claim()] == [fit]
    assert topics(server.ledger, unfit) == ["started", "failed", "sent_to_dlq"]
    dead = history(server.ledger, unfit)[-1].facts
    assert (dead.reason, dead.error_type) == ("integrity_violation", "PayloadInvalid")  # type: ignore[attr-defined]


def test_jobs_of_a_suspended_tenant_are_not_handed_out(server: Server, worker: RemoteWorker) -> None:
    """They go to the DLQ, as unrecoverable."""
    job_id = server.ledger.dispatch()
    server.ledger.suspend_tenant("acme")
    assert worker.claim() == []
    assert topics(server.ledger, job_id) == ["sent_to_dlq"]


def test_a_job_that_may_have_killed_workers_runs_alone(server: Server, worker: RemoteWorker) -> None:
    """It comes alone and says so, and its worker gets nothing else until it has ended."""
    suspect = server.ledger.dispatch(priority=50)
    for _ in range(2):
        job = server.worker("victim").claim_one()
        server.ledger.queue.goodbye(job.worker)
        server.maintenance.run_once()
        server = Server(server.ledger)
    server.ledger.dispatch()
    worker = server.worker("careful")
    job = worker.claim_one()
    assert (job.job_id, job.alone) == (suspect, True)
    assert worker.claim() == []
    assert server.worker("w2").claim_one().alone is False
    server.ledger.dispatch()
    worker.tell(CompleteAttempt, job, **DONE)
    assert worker.claim_one().alone is False


# --- endings ---------------------------------------------------------------------------------------------------------


def test_a_completion_records_the_result(server: Server, worker: RemoteWorker) -> None:
    """The result is what was told, by whom, with what it used and cost."""
    job_id = server.ledger.dispatch()
    ended = worker.tell(CompleteAttempt, worker.claim_one(), result={"sent": 3}, units={"tokens": 12}, cpu_seconds=0.5)
    assert (ended.ending, ended.status, ended.error, ended.repeated) == ("job.completed", "completed", None, False)
    event = history(server.ledger, job_id)[-1]
    assert isinstance(event.facts, JobCompleted)
    assert (event.body, event.facts.worker, event.metadata.actor) == (b'{"sent":3}', "key:one/w1", "key:one")
    assert (event.facts.usage.units, event.facts.usage.cpu_seconds) == ({"tokens": 12}, 0.5)
    assert (event.facts.estimated_cost, event.metadata.correlation_id) == (2.0, "flow-1")


@pytest.mark.parametrize("result", [{"sent": "three"}, {}, None, {"sent": 1, "note": "x" * 300_000}])
def test_a_result_that_does_not_fit_fails_the_attempt(server: Server, worker: RemoteWorker, result: object) -> None:
    """As that of any worker: it is recorded as a failure, and told."""
    job_id = server.ledger.dispatch()
    ended = worker.tell(CompleteAttempt, worker.claim_one(), result=result)
    assert (ended.ending, ended.status) == ("job.failed", "delayed")
    assert ended.error is not None
    assert topics(server.ledger, job_id) == ["started", "failed", "retried"]


def test_a_failure_is_retried_by_the_jobs_policy(server: Server, worker: RemoteWorker) -> None:
    """Until its attempts are used up; then it is dead. Error, message and traceback are recorded."""
    job_id = server.ledger.dispatch(retry=Retry(max_attempts=2))
    statuses = [
        worker.tell(
            FailAttempt,
            worker.claim_one(),
            error_type="Broken",
            message="it\x00broke",
            traceback="line 1",
            retry_after_seconds=0,
        )
        for _ in range(2)
    ]
    assert [ended.status for ended in statuses] == ["delayed", "dlq"]
    failed = history(server.ledger, job_id)[-2]
    assert isinstance(failed.facts, JobFailed)
    assert (failed.facts.error_type, failed.facts.message, failed.body) == ("Broken", "it\\x00broke", b"line 1")


def test_a_failure_may_say_when_to_try_again_or_never(server: Server, worker: RemoteWorker) -> None:
    """`retry_after_seconds` stands in place of the policy's delay, `never_retry` sends the job to the DLQ."""
    later, never = server.ledger.dispatch(priority=1), server.ledger.dispatch()
    worker.tell(FailAttempt, worker.claim_one(), error_type="Busy", retry_after_seconds=777)
    retried = history(server.ledger, later)[-1].facts
    assert isinstance(retried, JobRetried)
    assert (retried.delay_seconds, retried.asked_by_handler) == (777, True)
    assert worker.tell(FailAttempt, worker.claim_one(), error_type="Gone", never_retry=True).status == "dlq"
    assert topics(server.ledger, never) == ["started", "failed", "sent_to_dlq"]


def test_failures_of_a_kind_share_a_fingerprint(server: Server, worker: RemoteWorker) -> None:
    """By their error type, or by what their worker calls their kind."""
    told = [
        {"error_type": "A", "message": "1"}, {"error_type": "A", "message": "2"}, {"error_type": "A", "kind": "db"},
        {"error_type": "B", "kind": "db"},
    ]  # fmt: skip
    prints = []
    for one in told:
        server.ledger.dispatch()
        lease = worker.claim_one()  # this job, or one that failed before and is due again
        worker.tell(FailAttempt, lease, **one)
        prints.append(history(server.ledger, lease.job_id)[-2].facts.fingerprint)  # type: ignore[attr-defined]
    assert prints[0] == prints[1] != prints[2] == prints[3]


@pytest.mark.parametrize(
    ("ending", "fields", "status"),
    [(SnoozeAttempt, {"delay_seconds": 60}, "delayed"), (GiveBackAttempt, {}, "pending")],
)
def test_what_is_put_off_or_given_back_does_not_count(
    server: Server, worker: RemoteWorker, ending: type[Any], fields: dict[str, Any], status: str
) -> None:
    """The job waits again, with as many attempts left as before."""
    job_id = server.ledger.dispatch()
    assert worker.tell(ending, worker.claim_one(), **fields).status == status
    row = server.ledger.open_job(job_id)
    assert (row.state.attempts_counted, row.state.attempt) == (0, 1)


# --- fencing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [*ENDINGS, *REPORTS])
def test_nobody_else_can_say_anything_of_an_attempt(server: Server, worker: RemoteWorker, message: type[Any]) -> None:
    """Another identity with a worker of the same name, another worker, another attempt, another tenant, a job that is
    not there, a scope that does not cover it: one and the same answer, and nothing is recorded."""
    job_id = server.ledger.dispatch()
    server.ledger.create_tenant("other")
    job = worker.claim_one()
    fields = {**ENDINGS, **REPORTS}[message]
    errors = [
        server.worker("w1", "key:two").refused(message, job, **fields),
        server.worker("w2", "key:one").refused(message, job, **fields),
        worker.refused(message, job._replace(attempt=2), **fields),
        worker.refused(message, job._replace(tenant="other"), **fields),
        worker.refused(message, job._replace(job_id=uuid4()), **fields),
        worker.refused(message, job, scopes=(scope(["acme"], ["side"]), scope(["other"], None)), **fields),
    ]
    assert {(type(error), str(error)) for error in errors} == {(LeaseLost, str(errors[0]))}
    assert topics(server.ledger, job_id) == ["started"]


@pytest.mark.parametrize("message", [*ENDINGS, *REPORTS])
def test_a_lost_lease_ends_nothing(server: Server, worker: RemoteWorker, message: type[Any]) -> None:
    """Whoever was taken for dead says nothing any more, once another worker holds the job."""
    job_id = server.ledger.dispatch()
    job = worker.claim_one()
    server.ledger.queue.goodbye(job.worker)
    server.maintenance.run_once()
    other = server.worker("w2", "key:two")
    again = other.claim_one()
    assert isinstance(worker.refused(message, job, **{**ENDINGS, **REPORTS}[message]), LeaseLost)
    assert worker.verdicts(job) == ["lost"]
    assert other.tell(CompleteAttempt, again, **DONE).status == "completed"
    assert topics(server.ledger, job_id) == ["started", "stalled", "started", "completed"]


@pytest.mark.parametrize("first", ENDINGS)
def test_an_ending_may_be_told_again(server: Server, worker: RemoteWorker, first: type[Any]) -> None:
    """Its answer may have been lost: told once more, it is answered alike and recorded once. Any other is refused."""
    job_id = server.ledger.dispatch()
    job = worker.claim_one()
    ended = worker.tell(first, job, **ENDINGS[first])
    assert worker.tell(first, job, **ENDINGS[first]) == ended._replace(repeated=True)
    for other, fields in ENDINGS.items():
        if other is not first:
            assert isinstance(worker.refused(other, job, **fields), LeaseLost)
    assert isinstance(worker.refused(CompleteAttempt, job, result={"sent": 99}), LeaseLost)
    assert topics(server.ledger, job_id)[1:].count(ended.ending.removeprefix("job.")) == 1


def test_an_attempt_has_one_ending(server: Server, worker: RemoteWorker) -> None:
    """Of endings that are told at the same moment, one is recorded and the others are refused."""
    for _ in range(5):
        job_id = server.ledger.dispatch()
        job = worker.claim_one(queues=("default",))
        told = [(CompleteAttempt, DONE), (FailAttempt, {"error_type": "A"}), (FailAttempt, {"error_type": "B"})]
        together = Barrier(len(told))

        def tell(one: tuple[type[Any], dict[str, Any]], job: Any = job, together: Barrier = together) -> Any:  # noqa: ANN401
            together.wait()
            return worker.about(one[0], job, **one[1])

        with ThreadPoolExecutor(len(told)) as threads:
            results = list(threads.map(tell, told))
        assert sum(isinstance(result, Accepted) for result in results) == 1
        assert sum(topic in ("completed", "failed") for topic in topics(server.ledger, job_id)) == 1


# --- heartbeats ------------------------------------------------------------------------------------------------------


def test_a_heartbeat_says_what_became_of_each(server: Server, worker: RemoteWorker) -> None:
    """Held ones go on; ended ones, and those of others, are lost."""
    server.ledger.dispatch(priority=1)
    server.ledger.dispatch()
    held, ended = worker.claim()
    server.ledger.dispatch(tenant="other")
    foreign = server.worker("w2", "key:two").claim_one()
    worker.tell(CompleteAttempt, ended, **DONE)
    assert worker.verdicts(held, ended, foreign) == ["go_on", "lost", "lost"]
    assert worker.renew(held).renew_within_seconds == 10


def test_a_request_to_cancel_reaches_the_worker(server: Server, worker: RemoteWorker) -> None:
    """With its next heartbeat or report; what it gives back then is cancelled."""
    job_id = server.ledger.dispatch()
    job = worker.claim_one()
    assert worker.tell(ReportProgress, job, fraction=0.1).cancel_requested is False
    row = server.ledger.open_job(job_id)
    server.ledger.change(row, *decisions.cancel(row.state, reason="wrong"))
    assert worker.verdicts(job) == ["cancel_requested"]
    assert worker.tell(ReportLog, job, lines=["stopping"]).cancel_requested is True
    assert worker.tell(GiveBackAttempt, job).status == "cancelled"
    assert topics(server.ledger, job_id) == ["started", "progressed", "cancel_requested", "logged", "cancelled"]
    assert worker.tell(GiveBackAttempt, job).repeated


def test_work_that_is_done_counts_though_it_was_to_be_cancelled(server: Server, worker: RemoteWorker) -> None:
    """A completion after a request to cancel is a completion; a failure is the end of the job."""
    for ending, status in ((CompleteAttempt, "completed"), (FailAttempt, "cancelled"), (SnoozeAttempt, "cancelled")):
        job_id = server.ledger.dispatch()
        job = worker.claim_one()
        row = server.ledger.open_job(job_id)
        server.ledger.change(row, *decisions.cancel(row.state, reason="wrong"))
        assert worker.tell(ending, job, **ENDINGS[ending]).status == status


def test_a_heartbeat_ends_what_ran_for_too_long(server: Server, worker: RemoteWorker) -> None:
    """The hard timeout is a failure of the attempt, as it is with any worker; what is told later is refused."""
    job_id = server.ledger.dispatch(timeout_seconds=0.0, soft_timeout_seconds=0.0)
    job = worker.claim_one()
    assert worker.verdicts(job) == ["timed_out"]
    failed = history(server.ledger, job_id)[-2].facts
    assert isinstance(failed, JobFailed)
    assert (failed.error_type, failed.message) == ("Timeout", "the handler ran longer than 0 seconds")
    assert topics(server.ledger, job_id) == ["started", "failed", "retried"]
    assert isinstance(worker.refused(CompleteAttempt, job, **DONE), LeaseLost)
    assert worker.verdicts(job) == ["lost"]


def test_a_claim_ends_what_ran_for_too_long_too(server: Server, worker: RemoteWorker) -> None:
    """A worker that claims is heard of: what it holds beyond its time ends, though it sends no heartbeats."""
    job_id = server.ledger.dispatch(timeout_seconds=0.0, soft_timeout_seconds=0.0)
    worker.claim_one()
    server.clock.elapsed_seconds += 11
    worker.claim()
    assert "failed" in topics(server.ledger, job_id)


def test_work_done_after_its_time_counts_where_nobody_ended_it(server: Server, worker: RemoteWorker) -> None:
    """The lease alone decides: nothing else refuses an ending."""
    server.ledger.dispatch(timeout_seconds=0.0, soft_timeout_seconds=0.0)
    assert worker.tell(CompleteAttempt, worker.claim_one(), **DONE).status == "completed"


def test_the_soft_timeout_is_told(server: Server, worker: RemoteWorker) -> None:
    """The worker is to come to an end; it still holds the attempt."""
    server.ledger.dispatch(timeout_seconds=600.0, soft_timeout_seconds=0.0)
    job = worker.claim_one()
    assert worker.verdicts(job) == ["soft_timeout"]
    assert worker.renew(job).held[0].is_held


def test_a_silent_workers_jobs_are_rescued(server: Server, worker: RemoteWorker) -> None:
    """By the same chore as those of any worker."""
    job_id = server.ledger.dispatch()
    job = worker.claim_one()
    server.ledger.queue.goodbye(job.worker)
    server.maintenance.run_once()
    assert topics(server.ledger, job_id) == ["started", "stalled"]


def test_a_worker_that_was_started_anew_has_lost_sight_of_its_jobs(ledger: LedgerUnderTest) -> None:
    """What it claimed and does not name counts as stalled, so that a job that kills its worker comes to an end."""
    register_type(ledger)
    worker = Server(ledger, unknown_seconds=0.0).worker()
    job_id = ledger.dispatch(max_stalled=1)
    for _ in range(2):
        job = worker.claim_one()
        assert worker.renew().forgotten == (job.job_id,)
    assert topics(ledger, job_id) == ["started", "stalled", "started", "stalled", "sent_to_dlq"]
    stalled = history(ledger, job_id)[-2].facts
    assert isinstance(stalled, JobStalled)
    assert stalled.why == "its worker does not know of it any more"


def test_what_was_claimed_just_now_need_not_be_named_yet(server: Server, worker: RemoteWorker) -> None:
    """The answer to a claim may be on its way while a heartbeat goes out."""
    server.ledger.dispatch()
    job = worker.claim_one()
    assert worker.renew().forgotten == ()
    assert worker.verdicts(job) == ["go_on"]


def test_a_worker_that_ends_gives_back_what_it_holds(server: Server, worker: RemoteWorker) -> None:
    """At once, without a lost attempt; what was to be cancelled is cancelled. It is listed no longer."""
    first, second = server.ledger.dispatch(priority=1), server.ledger.dispatch()
    worker.claim()
    row = server.ledger.open_job(second)
    server.ledger.change(row, *decisions.cancel(row.state, reason="wrong"))
    assert worker.send(RetireWorker).unwrap() == 2
    assert topics(server.ledger, first) == ["started", "interrupted"]
    assert topics(server.ledger, second) == ["started", "cancel_requested", "cancelled"]
    assert server.ledger.queue.workers() == []
    assert server.worker("w2").claim_one().job_id == first


# --- reports ---------------------------------------------------------------------------------------------------------


def test_progress_is_recorded_once_a_second(server: Server, worker: RemoteWorker) -> None:
    """What comes sooner waits; the next report, heartbeat or ending records the last of it."""
    job_id = server.ledger.dispatch()
    job = worker.claim_one()
    told = [worker.tell(ReportProgress, job, fraction=step / 10, note=f"step {step}").recorded for step in range(3)]
    assert told == [True, False, False]
    worker.verdicts(job)
    assert _progress(server, job_id) == [0.0]
    server.clock.elapsed_seconds += 1
    worker.verdicts(job)
    assert _progress(server, job_id) == [0.0, 0.2]
    worker.tell(ReportProgress, job, fraction=0.9)
    worker.tell(CompleteAttempt, job, **DONE)
    assert _progress(server, job_id) == [0.0, 0.2, 0.9]
    assert topics(server.ledger, job_id)[-1] == "completed"


def _progress(server: Server, job_id: Any) -> list[float]:  # noqa: ANN401
    facts = [event.facts for event in history(server.ledger, job_id)]
    return [one.fraction for one in facts if isinstance(one, JobProgressed)]


def test_log_lines_are_recorded_while_the_job_runs(server: Server, worker: RemoteWorker) -> None:
    """With time and level, a line each."""
    job_id = server.ledger.dispatch()
    job = worker.claim_one()
    assert worker.tell(ReportLog, job, lines=["one", "two\nthree"], level="warning").recorded
    event = history(server.ledger, job_id)[-1]
    assert event.body is not None
    lines = event.body.decode().splitlines()
    assert [line.split(" ", 1)[1] for line in lines[:2]] == ["warning one", "warning two"]
    assert (lines[2], event.facts.line_count) == ("three", 3)  # type: ignore[attr-defined]
    assert isinstance(worker.refused(ReportLog, job, lines=["x"], level="loud"), InvalidInput)


def test_a_full_log_says_so_once(server: Server, worker: RemoteWorker) -> None:
    """It holds a megabyte of all attempts; what comes after that is dropped, also by another process."""
    job_id = server.ledger.dispatch()
    job = worker.claim_one()
    recorded = [worker.tell(ReportLog, job, lines=["x" * 15_900] * 30).recorded for _ in range(4)]
    assert recorded == [True, True, True, False]
    again = Server(server.ledger).worker()
    assert again.tell(ReportLog, job, lines=["more"]).recorded is False
    bodies = [event.body or b"" for event in history(server.ledger, job_id)[2:]]
    assert sum(map(len, bodies)) < 1_000_200
    assert bodies[-1].endswith(b"the log of this job is full; further lines are dropped")


def test_a_job_has_a_bounded_number_of_log_reports(server: Server, worker: RemoteWorker) -> None:
    """Each counts for 250 bytes at least."""
    server.ledger.dispatch()
    job = worker.claim_one()
    worker.tell(ReportLog, job, lines=["x" * 15_900] * 62)
    short = 0
    while worker.tell(ReportLog, job, lines=["."]).recorded:
        short += 1
    assert 20 < short < 60


def test_a_recorded_step_is_never_recorded_again(server: Server, worker: RemoteWorker) -> None:
    """Told again, by whatever attempt, what was recorded first is the answer; the next claim brings it along."""
    job_id = server.ledger.dispatch()
    job = worker.claim_one()
    first = worker.tell(RecordStep, job, step="charge", output={"id": "ch_1"})
    assert (first.key, from_json(first.output), first.already) == (f"{job_id}/charge", {"id": "ch_1"}, False)
    again = worker.tell(RecordStep, job, step="charge", output={"id": "ch_2"})
    assert (from_json(again.output), again.already) == ({"id": "ch_1"}, True)
    worker.tell(GiveBackAttempt, job)
    job = server.worker("w2", "key:two").claim_one()
    assert [(step.step, step.key, from_json(step.output)) for step in job.steps] == [
        ("charge", f"{job_id}/charge", {"id": "ch_1"})
    ]
    assert topics(server.ledger, job_id).count("step_recorded") == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"step": " "},
        {"step": "x" * 201},
        {"step": "big", "output": "x" * 4_000_001},
        {"step": "nan", "output": float("nan")},
    ],
)
def test_a_step_that_cannot_be_recorded_is_refused(
    server: Server, worker: RemoteWorker, fields: dict[str, Any]
) -> None:
    """A name that is none, and an output that is too large."""
    server.ledger.dispatch()
    assert isinstance(worker.refused(RecordStep, worker.claim_one(), **fields), InvalidInput)


@pytest.mark.parametrize(
    ("message", "fields", "field"),
    [
        (ReportProgress, {"fraction": 1.5}, "fraction"), (ReportProgress, {"fraction": float("nan")}, "fraction"),
        (SnoozeAttempt, {"delay_seconds": -1}, "delay_seconds"), (FailAttempt, {"error_type": ""}, "error_type"),
        (FailAttempt, {"error_type": "A", "retry_after_seconds": 1e9}, "retry_after_seconds"),
        (CompleteAttempt, {"units": {"tokens": -1}}, "units.tokens"),
        (CompleteAttempt, {"cpu_seconds": float("inf")}, "cpu_seconds"), (CompleteAttempt, {"attempt": 0}, "attempt"),
        (ReportLog, {"lines": []}, "lines"), (ReportLog, {"lines": ["x"] * 1_001}, "lines"),
    ],
)  # fmt: skip
def test_bad_fields_are_refused_by_name(
    server: Server, worker: RemoteWorker, message: type[Any], fields: dict[str, Any], field: str
) -> None:
    """The refusal names the field, and the attempt goes on."""
    job_id = server.ledger.dispatch()
    job = worker.claim_one()
    error = worker.refused(message, job, **fields)
    assert (type(error), error.field) == (InvalidInput, field)
    assert topics(server.ledger, job_id) == ["started"]
