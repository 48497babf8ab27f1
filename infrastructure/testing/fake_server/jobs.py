"""Jobs: dispatch, look at, change, wait for."""

from __future__ import annotations

import json

from pydantic import ValidationError

from jobledger.application.commands import CancelJob, DispatchJob, DispatchJobs, RescheduleJob
from jobledger.application.dispatch_item import Dispatch, Malformed
from jobledger.application.limit_messages import ExplainJob
from jobledger.application.queries import (
    HISTORY_LIMIT_DEFAULT,
    DiffJob,
    GetCauses,
    GetJob,
    GetJobHistory,
    History,
    JobDetails,
    JobList,
    JobListAsOf,
    ListJobsAsOf,
    ListPersonaJobs,
    ListTenantJobs,
    TraceRequest,
)
from jobledger.application.result import Refused
from jobledger.application.validation import invalid_input
from jobledger.domain.errors import InvalidInput
from jobledger.domain.job import JobStatus
from jobledger.domain.retry import Retry

from ...api.jobs import DispatchRequest, ReasonRequest, RescheduleRequest
from ...http.problem_documents import problem_of
from ...shapes import jobs as shapes
from ...shapes import past as past_shapes
from ...shapes.history_pages import read_page
from ...shapes.texts import iso
from .asked import Asked, Reply, changed, plain, read_json

_ENDED = frozenset({JobStatus.COMPLETED, JobStatus.CANCELLED, JobStatus.DLQ})


def dispatch(asked: Asked) -> Reply:
    """POST jobs."""
    receipt = asked.ask(DispatchJob, item=_item(asked.tenant, asked.body(DispatchRequest))).value
    where = f"/v1/tenants/{asked.tenant}/jobs/{receipt.job_id}"
    headers = {"Location": where, "Jobledger-Position": receipt.position or ""}
    return Reply(receipt._asdict(), 200 if receipt.duplicate else 201, headers)


def dispatch_many(asked: Asked) -> Reply:
    """POST jobs/bulk."""
    items = (_line(asked.tenant, number, text) for number, text in enumerate(asked.lines(), start=1))
    receipt = asked.ask(DispatchJobs, items=items).value
    lines: list[object] = []
    for item in receipt.results:
        if isinstance(item.result, Refused):
            problem = problem_of(item.result.error).model_dump(exclude_none=True)
            lines.append({"line": item.line, "problem": problem})
        else:
            lines.append({"line": item.line, **item.result.value._asdict()})
    lines.append({
        "summary": {
            "accepted": receipt.accepted, "duplicates": receipt.duplicates, "refused": receipt.refused,
            "position": receipt.position,
        }
    })  # fmt: skip
    content = "".join(f"{json.dumps(line, default=str)}\n" for line in lines).encode()
    return Reply(content, media_type="application/jsonl")


def get(asked: Asked) -> Reply:
    """GET a job."""
    job = asked.ask(
        GetJob, tenant=asked.tenant, job=asked.job, bodies=asked.flag("payload"), as_of=asked.time("as_of"),
        after=asked.one("after"),
    ).value  # fmt: skip
    return Reply(shapes.details(job), headers={"ETag": f'"{job.version}"'})


def list_jobs(asked: Asked) -> Reply:
    """GET the jobs of a tenant or a persona."""
    fields = {
        "tenant": asked.tenant, "persona": asked.place.get("persona"), "status": asked.one("status"),
        "failed": asked.flag("failed"), "job_type": asked.one("type"), "kind": asked.one("kind"),
        "queue": asked.one("queue"), "created_from": asked.time("created_from"),
        "created_to": asked.time("created_to"), "limit": asked.number("limit"), "cursor": asked.one("cursor"),
        "after": asked.one("after"),
    }  # fmt: skip
    found: JobList | JobListAsOf
    if asked.one("as_of") is not None:
        found = asked.ask(ListJobsAsOf, **fields, as_of=asked.time("as_of")).value
    else:
        found = asked.ask(ListPersonaJobs if fields["persona"] else ListTenantJobs, **fields).value
    past = {"as_of": iso(found.as_of), "scanned": found.scanned} if isinstance(found, JobListAsOf) else None
    return Reply(asked.told({
        "tenant": asked.tenant, "jobs": [shapes.job_row(row) for row in found.rows], "next_cursor": found.cursor,
        "freshness": shapes.freshness(found.freshness), "past": past,
    }))  # fmt: skip


