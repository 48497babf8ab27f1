"""Live events: of one job, and of a tenant's jobs; and waiting for a job's result."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response, Security
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from jobledger.application.authentication import unauthenticated
from jobledger.application.queries import GetJob, JobDetails
from jobledger.domain.errors import InvalidInput
from jobledger.domain.identity import Permission
from jobledger.domain.job import TERMINAL, JobStatus
from jobledger.domain.tenant import TenantName

from ...api import history as api
from ...api.events import LiveEvent
from ...shapes import jobs as shapes
from ..authentication import AuthenticatedRoute, bearer, is_still_proved
from ..conditions import tagged
from ..documented import problems
from ..feed import JOB_TOPICS, Wanted
from ..services import Caller, Calling
from ..sse import MEDIA_TYPE, EventStream, follow
from .lists import Words

router = APIRouter(
    prefix="/v1/tenants/{tenant}", tags=["jobs"], route_class=AuthenticatedRoute, dependencies=[Security(bearer)]
)

LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", description="The id of the last event that was received: go on after it.")
]
Begin = Annotated[
    str | None, Query(description="A position to begin after, where there is no Last-Event-ID.", examples=["5f0c.8192"])
]

_STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Server-sent events: `id` is the position, `data` an event as JSON. Comments say that the "
        "connection lives; an `id` without data, how far everything was told.",
        "content": {MEDIA_TYPE: {"schema": LiveEvent.model_json_schema()}},
    },
    **problems(),
}
_OVER = TERMINAL | {JobStatus.DLQ}


@router.get("/jobs/{job_id}/events", operation_id="follow_job", summary="What happens to a job, live",
            response_class=EventStream, responses=_STREAM)  # fmt: skip
def follow_job(
    *,
    tenant: str,
    job_id: UUID,
    caller: Calling,
    request: Request,
    last_event_id: LastEventId = None,
    after: Begin = None,
) -> EventStream:
    """All of its events, from the first on, or from where one left off; then those that come."""
    caller.ask(GetJob, tenant=tenant, job=job_id)  # is there one, for this caller?
    return _followed(caller, request, Wanted(tenant, job_id), last_event_id, after)


@router.get("/events", operation_id="follow_jobs", summary="What happens to a tenant's jobs, live",
            response_class=EventStream, responses=_STREAM)  # fmt: skip
def follow_jobs(
    *,
    tenant: TenantName,
    caller: Calling,
    request: Request,
    type: Words | None = None,  # noqa: A002 - the name of the parameter
    queue: Words | None = None,
    persona: Words | None = None,
    topic: Annotated[
        list[str], Query(description="Only these topics: `job.completed`, ...", max_length=len(JOB_TOPICS))
    ] = [],  # noqa: B006
    last_event_id: LastEventId = None,
    after: Begin = None,
) -> EventStream:  # fmt: skip
    """Events from now on, or from where one left off. Whose key is for some queues only hears of those."""
    for each in topic:
        if each not in JOB_TOPICS:
            raise InvalidInput("no such topic", field="topic", rule=f"one of {', '.join(sorted(JOB_TOPICS))}")
    queues = caller.authorized.require_somewhere(Permission.READ, tenant)
    if queue is not None:
        caller.authorized.require(Permission.READ, tenant, queue)
        queues = frozenset({queue})
    wanted = Wanted(tenant, None, type, persona, frozenset(topic) or None, queues)
    return _followed(caller, request, wanted, last_event_id, after)


def _followed(caller: Caller, request: Request, wanted: Wanted, last: str | None, after: str | None) -> EventStream:
    feed = caller.services.feed
    try:
        position = feed.positions.number(last or after or "") if last or after else None
        if position is not None:
            feed.positions.require_given_out(position)
    except InvalidInput as error:
        error.field = "header.Last-Event-ID" if last else "query.after"
        raise
    told = follow(feed, wanted, position, partial(is_still_proved, request, caller.identity))
    return EventStream(told, room=caller.services.streams.opened(caller.identity.id))


# --- results ---------------------------------------------------------------------------------------------------------


@router.get(
    "/jobs/{job_id}/result", operation_id="get_job_result", summary="What became of a job",
    response_model=api.JobResult,
    responses={
        202: {"model": api.Unfinished, "description": "Not finished yet: ask again.",
              "headers": {"Retry-After": {"schema": {"type": "integer"}}}},
        **problems(),
    },
)  # fmt: skip
async def get_job_result(
    *,
    tenant: str,
    job_id: UUID,
    caller: Calling,
    request: Request,
    response: Response,
    wait_seconds: Annotated[float, Query(ge=0, le=30, description="How long to wait for its end.")] = 0,
) -> Any:  # noqa: ANN401 - as the response models say
    """200 once it has ended (or is dead), until then 202. Without leave to see customers' data: all but the result."""
    job = await run_in_threadpool(_look, caller, tenant, job_id)
    if job.status not in _OVER and wait_seconds:
        job = await _awaited(caller, tenant, job_id, wait_seconds)
        if not await is_still_proved(request, caller.identity):
            raise unauthenticated()
    tagged(response, job.version)
    about = {"job_id": job.job_id, "status": job.status.value, "version": job.version}
    if job.status not in _OVER:
        unfinished = api.Unfinished.model_validate(about).model_dump(mode="json")
        return JSONResponse(unfinished, 202, {"ETag": response.headers["ETag"], "Retry-After": "1"})
    state = job.state
    error = {
        "type": state.last_error_type, "message": state.last_error_message or None,
        "fingerprint": state.last_fingerprint or None,
    }  # fmt: skip
    return {
        **about,
        "result": shapes.body(job.result),
        "result_shown": job.result is not None,
        "error": error if job.failed else None,
    }


async def _awaited(caller: Caller, tenant: str, job_id: UUID, seconds: float) -> JobDetails:
    """The job once it has ended, or as it is when time is out. Nothing but a buffer is held meanwhile."""
    feed, now = caller.services.feed, asyncio.get_running_loop().time
    end = now() + seconds
    async with feed.listening(Wanted(tenant, job_id)) as listener:
        job = await run_in_threadpool(_look, caller, tenant, job_id)
        while job.status not in _OVER and now() < end and not feed.is_closed and not listener.is_cut:
            if await listener.next(end - now()):
                job = await run_in_threadpool(_look, caller, tenant, job_id)
    return job


def _look(caller: Caller, tenant: str, job_id: UUID) -> JobDetails:
    """The job; with its bodies once it has completed, for who may see them."""
    job = caller.ask(GetJob, tenant=tenant, job=job_id).value
    if job.status is JobStatus.COMPLETED and caller.identity.permits(Permission.READ_PAYLOADS, tenant, job.state.queue):
        return caller.ask(GetJob, tenant=tenant, job=job_id, bodies=True).value
    return job
