"""Jobs: dispatch, look at, change."""

from __future__ import annotations

import json
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response, Security
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from jobledger.application.commands import CancelJob, DispatchJob, JobChanged, RescheduleJob
from jobledger.application.dispatch_item import Dispatch
from jobledger.application.nul import refuse_nul
from jobledger.application.queries import GetJob
from jobledger.application.result import Accepted
from jobledger.application.validation import invalid_input
from jobledger.domain.errors import InvalidInput
from jobledger.domain.retry import Retry

from ...api import jobs as api
from ...shapes import jobs as shapes
from ..authentication import AuthenticatedRoute, DirectRoute, bearer
from ..conditions import POSITION, IfMatch, expected_version, tagged
from ..documented import problems
from ..json_body import json_body
from ..moments import When
from ..services import Calling, caller_of

router = APIRouter(
    prefix="/v1/tenants/{tenant}/jobs", tags=["jobs"], route_class=AuthenticatedRoute,
    dependencies=[Security(bearer)],
)  # fmt: skip

After = Annotated[str | None, Query(description="A position: the answer holds what was written up to it.")]


_DISPATCH = {
    "parameters": [
        {"name": "tenant", "in": "path", "required": True, "schema": {"type": "string"}},
        {
            "name": "Idempotency-Key", "in": "header", "required": False, "schema": {"type": "string"},
            "description": "The same key again gives the first job back.",
        },
    ],
    "requestBody": {
        "required": True, "content": {"application/json": {"schema": api.DispatchRequest.model_json_schema()}},
    },
    "security": [{"bearer": []}],
}  # fmt: skip

_CHECKED_AT_ONCE_BYTES = 16_000

dispatching = APIRouter(prefix="/v1/tenants/{tenant}/jobs", tags=["jobs"], route_class=DirectRoute)
"""The one route that is asked thousands of times a second reads its request itself: as parameters it would cost a
fifth more."""


@dispatching.post(
    "", operation_id="dispatch_job", summary="Dispatch a job", status_code=201, response_model=api.Dispatched,
    responses={200: {"model": api.Dispatched, "description": "The first job of that key."}, **problems(409, 415)},
    openapi_extra=_DISPATCH,
)  # fmt: skip
async def dispatch_job(request: Request) -> JSONResponse:
    """Durable once it is answered. With an idempotency key it can be sent again safely."""
    tenant = str(request.path_params["tenant"])
    body = await json_body(request, api.DispatchRequest)
    item = dispatch_of(tenant, body, await request.body(), request.headers.get("idempotency-key"))
    caller = caller_of(request)
    if len(await request.body()) > _CHECKED_AT_ONCE_BYTES:  # checking it takes long: others go on meanwhile
        accepted = await run_in_threadpool(caller.ask, DispatchJob, item=item)
    else:
        accepted = await caller.ask_async(DispatchJob, item=item)
    job_id, position, duplicate = accepted.value
    headers = {"Location": f"/v1/tenants/{tenant}/jobs/{job_id}", **({POSITION: position} if position else {})}
    answer = {"job_id": str(job_id), "duplicate": duplicate, "position": position}
    return JSONResponse(answer, 200 if duplicate else 201, headers)


def dispatch_of(tenant: str, body: api.DispatchRequest, written: bytes, key: str | None = None) -> Dispatch:
    """The item that a body asks for, whose JSON is `written`. Raises `InvalidInput`, also of NUL in the payload: types
    of a program of ours take it, requests do not."""
    refuse_nul(written, body.payload, "payload")
    if key is not None and body.idempotency_key not in (None, key):
        raise InvalidInput(
            "header and body name different keys", field="header.Idempotency-Key", rule="is the body's, or absent"
        )
    return Dispatch(
        body.type, body.payload, tenant, persona=body.persona, idempotency_key=key or body.idempotency_key,
        queue=body.queue, priority=body.priority, retry=_retry(body.retry), timeout_seconds=body.timeout_seconds,
        soft_timeout_seconds=body.soft_timeout_seconds, max_stalled=body.max_stalled, lock_key=body.lock_key,
        limit_key=body.limit_key, run_at=body.run_at, delay_seconds=body.delay_seconds,
        correlation_id=body.correlation_id, causation_id=body.causation_id, request_key=body.request_key,
    )  # fmt: skip


def _retry(given: dict[str, Any] | None) -> Retry | None:
    try:
        return None if given is None else Retry.model_validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        raise invalid_input(error) from error


@router.get("/{job_id}", operation_id="get_job", summary="A job", response_model=api.Job, responses=problems(504))
def get_job(
    tenant: str,
    job_id: UUID,
    caller: Calling,
    response: Response,
    *,
    payload: Annotated[bool, Query(description="With payload and result: recorded, and a permission.")] = False,
    as_of: Annotated[When | None, Query(description="As it was then.")] = None,
    after: After = None,
) -> Any:  # noqa: ANN401, fmt: skip
    """Read from its history, so always current."""
    job = caller.ask(GetJob, tenant=tenant, job=job_id, bodies=payload, as_of=as_of, after=after).value
    tagged(response, job.version)
    return shapes.details(job)


@router.post(
    "/{job_id}/cancel", operation_id="cancel_job", summary="Cancel a job", response_model=api.JobChanged,
    responses=problems(409, 412),
)  # fmt: skip
def cancel_job(
    *, tenant: str, job_id: UUID, body: api.ReasonRequest, caller: Calling, response: Response, if_match: IfMatch = None
) -> Any:  # noqa: ANN401
    """A job that waits is cancelled; one that runs is asked to stop."""
    return changed(response, caller.ask(
        CancelJob, tenant=tenant, job=job_id, reason=body.reason, expected_version=expected_version(if_match)
    ))  # fmt: skip


@router.post(
    "/{job_id}/reschedule", operation_id="reschedule_job", summary="Change when a job runs, or its priority",
    response_model=api.JobChanged, responses=problems(409, 412, 428),
)  # fmt: skip
def reschedule_job(
    *,
    tenant: str,
    job_id: UUID,
    body: api.RescheduleRequest,
    caller: Calling,
    response: Response,
    if_match: IfMatch = None,
) -> Any:  # noqa: ANN401, fmt: skip
    """Of a job that waits, as it was seen: `If-Match` is required."""
    return changed(response, caller.ask(
        RescheduleJob, tenant=tenant, job=job_id, reason=body.reason, priority=body.priority, due_at=body.run_at,
        expected_version=expected_version(if_match, required=True),
    ))  # fmt: skip


def changed(response: Response, accepted: Accepted[JobChanged]) -> dict[str, object]:
    """The answer to a command about one job."""
    tagged(response, accepted.value.version, accepted.position)
    return {**shapes.changed(accepted.value), "position": accepted.position}
