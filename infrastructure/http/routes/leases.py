"""Workers in any language: claim, heartbeat, report, end."""

from __future__ import annotations

from typing import Any, TypeVar
from uuid import UUID

import structlog
from fastapi import APIRouter, Depends, Request, Response, Security
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool

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
from jobledger.application.result import Accepted
from jobledger.domain.errors import JobledgerError, Refusal

from ...api import leases as api
from ...given_types import definition_of
from ...shapes import leases as shapes
from ..authentication import AuthenticatedRoute, bearer, is_still_proved
from ..conditions import tagged
from ..documented import problems
from ..json_body import without_nul
from ..services import Caller, Calling

R = TypeVar("R")

_log = structlog.get_logger("jobledger.http")

router = APIRouter(prefix="/v1", tags=["workers"], route_class=AuthenticatedRoute, dependencies=[Security(bearer)])
_ATTEMPT = "/tenants/{tenant}/jobs/{job_id}/attempts/{attempt}"


@router.post(
    "/job-types", operation_id="register_job_types", summary="Publish job types", response_model=api.TypesRegistered,
    responses=problems(),
)  # fmt: skip
def register_job_types(*, body: api.RegisterTypesRequest, caller: Calling, response: Response) -> Any:  # noqa: ANN401
    """What a worker does when it starts; what is in force already changes nothing."""
    definitions = [definition_of(given, number) for number, given in enumerate(body.definitions)]
    accepted = caller.ask(RegisterJobTypes, app=body.app, code_version=body.code_version, definitions=definitions)
    tagged(response, None, accepted.position)
    return {"changed": accepted.value.changed, "position": accepted.position}


@router.post(
    "/leases/claim", operation_id="claim_jobs", summary="Take jobs, and wait where there are none",
    response_model=api.Leases, responses=problems(),
)  # fmt: skip
async def claim_jobs(*, body: api.ClaimRequest, caller: Calling, request: Request) -> Any:  # noqa: ANN401
    """Their attempts begin with the answer. A connection that is closed while it waits takes nothing, nor does a key
    that is revoked."""

    def claim() -> Claimed:
        return _claim(caller, body.worker, body)

    async def is_gone() -> bool:
        return await request.is_disconnected() or not await is_still_proved(request, caller.identity)

    wishes = (body.queues, body.tenants, body.personas, body.types)
    line = (caller.identity.id, *(None if wish is None else frozenset(wish) for wish in wishes))
    found = await caller.services.waiting.claim(
        claim, line, seconds=body.wait_seconds, own_seconds=body.lease_seconds / 3, is_gone=is_gone
    )
    await _handed_over(request, caller, body.worker, found)
    return _answer(shapes.claimed(found))


def _claim(caller: Caller, worker: str, wishes: api.Wishes) -> Claimed:
    return _ask(
        caller, ClaimJobs, worker=worker, queues=wishes.queues, tenants=wishes.tenants, personas=wishes.personas,
        job_types=wishes.types, limit=wishes.limit, concurrency=wishes.concurrency,
        lease_seconds=wishes.lease_seconds, code_version=wishes.code_version,
    ).value  # fmt: skip


async def _handed_over(request: Request, caller: Caller, worker: str, found: Claimed) -> None:
    """Whoever hung up hears of no job: they are given back."""
    if found.jobs and await request.is_disconnected():
        await run_in_threadpool(_give_back, caller, worker, found)


def _give_back(caller: Caller, worker: str, found: Claimed) -> None:
    for job in found.jobs:
        try:
            caller.ask(
                GiveBackAttempt, worker=worker, tenant=job.tenant, job_id=job.job_id, attempt=job.attempt,
                reason="its worker was gone before it heard of the job",
            )  # fmt: skip
        except JobledgerError:
            return  # their leases run out


@router.post(
    "/leases/heartbeat", operation_id="renew_leases", summary="Say that a worker lives, and what it holds",
    response_model=api.Heartbeat, responses=problems(),
)  # fmt: skip
def renew_leases(*, body: api.HeartbeatRequest, caller: Calling) -> Any:  # noqa: ANN401
    """Leases end where none comes for `lease_seconds`: send one at least every `renew_within_seconds`."""
    held = [{"job_id": one.job_id, "attempt": one.attempt} for one in body.held]
    return shapes.renewed(caller.ask(RenewLeases, worker=body.worker, held=held).value)


@router.post(
    "/leases/retire", operation_id="retire_worker", summary="End a worker", response_model=api.Retired,
    responses=problems(),
)  # fmt: skip
def retire_worker(*, body: api.RetireRequest, caller: Calling) -> Any:  # noqa: ANN401
    """What it still holds is given back at once, and it is no longer listed."""
    return {"given_back": caller.ask(RetireWorker, worker=body.worker).value}


# --- one attempt -----------------------------------------------------------------------------------------------------


@router.post(
    f"{_ATTEMPT}/progress", operation_id="report_progress", summary="Say how far the work is",
    response_model=api.Reported, responses=problems(409),
)  # fmt: skip
def report_progress(*, tenant: str, job_id: UUID, attempt: int, body: api.ProgressRequest, caller: Calling) -> Any:  # noqa: ANN401
    """Recorded at most once a second; what comes sooner is recorded with what comes next."""
    return caller.ask(
        ReportProgress, worker=body.worker, tenant=tenant, job_id=job_id, attempt=attempt, fraction=body.fraction,
        note=body.note,
    ).value._asdict()  # fmt: skip


