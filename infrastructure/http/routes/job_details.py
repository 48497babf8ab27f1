"""One job: its history, what changed, why it waits, what caused it."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Security

from jobledger.application.limit_messages import ExplainJob
from jobledger.application.past_jobs import VERSION_MAX
from jobledger.application.queries import (
    HISTORY_LIMIT_DEFAULT,
    HISTORY_LIMIT_MAX,
    PAGE_LIMIT_DEFAULT,
    PAGE_LIMIT_MAX,
    DiffJob,
    GetCauses,
    GetJobHistory,
    History,
)

from ...api import history as api
from ...shapes import jobs as shapes
from ...shapes import past as past_shapes
from ...shapes.history_pages import read_page
from ..authentication import AuthenticatedRoute, bearer
from ..documented import problems
from ..services import Calling
from .lists import After

router = APIRouter(
    prefix="/v1/tenants/{tenant}/jobs/{job_id}", tags=["jobs"], route_class=AuthenticatedRoute,
    dependencies=[Security(bearer)],
)  # fmt: skip

Version = Annotated[int, Query(ge=1, le=VERSION_MAX)]
Bodies = Annotated[bool, Query(description="With customers' data: recorded, and a permission.")]


@router.get(
    "/history", operation_id="get_job_history", summary="What happened to a job", response_model=api.History,
    response_model_exclude_unset=True, responses=problems(504),
)  # fmt: skip
def get_job_history(
    *,
    tenant: str,
    job_id: UUID,
    caller: Calling,
    after_version: Annotated[int, Query(ge=0, le=VERSION_MAX, description="`next_version` of the page before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=HISTORY_LIMIT_MAX, description="Events at most.")] = HISTORY_LIMIT_DEFAULT,
    bodies: Bodies = False,
    after: After = None,
) -> Any:  # noqa: ANN401, fmt: skip - as the response model says
    """Every event, oldest first, with who, why and how long it took. Always current."""

    def read(version: int, number: int) -> History:
        shown = bodies and version >= after_version  # what is in front of the page is only looked at
        return caller.ask(
            GetJobHistory, tenant=tenant, job=job_id, after_version=version, limit=number, bodies=shown, after=after
        ).value

    page = read_page(read, after=after_version, limit=limit, fold=False)
    events = past_shapes.history_events(page, bodies=bodies)
    return caller.told({"job_id": job_id, "events": events, "next_version": page.next_version})


@router.get("/diff", operation_id="diff_job", summary="What changed between two versions of a job",
            response_model=api.Diff, responses=problems(504))  # fmt: skip
def diff_job(
    *,
    tenant: str,
    job_id: UUID,
    caller: Calling,
    from_version: Version,
    to_version: Annotated[int | None, Query(ge=1, le=VERSION_MAX, description="Without it: its last.")] = None,
    bodies: Bodies = False,
    after: After = None,
) -> Any:  # noqa: ANN401, fmt: skip
    """Fields before and after, the places of the payload that differ, and what happened between."""
    found = caller.ask(
        DiffJob, tenant=tenant, job=job_id, from_version=from_version, to_version=to_version, bodies=bodies,
        after=after,
    ).value  # fmt: skip
    return past_shapes.diff(tenant, found)


@router.get("/causes", operation_id="get_job_causes", summary="What caused a job, and what it caused",
            response_model=api.Causes, responses=problems(504))  # fmt: skip
def get_job_causes(
    *,
    tenant: str,
    job_id: UUID,
    caller: Calling,
    limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT_MAX, description="Caused jobs at most.")] = PAGE_LIMIT_DEFAULT,
    after: After = None,
) -> Any:  # noqa: ANN401, fmt: skip
    """The message that led to it, and the jobs that it dispatched."""
    found = caller.ask(GetCauses, tenant=tenant, job=job_id, limit=limit, after=after).value
    return caller.told(past_shapes.causes(tenant, found))


@router.get("/explanation", operation_id="explain_job", summary="Why a job is where it is",
            response_model=api.Explanation, responses=problems(504))  # fmt: skip
def explain_job(*, tenant: str, job_id: UUID, caller: Calling, after: After = None) -> Any:  # noqa: ANN401
    """Everything that holds a waiting job back; of any other, who runs it since when, what it died of, how it ended."""
    return shapes.explanation(tenant, caller.ask(ExplainJob, tenant=tenant, job=job_id, after=after).value)
