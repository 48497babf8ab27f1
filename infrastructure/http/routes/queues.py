"""Queues, limits and pauses."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response, Security

from jobledger.application.limit_messages import (
    HISTORY_LIMIT_DEFAULT,
    HISTORY_LIMIT_MAX,
    GetLimitHistory,
    ListLimits,
    ListQueues,
    PauseTarget,
    RemoveLimits,
    ResumeTarget,
    SetLimits,
    TargetChanged,
)
from jobledger.application.past_jobs import VERSION_MAX
from jobledger.application.result import Accepted
from jobledger.domain.errors import InvalidInput

from ...api import queues as api
from ...api.jobs import ReasonRequest
from ...shapes import jobs as shapes
from ...shapes.limits import limit_entries
from .. import any_text  # noqa: F401 - its paths name it
from ..authentication import AuthenticatedRoute, bearer
from ..conditions import tagged
from ..documented import problems
from ..services import Calling

router = APIRouter(prefix="/v1", tags=["queues"], route_class=AuthenticatedRoute, dependencies=[Security(bearer)])

Named = Annotated[str, Path(min_length=1, max_length=200, description="The queue, tenant, persona or limit key.")]
Owner = Annotated[str | None, Query(description="The tenant of a persona or a key.", min_length=1, max_length=63)]
Reason = Annotated[str, Query(max_length=1_000, description="Why.")]


@router.get("/queues", operation_id="list_queues", summary="Queues", response_model=api.Queues, responses=problems())
def list_queues(*, caller: Calling) -> Any:  # noqa: ANN401 - as the response model says
    """With their open jobs, of all tenants together."""
    return {"queues": [shapes.queue(row) for row in caller.ask(ListQueues).value]}


# --- limits ----------------------------------------------------------------------------------------------------------


@router.get("/limits", operation_id="list_limits", summary="What is limited or paused", response_model=api.Limits,
            responses=problems())  # fmt: skip
def list_limits(
    *,
    caller: Calling,
    tenant: Annotated[str | None, Query(description="Only what is this tenant's own.")] = None,
    scope: Annotated[api.Scope | None, Query(description="Only these.")] = None,
) -> Any:  # noqa: ANN401, fmt: skip
    """Without a tenant: of all."""
    return {"limits": [shapes.limit(row) for row in caller.ask(ListLimits, tenant=tenant, scope=scope).value]}


@router.get(
    "/limits/{scope}/{name:any_text}", operation_id="get_limits", summary="A target's limits, and who changed them",
    response_model=api.LimitHistory, responses=problems(),
)  # fmt: skip
def get_limits(
    *,
    scope: api.Scope,
    name: Named,
    caller: Calling,
    tenant: Owner = None,
    after_version: Annotated[int, Query(ge=0, le=VERSION_MAX)] = 0,
    limit: Annotated[int, Query(ge=1, le=HISTORY_LIMIT_MAX)] = HISTORY_LIMIT_DEFAULT,
) -> Any:  # noqa: ANN401, fmt: skip
    """What nobody ever limited has no limits, and no history."""
    past = caller.ask(GetLimitHistory, **_target(scope, name, tenant), after_version=after_version, limit=limit).value
    shape = shapes.limit_history(past, limit_entries(past.events))
    shape["next_version"] = shape.pop("next")
    return caller.told(shape)


@router.put(
    "/limits/{scope}/{name:any_text}", operation_id="set_limits", summary="Limit a target",
    response_model=api.TargetChanged, responses=problems(),
)  # fmt: skip
def set_limits(
    *,
    scope: api.Scope,
    name: Named,
    body: api.LimitsRequest,
    caller: Calling,
    response: Response,
    tenant: Owner = None,
) -> Any:  # noqa: ANN401, fmt: skip
    """Jobs that run already are left alone. A limited target never holds up another."""
    return _changed(response, caller.ask(
        SetLimits, **_target(scope, name, tenant), concurrency=body.concurrency,
        rate=None if body.rate is None else body.rate.model_dump(), weight=body.weight, reason=body.reason,
    ))  # fmt: skip


@router.delete(
    "/limits/{scope}/{name:any_text}", operation_id="remove_limits", summary="Remove a target's limits",
    response_model=api.TargetChanged, responses=problems(),
)  # fmt: skip
def remove_limits(
    *,
    scope: api.Scope,
    name: Named,
    caller: Calling,
    response: Response,
    tenant: Owner = None,
    concurrency: Annotated[bool, Query(description="Only the limit of jobs at a time.")] = False,
    rate: Annotated[bool, Query(description="Only the rate.")] = False,
    weight: Annotated[bool, Query(description="Only the weight.")] = False,
    reason: Reason = "",
) -> Any:  # noqa: ANN401, fmt: skip
    """Those that are named, or all where none is. A pause stays."""
    return _changed(response, caller.ask(
        RemoveLimits, **_target(scope, name, tenant), concurrency=concurrency, rate=rate, weight=weight, reason=reason
    ))  # fmt: skip


# --- pauses ----------------------------------------------------------------------------------------------------------


@router.post(
    "/queues/{queue}/pause", operation_id="pause_queue", summary="Start nothing of a queue",
    response_model=api.TargetChanged, responses=problems(409),
)  # fmt: skip
def pause_queue(*, queue: str, body: ReasonRequest, caller: Calling, response: Response) -> Any:  # noqa: ANN401
    """Until it is resumed. Jobs are still taken; those that run go on to their end."""
    return _changed(response, caller.ask(PauseTarget, queue=queue, reason=body.reason))


@router.post(
    "/queues/{queue}/resume", operation_id="resume_queue", summary="Start jobs of a paused queue again",
    response_model=api.TargetChanged, responses=problems(409),
)  # fmt: skip
def resume_queue(*, queue: str, body: ReasonRequest, caller: Calling, response: Response) -> Any:  # noqa: ANN401
    """Those that waited start at once."""
    return _changed(response, caller.ask(ResumeTarget, queue=queue, reason=body.reason))


@router.post(
    "/tenants/{tenant}/pause", operation_id="pause_tenant", summary="Start nothing of a tenant",
    response_model=api.TargetChanged, responses=problems(409),
)  # fmt: skip
def pause_tenant(*, tenant: str, body: ReasonRequest, caller: Calling, response: Response) -> Any:  # noqa: ANN401
    """Until it is unpaused. Its jobs are still taken (a suspended tenant's are not). For whoever has a grant for all
    tenants, as all that limits or pauses a tenant as a whole."""
    return _changed(response, caller.ask(PauseTarget, tenant=tenant, reason=body.reason))


@router.post(
    "/tenants/{tenant}/unpause", operation_id="unpause_tenant", summary="Start jobs of a paused tenant again",
    response_model=api.TargetChanged, responses=problems(409),
)  # fmt: skip
def unpause_tenant(*, tenant: str, body: ReasonRequest, caller: Calling, response: Response) -> Any:  # noqa: ANN401
    """(`resume` ends a suspension.)"""
    return _changed(response, caller.ask(ResumeTarget, tenant=tenant, reason=body.reason))


@router.post(
    "/tenants/{tenant}/personas/{persona}/pause", operation_id="pause_persona", summary="Start nothing of a persona",
    response_model=api.TargetChanged, responses=problems(409),
)  # fmt: skip
def pause_persona(*, tenant: str, persona: str, body: ReasonRequest, caller: Calling, response: Response) -> Any:  # noqa: ANN401
    """Until it is resumed."""
    return _changed(response, caller.ask(PauseTarget, tenant=tenant, persona=persona, reason=body.reason))


@router.post(
    "/tenants/{tenant}/personas/{persona}/resume", operation_id="resume_persona",
    summary="Start jobs of a paused persona again", response_model=api.TargetChanged, responses=problems(409),
)  # fmt: skip
def resume_persona(*, tenant: str, persona: str, body: ReasonRequest, caller: Calling, response: Response) -> Any:  # noqa: ANN401
    """Those that waited start at once."""
    return _changed(response, caller.ask(ResumeTarget, tenant=tenant, persona=persona, reason=body.reason))


@router.post(
    "/tenants/{tenant}/limit-keys/{key:any_text}/pause", operation_id="pause_limit_key",
    summary="Start nothing of a limit key", response_model=api.TargetChanged, responses=problems(409),
)  # fmt: skip
def pause_limit_key(*, tenant: str, key: str, body: ReasonRequest, caller: Calling, response: Response) -> Any:  # noqa: ANN401
    """Until it is resumed; `gateway:*` is each key that begins so."""
    return _changed(response, caller.ask(PauseTarget, tenant=tenant, key=key, reason=body.reason))


@router.post(
    "/tenants/{tenant}/limit-keys/{key:any_text}/resume", operation_id="resume_limit_key",
    summary="Start jobs of a paused limit key again", response_model=api.TargetChanged, responses=problems(409),
)  # fmt: skip
def resume_limit_key(*, tenant: str, key: str, body: ReasonRequest, caller: Calling, response: Response) -> Any:  # noqa: ANN401
    """Those that waited start at once."""
    return _changed(response, caller.ask(ResumeTarget, tenant=tenant, key=key, reason=body.reason))


def _changed(response: Response, accepted: Accepted[TargetChanged]) -> dict[str, object]:
    tagged(response, None, accepted.position)
    return {**shapes.target_changed(accepted.value), "position": accepted.position}


def _target(scope: api.Scope, name: str, tenant: str | None) -> dict[str, str]:
    """The fields that name a target."""
    if scope in ("queue", "tenant"):
        if tenant is not None:
            raise InvalidInput(
                f"a {scope} is named by the path alone", field="query.tenant", rule="is for personas and keys"
            )  # fmt: skip
        return {scope: name}
    if tenant is None:
        raise InvalidInput(f"whose {scope}?", field="query.tenant", rule=f"a {scope} belongs to a tenant: name it")
    return {"tenant": tenant, scope: name}
