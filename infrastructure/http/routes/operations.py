"""Operations: what became of acts that take longer than a request. Any server can be asked, also after a restart."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Security

from jobledger.application.dlq_messages import BulkActOfDlq, GetDlqAct

from ...api import operations as api
from ...api.problems import Problem
from ...shapes import dlq as dlq_shapes
from ...shapes.texts import utc_text
from ..authentication import AuthenticatedRoute, bearer
from ..documented import problems
from ..operations import interrupted, progress, shape
from ..services import Calling

router = APIRouter(prefix="/v1", tags=["operations"], route_class=AuthenticatedRoute, dependencies=[Security(bearer)])


@router.get(
    "/tenants/{tenant}/operations/{operation_id}", operation_id="get_operation", summary="What becomes of an operation",
    response_model=api.Operation, responses=problems(),
)  # fmt: skip
def get_operation(
    *,
    tenant: str,
    operation_id: Annotated[str, Path(min_length=1, max_length=100)],
    caller: Calling,
    queue: Annotated[
        str | None, Query(description="Its filter's queue, from whoever may see that queue only.", max_length=500)
    ] = None,
) -> Any:  # noqa: ANN401, fmt: skip - as the response model says
    """Requeueing or discarding all dead jobs that a filter matches. `interrupted`: nobody goes on with it."""
    act = caller.ask(GetDlqAct, tenant=tenant, act=operation_id, queue=queue).value
    own = caller.services.operations.get(tenant, operation_id)
    return _of_act(act, caller.services.handle.ports.clock.now()) if own is None else own.shape()


def _of_act(act: BulkActOfDlq, now: datetime) -> dict[str, Any]:
    """As the ledger knows it."""
    done = act.progress.seen if act.progress is not None else 0
    problem = _problem(act, now)
    finished = act.ended is not None and act.ended.finished
    status = "failed" if problem is not None else "succeeded" if finished else "running"
    return shape(
        act.event_id, f"dlq.{act.begun.act}", status, actor=act.actor, reason=act.begun.reason, begun_at=act.begun_at,
        ended_at=act.ended_at, progress=progress(done, act.begun.confirmed), problem=problem,
        result=dlq_shapes.act_result(act) if finished else None,
    )  # fmt: skip


def _problem(act: BulkActOfDlq, now: datetime) -> Problem | None:
    if act.ended is not None:
        return None if act.ended.finished else interrupted("whoever did it was stopped")
    if not act.has_died(now):
        return None
    return interrupted(f"its process died; it was last heard of at {utc_text(act.last_seen_at)}")
