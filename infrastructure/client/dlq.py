"""The dead-letter queue: look, count, act on what was counted; and operations, which take longer than a request."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypedDict, Unpack

from ..api.dlq import (
    BulkDiscardRequest,
    BulkRequeueRequest,
    Count,
    DeadJob,
    DeadJobs,
    DeadRow,
    DlqAct,
    DlqActs,
    Filter,
)
from ..api.operations import Begun, Operation
from .core import Core, JobRef, ask, backoff_seconds
from .errors import NotFinished
from .exchange import Emits, Flow, Pause
from .paging import paged

PAGE_ROWS = 200


class DeadFilters(TypedDict, total=False):
    """Which dead jobs are meant. `since` (inclusive) and `until` (exclusive) bound the moment of death."""

    type: str
    kind: str
    queue: str
    persona: str
    cause: str
    error_type: str
    fingerprint: str
    since: datetime
    until: datetime


def list_dead(
    core: Core,
    *,
    tenant: str | None = None,
    limit: int | None = None,
    after: str | None = None,
    **filters: Unpack[DeadFilters],
) -> Emits[DeadRow]:
    """Dead jobs, most recently dead first: all of them, or at most `limit`."""
    where = core.place(tenant, "dlq")
    rows = PAGE_ROWS if limit is None else min(limit, PAGE_ROWS)

    def page(cursor: str | None) -> Flow[DeadJobs]:
        parameters = {**filters, "after": after, "limit": rows, "cursor": cursor}
        return ask(core, core.request("GET", where, parameters=parameters), DeadJobs)

    return paged(page, items=lambda found: found.jobs, following=lambda found: found.next_cursor, limit=limit)


def get_dead(
    core: Core, job: JobRef, *, tenant: str | None = None, bodies: bool = False, after: str | None = None
) -> Flow[DeadJob]:
    """Why a job is dead, attempt by attempt; with `bodies` also payload and traceback: recorded, and a permission."""
    parameters = {"bodies": bodies or None, "after": after}
    return ask(core, core.request("GET", core.place(tenant, "dlq", job), parameters=parameters), DeadJob)


def count(
    core: Core, *, tenant: str | None = None, after: str | None = None, **filters: Unpack[DeadFilters]
) -> Flow[Count]:
    """How many dead jobs match, and of what: look at it, then hand it to `requeue` or `discard`."""
    request = core.request("GET", core.place(tenant, "dlq", "count"), parameters={**filters, "after": after})
    return ask(core, request, Count)


def list_acts(core: Core, *, tenant: str | None = None, limit: int | None = None) -> Flow[list[DlqAct]]:
    """What was done to many dead jobs at once, the latest first: the last 50 acts, or `limit`."""
    request = core.request("GET", core.place(tenant, "dlq", "acts"), parameters={"limit": limit})
    return (yield from ask(core, request, DlqActs)).acts


def requeue(
    core: Core, seen: Count, *, reason: str, ticket: str | None = None, attempts: int | None = None
) -> Flow[Begun]:
    """Begin to give new attempts to what was counted: no more jobs than that, and none that died afterwards. Raises
    `Conflict` where more match now. `client.operations.wait` waits for the end."""
    body = BulkRequeueRequest(**_confirmed(seen), **_given(reason=reason, ticket=ticket, attempts=attempts))
    return ask(core, core.request("POST", core.place(seen.tenant, "dlq", "requeue"), body=body), Begun)


def discard(core: Core, seen: Count, *, reason: str, ticket: str | None = None) -> Flow[Begun]:
    """Begin to give up for good what was counted; as `requeue`."""
    body = BulkDiscardRequest(**_confirmed(seen), **_given(reason=reason, ticket=ticket))
    return ask(core, core.request("POST", core.place(seen.tenant, "dlq", "discard"), body=body), Begun)


# --- operations ------------------------------------------------------------------------------------------------------


def get_operation(
    core: Core, operation: Begun | str, *, tenant: str | None = None, queue: str | None = None
) -> Flow[Operation]:
    """How far an operation is. `queue`: its filter's queue, from whoever may see that queue only."""
    parameters = {"queue": queue}
    request = core.request("GET", core.place(tenant, "operations", id_of(operation)), parameters=parameters)
    return ask(core, request, Operation)


def wait(
    core: Core,
    operation: Begun | str,
    *,
    timeout_seconds: float = 600.0,
    tenant: str | None = None,
    queue: str | None = None,
) -> Flow[Operation]:
    """An operation once it has succeeded or failed. Raises `NotFinished` when time is out: it goes on."""
    return ended(
        core, lambda: get_operation(core, operation, tenant=tenant, queue=queue), id_of(operation), timeout_seconds
    )


def ended(core: Core, look: Callable[[], Flow[Operation]], operation: str, timeout_seconds: float) -> Flow[Operation]:
    """What is looked at, once it is over. Raises `NotFinished` when time is out."""
    end, asked = core.monotonic() + timeout_seconds, 0
    while True:
        asked += 1
        found = yield from look()
        if found.status in ("succeeded", "failed"):
            return found
        left_seconds = end - core.monotonic()
        if left_seconds <= 0:
            raise NotFinished(f"operation {operation}", found.status)
        yield Pause(min(left_seconds, backoff_seconds(core, asked)))


def id_of(operation: Begun | str) -> str:
    """The id of an operation."""
    return operation if isinstance(operation, str) else operation.operation_id


def _confirmed(seen: Count) -> dict[str, Any]:
    """What was counted, and nothing else."""
    if seen.until is None:
        raise ValueError("nothing was counted: there is nothing to do")
    said = {**seen.filter.model_dump(exclude_none=True), "until": seen.until}
    return {"filter": Filter.model_validate(said), "expected_count": seen.count}


def _given(**fields: object) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
