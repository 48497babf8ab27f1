"""Statistics: what happened to a tenant's jobs, and in the queues."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Security

from jobledger.application.ports import GroupBy
from jobledger.application.statistics import (
    GROUPS_LIMIT_DEFAULT,
    GROUPS_LIMIT_MAX,
    GetQueueStatistics,
    GetTenantStatistics,
)

from ...api import statistics as api
from ...shapes.statistics import report
from ..authentication import AuthenticatedRoute, bearer
from ..documented import problems
from ..moments import When
from ..services import Calling
from .lists import After

router = APIRouter(prefix="/v1", tags=["statistics"], route_class=AuthenticatedRoute, dependencies=[Security(bearer)])


class TenantGroup(StrEnum):
    """What a tenant's statistics can be told apart by."""

    TYPE = "type"
    QUEUE = "queue"
    PERSONA = "persona"
    HOUR = "hour"


class QueueGroup(StrEnum):
    """What those of the queues can be told apart by."""

    QUEUE = "queue"
    MINUTE = "minute"


_GROUPED: Final = {
    "type": GroupBy.JOB_TYPE, "queue": GroupBy.QUEUE, "persona": GroupBy.PERSONA, "hour": GroupBy.BUCKET,
    "minute": GroupBy.BUCKET,
}  # fmt: skip

Since = Annotated[When | None, Query(description="Without it: from the beginning.")]
Until = Annotated[When | None, Query(description="Without it: until now.")]
Limit = Annotated[int, Query(ge=1, le=GROUPS_LIMIT_MAX, description="Groups at most.")]


@router.get(
    "/tenants/{tenant}/statistics", operation_id="get_tenant_statistics", summary="What happened to a tenant's jobs",
    response_model=api.Statistics, response_model_exclude_unset=True, responses=problems(504),
)  # fmt: skip
def get_tenant_statistics(
    *,
    tenant: str,
    caller: Calling,
    since: Since = None,
    until: Until = None,
    by: Annotated[list[TenantGroup], Query(description="What a group is; none: all together.")] = [],  # noqa: B006
    limit: Limit = GROUPS_LIMIT_DEFAULT,
    after: After = None,
) -> Any:  # noqa: ANN401, fmt: skip - as the response model says
    """How many jobs were dispatched, ran, failed and died, how long they waited and ran: by the hour they were in."""
    groups = _grouped(by)
    found = caller.ask(
        GetTenantStatistics, tenant=tenant, since=since, until=until, by=groups, limit=limit, after=after
    )
    return caller.told(report(found.value, groups))


@router.get(
    "/statistics/queues", operation_id="get_queue_statistics", summary="What happened in the queues",
    response_model=api.Statistics, response_model_exclude_unset=True, responses=problems(504),
)  # fmt: skip
def get_queue_statistics(
    *,
    caller: Calling,
    since: Since = None,
    until: Until = None,
    by: Annotated[list[QueueGroup], Query(description="What a group is.")] = [QueueGroup.QUEUE],  # noqa: B006
    limit: Limit = GROUPS_LIMIT_DEFAULT,
    after: After = None,
) -> Any:  # noqa: ANN401, fmt: skip
    """Of all tenants together, by the minute: for whoever may see the whole installation."""
    groups = _grouped(by)
    found = caller.ask(GetQueueStatistics, since=since, until=until, by=groups, limit=limit, after=after)
    return caller.told(report(found.value, groups))


def _grouped(by: Sequence[StrEnum]) -> frozenset[GroupBy]:
    return frozenset(_GROUPED[each.value] for each in by)
