"""What workers ask and say. Nobody is waited for: while a claim waits, the clock goes on, in no time."""

from __future__ import annotations

from typing import TypeVar

from jobledger.application.commands import RegisterJobTypes
from jobledger.application.lease_messages import (
    AttemptEnded,
    Claimed,
    ClaimJobs,
    CompleteAttempt,
    FailAttempt,
    GiveBackAttempt,
    RecordStep,
    RenewLeases,
    ReportLog,
    ReportProgress,
    RetireWorker,
    SnoozeAttempt,
)
from jobledger.application.message import Message
from jobledger.application.queries import ListJobTypes, ListWorkers
from jobledger.application.result import Accepted
from jobledger.domain.errors import Refusal

from ...api import leases as api
from ...given_types import definition_of
from ...shapes import jobs as job_shapes
from ...shapes import leases as shapes
from .asked import Asked, Reply

R = TypeVar("R")


def list_workers(asked: Asked) -> Reply:
    """GET workers."""
    rows, lost = asked.ask(ListWorkers, lost=True).value, asked.flag("lost")
    shown = [job_shapes.worker(row) for row in rows if lost or not row.is_lost]
    return Reply({"workers": shown, "lost": sum(row.is_lost for row in rows)})


def list_job_types(asked: Asked) -> Reply:
    """GET job-types."""
    return Reply({"types": [job_shapes.job_type(row) for row in asked.ask(ListJobTypes).value]})


def register_job_types(asked: Asked) -> Reply:
    """POST job-types."""
    body = asked.body(api.RegisterTypesRequest)
    definitions = [definition_of(given, number) for number, given in enumerate(body.definitions)]
    accepted = asked.ask(RegisterJobTypes, app=body.app, code_version=body.code_version, definitions=definitions)
    return Reply({"changed": accepted.value.changed, "position": accepted.position})


def claim(asked: Asked) -> Reply:
    """POST leases/claim."""
    body = asked.body(api.ClaimRequest)
    left_seconds = body.wait_seconds
    found = _claim(asked, body)
    while not found.jobs and left_seconds > 0:
        seconds = min(left_seconds, body.lease_seconds / 3, (found.look_again_seconds or left_seconds) + 0.001)
        asked.pass_time(seconds)
        left_seconds -= seconds
        found = _claim(asked, body)
    return Reply(shapes.claimed(found))


def _claim(asked: Asked, body: api.ClaimRequest) -> Claimed:
    return _ask(
        asked, ClaimJobs, worker=body.worker, queues=body.queues, tenants=body.tenants, personas=body.personas,
        job_types=body.types, limit=body.limit, concurrency=body.concurrency, lease_seconds=body.lease_seconds,
        code_version=body.code_version,
    ).value  # fmt: skip


def renew(asked: Asked) -> Reply:
    """POST leases/heartbeat."""
    body = asked.body(api.HeartbeatRequest)
    held = [{"job_id": one.job_id, "attempt": one.attempt} for one in body.held]
    return Reply(shapes.renewed(asked.ask(RenewLeases, worker=body.worker, held=held).value))


def retire(asked: Asked) -> Reply:
    """POST leases/retire."""
    return Reply({"given_back": asked.ask(RetireWorker, worker=asked.body(api.RetireRequest).worker).value})


# --- one attempt -----------------------------------------------------------------------------------------------------


def progress(asked: Asked) -> Reply:
    """POST progress."""
    body = asked.body(api.ProgressRequest)
    reported = asked.ask(
        ReportProgress, **asked.place, worker=body.worker, fraction=body.fraction, note=body.note
    )  # fmt: skip
    return Reply(reported.value._asdict())


def log(asked: Asked) -> Reply:
    """POST log."""
    body = asked.body(api.LogRequest)
    reported = asked.ask(ReportLog, **asked.place, worker=body.worker, lines=body.lines, level=body.level)
    return Reply(reported.value._asdict())


def step(asked: Asked) -> Reply:
    """POST step."""
    body = asked.body(api.StepRequest)
    recorded = asked.ask(RecordStep, **asked.place, worker=body.worker, step=body.step, output=body.output)
    return Reply(shapes.step(body.step, recorded.value))


def complete(asked: Asked) -> Reply:
    """POST complete."""
    body = asked.body(api.CompleteRequest)
    return _ended(_ask(
        asked, CompleteAttempt, **asked.place, worker=body.worker, result=body.result,
        cpu_seconds=body.usage.cpu_seconds, units=body.usage.units,
    ))  # fmt: skip


def fail(asked: Asked) -> Reply:
    """POST fail."""
    body = asked.body(api.FailRequest)
    return _ended(_ask(
        asked, FailAttempt, **asked.place, worker=body.worker, error_type=body.error_type, message=body.message,
        traceback=body.traceback, kind=body.kind, retry_after_seconds=body.retry_after_seconds,
        never_retry=body.never_retry, cpu_seconds=body.usage.cpu_seconds, units=body.usage.units,
    ))  # fmt: skip


def snooze(asked: Asked) -> Reply:
    """POST snooze."""
    body = asked.body(api.SnoozeRequest)
    return _ended(_ask(
        asked, SnoozeAttempt, **asked.place, worker=body.worker, delay_seconds=body.delay_seconds, reason=body.reason
    ))  # fmt: skip


def release(asked: Asked) -> Reply:
    """POST release."""
    body = asked.body(api.ReleaseRequest)
    return _ended(_ask(asked, GiveBackAttempt, **asked.place, worker=body.worker, reason=body.reason))


def _ended(accepted: Accepted[AttemptEnded]) -> Reply:
    return Reply(shapes.ended(accepted.value, accepted.position))


def _ask(asked: Asked, message_type: type[Message[R]], /, **fields: object) -> Accepted[R]:
    """`Asked.ask`; refusals name the member of the body."""
    try:
        return asked.ask(message_type, **fields)
    except Refusal as error:
        error.field = shapes.body_field(error.field)
        raise
