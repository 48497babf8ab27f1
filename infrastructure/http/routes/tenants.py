"""Tenants: make, suspend, resume, list."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response, Security

from jobledger.application.commands import CreateTenant, ResumeTenant, SuspendTenant, TenantChanged
from jobledger.application.queries import ListTenants
from jobledger.application.result import Accepted

from ...api import tenants as api
from ...api.jobs import ReasonRequest
from ..authentication import AuthenticatedRoute, bearer
from ..conditions import tagged
from ..documented import problems
from ..services import Calling

router = APIRouter(
    prefix="/v1/tenants", tags=["tenants"], route_class=AuthenticatedRoute, dependencies=[Security(bearer)]
)


@router.get("", operation_id="list_tenants", summary="Tenants", response_model=api.Tenants, responses=problems())
def list_tenants(caller: Calling) -> Any:  # noqa: ANN401 - as the response model says
    """Those that the caller has a grant for."""
    rows = caller.ask(ListTenants).value
    return {
        "tenants": [{"name": row.name, "status": row.status.value, "display_name": row.display_name} for row in rows]
    }


@router.post(
    "", operation_id="create_tenant", summary="Make a tenant", status_code=201, response_model=api.TenantChanged,
    responses=problems(409),
)  # fmt: skip
def create_tenant(body: api.TenantRequest, caller: Calling, response: Response) -> Any:  # noqa: ANN401
    """Its name is its id, for ever."""
    return _changed(response, caller.ask(
        CreateTenant, name=body.name, display_name=body.display_name, reason=body.reason
    ))  # fmt: skip


@router.post(
    "/{tenant}/suspend", operation_id="suspend_tenant", summary="Take and run no jobs for a tenant",
    response_model=api.TenantChanged, responses=problems(409),
)  # fmt: skip
def suspend_tenant(tenant: str, body: ReasonRequest, caller: Calling, response: Response) -> Any:  # noqa: ANN401
    """Until it is resumed; its jobs wait. For whoever has a grant for all tenants."""
    return _changed(response, caller.ask(SuspendTenant, name=tenant, reason=body.reason))


@router.post(
    "/{tenant}/resume", operation_id="resume_tenant", summary="Take and run jobs for a tenant again",
    response_model=api.TenantChanged, responses=problems(409),
)  # fmt: skip
def resume_tenant(tenant: str, body: ReasonRequest, caller: Calling, response: Response) -> Any:  # noqa: ANN401
    """After it was suspended. For whoever has a grant for all tenants."""
    return _changed(response, caller.ask(ResumeTenant, name=tenant, reason=body.reason))


def _changed(response: Response, accepted: Accepted[TenantChanged]) -> dict[str, object]:
    tagged(response, None, accepted.position)
    return {"name": accepted.value.name, "status": accepted.value.status, "position": accepted.position}
