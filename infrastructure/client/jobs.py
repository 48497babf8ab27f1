"""Jobs: look at them, change them, wait for them. Manual acts carry a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypedDict, Unpack

from ..api.dlq import DiscardRequest, RequeueRequest
from ..api.history import Causes, Diff, Explanation, History, HistoryEvent, JobResult, Unfinished
from ..api.jobs import Job, JobChanged, ReasonRequest, RescheduleRequest
from ..api.lists import JobRow, Jobs, Trace
from .core import Core, JobRef, answered, ask, backoff_seconds, matching, read, retry_after_seconds
from .errors import NotFinished
from .exchange import Emits, Flow, Pause
from .paging import paged

PAGE_ROWS, PAGE_EVENTS = 200, 500


class ListFilters(TypedDict, total=False):
    """Which jobs are meant. `as_of`: as they were then. `after`: a position that the list has to hold."""

    status: str
    failed: bool
    type: str
    kind: str
    queue: str
    created_from: datetime
    created_to: datetime
    as_of: datetime
    after: str | None


def get(
    core: Core,
    job: JobRef,
    *,
    tenant: str | None = None,
    payload: bool = False,
    as_of: datetime | None = None,
    after: str | None = None,
) -> Flow[Job]:
    """A job, always current; with `payload` also payload and result: that look is recorded, and a permission."""
    parameters = {"payload": payload or None, "as_of": as_of, "after": after}
    return (yield from ask(core, core.request("GET", core.place(tenant, "jobs", job), parameters=parameters), Job))


def list_jobs(
    core: Core,
    *,
    tenant: str | None = None,
    persona: str | None = None,
    limit: int | None = None,
    **filters: Unpack[ListFilters],
) -> Emits[JobRow]:
    """The jobs of a tenant, or of one persona of it, newest first: all of them, or at most `limit`."""
    where = core.place(tenant, *(() if persona is None else ("personas", persona)), "jobs")
    rows = PAGE_ROWS if limit is None else min(limit, PAGE_ROWS)

    def page(cursor: str | None) -> Flow[Jobs]:
        parameters = {**filters, "limit": rows, "cursor": cursor}
        return ask(core, core.request("GET", where, parameters=parameters), Jobs)

    return paged(page, items=lambda found: found.jobs, following=lambda found: found.next_cursor, limit=limit)


def history(
    core: Core,
    job: JobRef,
    *,
    tenant: str | None = None,
    after_version: int = 0,
    bodies: bool = False,
    limit: int | None = None,
    after: str | None = None,
) -> Emits[HistoryEvent]:
    """What happened to a job, oldest first, with who and why; with `bodies` also customers' data, as `get`."""
    where = core.place(tenant, "jobs", job, "history")
    rows = PAGE_EVENTS if limit is None else min(limit, PAGE_EVENTS)

    def page(version: int | None) -> Flow[History]:
        parameters = {
            "after_version": version or after_version, "bodies": bodies or None, "limit": rows, "after": after,
        }  # fmt: skip
        return ask(core, core.request("GET", where, parameters=parameters), History)

    return paged(page, items=lambda found: found.events, following=lambda found: found.next_version, limit=limit)


def explain(core: Core, job: JobRef, *, tenant: str | None = None, after: str | None = None) -> Flow[Explanation]:
    """Why a job is where it is: what holds one that waits back, what a dead one died of."""
    where = core.place(tenant, "jobs", job, "explanation")
    return ask(core, core.request("GET", where, parameters={"after": after}), Explanation)


def diff(
    core: Core,
    job: JobRef,
    *,
    from_version: int,
    to_version: int | None = None,
    bodies: bool = False,
    tenant: str | None = None,
    after: str | None = None,
) -> Flow[Diff]:
    """What changed between two versions of a job (without `to_version`: to its last)."""
    parameters = {
        "from_version": from_version, "to_version": to_version, "bodies": bodies or None, "after": after,
    }  # fmt: skip
    return ask(core, core.request("GET", core.place(tenant, "jobs", job, "diff"), parameters=parameters), Diff)


def causes(
    core: Core, job: JobRef, *, tenant: str | None = None, limit: int | None = None, after: str | None = None
) -> Flow[Causes]:
    """What caused a job, and the first 50 jobs (or `limit`) that it caused."""
    where = core.place(tenant, "jobs", job, "causes")
    return ask(core, core.request("GET", where, parameters={"limit": limit, "after": after}), Causes)


