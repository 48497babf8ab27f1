"""The dead-letter queue: look at it, take jobs out one by one, or all that a filter matches."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response, Security

from jobledger.application.commands import DiscardJob, RequeueJob
from jobledger.application.dlq_messages import (
    CountDlq,
    DiscardDlq,
    DlqProgress,
    GetDeadJob,
    ListDlqActs,
    RequeueDlq,
)
from jobledger.application.queries import PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX, ListDlq
from jobledger.domain.dlq import BulkAct
from jobledger.domain.errors import CountChanged, NotConfirmed

from ...api import dlq as api
from ...api import operations as operations_api
from ...api.jobs import JobChanged
from ...shapes import dlq as shapes
from ...shapes import jobs as job_shapes
from ..authentication import AuthenticatedRoute, bearer
from ..conditions import IfMatch, expected_version, tagged
from ..documented import problems
from ..moments import When
from ..operations import Operation
from ..services import Caller, Calling
from .jobs import After, changed

router = APIRouter(
    prefix="/v1/tenants/{tenant}", tags=["dlq"], route_class=AuthenticatedRoute, dependencies=[Security(bearer)]
)

Words = Annotated[str, Query(min_length=1, max_length=500, pattern=api.NO_NUL)]


class Filtering:
    """Which dead jobs are meant, as a query says it."""

    def __init__(
        self,
        *,
        type: Words | None = None,  # noqa: A002 - the name of the parameter
        kind: api.Kind | None = None,
        queue: Words | None = None,
        persona: Words | None = None,
        cause: Annotated[api.Cause | None, Query(description="Why they are dead.")] = None,
        error_type: Words | None = None,
        fingerprint: Words | None = None,
        since: Annotated[When | None, Query(description="Died at this time, or later.")] = None,
        until: Annotated[When | None, Query(description="Died before this time.")] = None,
    ) -> None:
        self.filter = api.Filter(
            type=type, kind=kind, queue=queue, persona=persona, cause=cause, error_type=error_type,
            fingerprint=fingerprint, since=since, until=until,
        )  # fmt: skip


Filtered = Annotated[Filtering, Depends()]


# --- look at it ------------------------------------------------------------------------------------------------------


@router.get("/dlq", operation_id="list_dlq", summary="Dead jobs", response_model=api.DeadJobs, responses=problems(504))
def list_dlq(
    *,
    tenant: str,
    where: Filtered,
    caller: Calling,
    limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT_MAX, description="Rows at most.")] = PAGE_LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before, with the same filters.")] = None,
    after: After = None,
) -> Any:  # noqa: ANN401, fmt: skip - as the response model says
    """Most recently dead first. Whose key is for some queues only has to name one as `queue`."""
    cursors, scope = caller.services.cursors, repr(("dlq", tenant, where.filter.model_dump_json()))
    found = caller.ask(
        ListDlq, tenant=tenant, **fields(where.filter), cursor=cursors.read(cursor, scope), limit=limit, after=after
    ).value
    return caller.told({
        "tenant": tenant, "jobs": [job_shapes.dlq_row(row) for row in found.rows],
        "next_cursor": cursors.sign(found.cursor, scope), "freshness": job_shapes.freshness(found.freshness),
    })  # fmt: skip


@router.get("/dlq/count", operation_id="count_dlq", summary="How many are dead, and of what", response_model=api.Count,
            responses=problems(504))  # fmt: skip
def count_dlq(*, tenant: str, where: Filtered, caller: Calling, after: After = None) -> Any:  # noqa: ANN401
    """Of all that was recorded when it is asked: it is waited for."""
    return _count(caller, tenant, where.filter, after)


@router.get("/dlq/acts", operation_id="list_dlq_acts", summary="What was done to many dead jobs at once",
            response_model=api.DlqActs, responses=problems())  # fmt: skip
def list_dlq_acts(
    *,
    tenant: str,
    caller: Calling,
    limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT_MAX)] = PAGE_LIMIT_DEFAULT,
) -> Any:  # noqa: ANN401, fmt: skip
    """The latest first."""
    return {"acts": [shapes.act(act) for act in caller.ask(ListDlqActs, tenant=tenant, limit=limit).value]}


@router.get("/dlq/{job_id}", operation_id="get_dead_job", summary="Why a job is dead", response_model=api.DeadJob,
            responses=problems(504))  # fmt: skip
def get_dead_job(
    *,
    tenant: str,
    job_id: UUID,
    caller: Calling,
    response: Response,
    bodies: Annotated[bool, Query(description="With payload and traceback: recorded, and a permission.")] = False,
    after: After = None,
) -> Any:  # noqa: ANN401, fmt: skip
    """Attempt by attempt."""
    dead = caller.ask(GetDeadJob, tenant=tenant, job=job_id, bodies=bodies, after=after).value
    tagged(response, dead.job.version)
    return shapes.dead_job(dead)


# --- one job ---------------------------------------------------------------------------------------------------------


@router.post(
    "/jobs/{job_id}/requeue", operation_id="requeue_job", summary="Take a dead job out, with new attempts",
    response_model=JobChanged, responses=problems(409, 412, 428),
)  # fmt: skip
def requeue_job(
    *,
    tenant: str,
    job_id: UUID,
    body: api.RequeueRequest,
    caller: Calling,
    response: Response,
    if_match: IfMatch = None,
) -> Any:  # noqa: ANN401, fmt: skip
    """Whoever changes its payload says which version of it they saw: then `If-Match` is required."""
    version = expected_version(if_match, required=body.edits)
    return changed(response, caller.ask(
        RequeueJob, tenant=tenant, job=job_id, reason=body.reason, ticket=body.ticket, attempts=body.attempts,
        payload=body.payload, put=body.put, without=tuple(body.without), expected_version=version,
    ))  # fmt: skip


@router.post(
    "/jobs/{job_id}/discard", operation_id="discard_job", summary="Give a dead job up for good",
    response_model=JobChanged, responses=problems(409, 412),
)  # fmt: skip
def discard_job(
    *,
    tenant: str,
    job_id: UUID,
    body: api.DiscardRequest,
    caller: Calling,
    response: Response,
    if_match: IfMatch = None,
) -> Any:  # noqa: ANN401, fmt: skip
    """Its history stays."""
    return changed(response, caller.ask(
        DiscardJob, tenant=tenant, job=job_id, reason=body.reason, ticket=body.ticket,
        expected_version=expected_version(if_match),
    ))  # fmt: skip


# --- many jobs -------------------------------------------------------------------------------------------------------

_BEGUN: dict[int | str, dict[str, Any]] = {
    200: {"model": api.Count, "description": "A dry run: what the filter matches."},
    202: {
        "model": operations_api.Begun, "description": "It goes on.",
        "headers": {"Location": {"schema": {"type": "string"}, "description": "Where to look at it."}},
    },
    **problems(409, 504),
}  # fmt: skip


@router.post(
    "/dlq/requeue", operation_id="requeue_dlq", summary="Take all dead jobs out that a filter matches", status_code=202,
    response_model=None, responses=_BEGUN,
)  # fmt: skip
def requeue_dlq(*, tenant: str, body: api.BulkRequeueRequest, caller: Calling, response: Response) -> Any:  # noqa: ANN401
    """With new attempts. Counted (`dry_run`) first, then confirmed (`expected_count`)."""
    return _bulk(caller, response, tenant, "requeue", body)


@router.post(
    "/dlq/discard", operation_id="discard_dlq", summary="Give all dead jobs up that a filter matches", status_code=202,
    response_model=None, responses=_BEGUN,
)  # fmt: skip
def discard_dlq(*, tenant: str, body: api.BulkDiscardRequest, caller: Calling, response: Response) -> Any:  # noqa: ANN401
    """For good. Counted (`dry_run`) first, then confirmed (`expected_count`)."""
    return _bulk(caller, response, tenant, "discard", body)


def _bulk(
    caller: Caller, response: Response, tenant: str, act: BulkAct, body: api.BulkDiscardRequest
) -> dict[str, object]:
    if body.dry_run:
        response.status_code = 200
        return _count(caller, tenant, body.filter)
    return _begin(caller, response, tenant, act, body)


def _begin(
    caller: Caller, response: Response, tenant: str, act: BulkAct, body: api.BulkDiscardRequest
) -> dict[str, object]:
    confirmed = body.expected_count
    if confirmed is None:
        raise NotConfirmed(
            "what is done to many jobs is confirmed; nothing was done", field="expected_count",
            rule="says how many jobs there may be", hint="ask with dry_run first, and name its count",
        )  # fmt: skip
    attempts = body.attempts if isinstance(body, api.BulkRequeueRequest) else None
    asked = {
        "tenant": tenant, **fields(body.filter), "confirmed": confirmed, "reason": body.reason, "ticket": body.ticket,
        **({"attempts": attempts} if attempts is not None else {}),
    }  # fmt: skip
    if body.filter.until is None:
        asked["dead_to"] = _until(caller, tenant, body.filter, confirmed)

    def work(operation: Operation) -> dict[str, Any]:
        def report(far: DlqProgress) -> None:
            operation.report(far.seen, confirmed)

        operation.total = confirmed
        message = RequeueDlq if act == "requeue" else DiscardDlq
        return shapes.result(caller.ask(message, **asked, begun=operation.known_as, progress=report).value)

    services = caller.services
    operation = Operation(f"dlq.{act}", tenant, caller.actor.id, body.reason, services.handle.ports.clock.now())
    operation_id = services.operations.begin(operation, work, caller.actor.request_id)
    queue = "" if body.filter.queue is None else f"?{urlencode({'queue': body.filter.queue})}"
    response.headers["Location"] = f"/v1/tenants/{tenant}/operations/{operation_id}{queue}"
    return {"operation_id": operation_id}


def _until(caller: Caller, tenant: str, where: api.Filter, confirmed: int) -> object:
    """Who does not say until when they died means those that are dead now, all of them on the list."""
    found = caller.ask(CountDlq, tenant=tenant, **fields(where)).value
    if found.summary.jobs > confirmed:
        raise CountChanged(confirmed, found.summary.jobs)
    return found.until


def _count(caller: Caller, tenant: str, where: api.Filter, after: str | None = None) -> dict[str, object]:
    return caller.told(shapes.counted(caller.ask(CountDlq, tenant=tenant, **fields(where), after=after).value))


def fields(where: api.Filter) -> dict[str, object]:
    """A filter, as messages have it."""
    return {
        "job_type": where.type, "kind": where.kind, "queue": where.queue, "persona": where.persona,
        "dlq_reason": where.cause, "error_type": where.error_type, "fingerprint": where.fingerprint,
        "dead_from": where.since, "dead_to": where.until,
    }  # fmt: skip
