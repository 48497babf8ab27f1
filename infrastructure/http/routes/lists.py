"""Lists of jobs: a tenant's, a persona's, as they are or as they were; and what one request caused."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Security

from jobledger.application.queries import (
    PAGE_LIMIT_DEFAULT,
    PAGE_LIMIT_MAX,
    TRACE_LIMIT_DEFAULT,
    TRACE_LIMIT_MAX,
    JobList,
    JobListAsOf,
    ListJobsAsOf,
    ListPersonaJobs,
    ListTenantJobs,
    TraceRequest,
)
from jobledger.domain.job import JobKind, JobStatus

from ...api import lists as api
from ...shapes import jobs as shapes
from ...shapes import past as past_shapes
from ...shapes.texts import iso
from .. import any_text  # noqa: F401 - its paths name it
from ..authentication import AuthenticatedRoute, bearer
from ..documented import problems
from ..moments import When
from ..services import Caller, Calling

router = APIRouter(
    prefix="/v1/tenants/{tenant}", tags=["jobs"], route_class=AuthenticatedRoute, dependencies=[Security(bearer)]
)

Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before, with the same filters.")]
After = Annotated[
    str | None,
    Query(description="A position: the list is waited for until it holds what was written up to it.",
          examples=["5f0c.8192"]),
]  # fmt: skip
Limit = Annotated[int, Query(ge=1, le=PAGE_LIMIT_MAX, description="Rows at most.")]
Words = Annotated[str, Query(min_length=1, max_length=200)]
Time = Annotated[When, Query(examples=["2026-03-01T00:00:00Z"])]


class Page:
    """What every list of jobs takes."""

    def __init__(
        self,
        *,
        status: Annotated[JobStatus | None, Query(description="Only jobs of this status.")] = None,
        failed: Annotated[
            bool | None, Query(description="Whether the last attempt failed, and the job was not completed since.")
        ] = None,
        type: Words | None = None,  # noqa: A002 - the name of the parameter
        kind: JobKind | None = None,
        queue: Words | None = None,
        created_from: Time | None = None,
        created_to: Time | None = None,
        as_of: Annotated[When | None, Query(description="As the jobs were then: filters, too.")] = None,
        limit: Limit = PAGE_LIMIT_DEFAULT,
        cursor: Cursor = None,
        after: After = None,
    ) -> None:  # fmt: skip
        self.where: dict[str, object] = {
            "status": status, "failed": failed, "job_type": type, "kind": kind, "queue": queue,
            "created_from": created_from, "created_to": created_to,
        }  # fmt: skip
        self.as_of, self.limit, self.cursor, self.after = as_of, limit, cursor, after

    def scope(self, tenant: str, persona: str | None) -> str:
        """What a cursor is for: the list and its filters."""
        return repr(("jobs", tenant, persona, *(str(value) for value in (self.as_of, *self.where.values()))))


Paging = Annotated[Page, Depends()]


@router.get("/jobs", operation_id="list_jobs", summary="Jobs of a tenant", response_model=api.Jobs,
            responses=problems(504))  # fmt: skip
def list_jobs(*, tenant: str, page: Paging, caller: Calling) -> Any:  # noqa: ANN401 - as the response model says
    """Newest first. Whose key is for some queues only has to name one as `queue`."""
    return _listed(caller, page, tenant, None)


@router.get(
    "/personas/{persona}/jobs", operation_id="list_persona_jobs", summary="Jobs of a persona", response_model=api.Jobs,
    responses=problems(504),
)  # fmt: skip
def list_persona_jobs(*, tenant: str, persona: str, page: Paging, caller: Calling) -> Any:  # noqa: ANN401
    """Newest first."""
    return _listed(caller, page, tenant, persona)


def _listed(caller: Caller, page: Page, tenant: str, persona: str | None) -> dict[str, object]:
    cursors, scope = caller.services.cursors, page.scope(tenant, persona)
    asked = {
        **page.where, "tenant": tenant, "persona": persona, "limit": page.limit, "after": page.after,
        "cursor": cursors.read(page.cursor, scope),
    }  # fmt: skip
    found: JobList | JobListAsOf
    if page.as_of is not None:
        found = caller.ask(ListJobsAsOf, **asked, as_of=page.as_of).value
    elif persona is not None:
        found = caller.ask(ListPersonaJobs, **asked).value
    else:
        found = caller.ask(ListTenantJobs, **asked).value
    past = {"as_of": iso(found.as_of), "scanned": found.scanned} if isinstance(found, JobListAsOf) else None
    return caller.told({
        "tenant": tenant, "jobs": [shapes.job_row(row) for row in found.rows], "past": past,
        "next_cursor": cursors.sign(found.cursor, scope), "freshness": shapes.freshness(found.freshness),
    })  # fmt: skip


@router.get(
    "/traces/{request:any_text}", operation_id="get_trace", summary="What one request caused", response_model=api.Trace,
    responses=problems(504),
)  # fmt: skip
def get_trace(
    *,
    tenant: str,
    request: Annotated[str, Path(description="Its correlation id.", min_length=1, max_length=200)],
    caller: Calling,
    limit: Annotated[int, Query(ge=1, le=TRACE_LIMIT_MAX, description="Jobs at most.")] = TRACE_LIMIT_DEFAULT,
    cursor: Cursor = None,
    after: After = None,
) -> Any:  # noqa: ANN401, fmt: skip
    """Its jobs in the order of their birth, jobs that these caused, and dispatches that were refused."""
    cursors, scope = caller.services.cursors, repr(("trace", tenant, request))
    begin = cursors.read(cursor, scope)
    found = caller.ask(
        TraceRequest, tenant=tenant, request=request, limit=limit, after=after,
        cursor=None if begin is None else UUID(begin),
    ).value  # fmt: skip
    shape = past_shapes.trace(tenant, found)
    shape["next_cursor"] = cursors.sign(found.cursor, scope)
    shape["freshness"] = shape.pop("as_of")
    return caller.told(shape)