def trace(
    core: Core,
    request: str,
    *,
    tenant: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
    after: str | None = None,
) -> Flow[Trace]:
    """What one request (a correlation id) caused: its jobs, those that they caused, refused dispatches. A page of 200
    of its own jobs (or `limit`); `next_cursor` is the `cursor` of the next one."""
    parameters = {"limit": limit, "cursor": cursor, "after": after}
    return ask(core, core.request("GET", core.place(tenant, "traces", request), parameters=parameters), Trace)


def result(core: Core, job: JobRef, *, timeout_seconds: float = 60.0, tenant: str | None = None) -> Flow[JobResult]:
    """What became of a job, once it has ended or is dead. Raises `NotFinished` when time is out: the job goes on."""
    where, end, asked = core.place(tenant, "jobs", job, "result"), core.monotonic() + timeout_seconds, 0
    while True:
        asked += 1
        wait_seconds = round(min(core.wait_seconds, max(0.0, end - core.monotonic())), 3)
        request = core.request("GET", where, parameters={"wait_seconds": wait_seconds}, extra_seconds=wait_seconds)
        answer = yield from answered(core, request)
        if answer.status == 200:
            return read(answer, JobResult)
        left_seconds = end - core.monotonic()
        if left_seconds <= 0:
            raise NotFinished(f"job {job}", read(answer, Unfinished).status)
        told = retry_after_seconds(answer) if wait_seconds == 0 else None
        yield Pause(min(left_seconds, told or backoff_seconds(core, 1)))


# --- changing --------------------------------------------------------------------------------------------------------


def cancel(
    core: Core, job: JobRef, *, reason: str, if_match: int | str | None = None, tenant: str | None = None
) -> Flow[JobChanged]:
    """Cancel a job that waits; ask one that runs to stop. With `if_match` (a version) only as it was seen."""
    request = core.request(
        "POST", core.place(tenant, "jobs", job, "cancel"), body=ReasonRequest(reason=reason),
        headers=matching(if_match),
    )  # fmt: skip
    return ask(core, request, JobChanged)


def reschedule(
    core: Core,
    job: JobRef,
    *,
    reason: str,
    if_match: int | str,
    priority: int | None = None,
    run_at: datetime | None = None,
    tenant: str | None = None,
) -> Flow[JobChanged]:
    """Change when or how urgently a job runs, as it was seen."""
    said = {"reason": reason, "priority": priority, "run_at": run_at}
    body = RescheduleRequest.model_validate({name: value for name, value in said.items() if value is not None})
    where = core.place(tenant, "jobs", job, "reschedule")
    return ask(core, core.request("POST", where, body=body, headers=matching(if_match)), JobChanged)


def requeue(
    core: Core,
    job: JobRef,
    *,
    reason: str,
    ticket: str | None = None,
    attempts: int | None = None,
    payload: Mapping[str, object] | None = None,
    put: Mapping[str, object] | None = None,
    without: Sequence[str] | None = None,
    if_match: int | str | None = None,
    tenant: str | None = None,
) -> Flow[JobChanged]:
    """Take a job out of the DLQ, with another payload if one is given, or with a few places of its own changed:
    `put={"/customer/email": "a@b.example"}`, `without=["/note"]` (JSON pointers); then `if_match` is required."""
    said = {
        "reason": reason, "ticket": ticket, "attempts": attempts, "payload": payload, "put": put, "without": without,
    }  # fmt: skip
    body = RequeueRequest.model_validate({name: value for name, value in said.items() if value is not None})
    where = core.place(tenant, "jobs", job, "requeue")
    return ask(core, core.request("POST", where, body=body, headers=matching(if_match)), JobChanged)


def discard(
    core: Core,
    job: JobRef,
    *,
    reason: str,
    ticket: str | None = None,
    if_match: int | str | None = None,
    tenant: str | None = None,
) -> Flow[JobChanged]:
    """Give a dead job up for good."""
    said = {"reason": reason, "ticket": ticket}
    body = DiscardRequest.model_validate({name: value for name, value in said.items() if value is not None})
    where = core.place(tenant, "jobs", job, "discard")
    return ask(core, core.request("POST", where, body=body, headers=matching(if_match)), JobChanged)