def history(asked: Asked) -> Reply:
    """GET what happened to a job."""
    after, bodies = asked.number("after_version") or 0, bool(asked.flag("bodies"))

    def read(version: int, number: int) -> History:
        shown = bodies and version >= after
        return asked.ask(
            GetJobHistory, tenant=asked.tenant, job=asked.job, after_version=version, limit=number, bodies=shown
        ).value

    page = read_page(read, after=after, limit=asked.number("limit") or HISTORY_LIMIT_DEFAULT, fold=False)
    events = past_shapes.history_events(page, bodies=bodies)
    return Reply(asked.told({"job_id": asked.job, "events": events, "next_version": page.next_version}))


def explain(asked: Asked) -> Reply:
    """GET why a job is where it is."""
    return Reply(shapes.explanation(asked.tenant, asked.ask(ExplainJob, tenant=asked.tenant, job=asked.job).value))


def diff(asked: Asked) -> Reply:
    """GET what changed."""
    found = asked.ask(
        DiffJob, tenant=asked.tenant, job=asked.job, from_version=asked.number("from_version"),
        to_version=asked.number("to_version"), bodies=asked.flag("bodies"),
    ).value  # fmt: skip
    return Reply(past_shapes.diff(asked.tenant, found))


def causes(asked: Asked) -> Reply:
    """GET what caused a job."""
    found = asked.ask(
        GetCauses, tenant=asked.tenant, job=asked.job, limit=asked.number("limit"), after=asked.one("after")
    ).value
    return Reply(asked.told(past_shapes.causes(asked.tenant, found)))


def trace(asked: Asked) -> Reply:
    """GET what one request caused."""
    found = asked.ask(
        TraceRequest, tenant=asked.tenant, request=asked.place["request"], limit=asked.number("limit"),
        cursor=asked.one("cursor"), after=asked.one("after"),
    ).value  # fmt: skip
    shape = past_shapes.trace(asked.tenant, found)
    return Reply(asked.told({**shape, "next_cursor": found.cursor, "freshness": shape.pop("as_of")}))


def result(asked: Asked) -> Reply:
    """GET what became of a job. Nothing happens while a ledger in memory waits: the answer is given at once."""
    job = asked.ask(GetJob, tenant=asked.tenant, job=asked.job).value
    stands = {"job_id": job.job_id, "status": job.status.value, "version": job.version}
    if job.status not in _ENDED:
        return Reply(stands, 202, {"Retry-After": "1"})
    completed = job.status is JobStatus.COMPLETED
    shown = asked.ask(GetJob, tenant=asked.tenant, job=asked.job, bodies=True).value.result if completed else None
    return Reply({**stands, "result": shapes.body(shown), "result_shown": shown is not None, "error": _error(job)})


def cancel(asked: Asked) -> Reply:
    """POST cancel."""
    reason, version = asked.body(ReasonRequest).reason, asked.expected_version()
    return changed(
        asked.ask(CancelJob, tenant=asked.tenant, job=asked.job, reason=reason, expected_version=version)
    )  # fmt: skip


def reschedule(asked: Asked) -> Reply:
    """POST reschedule."""
    body, version = asked.body(RescheduleRequest), asked.expected_version(required=True)
    return changed(asked.ask(
        RescheduleJob, tenant=asked.tenant, job=asked.job, reason=body.reason, priority=body.priority,
        due_at=body.run_at, expected_version=version,
    ))  # fmt: skip


def _item(tenant: str, body: DispatchRequest, line: int | None = None) -> Dispatch:
    fields = plain(body)
    retry = fields.pop("retry", None)
    try:
        policy = None if retry is None else Retry.model_validate(retry)
    except ValidationError as error:
        raise invalid_input(error) from error
    return Dispatch(fields.pop("type"), fields.pop("payload", {}), tenant, **fields, retry=policy, line=line)


def _line(tenant: str, number: int, text: bytes) -> Dispatch | Malformed:
    try:
        return _item(tenant, read_json(text, DispatchRequest), number)
    except InvalidInput as error:
        return Malformed(number, error, tenant)


def _error(job: JobDetails) -> object:
    state = job.state
    if not job.failed:
        return None
    return {
        "type": state.last_error_type, "message": state.last_error_message or None,
        "fingerprint": state.last_fingerprint or None,
    }  # fmt: skip
