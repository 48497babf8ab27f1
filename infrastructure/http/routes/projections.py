"""Views: how they stand, compared with the ledger and made anew while everybody goes on."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response, Security

from jobledger.application.queries import GetJob
from jobledger.domain.errors import InvalidInput, NotFound, UnknownTenant
from jobledger.projections.catalogue import PROJECTIONS
from jobledger.projections.open_jobs import NAME as WORK_QUEUE
from jobledger.projections.projection import Projection, is_view_name
from jobledger.projections.shadow import Purpose, Scope

from ... import rebuilding
from ...api import operations as operations_api
from ...api import projections as api
from ...api.jobs import ReasonRequest
from ...shapes import projections as shapes
from ...view_standing import overview
from .. import views
from ..authentication import AuthenticatedRoute, bearer
from ..documented import problems
from ..services import Caller, Calling

router = APIRouter(prefix="/v1", tags=["projections"], route_class=AuthenticatedRoute, dependencies=[Security(bearer)])

Name = Annotated[str, Path(min_length=1, max_length=60, description="The view, as `GET /v1/projections` names it.")]
_BEGUN: dict[int | str, dict[str, Any]] = {
    202: {
        "headers": {"Location": {"schema": {"type": "string"}, "description": "Where to look at it."}},
        "description": "It goes on.",
    },
    **problems(409),
}  # fmt: skip


@router.get("/projections", operation_id="list_projections", summary="How views stand", response_model=api.Views,
            responses=problems())  # fmt: skip
def list_projections(*, caller: Calling) -> Any:  # noqa: ANN401 - as the response model says
    """How far each is, who keeps it current, what is parked, which versions of it are kept."""
    views.require_views(caller, None)
    with views.told_for_http():
        return caller.told(shapes.overview(overview(caller.services.handle, caller.actor)))


@router.post(
    "/projections/{name}/rebuild", operation_id="rebuild_projection", summary="Make a view anew", status_code=202,
    response_model=operations_api.Begun, responses=_BEGUN,
)  # fmt: skip
def rebuild_projection(*, name: Name, body: api.RebuildRequest, caller: Calling, response: Response) -> Any:  # noqa: ANN401
    """Beside the live one, compared with it, and put in its place at once. One that is not over is gone on with."""
    views.require_views(caller, "BeginRebuild")
    return _begin(caller, response, name, body, Purpose.DRY_RUN if body.dry_run else Purpose.REBUILD)


@router.post(
    "/projections/{name}/verify", operation_id="verify_projection", summary="Compare a view with the ledger",
    status_code=202, response_model=operations_api.Begun, responses=_BEGUN,
)  # fmt: skip
def verify_projection(*, name: Name, body: api.VerifyRequest, caller: Calling, response: Response) -> Any:  # noqa: ANN401
    """At one position, while both go on; `differing` of the result says how many rows differ."""
    views.require_views(caller, "VerifyProjection")
    return _begin(caller, response, name, body, Purpose.VERIFY)


@router.post(
    "/projections/{name}/cancel", operation_id="cancel_rebuild", summary="Give a rebuild up",
    response_model=api.Cancelled, responses=problems(409),
)  # fmt: skip
def cancel_rebuild(*, name: Name, body: ReasonRequest, caller: Calling) -> Any:  # noqa: ANN401
    """The live view stays as it is."""
    views.require_views(caller, "CancelRebuild")
    with views.told_for_http():
        cancelled = rebuilding.cancel_rebuild(caller.services.handle, caller.actor, _any_view(name), body.reason)
    return {"projection": name, "rebuild_id": cancelled.rebuild_id, "state": cancelled.state.value}


@router.post(
    "/projections/{name}/drop-previous", operation_id="drop_previous", summary="Remove what a rebuild replaced",
    response_model=api.Dropped, responses=problems(409),
)  # fmt: skip
def drop_previous(*, name: Name, body: ReasonRequest, caller: Calling) -> Any:  # noqa: ANN401
    """The version of a view that its last rebuild replaced is kept until then."""
    views.require_views(caller, "DropPrevious")
    with views.told_for_http():
        rows = rebuilding.drop_previous(caller.services.handle, caller.actor, _any_view(name), body.reason)
    return {"projection": name, "rows": rows}


@router.get(
    "/operations/{operation_id}", operation_id="get_projection_operation", summary="What becomes of a rebuild",
    response_model=operations_api.Operation, responses=problems(),
)  # fmt: skip
def get_projection_operation(
    *, operation_id: Annotated[str, Path(min_length=1, max_length=100)], caller: Calling
) -> Any:  # noqa: ANN401
    """Or of a comparison. Any server can be asked (for the work queue's: the one that does it)."""
    views.require_views(caller, None)
    with views.told_for_http():
        return views.look(caller, operation_id)


def _begin(
    caller: Caller, response: Response, name: str, body: api.VerifyRequest, purpose: Purpose
) -> dict[str, object]:
    with views.told_for_http():
        if name == WORK_QUEUE:
            _require_whole(body, purpose)
            operation_id = views.begin_queue(caller, rebuild=purpose is Purpose.REBUILD, reason=body.reason)
        else:
            request = rebuilding.Request(
                _view(name), purpose, _scope(caller, body), body.reason, share=body.cores or 1.0
            )  # fmt: skip
            operation_id = views.begin(caller, request)
    response.headers["Location"] = f"/v1/operations/{operation_id}"
    return {"operation_id": operation_id}


def _scope(caller: Caller, body: api.VerifyRequest) -> Scope:
    """Whose rows are meant; they have to be somebody's."""
    if body.tenant is None:
        if body.job_id is not None:
            raise InvalidInput("whose job?", field="tenant", rule="a job belongs to a tenant: name it")
        return Scope()
    if caller.services.handle.ports.catalogue.tenant(body.tenant) is None:
        raise UnknownTenant(body.tenant)
    if body.job_id is None:
        return Scope(body.tenant)
    return Scope(body.tenant, caller.ask(GetJob, tenant=body.tenant, job=body.job_id).value.job_id)


def _require_whole(body: api.VerifyRequest, purpose: Purpose) -> None:
    """The work queue is verified and rebuilt as a whole, and has no dry run: only what differs is replaced."""
    for field, given in (("tenant", body.tenant), ("job_id", body.job_id)):
        if given is not None:
            raise InvalidInput(f"{WORK_QUEUE} is verified and rebuilt as a whole", field=field, rule="is left out")
    if purpose is Purpose.DRY_RUN:
        raise InvalidInput(f"{WORK_QUEUE} has no dry run", field="dry_run", rule="is left out", hint="verify it")


def _view(name: str) -> Projection:
    projection = PROJECTIONS.get(name)
    if projection is None:
        known = ", ".join([*PROJECTIONS, WORK_QUEUE])
        raise NotFound(f"there is no view {name[:60]!r}", field="name", rule="a view", hint=f"views: {known}")
    return projection


def _any_view(name: str) -> str:
    """A view that this program has, or that an older one may have left behind."""
    return name if is_view_name(name) else _view(name).name
