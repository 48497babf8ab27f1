"""Workers and job types, to look at. (What workers ask stands in `leases`.)"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Security

from jobledger.application.queries import ListJobTypes, ListWorkers

from ...api import workers as api
from ...shapes import jobs as shapes
from ..authentication import AuthenticatedRoute, bearer
from ..documented import problems
from ..services import Calling

router = APIRouter(prefix="/v1", tags=["workers"], route_class=AuthenticatedRoute, dependencies=[Security(bearer)])


@router.get("/workers", operation_id="list_workers", summary="Who works", response_model=api.Workers,
            responses=problems())  # fmt: skip
def list_workers(
    *,
    caller: Calling,
    lost: Annotated[bool, Query(description="Also those not heard of while their lease lasted.")] = False,
) -> Any:  # noqa: ANN401, fmt: skip - as the response model says
    """Of all tenants together."""
    rows = caller.ask(ListWorkers, lost=True).value
    return {
        "workers": [shapes.worker(row) for row in rows if lost or not row.is_lost],
        "lost": sum(row.is_lost for row in rows),
    }


@router.get("/job-types", operation_id="list_job_types", summary="Job types", response_model=api.JobTypes,
            responses=problems())  # fmt: skip
def list_job_types(*, caller: Calling) -> Any:  # noqa: ANN401
    """Those that programs registered, with their schemas."""
    return {"types": [shapes.job_type(row) for row in caller.ask(ListJobTypes).value]}