@router.post(
    f"{_ATTEMPT}/log", operation_id="report_log", summary="Record log lines", response_model=api.Reported,
    responses=problems(409),
)  # fmt: skip
def report_log(*, tenant: str, job_id: UUID, attempt: int, body: api.LogRequest, caller: Calling) -> Any:  # noqa: ANN401
    """Durable once it is answered. A job's log holds 1 MB; a report counts for 250 bytes at least."""
    return caller.ask(
        ReportLog, worker=body.worker, tenant=tenant, job_id=job_id, attempt=attempt, lines=body.lines,
        level=body.level,
    ).value._asdict()  # fmt: skip


@router.post(
    f"{_ATTEMPT}/step", operation_id="record_step", summary="Record a step that is never to be done again",
    response_model=api.StepRecorded, responses=problems(409), dependencies=[Depends(without_nul)],
)  # fmt: skip
def record_step(*, tenant: str, job_id: UUID, attempt: int, body: api.StepRequest, caller: Calling) -> Any:  # noqa: ANN401
    """Durable once it is answered, and told to every later attempt with its claim."""
    recorded = caller.ask(
        RecordStep, worker=body.worker, tenant=tenant, job_id=job_id, attempt=attempt, step=body.step,
        output=body.output,
    ).value  # fmt: skip
    return shapes.step(body.step, recorded)


@router.post(
    f"{_ATTEMPT}/complete", operation_id="complete_attempt", summary="The work is done",
    response_model=api.AttemptCompleted, responses=problems(409), dependencies=[Depends(without_nul)],
)  # fmt: skip
async def complete_attempt(
    *, tenant: str, job_id: UUID, attempt: int, body: api.CompleteRequest, caller: Calling, request: Request
) -> Any:  # noqa: ANN401
    """May be told again where the answer was lost. `ending` is `failed` where the result does not fit the job type.
    With `claim` the same request takes the next jobs: a worker that is never idle asks half as often."""

    def complete() -> tuple[Accepted[AttemptEnded], Claimed | None]:
        ended = _ask(
            caller, CompleteAttempt, worker=body.worker, tenant=tenant, job_id=job_id, attempt=attempt,
            result=body.result, cpu_seconds=body.usage.cpu_seconds, units=body.usage.units,
        )  # fmt: skip
        return ended, None if body.claim is None else _next(caller, body.worker, body.claim)

    ended, found = await run_in_threadpool(complete)
    leases = None
    if found is not None:
        await _handed_over(request, caller, body.worker, found)
        leases = [shapes.lease(job) for job in found.jobs]
    answer = {**shapes.ended(ended.value, ended.position), "leases": leases}
    return _answer(answer, ended.position)


def _next(caller: Caller, worker: str, wishes: api.Wishes) -> Claimed:
    """Whatever is in the way of a claim, the ending before it was recorded: that is what has to be answered."""
    try:
        return _claim(caller, worker, wishes)
    except JobledgerError as error:
        _log.info("leases.nothing_after_completion", error=str(error))
        return Claimed(())


@router.post(
    f"{_ATTEMPT}/fail", operation_id="fail_attempt", summary="The work failed", response_model=api.AttemptEnded,
    responses=problems(409),
)  # fmt: skip
def fail_attempt(
    *, tenant: str, job_id: UUID, attempt: int, body: api.FailRequest, caller: Calling, response: Response
) -> Any:  # noqa: ANN401
    """Another attempt follows, or the dead-letter queue: the job's policy and what is told here decide."""
    return _ended(response, _ask(
        caller, FailAttempt, worker=body.worker, tenant=tenant, job_id=job_id, attempt=attempt,
        error_type=body.error_type, message=body.message, traceback=body.traceback, kind=body.kind,
        retry_after_seconds=body.retry_after_seconds, never_retry=body.never_retry,
        cpu_seconds=body.usage.cpu_seconds, units=body.usage.units,
    ))  # fmt: skip


@router.post(
    f"{_ATTEMPT}/snooze", operation_id="snooze_attempt", summary="Not now", response_model=api.AttemptEnded,
    responses=problems(409),
)  # fmt: skip
def snooze_attempt(
    *, tenant: str, job_id: UUID, attempt: int, body: api.SnoozeRequest, caller: Calling, response: Response
) -> Any:  # noqa: ANN401
    """The job waits for so long; the attempt does not count."""
    return _ended(response, caller.ask(
        SnoozeAttempt, worker=body.worker, tenant=tenant, job_id=job_id, attempt=attempt,
        delay_seconds=body.delay_seconds, reason=body.reason,
    ))  # fmt: skip


@router.post(
    f"{_ATTEMPT}/release", operation_id="release_attempt", summary="Give the attempt back",
    response_model=api.AttemptEnded, responses=problems(409),
)  # fmt: skip
def release_attempt(
    *, tenant: str, job_id: UUID, attempt: int, body: api.ReleaseRequest, caller: Calling, response: Response
) -> Any:  # noqa: ANN401
    """Ready for others at once; the attempt does not count. A job that was to be cancelled is cancelled."""
    return _ended(response, caller.ask(
        GiveBackAttempt, worker=body.worker, tenant=tenant, job_id=job_id, attempt=attempt, reason=body.reason
    ))  # fmt: skip


def _ask(caller: Caller, message_type: type[Message[R]], /, **fields: object) -> Accepted[R]:
    """`Caller.ask`; refusals name the member of the body."""
    try:
        return caller.ask(message_type, **fields)
    except Refusal as error:
        error.field = shapes.body_field(error.field)
        raise


def _answer(content: dict[str, Any], position: str | None = None) -> Response:
    """Asked thousands of times a second: what the server put together itself is not checked against its model."""
    response = Response(to_json(content), media_type="application/json")
    tagged(response, None, position)
    return response


def _ended(response: Response, accepted: Accepted[AttemptEnded]) -> dict[str, Any]:
    tagged(response, None, accepted.position)
    return shapes.ended(accepted.value, accepted.position)
